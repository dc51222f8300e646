//! A text that was written by somebody, and places in it.
//!
//! Invariant: every place is a range of bytes of the whole text, so that an error in a statement of a deck
//! points at the line and column of the deck.

use std::ops::Range;

use miette::{LabeledSpan, NamedSource, SourceCode};

/// What is wrong, and where in the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SyntaxError {
    /// What is wrong.
    pub(crate) message: String,
    /// What to write instead.
    pub(crate) help: Option<String>,
    /// The bytes concerned.
    pub(crate) at: Range<usize>,
}

impl SyntaxError {
    /// Without advice.
    pub(crate) fn new(at: Range<usize>, message: impl Into<String>) -> Self {
        Self { message: message.into(), help: None, at }
    }

    /// With advice.
    pub(crate) fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// The error together with the text, ready to be told.
    pub(crate) fn in_text(self, name: &str, text: &str) -> MalformedText {
        // A place in the middle of a character, or past the end, cannot be pointed at.
        let mut start = self.at.start.min(text.len());
        while !text.is_char_boundary(start) {
            start -= 1;
        }
        let mut end = self.at.end.clamp(start, text.len());
        while !text.is_char_boundary(end) {
            end += 1;
        }
        let (line, column) = place(text, start);
        MalformedText {
            name: name.to_owned(),
            line,
            column,
            message: self.message,
            help: self.help,
            at: start..end,
            text: NamedSource::new(name, text.to_owned()),
        }
    }
}

/// Line and column of a byte of the text, both from 1; columns count characters.
pub(crate) fn place(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let column = before[line_start..].chars().count() + 1;
    (before.matches('\n').count() + 1, column)
}

/// A text that makes no sense: nothing of it is carried out.
#[derive(Debug, thiserror::Error)]
#[error("{name}, line {line}, column {column}: {message}")]
pub(crate) struct MalformedText {
    name: String,
    /// From 1.
    pub(crate) line: usize,
    /// In characters, from 1.
    column: usize,
    message: String,
    help: Option<String>,
    at: Range<usize>,
    text: NamedSource<String>,
}

impl MalformedText {
    /// The text, to be shown around the error.
    pub(crate) fn source_code(&self) -> &dyn SourceCode {
        &self.text
    }

    /// What to do: the help, and that nothing was done.
    pub(crate) fn advice(&self) -> String {
        let nothing = "condition code 12: nothing was carried out";
        self.help.as_ref().map_or_else(|| nothing.to_owned(), |help| format!("{help}; {nothing}"))
    }

    /// What is pointed at.
    pub(crate) fn label(&self) -> LabeledSpan {
        LabeledSpan::at(self.at.clone(), "here")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_columns_count_from_one_and_in_characters() {
        let text = "ab\nc\u{e4} d\n";

        assert_eq!(place(text, 0), (1, 1));
        assert_eq!(place(text, 2), (1, 3));
        assert_eq!(place(text, 3), (2, 1));
        assert_eq!(place(text, 7), (2, 4));
        assert_eq!(place(text, text.len()), (3, 1));
    }

    #[test]
    fn a_place_past_the_end_or_within_a_character_can_be_told() {
        for at in [0..99, 50..60, 2..3, 1..2] {
            let told = SyntaxError::new(at, "no").in_text("deck", "a\u{e4}b");
            assert!(told.to_string().starts_with("deck, line 1, column "), "{told}");
        }
    }
}

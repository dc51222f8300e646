//! The operands of a statement, taken by keyword.
//!
//! Invariants
//! - W1 Every operand is taken once, or the statement is malformed: nothing that was written is passed over.
//! - W2 A keyword for what this server does not have is told by its name, unless its value says "no".

use std::ops::Range;

use flashtrack_engine::admin::{Refusal, RefusalKind};

use super::grammar::{Item, Operand, Statement, Word};
use super::source::SyntaxError;

/// Why a statement becomes no command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It makes no sense: no statement of the text is carried out.
    Malformed(SyntaxError),
    /// It is understood, but this server does not do that: only this statement is not carried out.
    Declined(Refusal),
}

impl From<SyntaxError> for Fault {
    fn from(error: SyntaxError) -> Self {
        Self::Malformed(error)
    }
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        Self::Declined(refusal)
    }
}

/// What is understood but not done.
pub(crate) fn declined(message: impl Into<String>) -> Refusal {
    Refusal { kind: RefusalKind::Unsupported, message: message.into(), help: None }
}

/// What breaks a rule that holds whatever the state of the volumes.
pub(crate) fn rejected(message: impl Into<String>) -> Refusal {
    Refusal { kind: RefusalKind::Invalid, message: message.into(), help: None }
}

/// A keyword for something that this server does not have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unserved {
    /// The keyword and its abbreviations.
    pub(crate) names: &'static [&'static str],
    /// Values that ask for nothing.
    pub(crate) harmless: &'static [&'static str],
    /// What it would need.
    pub(crate) reason: &'static str,
}

/// What is left of the operands of a statement.
#[derive(Debug)]
pub(crate) struct Operands<'a> {
    verb: &'a Word,
    left: Vec<&'a Operand>,
    known: Vec<&'static str>,
}

impl<'a> Operands<'a> {
    /// All operands of `statement`.
    pub(crate) fn of(statement: &'a Statement) -> Self {
        let left = statement.operands.iter().collect();
        Self { verb: &statement.verb, left, known: Vec::new() }
    }

    /// Where the statement begins, for errors about something that is missing.
    pub(crate) fn place(&self) -> Range<usize> {
        self.verb.at.clone()
    }

    /// The operand with one of these names.
    pub(crate) fn take(
        &mut self,
        names: &'static [&'static str],
    ) -> Result<Option<&'a Operand>, SyntaxError> {
        self.known.extend(names.first());
        let named = |operand: &Operand| names.iter().any(|name| operand.word.is(name));
        let Some(position) = self.left.iter().position(|operand| named(operand)) else {
            return Ok(None);
        };
        let operand = self.left.remove(position);
        if let Some(again) = self.left.iter().find(|operand| named(operand)) {
            let message = format!("{} is given twice", again.word.text.to_uppercase());
            return Err(SyntaxError::new(again.word.at.clone(), message));
        }
        Ok(Some(operand))
    }

    /// A keyword that takes no values: where it stands.
    pub(crate) fn flag(
        &mut self,
        names: &'static [&'static str],
    ) -> Result<Option<Range<usize>>, SyntaxError> {
        match self.take(names)? {
            None => Ok(None),
            Some(operand) if operand.values.is_none() => Ok(Some(operand.word.at.clone())),
            Some(operand) => Err(wrong_value(operand, "it takes no value")),
        }
    }

    /// A keyword with exactly one word.
    pub(crate) fn value(
        &mut self,
        names: &'static [&'static str],
    ) -> Result<Option<&'a Word>, SyntaxError> {
        self.take(names)?.map(one_word).transpose()
    }

    /// A keyword with one word out of a few.
    pub(crate) fn choice<T: Copy>(
        &mut self,
        names: &'static [&'static str],
        choices: &[(&str, T)],
    ) -> Result<Option<T>, SyntaxError> {
        self.take(names)?.map(|operand| chosen(operand, choices)).transpose()
    }

    /// Why the first of these keywords that asks for something cannot be served.
    pub(crate) fn unserved(
        &mut self,
        keywords: &[Unserved],
    ) -> Result<Option<Refusal>, SyntaxError> {
        let mut first = None;
        for keyword in keywords {
            let Some(operand) = self.take(keyword.names)? else { continue };
            let harmless = words(operand).is_ok_and(|words| {
                let no = |word: &Word| keyword.harmless.iter().any(|known| word.is(known));
                words.len() == 1 && words.iter().all(|word| no(word))
            });
            if !harmless && first.is_none() {
                let shown = operand.to_string().to_uppercase();
                first = Some(declined(format!("{shown} is not served: {}", keyword.reason)));
            }
        }
        Ok(first)
    }

    /// Takes keywords that ask for nothing here, whatever their values; gives those that were there.
    pub(crate) fn pass_over(
        &mut self,
        keywords: &[&'static [&'static str]],
    ) -> Result<Vec<&'static str>, SyntaxError> {
        let mut found = Vec::new();
        for names in keywords {
            if self.take(names)?.is_some() {
                found.extend(names.first());
            }
        }
        Ok(found)
    }

    /// Every operand must have been taken.
    pub(crate) fn finish(self) -> Result<(), SyntaxError> {
        let Some(operand) = self.left.first() else {
            return Ok(());
        };
        let word = operand.word.text.to_uppercase();
        let verb = self.verb.text.to_uppercase();
        let message = format!("{verb} has no keyword {word}");
        Err(SyntaxError::new(operand.word.at.clone(), message)
            .with_help(format!("it has {}", self.known.join(", "))))
    }
}

fn wrong_value(operand: &Operand, what: &str) -> SyntaxError {
    let message = format!("{}: {what}", operand.word.text.to_uppercase());
    SyntaxError::new(operand.word.at.clone(), message)
}

/// The values of `operand`, all of them plain words, at least one.
pub(crate) fn words(operand: &Operand) -> Result<Vec<&Word>, SyntaxError> {
    let values = operand.values.as_deref().unwrap_or_default();
    if values.is_empty() {
        return Err(wrong_value(operand, "a value in parentheses is missing"));
    }
    values.iter().map(|item| plain_word(operand, item)).collect()
}

fn plain_word<'a>(operand: &Operand, item: &'a Item) -> Result<&'a Word, SyntaxError> {
    match item {
        Item::Operand(Operand { word, values: None }) => Ok(word),
        _ => Err(wrong_value(operand, "it takes words without parentheses of their own")),
    }
}

/// Words, each of them alone or first of a list: `(A)`, `(A,3390)`, `((A,3390),(B,3390))`.
pub(crate) fn listed_words(operand: &Operand) -> Result<Vec<Vec<&Word>>, SyntaxError> {
    let values = operand.values.as_deref().unwrap_or_default();
    if !values.iter().any(|item| matches!(item, Item::List(_))) {
        return Ok(vec![words(operand)?]);
    }
    values
        .iter()
        .map(|item| match item {
            Item::List(items) => items.iter().map(|item| plain_word(operand, item)).collect(),
            Item::Operand(_) => plain_word(operand, item).map(|word| vec![word]),
        })
        .collect()
}

/// The only value of `operand`.
pub(crate) fn one_word(operand: &Operand) -> Result<&Word, SyntaxError> {
    match words(operand)?.as_slice() {
        [word] => Ok(word),
        _ => Err(wrong_value(operand, "it takes one value")),
    }
}

/// Which of `choices` the only value of `operand` is.
pub(crate) fn chosen<T: Copy>(operand: &Operand, choices: &[(&str, T)]) -> Result<T, SyntaxError> {
    let word = one_word(operand)?;
    let found = choices.iter().find(|(name, _)| word.is(name));
    found.map(|(_, value)| *value).ok_or_else(|| {
        let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
        let message = format!(
            "{} takes {}, not {}",
            operand.word.text.to_uppercase(),
            names.join(", "),
            word.text
        );
        SyntaxError::new(word.at.clone(), message)
    })
}

/// The only operand within the parentheses of `operand`, as in `DATASET(INCLUDE(NAME))`.
pub(crate) fn one_operand(operand: &Operand) -> Result<&Operand, SyntaxError> {
    match operand.values.as_deref() {
        Some([Item::Operand(inner)]) => Ok(inner),
        _ => Err(wrong_value(operand, "it takes one keyword in parentheses")),
    }
}

/// A decimal number of at most `max`.
pub(crate) fn number(word: &Word, max: u32) -> Result<u32, SyntaxError> {
    let digits = word.text.bytes().all(|byte| byte.is_ascii_digit());
    word.text.parse().ok().filter(|number| digits && *number <= max).ok_or_else(|| {
        let message = format!("`{}` is no number from 0 to {max}", word.text);
        SyntaxError::new(word.at.clone(), message)
    })
}

/// A device number: four hexadecimal digits.
pub(crate) fn device_number(word: &Word) -> Result<u16, SyntaxError> {
    hexadecimal(word, 4).and_then(|device| u16::try_from(device).ok()).ok_or_else(|| {
        let message = format!("`{}` is no device number", word.text);
        SyntaxError::new(word.at.clone(), message)
            .with_help("a device number has four hexadecimal digits, such as 0A00")
    })
}

/// Exactly `digits` hexadecimal digits, at most eight.
pub(crate) fn hexadecimal(word: &Word, digits: usize) -> Option<u32> {
    let right = word.text.len() == digits && word.text.bytes().all(|byte| byte.is_ascii_hexdigit());
    u32::from_str_radix(&word.text, 16).ok().filter(|_| right)
}

/// Of keywords that exclude each other at most one may be there.
pub(crate) fn at_most_one(keywords: &[(&str, Option<&Range<usize>>)]) -> Result<(), SyntaxError> {
    let mut there = keywords.iter().filter_map(|(name, at)| at.map(|at| (name, at)));
    match (there.next(), there.next()) {
        (Some((first, _)), Some((second, at))) => {
            let message = format!("{first} and {second} exclude each other");
            Err(SyntaxError::new(at.clone(), message))
        }
        _ => Ok(()),
    }
}

//! The grammar of keyword commands, shared by TSO, DFSMSdss and ICKDSF.
//!
//! ```text
//! statement = word { separator operand }            COPY FULL INDYNAM(A) OUTDYNAM (B)
//! operand   = word [ list ]
//! list      = "(" [ item { separator item } ] ")"   at most four lists within each other
//! item      = operand | list
//! word      = plain characters, or 'quoted, with '' for one quote'
//! separator = blanks, comments /* */, "-" or "+" at the end of a line, and at most one comma
//! ```
//!
//! Invariants
//! - G1 No text makes the parser panic or recurse without bound.
//! - G2 What `Display` prints of a statement parses to an equal one.

use std::fmt;
use std::ops::Range;

use winnow::LocatingSlice;
use winnow::ModalResult;
use winnow::Parser;
use winnow::combinator::{alt, cut_err, delimited, eof, fail, opt, peek, preceded, repeat};
use winnow::error::{AddContext, ContextError, ErrMode, StrContext, StrContextValue};
use winnow::stream::Stream;
use winnow::token::{none_of, one_of, take_until, take_while};

use super::source::SyntaxError;

#[cfg(test)]
mod tests;

/// Lists within each other, the outermost included.
const DEPTH_MAX: usize = 4;

/// One command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Statement {
    /// Its first word.
    pub(crate) verb: Word,
    /// What follows.
    pub(crate) operands: Vec<Operand>,
}

/// A keyword, perhaps with values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Operand {
    /// The keyword.
    pub(crate) word: Word,
    /// What stands in parentheses after it.
    pub(crate) values: Option<Vec<Item>>,
}

/// One of the values in parentheses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Item {
    /// A word, perhaps with values of its own.
    Operand(Operand),
    /// Values in parentheses of their own.
    List(Vec<Item>),
}

/// A run of characters, and where it stands. Words are equal when their characters are.
#[derive(Clone, Debug, Eq)]
pub(crate) struct Word {
    /// Without the quotes.
    pub(crate) text: String,
    /// Its bytes in the whole text.
    pub(crate) at: Range<usize>,
}

impl PartialEq for Word {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Word {
    /// Whether it is this keyword; case does not matter.
    pub(crate) fn is(&self, keyword: &str) -> bool {
        self.text.eq_ignore_ascii_case(keyword)
    }
}

type Input<'a> = LocatingSlice<&'a str>;

/// Parses the statement that takes up `range` of `text`; none when there are only blanks and comments.
pub(crate) fn statement(text: &str, range: Range<usize>) -> Result<Option<Statement>, SyntaxError> {
    let mut input = LocatingSlice::new(&text[..range.end]);
    // Places are counted from the start of the whole text.
    let _ = input.next_slice(range.start);
    delimited(gap, opt(statement_parts), cut_err(end)).parse(input).map_err(|error| {
        let at = range.start + error.offset();
        let found = text[at..range.end].chars().next();
        describe(at, found, error.inner())
    })
}

fn describe(at: usize, found: Option<char>, error: &ContextError) -> SyntaxError {
    let mut message = match found {
        Some(found) => format!("`{}` is not understood here", found.escape_default()),
        None => "the statement ends too early".to_owned(),
    };
    for context in error.context() {
        match context {
            StrContext::Label(label) => (*label).clone_into(&mut message),
            StrContext::Expected(expected) => {
                message = format!("{message}: {expected} is expected");
            }
            _ => {}
        }
    }
    SyntaxError::new(at..at + found.map_or(0, char::len_utf8), message)
}

fn expected(description: &'static str) -> StrContext {
    StrContext::Expected(StrContextValue::Description(description))
}

fn statement_parts(input: &mut Input<'_>) -> ModalResult<Statement> {
    let verb = word.parse_next(input)?;
    let operands = repeat(0.., separated_from(operand_at(0))).parse_next(input)?;
    gap.parse_next(input)?;
    Ok(Statement { verb, operands })
}

fn end(input: &mut Input<'_>) -> ModalResult<()> {
    eof.void().context(expected("a keyword")).parse_next(input)
}

/// Blanks, comments and continuations, or nothing.
fn gap(input: &mut Input<'_>) -> ModalResult<()> {
    let blanks = take_while(1.., BLANKS).void();
    let continuation =
        (one_of(['-', '+']), repeat::<_, _, (), _, _>(0.., filler), alt(("\n", eof)));
    repeat(0.., alt((blanks, comment, continuation.void()))).parse_next(input)
}

const BLANKS: [char; 3] = [' ', '\t', '\r'];

fn filler(input: &mut Input<'_>) -> ModalResult<()> {
    alt((take_while(1.., BLANKS).void(), comment)).parse_next(input)
}

fn comment(input: &mut Input<'_>) -> ModalResult<()> {
    let rest = cut_err((take_until(0.., "*/"), "*/"))
        .context(StrContext::Label("this comment has no end: `*/` is missing"));
    preceded("/*", rest).void().parse_next(input)
}

/// What stands after a gap with at most one comma in it; after a comma it must be there.
fn separated_from<'a, T>(
    mut item: impl Parser<Input<'a>, T, ErrMode<ContextError>>,
) -> impl Parser<Input<'a>, T, ErrMode<ContextError>> {
    move |input: &mut Input<'a>| {
        gap.parse_next(input)?;
        let comma = opt((',', gap)).parse_next(input)?;
        match item.parse_next(input) {
            Err(error) if comma.is_some() => {
                let start = input.checkpoint();
                Err(error.add_context(input, &start, expected("a keyword or a value")).cut())
            }
            other => other,
        }
    }
}

fn operand_at<'a>(depth: usize) -> impl Parser<Input<'a>, Operand, ErrMode<ContextError>> {
    move |input: &mut Input<'a>| {
        let word = word.parse_next(input)?;
        let values = opt(preceded(gap, list_at(depth))).parse_next(input)?;
        Ok(Operand { word, values })
    }
}

fn list_at<'a>(depth: usize) -> impl Parser<Input<'a>, Vec<Item>, ErrMode<ContextError>> {
    move |input: &mut Input<'a>| {
        if depth == DEPTH_MAX {
            let too_deep = StrContext::Label("too many parentheses within each other");
            return preceded(peek('('), cut_err(fail)).context(too_deep).parse_next(input);
        }
        let close = cut_err(preceded(gap, ')')).context(expected("`)`"));
        let item = |input: &mut Input<'a>| match opt(list_at(depth + 1)).parse_next(input)? {
            Some(list) => Ok(Item::List(list)),
            None => operand_at(depth + 1).map(Item::Operand).parse_next(input),
        };
        delimited(('(', gap), repeat(0.., separated_from(item)), close).parse_next(input)
    }
}

fn word(input: &mut Input<'_>) -> ModalResult<Word> {
    alt((quoted, plain.map(str::to_owned)))
        .with_span()
        .map(|(text, at)| Word { text, at })
        .parse_next(input)
}

/// Letters, digits and the marks that names, numbers and filters have; `-` and `+` are part of a word only when
/// another such character follows, as otherwise they continue the line.
fn plain<'a>(input: &mut Input<'a>) -> ModalResult<&'a str> {
    let sign = (one_of(['-', '+']), peek(one_of(is_plain)));
    let run = alt((take_while(1.., is_plain).void(), sign.void()));
    repeat::<_, _, (), _, _>(1.., run).take().parse_next(input)
}

fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || "._@#$%*:&".contains(c)
}

/// Text in quotes, on one line, without the quotes; job control cards have the same.
pub(crate) fn quoted(input: &mut Input<'_>) -> ModalResult<String> {
    let inside = repeat(0.., alt((none_of(['\'', '\n']), "''".value('\'')))).fold(
        String::new,
        |mut text, c| {
            text.push(c);
            text
        },
    );
    let close =
        cut_err('\'').context(StrContext::Label("this quoted text has no end: `'` is missing"));
    delimited('\'', inside, close).parse_next(input)
}

/// The bytes of the statements in `range` of `text`: its lines, joined where one ends with `-` or `+`.
pub(crate) fn statement_ranges(text: &str, range: Range<usize>) -> Vec<Range<usize>> {
    let mut ranges = Vec::new();
    let mut begun: Option<usize> = None;
    let mut at = range.start;
    for line in text[range].split_inclusive('\n') {
        let start = begun.take().unwrap_or(at);
        at += line.len();
        if goes_on(line) {
            begun = Some(start);
        } else {
            ranges.push(start..start + text[start..at].trim_end().len());
        }
    }
    ranges.extend(begun.map(|start| start..at));
    ranges
}

/// Whether the line's last character before blanks and a comment is `-` or `+`.
fn goes_on(line: &str) -> bool {
    let mut line = line.trim_end();
    if line.ends_with("*/")
        && let Some(comment) = line.rfind("/*")
    {
        line = line[..comment].trim_end();
    }
    line.ends_with(['-', '+'])
}

impl fmt::Display for Statement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.verb)?;
        self.operands.iter().try_for_each(|operand| write!(f, " {operand}"))
    }
}

impl fmt::Display for Operand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.word)?;
        self.values.iter().try_for_each(|values| write_list(f, values))
    }
}

fn write_list(f: &mut fmt::Formatter<'_>, values: &[Item]) -> fmt::Result {
    f.write_str("(")?;
    for (position, item) in values.iter().enumerate() {
        if position > 0 {
            f.write_str(",")?;
        }
        match item {
            Item::Operand(operand) => write!(f, "{operand}")?,
            Item::List(values) => write_list(f, values)?,
        }
    }
    f.write_str(")")
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bare = !self.text.is_empty() && self.text.chars().all(is_plain);
        if bare {
            f.write_str(&self.text)
        } else {
            write!(f, "'{}'", self.text.replace('\'', "''"))
        }
    }
}

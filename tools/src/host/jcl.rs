//! The grammar of job control cards, as far as a deck needs it.
//!
//! ```text
//! card      = "//" [ name ] blanks operation [ blanks parameters ] [ blanks comment ]
//! parameters = value { "," value }             after a comma the next card may go on: "//" blanks
//! value     = [ word ] [ "(" parameters ")" ] [ "=" value ]
//! word      = characters without blank , ( ) = ' , or 'quoted, with '' for one quote'
//! ```
//!
//! Invariant: no text makes the parser panic or recurse without bound.

use winnow::LocatingSlice;
use winnow::ModalResult;
use winnow::Parser;
use winnow::combinator::{alt, cut_err, delimited, fail, opt, peek, preceded, separated};
use winnow::error::{ContextError, ErrMode, StrContext};
use winnow::stream::{Location, Stream};
use winnow::token::{any, take_till, take_while};

use super::grammar::{Word, quoted};
use super::source::SyntaxError;

/// Values within each other: `VOL=(,,,,SER=(A,B))` has four.
const DEPTH_MAX: usize = 8;

/// One card, with those that continue it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Card {
    /// The name field; empty when there is none.
    pub(super) name: Word,
    /// JOB, EXEC, DD, ...
    pub(super) operation: Word,
    /// Its parameters in order.
    pub(super) parameters: Vec<Value>,
}

/// A parameter, or a part of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Value {
    /// Keyword or value; none where only a comma marks its position, or a list stands alone.
    pub(super) word: Option<Word>,
    /// What stands in parentheses.
    pub(super) list: Vec<Value>,
    /// What stands after `=`.
    pub(super) is: Option<Box<Value>>,
}

impl Card {
    /// What keyword parameter `key` is.
    pub(super) fn parameter(&self, key: &str) -> Option<&Value> {
        self.parameters.iter().find_map(|parameter| parameter.keyed(key))
    }

    /// Whether a parameter is this word alone.
    pub(super) fn has(&self, word: &str) -> bool {
        self.parameters.iter().any(|parameter| {
            parameter.is.is_none() && parameter.word.as_ref().is_some_and(|known| known.is(word))
        })
    }
}

impl Value {
    fn keyed(&self, key: &str) -> Option<&Value> {
        self.is.as_deref().filter(|_| self.word.as_ref().is_some_and(|word| word.is(key)))
    }

    /// What `key=` is, here or in the list.
    pub(super) fn find(&self, key: &str) -> Option<&Value> {
        self.keyed(key).or_else(|| self.list.iter().find_map(|value| value.keyed(key)))
    }

    /// The word, or the first one of the list.
    pub(super) fn first_word(&self) -> Option<&Word> {
        self.word.as_ref().or_else(|| self.list.first().and_then(|value| value.word.as_ref()))
    }
}

type Input<'a> = LocatingSlice<&'a str>;

/// Parses the card that begins at byte `start` of `text`; gives it and the first byte after its last line.
pub(super) fn card(text: &str, start: usize) -> Result<(Card, usize), SyntaxError> {
    let mut input = LocatingSlice::new(text);
    // Places are counted from the start of the whole text.
    let _ = input.next_slice(start);
    match whole_card.parse_next(&mut input) {
        Ok(card) => Ok((card, input.current_token_start())),
        Err(error) => {
            let at = input.current_token_start();
            let label = error.into_inner().ok().and_then(|error: ContextError| {
                error.context().find_map(|context| match context {
                    StrContext::Label(label) => Some(*label),
                    _ => None,
                })
            });
            let found = text[at..].chars().next().map_or(0, char::len_utf8);
            let message = label.unwrap_or("this job control card is not understood here");
            Err(SyntaxError::new(at..at + found, message))
        }
    }
}

/// Operations whose parameters are read.
const WITH_PARAMETERS: [&str; 4] = ["JOB", "EXEC", "DD", "OUTPUT"];

fn whole_card(input: &mut Input<'_>) -> ModalResult<Card> {
    "//".parse_next(input)?;
    let name = take_till(0.., is_field_end).with_span().map(word_of).parse_next(input)?;
    blanks.parse_next(input)?;
    let operation = take_till(1.., is_field_end).with_span().map(word_of);
    let operation = cut_err(operation)
        .context(StrContext::Label("a job control card needs an operation, such as EXEC or DD"))
        .parse_next(input)?;
    if !WITH_PARAMETERS.iter().any(|known| operation.is(known)) {
        rest_of_line.parse_next(input)?;
        return Ok(Card { name, operation, parameters: Vec::new() });
    }
    let parameters = opt(preceded(blanks, parameters_at(0))).parse_next(input)?.unwrap_or_default();
    cut_err(alt((preceded(peek(blank), rest_of_line), line_end)))
        .context(StrContext::Label("a blank or a comma is expected here"))
        .parse_next(input)?;
    Ok(Card { name, operation, parameters })
}

fn word_of((text, at): (&str, std::ops::Range<usize>)) -> Word {
    Word { text: text.to_owned(), at }
}

fn is_blank(c: char) -> bool {
    c == ' ' || c == '\t'
}

fn is_field_end(c: char) -> bool {
    is_blank(c) || c == '\r' || c == '\n'
}

fn blank(input: &mut Input<'_>) -> ModalResult<()> {
    any.verify(|c| is_blank(*c)).void().parse_next(input)
}

fn blanks(input: &mut Input<'_>) -> ModalResult<()> {
    take_while(1.., is_blank).void().parse_next(input)
}

fn line_end(input: &mut Input<'_>) -> ModalResult<()> {
    alt(("\r\n", "\n", winnow::combinator::eof)).void().parse_next(input)
}

fn rest_of_line(input: &mut Input<'_>) -> ModalResult<()> {
    (take_till(0.., '\n'), opt('\n')).void().parse_next(input)
}

/// A comma, and the way to the next card when it ends this one.
fn comma(input: &mut Input<'_>) -> ModalResult<()> {
    let next_card = (peek(alt((blank, line_end))), rest_of_line, "//", blanks);
    (',', opt(next_card)).void().parse_next(input)
}

fn parameters_at<'a>(depth: usize) -> impl Parser<Input<'a>, Vec<Value>, ErrMode<ContextError>> {
    move |input: &mut Input<'a>| {
        if depth == DEPTH_MAX {
            let too_deep = StrContext::Label("too many parentheses within each other");
            return cut_err(fail).context(too_deep).parse_next(input);
        }
        separated(1.., value_at(depth), comma).parse_next(input)
    }
}

fn value_at<'a>(depth: usize) -> impl Parser<Input<'a>, Value, ErrMode<ContextError>> {
    move |input: &mut Input<'a>| {
        let word = opt(word).parse_next(input)?;
        let close = cut_err(')').context(StrContext::Label("`)` is expected here"));
        let list = opt(delimited('(', parameters_at(depth + 1), close)).parse_next(input)?;
        let is = match opt('=').parse_next(input)? {
            Some(_) if depth + 1 == DEPTH_MAX => {
                return cut_err(fail)
                    .context(StrContext::Label("too many `=` after each other"))
                    .parse_next(input);
            }
            Some(_) => Some(Box::new(value_at(depth + 1).parse_next(input)?)),
            None => None,
        };
        Ok(Value { word, list: list.unwrap_or_default(), is })
    }
}

fn word(input: &mut Input<'_>) -> ModalResult<Word> {
    let plain = take_while(1.., |c| !is_field_end(c) && !",()='".contains(c)).map(str::to_owned);
    alt((quoted, plain)).with_span().map(|(text, at)| Word { text, at }).parse_next(input)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Card {
        card(text, 0).unwrap_or_else(|error| panic!("{text:?}: {error:?}")).0
    }

    #[test]
    fn name_operation_parameters_and_comment_are_told_apart() {
        let exec = parse("//STEP1 EXEC PGM=ADRDSSU,REGION=0M   copies, all of it\n");

        assert_eq!((exec.name.text.as_str(), exec.operation.text.as_str()), ("STEP1", "EXEC"));
        let program = exec.parameter("pgm").and_then(Value::first_word);
        assert_eq!(program.expect("a program").text, "ADRDSSU");
        assert_eq!(exec.parameters.len(), 2);
        assert!(parse("//SYSIN DD *").has("*"));
        assert_eq!(parse("//JOB1 JOB\r\n").parameters, []);
    }

    #[test]
    fn volume_serials_are_found_in_their_forms() {
        for text in [
            "//D DD VOL=SER=SORCEV,UNIT=3390",
            "//D DD UNIT=3390,VOL=(,RETAIN,SER=SORCEV)",
            "//D DD VOL=(PRIVATE,,,SER=(SORCEV,OTHER)),\n//  UNIT=3390",
        ] {
            let card = parse(text);
            let serial = card.parameter("VOL").and_then(|volume| volume.find("SER"));
            assert_eq!(serial.and_then(Value::first_word).expect(text).text, "SORCEV");
            assert!(card.parameter("UNIT").is_some(), "{text}");
        }
    }

    #[test]
    fn a_card_ends_with_its_last_line() {
        let text = "//A DD X,   comment\n// Y=1\n//B DD *\n";
        let (first, next) = card(text, 0).expect("a card");

        assert_eq!(first.parameters.len(), 2);
        assert_eq!(&text[next..], "//B DD *\n");
    }

    #[test]
    fn an_error_points_at_its_character() {
        for (text, at) in
            [("//A DD (X", 9), ("//A DD X)Y", 8), ("//A DD 'X", 9), ("//A DD A=((((((((((", 16)]
        {
            assert_eq!(card(text, 0).expect_err(text).at.start, at, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in "//(\\PC{0,80}|[A-Z (),='\n/]{0,80})") {
            let _ = card(&text, 0);
        }
    }
}

//! A deck: the steps of a job, or bare statements, as they stand in a file.
//!
//! With job control around them (`//` in the first columns of some line) statements are those of the in-stream
//! data set SYSIN or SYSTSIN; `EXEC PGM=` says whose they are. Without, each line is a statement of the utility
//! that was asked for.
//!
//! Invariant: parameters of cards that would change what happens (COND, PARM, IF) are refused, never passed over.

use std::ops::Range;

use super::grammar::{self, Statement, Word};
use super::jcl::{self, Card, Value};
use super::source::SyntaxError;

/// Whose statements they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Program {
    /// The terminal monitor program: TSO commands.
    Tso,
    /// DFSMSdss.
    Dss,
    /// ICKDSF.
    Ickdsf,
}

impl Program {
    /// As EXEC cards name it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Tso => "IKJEFT01",
            Self::Dss => "ADRDSSU",
            Self::Ickdsf => "ICKDSF",
        }
    }

    fn named(word: &Word) -> Option<Self> {
        let known = [
            ("IKJEFT01", Self::Tso),
            ("IKJEFT1A", Self::Tso),
            ("IKJEFT1B", Self::Tso),
            ("ADRDSSU", Self::Dss),
            ("ICKDSF", Self::Ickdsf),
        ];
        known.into_iter().find_map(|(name, program)| word.is(name).then_some(program))
    }

    /// The data set that it reads its statements from.
    fn input(self) -> &'static str {
        match self {
            Self::Tso => "SYSTSIN",
            Self::Dss | Self::Ickdsf => "SYSIN",
        }
    }
}

/// One step of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    /// Its name; none for bare statements, or when the card has none.
    pub(crate) name: Option<String>,
    /// What it runs.
    pub(crate) program: Program,
    /// Its DD cards that name a volume or a file.
    pub(crate) cards: Vec<DdCard>,
    /// Its statements in order.
    pub(crate) statements: Vec<Placed>,
}

/// A statement, and where it stands in the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Placed {
    /// The statement.
    pub(crate) statement: Statement,
    /// Its bytes.
    pub(crate) at: Range<usize>,
}

/// A DD card by which statements can name a volume or a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DdCard {
    /// Name of the card.
    pub(crate) name: String,
    /// The first serial of `VOL=SER=`.
    pub(crate) serial: Option<String>,
    /// What `UNIT=` says: a device number or a type.
    pub(crate) unit: Option<String>,
    /// What `PATH=` says: a file.
    pub(crate) path: Option<String>,
}

/// A text taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Deck {
    /// In order.
    pub(crate) steps: Vec<Step>,
    /// Lines that stand neither on a card nor in a data set: nothing reads them.
    pub(crate) stray: Vec<Range<usize>>,
}

/// Takes `text` apart; bare statements are those of `program`. TSO commands are always bare.
pub(crate) fn parse(text: &str, program: Program) -> Result<Deck, SyntaxError> {
    let job = program != Program::Tso && text.lines().any(|line| line.starts_with("//"));
    if !job {
        let statements = statements(text, 0..text.len())?;
        if statements.is_empty() {
            return Err(SyntaxError::new(0..0, "there is no statement"));
        }
        let step = Step { name: None, program, cards: Vec::new(), statements };
        return Ok(Deck { steps: vec![step], stray: Vec::new() });
    }
    let mut reader = Reader { text, at: 0, steps: Vec::new(), stray: Vec::new() };
    while reader.at < text.len() {
        reader.read_line()?;
    }
    reader.finish()
}

fn statements(text: &str, range: Range<usize>) -> Result<Vec<Placed>, SyntaxError> {
    let mut placed = Vec::new();
    for at in grammar::statement_ranges(text, range) {
        if let Some(statement) = grammar::statement(text, at.clone())? {
            placed.push(Placed { statement, at });
        }
    }
    Ok(placed)
}

/// Reads a job, a line or a card at a time.
struct Reader<'a> {
    text: &'a str,
    at: usize,
    /// With the bytes of their EXEC cards.
    steps: Vec<(Step, Range<usize>)>,
    stray: Vec<Range<usize>>,
}

impl Reader<'_> {
    fn line(&self) -> Range<usize> {
        let rest = &self.text[self.at..];
        self.at..self.at + rest.find('\n').map_or(rest.len(), |newline| newline + 1)
    }

    fn read_line(&mut self) -> Result<(), SyntaxError> {
        let range = self.line();
        let line = self.text[range.clone()].trim_end();
        if line.starts_with("//*") || line == "//" || line.starts_with("/*") || line.is_empty() {
            self.at = range.end;
            return Ok(());
        }
        if !line.starts_with("//") {
            self.stray.push(range.start..range.start + line.len());
            self.at = range.end;
            return Ok(());
        }
        let (card, next) = jcl::card(self.text, self.at)?;
        self.at = next;
        let operation = card.operation.text.to_ascii_uppercase();
        match operation.as_str() {
            "JOB" | "OUTPUT" => refuse_parameters(&card),
            "EXEC" => self.begin_step(&card, range),
            "DD" => self.take_dd(&card),
            _ => Err(SyntaxError::new(
                card.operation.at.clone(),
                format!("{operation} cards are not served"),
            )
            .with_help("JOB, EXEC PGM=, DD and comment cards are")),
        }
    }

    fn begin_step(&mut self, card: &Card, at: Range<usize>) -> Result<(), SyntaxError> {
        refuse_parameters(card)?;
        let help = "ADRDSSU, ICKDSF and IKJEFT01 can be run";
        let Some(word) = card.parameter("PGM").and_then(Value::first_word) else {
            let message = "EXEC needs PGM=: procedures are not served";
            return Err(SyntaxError::new(card.operation.at.clone(), message).with_help(help));
        };
        let Some(program) = Program::named(word) else {
            let message = format!("there is no program {}", word.text);
            return Err(SyntaxError::new(word.at.clone(), message).with_help(help));
        };
        let name = Some(card.name.text.clone()).filter(|name| !name.is_empty());
        let step = Step { name, program, cards: Vec::new(), statements: Vec::new() };
        self.steps.push((step, at));
        Ok(())
    }

    fn take_dd(&mut self, card: &Card) -> Result<(), SyntaxError> {
        let data = if card.has("*") || card.has("DATA") {
            let delimiter = card.parameter("DLM").and_then(Value::first_word);
            let delimiter = delimiter.map_or("/*", |word| word.text.as_str()).to_owned();
            Some(self.in_stream(&delimiter, card.has("*")))
        } else {
            None
        };
        let text = self.text;
        let Some((step, _)) = self.steps.last_mut() else {
            return Ok(());
        };
        if let Some(data) = data {
            if card.name.is(step.program.input()) {
                step.statements.extend(statements(text, data)?);
            }
            return Ok(());
        }
        let volume = card.parameter("VOL").or_else(|| card.parameter("VOLUME"));
        let serial = volume.and_then(|volume| volume.find("SER")).and_then(Value::first_word);
        let unit = card.parameter("UNIT").and_then(Value::first_word);
        let path = card.parameter("PATH").and_then(Value::first_word);
        if serial.is_some() || unit.is_some() || path.is_some() {
            step.cards.push(DdCard {
                name: card.name.text.clone(),
                serial: serial.map(|word| word.text.clone()),
                unit: unit.map(|word| word.text.clone()),
                path: path.map(|word| word.text.clone()),
            });
        }
        Ok(())
    }

    /// The bytes up to the delimiter; of `DD *` also up to the next card.
    fn in_stream(&mut self, delimiter: &str, ends_at_card: bool) -> Range<usize> {
        let start = self.at;
        while self.at < self.text.len() {
            let range = self.line();
            let line = &self.text[range.clone()];
            // A comment that ends on its line is no delimiter, so that what follows it is not passed over.
            let comment = line.starts_with("/*") && line.trim_end().ends_with("*/");
            if (line.starts_with(delimiter) && !comment) || (ends_at_card && line.starts_with("//"))
            {
                let data = start..self.at;
                if line.starts_with(delimiter) {
                    self.at = range.end;
                }
                return data;
            }
            self.at = range.end;
        }
        start..self.at
    }

    fn finish(self) -> Result<Deck, SyntaxError> {
        let without = self.steps.iter().find(|(step, _)| step.statements.is_empty());
        if let Some((step, at)) = without {
            let message = format!(
                "this step has no statements: they follow a card `//{} DD *`",
                step.program.input()
            );
            return Err(SyntaxError::new(at.clone(), message));
        }
        if self.steps.is_empty() {
            return Err(SyntaxError::new(0..0, "there is no EXEC card, so nothing to run"));
        }
        let steps = self.steps.into_iter().map(|(step, _)| step).collect();
        Ok(Deck { steps, stray: self.stray })
    }
}

/// Those that would keep a step from running, or change what it does.
fn refuse_parameters(card: &Card) -> Result<(), SyntaxError> {
    for key in ["COND", "PARM", "PARMDD", "RESTART", "TYPRUN"] {
        let named = card.parameters.iter().filter_map(|parameter| parameter.word.as_ref());
        if let Some(word) = named.clone().find(|word| word.is(key)) {
            let message = format!("{key} is not served: every step runs, and without parameters");
            return Err(SyntaxError::new(word.at.clone(), message));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(text: &str) -> Deck {
        parse(text, Program::Dss).unwrap_or_else(|error| panic!("{text:?}: {error:?}"))
    }

    fn printed(step: &Step) -> Vec<String> {
        step.statements.iter().map(|placed| placed.statement.to_string()).collect()
    }

    #[test]
    fn the_sample_job_of_the_paper_is_one_copy() {
        let deck = parsed(
            "//COPYFULL JOB \n\n//* \n\n//INSTIMG EXEC PGM=ADRDSSU \n\n//SYSPRINT DD SYSOUT=* \n\n\
             //SYSUDUMP DD SYSOUT=V,OUTLIM=3000 \n\n//SYSIN DD * \n\n\
             COPY FULL INDYNAM (SORCEV) OUTDYNAM (TRGVOL) COPYVOLID \n\n/* \n",
        );

        assert_eq!(deck.steps.len(), 1);
        assert_eq!(deck.steps[0].name.as_deref(), Some("INSTIMG"));
        let copy = "COPY FULL INDYNAM(SORCEV) OUTDYNAM(TRGVOL) COPYVOLID";
        assert_eq!(printed(&deck.steps[0]), [copy]);
        assert!(deck.stray.is_empty(), "{:?}", deck.stray);
    }

    #[test]
    fn steps_have_their_own_program_cards_and_statements() {
        let deck = parsed(
            "//J JOB\n//A EXEC PGM=ADRDSSU\n//IN DD VOL=SER=V1,UNIT=3390\n//SYSIN DD *\n COPY FULL -\n\
             INDDNAME(IN)\n SERIAL\n//B EXEC PGM=ICKDSF\n//D DD UNIT=0A00\n//OTHER DD *\nnot this\n\
             //SYSIN DD DATA,DLM='$$'\nFLASHCPY THAW\n$$\n//\n",
        );

        assert_eq!(printed(&deck.steps[0]), ["COPY FULL INDDNAME(IN)", "SERIAL"]);
        assert_eq!(deck.steps[0].cards[0].serial.as_deref(), Some("V1"));
        assert_eq!(deck.steps[1].program, Program::Ickdsf);
        assert_eq!(deck.steps[1].cards[0].unit.as_deref(), Some("0A00"));
    }

    #[test]
    fn bare_statements_are_those_of_the_utility_asked_for() {
        let deck = parsed("/* note */\nSERIAL\n\nPARALLEL\n");
        assert_eq!(printed(&deck.steps[0]), ["SERIAL", "PARALLEL"]);
    }

    #[test]
    fn a_comment_in_column_one_does_not_end_the_data_but_a_delimiter_does() {
        let deck =
            parsed("//A EXEC PGM=ADRDSSU\n//SYSIN DD *\n/* note */\nSERIAL\n/*\nleft over\n");
        assert_eq!(printed(&deck.steps[0]), ["SERIAL"]);
        assert_eq!(deck.stray.len(), 1);
    }

    #[test]
    fn what_would_change_the_run_is_refused_at_its_place() {
        for (text, word) in [
            ("//A EXEC PGM=ADRDSSU,PARM='TYPRUN=NORUN'\n", "PARM"),
            ("//A EXEC PGM=ADRDSSU,COND=(4,LT)\n", "COND"),
            ("//A EXEC PGM=IEFBR14\n", "IEFBR14"),
            ("//A EXEC MYPROC\n", "EXEC"),
            ("// IF (A.RC = 0) THEN\n", "IF"),
            ("//J JOB TYPRUN=SCAN\n", "TYPRUN"),
        ] {
            let error = parse(text, Program::Dss).expect_err(text);
            assert_eq!(&text[error.at.clone()], word, "{error:?}");
        }
        assert!(parse("//A EXEC PGM=ADRDSSU\n", Program::Dss).is_err());
        assert!(parse(" \n", Program::Dss).is_err());
    }

    proptest! {
        #[test]
        fn no_deck_makes_the_reader_panic(
            lines in proptest::collection::vec(
                "//[A-Z]{0,3} (EXEC|DD|JOB) ?(PGM=ADRDSSU|\\*|[A-Z,=('*)]{0,9})|/\\*.{0,4}|\\PC{0,20}|[A-Z(),'/* +-]{0,20}",
                0..9,
            ),
        ) {
            let text = lines.join("\n");
            let _ = parse(&text, Program::Dss);
        }
    }
}

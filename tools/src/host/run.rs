//! Carries out a text, and tells what became of each statement.

use std::pin::Pin;
use std::task::Poll;

use super::control::{Control, Stop};
use super::deck::{self, Deck, Placed, Program, Step};
use super::messages::{Code, Message, Told, ended};
use super::operands::Fault;
use super::source::{self, SyntaxError};
use super::{dss, ickdsf, tso};
use crate::failure::Failure;
use crate::output::{Output, write_text};

/// A statement, ready to be carried out, or the refusal that it is told with.
struct Compiled {
    step: Option<String>,
    program: Program,
    line: usize,
    statement: String,
    action: Result<Action, Message>,
}

enum Action {
    Tso(tso::Action),
    Dss(dss::Action),
    Ickdsf(ickdsf::Action),
}

/// Carries out `text`, which is called `name` in errors.
pub(super) async fn run(
    name: &str,
    text: &str,
    program: Program,
    control: Control<'_>,
) -> Result<(), Failure> {
    let output = control.output;
    let read = deck::parse(text, program).and_then(|deck| Ok((compile(text, &deck)?, deck)));
    let (compiled, deck) = match read {
        Ok(read) => read,
        Err(error) => {
            return Err(malformed(name, text, program, error, output));
        }
    };
    let stray = deck.stray.iter().map(|at| about_stray(text, at.clone(), program));
    // One command on the command line needs no repetition.
    let echo = program != Program::Tso || compiled.len() > 1;
    let mut report = Reporter { output, echo, told: Vec::new(), highest: Code::Done };
    stray.for_each(|told| report.keep(told));
    let result = carry_out(&compiled, control, &mut report).await;
    report.finish(&compiled)?;
    result?;
    if report.highest >= Code::Failed {
        return Err(Failure::HostCommand { code: report.highest.number() });
    }
    Ok(())
}

fn compile(text: &str, deck: &Deck) -> Result<Vec<Compiled>, SyntaxError> {
    let mut compiled = Vec::new();
    for step in &deck.steps {
        for placed in &step.statements {
            let action = match compile_one(step, placed) {
                Ok(action) => Ok(action),
                Err(Fault::Malformed(error)) => return Err(error),
                Err(Fault::Declined(refusal)) => Err(match step.program {
                    Program::Tso => tso::refused(&refusal),
                    Program::Dss => dss::refused(&refusal),
                    Program::Ickdsf => ickdsf::refused(&refusal),
                }),
            };
            compiled.push(Compiled {
                step: step.name.clone(),
                program: step.program,
                line: source::place(text, placed.at.start).0,
                statement: placed.statement.to_string(),
                action,
            });
        }
    }
    Ok(compiled)
}

fn compile_one(step: &Step, placed: &Placed) -> Result<Action, Fault> {
    match step.program {
        Program::Tso => tso::compile(&placed.statement).map(Action::Tso),
        Program::Dss => dss::compile(&placed.statement, &step.cards).map(Action::Dss),
        Program::Ickdsf => ickdsf::compile(&placed.statement, &step.cards).map(Action::Ickdsf),
    }
}

/// Statements one after the other; those after PARALLEL at the same time, up to SERIAL or the end of their step.
async fn carry_out(
    compiled: &[Compiled],
    control: Control<'_>,
    report: &mut Reporter,
) -> Result<(), Failure> {
    let mut rest = compiled;
    let mut parallel = false;
    while let [first, ..] = rest {
        if let Ok(Action::Dss(action @ (dss::Action::Parallel | dss::Action::Serial))) =
            &first.action
        {
            parallel = *action == dss::Action::Parallel;
        }
        let together = if parallel { at_the_same_time(rest) } else { 1 };
        let (now, later) = rest.split_at(together);
        for (statement, (messages, stop)) in now.iter().zip(all(now, control).await) {
            report.keep(told(statement, messages));
            if let Some(failure) = stop {
                return Err(failure);
            }
        }
        // A step begins serially.
        if let (Some(last), Some(next)) = (now.last(), later.first())
            && (last.step != next.step || last.program != next.program)
        {
            parallel = false;
        }
        rest = later;
    }
    Ok(())
}

/// How many statements from the first on may run together.
fn at_the_same_time(rest: &[Compiled]) -> usize {
    let ends = |statement: &Compiled| {
        let of_control = matches!(
            &statement.action,
            Ok(Action::Dss(dss::Action::Serial | dss::Action::Thaw(_)))
        );
        of_control || statement.step != rest[0].step || statement.program != rest[0].program
    };
    rest.iter().skip(1).position(ends).map_or(rest.len(), |position| position + 1)
}

type Ended = (Vec<Message>, Option<Failure>);

/// Carries the statements out at the same time.
async fn all(statements: &[Compiled], control: Control<'_>) -> Vec<Ended> {
    let mut running: Vec<Pin<Box<dyn Future<Output = Ended> + '_>>> = Vec::new();
    for statement in statements {
        running.push(Box::pin(one(statement, control)));
    }
    let mut ended: Vec<Option<Ended>> = running.iter().map(|_| None).collect();
    std::future::poll_fn(|context| {
        for (future, place) in running.iter_mut().zip(&mut ended) {
            if place.is_none()
                && let Poll::Ready(end) = future.as_mut().poll(context)
            {
                *place = Some(end);
            }
        }
        if ended.iter().all(Option::is_some) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    ended.into_iter().flatten().collect()
}

async fn one(statement: &Compiled, control: Control<'_>) -> Ended {
    let mut messages = Vec::new();
    let action = match &statement.action {
        Ok(action) => action,
        Err(refused) => return (vec![refused.clone()], None),
    };
    let result = match action {
        Action::Tso(action) => tso::run(action, control, &mut messages).await,
        Action::Dss(action) => dss::run(action, control, &mut messages).await,
        Action::Ickdsf(action) => ickdsf::run(action, control, &mut messages).await,
    };
    match result {
        Ok(()) => (messages, None),
        Err(Stop::Refused(refusal)) => {
            messages.push(match action {
                Action::Tso(_) => tso::refused(&refusal),
                Action::Dss(_) => dss::refused(&refusal),
                Action::Ickdsf(_) => ickdsf::refused(&refusal),
            });
            (messages, None)
        }
        Err(Stop::Broken(failure)) => (messages, Some(failure)),
    }
}

fn told(statement: &Compiled, mut messages: Vec<Message>) -> Told {
    let code = Told::highest(&messages);
    messages.extend(ended(statement.program, code));
    Told {
        step: statement.step.clone(),
        program: statement.program.name(),
        line: statement.line,
        statement: statement.statement.clone(),
        messages,
        code: code.number(),
    }
}

/// A line that nothing reads: what it says is not done.
fn about_stray(text: &str, at: std::ops::Range<usize>, program: Program) -> Told {
    let line = source::place(text, at.start).0;
    let message = format!("LINE {line} STANDS OUTSIDE OF ANY DATA SET: IT IS NOT READ");
    Told {
        step: None,
        program: program.name(),
        line,
        statement: text[at].to_owned(),
        messages: vec![Message::new("IEF990W", Code::Warning, message)],
        code: Code::Warning.number(),
    }
}

/// A text that makes no sense has condition code 12; in JSON it is told like a statement too.
fn malformed(
    name: &str,
    text: &str,
    program: Program,
    error: SyntaxError,
    output: Output,
) -> Failure {
    let error = error.in_text(name, text);
    if output == Output::Json {
        let id = match program {
            Program::Tso => "ANTF9000E",
            Program::Dss => "ADR999E",
            Program::Ickdsf => "ICK39000I",
        };
        let statement = text.lines().nth(error.line - 1).unwrap_or_default().trim().to_owned();
        let told = Told {
            step: None,
            program: program.name(),
            line: error.line,
            statement,
            messages: vec![Message::new(id, Code::Terminated, error.to_string())],
            code: Code::Terminated.number(),
        };
        if let Err(failure) = output.object(&[told], |_| String::new()) {
            return failure;
        }
    }
    Failure::Malformed(Box::new(error))
}

/// Tells statements as they end; in JSON all of them at the end.
struct Reporter {
    output: Output,
    /// Whether the statement is printed before its messages.
    echo: bool,
    told: Vec<Told>,
    highest: Code,
}

impl Reporter {
    fn keep(&mut self, told: Told) {
        let code = Told::highest(&told.messages);
        self.highest = self.highest.max(code);
        if self.output == Output::Text {
            // A reader that has left does not keep the rest from being done.
            let _ = write_text(&self.printed(&told));
        }
        self.told.push(told);
    }

    fn finish(&self, compiled: &[Compiled]) -> Result<(), Failure> {
        if self.output == Output::Json {
            return self.output.object(&self.told, |_| String::new());
        }
        let number = self.highest.number();
        match compiled.last().map(|last| last.program) {
            Some(Program::Dss) => write_text(&format!(
                "ADR012I PROCESSING COMPLETE. HIGHEST RETURN CODE IS {number:04}"
            )),
            Some(Program::Ickdsf) => write_text(&format!(
                "ICK00002I PROCESSING COMPLETE. MAXIMUM CONDITION CODE WAS {number}"
            )),
            Some(Program::Tso) | None => Ok(()),
        }
    }

    fn printed(&self, told: &Told) -> String {
        let statement = format!("{:>4} {}", told.line, told.statement);
        let messages =
            told.messages.iter().map(|message| format!("{} {}", message.id, message.text));
        let lines: Vec<String> =
            self.echo.then_some(statement).into_iter().chain(messages).collect();
        lines.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WORDS: &str = "FCESTABL FCQUERY FCWITHDR COPY DUMP RESTORE CGCREATED SERIAL PARALLEL FLASHCPY CONTROL INIT \
        SDEVN TDEVN DEVN EXTENTS XTNTLST XXTNTLST MODE NOCOPY NOCOPY2COPY ONLINTGT YES NO INCREMENTAL YTW ACTION FREEZE \
        FRR THAW COMMIT SETGTOK SHOWRELS ALL STARTADDR UNFORMAT DDSW FULL TRACKS DATASET INCLUDE INDYNAM OUTDYNAM INDDNAME \
        OUTDDNAME RENAMEU COPYVOLID FCNOCOPY FCINCREMENTAL FCWAIT FCSETGTOK FAILRELATION DEBUG FRMSG DETAILED \
        ACCESSVOLUME FCCGVERIFY ESTABLISH WITHDRAW QUERY RELATIONS UNITADDRESS DDNAME TARGETVOL REMOVEFCPY VERIFY VOLID \
        0A00 0A 01 00000000 0000000E FFFFFFFE FFFFFFFF 0 14 255 4294967295 A.B '/x' *";

    fn operand() -> impl Strategy<Value = String> {
        let words: Vec<&str> = WORDS.split_whitespace().collect();
        let word = proptest::sample::select(words).prop_map(str::to_owned);
        word.prop_recursive(2, 8, 4, |inner| {
            (inner.clone(), proptest::collection::vec(inner, 0..5))
                .prop_map(|(word, values)| format!("{word}({})", values.join(",")))
        })
    }

    proptest! {
        #[test]
        fn no_mixture_of_keywords_makes_a_utility_panic(
            verb in 0_usize..12,
            operands in proptest::collection::vec(operand(), 0..8),
        ) {
            let verb = WORDS.split_whitespace().nth(verb).unwrap_or_default();
            let text = format!("{verb} {}", operands.join(" "));
            for program in [Program::Tso, Program::Dss, Program::Ickdsf] {
                let deck = deck::parse(&text, program);
                let _ = deck.and_then(|deck| compile(&text, &deck).map(drop));
            }
        }
    }
}

//! DFSMSdss: COPY, DUMP, RESTORE, CGCREATED, SERIAL and PARALLEL (semantics 2.1).
//!
//! Volumes are named by serial, which is their name here, or by DD card. A refused command has return code 8.

mod copy;
mod dataset;
mod dump;
mod explain;
mod flash;
mod full;
mod in_the_way;
mod thaw;

use flashtrack_engine::admin::{Refusal, VolumeReport};

use super::control::{Control, Stop, Volumes};
use super::deck::DdCard;
use super::grammar::{Operand, Statement, Word};
use super::messages::{Code, Message};
use super::operands::{Fault, Operands, device_number, listed_words, one_word};
use super::source::SyntaxError;

/// A DFSMSdss command, ready to be carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// COPY.
    Copy(copy::Copy),
    /// DUMP.
    Dump(dump::Dump),
    /// RESTORE.
    Restore(dump::Restore),
    /// CGCREATED.
    Thaw(thaw::Thaw),
    /// PARALLEL: the commands after it run at the same time.
    Parallel,
    /// SERIAL: each waits for the one before.
    Serial,
}

/// What `statement` asks for; `cards` are those of its step.
pub(crate) fn compile(statement: &Statement, cards: &[DdCard]) -> Result<Action, Fault> {
    let operands = Operands::of(statement);
    let verb = &statement.verb;
    if verb.is("COPY") {
        return copy::compile(operands, cards).map(Action::Copy);
    }
    if verb.is("DUMP") {
        return dump::compile_dump(operands, cards).map(Action::Dump);
    }
    if verb.is("RESTORE") {
        return dump::compile_restore(operands, cards).map(Action::Restore);
    }
    if verb.is("CGCREATED") || verb.is("CGCREATE") {
        return thaw::compile(operands).map(Action::Thaw);
    }
    let control = if verb.is("PARALLEL") {
        Action::Parallel
    } else if verb.is("SERIAL") {
        Action::Serial
    } else {
        let message = format!("DFSMSdss command {} is not served", verb.text.to_uppercase());
        let help = "COPY, DUMP, RESTORE, CGCREATED, SERIAL and PARALLEL are";
        return Err(SyntaxError::new(verb.at.clone(), message).with_help(help).into());
    };
    operands.finish()?;
    Ok(control)
}

/// Carries it out. Messages are added as things are done.
pub(crate) async fn run(
    action: &Action,
    control: Control<'_>,
    messages: &mut Vec<Message>,
) -> Result<(), Stop> {
    match action {
        Action::Copy(copy) => copy::run(copy, control, messages).await,
        Action::Dump(options) => dump::dump(options, control, messages).await,
        Action::Restore(options) => dump::restore(options, control, messages).await,
        Action::Thaw(thaw) => thaw::run(thaw, control, messages).await,
        Action::Parallel | Action::Serial => Ok(()),
    }
}

/// How a refusal is told.
pub(crate) fn refused(refusal: &Refusal) -> Message {
    Message::refused("ADR990E", Code::Failed, refusal)
}

/// How a statement names a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
enum VolumeName {
    Serial(String),
    Device(u16),
}

impl VolumeName {
    fn resolve<'a>(&self, volumes: &'a Volumes) -> Result<&'a VolumeReport, Refusal> {
        match self {
            Self::Serial(serial) => volumes.by_serial(serial),
            Self::Device(device) => volumes.by_device(*device),
        }
    }

    /// What the DD card of that name says.
    fn of_card(word: &Word, cards: &[DdCard]) -> Result<Self, SyntaxError> {
        let wrong = |message: String| SyntaxError::new(word.at.clone(), message);
        let card = cards.iter().find(|card| word.is(&card.name)).ok_or_else(|| {
            wrong(format!("no DD card {} names a volume", word.text)).with_help(
                "write one such as `//DISK1 DD UNIT=3390,VOL=SER=SORCEV` in the same step",
            )
        })?;
        if let Some(serial) = &card.serial {
            return Ok(Self::Serial(serial.clone()));
        }
        let unit = card.unit.clone().unwrap_or_default();
        let digits = Word { text: unit.trim_start_matches('/').to_owned(), at: word.at.clone() };
        device_number(&digits).map(Self::Device).map_err(|_| {
            wrong(format!(
                "DD card {} has no VOL=SER=, and UNIT={unit} is no device number",
                word.text
            ))
        })
    }
}

/// Types of devices that may stand after a serial.
const UNITS: [&str; 5] = ["3390", "3380", "SYSDA", "SYSALLDA", "DISK"];

/// The volumes that `INDYNAM(...)` or `OUTDYNAM(...)` lists.
fn dynamic(operand: &Operand) -> Result<Vec<VolumeName>, SyntaxError> {
    listed_words(operand)?
        .into_iter()
        .map(|words| match words.as_slice() {
            [serial] => Ok(VolumeName::Serial(serial.text.clone())),
            [serial, unit] if UNITS.iter().any(|known| unit.is(known)) => {
                Ok(VolumeName::Serial(serial.text.clone()))
            }
            _ => {
                let keyword = operand.word.text.to_uppercase();
                let at = words.get(1).map_or(operand.word.at.clone(), |word| word.at.clone());
                let help = format!("several volumes are written {keyword}((VOL1),(VOL2))");
                Err(SyntaxError::new(at, "after the serial only a unit such as 3390 may stand")
                    .with_help(help))
            }
        })
        .collect()
}

/// The volumes that either keyword lists; at most one of them may be there.
fn listed_volumes(
    card: Option<&Operand>,
    serials: Option<&Operand>,
    cards: &[DdCard],
) -> Result<Vec<VolumeName>, SyntaxError> {
    match (card, serials) {
        (Some(_), Some(serials)) => {
            let message = "the volume is named by DD card already";
            Err(SyntaxError::new(serials.word.at.clone(), message))
        }
        (Some(card), None) => Ok(vec![VolumeName::of_card(one_word(card)?, cards)?]),
        (None, Some(serials)) => dynamic(serials),
        (None, None) => Ok(Vec::new()),
    }
}

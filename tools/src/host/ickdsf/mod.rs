//! ICKDSF: FLASHCPY for whole volumes, CONTROL REMOVEFCPY and INIT (semantics 2.2).
//!
//! A command names its device with UNITADDRESS, or with DDNAME by a DD card. A refused command has condition code 12.

mod device;
mod flashcpy;
mod query;

use flashtrack_engine::admin::{Refusal, VolumeReport};

use super::control::{Control, Stop, Volumes};
use super::deck::DdCard;
use super::grammar::Statement;
use super::messages::{Code, Message};
use super::operands::{Fault, Operands, Unserved, device_number};
use super::source::SyntaxError;

/// An ICKDSF command, ready to be carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// FLASHCPY ESTABLISH.
    Establish(flashcpy::Establish),
    /// FLASHCPY ESTABLISH MODE(NOCOPYTOCOPY).
    Convert(Device),
    /// FLASHCPY WITHDRAW.
    Withdraw(flashcpy::Withdraw),
    /// FLASHCPY QUERY RELATIONS.
    Query(Device),
    /// FLASHCPY THAW.
    Thaw(Device),
    /// CONTROL REMOVEFCPY.
    Remove(Device),
    /// INIT.
    Init(device::Init),
}

/// What `statement` asks for; `cards` are those of its step.
pub(crate) fn compile(statement: &Statement, cards: &[DdCard]) -> Result<Action, Fault> {
    let operands = Operands::of(statement);
    let verb = &statement.verb;
    if verb.is("FLASHCPY") {
        flashcpy::compile(operands, cards)
    } else if verb.is("CONTROL") {
        device::compile_control(operands, cards)
    } else if verb.is("INIT") || verb.is("INITCKD") {
        device::compile_init(operands, cards)
    } else {
        let message = format!("ICKDSF command {} is not served", verb.text.to_uppercase());
        let help = "FLASHCPY, CONTROL REMOVEFCPY and INIT are";
        Err(SyntaxError::new(verb.at.clone(), message).with_help(help).into())
    }
}

/// Carries it out. Messages are added as things are done.
pub(crate) async fn run(
    action: &Action,
    control: Control<'_>,
    messages: &mut Vec<Message>,
) -> Result<(), Stop> {
    match action {
        Action::Establish(establish) => flashcpy::establish(establish, control).await,
        Action::Convert(source) => flashcpy::convert(source, control, messages).await,
        Action::Withdraw(withdraw) => flashcpy::withdraw(withdraw, control, messages).await,
        Action::Query(device) => query::run(device, control, messages).await,
        Action::Thaw(device) => flashcpy::thaw(device, control, messages).await,
        Action::Remove(device) => device::remove(device, control, messages).await,
        Action::Init(init) => device::init(init, control, messages).await,
    }
}

/// How a refusal is told.
pub(crate) fn refused(refusal: &Refusal) -> Message {
    Message::refused("ICK39001I", Code::Terminated, refusal)
}

/// How a statement names its device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Device {
    /// By its number.
    Number(u16),
    /// By the serial on a DD card.
    Serial(String),
}

impl Device {
    fn resolve<'a>(&self, volumes: &'a Volumes) -> Result<&'a VolumeReport, Refusal> {
        match self {
            Self::Number(number) => volumes.by_device(*number),
            Self::Serial(serial) => volumes.by_serial(serial),
        }
    }
}

/// Takes UNITADDRESS or DDNAME.
fn take_device(
    operands: &mut Operands<'_>,
    cards: &[DdCard],
) -> Result<Option<Device>, SyntaxError> {
    let number = operands.value(&["UNITADDRESS", "UNITADDR", "UNIT"])?;
    let card_name = operands.value(&["DDNAME", "DNAME"])?;
    match (number, card_name) {
        (None, None) => Ok(None),
        (Some(number), None) => device_number(number).map(|number| Some(Device::Number(number))),
        (Some(_), Some(name)) => {
            let message = "UNITADDRESS and DDNAME exclude each other";
            Err(SyntaxError::new(name.at.clone(), message))
        }
        (None, Some(name)) => {
            let card = cards.iter().find(|card| name.is(&card.name)).ok_or_else(|| {
                let message = format!("no DD card {} names a volume", name.text);
                SyntaxError::new(name.at.clone(), message)
                    .with_help("write one such as `//DISK1 DD UNIT=0A00` in the same step")
            })?;
            let unit = card.unit.as_deref().map(|unit| unit.trim_start_matches('/').to_owned());
            // A serial wins: `UNIT=3390` beside it is a type, although it reads like a number.
            if let Some(serial) = &card.serial {
                return Ok(Some(Device::Serial(serial.clone())));
            }
            let unit = super::grammar::Word { text: unit.unwrap_or_default(), at: name.at.clone() };
            device_number(&unit).map(|number| Some(Device::Number(number)))
        }
    }
}

fn required(device: Option<Device>, place: std::ops::Range<usize>) -> Result<Device, SyntaxError> {
    device.ok_or_else(|| {
        SyntaxError::new(place, "UNITADDRESS(device) or DDNAME(card) is missing")
            .with_help("a device number has four hexadecimal digits, such as UNITADDRESS(0A00)")
    })
}

/// Keywords of other systems and of mirrors.
const ELSEWHERE: [Unserved; 3] = [
    Unserved {
        names: &["SYSNAME"],
        harmless: &[],
        reason: "it names devices of another operating system; use UNITADDRESS",
    },
    Unserved {
        names: &["TGTOKASPPRCPRIM"],
        harmless: &["NO"],
        reason: "there are no mirrors that a target could be primary of",
    },
    Unserved {
        names: &["PRESERVEMIRROR", "PRESMIR"],
        harmless: &["NO"],
        reason: "there are no mirrors that a target could be primary of",
    },
];

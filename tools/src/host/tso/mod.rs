//! TSO commands: FCESTABL, FCQUERY and FCWITHDR (semantics 1.1 to 1.3).
//!
//! Volumes are named by device number. A refused command has condition code 8.

mod establish;
mod query;
mod withdraw;

use flashtrack_engine::admin::{Refusal, RefusalKind};

use super::control::{Control, Stop};
use super::grammar::{Statement, Word};
use super::messages::{Code, Message};
use super::operands::{Fault, Operands, Unserved, device_number};
use super::source::SyntaxError;

/// A TSO command, ready to be carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// FCESTABL.
    Establish(establish::Establish),
    /// FCESTABL MODE(NOCOPY2COPY): device number of the source.
    Convert(u16),
    /// FCQUERY.
    Query(query::Query),
    /// FCWITHDR of relationships.
    Withdraw(withdraw::Withdraw),
    /// FCWITHDR ACTION(THAW): device number of any volume of the control unit.
    Thaw(u16),
}

/// Keywords that address a volume in another way than by its device number here.
const ADDRESSING: [Unserved; 6] = [
    Unserved {
        names: &["SUBCHSET"],
        harmless: &["0"],
        reason: "there is one subchannel set, number 0",
    },
    Unserved {
        names: &["TSUBCHSET"],
        harmless: &["0"],
        reason: "there is one subchannel set, number 0",
    },
    Unserved {
        names: &["TGTUCB"],
        harmless: &["YES"],
        reason: "every volume has a device number; name the target with TDEVN",
    },
    Unserved {
        names: &["OPENDVCS"],
        harmless: &["NO"],
        reason: "every volume, also of type fb, has a device number of its own",
    },
    Unserved {
        names: &["REMOTE"],
        harmless: &["NO"],
        reason: "it runs on the other side of a mirror, and there are no mirrors",
    },
    Unserved {
        names: &["SSID"],
        harmless: &[],
        reason: "it names the other side of a mirror, and there are no mirrors",
    },
];

/// What `statement` asks for.
pub(crate) fn compile(statement: &Statement) -> Result<Action, Fault> {
    let operands = Operands::of(statement);
    let verb = &statement.verb;
    if verb.is("FCESTABL") {
        establish::compile(operands)
    } else if verb.is("FCQUERY") {
        query::compile(operands)
    } else if verb.is("FCWITHDR") {
        withdraw::compile(operands)
    } else {
        let message = format!("there is no TSO command {}", verb.text);
        let help = "the commands are FCESTABL, FCQUERY and FCWITHDR";
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
        Action::Establish(establish) => establish::run(establish, control, messages).await,
        Action::Convert(source) => establish::convert(*source, control, messages).await,
        Action::Query(query) => query::run(query, control, messages).await,
        Action::Withdraw(withdraw) => withdraw::run(withdraw, control, messages).await,
        Action::Thaw(device) => withdraw::thaw(*device, control, messages).await,
    }
}

/// How a refusal is told.
pub(crate) fn refused(refusal: &Refusal) -> Message {
    let id = if refusal.kind == RefusalKind::Unsupported { "ANTF9002E" } else { "ANTF9001E" };
    Message::refused(id, Code::Failed, refusal)
}

fn completed(verb: &str, device: u16) -> Message {
    let text = format!("{verb} COMMAND COMPLETED FOR DEVICE {device:04X}. COMPLETION CODE: 00");
    Message::info("ANTF0001I", text)
}

fn device(word: Option<&Word>) -> Result<Option<u16>, SyntaxError> {
    word.map(device_number).transpose()
}

fn required(
    device: Option<u16>,
    keyword: &str,
    operands: &std::ops::Range<usize>,
) -> Result<u16, SyntaxError> {
    device.ok_or_else(|| {
        SyntaxError::new(operands.clone(), format!("{keyword} is missing"))
            .with_help(format!("name the volume by its device number, such as {keyword}(0A00)"))
    })
}

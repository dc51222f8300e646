//! FCWITHDR: the seven combinations that the array takes (semantics 1.3); every other one is refused.
//!
//! ```text
//! 1  TDEVN                      4  SDEVN TDEVN XTNTLST         7  DEVN ACTION(THAW)
//! 2  TDEVN XTNTLST              5  SDEVN DDSW(YES)             5 and 6: TDEVN is ignored
//! 3  SDEVN TDEVN                6  SDEVN DDSW(YES) XTNTLST
//! ```

use flashtrack_engine::admin::{Command, ExtentSpec, Report, WithdrawSpec};

use super::{ADDRESSING, Action, completed, device, required};
use crate::host::control::{Control, Stop, control_unit};
use crate::host::extents::Lists;
use crate::host::messages::Message;
use crate::host::operands::{Fault, Operands, Unserved, declined, rejected};
use crate::host::relations;

/// An FCWITHDR of relationships.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Withdraw {
    source: Option<u16>,
    target: Option<u16>,
    extents: Vec<ExtentSpec>,
    ddsw: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verb {
    Thaw,
    Commit,
    Revert,
}

const INDIRECT: &str = "name the volumes with SDEVN and TDEVN";

const UNSERVED: [Unserved; 2] = [
    Unserved { names: &["SOURCE"], harmless: &[], reason: INDIRECT },
    Unserved { names: &["TARGET"], harmless: &[], reason: INDIRECT },
];

/// What the operands ask for.
pub(super) fn compile(mut operands: Operands<'_>) -> Result<Action, Fault> {
    let place = operands.place();
    let source = device(operands.value(&["SDEVN"])?)?;
    let target = device(operands.value(&["TDEVN"])?)?;
    let any = device(operands.value(&["DEVN"])?)?;
    let lists = Lists::take_relocated(&mut operands)?;
    let ddsw = operands.choice(&["DDSW"], &[("NO", false), ("YES", true)])?;
    let verbs = [("THAW", Verb::Thaw), ("COMMIT", Verb::Commit), ("REVERT", Verb::Revert)];
    let verb = operands.choice(&["ACTION"], &verbs)?;
    let unserved = operands.unserved(&ADDRESSING)?.or(operands.unserved(&UNSERVED)?);
    operands.finish()?;

    let extents = lists.extents()?;
    if let Some(refusal) = unserved {
        return Err(refusal.into());
    }
    match verb {
        None => {}
        Some(Verb::Thaw) => {
            let alone =
                source.is_none() && target.is_none() && extents.is_empty() && ddsw.is_none();
            if !alone {
                return Err(rejected("ACTION(THAW) goes with DEVN and nothing else").into());
            }
            return Ok(Action::Thaw(required(any, "DEVN", &place)?));
        }
        Some(verb) => {
            let word = if verb == Verb::Commit { "COMMIT" } else { "REVERT" };
            let message = format!(
                "ACTION({word}) is not served: it is for revertible relationships of mirrors, and there are none"
            );
            return Err(declined(message).into());
        }
    }
    let withdraw = Withdraw { source, target, extents, ddsw: ddsw.unwrap_or(false) };
    check_combination(&withdraw, any)?;
    Ok(Action::Withdraw(withdraw))
}

fn check_combination(withdraw: &Withdraw, any: Option<u16>) -> Result<(), Fault> {
    let message = match withdraw {
        _ if any.is_some() => "DEVN goes with ACTION(THAW) only",
        Withdraw { source: None, ddsw: true, .. } => "DDSW(YES) needs SDEVN",
        Withdraw { target: None, ddsw: false, source: Some(_), .. } => {
            "SDEVN needs TDEVN with it, or DDSW(YES)"
        }
        Withdraw { target: None, source: None, .. } => {
            "neither SDEVN and TDEVN, nor TDEVN alone, nor SDEVN with DDSW(YES) are given"
        }
        _ => return Ok(()),
    };
    Err(rejected(message).into())
}

/// Carries it out. Nothing that matches is no error.
pub(super) async fn run(
    withdraw: &Withdraw,
    control: Control<'_>,
    messages: &mut Vec<Message>,
) -> Result<(), Stop> {
    let volumes = control.volumes().await?;
    let name = |device: Option<u16>| {
        device.map(|device| volumes.by_device(device).map(|volume| volume.name.clone())).transpose()
    };
    // With DDSW(YES) a target is ignored, also one that does not exist.
    let target = if withdraw.ddsw { None } else { withdraw.target };
    let command = Command::CopyWithdraw(WithdrawSpec {
        id: None,
        source: name(withdraw.source)?,
        target: name(target)?,
        extents: withdraw.extents.clone(),
        ddsw: withdraw.ddsw,
    });
    let copies = control.copies(&command).await?;
    let text = relations::withdrawn(&copies, withdraw.ddsw);
    messages.push(Message::info("ANTF9004I", text));
    let device = if withdraw.ddsw { withdraw.source } else { withdraw.target };
    messages.push(completed("FCWITHDR", device.or(withdraw.source).unwrap_or_default()));
    Ok(())
}

/// Lets the held writes of the control unit go on.
pub(super) async fn thaw(
    device: u16,
    control: Control<'_>,
    messages: &mut Vec<Message>,
) -> Result<(), Stop> {
    let cu = control_unit(control.volumes().await?.by_device(device)?);
    let Report::Thawed(thawed) = control.command(&Command::Thaw { cu, verify: None }).await? else {
        return Err(control.client.unexpected().into());
    };
    let text = match thawed.volumes.as_slice() {
        [] => format!("NO VOLUME OF LSS {cu:02X} WAS FROZEN"),
        volumes => format!("LSS {cu:02X} THAWED: {}", volumes.join(", ")),
    };
    messages.push(Message::info("ANTF9005I", text));
    messages.push(completed("FCWITHDR", device));
    Ok(())
}

//! FLASHCPY: ESTABLISH, WITHDRAW, QUERY RELATIONS and THAW, of whole volumes only (T1-16).

use std::ops::Range;

use flashtrack_engine::admin::{
    Command, CopyMode, EstablishAction, EstablishSpec, Freeze, Incremental, OnlineTarget, PairSpec,
    Refusal, Report, WithdrawSpec,
};

use super::{Action, Device, ELSEWHERE, required, take_device};
use crate::host::control::{Control, Stop, control_unit};
use crate::host::deck::DdCard;
use crate::host::grammar::{Operand, Word};
use crate::host::messages::Message;
use crate::host::operands::{
    Fault, Operands, Unserved, at_most_one, chosen, device_number, hexadecimal, rejected, words,
};
use crate::host::relations;
use crate::host::source::SyntaxError;

/// A FLASHCPY ESTABLISH.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Establish {
    source: Device,
    target: u16,
    mode: CopyMode,
    online_target: OnlineTarget,
    incremental: Incremental,
    fast_reverse: bool,
    freeze: Freeze,
    space_efficient: bool,
}

/// A FLASHCPY WITHDRAW.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Withdraw {
    source: Device,
    target: Option<u16>,
    ddsw: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Copy,
    Nocopy,
    NocopyToCopy,
}

const DATASETS: &str = "ICKDSF copies whole volumes only; use FCESTABL or COPY DATASET";

const UNSERVED: [Unserved; 5] = [
    Unserved { names: &["EXTENTS"], harmless: &[], reason: DATASETS },
    Unserved { names: &["XTNTLST"], harmless: &[], reason: DATASETS },
    Unserved { names: &["XXTNTLST"], harmless: &[], reason: DATASETS },
    Unserved { names: &["DATASET", "DSNAME"], harmless: &[], reason: DATASETS },
    Unserved { names: &["TRACKS"], harmless: &[], reason: DATASETS },
];

/// What the operands ask for.
pub(super) fn compile(mut operands: Operands<'_>, cards: &[DdCard]) -> Result<Action, Fault> {
    let place = operands.place();
    let establish = operands.flag(&["ESTABLISH"])?;
    let withdraw = operands.flag(&["WITHDRAW"])?;
    let query = operands.flag(&["QUERY"])?;
    let thaw = operands.flag(&["THAW"])?;
    at_most_one(&[
        ("ESTABLISH", establish.as_ref()),
        ("WITHDRAW", withdraw.as_ref()),
        ("QUERY", query.as_ref()),
        ("THAW", thaw.as_ref()),
    ])?;
    let device = take_device(&mut operands, cards)?;
    let unserved = operands.unserved(&ELSEWHERE)?.or(operands.unserved(&UNSERVED)?);
    let common = Common { device, unserved, place };
    if establish.is_some() {
        return take_establish(operands, common);
    }
    if withdraw.is_some() {
        return take_withdraw(operands, common);
    }
    if query.is_some() {
        operands.flag(&["RELATIONS"])?;
        operands.finish()?;
        return common.device().map(Action::Query);
    }
    if thaw.is_some() {
        operands.finish()?;
        return common.device().map(Action::Thaw);
    }
    let message = "ESTABLISH, WITHDRAW, QUERY RELATIONS or THAW is missing";
    Err(SyntaxError::new(common.place, message).into())
}

/// What all of them have.
struct Common {
    device: Option<Device>,
    unserved: Option<Refusal>,
    place: Range<usize>,
}

impl Common {
    /// The device, once all keywords are known to make sense: what is not served is told first.
    fn device(&self) -> Result<Device, Fault> {
        match &self.unserved {
            Some(refusal) => Err(refusal.clone().into()),
            None => Ok(required(self.device.clone(), self.place.clone())?),
        }
    }
}

fn take_establish(mut operands: Operands<'_>, common: Common) -> Result<Action, Fault> {
    let target = operands.take(&["TARGETVOL", "TARGETVOLUME"])?;
    let modes = [
        ("COPY", Mode::Copy),
        ("NOCOPY", Mode::Nocopy),
        ("NOCOPYTOCOPY", Mode::NocopyToCopy),
        ("NOCOPY2COPY", Mode::NocopyToCopy),
    ];
    let mode = operands.choice(&["MODE"], &modes)?.unwrap_or(Mode::Copy);
    let online = operands.choice(&["ONLINTGT"], &YES_NO)?.unwrap_or(false);
    let recorded =
        operands.choice(&["CHRCD", "CHANGERECORDING", "INCREMENTAL"], &YES_NO)?.unwrap_or(false);
    let fast_reverse = switch(operands.take(&["FASTREVERSERESTORE", "FRR"])?)?;
    let freeze = switch(operands.take(&["FREEZE"])?)?;
    let space_efficient = switch(operands.take(&["SPACEEFFICIENTTARGET", "SETGTOK"])?)?;
    operands.finish()?;
    let source = common.device()?;
    let mode = match mode {
        Mode::Copy => CopyMode::Copy,
        Mode::Nocopy => CopyMode::Nocopy,
        Mode::NocopyToCopy if recorded || fast_reverse || freeze || space_efficient => {
            let message = "MODE(NOCOPYTOCOPY) converts all NOCOPY relationships of the device: it goes with no CHRCD, \
                           FASTREVERSERESTORE, FREEZE or SPACEEFFICIENTTARGET";
            return Err(rejected(message).into());
        }
        Mode::NocopyToCopy => return Ok(Action::Convert(source)),
    };
    let Some(target) = target else {
        return Err(SyntaxError::new(common.place, "TARGETVOL(lss,cca,device) is missing").into());
    };
    Ok(Action::Establish(Establish {
        source,
        target: target_device(target)?,
        mode,
        online_target: if online { OnlineTarget::Allowed } else { OnlineTarget::Refused },
        incremental: if recorded { Incremental::Yes } else { Incremental::No },
        fast_reverse,
        freeze: if freeze { Freeze::HoldWrites } else { Freeze::No },
        space_efficient,
    }))
}

fn take_withdraw(mut operands: Operands<'_>, common: Common) -> Result<Action, Fault> {
    let target = operands.take(&["TARGETVOL", "TARGETVOLUME"])?.map(target_device).transpose()?;
    let ddsw = switch(operands.take(&["DDSW"])?)?;
    operands.finish()?;
    let source = common.device()?;
    if target.is_none() && !ddsw {
        let message = "FLASHCPY WITHDRAW needs TARGETVOL(lss,cca,device), or DDSW(YES)";
        return Err(rejected(message).into());
    }
    Ok(Action::Withdraw(Withdraw { source, target, ddsw }))
}

const YES_NO: [(&str, bool); 2] = [("YES", true), ("NO", false)];

/// A keyword that says yes alone or with a value.
fn switch(operand: Option<&Operand>) -> Result<bool, SyntaxError> {
    match operand {
        None => Ok(false),
        Some(operand) if operand.values.is_none() => Ok(true),
        Some(operand) => chosen(operand, &YES_NO),
    }
}

/// `TARGETVOL(lss,cca)` or `TARGETVOL(lss,cca,device)`: here LSS and CCA are the halves of the device number.
fn target_device(operand: &Operand) -> Result<u16, SyntaxError> {
    let words = words(operand)?;
    let halves = match words.as_slice() {
        [lss, cca] | [lss, cca, _] => half(lss).zip(half(cca)),
        _ => None,
    };
    let Some((lss, cca)) = halves else {
        let message =
            "TARGETVOL takes LSS and CCA, two hexadecimal digits each, and the device number";
        return Err(SyntaxError::new(operand.word.at.clone(), message));
    };
    let number = u16::from_be_bytes([lss, cca]);
    match words.get(2) {
        Some(given) if device_number(given)? != number => {
            let message = format!(
                "LSS {lss:02X} and CCA {cca:02X} are device {number:04X}, not {}",
                given.text
            );
            Err(SyntaxError::new(given.at.clone(), message))
        }
        _ => Ok(number),
    }
}

fn half(word: &Word) -> Option<u8> {
    hexadecimal(word, 2).and_then(|half| u8::try_from(half).ok())
}

/// Makes, refreshes or reverses a copy.
pub(super) async fn establish(establish: &Establish, control: Control<'_>) -> Result<(), Stop> {
    let volumes = control.volumes().await?;
    let command = Command::CopyEstablish(EstablishSpec {
        pairs: vec![PairSpec {
            source: establish.source.resolve(&volumes)?.name.clone(),
            target: volumes.by_device(establish.target)?.name.clone(),
            extents: Vec::new(),
        }],
        mode: establish.mode,
        pace: None,
        space_efficient: establish.space_efficient,
        incremental: establish.incremental,
        action: if establish.fast_reverse {
            EstablishAction::FastReverse
        } else {
            EstablishAction::Establish
        },
        freeze: establish.freeze,
        online_target: establish.online_target,
    });
    control.copies(&command).await.map(drop)
}

/// Starts the background copy of all NOCOPY relationships of a source.
pub(super) async fn convert(
    source: &Device,
    control: Control<'_>,
    messages: &mut Vec<Message>,
) -> Result<(), Stop> {
    let source = source.resolve(&control.volumes().await?)?.name.clone();
    let converted = control.copies(&Command::CopyConvert { source }).await?;
    let text = format!("{} SWITCHED TO COPY", relations::count(&converted));
    messages.push(Message::info("ICK39002I", text));
    Ok(())
}

/// Ends relationships. Nothing that matches is no error.
pub(super) async fn withdraw(
    withdraw: &Withdraw,
    control: Control<'_>,
    messages: &mut Vec<Message>,
) -> Result<(), Stop> {
    let volumes = control.volumes().await?;
    let target = withdraw.target.filter(|_| !withdraw.ddsw);
    let target = target.map(|device| volumes.by_device(device)).transpose()?;
    let command = Command::CopyWithdraw(WithdrawSpec {
        source: Some(withdraw.source.resolve(&volumes)?.name.clone()),
        target: target.map(|target| target.name.clone()),
        ddsw: withdraw.ddsw,
        ..WithdrawSpec::default()
    });
    let copies = control.copies(&command).await?;
    let text = relations::withdrawn(&copies, withdraw.ddsw);
    messages.push(Message::info("ICK39003I", text));
    Ok(())
}

/// Lets the held writes of the control unit of a device go on.
pub(super) async fn thaw(
    device: &Device,
    control: Control<'_>,
    messages: &mut Vec<Message>,
) -> Result<(), Stop> {
    let cu = control_unit(device.resolve(&control.volumes().await?)?);
    let Report::Thawed(thawed) = control.command(&Command::Thaw { cu, verify: None }).await? else {
        return Err(control.client.unexpected().into());
    };
    let text = match thawed.volumes.as_slice() {
        [] => format!("NO VOLUME OF LSS {cu:02X} WAS FROZEN"),
        volumes => format!("LSS {cu:02X} THAWED: {}", volumes.join(", ")),
    };
    messages.push(Message::info("ICK39004I", text));
    Ok(())
}

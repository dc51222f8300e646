//! FLASHCPY: ESTABLISH, WITHDRAW, QUERY RELATIONS and THAW, of whole volumes only (T1-16).

use flashtrack_engine::admin::{
    Command, CopyMode, EstablishAction, EstablishSpec, Freeze, Incremental, OnlineTarget, PairSpec,
    Report, WithdrawSpec,
};

use super::super::control::{Control, Stop, control_unit};
use super::super::deck::VolumeCard;
use super::super::grammar::Operand;
use super::super::messages::Message;
use super::super::operands::{
    Fault, Operands, Unserved, at_most_one, chosen, device_number, hexadecimal, rejected, words,
};
use super::super::relations;
use super::super::source::SyntaxError;
use super::{Action, Device, ELSEWHERE, required, take_device};

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
pub(super) fn compile(mut operands: Operands<'_>, cards: &[VolumeCard]) -> Result<Action, Fault> {
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
    let refused = operands.unserved(&ELSEWHERE)?.or(operands.unserved(&UNSERVED)?);
    let action = if establish.is_some() {
        take_establish(operands, device, place)?
    } else if withdraw.is_some() {
        take_withdraw(operands, device, place)?
    } else if query.is_some() {
        operands.flag(&["RELATIONS"])?;
        operands.finish()?;
        device.map(Action::Query).ok_or(place).map_err(missing)
    } else if thaw.is_some() {
        operands.finish()?;
        device.map(Action::Thaw).ok_or(place).map_err(missing)
    } else {
        let message = "ESTABLISH, WITHDRAW, QUERY RELATIONS or THAW is missing";
        return Err(SyntaxError::new(place, message).into());
    };
    // What is not served is told before what is missing.
    match refused {
        Some(refusal) => Err(refusal.into()),
        None => action,
    }
}

fn missing(place: std::ops::Range<usize>) -> Fault {
    match required(None, place) {
        Err(error) => error.into(),
        Ok(_) => unreachable!("there is no device"),
    }
}

type Compiled = Result<Action, Fault>;

fn take_establish(
    mut operands: Operands<'_>,
    device: Option<Device>,
    place: std::ops::Range<usize>,
) -> Result<Compiled, SyntaxError> {
    let target = operands.take(&["TARGETVOL", "TARGETVOLUME"])?;
    let modes = [
        ("COPY", Mode::Copy),
        ("NOCOPY", Mode::Nocopy),
        ("NOCOPYTOCOPY", Mode::NocopyToCopy),
        ("NOCOPY2COPY", Mode::NocopyToCopy),
    ];
    let mode = operands.choice(&["MODE"], &modes)?.unwrap_or(Mode::Copy);
    let online = operands.choice(&["ONLINTGT"], &YES_NO)?.unwrap_or(false);
    let recorded = operands.choice(&["CHRCD", "CHANGERECORDING", "INCREMENTAL"], &YES_NO)?;
    let fast_reverse = switch(operands.take(&["FASTREVERSERESTORE", "FRR"])?)?;
    let freeze = switch(operands.take(&["FREEZE"])?)?;
    let space_efficient = switch(operands.take(&["SPACEEFFICIENTTARGET", "SETGTOK"])?)?;
    operands.finish()?;
    let source = required(device, place.clone())?;
    let mode = match mode {
        Mode::Copy => CopyMode::Copy,
        Mode::Nocopy => CopyMode::Nocopy,
        Mode::NocopyToCopy => {
            if recorded == Some(true) || fast_reverse || freeze || space_efficient {
                let message = "MODE(NOCOPYTOCOPY) converts all NOCOPY relationships of the device: it goes with no \
                               CHRCD, FASTREVERSERESTORE, FREEZE or SPACEEFFICIENTTARGET";
                return Ok(Err(rejected(message).into()));
            }
            return Ok(Ok(Action::Convert(source)));
        }
    };
    let target = target_of(target, place)?;
    Ok(Ok(Action::Establish(Establish {
        source,
        target,
        mode,
        online_target: if online { OnlineTarget::Allowed } else { OnlineTarget::Refused },
        incremental: if recorded == Some(true) { Incremental::Yes } else { Incremental::No },
        fast_reverse,
        freeze: if freeze { Freeze::HoldWrites } else { Freeze::No },
        space_efficient,
    })))
}

fn take_withdraw(
    mut operands: Operands<'_>,
    device: Option<Device>,
    place: std::ops::Range<usize>,
) -> Result<Compiled, SyntaxError> {
    let target = operands.take(&["TARGETVOL", "TARGETVOLUME"])?;
    let ddsw = switch(operands.take(&["DDSW"])?)?;
    operands.finish()?;
    let source = required(device, place.clone())?;
    let target = target.map(|target| target_of(Some(target), place)).transpose()?;
    if target.is_none() && !ddsw {
        let message = "FLASHCPY WITHDRAW needs TARGETVOL(lss,cca,device), or DDSW(YES)";
        return Ok(Err(rejected(message).into()));
    }
    Ok(Ok(Action::Withdraw(Withdraw { source, target, ddsw })))
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
fn target_of(operand: Option<&Operand>, place: std::ops::Range<usize>) -> Result<u16, SyntaxError> {
    let Some(operand) = operand else {
        return Err(SyntaxError::new(place, "TARGETVOL(lss,cca,device) is missing"));
    };
    let words = words(operand)?;
    let at = operand.word.at.clone();
    let wrong = || {
        SyntaxError::new(
            at.clone(),
            "TARGETVOL takes LSS and CCA, two hexadecimal digits each, and the device number",
        )
    };
    let ([lss, cca] | [lss, cca, _]) = words.as_slice() else {
        return Err(wrong());
    };
    let half = |word: &super::super::grammar::Word| {
        let digits = if word.text.starts_with("0X") || word.text.starts_with("0x") {
            super::super::grammar::Word { text: word.text[2..].to_owned(), at: word.at.clone() }
        } else {
            word.clone()
        };
        hexadecimal(&digits, 2).and_then(|half| u8::try_from(half).ok())
    };
    let (Some(lss_half), Some(cca_half)) = (half(lss), half(cca)) else {
        return Err(wrong());
    };
    let number = u16::from_be_bytes([lss_half, cca_half]);
    if let Some(given) = words.get(2)
        && device_number(given)? != number
    {
        let message = format!(
            "LSS {} and CCA {} are device {number:04X}, not {}",
            lss.text, cca.text, given.text
        );
        return Err(SyntaxError::new(given.at.clone(), message));
    }
    Ok(number)
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

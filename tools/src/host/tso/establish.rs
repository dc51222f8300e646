//! FCESTABL: a copy, a refresh or a reversal; or with MODE(NOCOPY2COPY) the background copy of what has none.

use flashtrack_engine::admin::{
    Command, CopyMode, EstablishAction, EstablishSpec, ExtentSpec, Freeze, Incremental,
    OnlineTarget, PairSpec,
};

use super::super::control::{Control, Stop};
use super::super::extents::{self, Form};
use super::super::messages::Message;
use super::super::operands::{Fault, Operands, Unserved, at_most_one, rejected};
use super::super::relations;
use super::{ADDRESSING, Action, completed, device, required};

/// An FCESTABL that makes, refreshes or reverses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Establish {
    source: u16,
    target: u16,
    /// None for whole volumes.
    extents: Vec<ExtentSpec>,
    mode: CopyMode,
    online_target: OnlineTarget,
    incremental: Incremental,
    action: EstablishAction,
    freeze: Freeze,
    space_efficient: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Copy,
    Nocopy,
    NocopyToCopy,
    Async,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verb {
    Freeze,
    FastReverse,
}

const MIRRORS: &str = "there are no mirrors that a target could be primary of";

const UNSERVED: [Unserved; 5] = [
    Unserved { names: &["TGTPPRIM"], harmless: &["NO"], reason: MIRRORS },
    Unserved { names: &["PRESERVEMIRROR", "PRESMIR"], harmless: &["NO"], reason: MIRRORS },
    Unserved { names: &["DEVN"], harmless: &[], reason: INDIRECT },
    Unserved { names: &["SOURCE"], harmless: &[], reason: INDIRECT },
    Unserved { names: &["TARGET"], harmless: &[], reason: INDIRECT },
];
const INDIRECT: &str = "name the volumes with SDEVN and TDEVN";

/// What the operands ask for.
pub(super) fn compile(mut operands: Operands<'_>) -> Result<Action, Fault> {
    let place = operands.place();
    let source = device(operands.value(&["SDEVN"])?)?;
    let target = device(operands.value(&["TDEVN"])?)?;
    let lists =
        [operands.take(&["EXTENTS"])?, operands.take(&["XTNTLST"])?, operands.take(&["XXTNTLST"])?];
    let modes = [
        ("COPY", Mode::Copy),
        ("NOCOPY", Mode::Nocopy),
        ("NOCOPY2COPY", Mode::NocopyToCopy),
        ("ASYNC", Mode::Async),
    ];
    let mode = operands.choice(&["MODE"], &modes)?.unwrap_or(Mode::Copy);
    let online = [("NO", OnlineTarget::Refused), ("YES", OnlineTarget::Allowed)];
    let online_target = operands.choice(&["ONLINTGT"], &online)?.unwrap_or(OnlineTarget::Refused);
    let recorded =
        [("NO", Incremental::No), ("YES", Incremental::Yes), ("YTW", Incremental::TargetWritable)];
    let incremental = operands.choice(&["INCREMENTAL"], &recorded)?.unwrap_or_default();
    let verbs = [("FREEZE", Verb::Freeze), ("FRR", Verb::FastReverse)];
    let verb = operands.choice(&["ACTION"], &verbs)?;
    let opt_in = [("NO", Some(false)), ("YES", Some(true)), ("FAILREL", Some(true)), ("SWI", None)];
    let space_efficient = operands.choice(&["SETGTOK"], &opt_in)?.unwrap_or(Some(false));
    let unserved = operands.unserved(&ADDRESSING)?.or(operands.unserved(&UNSERVED)?);
    operands.finish()?;

    let [same, list, long_list] = lists;
    let at =
        |list: Option<&'_ super::super::grammar::Operand>| list.map(|list| list.word.at.clone());
    at_most_one(&[
        ("EXTENTS", at(same).as_ref()),
        ("XTNTLST", at(list).as_ref()),
        ("XXTNTLST", at(long_list).as_ref()),
    ])?;
    let extents = match (same, list, long_list) {
        (Some(same), _, _) => extents::same_place(same)?,
        (_, Some(list), _) => extents::relocated(list, Form::Cchh)?,
        (_, _, Some(list)) => extents::relocated(list, Form::Extended)?,
        _ => Vec::new(),
    };
    if let Some(refusal) = unserved {
        return Err(refusal.into());
    }
    let Some(space_efficient) = space_efficient else {
        let message =
            "SETGTOK(SWI) is not served: a source is never write-inhibited for its copies' sake";
        return Err(super::super::operands::declined(message).into());
    };
    let source = required(source, "SDEVN", &place)?;
    let target = required(target, "TDEVN", &place)?;
    let mode = match mode {
        Mode::Copy => CopyMode::Copy,
        Mode::Nocopy => CopyMode::Nocopy,
        Mode::Async => {
            let message = "MODE(ASYNC) is not served: it is for mirrors, and there are none";
            return Err(super::super::operands::declined(message).into());
        }
        Mode::NocopyToCopy => {
            let plain = extents.is_empty()
                && incremental == Incremental::No
                && verb.is_none()
                && !space_efficient;
            if !plain {
                let message = "MODE(NOCOPY2COPY) converts all NOCOPY relationships of SDEVN: it goes with no \
                               extents, INCREMENTAL, ACTION or SETGTOK";
                return Err(rejected(message).into());
            }
            return Ok(Action::Convert(source));
        }
    };
    let fast_reverse = verb == Some(Verb::FastReverse);
    Ok(Action::Establish(Establish {
        source,
        target,
        extents,
        mode,
        online_target,
        incremental,
        action: if fast_reverse {
            EstablishAction::FastReverse
        } else {
            EstablishAction::Establish
        },
        freeze: if verb == Some(Verb::Freeze) { Freeze::HoldWrites } else { Freeze::No },
        space_efficient,
    }))
}

/// Carries it out.
pub(super) async fn run(
    establish: &Establish,
    control: Control<'_>,
    messages: &mut Vec<Message>,
) -> Result<(), Stop> {
    let volumes = control.volumes().await?;
    let command = Command::CopyEstablish(EstablishSpec {
        pairs: vec![PairSpec {
            source: volumes.by_device(establish.source)?.name.clone(),
            target: volumes.by_device(establish.target)?.name.clone(),
            extents: establish.extents.clone(),
        }],
        mode: establish.mode,
        space_efficient: establish.space_efficient,
        incremental: establish.incremental,
        action: establish.action,
        freeze: establish.freeze,
        online_target: establish.online_target,
    });
    control.copies(&command).await?;
    messages.push(completed("FCESTABL", establish.source));
    Ok(())
}

/// Starts the background copy of all NOCOPY relationships of a source.
pub(super) async fn convert(
    source: u16,
    control: Control<'_>,
    messages: &mut Vec<Message>,
) -> Result<(), Stop> {
    let source_name = control.volumes().await?.by_device(source)?.name.clone();
    let converted = control.copies(&Command::CopyConvert { source: source_name }).await?;
    let text = format!("{} SWITCHED TO COPY", relations::count(&converted));
    messages.push(Message::info("ANTF9003I", text));
    messages.push(completed("FCESTABL", source));
    Ok(())
}

//! FCESTABL: a copy, a refresh or a reversal; or with MODE(NOCOPY2COPY) the background copy of what has none.

use flashtrack_engine::admin::{
    Command, CopyMode, EstablishAction, EstablishSpec, ExtentSpec, Freeze, Incremental,
    OnlineTarget, PairSpec, Refusal,
};

use super::{ADDRESSING, Action, completed, device, required};
use crate::host::control::{Control, Stop};
use crate::host::extents::Lists;
use crate::host::messages::Message;
use crate::host::operands::{Fault, Operands, Unserved, declined, rejected};
use crate::host::relations;
use crate::host::source::SyntaxError;

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
    let lists = Lists::take(&mut operands)?;
    let keywords = take_keywords(&mut operands)?;
    let unserved = operands.unserved(&ADDRESSING)?.or(operands.unserved(&UNSERVED)?);
    operands.finish()?;

    let extents = lists.extents()?;
    if let Some(refusal) = unserved {
        return Err(refusal.into());
    }
    let (mode, space_efficient) = served(&keywords)?;
    let source = required(source, "SDEVN", &place)?;
    let target = required(target, "TDEVN", &place)?;
    let Some(mode) = mode else {
        let plain = extents.is_empty()
            && keywords.incremental == Incremental::No
            && keywords.verb.is_none()
            && !space_efficient;
        if plain {
            return Ok(Action::Convert(source));
        }
        let message = "MODE(NOCOPY2COPY) converts all NOCOPY relationships of SDEVN: it goes with no extents, \
                       INCREMENTAL, ACTION or SETGTOK";
        return Err(rejected(message).into());
    };
    let is = |verb| keywords.verb == Some(verb);
    Ok(Action::Establish(Establish {
        source,
        target,
        extents,
        mode,
        online_target: keywords.online_target,
        incremental: keywords.incremental,
        action: if is(Verb::FastReverse) {
            EstablishAction::FastReverse
        } else {
            EstablishAction::Establish
        },
        freeze: if is(Verb::Freeze) { Freeze::HoldWrites } else { Freeze::No },
        space_efficient,
    }))
}

/// Keywords with one word out of a few.
struct Keywords {
    mode: Mode,
    online_target: OnlineTarget,
    incremental: Incremental,
    verb: Option<Verb>,
    /// SETGTOK; none for what is not served.
    space_efficient: Option<bool>,
}

fn take_keywords(operands: &mut Operands<'_>) -> Result<Keywords, SyntaxError> {
    let modes = [
        ("COPY", Mode::Copy),
        ("NOCOPY", Mode::Nocopy),
        ("NOCOPY2COPY", Mode::NocopyToCopy),
        ("ASYNC", Mode::Async),
    ];
    let online = [("NO", OnlineTarget::Refused), ("YES", OnlineTarget::Allowed)];
    let recorded =
        [("NO", Incremental::No), ("YES", Incremental::Yes), ("YTW", Incremental::TargetWritable)];
    let verbs = [("FREEZE", Verb::Freeze), ("FRR", Verb::FastReverse)];
    let opt_in = [("NO", Some(false)), ("YES", Some(true)), ("FAILREL", Some(true)), ("SWI", None)];
    Ok(Keywords {
        mode: operands.choice(&["MODE"], &modes)?.unwrap_or(Mode::Copy),
        online_target: operands.choice(&["ONLINTGT"], &online)?.unwrap_or(OnlineTarget::Refused),
        incremental: operands.choice(&["INCREMENTAL"], &recorded)?.unwrap_or_default(),
        verb: operands.choice(&["ACTION"], &verbs)?,
        space_efficient: operands.choice(&["SETGTOK"], &opt_in)?.unwrap_or(Some(false)),
    })
}

/// Mode, none for a conversion, and the opt-in to thin targets.
fn served(keywords: &Keywords) -> Result<(Option<CopyMode>, bool), Refusal> {
    let mode = match keywords.mode {
        Mode::Copy => Some(CopyMode::Copy),
        Mode::Nocopy => Some(CopyMode::Nocopy),
        Mode::NocopyToCopy => None,
        Mode::Async => {
            let message = "MODE(ASYNC) is not served: it is for mirrors, and there are none";
            return Err(declined(message));
        }
    };
    let space_efficient = keywords.space_efficient.ok_or_else(|| {
        declined("SETGTOK(SWI) is not served: a source is never write-inhibited for the sake of its copies")
    })?;
    Ok((mode, space_efficient))
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
        pace: None,
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

//! COPY FULL and COPY TRACKS: one volume onto another.
//!
//! A target that is in a relationship already is freed first, as DFSMSdss does (T1-10, decision D6), but only after
//! the server has named that as its reason: any other refusal leaves the older copies as they are.

use flashtrack_engine::admin::{
    Command, CopyReport, CopyState, EstablishAction, EstablishSpec, ExtentSpec, Incremental,
    OnlineTarget, PairSpec, Refusal, RefusalKind,
};

use super::copy::Label;
use super::flash::{Direction, Flash, Wait};
use super::{VolumeName, in_the_way};
use crate::host::control::{Control, Stop};
use crate::host::messages::Message;

/// Copies a whole volume.
pub(super) async fn run(
    source: &VolumeName,
    target: &VolumeName,
    label: Label,
    flash: &Flash,
    control: Control<'_>,
    messages: &mut Vec<Message>,
) -> Result<(), Stop> {
    let pair = pair(source, target, Vec::new(), control).await?;
    let names = format!("VOLUME {} COPIED TO {}", pair.source, pair.target);
    let target = pair.target.clone();
    establish(pair, flash, control, messages).await?;
    messages.push(done(&names));
    messages.extend(about_label(label, &target));
    Ok(())
}

/// Copies one run of tracks.
pub(super) async fn run_tracks(
    source: &VolumeName,
    target: &VolumeName,
    extent: ExtentSpec,
    flash: &Flash,
    control: Control<'_>,
    messages: &mut Vec<Message>,
) -> Result<(), Stop> {
    let pair = pair(source, target, vec![extent], control).await?;
    let names =
        format!("{} TRACKS OF VOLUME {} COPIED TO {}", extent.tracks, pair.source, pair.target);
    establish(pair, flash, control, messages).await?;
    messages.push(done(&names));
    Ok(())
}

fn done(what: &str) -> Message {
    Message::info("ADR806I", format!("{what} USING A FAST REPLICATION FUNCTION"))
}

fn about_label(label: Label, target: &str) -> Option<Message> {
    let text = match label {
        Label::Copied => return None,
        Label::Conditioned => format!(
            "DUMPCONDITIONING: VOLUME {target} KEEPS ITS NAME AND DEVICE NUMBER; ALL TRACKS, THE LABELS OF FILE \
             SYSTEMS AMONG THEM, ARE THE SOURCE'S, SO A DUMP OF IT IS A DUMP OF THE SOURCE"
        ),
        Label::Unsaid => format!(
            "COPYVOLID WAS NOT SPECIFIED, YET THE LABELS AND UUIDS OF FILE SYSTEMS ARE COPIED: VOLUME {target} KEEPS \
             ITS NAME ONLY. DO NOT MOUNT BOTH BY UUID ON ONE MACHINE"
        ),
    };
    Some(Message::info("ADR994I", text))
}

async fn pair(
    source: &VolumeName,
    target: &VolumeName,
    extents: Vec<ExtentSpec>,
    control: Control<'_>,
) -> Result<PairSpec, Stop> {
    let volumes = control.volumes().await?;
    Ok(PairSpec {
        source: source.resolve(&volumes)?.name.clone(),
        target: target.resolve(&volumes)?.name.clone(),
        extents,
    })
}

async fn establish(
    pair: PairSpec,
    flash: &Flash,
    control: Control<'_>,
    messages: &mut Vec<Message>,
) -> Result<(), Stop> {
    if flash.incremental != Incremental::No {
        check_direction(&pair, flash, control).await?;
    }
    let command = Command::CopyEstablish(EstablishSpec {
        pairs: vec![pair.clone()],
        mode: flash.mode,
        pace: None,
        space_efficient: flash.space_efficient,
        incremental: flash.incremental,
        action: if flash.fast_reverse {
            EstablishAction::FastReverse
        } else if flash.verify == Some(Direction::Reverse) {
            EstablishAction::Reverse
        } else {
            EstablishAction::Establish
        },
        freeze: flash.freeze,
        online_target: OnlineTarget::Allowed,
    });
    let refusal = match control.copies(&command).await {
        Err(Stop::Refused(refusal)) if refusal.kind == RefusalKind::TargetRelated => refusal,
        other => return other.map(drop),
    };
    let older = in_the_way::on_target(&pair, &control.related(&pair.target).await?);
    if flash.fast_reverse {
        return Err(refusal.into());
    }
    // None is left when what was in the way has ended by itself since: then the copy is only asked for again.
    keep_incremental(&older)?;
    in_the_way::withdraw(&in_the_way::whole(&older), control, messages).await?;
    control.copies(&command).await.map(drop)
}

/// An incremental relationship outlives its copy to be refreshed: it is not ended in passing (semantics 3.5).
fn keep_incremental(older: &[CopyReport]) -> Result<(), Refusal> {
    let Some(kept) = older.iter().find(|copy| copy.incremental) else {
        return Ok(());
    };
    Err(Refusal {
        kind: RefusalKind::TargetRelated,
        message: format!(
            "volume {} is the target of incremental relationship {} from {}, which is kept",
            kept.target, kept.id, kept.source
        ),
        help: Some(
            "refresh it with FCINCREMENTAL from its own source, or end it with FCWITHDR first"
                .to_owned(),
        ),
    })
}

/// The rules of FCINCRVERIFY, and the wait of FCWAIT before a reversal.
async fn check_direction(pair: &PairSpec, flash: &Flash, control: Control<'_>) -> Result<(), Stop> {
    let mut retries = flash.wait.retries;
    loop {
        let related = control.related(&pair.source).await?;
        let reversed = |copy: &&CopyReport| {
            copy.incremental && copy.source == pair.target && copy.target == pair.source
        };
        let Some(other_way) = related.iter().find(reversed) else {
            return Ok(());
        };
        if flash.verify == Some(Direction::Noreverse) {
            return Err(Stop::Refused(Refusal {
                kind: RefusalKind::Direction,
                message: format!(
                    "FCINCRVERIFY(NOREVERSE): the incremental relationship {} is from {} to {}, so this copy would \
                     reverse it",
                    other_way.id, other_way.source, other_way.target
                ),
                help: None,
            }));
        }
        let complete = other_way.tracks_left == 0 || other_way.state == CopyState::Complete;
        // Without FCWAIT the server says what is missing.
        if complete || flash.fast_reverse || flash.wait == Wait::default() {
            return Ok(());
        }
        if retries == 0 {
            return Err(Stop::Refused(not_complete(other_way, flash.wait)));
        }
        retries -= 1;
        tokio::time::sleep(flash.wait.pause).await;
    }
}

fn not_complete(copy: &CopyReport, wait: Wait) -> Refusal {
    Refusal {
        kind: RefusalKind::Incomplete,
        message: format!(
            "relationship {} from {} to {} has {} tracks left after FCWAIT({},{}): it cannot be reversed yet",
            copy.id,
            copy.source,
            copy.target,
            copy.tracks_left,
            wait.pause.as_secs(),
            wait.retries
        ),
        help: Some("wait longer, or use FCFASTREVERSERESTORE".to_owned()),
    }
}

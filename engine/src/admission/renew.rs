//! May this relationship get a new T0: refresh, reverse restore, fast reverse restore? (semantics.md 3.4)

use super::establish::{check_online, needs_pair, target_writes};
use super::{Rules, refuse, refuse_with_help, volume};
use crate::admin::{
    CopyMode, EstablishAction, EstablishSpec, Incremental, PairSpec, Profile, Refusal, RefusalKind,
};
use crate::state::{
    Direction, Health, Recording, Relationship, Renewal, RenewedTracks, Scope, TargetWrites,
};
use crate::units::VolumeId;

/// The renewal that a pair of the command asks for; none when it asks for a new relationship.
pub(super) fn plan_renewal(
    rules: &Rules<'_>,
    spec: &EstablishSpec,
    pair: &PairSpec,
) -> Result<Option<Renewal>, Refusal> {
    let (source, _) = volume(rules.state, &pair.source)?;
    let (target, _) = volume(rules.state, &pair.target)?;
    let same = whole(rules, source, target);
    let reversed = whole(rules, target, source);
    let (direction, known) = match spec.action {
        EstablishAction::Establish if spec.incremental == Incremental::No => return Ok(None),
        EstablishAction::Establish => match (recorded(same), recorded(reversed)) {
            (Some(known), _) => (Direction::Same, known),
            (None, Some(known)) => (Direction::Reversed, known),
            (None, None) => return Ok(None),
        },
        EstablishAction::Refresh => {
            let known = same.ok_or_else(|| no_pair(pair, "refreshed", reversed))?;
            if !known.is_incremental() {
                return Err(not_recorded(pair, known, "refreshed"));
            }
            (Direction::Same, known)
        }
        EstablishAction::Reverse => {
            let known = reversed.ok_or_else(|| no_pair(pair, "reversed", same))?;
            (Direction::Reversed, known)
        }
        EstablishAction::FastReverse => {
            let known = reversed.ok_or_else(|| no_pair(pair, "reversed", same))?;
            (Direction::Reversed, known)
        }
    };
    if !pair.extents.is_empty() {
        let message = format!(
            "a refresh or reversal from `{}` to `{}` is of whole volumes",
            pair.source, pair.target
        );
        return Err(refuse_with_help(RefusalKind::Invalid, message, "leave --extent out"));
    }
    check_online(rules, spec, &pair.target, target)?;
    if known.health != Health::Good {
        let message = format!("relationship {} has failed", known.pair.id);
        let help = "withdraw it; its target's image is gone";
        return Err(refuse_with_help(RefusalKind::Incomplete, message, help));
    }
    if direction == Direction::Reversed {
        check_reversal(rules, spec, pair, known)?;
    }
    Ok(Some(renewal(rules, spec, known, direction)))
}

/// The relationship from the whole of one volume to another.
fn whole<'a>(rules: &Rules<'a>, source: VolumeId, target: VolumeId) -> Option<&'a Relationship> {
    let target = rules.state.volumes.get(&target)?;
    let known = rules.state.relationships.get(target.as_target.at(0).first()?)?;
    (known.pair.source == source && known.pair.scope == Scope::Volume).then_some(known)
}

fn recorded(known: Option<&Relationship>) -> Option<&Relationship> {
    known.filter(|known| known.is_incremental())
}

fn renewal(
    rules: &Rules<'_>,
    spec: &EstablishSpec,
    known: &Relationship,
    direction: Direction,
) -> Renewal {
    let asked = matches!(spec.incremental, Incremental::Yes | Incremental::TargetWritable);
    let goes_on = known.is_incremental() && needs_pair(spec.action);
    let recording = match spec.incremental {
        Incremental::Last => Recording::Off,
        _ if asked || goes_on => Recording::On,
        _ => Recording::Off,
    };
    let tracks = match (spec.action, rules.policy.profile) {
        (EstablishAction::FastReverse, Profile::Xp7) if known.is_incremental() => {
            RenewedTracks::Changed
        }
        (EstablishAction::FastReverse, _) => RenewedTracks::Copied,
        _ => RenewedTracks::Changed,
    };
    let target_writes = match spec.incremental {
        _ if recording == Recording::Off => TargetWrites::Allowed,
        // The words of the command decide; without any, things stay as they are.
        Incremental::No => known.pair.target_writes,
        incremental => target_writes(rules, incremental),
    };
    let mode = spec.mode;
    Renewal { id: known.pair.id, direction, tracks, mode, recording, target_writes }
}

/// What every reversal needs, and what only one that is not fast needs.
fn check_reversal(
    rules: &Rules<'_>,
    spec: &EstablishSpec,
    pair: &PairSpec,
    known: &Relationship,
) -> Result<(), Refusal> {
    let (_, source) = volume(rules.state, &pair.source)?;
    let (_, target) = volume(rules.state, &pair.target)?;
    if known.pool.is_some() {
        let message =
            format!("volume `{}` is thin: a thin volume cannot be a source yet", pair.source);
        return Err(refuse(RefusalKind::Unsupported, message));
    }
    if source.geometry.tracks != target.geometry.tracks {
        let message = format!(
            "volume `{}` has {} tracks, volume `{}` {}: only volumes of equal size are reversed",
            pair.source, source.geometry.tracks, pair.target, target.geometry.tracks
        );
        return Err(refuse(RefusalKind::Size, message));
    }
    let others = target.as_source.overlapping(0..target.geometry.tracks);
    if let Some(other) = others.flat_map(|(_, ids)| ids).find(|&&id| id != known.pair.id) {
        let message = format!(
            "volume `{}` is the source of relationship {other} too: it cannot become a target",
            pair.target
        );
        let help = "withdraw its other copies first";
        return Err(refuse_with_help(RefusalKind::SourceRelated, message, help));
    }
    if spec.action == EstablishAction::FastReverse {
        return Ok(());
    }
    if !known.is_incremental() {
        return Err(not_recorded(pair, known, "reversed"));
    }
    let left = known.tracks_left();
    if left > 0 {
        let message = format!(
            "relationship {} has {left} tracks left to copy: it can be reversed when it is complete",
            known.pair.id
        );
        let help = "wait for it: `flashtrack copy wait`; or use fast-reverse";
        return Err(refuse_with_help(RefusalKind::Incomplete, message, help));
    }
    if rules.policy.profile == Profile::Xp7 && known.pair.mode == CopyMode::Nocopy {
        let message = format!(
            "relationship {} was copied on demand only (NOCOPY): it cannot be reversed",
            known.pair.id
        );
        let help = "refresh it with a background copy, or `flashtrack copy convert` its source";
        return Err(refuse_with_help(RefusalKind::Incomplete, message, help));
    }
    Ok(())
}

fn no_pair(pair: &PairSpec, what: &str, other_way: Option<&Relationship>) -> Refusal {
    let (source, target) = (&pair.source, &pair.target);
    let Some(known) = other_way else {
        let message = format!(
            "there is no relationship of the whole of `{source}` and `{target}` to be {what}"
        );
        let help = "`flashtrack copy list` shows all relationships";
        return refuse_with_help(RefusalKind::NotFound, message, help);
    };
    let message = format!(
        "relationship {} copies from `{}` to `{}` in the direction that was not named",
        known.pair.id,
        if what == "refreshed" { target } else { source },
        if what == "refreshed" { source } else { target },
    );
    let help = "name what is copied from first, then what is copied onto";
    refuse_with_help(RefusalKind::Direction, message, help)
}

fn not_recorded(pair: &PairSpec, known: &Relationship, what: &str) -> Refusal {
    let message = format!(
        "relationship {} of `{}` and `{}` records no changes: it cannot be {what}",
        known.pair.id, pair.source, pair.target
    );
    let help = "establish it with --incremental; fast-reverse needs no recorded changes";
    refuse_with_help(RefusalKind::Direction, message, help)
}

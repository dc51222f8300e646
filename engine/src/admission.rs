//! May this establish happen? Pure: the state and a command in, a plan or a refusal out.
//!
//! The rules are those of semantics.md 1.1 and 3.3 under the `xp7` profile. Validation is complete before
//! anything is changed: a refused command leaves no trace.

use crate::admin::{
    CopyMode, EstablishAction, EstablishSpec, ExtentSpec, Freeze, Incremental, OnlineTarget,
    PairSpec, Refusal, RefusalKind,
};
use crate::limits;
use crate::map::cover::CoverMap;
use crate::state::{NewRelationship, State, Volume};
use crate::units::{RelationshipId, VolumeId};

/// A refusal without advice.
pub fn refuse(kind: RefusalKind, message: impl Into<String>) -> Refusal {
    Refusal { kind, message: message.into(), help: None }
}

/// A refusal that tells what to do.
pub fn refuse_with_help(
    kind: RefusalKind,
    message: impl Into<String>,
    help: impl Into<String>,
) -> Refusal {
    Refusal { kind, message: message.into(), help: Some(help.into()) }
}

/// Checks a name of a volume or pool.
///
/// # Errors
/// Why it cannot be one.
pub fn check_name(what: &str, name: &str) -> Result<(), Refusal> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._+-".contains(c);
    let fits = !name.is_empty() && name.len() <= limits::NAME_BYTES_MAX;
    if fits && name.chars().all(allowed) && !name.starts_with(['-', '.']) {
        return Ok(());
    }
    Err(refuse_with_help(
        RefusalKind::Invalid,
        format!("`{}` cannot name a {what}", name.escape_default()),
        format!(
            "use 1 to {} letters, digits, '.', '_', '+' or '-', not beginning with '.' or '-'",
            limits::NAME_BYTES_MAX
        ),
    ))
}

/// The volume of that name.
///
/// # Errors
/// There is none.
pub fn volume<'a>(state: &'a State, name: &str) -> Result<(VolumeId, &'a Volume), Refusal> {
    state.volume_named(name).ok_or_else(|| {
        let message = format!("volume `{}` does not exist", name.escape_default());
        refuse_with_help(
            RefusalKind::NotFound,
            message,
            "`flashtrack volume list` shows all volumes",
        )
    })
}

/// The relationships that the command would make.
///
/// # Errors
/// The first rule that is broken.
pub fn plan_establish(
    state: &State,
    spec: &EstablishSpec,
) -> Result<Vec<NewRelationship>, Refusal> {
    let plain = spec.incremental == Incremental::No
        && spec.action == EstablishAction::Establish
        && spec.freeze == Freeze::No
        && spec.online_target == OnlineTarget::Allowed;
    if !plain {
        return Err(refuse(RefusalKind::Unsupported, "this establish is not offered yet"));
    }
    if spec.pairs.is_empty() {
        return Err(refuse(RefusalKind::Invalid, "no source and target volumes are given"));
    }
    let mut plan: Vec<NewRelationship> = Vec::new();
    for pair in &spec.pairs {
        plan_pair(state, spec, pair, &mut plan)?;
    }
    check_copies_per_track(state, &plan)?;
    Ok(plan)
}

fn plan_pair(
    state: &State,
    spec: &EstablishSpec,
    pair: &PairSpec,
    plan: &mut Vec<NewRelationship>,
) -> Result<(), Refusal> {
    let (source_id, source) = volume(state, &pair.source)?;
    let (target_id, target) = volume(state, &pair.target)?;
    check_volumes(spec, pair, source, target)?;
    if let Some(pool) = target.pool().and_then(|id| state.pools.get(&id))
        && pool.failed
    {
        let message = format!("pool `{}` of volume `{}` has failed", pool.name, pair.target);
        return Err(refuse(RefusalKind::NoResources, message));
    }
    let whole = [ExtentSpec { source_track: 0, target_track: 0, tracks: source.geometry.tracks }];
    let extents = if pair.extents.is_empty() { &whole[..] } else { &pair.extents[..] };
    if extents.len() > limits::EXTENTS_PER_COMMAND {
        let message = format!(
            "{} extents are more than the {} of one command",
            extents.len(),
            limits::EXTENTS_PER_COMMAND
        );
        return Err(refuse(RefusalKind::Invalid, message));
    }
    for extent in extents {
        check_extent(pair, source, target, extent)?;
        let id = state.next_relationship + u32::try_from(plan.len()).unwrap_or(u32::MAX);
        let new = NewRelationship {
            id: RelationshipId(id),
            source: source_id,
            target: target_id,
            source_track: extent.source_track,
            target_track: extent.target_track,
            tracks: extent.tracks,
            mode: spec.mode,
        };
        check_overlap(state, pair, &new, plan)?;
        plan.push(new);
    }
    Ok(())
}

fn check_volumes(
    spec: &EstablishSpec,
    pair: &PairSpec,
    source: &Volume,
    target: &Volume,
) -> Result<(), Refusal> {
    if source.pool().is_some() {
        let message =
            format!("volume `{}` is thin: a thin volume cannot be a source yet", pair.source);
        return Err(refuse(RefusalKind::Unsupported, message));
    }
    let (source_type, target_type) = (source.geometry.volume_type, target.geometry.volume_type);
    if source_type.is_3390() != target_type.is_3390() {
        let message = format!(
            "volume `{}` is of type {source_type}, volume `{}` of type {target_type}: their tracks differ in size",
            pair.source, pair.target
        );
        return Err(refuse(RefusalKind::DeviceType, message));
    }
    if pair.extents.is_empty() && source.geometry.tracks > target.geometry.tracks {
        let message = format!(
            "volume `{}` has {} tracks, its target `{}` only {}",
            pair.source, source.geometry.tracks, pair.target, target.geometry.tracks
        );
        let help = "use a target at least as large, or copy extents with --extent";
        return Err(refuse_with_help(RefusalKind::Size, message, help));
    }
    if target.pool().is_some() {
        check_space_efficient(spec, pair)?;
    }
    Ok(())
}

fn check_space_efficient(spec: &EstablishSpec, pair: &PairSpec) -> Result<(), Refusal> {
    let thin = format!("volume `{}` is thin", pair.target);
    let (message, help) = if !spec.space_efficient {
        (format!("{thin}: copying to it must be asked for"), "add --space-efficient")
    } else if spec.mode != CopyMode::Nocopy {
        (format!("{thin}: it takes no background copy"), "add --nocopy")
    } else if !pair.extents.is_empty() {
        (format!("{thin}: it takes copies of whole volumes only"), "leave --extent out")
    } else {
        return Ok(());
    };
    Err(refuse_with_help(RefusalKind::SpaceEfficient, message, help))
}

fn check_extent(
    pair: &PairSpec,
    source: &Volume,
    target: &Volume,
    extent: &ExtentSpec,
) -> Result<(), Refusal> {
    if extent.tracks == 0 {
        return Err(refuse(RefusalKind::Invalid, "an extent of 0 tracks makes no sense"));
    }
    for (name, volume, first) in
        [(&pair.source, source, extent.source_track), (&pair.target, target, extent.target_track)]
    {
        let tracks = volume.geometry.tracks;
        if first.checked_add(extent.tracks).is_none_or(|end| end > tracks) {
            let message = format!(
                "{} tracks from track {first} on pass the end of volume `{name}`, which has {tracks} tracks",
                extent.tracks
            );
            return Err(refuse(RefusalKind::Invalid, message));
        }
    }
    Ok(())
}

/// No target extent overlaps another related extent, no source extent a target (semantics 3.3).
fn check_overlap(
    state: &State,
    pair: &PairSpec,
    new: &NewRelationship,
    plan: &[NewRelationship],
) -> Result<(), Refusal> {
    let source_extent = new.source_track..new.source_track + new.tracks;
    let target_extent = new.target_track..new.target_track + new.tracks;
    let known = |id: VolumeId| state.volumes.get(&id);
    let related = |cover: Option<&CoverMap<RelationshipId>>, extent: &std::ops::Range<u32>| {
        cover.and_then(|cover| {
            cover.overlapping(extent.clone()).find_map(|(_, ids)| ids.first().copied())
        })
    };
    let help = "`flashtrack copy list` shows all relationships; withdraw what is in the way";
    let in_the_way = [
        (
            &pair.target,
            "is a target",
            RefusalKind::TargetRelated,
            related(known(new.target).map(|v| &v.as_target), &target_extent),
        ),
        (
            &pair.target,
            "is a source",
            RefusalKind::SourceRelated,
            related(known(new.target).map(|v| &v.as_source), &target_extent),
        ),
        (
            &pair.source,
            "is a target",
            RefusalKind::TargetRelated,
            related(known(new.source).map(|v| &v.as_target), &source_extent),
        ),
    ];
    for (name, what, kind, id) in in_the_way {
        if let Some(id) = id {
            let message = format!(
                "volume `{name}` {what} in relationship {id} already, on some of these tracks"
            );
            return Err(refuse_with_help(kind, message, help));
        }
    }
    let overlap = |a: u32, b: u32, b_tracks: u32| a < b + b_tracks && b < a + new.tracks;
    let own = new.source == new.target && overlap(new.source_track, new.target_track, new.tracks);
    let within = plan.iter().any(|other| {
        let targets = other.target == new.target
            && overlap(new.target_track, other.target_track, other.tracks);
        let target_source = other.source == new.target
            && overlap(new.target_track, other.source_track, other.tracks);
        let source_target = other.target == new.source
            && overlap(new.source_track, other.target_track, other.tracks);
        targets || target_source || source_target
    });
    if own || within {
        let message = format!(
            "a target extent on volume `{}` overlaps another extent of the same command",
            pair.target
        );
        return Err(refuse(RefusalKind::Overlap, message));
    }
    Ok(())
}

fn check_copies_per_track(state: &State, plan: &[NewRelationship]) -> Result<(), Refusal> {
    let mut sources: Vec<VolumeId> = plan.iter().map(|new| new.source).collect();
    sources.sort_unstable();
    sources.dedup();
    for id in sources {
        let Some(source) = state.volumes.get(&id) else {
            continue;
        };
        let mut asked = CoverMap::new();
        for new in plan.iter().filter(|new| new.source == id) {
            asked.insert(new.source_track..new.source_track + new.tracks, new.id);
        }
        for (tracks, ids) in asked.overlapping(0..source.geometry.tracks) {
            let copies = source.as_source.max_depth(tracks.clone()) + ids.len();
            if copies > limits::RELATIONSHIPS_PER_TRACK {
                let message = format!(
                    "volume `{}` would have {copies} copies of a track between {} and {}; {} are possible",
                    source.name,
                    tracks.start,
                    tracks.end - 1,
                    limits::RELATIONSHIPS_PER_TRACK
                );
                let help = "withdraw a copy that is not needed any more";
                return Err(refuse_with_help(RefusalKind::TooManyCopies, message, help));
            }
        }
    }
    Ok(())
}

//! May this establish happen? (semantics.md 1.1 and 3.3)

use super::planned::Planned;
use super::renew::plan_renewal;
use super::{Rules, check_tracks, refuse, refuse_with_help, volume};
use crate::admin::{
    CopyMode, EstablishAction, EstablishSpec, ExtentSpec, Freeze, Incremental, OnlineTarget,
    PairSpec, Profile, Refusal, RefusalKind,
};
use crate::limits;
use crate::map::cover::CoverMap;
use crate::state::{NewRelationship, Recording, Renewal, Scope, State, TargetWrites, Volume};
use crate::units::{RelationshipId, VolumeId};

/// What an establish will do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EstablishPlan {
    /// New relationships.
    pub new: Vec<NewRelationship>,
    /// Relationships that get a new T0.
    pub renewed: Vec<Renewal>,
}

/// The relationships that the command would make or renew.
///
/// # Errors
/// The first rule that is broken.
pub fn plan_establish(rules: Rules<'_>, spec: &EstablishSpec) -> Result<EstablishPlan, Refusal> {
    if spec.pairs.is_empty() {
        return Err(refuse(RefusalKind::Invalid, "no source and target volumes are given"));
    }
    let mut planned = Planned::default();
    let mut renewed: Vec<Renewal> = Vec::new();
    for pair in &spec.pairs {
        if pair.extents.len() > limits::EXTENTS_PER_COMMAND {
            let message = format!(
                "{} extents from `{}` to `{}` are more than the {} of one command",
                pair.extents.len(),
                pair.source,
                pair.target,
                limits::EXTENTS_PER_COMMAND
            );
            return Err(refuse(RefusalKind::Invalid, message));
        }
        match plan_renewal(&rules, spec, pair)? {
            Some(renewal) if renewed.iter().any(|other| other.id == renewal.id) => {
                let message = format!("`{}` and `{}` are named twice", pair.source, pair.target);
                return Err(refuse(RefusalKind::Overlap, message));
            }
            Some(renewal) => renewed.push(renewal),
            None => plan_pair(&rules, spec, pair, &mut planned)?,
        }
    }
    planned.check_limits(&rules)?;
    Ok(EstablishPlan { new: planned.new, renewed })
}

/// Plans the new relationships of one pair.
pub(super) fn plan_pair(
    rules: &Rules<'_>,
    spec: &EstablishSpec,
    pair: &PairSpec,
    planned: &mut Planned,
) -> Result<(), Refusal> {
    let state = rules.state;
    let (source_id, source) = volume(state, &pair.source)?;
    let (target_id, target) = volume(state, &pair.target)?;
    check_volumes(rules, spec, pair, (source_id, source), (target_id, target))?;
    let recording = match spec.incremental {
        Incremental::No | Incremental::Last => Recording::Off,
        Incremental::Yes | Incremental::TargetWritable => Recording::On,
    };
    if recording == Recording::On {
        check_incremental(state, pair, source)?;
    }
    let whole = [ExtentSpec { source_track: 0, target_track: 0, tracks: source.geometry.tracks }];
    let (scope, extents) = match &pair.extents[..] {
        [] => (Scope::Volume, &whole[..]),
        extents => (Scope::Extent, extents),
    };
    for extent in extents {
        check_tracks(&pair.source, source, extent.source_track, extent.tracks)?;
        check_tracks(&pair.target, target, extent.target_track, extent.tracks)?;
        let id = state.next_relationship + u32::try_from(planned.new.len()).unwrap_or(u32::MAX);
        let new = NewRelationship {
            id: RelationshipId(id),
            source: source_id,
            target: target_id,
            source_track: extent.source_track,
            target_track: extent.target_track,
            tracks: extent.tracks,
            mode: spec.mode,
            pace: spec.pace.unwrap_or(rules.policy.pace),
            scope,
            recording,
            target_writes: target_writes(rules, spec.incremental),
        };
        check_related(state, pair, &new)?;
        planned.add(new, &pair.target)?;
    }
    Ok(())
}

/// Whether hosts may write to the target of an incremental relationship (decision D11).
pub(super) fn target_writes(rules: &Rules<'_>, incremental: Incremental) -> TargetWrites {
    match (rules.policy.profile, incremental) {
        (Profile::Ibm, Incremental::Yes) => TargetWrites::Inhibited,
        _ => TargetWrites::Allowed,
    }
}

fn check_volumes(
    rules: &Rules<'_>,
    spec: &EstablishSpec,
    pair: &PairSpec,
    (_, source): (VolumeId, &Volume),
    (target_id, target): (VolumeId, &Volume),
) -> Result<(), Refusal> {
    check_online(rules, spec, &pair.target, target_id)?;
    check_types(pair, source, target)?;
    if pair.extents.is_empty() && source.geometry.tracks > target.geometry.tracks {
        let message = format!(
            "volume `{}` has {} tracks, its target `{}` only {}",
            pair.source, source.geometry.tracks, pair.target, target.geometry.tracks
        );
        let help = "use a target at least as large, or copy extents with --extent";
        return Err(refuse_with_help(RefusalKind::Size, message, help));
    }
    if let Some(pool) = target.pool().and_then(|id| rules.state.pools.get(&id)) {
        if pool.failed {
            let message = format!("pool `{}` of volume `{}` has failed", pool.name, pair.target);
            return Err(refuse(RefusalKind::NoResources, message));
        }
        check_space_efficient(spec, pair)?;
    }
    Ok(())
}

/// The target has no clients, where that is asked for (ONLINTGT).
pub(super) fn check_online(
    rules: &Rules<'_>,
    spec: &EstablishSpec,
    name: &str,
    target: VolumeId,
) -> Result<(), Refusal> {
    if spec.online_target == OnlineTarget::Refused && (rules.online)(target) {
        let message = format!("target volume `{name}` is online: it has connected clients");
        let help = "disconnect them, or allow an online target";
        return Err(refuse_with_help(RefusalKind::Online, message, help));
    }
    Ok(())
}

fn check_types(pair: &PairSpec, source: &Volume, target: &Volume) -> Result<(), Refusal> {
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
    } else if spec.incremental != Incremental::No {
        let message = format!("{thin}: it takes no incremental copies");
        (message, "withdraw it and establish it anew: that copies nothing either")
    } else {
        return Ok(());
    };
    Err(refuse_with_help(RefusalKind::SpaceEfficient, message, help))
}

/// Incremental relationships are of whole volumes, and a source has one at most (semantics 1.1).
fn check_incremental(state: &State, pair: &PairSpec, source: &Volume) -> Result<(), Refusal> {
    if !pair.extents.is_empty() {
        let message = format!(
            "an incremental copy from `{}` to `{}` is of whole volumes",
            pair.source, pair.target
        );
        return Err(refuse_with_help(RefusalKind::Invalid, message, "leave --extent out"));
    }
    let first_track = source.as_source.at(0).iter();
    let second = first_track
        .filter_map(|id| state.relationships.get(id))
        .find(|known| known.is_incremental());
    if let Some(known) = second {
        let message = format!(
            "volume `{}` is the source of the incremental relationship {} already",
            pair.source, known.pair.id
        );
        let help = "a source has one incremental relationship at most; withdraw it first";
        return Err(refuse_with_help(RefusalKind::SecondIncremental, message, help));
    }
    Ok(())
}

/// No target extent overlaps another related extent, no source extent a target (semantics 3.3).
fn check_related(state: &State, pair: &PairSpec, new: &NewRelationship) -> Result<(), Refusal> {
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
    Ok(())
}

impl EstablishPlan {
    /// The volumes whose further writes are to be held.
    pub fn frozen(&self, state: &State, freeze: Freeze) -> Vec<VolumeId> {
        if freeze == Freeze::No {
            return Vec::new();
        }
        let renewed = self.renewed.iter().filter_map(|renewal| {
            let pair = state.relationships.get(&renewal.id)?.pair;
            Some(match renewal.direction {
                crate::state::Direction::Same => pair.source,
                crate::state::Direction::Reversed => pair.target,
            })
        });
        let mut sources: Vec<VolumeId> =
            self.new.iter().map(|new| new.source).chain(renewed).collect();
        sources.sort_unstable();
        sources.dedup();
        sources
    }
}

/// True when the command names a pair that must exist.
pub(super) fn needs_pair(action: EstablishAction) -> bool {
    action != EstablishAction::Establish
}

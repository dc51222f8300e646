//! Which relationships does this withdraw mean, and what becomes of each? (semantics.md 1.3)

use super::{Rules, refuse, refuse_with_help, volume};
use crate::admin::{CopyMode, ExtentSpec, Profile, Refusal, RefusalKind, WithdrawSpec};
use crate::state::{Piece, Relationship, Role, copy_tables};
use crate::units::{RelationshipId, VolumeId};

/// What a withdraw will do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WithdrawPlan {
    /// End at once.
    pub ended: Vec<RelationshipId>,
    /// Are copied in the background first, and end by themselves unless they are incremental.
    pub converted: Vec<RelationshipId>,
    /// Go on in part.
    pub split: Vec<(RelationshipId, Vec<Piece>)>,
}

impl WithdrawPlan {
    /// True when nothing matches.
    pub fn is_empty(&self) -> bool {
        self.ended.is_empty() && self.converted.is_empty() && self.split.is_empty()
    }

    /// The relationships whose targets must be quiet for it.
    pub fn disturbed(&self) -> impl Iterator<Item = RelationshipId> + '_ {
        self.ended.iter().copied().chain(self.split.iter().map(|(id, _)| *id))
    }
}

/// How a relationship is treated.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    AtOnce,
    AfterCopy,
}

/// The relationships that the command means.
///
/// # Errors
/// Nothing is named, what is named does not exist, or a part cannot be withdrawn.
pub fn plan_withdraw(rules: Rules<'_>, spec: &WithdrawSpec) -> Result<WithdrawPlan, Refusal> {
    let mut plan = WithdrawPlan::default();
    let mut next_id = rules.state.next_relationship;
    for extent in &spec.extents {
        if extent.tracks == 0 {
            let message = format!(
                "an extent of 0 tracks, from track {} of the source on, makes no sense",
                extent.source_track
            );
            return Err(refuse(RefusalKind::Invalid, message));
        }
    }
    let mut thin = None;
    for Selected { known, way, side, list } in selected(&rules, spec)? {
        let inside = inside(known, &spec.extents, side, list);
        match (inside, way) {
            (Inside::No, _) => {}
            // It takes no background copy, so it stays.
            (_, Way::AfterCopy) if known.pool.is_some() => thin = Some(known.pair.id),
            (Inside::Wholly, Way::AtOnce) => plan.ended.push(known.pair.id),
            (Inside::Wholly, Way::AfterCopy) => plan.converted.push(known.pair.id),
            (Inside::Partly(_), _) if rules.policy.profile == Profile::Xp7 => {}
            (Inside::Partly(_), _) if known.pool.is_some() => {
                let message = format!(
                    "relationship {} has a thin target: it is withdrawn as a whole",
                    known.pair.id
                );
                return Err(refuse(RefusalKind::SpaceEfficient, message));
            }
            (Inside::Partly(parts), way) => {
                let pieces = pieces(known, &parts, way, &mut next_id);
                plan.split.push((known.pair.id, pieces));
            }
        }
    }
    if let Some(id) = thin.filter(|_| plan.is_empty()) {
        let message = format!("relationship {id} has a thin target: it takes no background copy");
        let help = "withdraw it without --ddsw";
        return Err(refuse_with_help(RefusalKind::SpaceEfficient, message, help));
    }
    check_room(&rules, &plan)?;
    Ok(plan)
}

/// The NOCOPY relationships of a source, to be given a background copy (NOCOPY2COPY).
///
/// # Errors
/// The volume does not exist.
pub fn plan_convert(rules: Rules<'_>, source: &str) -> Result<WithdrawPlan, Refusal> {
    let (source, _) = volume(rules.state, source)?;
    let converted = of_source(&rules, source)
        .filter(|known| known.pair.mode == CopyMode::Nocopy && known.pool.is_none())
        .map(|known| known.pair.id)
        .collect();
    Ok(WithdrawPlan { converted, ..WithdrawPlan::default() })
}

fn of_source<'a>(
    rules: &Rules<'a>,
    source: VolumeId,
) -> impl Iterator<Item = &'a Relationship> + use<'a> {
    rules.state.relationships.values().filter(move |known| known.pair.source == source)
}

/// A relationship that the names of the command select.
struct Selected<'a> {
    known: &'a Relationship,
    way: Way,
    /// Which of its extents is looked at.
    side: Role,
    /// Which ranges of the list it is compared with.
    list: Role,
}

/// Relationships that the names of the command select, and how.
fn selected<'a>(rules: &Rules<'a>, spec: &WithdrawSpec) -> Result<Vec<Selected<'a>>, Refusal> {
    let state = rules.state;
    let all = || state.relationships.values();
    let id_of = |name: &Option<String>| {
        name.as_deref().map(|name| volume(state, name).map(|(id, _)| id)).transpose()
    };
    let (source, target) = (id_of(&spec.source)?, id_of(&spec.target)?);
    let (way, side) =
        if spec.ddsw { (Way::AfterCopy, Role::Source) } else { (Way::AtOnce, Role::Target) };
    let plainly = |known| Selected { known, way, side, list: side };
    if let Some(id) = spec.id {
        let known = state.relationships.get(&id).ok_or_else(|| not_live(rules, id))?;
        let fits = source.is_none_or(|source| known.pair.source == source)
            && target.is_none_or(|target| known.pair.target == target);
        return Ok(if fits { vec![plainly(known)] } else { Vec::new() });
    }
    Ok(match (source, target, spec.ddsw) {
        // Cases 5 and 6: the target is ignored.
        (Some(volume), _, true) => {
            let onto = all().filter(|known| known.pair.target == volume);
            let from = all().filter(|known| known.pair.source == volume);
            // The list's source ranges are ranges of this volume, whatever it is to the relationship.
            let ends = |known| {
                let (way, side, list) = (Way::AtOnce, Role::Target, Role::Source);
                Selected { known, way, side, list }
            };
            onto.map(ends).chain(from.map(plainly)).collect()
        }
        (None, None, _) => {
            let message = "name a relationship, a source or a target";
            return Err(refuse(RefusalKind::Invalid, message));
        }
        (source, target, _) => all()
            .filter(|known| source.is_none_or(|source| known.pair.source == source))
            .filter(|known| target.is_none_or(|target| known.pair.target == target))
            .map(plainly)
            .collect(),
    })
}

fn not_live(rules: &Rules<'_>, id: RelationshipId) -> Refusal {
    let ended = rules.state.ended.iter().any(|ended| ended.relationship.pair.id == id);
    let what = if ended { "has ended already" } else { "does not exist" };
    refuse_with_help(
        RefusalKind::NotFound,
        format!("relationship {id} {what}"),
        "`flashtrack copy list` shows all relationships",
    )
}

/// How much of a relationship lies in the listed extents.
enum Inside {
    No,
    Wholly,
    /// These of its tracks, counted from its start; ascending, apart from each other.
    Partly(Vec<std::ops::Range<u32>>),
}

/// A list of extents selects only relationships that record no changes; no list selects all of every one.
fn inside(known: &Relationship, extents: &[ExtentSpec], side: Role, list: Role) -> Inside {
    if extents.is_empty() {
        return Inside::Wholly;
    }
    if known.is_incremental() {
        return Inside::No;
    }
    let first = match side {
        Role::Source => known.pair.source_track,
        Role::Target => known.pair.target_track,
    };
    let mut parts: Vec<std::ops::Range<u32>> = Vec::new();
    for extent in extents {
        let start = match list {
            Role::Source => extent.source_track,
            Role::Target => extent.target_track,
        };
        let end = start.saturating_add(extent.tracks);
        let from = start.max(first) - first;
        let to = end.min(first + known.pair.tracks).saturating_sub(first);
        if from == 0 && to == known.pair.tracks {
            return Inside::Wholly;
        }
        if from < to {
            parts.push(from..to);
        }
    }
    if parts.is_empty() {
        return Inside::No;
    }
    parts.sort_unstable_by_key(|part| part.start);
    let mut merged: Vec<std::ops::Range<u32>> = Vec::new();
    for part in parts {
        match merged.last_mut() {
            Some(last) if part.start <= last.end => last.end = last.end.max(part.end),
            _ => merged.push(part),
        }
    }
    Inside::Partly(merged)
}

/// What goes on: the rest, and with a copy first the parts too.
fn pieces(
    known: &Relationship,
    parts: &[std::ops::Range<u32>],
    way: Way,
    next_id: &mut u32,
) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut piece = |range: std::ops::Range<u32>, mode: CopyMode| {
        if range.start < range.end {
            let id = RelationshipId(*next_id);
            *next_id += 1;
            pieces.push(Piece { id, first: range.start, tracks: range.end - range.start, mode });
        }
    };
    let mut at = 0;
    for part in parts {
        piece(at..part.start, known.pair.mode);
        if way == Way::AfterCopy {
            piece(part.clone(), CopyMode::Copy);
        }
        at = part.end;
    }
    piece(at..known.pair.tracks, known.pair.mode);
    pieces
}

/// The limits hold after the splits too.
fn check_room(rules: &Rules<'_>, plan: &WithdrawPlan) -> Result<(), Refusal> {
    let mut more: std::collections::BTreeMap<VolumeId, u32> = std::collections::BTreeMap::new();
    let mut tables = 0;
    for (id, pieces) in &plan.split {
        let Some(known) = rules.state.relationships.get(id) else {
            continue;
        };
        let after: u64 =
            pieces.iter().map(|piece| copy_tables(piece.tracks, known.pair.recording)).sum();
        tables += after.saturating_sub(known.copy_tables());
        let added = u32::try_from(pieces.len()).unwrap_or(u32::MAX).saturating_sub(1);
        *more.entry(known.pair.source).or_default() += added;
        *more.entry(known.pair.target).or_default() += added;
    }
    let used = rules.state.copy_tables;
    if used + tables > rules.policy.copy_tables {
        let message = format!(
            "splitting needs {tables} copy tables, {used} of the store's {} are taken",
            rules.policy.copy_tables
        );
        return Err(refuse(RefusalKind::NoResources, message));
    }
    for (id, added) in more {
        let Some(volume) = rules.state.volumes.get(&id) else {
            continue;
        };
        let most = rules.policy.relationships_per_volume(volume.geometry);
        if volume.relationships().saturating_add(added) > most {
            let message = format!(
                "volume `{}` has {} relationships, splitting would add {added}; {most} are possible",
                volume.name,
                volume.relationships()
            );
            return Err(refuse(RefusalKind::VolumeRelationships, message));
        }
    }
    Ok(())
}

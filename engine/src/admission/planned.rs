//! What a command has planned so far: the extents of its new relationships, to be checked against each other
//! and against the limits.

use std::collections::BTreeMap;

use super::{Rules, refuse, refuse_with_help};
use crate::admin::{Refusal, RefusalKind};
use crate::limits;
use crate::map::cover::CoverMap;
use crate::state::{NewRelationship, copy_tables};
use crate::units::{RelationshipId, VolumeId};

/// New relationships and where their extents lie.
#[derive(Debug, Default)]
pub(super) struct Planned {
    pub(super) new: Vec<NewRelationship>,
    sources: BTreeMap<VolumeId, CoverMap<RelationshipId>>,
    targets: BTreeMap<VolumeId, CoverMap<RelationshipId>>,
    /// New relationships of each volume, in both roles.
    counts: BTreeMap<VolumeId, u32>,
    tables: u64,
}

fn covers(
    of: &BTreeMap<VolumeId, CoverMap<RelationshipId>>,
    volume: VolumeId,
    tracks: std::ops::Range<u32>,
) -> bool {
    of.get(&volume).is_some_and(|cover| cover.overlapping(tracks).any(|(_, ids)| !ids.is_empty()))
}

impl Planned {
    /// Takes one more relationship, if no target extent of the command overlaps another extent of it.
    pub(super) fn add(&mut self, new: NewRelationship, target: &str) -> Result<(), Refusal> {
        let source = new.source_track..new.source_track + new.tracks;
        let onto = new.target_track..new.target_track + new.tracks;
        let itself = new.source == new.target && source.start < onto.end && onto.start < source.end;
        if itself
            || covers(&self.targets, new.target, onto.clone())
            || covers(&self.sources, new.target, onto.clone())
            || covers(&self.targets, new.source, source.clone())
        {
            let message = format!(
                "a target extent on volume `{target}` overlaps another extent of the same command"
            );
            return Err(refuse(RefusalKind::Overlap, message));
        }
        self.sources.entry(new.source).or_default().insert(source, new.id);
        self.targets.entry(new.target).or_default().insert(onto, new.id);
        *self.counts.entry(new.source).or_default() += 1;
        *self.counts.entry(new.target).or_default() += 1;
        self.tables += copy_tables(new.tracks, new.recording);
        self.new.push(new);
        Ok(())
    }

    /// The limits of a track, a volume, a command and the store (rows T1-01, T2-03, T2-04).
    pub(super) fn check_limits(&self, rules: &Rules<'_>) -> Result<(), Refusal> {
        if self.new.len() > rules.relationships_per_command {
            let message = format!(
                "{} relationships are more than the {} of one command",
                self.new.len(),
                rules.relationships_per_command
            );
            return Err(refuse(RefusalKind::Invalid, message));
        }
        self.check_copies_per_track(rules)?;
        self.check_volumes(rules)?;
        let used = rules.state.copy_tables;
        if used + self.tables > rules.policy.copy_tables {
            let message = format!(
                "{} copy tables are needed, {used} of the store's {} are taken",
                self.tables, rules.policy.copy_tables
            );
            let help = format!(
                "each serves {} tracks; withdraw copies, or raise --copy-tables of flashtrackd",
                limits::TRACKS_PER_COPY_TABLE
            );
            return Err(refuse_with_help(RefusalKind::NoResources, message, help));
        }
        Ok(())
    }

    fn check_volumes(&self, rules: &Rules<'_>) -> Result<(), Refusal> {
        for (id, &more) in &self.counts {
            let Some(volume) = rules.state.volumes.get(id) else {
                continue;
            };
            let most = rules.policy.relationships_per_volume(volume.geometry);
            if volume.relationships().saturating_add(more) > most {
                let message = format!(
                    "volume `{}` has {} relationships and would get {more} more; {most} are possible",
                    volume.name,
                    volume.relationships()
                );
                let help = "withdraw what is not needed any more";
                return Err(refuse_with_help(RefusalKind::VolumeRelationships, message, help));
            }
        }
        Ok(())
    }

    fn check_copies_per_track(&self, rules: &Rules<'_>) -> Result<(), Refusal> {
        let most = rules.policy.relationships_per_track();
        for (id, asked) in &self.sources {
            let Some(source) = rules.state.volumes.get(id) else {
                continue;
            };
            for (tracks, ids) in asked.overlapping(0..source.geometry.tracks) {
                if ids.is_empty() {
                    continue;
                }
                let copies = source.as_source.max_depth(tracks.clone()) + ids.len();
                if copies > most {
                    let message = format!(
                        "volume `{}` would have {copies} copies of a track between {} and {}; {most} are possible",
                        source.name,
                        tracks.start,
                        tracks.end - 1,
                    );
                    let help = "withdraw a copy that is not needed any more";
                    return Err(refuse_with_help(RefusalKind::TooManyCopies, message, help));
                }
            }
        }
        Ok(())
    }
}

//! What an administrator of the simulated store knows: volumes, pools and relationships, and which
//! commands must be accepted or refused.

use std::collections::{BTreeMap, BTreeSet};

use crate::admin::{CopyMode, CopyReport, DatasetExtent, EstablishSpec, Incremental, VolumeReport};
use crate::policy::Policy;

use super::model::{Leaves, Pair};

/// What is known of the store.
#[derive(Clone, Debug, Default)]
pub struct Directory {
    /// Volumes by number.
    pub volumes: BTreeMap<u32, KnownVolume>,
    /// Pools by name.
    pub pools: BTreeMap<String, KnownPool>,
    /// Relationships that were not withdrawn, by number.
    pub copies: BTreeMap<u32, KnownCopy>,
    /// Numbers of all relationships that were ever told of.
    pub seen: BTreeSet<u32>,
    /// Datasets that were defined, perhaps.
    pub datasets: BTreeMap<String, Vec<DatasetExtent>>,
    /// The rules of the store.
    pub policy: Policy,
    /// Volumes that may take no writes for being the target of an incremental relationship.
    pub inhibited: BTreeSet<u32>,
    /// Volumes whose writes are held, and until when at least, in microseconds.
    pub frozen: BTreeMap<u32, u64>,
}

/// A volume.
#[derive(Clone, Debug)]
pub struct KnownVolume {
    /// Its name.
    pub name: String,
    /// Its size in bytes.
    pub bytes: u64,
    /// Bytes of a track.
    pub track_bytes: u64,
    /// Its pool, when it is thin.
    pub pool: Option<String>,
    /// A create or delete of it is in flight, or it was seen to refuse I/O.
    pub usable: bool,
}

/// A pool.
#[derive(Clone, Copy, Debug)]
pub struct KnownPool {
    /// True when it is so small that it may run full.
    pub may_fill: bool,
}

/// A relationship.
#[derive(Clone, Debug)]
pub struct KnownCopy {
    /// Its image in the model.
    pub image: usize,
    /// Where it lies.
    pub pair: Pair,
    /// It may end by itself once it is copied.
    pub ends_itself: bool,
    /// How it was made.
    pub kind: CopyKind,
    /// Number of its T0.
    pub moment: u64,
    /// It was seen failed.
    pub failed: bool,
    /// A withdraw of it is in flight.
    pub leaving: bool,
}

/// How a relationship was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CopyKind {
    /// COPY or NOCOPY.
    pub mode: CopyMode,
    /// It records changes.
    pub incremental: bool,
    /// It is of whole volumes.
    pub whole: bool,
}

/// What the answer to a command has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing stands against it.
    Accept,
    /// A rule forbids it.
    Refuse,
    /// It depends on what the administrator cannot know.
    Either,
}

impl Directory {
    /// The volume of that name.
    pub fn volume_named(&self, name: &str) -> Option<(u32, &KnownVolume)> {
        self.volumes
            .iter()
            .find(|(_, volume)| volume.name == name)
            .map(|(id, volume)| (*id, volume))
    }

    /// True when reads of the volume may be refused because a relationship failed.
    pub fn may_fail(&self, volume: u32) -> bool {
        self.volumes.get(&volume).is_some_and(|known| self.pool_may_fill(known))
    }

    /// What the withdraw of a relationship leaves on this target.
    pub fn leaves(&self, target: u32) -> Leaves {
        let thin = self.volumes.get(&target).is_some_and(|volume| volume.pool.is_some());
        if thin { Leaves::Zeroes } else { Leaves::Unknown }
    }

    fn pool_may_fill(&self, volume: &KnownVolume) -> bool {
        let pool = volume.pool.as_ref().and_then(|name| self.pools.get(name));
        pool.is_some_and(|pool| pool.may_fill)
    }

    /// The pairs of an establish in bytes; none when a volume is unknown.
    pub fn pairs(&self, spec: &EstablishSpec) -> Option<Vec<Pair>> {
        let mut pairs = Vec::new();
        for pair in &spec.pairs {
            let (source, from) = self.volume_named(&pair.source)?;
            let (target, _) = self.volume_named(&pair.target)?;
            if pair.extents.is_empty() {
                let bytes = from.bytes;
                pairs.push(Pair { source, target, source_start: 0, target_start: 0, bytes });
            }
            for extent in &pair.extents {
                pairs.push(Pair {
                    source,
                    target,
                    source_start: u64::from(extent.source_track) * from.track_bytes,
                    target_start: u64::from(extent.target_track) * from.track_bytes,
                    bytes: u64::from(extent.tracks) * from.track_bytes,
                });
            }
        }
        Some(pairs)
    }

    /// Whether the establish has to be accepted; `quiet` when no other command is in flight.
    pub fn judge_establish(&self, spec: &EstablishSpec, quiet: bool) -> Verdict {
        let Some(pairs) = self.pairs(spec) else {
            return Verdict::Refuse;
        };
        let whole = spec.pairs.iter().all(|pair| pair.extents.is_empty());
        let records = spec.incremental != Incremental::No;
        if records && !whole {
            return Verdict::Refuse;
        }
        for (at, pair) in pairs.iter().enumerate() {
            let (Some(source), Some(target)) =
                (self.volumes.get(&pair.source), self.volumes.get(&pair.target))
            else {
                return Verdict::Refuse;
            };
            let thin_rules = whole && spec.mode == CopyMode::Nocopy && spec.space_efficient;
            if source.pool.is_some()
                || pair.bytes == 0
                || pair.source_start + pair.bytes > source.bytes
                || pair.target_start + pair.bytes > target.bytes
                || source.track_bytes != target.track_bytes
                || (target.pool.is_some() && (!thin_rules || records))
                || pairs[..at].iter().chain([pair]).any(|other| conflict(other, pair))
            {
                return Verdict::Refuse;
            }
        }
        let certain = |copy: &&KnownCopy| !copy.ends_itself && !copy.leaving;
        let related: Vec<&Pair> =
            self.copies.values().filter(certain).map(|copy| &copy.pair).collect();
        if self.collides(&pairs, &related) {
            return Verdict::Refuse;
        }
        let possible: Vec<&Pair> = self.copies.values().map(|copy| &copy.pair).collect();
        let free = quiet && !self.collides(&pairs, &possible);
        let usable = |id: &u32| self.volumes.get(id).is_some_and(|volume| volume.usable);
        // A source has one incremental relationship at most, and this may be one.
        let recorded =
            |id: u32| self.copies.values().any(|copy| copy.pair.source == id && copy.kind.whole);
        let second = records && pairs.iter().any(|pair| recorded(pair.source));
        if free
            && !second
            && pairs.iter().all(|pair| {
                usable(&pair.source) && usable(&pair.target) && !self.may_fail(pair.target)
            })
        {
            Verdict::Accept
        } else {
            Verdict::Either
        }
    }

    /// True when a new pair collides with related ones, or a track would have too many copies.
    fn collides(&self, pairs: &[Pair], related: &[&Pair]) -> bool {
        let crowded = pairs.iter().any(|pair| {
            let track = self.volumes.get(&pair.source).map_or(1, |volume| volume.track_bytes);
            let tracks = pair.source_start / track..(pair.source_start + pair.bytes) / track;
            tracks.into_iter().any(|number| {
                let holds = |other: &&Pair| {
                    let first = other.source_start / track;
                    other.source == pair.source
                        && (first..first + other.bytes / track).contains(&number)
                };
                let copies = related.iter().copied().chain(pairs).filter(holds).count();
                copies > self.policy.relationships_per_track()
            })
        });
        crowded || pairs.iter().any(|pair| related.iter().any(|other| conflict(other, pair)))
    }
}

/// True when target extents overlap, or a source extent overlaps a target extent.
fn conflict(one: &Pair, other: &Pair) -> bool {
    let same = std::ptr::eq(one, other);
    let targets = one.target == other.target && one.target_range().overlaps(other.target_range());
    let crossed = |source: &Pair, target: &Pair| {
        source.source == target.target && source.source_range().overlaps(target.target_range())
    };
    (targets && !same) || crossed(one, other) || crossed(other, one)
}

impl KnownVolume {
    /// From a report.
    pub fn of(report: &VolumeReport) -> Self {
        Self {
            name: report.name.clone(),
            bytes: report.size_bytes,
            track_bytes: u64::from(report.track_bytes),
            pool: report.pool.clone(),
            usable: true,
        }
    }
}

impl KnownCopy {
    /// True when the report is about this relationship's extents.
    pub fn is(&self, report: &CopyReport, directory: &Directory) -> bool {
        lies(&self.pair, report, directory)
    }
}

/// True when the report is about the pair's extents.
pub fn lies(pair: &Pair, report: &CopyReport, directory: &Directory) -> bool {
    let (Some(source), Some(target)) =
        (directory.volumes.get(&pair.source), directory.volumes.get(&pair.target))
    else {
        return false;
    };
    source.name == report.source
        && target.name == report.target
        && u64::from(report.source_track) * source.track_bytes == pair.source_start
        && u64::from(report.target_track) * source.track_bytes == pair.target_start
        && u64::from(report.tracks) * source.track_bytes == pair.bytes
}

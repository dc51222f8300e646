//! Withdrawals of parts of relationships, and copies of datasets: what they do to the model.

use super::directory::{CopyKind, KnownCopy, Verdict, lies};
use super::expectation::Commanded;
use super::model::{Leaves, Pair};
use super::world::World;
use crate::admin::{CopyReport, CopyState, DatasetCopySpec, Freeze, Profile, WithdrawSpec};

/// A relationship of which a part is withdrawn.
#[derive(Clone, Debug)]
pub(super) struct Part {
    id: u32,
    /// Number of the withdraw.
    number: u32,
    withdrawn: Pair,
    rest: Vec<Pair>,
}

/// The part of a pair from one byte of it to another.
fn part_of(pair: &Pair, from: u64, to: u64) -> Pair {
    Pair {
        source_start: pair.source_start + from,
        target_start: pair.target_start + from,
        bytes: to - from,
        ..*pair
    }
}

impl World {
    /// A withdraw of one run of target tracks: under `xp7` of relationships wholly inside, under `ibm` of what is inside.
    pub(super) fn expect_split(&mut self, spec: &WithdrawSpec) -> Commanded {
        let number = self.model.next_number();
        let (mut copies, mut parts) = (Vec::new(), Vec::new());
        let target = spec.target.as_deref().and_then(|name| self.directory.volume_named(name));
        let (Some((target, volume)), [extent]) = (target, &spec.extents[..]) else {
            return Commanded::Withdraw { copies, parts, lenient: true };
        };
        let start = u64::from(extent.target_track) * volume.track_bytes;
        let end = start + u64::from(extent.tracks) * volume.track_bytes;
        let splits = self.directory.policy.profile == Profile::Ibm;
        let leaves = self.directory.leaves(target);
        let mut newer: Vec<Pair> = Vec::new();
        for (&id, copy) in self.directory.copies.iter_mut().rev() {
            let pair = copy.pair;
            let over = |other: &Pair| {
                other.target == target && other.target_range().overlaps(pair.target_range())
            };
            if newer.iter().any(over) {
                // It has ended by itself, unseen.
                continue;
            }
            newer.push(pair);
            if pair.target != target || copy.leaving || copy.kind.incremental {
                continue;
            }
            let from = start.saturating_sub(pair.target_start);
            let to = end.saturating_sub(pair.target_start).min(pair.bytes);
            if from == 0 && to == pair.bytes {
                copy.leaving = true;
                self.model.begin_withdraw(copy.image, pair, number, leaves);
                copies.push((id, number));
            } else if from < to && splits && leaves == Leaves::Unknown {
                copy.leaving = true;
                let withdrawn = part_of(&pair, from, to);
                self.model.begin_withdraw(copy.image, withdrawn, number, leaves);
                let ends = [(0, from), (to, pair.bytes)];
                let rest = ends.into_iter().filter(|(from, to)| from < to);
                let rest = rest.map(|(from, to)| part_of(&pair, from, to)).collect();
                parts.push(Part { id, number, withdrawn, rest });
            }
        }
        // A thin target is not divided.
        let lenient = leaves == Leaves::Zeroes;
        Commanded::Withdraw { copies, parts, lenient }
    }

    /// The pieces that go on, if the relationship was there still.
    pub(super) fn split(&mut self, part: &Part, reports: &[CopyReport]) -> bool {
        let live = |pair: &Pair| {
            let mut reports = reports.iter().filter(|report| report.ended.is_none());
            reports.find(|report| {
                !self.directory.seen.contains(&report.id) && lies(pair, report, &self.directory)
            })
        };
        let pieces: Vec<(Pair, u32)> =
            part.rest.iter().filter_map(|pair| Some((*pair, live(pair)?.id))).collect();
        if pieces.is_empty() {
            self.not_split(part);
            return false;
        }
        let failed = reports.iter().any(|report| {
            report.state == CopyState::Failed && pieces.iter().any(|(_, id)| *id == report.id)
        });
        if failed {
            // Unseen so far: what its target holds is nobody's business any more.
            self.fail_copy(part.id);
        }
        if let Some(copy) = self.directory.copies.remove(&part.id) {
            let kind = CopyKind { whole: false, ..copy.kind };
            for (pair, id) in pieces {
                let piece = KnownCopy { pair, kind, leaving: false, ..copy.clone() };
                self.directory.seen.insert(id);
                self.directory.copies.insert(id, piece);
            }
        }
        true
    }

    /// Nothing was divided.
    pub(super) fn not_split(&mut self, part: &Part) {
        if let Some(copy) = self.directory.copies.get_mut(&part.id) {
            copy.leaving = false;
            self.model.retract_withdraw(copy.image, part.withdrawn, part.number);
        }
    }

    /// A copy of a dataset: all of its extents at one moment, or none.
    pub(super) fn expect_dataset_copy(&mut self, spec: &DatasetCopySpec) -> Commanded {
        let kind = CopyKind { mode: spec.mode, incremental: false, whole: false };
        let pairs = self.dataset_pairs(spec).unwrap_or_default();
        let images = self.model.begin_establish(&pairs, None).1;
        debug_assert_eq!(spec.freeze, Freeze::No, "not drawn");
        let verdict = Verdict::Either;
        let (renewed, emptied, freezes) = (None, None, None);
        Commanded::Establish { pairs, images, kind, verdict, renewed, emptied, freezes }
    }

    fn dataset_pairs(&self, spec: &DatasetCopySpec) -> Option<Vec<Pair>> {
        let extents = self.directory.datasets.get(&spec.name)?;
        let mut volumes: Vec<&String> = Vec::new();
        let mut pairs = Vec::new();
        for extent in extents {
            if !volumes.contains(&&extent.volume) {
                volumes.push(&extent.volume);
            }
            let at = volumes.iter().position(|volume| **volume == extent.volume)?;
            let (source, known) = self.directory.volume_named(&extent.volume)?;
            let (target, _) = self.directory.volume_named(spec.targets.get(at)?)?;
            let start = u64::from(extent.first_track) * known.track_bytes;
            let bytes = u64::from(extent.tracks) * known.track_bytes;
            pairs.push(Pair { source, target, source_start: start, target_start: start, bytes });
        }
        (volumes.len() == spec.targets.len()).then_some(pairs)
    }
}

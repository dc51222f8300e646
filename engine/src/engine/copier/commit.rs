//! The commit of copied runs: the targets are synced, then "copied" is journaled, then it counts.
//!
//! Invariant C8: "copied" of a relationship that records changes is journaled only after the source's home was synced since T0.
//! Else a power cut could take back on the source what the target has, and no note of a change would tell: a refresh would
//! not copy that track.

use super::super::barrier::Then;
use super::super::{Engine, Shutdown};
use super::runs::RUNS_MAX;
use super::{COMMIT_US, Run};
use crate::admin::EndReason;
use crate::io::Object;
use crate::request::RequestError;
use crate::state::{Health, Record};
use crate::units::{RelationshipId, Seq, VolumeId};

/// Runs of one record.
const RECORD_RUNS: usize = 512;
/// Copied bytes that are committed at the latest.
const COMMIT_BYTES: u64 = 64 << 20;

#[derive(Debug)]
pub(super) struct Commit {
    step: CommitStep,
    runs: Vec<(RelationshipId, Vec<Run>)>,
}

#[derive(Clone, Copy, Debug)]
enum CommitStep {
    Syncing,
    Recording,
}

impl Commit {
    pub(super) fn is_of(&self, id: RelationshipId) -> bool {
        self.runs.iter().any(|run| run.0 == id)
    }
}

impl Engine {
    /// Syncs what was written, when somebody waits for it, it is much, or nothing else is to do.
    pub(super) fn begin_commit(&mut self) {
        if self.copier.commit.is_some() || self.copier.unsaved.is_empty() {
            return;
        }
        let more = self.copier.has_background_work(self.completes_tracks())
            || !self.copier.resting.is_empty();
        let due = (self.copier.running == 0 && (!more || self.shutdown != Shutdown::No))
            || self
                .copier
                .uncommitted_since_us
                .is_some_and(|since| since + COMMIT_US <= self.now.monotonic_us)
            || self.copier.uncommitted_bytes >= COMMIT_BYTES
            || (self.copier.waiters > 0 && self.copier.running < RUNS_MAX);
        if !due {
            return;
        }
        let mut runs = Vec::new();
        for id in std::mem::take(&mut self.copier.unsaved) {
            if let Some(copy) = self.copier.copies.get_mut(&id).filter(|copy| !copy.stopped) {
                runs.push((id, std::mem::take(&mut copy.written)));
            }
        }
        self.copier.uncommitted_bytes = 0;
        self.copier.uncommitted_since_us = None;
        if runs.is_empty() {
            return;
        }
        let barrier = self.barrier(Then::CopyCommit);
        for (id, _) in &runs {
            let Some(known) = self.state.relationships.get(id) else { continue };
            let (source, target) = (known.pair.source, known.pair.target);
            let source_counts = known.is_incremental() && !known.durable;
            if !breaks!(self, SkipTargetSyncBeforeCopied) {
                self.join_object(barrier, Object::Home(target));
            }
            if source_counts && !breaks!(self, CopiedBeforeSourceDurable) {
                self.join_object(barrier, Object::Home(source));
            }
        }
        self.copier.commit = Some(Commit { step: CommitStep::Syncing, runs });
        self.release(barrier, Ok(()));
    }

    /// Goes on with the commit.
    pub(in crate::engine) fn copy_commit_step(&mut self, result: Result<(), RequestError>) {
        let Some(commit) = self.copier.commit.take() else {
            return;
        };
        if result.is_err() {
            // The failed sync has failed the relationships concerned, or stopped all writes (F3), but for those
            // that were established since; runs of others are not believed and copied again.
            self.fail_copies_of_failed_homes();
            for (id, runs) in commit.runs {
                if let Some(copy) = self.copier.copies.get_mut(&id) {
                    for run in runs {
                        copy.busy.clear(run.tracks());
                    }
                    copy.cursor = 0;
                }
                self.poke_copy(id);
            }
            return;
        }
        match commit.step {
            CommitStep::Syncing => {
                let barrier = self.barrier(Then::CopyCommit);
                for (id, runs) in &commit.runs {
                    for runs in runs.chunks(RECORD_RUNS) {
                        let runs = runs.iter().map(|run| (run.first, run.count)).collect();
                        self.append(Record::Copied { id: *id, runs }, None);
                    }
                }
                self.join_journal(barrier, self.journal.end());
                self.copier.commit = Some(Commit { step: CommitStep::Recording, ..commit });
                self.release(barrier, Ok(()));
            }
            CommitStep::Recording => self.committed(commit.runs),
        }
    }

    /// A home that could not be synced once never can be again (rule O9): no copy onto it will ever be complete, nor one
    /// that waits for it to be durable as its source (C8).
    fn fail_copies_of_failed_homes(&mut self) {
        let failed: Vec<Object> = self
            .syncs
            .iter()
            .filter_map(|(&object, syncs)| syncs.has_failed().then_some(object))
            .collect();
        let has_failed = |volume: VolumeId| failed.contains(&Object::Home(volume));
        self.fail_copies(|relationship| {
            let waits_for_source = relationship.is_incremental() && !relationship.durable;
            let pair = relationship.pair;
            relationship.pool.is_none()
                && (has_failed(pair.target) || (waits_for_source && has_failed(pair.source)))
        });
    }

    /// Tracks have become readable on the target; reads through the source drain now (R4).
    pub(in crate::engine) fn copies_linger(&mut self, id: RelationshipId, runs: &[(u32, u32)]) {
        let Some(t0) = self.state.relationships.get(&id).map(|known| known.t0) else {
            return;
        };
        for &(first, count) in runs {
            if let Some(known) = self.state.relationships.get_mut(&id) {
                known.lingering.set(first..first + count);
            }
            self.after_grace(Then::Settled(id, t0, Run { first, count }));
        }
    }

    /// The last block of a track has become readable on the target: as if all of it had been copied now.
    pub(in crate::engine) fn track_completed(&mut self, id: RelationshipId, track: u32) {
        self.copies_linger(id, &[(track, 1)]);
        self.stats.copied_tracks += 1;
        if let Some(copy) = self.copier.copies.get_mut(&id) {
            copy.wanted.clear(track..track + 1);
            self.copier.maybe_complete.insert(id);
        }
    }

    /// The records are durable and applied: whoever waited goes on.
    fn committed(&mut self, runs: Vec<(RelationshipId, Vec<Run>)>) {
        for (id, runs) in runs {
            for run in runs {
                self.stats.copied_tracks += u64::from(run.count);
                if let Some(copy) = self.copier.copies.get_mut(&id) {
                    copy.busy.clear(run.tracks());
                    copy.wanted.clear(run.tracks());
                }
            }
            let Some(copy) = self.copier.copies.get_mut(&id) else {
                continue;
            };
            let Some(known) = self.state.relationships.get(&id) else {
                continue;
            };
            let (over, waiting): (Vec<_>, Vec<_>) = std::mem::take(&mut copy.waiters)
                .into_iter()
                .partition(|(track, _)| known.copied.has_track(*track));
            copy.waiters = waiting;
            self.copier.waiters -= over.len();
            self.copier.maybe_complete.insert(id);
            for (_, barrier) in over {
                self.release(barrier, Ok(()));
            }
        }
    }

    /// Reads that began before the run was copied have ended (R4).
    pub(in crate::engine) fn copy_settled(&mut self, id: RelationshipId, t0: Seq, run: Run) {
        if let Some(known) = self.state.relationships.get_mut(&id)
            && known.t0 == t0
        {
            known.lingering.clear(run.tracks());
            self.copier.maybe_complete.insert(id);
        }
    }

    /// Relationships whose last track is copied end by themselves, if they are of that kind.
    pub(super) fn end_complete_copies(&mut self) {
        if self.active.is_some() || self.copier.maybe_complete.is_empty() {
            return;
        }
        let on_demand_too = self.policy.ends_nocopy();
        let mut complete = Vec::new();
        for id in std::mem::take(&mut self.copier.maybe_complete) {
            let known = self.state.relationships.get(&id);
            let (Some(known), Some(copy)) = (known, self.copier.copies.get_mut(&id)) else {
                continue;
            };
            let all = known.ends_when_copied(on_demand_too)
                && known.health == Health::Good
                && known.tracks_left() == 0
                && known.lingering.is_empty();
            if all && copy.ready && !copy.ending && !copy.stopped {
                copy.ending = true;
                complete.push(id);
            }
        }
        if !complete.is_empty() {
            self.stats.completed += complete.len() as u64;
            self.append(Record::Ended { ids: complete, reason: EndReason::Completed }, None);
        }
    }
}

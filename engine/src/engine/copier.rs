//! The copier: fills full targets with their T0 image, track by track.
//!
//! Tracks are copied because the destager needs them out of the way (urgent) or because the mode is COPY. Each
//! goes through: read the image as of T0, write it to the target, sync the target, journal "copied",
//! apply. From then on the target reads its own home; writes of the source go straight home once the reads
//! that were on their way through the source have ended (R4).
//!
//! Invariants
//! - C1 A track is in at most one run at a time, and in none once it is copied: a copy never overwrites
//!   what a host of the target wrote (I7).
//! - C2 `Copied` is appended after the target was synced (rule O2).
//! - C3 No run begins before the writes in flight at T0 have ended, nor after the relationship failed or is
//!   being withdrawn.

use std::collections::BTreeMap;

use super::Engine;
use super::barrier::{BarrierId, Then};
use super::ops::TRANSFER_BYTES_MAX;
use crate::admin::{CopyMode, EndReason};
use crate::io::Object;
use crate::lookup::{Piece, View};
use crate::map::track_bitmap::TrackBitmap;
use crate::request::RequestError;
use crate::state::{Health, Record};
use crate::units::{Block, RelationshipId, VolumeId};

/// Runs that are copied at the same time, of all relationships.
const RUNS_MAX: usize = 4;
/// Runs of one record.
const RECORD_RUNS: usize = 512;
/// Copied bytes that are committed at the latest.
const COMMIT_BYTES: u64 = 64 << 20;

/// A run of tracks, counted from the extent's start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    /// First track.
    pub first: u32,
    /// Number of tracks.
    pub count: u32,
}

/// What the copier is at.
#[derive(Debug, Default)]
pub(super) struct Copier {
    /// Relationships with full targets.
    copies: BTreeMap<RelationshipId, Copy>,
    /// Runs being read and written.
    running: usize,
    /// Bytes copied and not committed.
    uncommitted_bytes: u64,
    commit: Option<Commit>,
    /// Where the search for background work goes on.
    next: RelationshipId,
}

/// One relationship's copying.
#[derive(Debug, Default)]
struct Copy {
    /// The writes in flight at T0 have ended (C3).
    ready: bool,
    /// No new runs: it is being withdrawn or has failed.
    stopped: bool,
    /// Tracks in a run, or copied and not committed (C1).
    busy: TrackBitmap,
    /// Tracks that somebody waits for.
    wanted: TrackBitmap,
    waiters: Vec<(u32, BarrierId)>,
    running: usize,
    /// Runs that are written and not committed.
    written: Vec<Run>,
    /// Background copying has passed here.
    cursor: u32,
    /// The `Ended` record of a complete copy was appended.
    ending: bool,
}

#[derive(Debug)]
struct Commit {
    step: CommitStep,
    runs: Vec<(RelationshipId, Vec<Run>)>,
}

#[derive(Clone, Copy, Debug)]
enum CommitStep {
    Syncing,
    Recording,
}

impl Copier {
    /// True when nothing is being copied or committed.
    pub(super) fn is_idle(&self) -> bool {
        self.running == 0 && self.commit.is_none()
    }

    /// True when a copy onto the relationship's target is on its way.
    pub(super) fn is_busy_with(&self, id: RelationshipId) -> bool {
        self.copies.get(&id).is_some_and(|copy| copy.running > 0)
            || self.commit.as_ref().is_some_and(|commit| commit.runs.iter().any(|run| run.0 == id))
    }

    /// A relationship with a full target exists.
    pub(super) fn add(&mut self, id: RelationshipId, ready: bool) {
        self.copies.insert(id, Copy { ready, ..Copy::default() });
    }

    /// No new runs of the relationship.
    pub(super) fn stop(&mut self, id: RelationshipId) {
        if let Some(copy) = self.copies.get_mut(&id) {
            copy.stopped = true;
        }
    }
}

impl Engine {
    /// Holds the barrier until the track (counted from the extent's start) is copied or owed no more.
    pub(super) fn want_track(&mut self, id: RelationshipId, track: u32, barrier: BarrierId) {
        let owed = self
            .state
            .relationships
            .get(&id)
            .is_some_and(|known| known.health == Health::Good && !known.copied.contains(track));
        let Some(copy) = self.copier.copies.get_mut(&id) else {
            return;
        };
        if owed {
            copy.wanted.set(track..track + 1);
            copy.waiters.push((track, barrier));
            self.hold(barrier);
        }
    }

    /// The writes in flight at T0 have ended; `targets` has one entry for each time a gate was shut.
    pub(super) fn copies_ready(&mut self, ids: &[RelationshipId], targets: &[VolumeId]) {
        let mut sources: BTreeMap<VolumeId, Vec<RelationshipId>> = BTreeMap::new();
        for &id in ids {
            if let Some(copy) = self.copier.copies.get_mut(&id) {
                copy.ready = true;
            }
            if let Some(known) = self.state.relationships.get(&id) {
                sources.entry(known.pair.source).or_default().push(id);
            }
        }
        for (source, ids) in sources {
            let barrier = self.barrier(Then::Durable(ids));
            self.join_object(barrier, Object::Home(source));
            self.release(barrier, Ok(()));
        }
        self.targets_ready(targets);
    }

    /// The source's home was synced since T0 (rule O5).
    pub(super) fn copies_durable(
        &mut self,
        ids: &[RelationshipId],
        result: Result<(), RequestError>,
    ) {
        for id in ids {
            if let Some(known) = self.state.relationships.get_mut(id) {
                known.durable |= result.is_ok();
            }
        }
    }

    /// Relationships fail, their record is on its way: a destage batch that waits for their tracks goes on.
    /// It writes no home before that record is durable (D1).
    pub(super) fn copies_given_up(&mut self, ids: &[RelationshipId]) {
        for id in ids {
            let Some(copy) = self.copier.copies.get_mut(id) else {
                continue;
            };
            copy.stopped = true;
            for (_, barrier) in std::mem::take(&mut copy.waiters) {
                self.release(barrier, Ok(()));
            }
        }
    }

    /// Relationships have ended or failed: nobody waits for their tracks any more.
    pub(super) fn copies_gone(&mut self, ids: &[RelationshipId]) {
        for id in ids {
            let Some(copy) = self.copier.copies.get_mut(id) else {
                continue;
            };
            copy.stopped = true;
            let waiters = std::mem::take(&mut copy.waiters);
            if copy.running == 0 && !self.state.relationships.contains_key(id) {
                self.copier.copies.remove(id);
            }
            for (_, barrier) in waiters {
                self.release(barrier, Ok(()));
            }
        }
    }

    /// Begins runs, commits and completions that are due.
    pub(super) fn step_copier(&mut self) {
        if self.copier.copies.is_empty() || self.fail_stop.is_some() || !self.has_record_room() {
            return;
        }
        while self.copier.running < RUNS_MAX {
            let Some((id, run)) = self.next_run() else {
                break;
            };
            self.begin_run(id, run);
        }
        self.begin_commit();
        self.end_complete_copies();
    }

    /// The next run: urgent ones first, then background copies in turn.
    fn next_run(&mut self) -> Option<(RelationshipId, Run)> {
        let draining = self.shutdown != super::Shutdown::No;
        let from = self.copier.next;
        let order: Vec<RelationshipId> = self
            .copier
            .copies
            .range(from..)
            .chain(self.copier.copies.range(..from))
            .filter(|(_, copy)| copy.ready && !copy.stopped)
            .map(|(&id, _)| id)
            .collect();
        let urgent = order.iter().find_map(|&id| Some((id, self.wanted_run(id)?)));
        if urgent.is_some() || draining {
            return urgent;
        }
        let found = order.iter().find_map(|&id| Some((id, self.background_run(id)?)));
        if let Some((id, _)) = found {
            self.copier.next = RelationshipId(id.0 + 1);
        }
        found
    }

    fn wanted_run(&self, id: RelationshipId) -> Option<Run> {
        let copy = self.copier.copies.get(&id)?;
        let relationship = self.state.relationships.get(&id)?;
        let first =
            copy.wanted.set_runs(0..relationship.pair.tracks).flatten().find(|&track| {
                !copy.busy.contains(track) && !relationship.copied.contains(track)
            })?;
        Some(self.run_from(id, first, |track| copy.wanted.contains(track)))
    }

    fn background_run(&mut self, id: RelationshipId) -> Option<Run> {
        let relationship = self.state.relationships.get(&id)?;
        if relationship.pair.mode != CopyMode::Copy || relationship.health != Health::Good {
            return None;
        }
        let copy = self.copier.copies.get_mut(&id)?;
        let mut at = copy.cursor;
        while let Some(track) = relationship.copied.next_unset(at, relationship.pair.tracks) {
            match copy.busy.next_unset(track, relationship.pair.tracks) {
                Some(free) if free == track => {
                    copy.cursor = track;
                    return Some(self.run_from(id, track, |_| true));
                }
                Some(free) => at = free,
                None => break,
            }
        }
        None
    }

    /// The longest run from `first` of tracks that are to be copied and pass `also`.
    fn run_from(&self, id: RelationshipId, first: u32, also: impl Fn(u32) -> bool) -> Run {
        let known = self.state.relationships.get(&id);
        let copy = self.copier.copies.get(&id);
        let (Some(known), Some(copy)) = (known, copy) else {
            return Run { first, count: 1 };
        };
        let track_bytes = self
            .state
            .volumes
            .get(&known.pair.source)
            .map_or(TRANSFER_BYTES_MAX, |volume| u64::from(volume.geometry.track_bytes()));
        let most = u32::try_from((TRANSFER_BYTES_MAX / track_bytes).max(1)).unwrap_or(1);
        let count = (first..known.pair.tracks)
            .take(most as usize)
            .take_while(|&track| {
                !known.copied.contains(track) && !copy.busy.contains(track) && also(track)
            })
            .count();
        Run { first, count: u32::try_from(count).unwrap_or(1).max(1) }
    }

    fn begin_run(&mut self, id: RelationshipId, run: Run) {
        let Some(known) = self.state.relationships.get(&id) else {
            return;
        };
        let (pair, t0) = (known.pair, known.t0);
        let Some(source) = self.state.volumes.get(&pair.source) else {
            return;
        };
        let per_track = source.geometry.track_blocks();
        let first = (pair.source_track + run.first) * per_track;
        let mut pieces: Vec<Piece> = Vec::new();
        let view = View { state: &self.state, stage: &self.stage };
        for block in first..first + run.count * per_track {
            let mut image = Vec::with_capacity(1);
            if view.as_of(pair.source, t0, None, Block(block), 0..4096, &mut image).is_err() {
                return;
            }
            for piece in image {
                crate::lookup::join(&mut pieces, piece);
            }
        }
        if let Some(copy) = self.copier.copies.get_mut(&id) {
            copy.busy.set(run.first..run.first + run.count);
            copy.running += 1;
        }
        self.copier.running += 1;
        let barrier = self.barrier(Then::CopyRun(id, run));
        let source_start = Block(pair.source_track * per_track).offset();
        let target_start = Block(pair.target_track * per_track).offset();
        for piece in pieces {
            let mut done = 0;
            while done < piece.range.bytes() {
                let bytes = (piece.range.bytes() - done).min(TRANSFER_BYTES_MAX);
                let to = piece.range.start + done - source_start + target_start;
                let to = (Object::Home(pair.target), to);
                self.transfer(piece.place.advance(done), to, bytes, barrier);
                done += bytes;
            }
        }
        self.release(barrier, Ok(()));
    }

    /// The transfers of a run have ended.
    pub(super) fn copy_run_ended(
        &mut self,
        id: RelationshipId,
        run: Run,
        result: Result<(), RequestError>,
    ) {
        self.copier.running -= 1;
        let Some(copy) = self.copier.copies.get_mut(&id) else {
            return;
        };
        copy.running -= 1;
        if result.is_err() {
            // The target cannot hold its image: it fails, the source goes on (rule O9).
            copy.stopped = true;
            copy.written.clear();
            if let Some(target) = self.state.relationships.get(&id).map(|known| known.pair.target) {
                self.fail_copies(|known| known.pair.target == target && known.pool.is_none());
            }
            return;
        }
        if copy.stopped {
            let gone = copy.running == 0 && !self.state.relationships.contains_key(&id);
            if gone {
                self.copier.copies.remove(&id);
            }
            return;
        }
        copy.written.push(run);
        let track_bytes = self.state.relationships.get(&id).map_or(0, |known| {
            self.state
                .volumes
                .get(&known.pair.source)
                .map_or(0, |volume| u64::from(volume.geometry.track_bytes()))
        });
        let bytes = u64::from(run.count) * track_bytes;
        self.copier.uncommitted_bytes += bytes;
        self.stats.copied_bytes += bytes;
    }

    /// Syncs what was written, when somebody waits for it, it is much, or nothing else is to do.
    fn begin_commit(&mut self) {
        if self.copier.commit.is_some() {
            return;
        }
        let urgent = self.copier.copies.values().any(|copy| !copy.waiters.is_empty());
        let due = self.copier.running == 0
            || self.copier.uncommitted_bytes >= COMMIT_BYTES
            || (urgent && self.copier.running < RUNS_MAX);
        if !due {
            return;
        }
        let mut runs = Vec::new();
        for (&id, copy) in &mut self.copier.copies {
            if !copy.written.is_empty() {
                runs.push((id, std::mem::take(&mut copy.written)));
            }
        }
        if runs.is_empty() {
            return;
        }
        self.copier.uncommitted_bytes = 0;
        let barrier = self.barrier(Then::CopyCommit);
        for (id, _) in &runs {
            if let Some(target) = self.state.relationships.get(id).map(|known| known.pair.target)
                && !breaks!(self, SkipTargetSyncBeforeCopied)
            {
                self.join_object(barrier, Object::Home(target));
            }
        }
        self.copier.commit = Some(Commit { step: CommitStep::Syncing, runs });
        self.release(barrier, Ok(()));
    }

    /// Goes on with the commit.
    pub(super) fn copy_commit_step(&mut self, result: Result<(), RequestError>) {
        let Some(commit) = self.copier.commit.take() else {
            return;
        };
        if result.is_err() {
            // The failed sync has failed the relationships concerned, or stopped all writes (F3); runs
            // of others are not believed and copied again.
            for (id, runs) in commit.runs {
                if let Some(copy) = self.copier.copies.get_mut(&id) {
                    for run in runs {
                        copy.busy.clear(run.first..run.first + run.count);
                    }
                    copy.cursor = 0;
                }
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

    /// Tracks have become readable on the target; reads through the source drain now (R4).
    pub(super) fn copies_linger(&mut self, id: RelationshipId, runs: &[(u32, u32)]) {
        for &(first, count) in runs {
            if let Some(known) = self.state.relationships.get_mut(&id) {
                known.lingering.set(first..first + count);
            }
            self.after_grace(Then::Settled(id, Run { first, count }));
        }
    }

    /// The records are durable and applied: whoever waited goes on.
    fn committed(&mut self, runs: Vec<(RelationshipId, Vec<Run>)>) {
        for (id, runs) in runs {
            for run in runs {
                let range = run.first..run.first + run.count;
                self.stats.copied_tracks += u64::from(run.count);
                if let Some(copy) = self.copier.copies.get_mut(&id) {
                    copy.busy.clear(range.clone());
                    copy.wanted.clear(range);
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
                .partition(|(track, _)| known.copied.contains(*track));
            copy.waiters = waiting;
            for (_, barrier) in over {
                self.release(barrier, Ok(()));
            }
        }
    }

    /// Reads that began before the run was copied have ended (R4).
    pub(super) fn copy_settled(&mut self, id: RelationshipId, run: Run) {
        if let Some(known) = self.state.relationships.get_mut(&id) {
            known.lingering.clear(run.first..run.first + run.count);
        }
    }

    /// COPY relationships whose last track is copied end by themselves.
    fn end_complete_copies(&mut self) {
        if self.active.is_some() {
            return;
        }
        let mut complete = Vec::new();
        for (&id, copy) in &mut self.copier.copies {
            let Some(known) = self.state.relationships.get(&id) else {
                continue;
            };
            let all = known.pair.mode == CopyMode::Copy
                && known.health == Health::Good
                && known.tracks_left() == 0
                && known.lingering.is_empty();
            if all && !copy.ending && !copy.stopped {
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

//! Runs of tracks: chosen, read as of T0, written to the target.

use std::collections::BTreeSet;

use super::super::Engine;
use super::super::barrier::Then;
use super::super::ops::{Sharing, TRANSFER_BYTES_MAX};
use super::{Copier, Run};
use crate::io::Object;
use crate::lookup::{Piece, View};
use crate::pace::Pace;
use crate::request::RequestError;
use crate::state::Health;
use crate::units::{Block, RelationshipId};

/// Runs that are copied at the same time, of all relationships.
pub(super) const RUNS_MAX: usize = 4;
/// Bytes of a run while hosts are at work: short, so that nobody waits long behind it.
const RUN_BESIDE_HOSTS_BYTES: u64 = 256 << 10;

/// What runs are begun for when nobody waits for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Work {
    /// Every track of a COPY relationship.
    Background,
    /// The rest of tracks that were copied in part (C7).
    Partial,
}

impl Copier {
    /// Relationships with work of this kind.
    fn waiting(&mut self, work: Work) -> &mut BTreeSet<RelationshipId> {
        match work {
            Work::Background => &mut self.background,
            Work::Partial => &mut self.partial,
        }
    }
}

impl Engine {
    pub(super) fn begin_runs(&mut self) {
        while self.copier.running < RUNS_MAX {
            let (run, sharing) = match self.next_urgent_run() {
                // What is copied because it is about to be overwritten would not share its blocks for long, and breaking
                // each share costs a transaction of the file system.
                Some(run) => (Some(run), Sharing::Unwise),
                None => (self.next_background_run(), Sharing::Allowed),
            };
            let Some((id, run)) = run else {
                break;
            };
            self.begin_run(id, run, sharing);
        }
    }

    fn next_urgent_run(&mut self) -> Option<(RelationshipId, Run)> {
        while let Some(&id) = self.copier.urgent.first() {
            match self.wanted_run(id) {
                Some(run) => return Some((id, run)),
                None => self.copier.urgent.remove(&id),
            };
        }
        None
    }

    /// The next run of a background copy, if it is time for one (C5).
    fn next_background_run(&mut self) -> Option<(RelationshipId, Run)> {
        let now_us = self.now.monotonic_us;
        while self.copier.resting.first().is_some_and(|(until_us, _)| *until_us <= now_us) {
            let (_, rested) = self.copier.resting.pop_first()?;
            self.copier.background.insert(rested);
            self.copier.partial.insert(rested);
        }
        let beside_hosts = self.copier.governor.hosts_are_active(now_us);
        let rests = self.copier.running > 0 || now_us < self.copier.governor.rest_until_us();
        if self.shutdown != super::super::Shutdown::No || (beside_hosts && rests) {
            return None;
        }
        let most = if beside_hosts { RUN_BESIDE_HOSTS_BYTES } else { TRANSFER_BYTES_MAX };
        let next = self.next_run_of(Work::Background, most);
        if next.is_none() && self.completes_tracks() {
            return self.next_run_of(Work::Partial, most);
        }
        next
    }

    /// The next run of this kind of work, relationship by relationship.
    fn next_run_of(&mut self, work: Work, most_bytes: u64) -> Option<(RelationshipId, Run)> {
        loop {
            let from = self.copier.next;
            let waiting = self.copier.waiting(work);
            let next = waiting.range(from..).next();
            let id = *next.or_else(|| waiting.first())?;
            let Some(run) = self.background_run(id, work, most_bytes) else {
                self.copier.waiting(work).remove(&id);
                continue;
            };
            self.copier.next = RelationshipId(id.0 + 1);
            if self.pace_of(id).rests() {
                // Until this run has ended and it has rested.
                self.copier.background.remove(&id);
                self.copier.partial.remove(&id);
            }
            return Some((id, run));
        }
    }

    fn pace_of(&self, id: RelationshipId) -> Pace {
        self.state.relationships.get(&id).map_or(Pace::default(), |known| known.pair.pace)
    }

    /// A run has ended: hosts, or its own pace, may want a rest.
    fn rest_after(&mut self, id: RelationshipId, bytes: u64, begun_us: u64) {
        let now_us = self.now.monotonic_us;
        let took_us = now_us.saturating_sub(begun_us);
        let pace = self.pace_of(id);
        self.copier.governor.run_ended(pace, took_us, now_us);
        if pace.rests() {
            self.copier.resting.insert((now_us + pace.rest_us(bytes, took_us), id));
        }
    }

    fn may_run(&self, id: RelationshipId) -> bool {
        let good =
            self.state.relationships.get(&id).is_some_and(|known| known.health == Health::Good);
        good && self.copier.copies.get(&id).is_some_and(|copy| copy.ready && !copy.stopped)
    }

    fn wanted_run(&self, id: RelationshipId) -> Option<Run> {
        if !self.may_run(id) {
            return None;
        }
        let copy = self.copier.copies.get(&id)?;
        let relationship = self.state.relationships.get(&id)?;
        let first =
            copy.wanted.set_runs(0..relationship.pair.tracks).flatten().find(|&track| {
                !copy.busy.contains(track) && !relationship.copied.has_track(track)
            })?;
        Some(self.run_from(id, first, TRANSFER_BYTES_MAX, |track| copy.wanted.contains(track)))
    }

    fn background_run(&mut self, id: RelationshipId, work: Work, most_bytes: u64) -> Option<Run> {
        if !self.may_run(id) {
            return None;
        }
        let in_background = self.copies_in_background(id);
        let relationship = self.state.relationships.get(&id)?;
        let per_track = self.state.volumes.get(&relationship.pair.target)?.geometry.track_blocks();
        let (copied, end) = (&relationship.copied, relationship.pair.tracks);
        let copy = self.copier.copies.get_mut(&id)?;
        let is_meant = |track| match work {
            Work::Background => in_background,
            Work::Partial => copied.has_part_of(track, per_track),
        };
        let next = |from| match work {
            Work::Background => copied.next_unset(from, end).filter(|_| in_background),
            Work::Partial => copied.next_partial(from, end, per_track),
        };
        let mut at = if work == Work::Background { copy.cursor } else { 0 };
        while let Some(track) = next(at) {
            at = copy.busy.next_unset(track, end)?;
            if at == track {
                if work == Work::Background {
                    copy.cursor = track;
                }
                return Some(self.run_from(id, track, most_bytes, is_meant));
            }
        }
        None
    }

    /// The longest run from `first`, about `most_bytes` long, of tracks that are to be copied and pass `also`.
    fn run_from(
        &self,
        id: RelationshipId,
        first: u32,
        most_bytes: u64,
        also: impl Fn(u32) -> bool,
    ) -> Run {
        let known = self.state.relationships.get(&id);
        let copy = self.copier.copies.get(&id);
        let (Some(known), Some(copy)) = (known, copy) else {
            return Run { first, count: 1 };
        };
        let most = (most_bytes / self.track_bytes(id).max(1)).max(1);
        let count = (first..known.pair.tracks)
            .take(usize::try_from(most).unwrap_or(1))
            .take_while(|&track| {
                !known.copied.has_track(track) && !copy.busy.contains(track) && also(track)
            })
            .count();
        Run { first, count: u32::try_from(count).unwrap_or(1).max(1) }
    }

    fn track_bytes(&self, id: RelationshipId) -> u64 {
        let source = self.state.relationships.get(&id).map(|known| known.pair.source);
        source
            .and_then(|source| self.state.volumes.get(&source))
            .map_or(0, |volume| u64::from(volume.geometry.track_bytes()))
    }

    fn begin_run(&mut self, id: RelationshipId, run: Run, sharing: Sharing) {
        let Some(known) = self.state.relationships.get(&id) else {
            return;
        };
        let (pair, t0) = (known.pair, known.t0);
        // Homes of owed tracks are not written, so they are clean once they were synced. Before, the file system would
        // have to write dirty pages back for each run anew.
        let sharing = if known.durable { sharing } else { Sharing::Unwise };
        let Some(source) = self.state.volumes.get(&pair.source) else {
            return;
        };
        let per_track = source.geometry.track_blocks();
        let first = (pair.source_track + run.first) * per_track;
        let mut pieces: Vec<Piece> = Vec::new();
        let view = View { state: &self.state, stage: &self.stage };
        for block in first..first + run.count * per_track {
            let alone = known.copied.blocks().contains(block - pair.source_track * per_track);
            if alone && !breaks!(self, CopyTrackOverOwnBlocks) {
                continue;
            }
            let mut image = Vec::with_capacity(1);
            if view.as_of(pair.source, t0, None, Block(block), 0..4096, &mut image).is_err() {
                return;
            }
            for piece in image {
                crate::lookup::join(&mut pieces, piece);
            }
        }
        if let Some(copy) = self.copier.copies.get_mut(&id) {
            copy.busy.set(run.tracks());
            copy.running += 1;
        }
        self.copier.running += 1;
        let barrier = self.barrier(Then::CopyRun(id, run, self.now.monotonic_us));
        let source_start = Block(pair.source_track * per_track).offset();
        let target_start = Block(pair.target_track * per_track).offset();
        for piece in pieces {
            let to = (Object::Home(pair.target), piece.range.start - source_start + target_start);
            self.transfer_with_holes(piece.place, to, piece.range.bytes(), sharing, barrier);
        }
        self.release(barrier, Ok(()));
    }

    /// The transfers of a run have ended.
    pub(in crate::engine) fn copy_run_ended(
        &mut self,
        id: RelationshipId,
        run: Run,
        begun_us: u64,
        result: Result<(), RequestError>,
    ) {
        self.copier.running -= 1;
        let bytes = u64::from(run.count) * self.track_bytes(id);
        self.rest_after(id, bytes, begun_us);
        let Some(copy) = self.copier.copies.get_mut(&id) else {
            return;
        };
        copy.running -= 1;
        if result.is_err() {
            // The target cannot hold its image: it fails, the source goes on (rule O9).
            copy.stopped = true;
            copy.written.clear();
            self.copier.unsaved.remove(&id);
            if let Some(target) = self.state.relationships.get(&id).map(|known| known.pair.target) {
                self.fail_copies(|known| known.pair.target == target && known.pool.is_none());
            }
            return;
        }
        if copy.stopped {
            // Whatever stopped it forgets it, or lets it copy the run again.
            let gone = copy.running == 0 && !self.state.relationships.contains_key(&id);
            if gone {
                self.copier.forget(id);
            } else {
                copy.written.push(run);
            }
            return;
        }
        copy.written.push(run);
        self.copier.unsaved.insert(id);
        self.copier.uncommitted_bytes += bytes;
        self.copier.uncommitted_since_us.get_or_insert(self.now.monotonic_us);
        self.stats.copied_bytes += bytes;
    }
}

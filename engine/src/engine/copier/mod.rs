//! The copier: fills full targets with their T0 image, track by track.
//!
//! Tracks are copied because the destager needs them out of the way (urgent), because a host has read them (`xp7`), because
//! the destager has copied a part of them, or because the mode is COPY. Each goes through: read the image as of T0, write it to the target, sync the target,
//! journal "copied", apply. From then on the target reads its own home; writes of the source go straight home once the
//! reads that were on their way through the source have ended (R4).
//!
//! `runs` chooses what is copied and copies it, `commit` makes it count.
//!
//! Invariants
//! - C1 A track is in at most one run at a time, and in none once it is copied: a copy never overwrites
//!   what a host of the target wrote (I7).
//! - C2 `Copied` is appended after the target was synced (rule O2).
//! - C3 No run begins before the writes in flight at T0 have ended, nor after the relationship failed or is
//!   being withdrawn or renewed.
//! - C4 A copy that has a run to begin is in `urgent`, `background` or `partial`; one that may be complete is in
//!   `maybe_complete`.
//!   So a turn costs nothing for the thousands of relationships that have nothing to do.
//! - C5 Runs of the background copy begin when the governor and the pace allow it; urgent ones at once. What only waits
//!   for its time has a deadline.
//! - C6 A run leaves out the blocks of its tracks that were copied alone: their homes on the source may have moved on.
//! - C7 What is left of tracks that the destager copied in part waits until it has nothing to do: hosts may wait for it.

mod commit;
mod runs;

use std::collections::{BTreeMap, BTreeSet};

use super::Engine;
use super::barrier::{BarrierId, Then};
use super::checkpointing::RecordPurpose;
use crate::admin::CopyMode;
use crate::io::Object;
use crate::map::track_bitmap::TrackBitmap;
use crate::pace::Governor;
use crate::request::RequestError;
use crate::state::Health;
use crate::units::{RelationshipId, Seq, VolumeId};

/// Copied runs are committed at the latest after so long.
const COMMIT_US: u64 = 1_000_000;

/// A run of tracks, counted from the extent's start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    /// First track.
    pub first: u32,
    /// Number of tracks.
    pub count: u32,
}

impl Run {
    fn tracks(self) -> std::ops::Range<u32> {
        self.first..self.first + self.count
    }
}

/// What the copier is at.
#[derive(Debug, Default)]
pub(super) struct Copier {
    /// Relationships with full targets.
    copies: BTreeMap<RelationshipId, Copy>,
    /// Those with tracks that somebody wants (C4).
    urgent: BTreeSet<RelationshipId>,
    /// Those with tracks for the background copy (C4).
    background: BTreeSet<RelationshipId>,
    /// Those with tracks of which the destager has copied a part (C4).
    partial: BTreeSet<RelationshipId>,
    /// Those whose pace lets them rest, and until when.
    resting: BTreeSet<(u64, RelationshipId)>,
    /// Those that may be complete (C4).
    maybe_complete: BTreeSet<RelationshipId>,
    /// Those with runs that are written and not committed.
    unsaved: BTreeSet<RelationshipId>,
    /// How many wait for a track.
    waiters: usize,
    /// Runs being read and written.
    running: usize,
    /// Bytes copied and not committed, and since when.
    uncommitted_bytes: u64,
    uncommitted_since_us: Option<u64>,
    governor: Governor,
    commit: Option<commit::Commit>,
    /// Where the search for background work goes on.
    next: RelationshipId,
}

/// One relationship's copying.
#[derive(Debug, Default)]
struct Copy {
    /// The writes in flight at T0 have ended (C3).
    ready: bool,
    /// No new runs: it is being withdrawn or renewed, or has failed.
    stopped: bool,
    /// Tracks in a run, or copied and not committed (C1).
    busy: TrackBitmap,
    /// Tracks that somebody wants.
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

impl Copier {
    /// True when nothing is being copied or committed.
    pub(super) fn is_idle(&self) -> bool {
        self.running == 0 && self.commit.is_none()
    }

    /// True when a copy onto the relationship's target is on its way.
    pub(super) fn is_busy_with(&self, id: RelationshipId) -> bool {
        self.copies.get(&id).is_some_and(|copy| copy.running > 0)
            || self.commit.as_ref().is_some_and(|commit| commit.is_of(id))
    }

    /// True when the record that ends the complete copy is on its way.
    pub(super) fn is_ending(&self, id: RelationshipId) -> bool {
        self.copies.get(&id).is_some_and(|copy| copy.ending)
    }

    /// A relationship with a full target exists, or has got a new T0.
    pub(super) fn add(&mut self, id: RelationshipId, ready: bool) {
        self.copies.insert(id, Copy { ready, ..Copy::default() });
    }

    /// A host's read or write was answered.
    pub(super) fn host_answered(&mut self, taken_us: u64, now_us: u64) {
        self.governor.answered(now_us.saturating_sub(taken_us), !self.is_idle(), now_us);
    }

    /// True when there is work for the background; for parts of tracks only if it is time for them (C7).
    fn has_background_work(&self, completes_tracks: bool) -> bool {
        !self.background.is_empty() || (completes_tracks && !self.partial.is_empty())
    }

    /// When the copier wants to be called, if it waits for nothing but time (C5).
    fn deadline_us(&self, now_us: u64, completes_tracks: bool) -> Option<u64> {
        let waits = self.has_background_work(completes_tracks)
            && self.running == 0
            && self.governor.hosts_are_active(now_us);
        let rest = waits.then(|| self.governor.rest_until_us());
        let resting = self.resting.first().map(|(until_us, _)| *until_us);
        let unsaved = !self.unsaved.is_empty() && self.commit.is_none();
        let commit = self.uncommitted_since_us.filter(|_| unsaved).map(|since| since + COMMIT_US);
        [rest, resting, commit].into_iter().flatten().min()
    }

    /// No new runs of the relationship.
    pub(super) fn stop(&mut self, id: RelationshipId) {
        if let Some(copy) = self.copies.get_mut(&id) {
            copy.stopped = true;
        }
    }

    /// True when no new runs of the relationship begin.
    pub(super) fn is_stopped(&self, id: RelationshipId) -> bool {
        self.copies.get(&id).is_some_and(|copy| copy.stopped)
    }

    /// A track is to be copied soon.
    pub(super) fn want(&mut self, id: RelationshipId, track: u32) {
        if let Some(copy) = self.copies.get_mut(&id)
            && copy.wanted.set(track..track + 1) > 0
        {
            self.urgent.insert(id);
        }
    }

    /// Lends a track to whoever copies single blocks of it: no run takes it until it is given back (C1). False when a run
    /// has it, or none may begin (C3).
    pub(super) fn lend_track(&mut self, id: RelationshipId, track: u32) -> bool {
        self.copies
            .get_mut(&id)
            .is_some_and(|copy| copy.ready && !copy.stopped && copy.busy.set(track..track + 1) > 0)
    }

    /// Lent tracks are given back: what is left of them is copied later.
    pub(super) fn give_tracks_back(&mut self, id: RelationshipId, tracks: &BTreeSet<u32>) {
        if let Some(copy) = self.copies.get_mut(&id) {
            for &track in tracks {
                copy.busy.clear(track..track + 1);
                copy.cursor = copy.cursor.min(track);
            }
            self.urgent.insert(id);
            self.background.insert(id);
            self.partial.insert(id);
        }
    }

    fn forget(&mut self, id: RelationshipId) {
        self.copies.remove(&id);
        self.urgent.remove(&id);
        self.background.remove(&id);
        self.partial.remove(&id);
        self.resting.retain(|(_, resting)| *resting != id);
        self.maybe_complete.remove(&id);
        self.unsaved.remove(&id);
    }
}

impl Engine {
    /// The copier looks at the relationship again (C4).
    pub(super) fn poke_copy(&mut self, id: RelationshipId) {
        if self.copier.copies.contains_key(&id) {
            self.copier.urgent.insert(id);
            self.copier.background.insert(id);
            self.copier.partial.insert(id);
            self.copier.maybe_complete.insert(id);
        }
    }

    /// Copies that were stopped for a command that is given up go on.
    pub(super) fn restart_copies(&mut self) {
        let good = |id: &RelationshipId| {
            self.state.relationships.get(id).is_some_and(|known| known.health == Health::Good)
        };
        let stopped: Vec<RelationshipId> = self
            .copier
            .copies
            .iter()
            .filter(|(id, copy)| copy.stopped && good(id))
            .map(|(&id, _)| id)
            .collect();
        for id in stopped {
            if let Some(copy) = self.copier.copies.get_mut(&id) {
                copy.stopped = false;
                // What was written and not committed is copied again.
                for run in std::mem::take(&mut copy.written) {
                    copy.busy.clear(run.tracks());
                }
                copy.cursor = 0;
            }
            self.poke_copy(id);
        }
    }

    /// Holds the barrier until the track (counted from the extent's start) is copied or owed no more.
    pub(super) fn want_track(&mut self, id: RelationshipId, track: u32, barrier: BarrierId) {
        let owed =
            self.state.relationships.get(&id).is_some_and(|known| {
                known.health == Health::Good && !known.copied.has_track(track)
            });
        let Some(copy) = self.copier.copies.get_mut(&id) else {
            return;
        };
        if owed {
            copy.wanted.set(track..track + 1);
            copy.waiters.push((track, barrier));
            self.copier.waiters += 1;
            self.copier.urgent.insert(id);
            self.hold(barrier);
        }
    }

    /// The writes in flight at the T0 have ended; `targets` has one entry for each time a gate was shut.
    pub(super) fn copies_ready(
        &mut self,
        ids: &[RelationshipId],
        t0: Option<Seq>,
        targets: &[VolumeId],
    ) {
        let mut sources: BTreeMap<VolumeId, Vec<(RelationshipId, Seq)>> = BTreeMap::new();
        for &id in ids {
            let Some(known) = self.state.relationships.get(&id) else {
                continue;
            };
            // A relationship that has got another T0 since is not ready by this.
            if t0.is_some_and(|t0| t0 != known.t0) {
                continue;
            }
            sources.entry(known.pair.source).or_default().push((id, known.t0));
            if let Some(copy) = self.copier.copies.get_mut(&id) {
                copy.ready = true;
            }
            self.poke_copy(id);
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
        ids: &[(RelationshipId, Seq)],
        result: Result<(), RequestError>,
    ) {
        for (id, t0) in ids {
            if let Some(known) = self.state.relationships.get_mut(id)
                && known.t0 == *t0
            {
                known.durable |= result.is_ok();
            }
        }
    }

    /// Relationships fail, their record is on its way: a destage batch that waits for their tracks goes on.
    /// It writes no home before that record is durable (D1).
    pub(super) fn copies_given_up(&mut self, ids: &[RelationshipId]) {
        for id in ids {
            self.stop_copy(*id);
        }
    }

    /// Relationships have ended or failed: nobody waits for their tracks any more.
    pub(super) fn copies_gone(&mut self, ids: &[RelationshipId]) {
        for id in ids {
            self.stop_copy(*id);
            let over = self.copier.copies.get(id).is_some_and(|copy| copy.running == 0);
            if over && !self.state.relationships.contains_key(id) {
                self.copier.forget(*id);
            }
        }
    }

    /// A relationship goes on in pieces.
    pub(super) fn copies_split(&mut self, id: RelationshipId, pieces: &[crate::state::Piece]) {
        self.copies_gone(&[id]);
        for piece in pieces {
            self.copier.add(piece.id, true);
            self.poke_copy(piece.id);
        }
    }

    fn stop_copy(&mut self, id: RelationshipId) {
        let Some(copy) = self.copier.copies.get_mut(&id) else {
            return;
        };
        copy.stopped = true;
        let waiters = std::mem::take(&mut copy.waiters);
        self.copier.waiters -= waiters.len();
        for (_, barrier) in waiters {
            self.release(barrier, Ok(()));
        }
    }

    fn may_copy(&self) -> bool {
        !self.copier.copies.is_empty()
            && self.fail_stop.is_none()
            && self.has_record_room(RecordPurpose::Copy)
    }

    /// When the copier wants to be called, if it waits for nothing but time.
    pub(super) fn copy_deadline_us(&self) -> Option<u64> {
        if !self.may_copy() || self.shutdown != super::Shutdown::No {
            return None;
        }
        self.copier.deadline_us(self.now.monotonic_us, self.completes_tracks())
    }

    /// Begins runs, commits and completions that are due.
    pub(super) fn step_copier(&mut self) {
        if !self.may_copy() {
            return;
        }
        self.begin_runs();
        self.begin_commit();
        self.end_complete_copies();
    }

    /// True when it is time to copy what is left of tracks that were copied in part (C7).
    fn completes_tracks(&self) -> bool {
        self.destager.is_idle() && self.drains.is_empty()
    }

    /// True when the background copy may take tracks of the relationship.
    fn copies_in_background(&self, id: RelationshipId) -> bool {
        self.state
            .relationships
            .get(&id)
            .is_some_and(|known| known.pair.mode == CopyMode::Copy && known.health == Health::Good)
    }
}

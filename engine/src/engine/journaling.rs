//! Records and the journal's group commit: when a change counts.
//!
//! Invariants
//! - J1 A record is applied when it is durable (but see E2); whoever waits for it is told after that.
//! - J2 A flush joins only a sync that starts after it arrived (rule O4).
//! - J3 After a failed write or sync of the journal nothing is believed durable any more (rule O9).
//! - J4 Unsynced journal is bounded in bytes and age (rule O12).
//! - J5 No write of the journal begins while `WRITES_MAX` are under way; what is appended meanwhile leaves together.

use std::collections::VecDeque;

use super::barrier::{BarrierId, Then};
use super::ops::Pending;
use super::write::Unwritten;
use super::{Engine, Shutdown};
use crate::io::{Action, CreateSpace, IoFailure, Object, Outcome, ZeroSpace};
use crate::journal::WriteTicket;
use crate::limits;
use crate::state::{Effects, Record};
use crate::units::{Moment, PoolId, Position, Seq, Slot};

/// Records and frames on their way.
#[derive(Debug, Default)]
pub(super) struct Journaling {
    /// Frames whose journal write has not completed, oldest first.
    pub(super) unwritten: VecDeque<Unwritten>,
    /// Blocks of them.
    pub(super) unwritten_blocks: u64,
    /// Records that are not durable, oldest first.
    records: VecDeque<Undurable>,
    /// Durable records that wait until no destage batch is under way (E2).
    deferred: VecDeque<Undurable>,
    /// Segments of the sync under way that have not answered; none when there is no sync.
    syncing: Option<usize>,
    sync_failed: bool,
    /// When the oldest unsynced frame was appended.
    unsynced_since_us: Option<u64>,
    /// When to try again to make a segment, after a failure.
    retry_segments_at_us: Option<u64>,
}

/// Writes of the journal under way at most, or few more where they fill a segment. With `--io direct` each takes some 100 us
/// however short it is, and file systems make writes to new space one at a time: when there was no limit, each write carried
/// one or two frames, and hosts got a quarter of the first writes.
const WRITES_MAX: usize = 2;
/// After a segment could not be made (file system full) the next attempt waits so long.
const RETRY_US: u64 = 1_000_000;

/// A record that is not applied.
#[derive(Debug)]
struct Undurable {
    end: Position,
    seq: Seq,
    record: Record,
    /// Slots that it has freed already: punched when it is durable, and no read is in flight (rule O8).
    freed: Vec<(PoolId, Slot)>,
    barrier: Option<BarrierId>,
}

impl Journaling {
    /// True when nothing is on its way.
    pub(super) fn is_quiet(&self) -> bool {
        self.unwritten.is_empty()
            && self.records.is_empty()
            && self.deferred.is_empty()
            && self.syncing.is_none()
            && self.unsynced_since_us.is_none()
    }

    /// True when an `Established` or `Failed` record has an effect already and is not durable.
    pub(super) fn applied_early(&self) -> bool {
        self.has_deferred()
            || self.records.iter().any(|next| {
                matches!(next.record, Record::Established { .. } | Record::Failed { .. })
            })
    }

    /// True when durable records wait for the batches under way.
    pub(super) fn has_deferred(&self) -> bool {
        !self.deferred.is_empty()
    }

    /// A frame was appended.
    pub(super) fn appended(&mut self, now: Moment) {
        self.unsynced_since_us.get_or_insert(now.monotonic_us);
    }

    /// When the journal wants to be called: for a sync that is due, or a segment that could not be made.
    pub(super) fn deadline_us(&self) -> Option<u64> {
        let sync = match self.syncing {
            Some(_) => None,
            None => self.unsynced_since_us.map(|since| since + limits::UNSYNCED_AGE_MAX_US),
        };
        [sync, self.retry_segments_at_us].into_iter().flatten().min()
    }
}

impl Engine {
    /// Appends a record; the barrier, if any, is held until the record is applied.
    pub(super) fn append(&mut self, record: Record, barrier: Option<BarrierId>) -> Seq {
        if self.fail_stop.is_some() {
            if let Some(barrier) = barrier {
                self.release(barrier, Err(crate::request::RequestError::FailStop));
            }
            return self.journal.next_seq();
        }
        let bytes = record.encode();
        if !self.journal.fits(bytes.len() as u64) {
            self.stop_writes("the journal has no room for a record");
            if let Some(barrier) = barrier {
                self.release(barrier, Err(crate::request::RequestError::FailStop));
            }
            return self.journal.next_seq();
        }
        let appended = self.journal.append_record(&bytes);
        self.journaling.appended(self.now);
        let (end, seq) = (appended.end, appended.seq);
        if breaks!(self, WithdrawFreesBeforeDurable) && matches!(record, Record::Ended { .. }) {
            let effects = self.state.apply(seq, &record);
            self.carry_out_effects(effects);
        }
        let mut barrier = barrier;
        if breaks!(self, AnswerEstablishBeforeDurable)
            && matches!(record, Record::Established { .. })
            && let Some(barrier) = barrier.take()
        {
            self.release(barrier, Ok(()));
        }
        let mut freed = Vec::new();
        if matches!(record, Record::Established { .. }) {
            let mut effects = self.state.apply(seq, &record);
            freed = std::mem::take(&mut effects.slots);
            self.carry_out_effects(effects);
        }
        self.journaling.records.push_back(Undurable { end, seq, record, freed, barrier });
        self.sync_wanted = true;
        seq
    }

    /// What applying a record sets free goes back: credits at once, slots after reads have ended (rule O8).
    fn carry_out_effects(&mut self, effects: Effects) {
        for superseded in effects.superseded {
            if breaks!(self, EstablishKeepsOlderTargetVersions)
                || (superseded.only.is_some() && breaks!(self, RenewalKeepsTargetVersions))
            {
                continue;
            }
            self.stage.supersede(&superseded);
        }
        for (pool, credits) in effects.credits {
            if let Some(pool) = self.state.pools.get_mut(&pool) {
                pool.allocator.return_credits(credits);
            }
        }
        self.give_back(effects.slots);
        for (id, track) in effects.completed {
            self.track_completed(id, track);
        }
    }

    /// Slots go back to their pools when nobody reads them any more.
    fn give_back(&mut self, slots: Vec<(PoolId, Slot)>) {
        if !slots.is_empty() && breaks!(self, ReuseSlotBeforeReadsEnd) {
            self.punch_slots(slots);
        } else if !slots.is_empty() {
            self.after_grace(Then::Punch(slots));
        }
    }

    /// Punches slots that nobody reads any more; they are free when that is done.
    pub(super) fn punch_slots(&mut self, mut slots: Vec<(PoolId, Slot)>) {
        slots.sort_unstable();
        let same_run = |a: &(PoolId, Slot), b: &(PoolId, Slot)| a.0 == b.0 && a.1.0 + 1 == b.1.0;
        for run in slots.chunk_by(same_run) {
            let (pool, first) = run[0];
            let bytes = run.len() as u64 * crate::units::BLOCK_BYTES;
            let freed = run.iter().map(|&(_, slot)| slot).collect();
            let barrier = self.barrier(Then::Free(pool, freed));
            let action = Action::Zero { offset: first.offset(), bytes, space: ZeroSpace::Release };
            self.emit(Object::Pool(pool), action, Pending::Barrier(barrier));
        }
    }

    /// Slots may be given out again.
    pub(super) fn free_slots(&mut self, pool: PoolId, slots: &[Slot]) {
        if let Some(pool) = self.state.pools.get_mut(&pool) {
            for &slot in slots {
                pool.allocator.free(slot);
            }
        }
    }

    /// Writes what was appended, makes segments ahead of need, starts a sync when one is due.
    pub(super) fn step_journal(&mut self) {
        if self.fail_stop.is_some() {
            return;
        }
        let mut writes = Vec::new();
        if self.journal.writes_in_flight() < WRITES_MAX {
            self.journal.take_writes(&mut writes);
        }
        for write in writes {
            self.stats.journal_bytes += write.data.len() as u64;
            let action = Action::Write { offset: write.offset, data: write.data };
            self.emit(write.object, action, Pending::Journal(write.ticket));
        }
        self.make_segments();
        self.start_journal_sync();
    }

    fn make_segments(&mut self) {
        if matches!(self.shutdown, Shutdown::Closing | Shutdown::Done) {
            return;
        }
        if self.journaling.retry_segments_at_us.is_some_and(|at| self.now.monotonic_us >= at) {
            self.journaling.retry_segments_at_us = None;
            self.journal.retry_slots();
        }
        while let Some((slot, space)) = self.journal.wanted_slot() {
            let bytes = self.journal.segment_bytes();
            // The end of a server does not wait for writes that only later ones profit from.
            let ends = self.shutdown != Shutdown::No;
            let space = if ends { CreateSpace::Preallocated } else { space };
            let action = Action::Create { bytes, space };
            self.emit(Object::Segment(slot), action, Pending::Segment(slot, space));
        }
    }

    /// A segment was made, or could not be: then the journal goes on with those that it has (rule O9).
    pub(super) fn segment_made(
        &mut self,
        slot: u32,
        space: CreateSpace,
        result: Result<Outcome, IoFailure>,
    ) {
        match result {
            Ok(_) if space == CreateSpace::Written => {
                let action = Action::Write { offset: 0, data: self.journal.ready_mark(slot) };
                self.emit(Object::Segment(slot), action, Pending::ReadyMark(slot));
            }
            Ok(_) => self.journal.slot_ready(slot),
            Err(_) => self.slot_failed(slot),
        }
    }

    fn slot_failed(&mut self, slot: u32) {
        self.journal.slot_failed(slot);
        self.journaling.retry_segments_at_us = Some(self.now.monotonic_us + RETRY_US);
    }

    fn start_journal_sync(&mut self) {
        if self.journaling.syncing.is_some() {
            return;
        }
        let due = self
            .journaling
            .unsynced_since_us
            .is_some_and(|since| self.now.monotonic_us >= since + limits::UNSYNCED_AGE_MAX_US)
            && !breaks!(self, NeverSyncByItself);
        let wanted = due
            || self.somebody_waits_for_a_sync()
            || self.journal.unsynced_bytes() >= limits::UNSYNCED_BYTES_MAX;
        if !wanted {
            return;
        }
        let Some(plan) = self.journal.begin_sync() else {
            return;
        };
        self.stats.journal_syncs += 1;
        self.journaling.syncing = Some(plan.objects.len());
        self.journaling.sync_failed = false;
        self.journaling.unsynced_since_us = None;
        for object in plan.objects {
            self.emit(object, Action::Sync, Pending::JournalSync);
        }
    }

    /// True when a sync that begins now makes something durable that is waited for. One that began before the frame is
    /// written would only keep it waiting for the next.
    fn somebody_waits_for_a_sync(&self) -> bool {
        let written = self.journal.written();
        let record = self.journaling.records.front().map(|next| next.end);
        let waiters = self.journal_waiters.iter().map(|(at, _)| *at);
        record.into_iter().chain(waiters).any(|at| at <= written)
    }

    /// A batch of frames is written.
    pub(super) fn journal_written(
        &mut self,
        ticket: WriteTicket,
        result: Result<Outcome, IoFailure>,
    ) {
        match result {
            Ok(_) => {
                self.journal.write_done(ticket);
                self.frames_written();
            }
            Err(failure) => {
                self.stop_writes(&format!("a write of the journal failed: {failure}"));
            }
        }
    }

    /// One segment of the sync under way has answered.
    pub(super) fn journal_synced(&mut self, result: Result<Outcome, IoFailure>) {
        if let Err(failure) = result
            && !breaks!(self, BelieveRetriedSync)
        {
            self.journaling.sync_failed = true;
            self.stop_writes(&format!("a sync of the journal failed: {failure}"));
        }
        let left = self.journaling.syncing.map_or(0, |left| left.saturating_sub(1));
        if left > 0 {
            self.journaling.syncing = Some(left);
            return;
        }
        self.journaling.syncing = None;
        if self.journaling.sync_failed {
            return;
        }
        self.journal.sync_done();
        let durable = self.journal.durable();
        self.stage.durable(self.journal.durable_seq());
        self.changes.durable(durable);
        while self.journaling.records.front().is_some_and(|next| next.end <= durable) {
            let Some(next) = self.journaling.records.pop_front() else {
                break;
            };
            match next.record {
                Record::Established { .. } => {
                    self.give_back(next.freed);
                    self.applied(next.barrier);
                }
                Record::Ended { .. } | Record::Failed { .. } | Record::Split { .. } => {
                    self.journaling.deferred.push_back(next);
                }
                _ => self.apply_now(next),
            }
        }
        self.apply_deferred();
        let (over, waiting): (Vec<_>, Vec<_>) = std::mem::take(&mut self.journal_waiters)
            .into_iter()
            .partition(|(at, _)| *at <= durable || breaks!(self, FlushJoinsOlderSync));
        self.journal_waiters = waiting;
        for (_, barrier) in over {
            self.release(barrier, Ok(()));
        }
        if self.journal.unsynced_bytes() > 0 {
            self.journaling.unsynced_since_us = Some(self.now.monotonic_us);
        } else if self.journal.watermark_due() && self.journal.fits(0) {
            self.journal.append_watermark();
            self.journaling.appended(self.now);
        }
    }

    /// After a failed sync of the journal: whoever waits for a record is told that it may be lost.
    pub(super) fn fail_undurable(&mut self) {
        for next in std::mem::take(&mut self.journaling.records) {
            if let Some(barrier) = next.barrier {
                self.release(barrier, Err(crate::request::RequestError::FailStop));
            }
        }
    }

    /// Applies what had to wait for the batches under way.
    pub(super) fn apply_deferred(&mut self) {
        while self.destager.is_idle() {
            let Some(next) = self.journaling.deferred.pop_front() else {
                return;
            };
            if self.fail_stop.is_none() {
                self.apply_now(next);
            } else if let Some(barrier) = next.barrier {
                // The batch may have ended between its copies and their record: what it used up is counted
                // again at the next opening, and only there.
                self.release(barrier, Err(crate::request::RequestError::FailStop));
            }
        }
    }

    fn apply_now(&mut self, next: Undurable) {
        let effects = self.state.apply(next.seq, &next.record);
        self.carry_out_effects(effects);
        if let Record::Released { through } = next.record {
            self.released(through);
        }
        if let Record::Copied { id, runs } = &next.record {
            self.copies_linger(*id, runs);
        }
        if let Record::Failed { ids } = &next.record {
            self.stats.failed += ids.len() as u64;
            self.copies_gone(ids);
        }
        if let Record::Ended { ids, .. } = &next.record {
            self.copies_gone(ids);
        }
        if let Record::Converted { ids } = &next.record {
            for &id in ids {
                self.poke_copy(id);
            }
        }
        if let Record::Split { id, pieces } = &next.record {
            self.copies_split(*id, pieces);
        }
        self.applied(next.barrier);
    }

    fn applied(&mut self, barrier: Option<BarrierId>) {
        if let Some(barrier) = barrier {
            self.release(barrier, Ok(()));
        }
    }

    /// Appends the last watermark of a shutdown and syncs it.
    pub(super) fn append_last_watermark(&mut self) {
        let barrier = self.barrier(Then::Nothing);
        let appended = self.journal.append_watermark();
        self.journaling.appended(self.now);
        self.join_journal(barrier, appended.end);
        self.release(barrier, Ok(()));
    }
}

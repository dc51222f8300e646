//! Room for staged writes: in the journal and in the stage, and how fast it is taken.
//!
//! Invariants
//! - M1 A write is staged only when the journal has room for its frames, and the stage for its blocks (rule O12).
//! - M2 Writes that wait go on in the order in which they came.
//! - M3 A write that only has to wait for its time (`Pressure`) has a deadline, so it goes on by itself.
//! - M4 What is staged at once, at most half a segment of data, fits an empty journal wherever in a segment it ends.

use super::Engine;
use super::barrier::Finish;
use super::write::{Change, NewBytes};
use crate::journal::Journal;
use crate::pressure::Share;
use crate::units::{BLOCK_BYTES, Position};

/// A write that waits for space in its home or in the journal.
#[derive(Debug)]
pub(super) struct WaitingWrite {
    pub(super) finish: Finish,
    pub(super) change: Change,
}

impl Engine {
    /// Stages a change, now or when there is room and it is time.
    pub(super) fn stage_or_wait(&mut self, finish: Finish, change: Change) {
        if self.freezes.is_frozen(change.volume) {
            self.freezes.park(change.volume, WaitingWrite { finish, change });
        } else if self.waiting.is_empty() && self.is_time_for(&change) {
            self.take_room(&change);
            self.stage_change(finish, change);
        } else {
            self.stats.delayed_writes += 1;
            self.waiting.push_back(WaitingWrite { finish, change });
        }
    }

    /// Lets writes go on for which there is room again, and whose time has come.
    pub(super) fn step_waiting_writes(&mut self) {
        while self.waiting.front().is_some_and(|write| self.is_time_for(&write.change)) {
            let Some(write) = self.waiting.pop_front() else {
                return;
            };
            // What was true when it began to wait may not be true any more.
            match self.may_write(&write.change) {
                Ok(()) if self.freezes.is_frozen(write.change.volume) => {
                    self.freezes.park(write.change.volume, write);
                }
                Ok(()) => {
                    self.take_room(&write.change);
                    self.stage_change(write.finish, write.change);
                }
                Err(error) => self.finish(write.finish, Err(error)),
            }
        }
    }

    /// When the oldest waiting write is to be looked at again, if nothing but time holds it up.
    pub(super) fn waiting_deadline_us(&self) -> Option<u64> {
        let write = self.waiting.front()?;
        self.has_room(&write.change).then(|| self.pressure.next_us())
    }

    fn is_time_for(&self, change: &Change) -> bool {
        self.pressure.next_us() <= self.now.monotonic_us && self.has_room(change)
    }

    /// A change is staged now: what comes next may have to wait for it.
    fn take_room(&mut self, change: &Change) {
        let live = self.journal.end().0.saturating_sub(self.oldest_staged().0);
        let blocks = self.stage.versions() + self.journaling.unwritten_blocks;
        let fill = self.share(live, blocks);
        if !self.pressure.slows(fill) {
            return;
        }
        let share = self.share(self.journal_need(change), change.range.blocks().len() as u64);
        self.pressure.taken(share, fill, self.now.monotonic_us);
    }

    /// What goes home in a batch that began at `begun_us`, when the oldest frame lay at `from`, has gone home.
    pub(super) fn room_made(&mut self, from: Position, blocks: u64, begun_us: u64) {
        let share = self.share(self.oldest_staged().0.saturating_sub(from.0), blocks);
        self.pressure.drained(share, self.now.monotonic_us.saturating_sub(begun_us));
    }

    /// The byte of the journal from which on staged frames lie.
    pub(super) fn oldest_staged(&self) -> Position {
        self.stage.oldest().map_or(self.journal.end(), |frame| frame.position)
    }

    /// Which share of the journal and of the stage this is, whichever is more.
    fn share(&self, journal_bytes: u64, blocks: u64) -> Share {
        let of_journal = Share::of(journal_bytes, self.journal.host_capacity_bytes());
        of_journal.max(Share::of(blocks, self.policy.staged_blocks_max))
    }

    /// True when the journal has room for a change, and the stage too (rule O12).
    fn has_room(&self, change: &Change) -> bool {
        let blocks = change.range.blocks().len() as u64;
        let staged = self.stage.versions() + self.journaling.unwritten_blocks;
        let fits = staged == 0 || staged + blocks <= self.policy.staged_blocks_max;
        fits && self.journal.room() >= self.journal_need(change)
    }

    /// Journal bytes that a change needs at most, with the records that will follow from it.
    fn journal_need(&self, change: &Change) -> u64 {
        const RECORD_BYTES_PER_BLOCK: u64 = 24;
        let blocks = change.range.bytes().div_ceil(BLOCK_BYTES) + 1;
        let frames = match &change.bytes {
            NewBytes::Data(data) => {
                let bytes = data.len() as u64;
                let frames = bytes.div_ceil(self.journal.payload_max());
                Journal::cost_together(frames, bytes) + Journal::cost(0)
            }
            NewBytes::Zeroes(_) | NewBytes::Trim => 2 * Journal::cost(0),
        };
        frames + blocks * RECORD_BYTES_PER_BLOCK
    }
}

//! Which slot holds which segment, which slots are free, and which are to be created.
//!
//! A slot is at any time exactly one of: held by a live segment, free (it exists, preallocated), withheld, being
//! created, or not there yet.

use std::collections::{BTreeMap, BTreeSet};

use crate::io::CreateSpace;

/// Free slots kept ready beyond the segment being filled, at least: the reserve for records, and two for host writes.
const READY_AHEAD_MIN: usize = 4;
/// To make a segment takes a commit of the file system, which waits for hundreds of milliseconds while a home is synced, and a
/// burst of writes that needs it waits too. Half of the journal is what a burst fills at full speed (P1 of `pressure`); so
/// many segments of that half are made while it does.
const MADE_MEANWHILE: usize = 4;

/// While at most this part of the journal is in use, new slots are written with zeroes, one at a time: the first segment in
/// a slot is then synced as fast as the next. In a burst that would take the disk from the hosts.
const WRITTEN_BELOW: usize = 8;

/// How many slots are to be ready in a journal of `capacity` segments.
fn ready_ahead(capacity: usize) -> usize {
    (capacity / 2).saturating_sub(MADE_MEANWHILE).max(READY_AHEAD_MIN)
}

/// The slots of a journal.
#[derive(Debug, Default)]
pub(super) struct Slots {
    /// Slot of each live segment, by segment number.
    live: BTreeMap<u64, u32>,
    free: BTreeSet<u32>,
    creating: BTreeSet<u32>,
    /// Slots that are there and must not be used: damaged, or still needed should recovery be cut off.
    withheld: BTreeSet<u32>,
    /// Set when a creation failed, until segments are released or the engine asks to try again.
    paused: bool,
}

impl Slots {
    /// Takes over what a survey of the store found.
    pub(super) fn new(
        live: BTreeMap<u64, u32>,
        free: BTreeSet<u32>,
        withheld: BTreeSet<u32>,
    ) -> Self {
        Self { live, free, withheld, ..Self::default() }
    }

    /// Slot of a live segment.
    pub(super) fn slot_of(&self, number: u64) -> Option<u32> {
        self.live.get(&number).copied()
    }

    /// Number of live segments.
    pub(super) fn live_count(&self) -> usize {
        self.live.len()
    }

    /// Number of the oldest live segment.
    pub(super) fn oldest(&self) -> Option<u64> {
        self.live.first_key_value().map(|(&number, _)| number)
    }

    /// Number of free slots.
    pub(super) fn free_count(&self) -> usize {
        self.free.len()
    }

    /// Gives the lowest free slot to segment `number`.
    pub(super) fn take(&mut self, number: u64) -> Option<u32> {
        let slot = self.free.pop_first()?;
        let before = self.live.insert(number, slot);
        assert!(before.is_none(), "segment {number} has a slot already");
        Some(slot)
    }

    /// Frees the slots of all segments below `number`.
    pub(super) fn release_below(&mut self, number: u64) {
        let kept = self.live.split_off(&number);
        let released = std::mem::replace(&mut self.live, kept);
        if !released.is_empty() {
            self.paused = false;
        }
        self.free.extend(released.into_values());
    }

    /// Frees slots that were withheld.
    pub(super) fn free_withheld(&mut self, slots: &[u32]) {
        for &slot in slots {
            assert!(self.withheld.remove(&slot), "slot {slot} was not withheld");
            self.free.insert(slot);
        }
    }

    /// A slot to create now, and how: while too few are ready for a burst and `capacity` allows it.
    pub(super) fn wanted(&mut self, capacity: usize) -> Option<(u32, CreateSpace)> {
        let ready = self.free.len() + self.creating.len();
        if self.paused || ready >= ready_ahead(capacity) || self.live.len() + ready >= capacity {
            return None;
        }
        let is_burst = self.live.len() > (capacity / WRITTEN_BELOW).max(1);
        let space = if is_burst { CreateSpace::Preallocated } else { CreateSpace::Written };
        let waits = space == CreateSpace::Written && !self.creating.is_empty();
        (!waits).then(|| (self.begin_create(), space))
    }

    /// Names a slot that is not there and counts it as being created.
    pub(super) fn begin_create(&mut self) -> u32 {
        let live: BTreeSet<u32> = self.live.values().copied().collect();
        let slot = (0..u32::MAX)
            .find(|slot| {
                !live.contains(slot)
                    && !self.free.contains(slot)
                    && !self.creating.contains(slot)
                    && !self.withheld.contains(slot)
            })
            .expect("fewer than 2^32 slots exist");
        self.creating.insert(slot);
        slot
    }

    /// The slot was created.
    pub(super) fn ready(&mut self, slot: u32) {
        assert!(self.creating.remove(&slot), "slot {slot} was not being created");
        self.free.insert(slot);
    }

    /// The slot could not be created.
    pub(super) fn failed(&mut self, slot: u32) {
        assert!(self.creating.remove(&slot), "slot {slot} was not being created");
        self.paused = true;
    }

    /// True when a creation failed and none may be tried now.
    pub(super) fn is_paused(&self) -> bool {
        self.paused
    }

    /// Creations may be tried again.
    pub(super) fn retry(&mut self) {
        self.paused = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_wanted_ahead_of_need_up_to_the_capacity() {
        let mut slots = Slots::default();
        for slot in 0..4 {
            assert_eq!(slots.wanted(10), Some((slot, CreateSpace::Written)));
            assert_eq!(slots.wanted(10), None, "one at a time");
            slots.ready(slot);
        }
        assert_eq!(slots.wanted(10), None);
        assert_eq!(slots.take(1), Some(0));
        assert_eq!(slots.wanted(4), None, "the capacity is reached");
        let wanted = std::iter::from_fn(|| {
            let (slot, _) = slots.wanted(64)?;
            slots.ready(slot);
            Some(slot)
        });
        assert_eq!(wanted.count(), 28 - 3, "nearly half of a large journal is ready");
    }

    #[test]
    fn in_a_burst_slots_are_made_at_once_and_not_written() {
        let mut slots = Slots::new(
            (1..=9).map(|number| (u64::from(number), number)).collect(),
            (10..36).collect(),
            BTreeSet::new(),
        );
        assert_eq!(slots.wanted(64), Some((0, CreateSpace::Preallocated)));
        assert_eq!(slots.wanted(64), Some((36, CreateSpace::Preallocated)));
        slots.ready(0);
        slots.ready(36);
        slots.release_below(2);
        assert_eq!(slots.wanted(80), Some((37, CreateSpace::Written)));
    }

    #[test]
    fn after_a_failed_creation_none_is_wanted_until_segments_are_released() {
        let mut slots = Slots::default();
        let (slot, _) = slots.wanted(10).unwrap();
        slots.ready(slot);
        slots.take(1);
        let (slot, _) = slots.wanted(10).unwrap();
        slots.failed(slot);
        assert_eq!(slots.wanted(10), None);
        slots.release_below(1);
        assert_eq!(slots.wanted(10), None, "nothing was released");
        slots.release_below(2);
        assert_eq!(slots.free_count(), 1);
        assert_eq!(slots.wanted(10), Some((1, CreateSpace::Written)));
    }

    #[test]
    fn a_released_slot_is_used_again() {
        let mut slots =
            Slots::new(BTreeMap::from([(4, 0), (5, 1)]), BTreeSet::new(), BTreeSet::from([2]));
        assert_eq!(slots.take(6), None);
        slots.release_below(5);
        assert_eq!(slots.take(6), Some(0));
        assert_eq!((slots.slot_of(4), slots.slot_of(6)), (None, Some(0)));
        assert_eq!(slots.begin_create(), 3, "slot 2 is of the wrong length");
    }
}

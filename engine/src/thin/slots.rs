//! Which slots of a pool are free, and how many of them are promised.
//!
//! A *credit* is a promise of one slot, taken before a write is answered, so that nothing fails for
//! want of space afterwards (rule O7).
//!
//! The *frontier* divides the pool: before it the free slots are listed, from it on the used ones.
//! Slots are handed out lowest first: from the list before the frontier, else at the frontier, which
//! goes up. So a pool costs memory for its holes only, at most one bit per slot of the regions that
//! have some and nothing for the rest, and what is allocated together lies together.
//!
//! Invariants
//! - S1 Slots used and credits taken are together at most the capacity.
//! - S2 The holes are before the frontier, and the slot just before the frontier is used.
//! - S3 The slots used ahead are at or after the frontier and within the capacity.
//! - S4 `used` is the slots before the frontier that are no holes, and those used ahead.

use roaring::RoaringBitmap;
use thiserror::Error;

use crate::units::Slot;

/// Why a slot that a record names as used cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum MarkUsedError {
    /// The pool ends before the slot.
    #[error("slot {slot} in a pool of {capacity} slots: restore the store from a backup")]
    PastTheEnd {
        /// The slot named.
        slot: Slot,
        /// Slots of the pool.
        capacity: u32,
    },
    /// Two owners name the same slot.
    #[error("slot {0} has two owners: restore the store from a backup")]
    Twice(Slot),
    /// All that is free is promised already.
    #[error("slot {slot} is used, but all {capacity} slots are used or reserved already")]
    Reserved {
        /// The slot named.
        slot: Slot,
        /// Slots of the pool.
        capacity: u32,
    },
}

/// The free slots and the credits of one pool.
#[derive(Clone, Debug)]
pub struct SlotAllocator {
    capacity: u32,
    frontier: u32,
    /// Free slots before the frontier.
    holes: RoaringBitmap,
    /// Used slots from the frontier on: found by recovery, in any order.
    ahead: RoaringBitmap,
    used: u32,
    credits: u32,
}

impl SlotAllocator {
    /// A pool of `capacity` slots, all free.
    pub fn new(capacity: u32) -> Self {
        Self {
            capacity,
            frontier: 0,
            holes: RoaringBitmap::new(),
            ahead: RoaringBitmap::new(),
            used: 0,
            credits: 0,
        }
    }

    /// Slots of the pool.
    pub fn capacity(&self) -> u32 {
        self.capacity
    }

    /// Slots that hold data.
    pub fn used(&self) -> u32 {
        self.used
    }

    /// Credits taken and not yet turned into slots.
    pub fn reserved(&self) -> u32 {
        self.credits
    }

    /// Slots that are neither used nor reserved.
    pub fn free_slots(&self) -> u32 {
        self.capacity - self.used - self.credits
    }

    /// True when `slot` holds data.
    pub fn is_used(&self, slot: Slot) -> bool {
        if slot.0 < self.frontier {
            !self.holes.contains(slot.0)
        } else {
            self.ahead.contains(slot.0)
        }
    }

    /// The lowest free slot, from now on used; `None` when every slot is used or reserved.
    pub fn allocate(&mut self) -> Option<Slot> {
        (self.free_slots() > 0).then(|| self.take_lowest())
    }

    /// Turns one credit into the lowest free slot, from now on used.
    ///
    /// # Panics
    /// When no credit is taken: the caller promised what it does not have.
    pub fn allocate_credited(&mut self) -> Slot {
        assert!(self.credits > 0, "a slot for a credit, but none of the pool's credits is taken");
        self.credits -= 1;
        self.take_lowest()
    }

    /// Makes `slot` free (rule O8: once the freeing record is durable and no read is in flight).
    ///
    /// # Panics
    /// When it is free already: two owners would end up with the same slot.
    pub fn free(&mut self, slot: Slot) {
        assert!(self.is_used(slot), "slot {slot} of {} is freed, but it is free", self.capacity);
        self.used -= 1;
        if slot.0 >= self.frontier {
            self.ahead.remove(slot.0);
        } else if slot.0 + 1 == self.frontier {
            self.frontier = slot.0;
            self.lower_frontier_past_holes();
        } else {
            self.holes.insert(slot.0);
        }
    }

    /// Promises `count` slots: all of them, or none and false.
    pub fn take_credits(&mut self, count: u64) -> bool {
        match u32::try_from(count) {
            Ok(count) if count <= self.free_slots() => {
                self.credits += count;
                true
            }
            _ => false,
        }
    }

    /// Gives back `count` credits that are not needed any more.
    ///
    /// # Panics
    /// When fewer are taken.
    pub fn return_credits(&mut self, count: u64) {
        let left = u64::from(self.credits).checked_sub(count).and_then(|n| u32::try_from(n).ok());
        let Some(left) = left else {
            panic!("{count} credits returned, but only {} are taken", self.credits);
        };
        self.credits = left;
    }

    /// Notes in recovery that `slot` holds data; slots may come in any order.
    ///
    /// # Errors
    /// When the pool has no such slot, or it is used already, or it is reserved.
    pub fn mark_used(&mut self, slot: Slot) -> Result<(), MarkUsedError> {
        let capacity = self.capacity;
        if slot.0 >= capacity {
            return Err(MarkUsedError::PastTheEnd { slot, capacity });
        }
        if self.is_used(slot) {
            return Err(MarkUsedError::Twice(slot));
        }
        if self.free_slots() == 0 {
            return Err(MarkUsedError::Reserved { slot, capacity });
        }
        self.used += 1;
        if slot.0 < self.frontier {
            self.holes.remove(slot.0);
        } else {
            self.ahead.insert(slot.0);
        }
        Ok(())
    }

    /// The lowest free slot; that there is one follows from S1 and a free slot or credit.
    fn take_lowest(&mut self) -> Slot {
        self.used += 1;
        if let Some(hole) = self.holes.min() {
            self.holes.remove(hole);
            return Slot(hole);
        }
        while self.ahead.min() == Some(self.frontier) {
            let run = self.ahead.iter().next_range().expect("the set has a smallest slot");
            self.frontier = run.end() + 1;
            self.ahead.remove_range(run);
        }
        let slot = Slot(self.frontier);
        self.frontier += 1;
        slot
    }

    /// Restores S2 after the slot before the frontier became free.
    fn lower_frontier_past_holes(&mut self) {
        while self.frontier > 0 && self.holes.max() == Some(self.frontier - 1) {
            let run = self.holes.iter().next_range_back().expect("the set has a largest slot");
            self.frontier = *run.start();
            self.holes.remove_range(run);
        }
    }

    /// Checks the invariants of this file.
    ///
    /// # Panics
    /// When one does not hold.
    #[cfg(any(test, feature = "sim"))]
    pub fn check_invariants(&self) {
        let taken = u64::from(self.used) + u64::from(self.credits);
        assert!(taken <= u64::from(self.capacity), "S1: {taken} of {}", self.capacity);
        assert!(self.frontier <= self.capacity, "S2: frontier {}", self.frontier);
        let last_hole = self.holes.max().map_or(0, |hole| u64::from(hole) + 2);
        assert!(last_hole <= u64::from(self.frontier), "S2: frontier {}", self.frontier);
        assert!(self.ahead.min().is_none_or(|slot| slot >= self.frontier), "S3");
        assert!(self.ahead.max().is_none_or(|slot| slot < self.capacity), "S3");
        let used = u64::from(self.frontier) - self.holes.len() + self.ahead.len();
        assert_eq!(used, u64::from(self.used), "S4");
    }
}

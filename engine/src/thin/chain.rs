//! What one source preserves for its thin targets in one pool, once for all of them.
//!
//! The relationships of the source into the pool were established at T0s t1 < t2 < ... < tn; several
//! may share one. *Interval* j reaches from tj to the next T0, the newest without end. When a block
//! is first overwritten within interval j, what it held before is preserved under j, in one slot.
//! So the image of a block as of tk is in the slot of the first interval from k on that has the
//! block; if none has it, the block was not overwritten since tk, and its staged versions and its
//! home still hold the image.
//!
//! An interval *has* a block in one of two ways:
//! - *owed*: a staged write will need it preserved; one slot credit of the pool is taken for that.
//! - *kept*: it is preserved in a slot, durably and with a durable record (rules O1 and O2).
//!
//! Invariants
//! - H1 T0s ascend strictly; each has an interval and at least one sharer.
//! - H2 A block is owed or kept in an interval, never both.
//! - H3 Credits taken are the blocks owed, slots taken are the blocks kept, over all intervals: every
//!   credit or slot that leaves an interval is handed to the caller.

use std::mem;

use crate::map::slot_map::SlotMap;
use crate::units::{Block, Seq, Slot};
use roaring::RoaringBitmap;

/// What is no longer needed after a T0 was closed; it goes back to the pool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Freed {
    /// Slots to free (rule O8: once the closing record is durable and no read is in flight).
    pub slots: Vec<Slot>,
    /// Slot credits to return.
    pub credits: u64,
}

/// The blocks first overwritten between a T0 and the next one.
#[derive(Clone, Debug, PartialEq)]
pub struct Interval {
    t0: Seq,
    /// Relationships that share this T0.
    sharers: u32,
    owed: RoaringBitmap,
    kept: SlotMap,
}

impl Interval {
    fn new(t0: Seq) -> Self {
        Self { t0, sharers: 1, owed: RoaringBitmap::new(), kept: SlotMap::new() }
    }

    /// Where the interval starts.
    pub fn t0(&self) -> Seq {
        self.t0
    }

    /// Relationships that share this T0.
    pub fn sharers(&self) -> u32 {
        self.sharers
    }

    /// Blocks that are charged and not yet preserved.
    pub fn owed(&self) -> &RoaringBitmap {
        &self.owed
    }

    /// Blocks that are preserved, with their slots.
    pub fn kept(&self) -> &SlotMap {
        &self.kept
    }

    fn has(&self, block: Block) -> bool {
        self.owed.contains(block.0) || self.kept.contains(block)
    }

    /// Takes over what `later` has and this interval has not; frees the rest.
    fn absorb(&mut self, later: Self) -> Freed {
        let mut freed = Freed::default();
        self.absorb_kept(later.kept, &mut freed.slots);
        let offered = later.owed.len();
        let kept = &self.kept;
        let mut wanted = later.owed;
        wanted -= &self.owed;
        wanted.retain(|block| !kept.contains(Block(block)));
        freed.credits = offered - wanted.len();
        self.owed |= wanted;
        freed
    }

    /// Merges the smaller map into the larger one; an entry of this interval always wins.
    fn absorb_kept(&mut self, later: SlotMap, freed: &mut Vec<Slot>) {
        if later.len() <= self.kept.len() {
            for (block, slot) in later.into_entries() {
                if self.has(block) {
                    freed.push(slot);
                } else {
                    self.kept.insert(block, slot);
                }
            }
            return;
        }
        let earlier = mem::replace(&mut self.kept, later);
        for block in &self.owed {
            freed.extend(self.kept.remove(Block(block)));
        }
        for (block, slot) in earlier.into_entries() {
            freed.extend(self.kept.insert(block, slot));
        }
    }
}

/// What one source preserves for its thin targets in one pool.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Chain {
    /// Ascending by T0. A source has at most a few relationships, so a vector is searched fastest.
    intervals: Vec<Interval>,
}

impl Chain {
    /// A chain without relationships.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a relationship established at `t0`: a new newest interval, or one more sharer of it.
    ///
    /// # Panics
    /// When a newer T0 is open: the journal numbers what is established in ascending order.
    pub fn open(&mut self, t0: Seq) {
        match self.intervals.last_mut() {
            Some(newest) if newest.t0 == t0 => newest.sharers += 1,
            Some(newest) => {
                assert!(newest.t0 < t0, "T0 {t0} opened after T0 {}", newest.t0);
                self.intervals.push(Interval::new(t0));
            }
            None => self.intervals.push(Interval::new(t0)),
        }
    }

    /// Adds an interval that a checkpoint holds, with nothing kept in it yet; what is owed follows from the staged writes.
    /// False, and nothing done, when it is not newer than the others or belongs to no relationship (H1).
    pub fn restore(&mut self, t0: Seq, sharers: u32) -> bool {
        let fits = sharers > 0 && self.intervals.last().is_none_or(|newest| newest.t0 < t0);
        if fits {
            self.intervals.push(Interval { sharers, ..Interval::new(t0) });
        }
        fits
    }

    /// Adds preserved blocks to the newest interval, all of them after those that it has; false, and nothing done, when they
    /// are not.
    pub fn restore_kept(&mut self, blocks: &SlotMap) -> bool {
        self.intervals.last_mut().is_some_and(|newest| newest.kept.append(blocks))
    }

    /// Takes away one relationship established at `t0` and returns what nobody needs any more.
    ///
    /// When it was the last one of this T0, the interval merges into the one before it: a block moves
    /// there unless that interval has it already, since then no image reads the later version. What
    /// the oldest interval has is freed. Copies into the pool must not be in flight for an interval
    /// that merges. A T0 that is not open changes nothing.
    pub fn close(&mut self, t0: Seq) -> Freed {
        let Some(at) = self.position(t0) else {
            return Freed::default();
        };
        self.intervals[at].sharers -= 1;
        if self.intervals[at].sharers > 0 {
            return Freed::default();
        }
        let closed = self.intervals.remove(at);
        match at.checked_sub(1) {
            Some(before) => self.intervals[before].absorb(closed),
            None => Freed {
                credits: closed.owed.len(),
                slots: closed.kept.into_entries().map(|(_, slot)| slot).collect(),
            },
        }
    }

    /// Takes away one relationship that failed: its images are given up exactly as by `close`.
    ///
    /// A source write to `block` that finds no credit fails every sharer of each T0 in
    /// `unserved(block)`; after that it needs no charge (rule O7).
    pub fn fail(&mut self, t0: Seq) -> Freed {
        self.close(t0)
    }

    /// True when a new write to `block` must take a credit first: a T0 is open, and the newest
    /// interval does not have the block.
    pub fn needs_charge(&self, block: Block) -> bool {
        self.intervals.last().is_some_and(|newest| !newest.has(block))
    }

    /// Notes that a new write to `block` owes a copy to the newest interval; every open T0 is older
    /// than the write. True when it is new there, so that one credit is now taken for it.
    pub fn charge(&mut self, block: Block) -> bool {
        Self::charge_interval(self.intervals.last_mut(), block)
    }

    /// Notes in recovery what the staged write `seq` to `block` owes: to the interval of the greatest
    /// T0 before it. False when there is none or it has the block, also when that is kept already.
    pub fn charge_at(&mut self, block: Block, seq: Seq) -> bool {
        let older = self.intervals.partition_point(|interval| interval.t0 < seq);
        Self::charge_interval(self.intervals[..older].last_mut(), block)
    }

    /// The slot that holds the image of `block` as of the open T0 `t0`.
    ///
    /// `None` when no slot does: the staged versions and the home still hold it (also when it is owed
    /// and not yet preserved).
    pub fn lookup(&self, block: Block, t0: Seq) -> Option<Slot> {
        let at = self.position(t0)?;
        for interval in &self.intervals[at..] {
            if let Some(slot) = interval.kept.get(block) {
                return Some(slot);
            }
            if interval.owed.contains(block.0) {
                return None;
            }
        }
        None
    }

    /// The T0s of the intervals in which `block` is owed, ascending.
    pub fn owed_of(&self, block: Block) -> Vec<Seq> {
        let owed = self.intervals.iter().filter(|interval| interval.owed.contains(block.0));
        owed.map(Interval::t0).collect()
    }

    /// Notes that the image of `block` as of `t0` is preserved in `slot`, durably recorded: owed
    /// becomes kept. Replay does this also without a charge before it.
    ///
    /// When `t0` is not open any more, the interval before it has merged what it had, and gets the block
    /// unless it has one: so closing and preserving give the same chain in either order.
    ///
    /// Returns the slot that nothing uses now, if any: the one that was kept before, or `slot` itself.
    /// The same slot again changes nothing.
    pub fn preserve(&mut self, t0: Seq, block: Block, slot: Slot) -> Option<Slot> {
        let at = match self.intervals.binary_search_by_key(&t0, Interval::t0) {
            Ok(at) => at,
            Err(0) => return Some(slot),
            Err(after) if self.intervals[after - 1].kept.contains(block) => return Some(slot),
            Err(after) => after - 1,
        };
        let interval = &mut self.intervals[at];
        interval.owed.remove(block.0);
        interval.kept.insert(block, slot).filter(|&old| old != slot)
    }

    /// The open T0s whose image of `block` no interval has, ascending: each of them would lose the
    /// block if it were overwritten now without a charge.
    pub fn unserved(&self, block: Block) -> Vec<Seq> {
        let served = self.intervals.iter().rposition(|interval| interval.has(block));
        let from = served.map_or(0, |at| at + 1);
        self.intervals[from..].iter().map(Interval::t0).collect()
    }

    /// True when the newest interval has the block preserved: a write of it owes nothing.
    pub fn newest_keeps(&self, block: Block) -> bool {
        self.intervals.last().is_none_or(|newest| newest.kept.contains(block))
    }

    /// Every slot that this chain uses.
    pub fn kept_slots(&self) -> impl Iterator<Item = Slot> + '_ {
        self.intervals.iter().flat_map(|interval| interval.kept.iter().map(|(_, slot)| slot))
    }

    /// The intervals, ascending by T0.
    pub fn intervals(&self) -> &[Interval] {
        &self.intervals
    }

    /// True when no T0 is open, so nothing is owed or kept.
    pub fn is_empty(&self) -> bool {
        self.intervals.is_empty()
    }

    /// Slots that this chain uses.
    pub fn kept_len(&self) -> u64 {
        self.intervals.iter().map(|interval| interval.kept.len()).sum()
    }

    /// Slot credits that this chain has taken.
    pub fn owed_len(&self) -> u64 {
        self.intervals.iter().map(|interval| interval.owed.len()).sum()
    }

    fn position(&self, t0: Seq) -> Option<usize> {
        self.intervals.binary_search_by_key(&t0, Interval::t0).ok()
    }

    fn charge_interval(interval: Option<&mut Interval>, block: Block) -> bool {
        interval
            .is_some_and(|interval| !interval.kept.contains(block) && interval.owed.insert(block.0))
    }

    /// Checks the invariants of this file.
    ///
    /// # Panics
    /// When one does not hold.
    #[cfg(any(test, feature = "sim"))]
    pub fn check_invariants(&self) {
        assert!(self.intervals.is_sorted_by(|a, b| a.t0 < b.t0), "H1");
        for interval in &self.intervals {
            assert!(interval.sharers > 0, "H1: nobody shares T0 {}", interval.t0);
            interval.kept.check_invariants();
            for block in &interval.owed {
                assert!(!interval.kept.contains(Block(block)), "H2: block {block}");
            }
        }
    }
}

//! A leaf of `SlotMap`: a few hundred runs in three tightly sized vectors.
//!
//! Invariants
//! - L1 The vectors are equally long; place `i` of each describes run `i`. Only `extras` may be empty instead: then each run
//!   is one block, as it is where random blocks are preserved, and costs eight bytes.
//! - L2 Runs ascend, do not overlap, and hold 1 to `RUN_BLOCKS_MAX` blocks.

use std::ops::Range;

use crate::units::{Block, Slot};

/// Runs of a full leaf: large enough that a leaf's fixed cost is spread thin, small enough that an
/// insertion in the middle moves only a few KiB.
pub(super) const LEAF_RUNS: usize = 512;
/// A leaf with fewer runs than this looks for a neighbour to merge with.
pub(super) const LEAF_RUNS_FEW: usize = LEAF_RUNS / 8;
/// Blocks of the longest run: its length is kept in 16 bits.
pub(super) const RUN_BLOCKS_MAX: u32 = 1 << 16;

/// Neighbouring blocks in neighbouring slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotRun {
    /// First block.
    pub block: Block,
    /// Slot of the first block.
    pub slot: Slot,
    /// Number of blocks, at least one.
    pub blocks: u32,
}

impl SlotRun {
    /// Each block of the run with its slot, ascending.
    pub fn entries(self) -> impl Iterator<Item = (Block, Slot)> {
        (0..self.blocks).map(move |at| (Block(self.block.0 + at), Slot(self.slot.0 + at)))
    }

    /// The part of the run within `range`, if any.
    pub(super) fn clipped(self, range: &Range<u32>) -> Option<Self> {
        let start = self.block.0.max(range.start);
        let end = (self.block.0 + self.blocks).min(range.end);
        (start < end).then(|| Self {
            block: Block(start),
            slot: Slot(self.slot.0 + (start - self.block.0)),
            blocks: end - start,
        })
    }

    /// True when `next` goes on where this run ends, in blocks and in slots.
    pub(super) fn is_continued_by(self, next: Self) -> bool {
        self.block.0 + self.blocks == next.block.0 && self.slot.0 + self.blocks == next.slot.0
    }
}

/// Up to `LEAF_RUNS` runs, ascending; the vectors are parallel.
#[derive(Clone, Default)]
pub(super) struct Leaf {
    /// First block of each run.
    starts: Vec<u32>,
    /// Slot of the first block of each run.
    slots: Vec<u32>,
    /// Blocks of each run beyond the first one; none are kept where no run has any (L1).
    extras: Vec<u16>,
}

impl Leaf {
    pub(super) fn len(&self) -> usize {
        self.starts.len()
    }

    pub(super) fn run(&self, at: usize) -> SlotRun {
        SlotRun {
            block: Block(self.starts[at]),
            slot: Slot(self.slots[at]),
            blocks: self.extras.get(at).map_or(0, |&extra| u32::from(extra)) + 1,
        }
    }

    /// How many runs start at or before `block`.
    pub(super) fn runs_up_to(&self, block: u32) -> usize {
        self.starts.partition_point(|&start| start <= block)
    }

    /// The place and the run that holds `block`, if any.
    pub(super) fn covering(&self, block: u32) -> Option<(usize, SlotRun)> {
        let at = self.runs_up_to(block).checked_sub(1)?;
        let run = self.run(at);
        (block - run.block.0 < run.blocks).then_some((at, run))
    }

    /// The block that the first run starts at; a leaf of the map is never empty.
    pub(super) fn first_block(&self) -> u32 {
        self.starts[0]
    }

    /// One past the last block of the last run.
    pub(super) fn end_block(&self) -> u32 {
        self.len().checked_sub(1).map_or(0, |last| {
            let run = self.run(last);
            run.block.0 + run.blocks
        })
    }

    /// Blocks of all runs.
    pub(super) fn blocks(&self) -> u64 {
        self.len() as u64 + self.extras.iter().map(|&extra| u64::from(extra)).sum::<u64>()
    }

    /// The runs that touch `range`, clipped to it.
    pub(super) fn runs_within(&self, range: Range<u32>) -> impl Iterator<Item = SlotRun> + '_ {
        let from = self.runs_up_to(range.start).saturating_sub(1);
        let to = self.starts.partition_point(|&start| start < range.end);
        (from..to).filter_map(move |at| self.run(at).clipped(&range))
    }

    /// Bytes of memory that the vectors take.
    pub(super) fn heap_bytes(&self) -> usize {
        self.starts.capacity() * 4 + self.slots.capacity() * 4 + self.extras.capacity() * 2
    }

    fn set(&mut self, at: usize, run: SlotRun) {
        self.starts[at] = run.block.0;
        self.slots[at] = run.slot.0;
        self.make_room_for(run);
        if let Some(extra) = self.extras.get_mut(at) {
            *extra = extra_of(run);
        }
    }

    /// Keeps lengths from now on if the run needs one (L1).
    fn make_room_for(&mut self, run: SlotRun) {
        if self.extras.is_empty() && run.blocks > 1 {
            self.extras = vec![0; self.len()];
        }
    }

    fn insert(&mut self, at: usize, run: SlotRun) {
        self.make_room_for(run);
        if run.blocks > 1 || !self.extras.is_empty() {
            insert_tight(&mut self.extras, at, extra_of(run));
        }
        insert_tight(&mut self.starts, at, run.block.0);
        insert_tight(&mut self.slots, at, run.slot.0);
    }

    /// Adds a run after all others.
    pub(super) fn push(&mut self, run: SlotRun) {
        self.insert(self.len(), run);
    }

    fn remove(&mut self, at: usize) {
        remove_tight(&mut self.starts, at);
        remove_tight(&mut self.slots, at);
        if !self.extras.is_empty() {
            remove_tight(&mut self.extras, at);
        }
    }

    /// Takes the runs from place `at` on into a leaf of their own.
    pub(super) fn split_off(&mut self, at: usize) -> Self {
        let mut tail = Self {
            starts: self.starts.split_off(at),
            slots: self.slots.split_off(at),
            extras: self.extras.split_off(at.min(self.extras.len())),
        };
        self.starts.shrink_to_fit();
        self.slots.shrink_to_fit();
        for leaf in [self, &mut tail] {
            if leaf.extras.iter().all(|&extra| extra == 0) {
                leaf.extras.clear();
            }
            leaf.extras.shrink_to_fit();
        }
        tail
    }

    /// Takes over the runs of `later`, which all come after this leaf's.
    pub(super) fn append(&mut self, later: &Self) {
        if !self.extras.is_empty() || !later.extras.is_empty() {
            self.extras.reserve_exact((self.len() + later.len()) - self.extras.len());
            self.extras.resize(self.len(), 0);
            self.extras.extend_from_slice(&later.extras);
            self.extras.resize(self.len() + later.len(), 0);
        }
        self.starts.reserve_exact(later.len());
        self.slots.reserve_exact(later.len());
        self.starts.extend_from_slice(&later.starts);
        self.slots.extend_from_slice(&later.slots);
    }

    /// Adds one block that no run holds, joining runs where possible.
    pub(super) fn add(&mut self, block: Block, slot: Slot) {
        let at = self.runs_up_to(block.0);
        let mut run = SlotRun { block, slot, blocks: 1 };
        let mut joined_before = false;
        if at > 0 {
            let before = self.run(at - 1);
            if before.is_continued_by(run) && before.blocks < RUN_BLOCKS_MAX {
                run = SlotRun { blocks: before.blocks + 1, ..before };
                joined_before = true;
            }
        }
        let mut joined_after = false;
        if at < self.len() {
            let after = self.run(at);
            if run.is_continued_by(after) && run.blocks + after.blocks <= RUN_BLOCKS_MAX {
                run.blocks += after.blocks;
                joined_after = true;
            }
        }
        match (joined_before, joined_after) {
            (true, true) => {
                self.set(at - 1, run);
                self.remove(at);
            }
            (true, false) => self.set(at - 1, run),
            (false, true) => self.set(at, run),
            (false, false) => self.insert(at, run),
        }
    }

    /// Takes `block` out of the run at place `at`, which holds it.
    pub(super) fn take(&mut self, at: usize, block: Block) {
        let run = self.run(at);
        let before = block.0 - run.block.0;
        let after = run.blocks - before - 1;
        let tail = SlotRun {
            block: Block(block.0 + 1),
            slot: Slot(run.slot.0 + before + 1),
            blocks: after,
        };
        match (before, after) {
            (0, 0) => self.remove(at),
            (0, _) => self.set(at, tail),
            (_, 0) => self.set(at, SlotRun { blocks: before, ..run }),
            (_, _) => {
                self.set(at, SlotRun { blocks: before, ..run });
                self.insert(at + 1, tail);
            }
        }
    }

    /// Checks the invariants of this file.
    ///
    /// # Panics
    /// When one does not hold.
    #[cfg(any(test, feature = "sim"))]
    pub(super) fn check_invariants(&self) {
        let extras = if self.extras.is_empty() { self.len() } else { self.extras.len() };
        assert_eq!((self.slots.len(), extras), (self.len(), self.len()), "L1");
        let mut end = 0;
        for at in 0..self.len() {
            let run = self.run(at);
            assert!(run.block.0 >= end, "L2: run at {} before {end}", run.block);
            end = run.block.0.checked_add(run.blocks).expect("L2: blocks below u32::MAX");
        }
    }
}

/// The stored length of a run.
fn extra_of(run: SlotRun) -> u16 {
    u16::try_from(run.blocks - 1).expect("a run has at most RUN_BLOCKS_MAX blocks")
}

/// Inserts, growing by an eighth: doubling would waste more than the entries' own size allows.
fn insert_tight<T>(values: &mut Vec<T>, at: usize, value: T) {
    if values.len() == values.capacity() {
        values.reserve_exact((values.len() / 8).max(4));
    }
    values.insert(at, value);
}

/// Removes, giving memory back when less than half of it is in use.
fn remove_tight<T>(values: &mut Vec<T>, at: usize) {
    values.remove(at);
    if values.capacity() > 2 * values.len() + 16 {
        values.shrink_to(values.len() + values.len() / 8);
    }
}

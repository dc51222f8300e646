//! Which pool slot holds a block: a map from `Block` to `Slot` that stays small.
//!
//! A *run* is a stretch of neighbouring blocks in neighbouring slots. Runs lie in ascending order in
//! *leaves* of up to 512 runs, three parallel vectors each, and a B-tree finds the leaf by its
//! *fence*, a block at or before its first run. A random block costs about 9 bytes (4 for the block, 4 for the slot,
//! and slack; 2 more for the length where its leaf has a longer run); a long sequential stretch costs next to nothing.
//!
//! Invariants
//! - M1 Runs ascend over the whole map, do not overlap, and hold at least one block each.
//! - M2 A leaf holds 1 to `LEAF_RUNS` runs, all at or after its fence and before the next fence.
//! - M3 `len` is the number of blocks in all runs.
//! - M4 Blocks and slots are below `u32::MAX`, so that an exclusive end always fits 32 bits.
//!
//! A block that is added joins the runs beside it in its leaf; leaves that meet are not joined.
//!
//! A clone shares the leaves, and whoever changes one first copies that leaf: so a checkpoint takes a clone, one pointer
//! for each 512 runs, and writes it out piece by piece while the map goes on changing.

use std::collections::BTreeMap;
use std::fmt;
use std::iter;
use std::ops::Range;
use std::sync::Arc;

use serde::de::{Error, SeqAccess, Visitor};
use serde::ser::SerializeSeq;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub use crate::map::slot_leaf::SlotRun;
use crate::map::slot_leaf::{LEAF_RUNS, LEAF_RUNS_FEW, Leaf, RUN_BLOCKS_MAX};
use crate::units::{Block, Slot};

/// Leaves that `SlotMap::split_first` takes: some 40 KiB when encoded.
const PIECE_LEAVES: usize = 16;

/// Which pool slot holds a block.
#[derive(Clone, Default)]
pub struct SlotMap {
    /// Leaves by their fence.
    leaves: BTreeMap<u32, Arc<Leaf>>,
    len: u64,
}

impl SlotMap {
    /// A map without entries.
    pub fn new() -> Self {
        Self::default()
    }

    /// Number of blocks that have a slot.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// True when no block has a slot.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The slot of `block`.
    pub fn get(&self, block: Block) -> Option<Slot> {
        let (_, leaf) = self.leaves.range(..=block.0).next_back()?;
        let (_, run) = leaf.covering(block.0)?;
        Some(Slot(run.slot.0 + (block.0 - run.block.0)))
    }

    /// True when `block` has a slot.
    pub fn contains(&self, block: Block) -> bool {
        self.get(block).is_some()
    }

    /// Gives `block` the slot `slot` and returns the one it had.
    ///
    /// # Panics
    /// When `block` or `slot` is `u32::MAX`, which no volume or pool has (M4).
    pub fn insert(&mut self, block: Block, slot: Slot) -> Option<Slot> {
        assert!(
            block.0 < u32::MAX && slot.0 < u32::MAX,
            "block {block} in slot {slot}: the last number of 32 bits is never used"
        );
        let old = self.get(block);
        if old == Some(slot) {
            return old;
        }
        if old.is_some() {
            self.remove(block);
        }
        let fence = self.fence_for(block);
        let leaf = self.leaves.entry(fence).or_default();
        Arc::make_mut(leaf).add(block, slot);
        self.len += 1;
        self.split_if_over(fence);
        old
    }

    /// Takes the slot of `block` away and returns it.
    pub fn remove(&mut self, block: Block) -> Option<Slot> {
        let (&fence, leaf) = self.leaves.range_mut(..=block.0).next_back()?;
        let (at, run) = leaf.covering(block.0)?;
        let leaf = Arc::make_mut(leaf);
        leaf.take(at, block);
        let runs_left = leaf.len();
        self.len -= 1;
        if runs_left == 0 {
            self.leaves.remove(&fence);
        } else if runs_left < LEAF_RUNS_FEW {
            self.merge_with_a_neighbour(fence);
        } else {
            self.split_if_over(fence);
        }
        Some(Slot(run.slot.0 + (block.0 - run.block.0)))
    }

    /// Takes all entries away.
    pub fn clear(&mut self) {
        *self = Self::new();
    }

    /// All entries, blocks ascending.
    pub fn iter(&self) -> impl Iterator<Item = (Block, Slot)> + '_ {
        self.range(0..u32::MAX)
    }

    /// The entries of the blocks in `range`, ascending.
    pub fn range(&self, range: Range<u32>) -> impl Iterator<Item = (Block, Slot)> + '_ {
        self.stored_runs(range).flat_map(SlotRun::entries)
    }

    /// The entries of the blocks in `range` as maximal runs, ascending, clipped to the range.
    pub fn runs(&self, range: Range<u32>) -> impl Iterator<Item = SlotRun> + '_ {
        let mut stored = self.stored_runs(range).peekable();
        iter::from_fn(move || {
            let mut run = stored.next()?;
            while let Some(next) = stored.next_if(|&next| run.is_continued_by(next)) {
                run.blocks += next.blocks;
            }
            Some(run)
        })
    }

    /// All entries, blocks ascending, giving memory back on the way.
    pub fn into_entries(self) -> impl Iterator<Item = (Block, Slot)> {
        self.leaves
            .into_values()
            .flat_map(|leaf| (0..leaf.len()).flat_map(move |at| leaf.run(at).entries()))
    }

    /// Takes the first entries away into a map of their own, a few thousand at most or a few long runs.
    #[must_use]
    pub fn split_first(&mut self) -> Self {
        let mut first = Self::new();
        while first.leaves.len() < PIECE_LEAVES
            && let Some((fence, leaf)) = self.leaves.pop_first()
        {
            first.len += leaf.blocks();
            first.leaves.insert(fence, leaf);
        }
        self.len -= first.len;
        first
    }

    /// Adds the entries of `later`, all of which must come after this map's; false, and nothing done, when they do not.
    pub fn append(&mut self, later: &Self) -> bool {
        let end = self.leaves.last_key_value().map_or(0, |(_, leaf)| leaf.end_block());
        if later.runs(0..u32::MAX).next().is_some_and(|run| run.block.0 < end) {
            return false;
        }
        for run in later.runs(0..u32::MAX) {
            self.push_run(run);
        }
        true
    }

    /// Bytes of memory that the entries take, with an estimate for the tree and the allocator.
    pub fn heap_bytes(&self) -> u64 {
        // A B-tree node is about two thirds full; an allocation carries 8 bytes and is rounded to 16.
        // An `Arc` carries two counters.
        let node = size_of::<(u32, Arc<Leaf>)>() * 3 / 2;
        let per_leaf = node + 2 * size_of::<usize>() + size_of::<Leaf>() + 4 * 16;
        let bytes = |leaf: &Arc<Leaf>| (leaf.heap_bytes() + per_leaf) as u64;
        self.leaves.values().map(bytes).sum()
    }

    /// The runs as they are stored that touch `range`, clipped to it.
    fn stored_runs(&self, range: Range<u32>) -> impl Iterator<Item = SlotRun> + '_ {
        let end = range.end.max(range.start);
        let first = self.leaves.range(..=range.start).next_back();
        let from = first.map_or(range.start, |(&fence, _)| fence);
        self.leaves.range(from..end).flat_map(move |(_, leaf)| leaf.runs_within(range.clone()))
    }

    /// The fence of the leaf that `block` belongs to; the first leaf's is lowered where needed.
    fn fence_for(&mut self, block: Block) -> u32 {
        if let Some((&fence, _)) = self.leaves.range(..=block.0).next_back() {
            return fence;
        }
        if let Some((_, leaf)) = self.leaves.pop_first() {
            self.leaves.insert(block.0, leaf);
        }
        block.0
    }

    fn split_if_over(&mut self, fence: u32) {
        let Some(leaf) = self.leaves.get_mut(&fence).filter(|leaf| leaf.len() > LEAF_RUNS) else {
            return;
        };
        let tail = Arc::make_mut(leaf).split_off(LEAF_RUNS / 2);
        self.leaves.insert(tail.first_block(), Arc::new(tail));
    }

    /// Merges the small leaf at `fence` with a neighbour when both together are at most half full.
    fn merge_with_a_neighbour(&mut self, fence: u32) {
        let here = self.leaves.get(&fence).map_or(0, |leaf| leaf.len());
        let fits = |neighbour: Option<(&u32, &Arc<Leaf>)>| {
            let (&other, leaf) = neighbour?;
            (leaf.len() + here <= LEAF_RUNS / 2).then_some(other)
        };
        let (keep, give) = if let Some(before) = fits(self.leaves.range(..fence).next_back()) {
            (before, fence)
        } else if let Some(after) = fits(self.leaves.range(fence + 1..).next()) {
            (fence, after)
        } else {
            return;
        };
        let given = self.leaves.remove(&give).expect("the leaf was just found");
        let kept = self.leaves.get_mut(&keep).expect("the leaf was just found");
        Arc::make_mut(kept).append(&given);
    }

    /// Adds a run after all others, in a new leaf when the last one is full.
    fn push_run(&mut self, run: SlotRun) {
        let mut rest = run;
        while rest.blocks > 0 {
            let blocks = rest.blocks.min(RUN_BLOCKS_MAX);
            let part = SlotRun { blocks, ..rest };
            match self.leaves.last_entry() {
                Some(mut last) if last.get().len() < LEAF_RUNS => {
                    Arc::make_mut(last.get_mut()).push(part);
                }
                _ => {
                    let mut leaf = Leaf::default();
                    leaf.push(part);
                    self.leaves.insert(part.block.0, Arc::new(leaf));
                }
            }
            self.len += u64::from(blocks);
            rest = SlotRun {
                block: Block(rest.block.0 + blocks),
                slot: Slot(rest.slot.0 + blocks),
                blocks: rest.blocks - blocks,
            };
        }
    }

    /// Checks the invariants of this file.
    ///
    /// # Panics
    /// When one does not hold.
    #[cfg(any(test, feature = "sim"))]
    pub fn check_invariants(&self) {
        let mut blocks = 0;
        let mut end = 0;
        let fences = self.leaves.keys().skip(1).copied().chain([u32::MAX]);
        for ((&fence, leaf), next_fence) in self.leaves.iter().zip(fences) {
            assert!((1..=LEAF_RUNS).contains(&leaf.len()), "M2: {} runs", leaf.len());
            leaf.check_invariants();
            assert!(leaf.first_block() >= fence, "M2: run {} before {fence}", leaf.first_block());
            for at in 0..leaf.len() {
                let run = leaf.run(at);
                assert!(run.block.0 >= end, "M1: run at {} before {end}", run.block);
                end = run.block.0.checked_add(run.blocks).expect("M4: blocks below u32::MAX");
                run.slot.0.checked_add(run.blocks).expect("M4: slots below u32::MAX");
                assert!(end <= next_fence, "M2: run to {end} passes fence {next_fence}");
                blocks += u64::from(run.blocks);
            }
        }
        assert_eq!(blocks, self.len, "M3");
    }
}

impl PartialEq for SlotMap {
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len && self.runs(0..u32::MAX).eq(other.runs(0..u32::MAX))
    }
}

impl Eq for SlotMap {}

impl fmt::Debug for SlotMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

/// A run as it is stored: blocks skipped since the end of the run before, slots gone forward or
/// back since then, and its length in blocks.
#[derive(Serialize, Deserialize)]
struct StoredRun(u32, i64, u32);

impl Serialize for SlotMap {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_seq(Some(self.runs(0..u32::MAX).count()))?;
        let (mut block, mut slot) = (0, 0);
        for run in self.runs(0..u32::MAX) {
            let slot_step = i64::from(run.slot.0) - i64::from(slot);
            out.serialize_element(&StoredRun(run.block.0 - block, slot_step, run.blocks))?;
            block = run.block.0 + run.blocks;
            slot = run.slot.0 + run.blocks;
        }
        out.end()
    }
}

impl<'de> Deserialize<'de> for SlotMap {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(RunsVisitor)
    }
}

/// Rebuilds a map from stored runs, refusing what no map could have stored.
struct RunsVisitor;

impl<'de> Visitor<'de> for RunsVisitor {
    type Value = SlotMap;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("runs of blocks and their slots")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<SlotMap, A::Error> {
        let mut map = SlotMap::new();
        let (mut block_end, mut slot_end) = (0_u32, 0_u32);
        while let Some(StoredRun(skipped, slot_step, blocks)) = seq.next_element()? {
            let block = block_end.checked_add(skipped);
            let slot = i64::from(slot_end).checked_add(slot_step);
            let slot = slot.and_then(|slot| u32::try_from(slot).ok());
            let (Some(block), Some(slot)) = (block, slot) else {
                return Err(A::Error::custom("a run starts outside of 32 bits"));
            };
            let ends = (block.checked_add(blocks), slot.checked_add(blocks));
            let (Some(next_block), Some(next_slot)) = ends else {
                return Err(A::Error::custom("a run ends outside of 32 bits"));
            };
            if blocks == 0 {
                return Err(A::Error::custom("a run without blocks"));
            }
            if map.len > 0 && skipped == 0 && slot_step == 0 {
                return Err(A::Error::custom("a run that belongs to the one before"));
            }
            map.push_run(SlotRun { block: Block(block), slot: Slot(slot), blocks });
            (block_end, slot_end) = (next_block, next_slot);
        }
        Ok(map)
    }
}

//! `Chain` against full copies: every T0 keeps a plain copy of the source.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use crate::map::slot_map::SlotMap;
use crate::thin::chain::{Chain, Freed};
use crate::units::{Block, Seq, Slot};

/// Blocks of the source.
const BLOCKS: u32 = 12;

#[derive(Clone, Debug)]
enum Step {
    /// Overwrites a block; its content is the number of the write.
    Write(u32),
    /// Opens a new T0.
    Open,
    /// Opens the newest T0 once more.
    Share,
    /// Closes one of the open T0s.
    Close(prop::sample::Index),
    /// Preserves one of the owed images of a block.
    PreserveOne(u32, prop::sample::Index),
    /// Preserves all owed images of a block, then advances its home.
    Destage(u32),
    /// Forgets what memory held, and rebuilds it from the checkpoint and the staged writes.
    Recover,
}

fn step() -> impl Strategy<Value = Step> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        12 => (0..BLOCKS).prop_map(Step::Write),
        3 => Just(Step::Open),
        1 => Just(Step::Share),
        3 => index().prop_map(Step::Close),
        4 => (0..BLOCKS, index()).prop_map(|(block, which)| Step::PreserveOne(block, which)),
        6 => (0..BLOCKS).prop_map(Step::Destage),
        1 => Just(Step::Recover),
    ]
}

/// A source with one chain, and beside it the truth.
#[derive(Default)]
struct World {
    chain: Chain,
    last_seq: u64,
    /// What the home of each block holds.
    home: [u64; BLOCKS as usize],
    /// Staged versions of each block, ascending.
    staged: [Vec<u64>; BLOCKS as usize],
    /// What the pool's slots hold, and the credits taken from it.
    slots: BTreeMap<u32, u64>,
    next_slot: u32,
    credits: u64,
    /// The naive twin: the source, a full copy and the sharers of every open T0, and all writes.
    source: [u64; BLOCKS as usize],
    copies: BTreeMap<u64, ([u64; BLOCKS as usize], u32)>,
    writes: Vec<(u32, u64)>,
}

impl World {
    fn apply(&mut self, step: &Step) {
        match step {
            Step::Write(block) => self.write(*block),
            Step::Open => {
                self.last_seq += 1;
                self.chain.open(Seq(self.last_seq));
                self.copies.insert(self.last_seq, (self.source, 1));
            }
            Step::Share => {
                if let Some((&t0, (_, sharers))) = self.copies.iter_mut().next_back() {
                    self.chain.open(Seq(t0));
                    *sharers += 1;
                }
            }
            Step::Close(which) => {
                if !self.copies.is_empty() {
                    let t0 = *self.copies.keys().nth(which.index(self.copies.len())).unwrap();
                    self.close(t0);
                }
            }
            Step::PreserveOne(block, which) => {
                let owed = self.chain.owed_of(Block(*block));
                if !owed.is_empty() {
                    self.preserve(*block, owed[which.index(owed.len())]);
                }
            }
            Step::Destage(block) => {
                for t0 in self.chain.owed_of(Block(*block)) {
                    self.preserve(*block, t0);
                }
                if let Some(newest) = self.staged[*block as usize].drain(..).next_back() {
                    self.home[*block as usize] = newest;
                }
            }
            Step::Recover => self.recover(),
        }
    }

    fn write(&mut self, block: u32) {
        self.last_seq += 1;
        let needed = self.chain.needs_charge(Block(block));
        assert_eq!(self.chain.charge(Block(block)), needed);
        self.credits += u64::from(needed);
        self.staged[block as usize].push(self.last_seq);
        self.source[block as usize] = self.last_seq;
        self.writes.push((block, self.last_seq));
    }

    fn close(&mut self, t0: u64) {
        let Freed { slots, credits } = self.chain.close(Seq(t0));
        for slot in slots {
            assert!(self.slots.remove(&slot.0).is_some(), "slot {slot} freed twice");
        }
        self.credits -= credits;
        let (_, sharers) = self.copies.get_mut(&t0).unwrap();
        *sharers -= 1;
        if *sharers == 0 {
            self.copies.remove(&t0);
        }
    }

    fn preserve(&mut self, block: u32, t0: Seq) {
        let content = self.image(block, t0);
        self.slots.insert(self.next_slot, content);
        assert_eq!(self.chain.preserve(t0, Block(block), Slot(self.next_slot)), None);
        // A record may be replayed over a checkpoint that holds it.
        assert_eq!(self.chain.preserve(t0, Block(block), Slot(self.next_slot)), None);
        self.next_slot += 1;
        self.credits -= 1;
    }

    fn recover(&mut self) {
        let mut again = Chain::new();
        for interval in self.chain.intervals() {
            assert!(again.restore(interval.t0(), interval.sharers()));
            assert!(again.restore_kept(interval.kept()));
        }
        for (block, versions) in (0..).zip(&self.staged) {
            for &version in versions {
                again.charge_at(Block(block), Seq(version));
            }
        }
        assert_eq!(again, self.chain);
        self.chain = again;
    }

    /// The image of a block as of a T0, by the rule that serves every read.
    fn image(&self, block: u32, t0: Seq) -> u64 {
        if let Some(slot) = self.chain.lookup(Block(block), t0) {
            return self.slots[&slot.0];
        }
        let versions = &self.staged[block as usize];
        let older = versions.iter().rfind(|&&version| version < t0.0);
        older.copied().unwrap_or(self.home[block as usize])
    }

    /// Blocks with the open T0 under which they were first overwritten: each needs one slot.
    fn definition(&self) -> BTreeSet<(u32, u64)> {
        let under = |&(block, write): &(u32, u64)| {
            let (&t0, _) = self.copies.range(..write).next_back()?;
            Some((block, t0))
        };
        self.writes.iter().filter_map(under).collect()
    }

    fn check(&self) {
        self.chain.check_invariants();
        for (&t0, (copy, _)) in &self.copies {
            for (block, &expected) in (0..).zip(copy) {
                assert_eq!(self.image(block, Seq(t0)), expected, "block {block} as of {t0}");
            }
        }
        let definition = self.definition();
        assert_eq!(self.chain.kept_len() + self.chain.owed_len(), definition.len() as u64);
        assert_eq!(self.chain.kept_len(), self.slots.len() as u64);
        assert_eq!(self.chain.owed_len(), self.credits);
        let sharers: Vec<_> =
            self.chain.intervals().iter().map(|open| (open.t0().0, open.sharers())).collect();
        let expected: Vec<_> =
            self.copies.iter().map(|(&t0, &(_, sharers))| (t0, sharers)).collect();
        assert_eq!(sharers, expected);
        for block in 0..BLOCKS {
            let last = definition.iter().filter(|had| had.0 == block).map(|had| had.1).max();
            let unserved = self.copies.keys().filter(|&&t0| last.is_none_or(|last| t0 > last));
            let unserved: Vec<_> = unserved.map(|&t0| Seq(t0)).collect();
            assert_eq!(self.chain.unserved(Block(block)), unserved);
            let needs = unserved.last().map(|t0| t0.0) == self.copies.keys().next_back().copied();
            assert_eq!(self.chain.needs_charge(Block(block)), needs && !self.copies.is_empty());
        }
    }
}

proptest! {
    #[test]
    fn every_open_t0_keeps_its_image_and_nothing_is_kept_that_none_needs(
        steps in prop::collection::vec(step(), 1..150),
    ) {
        let mut world = World::default();
        for step in &steps {
            world.apply(step);
            world.check();
        }
        while let Some((&t0, _)) = world.copies.iter().next() {
            world.close(t0);
            world.check();
        }
        prop_assert!(world.chain.is_empty());
        prop_assert_eq!((world.credits, world.slots.len()), (0, 0));
    }
}

#[test]
fn a_block_overwritten_once_is_preserved_once_for_sixteen_copies() {
    let mut chain = Chain::new();
    for t0 in 1..=16 {
        chain.open(Seq(t0));
    }
    assert!(chain.charge(Block(5)));
    assert!(!chain.charge(Block(5)));
    assert_eq!(chain.owed_of(Block(5)), [Seq(16)]);
    assert_eq!(chain.lookup(Block(5), Seq(1)), None);
    assert_eq!(chain.preserve(Seq(16), Block(5), Slot(9)), None);
    for t0 in 1..=16 {
        assert_eq!(chain.lookup(Block(5), Seq(t0)), Some(Slot(9)));
    }
    for t0 in (2..=16).rev() {
        assert_eq!(chain.close(Seq(t0)), Freed::default());
    }
    assert_eq!(chain.close(Seq(1)), Freed { slots: vec![Slot(9)], credits: 0 });
}

#[test]
fn an_earlier_interval_that_has_a_block_frees_the_later_version_of_it() {
    // For each pair: owed (false) or kept (true) in the earlier and in the later interval, with the
    // larger map on either side.
    for (earlier, later) in [(false, false), (false, true), (true, false), (true, true)] {
        for more_at in [1, 2] {
            let mut chain = Chain::new();
            for (t0, kept) in [(1, earlier), (2, later)] {
                chain.open(Seq(t0));
                assert!(chain.charge(Block(7)));
                if kept {
                    chain.preserve(Seq(t0), Block(7), Slot(u32::try_from(t0).unwrap()));
                }
                if more_at == t0 {
                    for more in 100..110 {
                        chain.preserve(Seq(t0), Block(more), Slot(more));
                    }
                }
            }
            let freed = chain.close(Seq(2));
            let expected = if later {
                Freed { slots: vec![Slot(2)], credits: 0 }
            } else {
                Freed { slots: vec![], credits: 1 }
            };
            assert_eq!(freed, expected);
            chain.check_invariants();
            assert_eq!(chain.lookup(Block(7), Seq(1)), earlier.then_some(Slot(1)));
            assert_eq!(chain.kept_len(), 10 + u64::from(earlier));
        }
    }
}

#[test]
fn a_preserved_image_of_a_closed_t0_and_a_replaced_slot_are_handed_back() {
    let mut chain = Chain::new();
    chain.open(Seq(3));
    assert_eq!(chain.preserve(Seq(2), Block(0), Slot(8)), Some(Slot(8)));
    assert_eq!(chain.preserve(Seq(3), Block(0), Slot(8)), None);
    assert_eq!(chain.preserve(Seq(3), Block(0), Slot(9)), Some(Slot(8)));
    assert_eq!(chain.close(Seq(2)), Freed::default());
    assert_eq!(chain.kept_len(), 1);
}

#[test]
fn a_staged_write_older_than_every_t0_owes_nothing() {
    let mut chain = Chain::new();
    chain.open(Seq(10));
    assert!(!chain.charge_at(Block(1), Seq(9)));
    assert!(!chain.charge_at(Block(1), Seq(10)));
    assert!(chain.charge_at(Block(1), Seq(11)));
    chain.preserve(Seq(10), Block(2), Slot(0));
    assert!(!chain.charge_at(Block(2), Seq(12)));
}

#[test]
fn after_every_unserved_t0_has_failed_a_write_needs_no_charge() {
    let mut chain = Chain::new();
    for t0 in 1..=4 {
        chain.open(Seq(t0));
        if t0 == 2 {
            assert!(chain.charge(Block(5)));
        }
    }
    assert!(chain.charge(Block(6)));
    assert!(chain.needs_charge(Block(5)));
    assert_eq!(chain.unserved(Block(5)), [Seq(3), Seq(4)]);
    for t0 in chain.unserved(Block(5)) {
        assert_eq!(chain.fail(t0), Freed::default());
    }
    assert!(!chain.needs_charge(Block(5)));
    assert_eq!(chain.owed_of(Block(6)), [Seq(2)]);
    assert!(!chain.needs_charge(Block(6)));
}

#[test]
fn stored_chains_out_of_order_or_without_sharers_are_refused() {
    let blocks = |first: u32| {
        let mut map = SlotMap::new();
        map.insert(Block(first), Slot(first));
        map
    };
    let mut chain = Chain::new();
    assert!(!chain.restore_kept(&blocks(1)), "no interval");
    assert!(!chain.restore(Seq(1), 0), "no sharers");
    assert!(chain.restore(Seq(2), 1));
    assert!(!chain.restore(Seq(2), 1) && !chain.restore(Seq(1), 1), "T0s ascend");
    assert!(chain.restore_kept(&blocks(7)));
    assert!(!chain.restore_kept(&blocks(7)) && !chain.restore_kept(&blocks(6)), "blocks ascend");
    assert!(chain.restore_kept(&blocks(8)));
    assert_eq!(chain.kept_len(), 2);
    chain.check_invariants();
}

//! `SlotMap` against a `BTreeMap`.

use std::collections::BTreeMap;

use proptest::prelude::*;

use crate::map::slot_map::{SlotMap, SlotRun};
use crate::units::{Block, Slot};

#[derive(Clone, Debug)]
enum Step {
    Insert(u32, u32),
    InsertStretch(u32, u32, u32),
    Remove(u32),
    RemoveStretch(u32, u32),
    Range(u32, u32),
    Clear,
}

/// Blocks near each other, at the ends of the volume, and anywhere.
fn block() -> impl Strategy<Value = u32> {
    prop_oneof![4 => 0_u32..300, 1 => u32::MAX - 300..u32::MAX, 1 => 0..u32::MAX]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (block(), 0_u32..400).prop_map(|(at, slot)| Step::Insert(at, slot)),
        4 => (block(), 0_u32..400, 1_u32..80).prop_map(|(at, slot, n)| Step::InsertStretch(at, slot, n)),
        6 => block().prop_map(Step::Remove),
        2 => (block(), 1_u32..80).prop_map(|(at, n)| Step::RemoveStretch(at, n)),
        2 => (block(), block()).prop_map(|(from, to)| Step::Range(from, to)),
        1 => Just(Step::Clear),
    ]
}

fn apply(step: &Step, map: &mut SlotMap, naive: &mut BTreeMap<u32, u32>) {
    match *step {
        Step::Insert(at, slot) => {
            let old = map.insert(Block(at), Slot(slot));
            assert_eq!(old, naive.insert(at, slot).map(Slot));
        }
        Step::InsertStretch(at, slot, blocks) => {
            for step in 0..blocks.min(u32::MAX - at) {
                let old = map.insert(Block(at + step), Slot(slot + step));
                assert_eq!(old, naive.insert(at + step, slot + step).map(Slot));
            }
        }
        Step::Remove(at) => assert_eq!(map.remove(Block(at)), naive.remove(&at).map(Slot)),
        Step::RemoveStretch(at, blocks) => {
            for at in at..at.saturating_add(blocks) {
                assert_eq!(map.remove(Block(at)), naive.remove(&at).map(Slot));
            }
        }
        Step::Range(from, to) => {
            let expected: Vec<_> = naive
                .iter()
                .filter(|&(&at, _)| from <= at && at < to)
                .map(|(&at, &slot)| (Block(at), Slot(slot)))
                .collect();
            assert_eq!(map.range(from..to).collect::<Vec<_>>(), expected);
            let runs: Vec<_> = map.runs(from..to).collect();
            let entries: Vec<_> = runs.iter().flat_map(|run| run.entries()).collect();
            assert_eq!(entries, expected);
            for pair in runs.windows(2) {
                let blocks_meet = pair[0].block.0 + pair[0].blocks == pair[1].block.0;
                let slots_meet = pair[0].slot.0 + pair[0].blocks == pair[1].slot.0;
                assert!(!(blocks_meet && slots_meet), "runs are maximal: {pair:?}");
            }
        }
        Step::Clear => {
            map.clear();
            naive.clear();
        }
    }
}

proptest! {
    #[test]
    fn a_slot_map_answers_like_a_plain_map(steps in prop::collection::vec(step(), 1..120)) {
        let mut map = SlotMap::new();
        let mut naive = BTreeMap::new();
        for step in &steps {
            apply(step, &mut map, &mut naive);
            map.check_invariants();
            prop_assert_eq!(map.len(), naive.len() as u64);
            prop_assert_eq!(map.is_empty(), naive.is_empty());
        }
        for at in (0..400).chain(u32::MAX - 300..u32::MAX) {
            prop_assert_eq!(map.get(Block(at)), naive.get(&at).copied().map(Slot));
        }
        let entries: Vec<_> = naive.iter().map(|(&at, &slot)| (Block(at), Slot(slot))).collect();
        prop_assert_eq!(&map.iter().collect::<Vec<_>>(), &entries);

        let bytes = postcard::to_allocvec(&map).unwrap();
        let again: SlotMap = postcard::from_bytes(&bytes).unwrap();
        again.check_invariants();
        prop_assert_eq!(&again, &map);
        prop_assert_eq!(map.into_entries().collect::<Vec<_>>(), entries);
    }

    #[test]
    fn bytes_that_no_map_wrote_are_refused_or_decode_to_a_sound_map(
        bytes in prop::collection::vec(any::<u8>(), 0..80),
    ) {
        if let Ok(map) = postcard::from_bytes::<SlotMap>(&bytes) {
            map.check_invariants();
            let again: SlotMap = postcard::from_bytes(&postcard::to_allocvec(&map).unwrap()).unwrap();
            prop_assert_eq!(again, map);
        }
    }

    #[test]
    fn a_damaged_byte_is_refused_or_decodes_to_a_sound_map(
        blocks in prop::collection::btree_map(0_u32..5000, 0_u32..9000, 1..60),
        at in any::<prop::sample::Index>(),
        flip in 1_u8..,
    ) {
        let mut map = SlotMap::new();
        for (&block, &slot) in &blocks {
            map.insert(Block(block), Slot(slot));
        }
        let mut bytes = postcard::to_allocvec(&map).unwrap();
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        if let Ok(map) = postcard::from_bytes::<SlotMap>(&bytes) {
            map.check_invariants();
        }
    }
}

/// The same pseudo-random numbers in every run (a 64-bit mix of a counter).
fn scattered(count: u64) -> impl Iterator<Item = u64> {
    (1..=count).map(|at| {
        let mixed = at.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    })
}

/// A block anywhere in a volume of 15 TiB.
fn block_of_15_tib(random: u64) -> Block {
    Block(u32::try_from(random % (15 << 28)).unwrap())
}

#[test]
fn random_blocks_of_15_tib_cost_at_most_10_bytes_each() {
    // Leaves split by fill and not by distance, so the cost of an entry does not depend on how many
    // there are: what holds for the three sizes here holds for 10 million.
    for entries in [30_000_u32, 100_000, 300_000] {
        let mut map = SlotMap::new();
        for (slot, random) in (0..entries).zip(scattered(u64::from(entries))) {
            map.insert(block_of_15_tib(random), Slot(slot));
        }
        map.check_invariants();
        let bytes = map.heap_bytes();
        assert!(bytes <= 10 * map.len(), "{bytes} bytes for {} entries", map.len());
    }
}

#[test]
fn a_dense_region_written_in_random_order_costs_at_most_12_bytes_each() {
    let mut map = SlotMap::new();
    for (slot, random) in (0_u32..).zip(scattered(200_000)) {
        map.insert(Block(u32::try_from(random % 100_000).unwrap()), Slot(slot));
    }
    map.check_invariants();
    assert!(map.heap_bytes() <= 12 * map.len(), "{} bytes", map.heap_bytes());
}

#[test]
fn a_long_sequential_stretch_costs_next_to_nothing_in_memory_and_on_disk() {
    for descending in [false, true] {
        let mut map = SlotMap::new();
        for at in 0..300_000 {
            let at = if descending { 299_999 - at } else { at };
            map.insert(Block(1_000_000 + at), Slot(7 + at));
        }
        map.check_invariants();
        assert_eq!(map.len(), 300_000);
        assert!(map.heap_bytes() < 1024, "{} bytes", map.heap_bytes());
        assert_eq!(
            map.runs(0..u32::MAX).collect::<Vec<_>>(),
            [SlotRun { block: Block(1_000_000), slot: Slot(7), blocks: 300_000 }]
        );
        assert!(postcard::to_allocvec(&map).unwrap().len() < 16);
    }
}

#[test]
fn emptying_a_large_map_in_any_order_gives_its_memory_back() {
    let blocks: Vec<_> = scattered(50_000).map(block_of_15_tib).collect();
    let mut ascending = blocks.clone();
    ascending.sort_unstable();
    let descending: Vec<_> = ascending.iter().rev().copied().collect();
    for order in [&blocks, &ascending, &descending] {
        let mut map = SlotMap::new();
        for (slot, &block) in (0..).zip(&blocks) {
            map.insert(block, Slot(slot));
        }
        let full = map.heap_bytes();
        for (at, &block) in order[..order.len() / 100 * 99].iter().enumerate() {
            map.remove(block);
            if at % 100 == 0 {
                map.check_invariants();
            }
        }
        assert!(map.heap_bytes() < full / 20, "{} of {full} bytes", map.heap_bytes());
        for &block in order {
            map.remove(block);
        }
        map.check_invariants();
        assert_eq!((map.len(), map.heap_bytes()), (0, 0));
    }
}

#[test]
fn stored_runs_that_leave_32_bits_or_hold_nothing_are_refused() {
    let decode = |runs: &[(u32, i64, u32)]| {
        postcard::from_bytes::<SlotMap>(&postcard::to_allocvec(runs).unwrap())
    };
    assert_eq!(decode(&[(5, 9, 2), (0, -11, 1)]).unwrap().len(), 3);
    assert_eq!(decode(&[(0, 0, u32::MAX)]).unwrap().len(), u64::from(u32::MAX));
    for bad in [
        &[(0, 0, 0)][..],
        &[(u32::MAX, 0, 1)],
        &[(1, 0, u32::MAX)],
        &[(0, 1, u32::MAX)],
        &[(0, -1, 1)],
        &[(0, i64::MAX, 1)],
        &[(0, 5, 1), (0, i64::MIN, 1)],
        &[(0, 0, 1), (0, 0, 1)],
        &[(9, 0, 1), (u32::MAX, 0, 1)],
    ] {
        assert!(decode(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn a_map_of_many_leaves_answers_like_a_plain_map_while_it_grows_and_shrinks() {
    let mut map = SlotMap::new();
    let mut naive = BTreeMap::new();
    for (step, random) in scattered(60_000).enumerate() {
        let block = u32::try_from(random >> 44).unwrap() % 20_000;
        let slot = u32::try_from(random & 0xFFFF).unwrap();
        // Mostly insertions at first, mostly removals later.
        if usize::try_from(random >> 20 & 0xFFFF).unwrap() > step {
            assert_eq!(map.insert(Block(block), Slot(slot)), naive.insert(block, slot).map(Slot));
        } else {
            assert_eq!(map.remove(Block(block)), naive.remove(&block).map(Slot));
        }
        if step % 1000 == 0 {
            map.check_invariants();
            let range = block..block + 3000;
            let expected = naive.range(range.clone()).map(|(&at, &slot)| (Block(at), Slot(slot)));
            assert!(map.range(range).eq(expected));
        }
    }
    assert!(map.iter().eq(naive.iter().map(|(&at, &slot)| (Block(at), Slot(slot)))));
}

#[test]
fn a_map_taken_apart_from_the_front_and_put_together_again_is_the_same() {
    let mut map = SlotMap::new();
    for number in 0..30_000 {
        map.insert(Block(number * 7 % 60_000), Slot(number));
    }
    let whole = map.clone();
    let mut again = SlotMap::new();
    let mut pieces = 0;
    while !map.is_empty() {
        let first = map.split_first();
        first.check_invariants();
        map.check_invariants();
        assert_eq!(first.len() + map.len() + again.len(), whole.len());
        assert!(again.append(&first));
        assert!(!again.append(&first), "its blocks are there already");
        pieces += 1;
    }
    again.check_invariants();
    assert!(again == whole);
    assert!(pieces > 2, "{pieces} pieces");
}

#[test]
fn a_clone_stays_as_it_was_when_the_map_changes() {
    let mut map = SlotMap::new();
    for number in 0..5000 {
        map.insert(Block(number * 3), Slot(number));
    }
    let clone = map.clone();
    let before: Vec<_> = clone.iter().collect();
    for number in 0..2500 {
        map.remove(Block(number * 6));
        map.insert(Block(number * 3 + 1), Slot(9000 + number));
    }
    assert!(clone.iter().eq(before));
    clone.check_invariants();
    map.check_invariants();
}

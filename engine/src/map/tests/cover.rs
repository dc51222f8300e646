//! `CoverMap` against one set per position.

use std::collections::BTreeSet;
use std::ops::Range;

use proptest::prelude::*;

use crate::map::cover::CoverMap;

/// Positions of the naive twin.
const POSITIONS: u32 = 40;

#[derive(Clone, Debug)]
struct Step {
    insert: bool,
    range: Range<u32>,
    item: u8,
}

fn range() -> impl Strategy<Value = Range<u32>> {
    (0..=POSITIONS, 0..=POSITIONS).prop_map(|(a, b)| a.min(b)..a.max(b))
}

fn step() -> impl Strategy<Value = Step> {
    (prop::bool::weighted(0.6), range(), 0_u8..5).prop_map(|(insert, range, item)| Step {
        insert,
        range,
        item,
    })
}

/// Every segment of `range` by the naive twin: neighbours with equal sets belong together.
fn segments(naive: &[BTreeSet<u8>], range: &Range<u32>) -> Vec<(Range<u32>, Vec<u8>)> {
    let mut segments: Vec<(Range<u32>, Vec<u8>)> = Vec::new();
    for position in range.clone() {
        let items: Vec<u8> = naive[position as usize].iter().copied().collect();
        match segments.last_mut() {
            Some((segment, known)) if *known == items => segment.end = position + 1,
            _ => segments.push((position..position + 1, items)),
        }
    }
    segments
}

proptest! {
    #[test]
    fn a_cover_map_answers_like_one_set_per_position(
        steps in prop::collection::vec(step(), 1..60),
        ranges in prop::collection::vec(range(), 60),
    ) {
        let mut map = CoverMap::new();
        let mut naive = vec![BTreeSet::new(); POSITIONS as usize];
        for (step, asked) in steps.iter().zip(&ranges) {
            if step.insert {
                map.insert(step.range.clone(), step.item);
            } else {
                map.remove(step.range.clone(), step.item);
            }
            for position in step.range.clone() {
                let set = &mut naive[position as usize];
                if step.insert { set.insert(step.item) } else { set.remove(&step.item) };
            }
            map.check_invariants();
            for (position, set) in (0..).zip(&naive) {
                prop_assert_eq!(map.at(position), set.iter().copied().collect::<Vec<_>>());
            }
            let found: Vec<_> = map
                .overlapping(asked.clone())
                .map(|(segment, items)| (segment, items.to_vec()))
                .collect();
            prop_assert_eq!(found, segments(&naive, asked));
            let deepest = asked.clone().map(|at| naive[at as usize].len()).max().unwrap_or(0);
            prop_assert_eq!(map.max_depth(asked.clone()), deepest);
            prop_assert_eq!(map.is_empty(), naive.iter().all(BTreeSet::is_empty));
        }
    }
}

#[test]
fn the_last_positions_of_32_bits_can_be_asked_for() {
    let mut map = CoverMap::new();
    map.insert(u32::MAX - 2..u32::MAX, 'a');
    map.check_invariants();
    assert_eq!(map.at(u32::MAX - 1), ['a']);
    assert!(map.at(u32::MAX).is_empty());
    let all: Vec<_> = map.overlapping(0..u32::MAX).collect();
    assert_eq!(all, [(0..u32::MAX - 2, &[][..]), (u32::MAX - 2..u32::MAX, &['a'][..])]);
    assert_eq!(map.overlapping(u32::MAX..u32::MAX).count(), 0);
}

#[test]
fn sixty_five_thousand_items_of_one_track_come_and_go_one_by_one() {
    let mut map = CoverMap::new();
    let items = 65_534_u32;
    for item in 0..items {
        map.insert(item..item + 1, item);
    }
    map.check_invariants();
    assert_eq!(map.overlapping(0..items).count(), items as usize);
    assert_eq!(map.max_depth(0..items), 1);
    for item in (0..items).rev() {
        assert_eq!(map.at(item), [item]);
        map.remove(item..item + 1, item);
    }
    map.check_invariants();
    assert!(map.is_empty());
}

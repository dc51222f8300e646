//! `TrackBitmap` against one flag per track.

use std::ops::Range;

use proptest::prelude::*;

use crate::map::track_bitmap::{TrackBitmap, TrackBitmapError};

/// Tracks of the naive twin: over two boundaries of the 65,536 that are compressed together.
const TRACKS: u32 = 132_000;

#[derive(Clone, Debug)]
enum Step {
    Set(Range<u32>),
    Clear(Range<u32>),
    /// Every n-th track of a range.
    SetEach(Range<u32>, usize),
    ClearEach(Range<u32>, usize),
    Compact,
    StoreAndLoad,
}

/// Short and long ranges, often at a boundary.
fn range() -> impl Strategy<Value = Range<u32>> {
    let start = prop_oneof![0..TRACKS, 65_500_u32..65_600, 131_000_u32..131_100];
    let len = prop_oneof![4 => 0_u32..40, 1 => 0..TRACKS];
    (start, len).prop_map(|(start, len)| start..(start + len).min(TRACKS))
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => range().prop_map(Step::Set),
        3 => range().prop_map(Step::Clear),
        2 => (range(), 2_usize..20).prop_map(|(range, step)| Step::SetEach(range, step)),
        1 => (range(), 2_usize..20).prop_map(|(range, step)| Step::ClearEach(range, step)),
        1 => Just(Step::Compact),
        1 => Just(Step::StoreAndLoad),
    ]
}

/// Sets the flags of `tracks` to `value`; returns how many were different.
fn assign(naive: &mut [bool], tracks: impl Iterator<Item = u32>, value: bool) -> u64 {
    let mut changed = 0;
    for track in tracks {
        changed += u64::from(naive[track as usize] != value);
        naive[track as usize] = value;
    }
    changed
}

fn apply(step: &Step, set: &mut TrackBitmap, naive: &mut [bool]) {
    match step.clone() {
        Step::Set(range) => assert_eq!(set.set(range.clone()), assign(naive, range, true)),
        Step::Clear(range) => assert_eq!(set.clear(range.clone()), assign(naive, range, false)),
        Step::SetEach(range, step) => {
            for track in range.clone().step_by(step) {
                set.set(track..track + 1);
            }
            assign(naive, range.step_by(step), true);
        }
        Step::ClearEach(range, step) => {
            for track in range.clone().step_by(step) {
                set.clear(track..track + 1);
            }
            assign(naive, range.step_by(step), false);
        }
        Step::Compact => set.compact(),
        Step::StoreAndLoad => *set = TrackBitmap::decode(&set.encode(), TRACKS).unwrap(),
    }
}

/// The maximal runs of tracks in `range` whose flag is `value`.
fn runs(naive: &[bool], range: Range<u32>, value: bool) -> Vec<Range<u32>> {
    let mut runs: Vec<Range<u32>> = Vec::new();
    for track in range {
        if naive[track as usize] == value {
            match runs.last_mut() {
                Some(run) if run.end == track => run.end += 1,
                _ => runs.push(track..track + 1),
            }
        }
    }
    runs
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn a_track_bitmap_answers_like_one_flag_per_track(
        steps in prop::collection::vec((step(), range(), 1_u32..9), 1..14),
    ) {
        let mut set = TrackBitmap::new();
        let mut naive = vec![false; TRACKS as usize];
        for (step, asked, tracks_max) in &steps {
            apply(step, &mut set, &mut naive);
            set.check_invariants();
            prop_assert_eq!(set.count(), naive.iter().filter(|&&flag| flag).count() as u64);
            prop_assert_eq!(set.is_empty(), set.count() == 0);
            for range in [asked.clone(), 0..TRACKS] {
                let unset = runs(&naive, range.clone(), false);
                let in_set = runs(&naive, range.clone(), true);
                let expected: u64 = in_set.iter().map(|run| run.len() as u64).sum();
                prop_assert_eq!(set.count_within(range.clone()), expected);
                prop_assert_eq!(set.set_runs(range.clone()).collect::<Vec<_>>(), in_set);
                prop_assert_eq!(set.contains_all(range.clone()), unset.is_empty());
                let next = unset.first().map(|run| run.start);
                prop_assert_eq!(set.next_unset(range.start, range.end), next);
                let whole: Vec<_> = set.unset_runs(range.clone(), u32::MAX).collect();
                prop_assert_eq!(&whole, &unset);
                let cut = |run: &Range<u32>| {
                    let end = run.end;
                    run.clone()
                        .step_by(*tracks_max as usize)
                        .map(move |start| start..(start + tracks_max).min(end))
                        .collect::<Vec<_>>()
                };
                let parts: Vec<_> = unset.iter().flat_map(cut).collect();
                prop_assert_eq!(set.unset_runs(range, *tracks_max).collect::<Vec<_>>(), parts);
            }
            prop_assert_eq!(set.contains(asked.start.min(TRACKS - 1)), naive[asked.start.min(TRACKS - 1) as usize]);
        }
        let bytes = postcard::to_allocvec(&set).unwrap();
        prop_assert_eq!(postcard::from_bytes::<TrackBitmap>(&bytes).unwrap(), set);
    }

    #[test]
    fn damaged_bytes_are_refused_or_decode_to_a_sound_set(
        steps in prop::collection::vec(step(), 1..6),
        damage in prop::collection::vec((any::<prop::sample::Index>(), 1_u8..), 1..4),
        near_the_start in any::<bool>(),
    ) {
        let mut set = TrackBitmap::new();
        let mut naive = vec![false; TRACKS as usize];
        for step in &steps {
            apply(step, &mut set, &mut naive);
        }
        let mut bytes = set.encode();
        for (at, flip) in &damage {
            // The header decides most: half of the cases damage only that.
            let len = if near_the_start { bytes.len().min(40) } else { bytes.len() };
            bytes[at.index(len)] ^= flip;
        }
        if let Ok(mut set) = TrackBitmap::decode(&bytes, TRACKS) {
            set.check_invariants();
            let counted: u64 = set.set_runs(0..TRACKS).map(|run| run.len() as u64).sum();
            prop_assert_eq!(counted, set.count());
            set.clear(10..70_000);
            set.set(60_000..66_000);
            set.check_invariants();
            prop_assert_eq!(&TrackBitmap::decode(&set.encode(), TRACKS).unwrap(), &set);
        }
    }
}

#[test]
fn every_cut_of_an_encoded_set_is_refused() {
    let mut set = TrackBitmap::new();
    set.set(5..9);
    set.set(70_000..140_000);
    let bytes = set.encode();
    for len in 0..bytes.len() {
        assert!(TrackBitmap::decode(&bytes[..len], u32::MAX).is_err(), "the first {len} bytes");
    }
    let mut longer = bytes;
    longer.push(0);
    assert!(matches!(TrackBitmap::decode(&longer, u32::MAX), Err(TrackBitmapError::Trailing(1))));
}

#[test]
fn tracks_that_do_not_exist_are_refused() {
    let mut set = TrackBitmap::new();
    set.set(7..8);
    assert!(TrackBitmap::decode(&set.encode(), 8).is_ok());
    let refused = TrackBitmap::decode(&set.encode(), 7);
    assert!(matches!(refused, Err(TrackBitmapError::NoSuchTrack { track: 7, tracks: 7 })));
    let mut all = Vec::new();
    roaring::RoaringBitmap::from([u32::MAX]).serialize_into(&mut all).unwrap();
    assert!(postcard::from_bytes::<TrackBitmap>(&postcard::to_allocvec(&all).unwrap()).is_err());
}

#[test]
fn all_tracks_of_the_largest_volume_take_little_to_store() {
    let mut set = TrackBitmap::new();
    let tracks = 15 << 24;
    set.set(0..tracks);
    assert_eq!(set.next_unset(0, tracks), None);
    assert_eq!(set.next_unset(0, u32::MAX), Some(tracks));
    assert!(set.encode().len() < 64 << 10, "{} bytes", set.encode().len());
}

#[test]
fn the_lowest_tracks_are_split_off_until_none_is_left() {
    let mut rest = TrackBitmap::new();
    let tracks = [7..9, 1000..1200, u32::MAX - 1..u32::MAX];
    for run in &tracks {
        rest.set(run.clone());
    }
    let mut found = Vec::new();
    while !rest.is_empty() {
        let first = rest.split_first(100);
        found.push(first.set_runs(0..u32::MAX).collect::<Vec<_>>());
    }
    assert_eq!(found.concat(), [7..9, 1000..1100, 1100..1200, u32::MAX - 1..u32::MAX]);
    assert!(rest.split_first(1).is_empty());
}

//! The statements of the white paper beside its tables (semantics 4.3), in that section's order: one test each.

use std::time::{Duration, Instant};

use flashtrack_engine::admin::{CopyMode, CopyState, Profile};

use crate::asking::{Establish, copy, nocopy, withdraw_onto};
use crate::store::{BOTH, Store, letters, pair, store};

#[test]
fn s_01_the_target_takes_reads_and_writes_right_after_the_establish() {
    const TRACKS: u32 = 512;
    for profile in BOTH {
        for mode in [CopyMode::Copy, CopyMode::Nocopy] {
            let store = pair(profile, TRACKS);
            store.establish(copy("s", "t").mode(mode));
            let last = TRACKS - 1;
            assert_eq!(store.read("t", last..TRACKS), "A");
            store.write("t", last, "T");
            store.write("s", last, "B");
            assert_eq!(store.read("t", last - 1..TRACKS), "AT");
            assert_eq!(store.read("s", last - 1..TRACKS), "AB");
        }
    }
}

#[test]
fn s_02_a_copy_ends_by_itself_and_both_volumes_are_free() {
    for profile in BOTH {
        let store = pair(profile, 64);
        let id = store.establish(copy("s", "t"));
        store.until_ended(id);
        assert_eq!((store.act("s"), store.act("t")), (0, 0));
        let back = store.establish(copy("t", "s"));
        store.until_ended(back);
    }
}

#[test]
fn s_02_a_copy_ends_by_itself_also_when_its_target_is_overwritten_meanwhile() {
    const TRACKS: u32 = 512;
    for profile in BOTH {
        let store = pair(profile, TRACKS);
        let id = store.establish(copy("s", "t"));
        store.write("t", 0, &letters('T', TRACKS));
        store.until_ended(id);
        store.drain();
        // The background copy has put nothing over what was written to the target (D17).
        store.expect("t", &letters('T', TRACKS));
    }
}

#[test]
fn s_03_at_the_end_of_a_copy_whose_target_nobody_wrote_both_are_identical() {
    for profile in BOTH {
        let store = pair(profile, 26);
        let letters: String = ('A'..='Z').collect();
        store.write("s", 0, &letters);
        let id = store.establish(copy("s", "t"));
        store.until_ended(id);
        assert_eq!(store.server.image("t"), store.server.image("s"));
        store.expect("t", &letters);
    }
}

#[test]
fn s_04_nocopy_without_writes_copies_nothing() {
    for profile in BOTH {
        let store = pair(profile, 8);
        let id = store.establish(nocopy("s", "t"));
        let store = store.restarted();
        assert_eq!(store.left(id), 8);
        assert_eq!(store.withdrawn("t", 8), "xxxxxxxx");
    }
}

#[test]
fn s_05_the_establish_of_a_full_copy_does_not_wait_for_the_copy() {
    // Half a GiB takes far longer to copy than its establish may last.
    const TRACKS: u32 = 8192;
    for profile in BOTH {
        let store = store(profile);
        store.volume("s", TRACKS);
        store.volume("t", TRACKS);
        let asked = Instant::now();
        let made = store.copies_of(&copy("s", "t").command());
        let took = asked.elapsed();
        assert_eq!(made[0].state, CopyState::FCopy);
        assert!(made[0].tracks_left > TRACKS / 2, "{made:?}");
        assert!(took < Duration::from_secs(2), "{took:?}");
        store.withdraw(withdraw_onto("t"));
    }
}

#[test]
fn s_06_a_space_efficient_relationship_stays_until_it_is_withdrawn() {
    for profile in BOTH {
        let store = pair(profile, 4);
        store.thin_volume("thin", 4);
        let id = store.establish(nocopy("s", "thin").space_efficient());
        store.write("s", 0, "BBBB");
        store.drain();
        store.expect("thin", "AAAA");
        let store = store.restarted();
        assert_eq!(store.show(id).ended, None, "under {}", store.name());
        store.withdraw(withdraw_onto("thin"));
        assert!(store.show(id).ended.is_some());
        // Its space is given back at the withdraw (D8).
        store.until("the space", || store.used() == 0);
    }
}

#[test]
fn s_07_a_space_efficient_copy_takes_the_space_of_what_was_changed() {
    for profile in BOTH {
        let store = pair(profile, 8);
        store.thin_volume("thin", 8);
        store.establish(nocopy("s", "thin").space_efficient());
        assert_eq!(store.used(), 0);
        store.write_a_part("s", &[1, 3, 5], 'B');
        assert_eq!(store.used(), 3 * 4096, "three blocks of the source");
        store.write_a_part("s", &[1, 3, 5], 'C');
        assert_eq!(store.used(), 3 * 4096, "the same blocks again");
        store.write_a_part("thin", &[7], 'T');
        assert_eq!(store.used(), 4 * 4096, "and one of the target");
    }
}

#[test]
fn s_08_an_extent_is_copied_to_another_of_the_same_volume() {
    for profile in BOTH {
        for mode in [CopyMode::Copy, CopyMode::Nocopy] {
            let store = pair(profile, 8);
            store.write("s", 0, "ABCDEFGH");
            store.establish(copy("s", "s").tracks(0, 5, 3).mode(mode));
            store.write("s", 0, "xyz");
            store.expect("s", "xyzDEABC");
            store.write("s", 6, "w");
            store.drain();
            store.expect("s", "xyzDEAwC");
        }
    }
}

/// Establishes a layout of figure 7 from volumes of letters, overwrites the sources, compares the targets.
fn figure_7(what: fn() -> Establish, images: &[(&str, &str)]) {
    for profile in BOTH {
        for mode in [CopyMode::Copy, CopyMode::Nocopy] {
            let store = sources(profile);
            let ids = store.establish_all(what().mode(mode));
            for source in ["s", "u"] {
                store.write(source, 0, &letters('z', 8));
            }
            for (target, image) in images {
                store.expect(target, image);
            }
            if mode == CopyMode::Copy {
                for &id in &ids {
                    store.until_ended(id);
                }
            } else {
                store.drain();
            }
            for (target, image) in images {
                store.expect(target, image);
            }
        }
    }
}

fn sources(profile: Profile) -> Store {
    let store = store(profile);
    for (volume, letters) in
        [("s", "ABCDEFGH"), ("u", "IJKLMNOP"), ("t", "tttttttttt"), ("v", "vvvvvvvvvv")]
    {
        store.volume(volume, u32::try_from(letters.len()).expect("few"));
        store.write(volume, 0, letters);
    }
    store
}

#[test]
fn s_09_figure_7_two_disjoint_extents_to_one_target_volume() {
    figure_7(|| copy("s", "t").tracks(1, 1, 2).tracks(5, 6, 3), &[("t", "tBCtttFGHt")]);
}

#[test]
fn s_10_figure_7_two_disjoint_extents_to_two_target_volumes() {
    let what = || copy("s", "t").tracks(0, 0, 3).and("s", "v").tracks(4, 6, 4);
    figure_7(what, &[("t", "ABCttttttt"), ("v", "vvvvvvEFGH")]);
}

#[test]
fn s_11_figure_7_two_source_volumes_to_one_target_volume() {
    let what = || copy("s", "t").tracks(0, 0, 3).and("u", "t").tracks(2, 3, 4);
    figure_7(what, &[("t", "ABCKLMNttt")]);
}

#[test]
fn s_12_figure_7_three_overlapping_extents_to_one_target_volume() {
    let what = || copy("s", "t").tracks(0, 0, 3).tracks(1, 3, 3).tracks(2, 6, 3);
    figure_7(what, &[("t", "ABCBCDCDEt")]);
}

#[test]
fn s_13_figure_7_overlapping_extents_to_two_target_volumes() {
    let what = || copy("s", "t").tracks(0, 0, 5).and("s", "v").tracks(3, 2, 5);
    figure_7(what, &[("t", "ABCDEttttt"), ("v", "vvDEFGHvvv")]);
}

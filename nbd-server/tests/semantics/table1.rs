//! Table 1 of the white paper, what FlashCopy can do: one test or more per row, named after its id.
//!
//! T1-07 and T1-08 are about neighbouring products and come with them.

use flashtrack_engine::admin::{Command, CopyMode, Incremental, Profile, RefusalKind};
use flashtrack_engine::geometry::VolumeType;

use crate::asking::{
    ckd, copy, dataset, dataset_copy, nocopy, on_device, withdraw_from, withdraw_id, withdraw_onto,
};
use crate::store::{BOTH, TRACK, letters, pair, store, store_with};

/// Tracks that one copy table serves.
const TABLE_TRACKS: u32 = 20_448;

#[test]
fn t1_01_an_establish_past_the_budget_of_copy_tables_fails_and_harms_no_copy() {
    for profile in BOTH {
        let store = store_with(profile, &["--copy-tables", "3"]);
        store.volume("s", 4);
        store.write("s", 0, "AAAA");
        for target in ["t1", "t2", "t3", "t4"] {
            store.volume(target, 4);
        }
        let first = store.establish(nocopy("s", "t1"));
        store.establish_all(nocopy("s", "t2").and("s", "t3"));
        assert_eq!((store.status().copy_tables_used, store.status().copy_tables), (3, 3));

        let fourth = nocopy("s", "t4").command();
        store.refused_as(RefusalKind::NoResources, &fourth, &["table", "3"]);

        store.write("s", 0, "BBBB");
        for target in ["t1", "t2", "t3"] {
            store.expect(target, "AAAA");
        }
        store.withdraw(withdraw_id(first));
        store.establish(nocopy("s", "t4"));
        store.expect("t4", "BBBB");
    }
}

#[test]
fn t1_01_a_table_serves_20_448_tracks_and_recording_changes_takes_two_more() {
    for profile in BOTH {
        let store = store_with(profile, &["--copy-tables", "100"]);
        for (tracks, incremental, tables) in [
            (1, Incremental::No, 1),
            (TABLE_TRACKS, Incremental::No, 1),
            (TABLE_TRACKS + 1, Incremental::No, 2),
            (1, Incremental::Yes, 3),
            (TABLE_TRACKS + 1, Incremental::Yes, 6),
        ] {
            let before = store.status().copy_tables_used;
            let (s, t) = (format!("s{tracks}{incremental:?}"), format!("t{tracks}{incremental:?}"));
            store.volume(&s, tracks);
            store.volume(&t, tracks);
            store.establish(nocopy(&s, &t).incremental(incremental));
            let used = store.status().copy_tables_used - before;
            assert_eq!(used, tables, "{tracks} tracks, {incremental:?}, {}", store.name());
        }
    }
}

#[test]
fn t1_02_a_volume_is_copied_to_one_as_large_or_larger_and_never_to_a_smaller_one() {
    for profile in BOTH {
        for mode in [CopyMode::Copy, CopyMode::Nocopy] {
            let store = pair(profile, 4);
            for (name, tracks) in [("larger", 6), ("smaller", 3)] {
                store.volume(name, tracks);
                store.write(name, 0, &letters('y', tracks));
            }
            let smaller = copy("s", "smaller").mode(mode).command();
            store.refused_as(RefusalKind::Size, &smaller, &["`s`", "`smaller`", "4", "3"]);
            store.expect("smaller", "yyy");

            store.establish(copy("s", "t").mode(mode));
            store.establish(copy("s", "larger").mode(mode));
            store.expect("t", "AAAA");
            store.expect("larger", "AAAAyy");
        }
    }
}

#[test]
fn t1_03_pairs_work_inside_one_control_unit_and_across_two() {
    for profile in BOTH {
        let store = store(profile);
        for (name, device) in [("s", 0x0A00), ("same", 0x0A01), ("other", 0x0B00)] {
            store.ask(&on_device(name, 2 * TRACK as u64, device));
        }
        store.write("s", 0, "AB");
        for target in ["same", "other"] {
            let id = store.establish(copy("s", target));
            store.until_ended(id);
            store.expect(target, "AB");
        }
    }
}

#[test]
fn t1_04_data_appears_at_the_target_range_alone_at_the_same_place_or_another() {
    for profile in BOTH {
        for mode in [CopyMode::Copy, CopyMode::Nocopy] {
            for (what, image) in [
                (copy("s", "t"), "ABCDEFGH"),
                (copy("s", "t").tracks(2, 2, 3), "xxCDExxx"),
                (copy("s", "t").tracks(0, 5, 3), "xxxxxABC"),
                (copy("s", "t").tracks(7, 0, 1), "Hxxxxxxx"),
                (copy("s", "t").tracks(1, 1, 2).tracks(6, 4, 2), "xBCxGHxx"),
            ] {
                let store = pair(profile, 8);
                store.write("s", 0, "ABCDEFGH");
                store.establish_all(what.mode(mode));
                store.write("s", 0, "zzzzzzzz");
                store.expect("t", image);
                store.drain();
                store.expect("t", image);
                store.expect("s", "zzzzzzzz");
            }
        }
    }
}

#[test]
fn t1_05_each_dataset_is_a_relationship_and_a_whole_volume_is_one() {
    for profile in BOTH {
        let store = pair(profile, 8);
        store.ask(&dataset("first", &[("s", 0, 2)]));
        store.ask(&dataset("second", &[("s", 4, 3)]));
        store.ask(&Command::DatasetCopy(dataset_copy("first", &["t"])));
        store.ask(&Command::DatasetCopy(dataset_copy("second", &["t"])));
        assert_eq!(store.extents("s"), [(0, 2), (4, 3)]);
        assert!(store.live("s").iter().all(|copy| !copy.whole));

        store.withdraw(withdraw_id(store.live("s")[0].id));

        assert_eq!(store.extents("s"), [(4, 3)]);
        store.write("s", 0, "BBBBBBBB");
        store.expect("t", "xxxxAAAx");
        store.withdraw(withdraw_from("s"));
        store.establish(nocopy("s", "t"));
        assert_eq!(store.extents("s"), [(0, 8)]);
        assert!(store.live("s")[0].whole);
    }
}

#[test]
fn t1_06_sixteen_copies_of_one_extent_fit_and_one_write_serves_them_all() {
    let store = store(Profile::Xp7);
    store.volume("s", 4);
    store.write("s", 0, "ABCD");
    for number in 1..=17 {
        store.volume(&format!("t{number}"), 4);
    }
    let onto = |number: u32| nocopy("s", &format!("t{number}")).tracks(1, 1, 2);
    let ids: Vec<u32> = (1..=16).map(|number| store.establish(onto(number))).collect();
    store.refused_as(RefusalKind::TooManyCopies, &onto(17).command(), &["`s`", "17", "16"]);

    store.write("s", 1, "z");

    for (number, &id) in (1..).zip(&ids) {
        assert_eq!(store.left(id), 1, "the write copied one track to each target");
        assert_eq!(store.read(&format!("t{number}"), 0..4), ".BC.");
    }
    store.withdraw(withdraw_id(ids[7]));
    store.establish(onto(17));
    store.expect("t17", ".zC.");
    store.expect("t16", ".BC.");
}

#[test]
fn t1_11_up_to_32_extents_of_one_command_go_to_places_of_their_own() {
    for profile in BOTH {
        let store = pair(profile, 33);
        let source: String = (0..33).map(|track| char::from(b'A' + track)).collect();
        store.write("s", 0, &source);
        // Backwards, but for the last track.
        let some = |extents: u32| {
            (0..extents).fold(copy("s", "t"), |what, track| what.tracks(track, 31 - track % 32, 1))
        };
        store.refused_as(RefusalKind::Invalid, &some(33).command(), &["33", "32"]);

        for id in store.establish_all(some(32)) {
            store.until_ended(id);
        }
        let image: String = source.chars().take(32).collect::<Vec<_>>().into_iter().rev().collect();
        store.expect("t", &format!("{image}x"));
    }
}

#[test]
fn t1_12_a_copies_from_the_volume_end_when_they_are_complete() {
    const TRACKS: u32 = 1024;
    for profile in BOTH {
        let store = pair(profile, TRACKS);
        let id = store.establish(copy("s", "t"));
        store.withdraw(withdraw_from("s").ddsw());
        store.until_ended(id);
        assert_eq!(store.live("s"), []);
        store.write("s", 0, &letters('B', TRACKS));
        store.expect("t", &letters('A', TRACKS));
    }
}

#[test]
fn t1_12_b_nocopy_ones_are_switched_to_copy_and_end_when_they_are_complete() {
    for profile in BOTH {
        let store = pair(profile, 8);
        let id = store.establish(nocopy("s", "t"));
        assert_eq!(store.left(id), 8);
        store.withdraw(withdraw_from("s").ddsw());
        store.until_ended(id);
        store.write("s", 0, "BBBBBBBB");
        store.expect("t", "AAAAAAAA");
    }
}

#[test]
fn t1_12_c_those_onto_the_volume_end_at_once() {
    for profile in BOTH {
        let store = pair(profile, 8);
        store.volume("u", 8);
        let onto = store.establish(nocopy("s", "t").tracks(0, 0, 4));
        let from = store.establish(nocopy("t", "u").tracks(4, 4, 4));

        // The target that is named beside is ignored.
        store.withdraw(withdraw_from("t").onto("s").ddsw());

        assert!(store.show(onto).ended.is_some(), "it has ended when the command is answered");
        store.until_ended(from);
        store.expect("t", "xxxxxxxx");
        store.expect("u", "....xxxx");
    }
}

#[test]
fn t1_12_d_an_incremental_one_is_copied_and_stays() {
    for profile in BOTH {
        let store = pair(profile, 8);
        let id = store.establish(nocopy("s", "t").incremental(Incremental::Yes));
        store.withdraw(withdraw_from("s").ddsw());
        store.until_complete(id);
        assert!(store.show(id).incremental);
        assert_eq!(store.withdrawn("t", 8), "AAAAAAAA");
    }
}

#[test]
fn t1_12_e_a_space_efficient_one_stays_and_the_others_are_copied() {
    for profile in BOTH {
        let store = pair(profile, 8);
        store.thin_volume("thin", 8);
        let thin = store.establish(nocopy("s", "thin").space_efficient());
        let full = store.establish(nocopy("s", "t"));
        // Whether it is told as a failure, sources leave open; the other copies are started (semantics 1.3).
        let _ = store.server.try_command(&withdraw_from("s").ddsw().command());
        store.until_ended(full);
        assert_eq!(store.show(thin).ended, None, "under {}", store.name());
        store.write("s", 0, "BBBBBBBB");
        store.expect("thin", "AAAAAAAA");
    }
}

#[test]
fn t1_13_without_ddsw_those_onto_the_volume_end_at_once_and_those_from_it_stay() {
    for profile in BOTH {
        let store = pair(profile, 8);
        store.volume("u", 8);
        let onto = store.establish(nocopy("s", "t").tracks(0, 0, 4));
        let from = store.establish(nocopy("t", "u").tracks(4, 4, 4));

        store.withdraw(withdraw_onto("t"));

        assert!(store.show(onto).ended.is_some());
        assert_eq!(store.show(from).ended, None);
        store.write("t", 4, "yyyy");
        store.expect("t", "xxxxyyyy");
        store.expect("u", "....xxxx");
    }
}

#[test]
fn t1_13_named_with_its_source_only_what_lies_between_the_two_ends() {
    for profile in BOTH {
        let store = pair(profile, 8);
        store.volume("u", 8);
        store.write("u", 0, "UUUUUUUU");
        let named = store.establish(nocopy("s", "t").tracks(0, 0, 4));
        let other = store.establish(nocopy("u", "t").tracks(4, 4, 4));

        store.withdraw(withdraw_from("s").onto("t"));

        assert!(store.show(named).ended.is_some());
        assert_eq!(store.show(other).ended, None);
        store.expect("t", "xxxxUUUU");
        // Nothing matches any more: that ends normally and changes nothing.
        store.withdraw(withdraw_from("s").onto("t"));
        assert_eq!(store.show(other).ended, None);
    }
}

#[test]
fn t1_14_ranges_at_different_places_withdraw_the_relationship_that_they_name() {
    for profile in BOTH {
        let store = pair(profile, 12);
        store.write("s", 0, "AAAABBBBCCCC");
        let [first, second, third] = store
            .establish_all(nocopy("s", "t").tracks(0, 8, 4).tracks(4, 0, 4).tracks(8, 4, 4))[..]
        else {
            panic!("three relationships")
        };

        // Of target tracks; the source range beside them does not select.
        store.withdraw(withdraw_onto("t").tracks(8, 0, 4));
        let ended = [first, second, third].map(|id| store.show(id).ended.is_some());
        assert_eq!(ended, [false, true, false], "by target range under {}", store.name());

        // With DDSW of source tracks; the target range beside them does not select.
        store.withdraw(withdraw_from("s").ddsw().tracks(8, 8, 4));
        store.until_ended(third);
        assert_eq!(store.show(first).ended, None);
        store.expect("t", "xxxxCCCCAAAA");
    }
}

#[test]
fn t1_14_with_ddsw_source_ranges_select_those_onto_the_volume_too() {
    for profile in BOTH {
        let store = pair(profile, 8);
        store.volume("u", 8);
        let [first, second] =
            store.establish_all(nocopy("s", "t").tracks(4, 0, 2).tracks(4, 2, 2))[..]
        else {
            panic!("two relationships")
        };
        let from = store.establish(nocopy("t", "u").tracks(4, 4, 4));

        // Tracks 0 and 1 of `t`: the target range beside them is ignored.
        store.withdraw(withdraw_from("t").ddsw().tracks(0, 2, 2));

        assert!(store.show(first).ended.is_some(), "it lies in the range, under {}", store.name());
        assert_eq!(store.show(second).ended, None, "it does not, under {}", store.name());
        assert_eq!(store.left(from), 4, "nor does this one");
    }
}

#[test]
fn t1_15_the_counts_of_both_roles_follow_establish_and_withdraw() {
    for profile in BOTH {
        let store = pair(profile, 8);
        store.volume("u", 8);
        let acts = || ["s", "t", "u"].map(|name| store.act(name));
        assert_eq!(acts(), [0, 0, 0]);
        store.establish_all(nocopy("s", "t").tracks(0, 0, 1).tracks(0, 1, 1));
        assert_eq!(acts(), [2, 2, 0]);
        store.establish(nocopy("t", "u").tracks(4, 4, 2));
        assert_eq!(acts(), [2, 3, 1]);
        // Once for each role (D21).
        store.establish(nocopy("u", "u").tracks(0, 7, 1));
        assert_eq!(acts(), [2, 3, 3]);
        store.withdraw(withdraw_onto("t"));
        assert_eq!(acts(), [0, 1, 3]);
        store.withdraw(withdraw_onto("u"));
        assert_eq!(acts(), [0, 0, 0]);
    }
    let store = store(Profile::Xp7);
    store.ask(&ckd("s", VolumeType::M3390_3, None));
    assert_eq!(store.shown_volume("s").relationships_max, 65_534);
}

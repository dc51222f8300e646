//! Table 2 of the white paper, where HP's and IBM's arrays differ: one test or more per row, named after its id.
//!
//! T2-05 and T2-08 to T2-11 are about remote mirrors and come with them. FCWITHDR's rows are in `table2_withdraw`.

use flashtrack_engine::admin::{CopyMode, EstablishAction, Incremental, Profile, RefusalKind};
use flashtrack_engine::geometry::VolumeType;

use crate::asking::{
    Establish, ckd, convert, counted, incremental, nocopy, withdraw_id, withdraw_onto,
};
use crate::store::{BOTH, Store, at, letters, pair, store};

#[test]
fn t2_01_a_read_of_an_uncopied_target_track_copies_it_under_xp7_and_not_under_ibm() {
    for (profile, left, physical) in [(Profile::Xp7, 3, "xxAxA"), (Profile::Ibm, 5, "xxxxx")] {
        let store = pair(profile, 5);
        let id = store.establish(nocopy("s", "t"));
        assert_eq!(store.left(id), 5);
        assert_eq!(store.read("t", 2..3), "A");
        // A part of a track is enough.
        assert_eq!(store.disk("t").read(at(4), 512), Ok(vec![b'A'; 512]));
        store.until_left(id, left);
        assert_eq!(store.left(id), left, "under {}", store.name());
        assert_eq!(store.withdrawn("t", 5), physical, "on the target under {}", store.name());
    }
}

#[test]
fn t2_01_a_read_of_a_target_volume_outside_of_its_extents_copies_nothing() {
    for profile in BOTH {
        let store = pair(profile, 6);
        let id = store.establish(nocopy("s", "t").tracks(0, 2, 2));
        assert_eq!(store.read("t", 0..2), "xx");
        assert_eq!(store.read("t", 4..6), "xx");
        assert_eq!(store.left(id), 2);
        store.write("s", 0, "BBBBBB");
        assert_eq!(store.left(id), 0);
        store.expect("t", "xxAAxx");
    }
}

#[test]
fn t2_01_a_read_of_a_space_efficient_target_copies_nothing() {
    for profile in BOTH {
        let store = pair(profile, 4);
        store.thin_volume("thin", 4);
        let id = store.establish(nocopy("s", "thin").space_efficient());
        store.expect("thin", "AAAA");
        assert_eq!((store.left(id), store.used()), (4, 0), "under {}", store.name());
    }
}

/// Makes every track of a NOCOPY relationship from `s` to `t`, of five tracks, be copied on demand.
fn copy_on_demand(store: &Store) {
    store.write("s", 0, "BB");
    store.write_a_part("s", &[2], 'B');
    store.write("t", 3, "T");
    store.write_a_part("t", &[4], 'T');
    store.drain();
}

#[test]
fn t2_02_on_demand_copying_of_every_track_ends_the_relationship_under_ibm_only() {
    let store = pair(Profile::Xp7, 5);
    let id = store.establish(nocopy("s", "t"));
    copy_on_demand(&store);
    store.until_left(id, 0);
    assert_eq!(store.show(id).ended, None, "xp7 keeps it");
    store.withdraw(withdraw_id(id));
    assert!(store.show(id).ended.is_some());
    assert_eq!(store.read("t", 0..5), "AAAT?");

    let store = pair(Profile::Ibm, 5);
    let id = store.establish(nocopy("s", "t"));
    copy_on_demand(&store);
    store.until_ended(id);
    assert_eq!(store.live("s"), []);
    assert_eq!(store.read("t", 0..5), "AAAT?");
}

#[test]
fn t2_02_under_xp7_reads_of_every_track_leave_it_and_nocopy_to_copy_ends_it() {
    let store = pair(Profile::Xp7, 5);
    let id = store.establish(nocopy("s", "t"));
    store.expect("t", "AAAAA");
    store.until_left(id, 0);
    assert_eq!(store.show(id).ended, None);
    store.ask(&convert("s"));
    store.until_ended(id);
}

#[test]
fn t2_03_so_many_copies_of_a_track_fit_and_one_more_is_refused() {
    for (profile, most) in [(Profile::Xp7, 16), (Profile::Ibm, 12)] {
        let store = pair(profile, 5);
        store.volume("many", 60);
        // Extents that begin at track 0, 1 or 2: all of them have track 2.
        let onto = |number: u32| nocopy("s", "many").tracks(number % 3, 3 * number, 3);
        for number in 0..most {
            store.establish(onto(number));
        }
        let more = onto(most).command();
        let numbers = [most.to_string(), (most + 1).to_string()];
        store.refused_as(RefusalKind::TooManyCopies, &more, &["`s`", &numbers[0], &numbers[1]]);
        // Track 0 has fewer.
        store.establish(nocopy("s", "many").tracks(0, 56, 1));
        store.write("s", 0, "BBBBB");
        let image = store.read("many", 0..3 * most);
        assert_eq!(image, letters('A', 3 * most), "under {}", store.name());
    }
}

#[test]
fn t2_04_a_volume_may_have_as_many_relationships_as_its_size_allows() {
    for (volume_type, cylinders, ibm) in [
        (VolumeType::M3390_3, 3_339, 951),
        (VolumeType::M3390_9, 10_017, 2_719),
        (VolumeType::M3390_27, 28_356, 7_615),
        (VolumeType::M3390_27, 32_760, 8_839),
        (VolumeType::M3390A, 1_182_006, 65_534),
    ] {
        for (profile, most) in [(Profile::Xp7, 65_534), (Profile::Ibm, ibm)] {
            let store = store(profile);
            store.ask(&ckd("volume", volume_type, Some(cylinders)));
            let max = store.shown_volume("volume").relationships_max;
            assert_eq!(max, most, "{volume_type}, {cylinders} cylinders, {}", store.name());
        }
    }
}

#[test]
fn t2_04_under_ibm_the_relationship_past_that_number_is_refused() {
    /// 68 * ceil(15 / 3808) - 1
    const MOST: u32 = 67;
    let store = store(Profile::Ibm);
    store.ask(&ckd("s", VolumeType::M3390A, Some(1)));
    store.ask(&ckd("t", VolumeType::M3390A, Some(600)));
    let some = |targets: std::ops::Range<u32>| {
        targets.fold(nocopy("s", "t"), |what, track| what.tracks(track % 15, track, 1))
    };
    for targets in [0..32, 32..64, 64..MOST] {
        store.establish_all(some(targets));
    }
    assert_eq!(store.act("s"), MOST);
    let more = some(MOST..MOST + 1).command();
    store.refused_as(RefusalKind::VolumeRelationships, &more, &["`s`", "67"]);
    store.withdraw(withdraw_onto("t").tracks(0, 0, 1));
    store.establish_all(some(MOST..MOST + 1));
}

/// Words of the refusal of a reverse for what the relationship relied on.
const NOCOPY: &[&str] = &["relationship", "NOCOPY"];

/// Reverse Restore from `t` back to `s`.
fn reverse() -> Establish {
    incremental("t", "s")
}

#[test]
fn t2_06_a_reverse_after_copying_on_demand_is_refused_under_xp7_and_done_under_ibm() {
    for profile in BOTH {
        let store = pair(profile, 4);
        let id = store.establish(counted("s", "t"));
        store.write("s", 0, "BBBB");
        assert_eq!(store.left(id), 0, "all copied on demand");
        store.write("t", 1, "T");

        if profile == Profile::Xp7 {
            store.refused_as(RefusalKind::Incomplete, &reverse().command(), NOCOPY);
            store.expect("s", "BBBB");
        } else {
            store.establish(reverse());
            store.expect("s", "ATAA");
        }
        store.expect("t", "ATAA");
    }
}

#[test]
fn t2_06_b_a_reverse_after_a_nocopy_refresh_without_differences_is_refused_under_xp7_only() {
    for profile in BOTH {
        let store = pair(profile, 4);
        store.completed(incremental("s", "t"));
        let refreshed = store.establish(counted("s", "t"));
        assert_eq!(store.left(refreshed), 0, "nothing had changed");

        if profile == Profile::Xp7 {
            store.refused_as(RefusalKind::Incomplete, &reverse().command(), NOCOPY);
        } else {
            store.establish(reverse());
            assert_eq!(store.live("s")[0].source, "t");
        }
        store.expect("s", "AAAA");
    }
}

#[test]
fn t2_06_c_a_reverse_after_a_nocopy_reverse_without_differences_is_refused_under_xp7_only() {
    for profile in BOTH {
        let store = pair(profile, 4);
        store.completed(incremental("s", "t"));
        store.establish(reverse().mode(CopyMode::Nocopy));
        let back = incremental("s", "t");

        if profile == Profile::Xp7 {
            store.refused_as(RefusalKind::Incomplete, &back.command(), NOCOPY);
        } else {
            store.establish(back);
            assert_eq!(store.live("s")[0].source, "s");
        }
        store.expect("t", "AAAA");
    }
}

#[test]
fn t2_06_d_a_reverse_after_a_nocopy_refresh_with_differences_is_refused_under_both() {
    for profile in BOTH {
        let store = pair(profile, 4);
        store.completed(incremental("s", "t"));
        store.write("s", 1, "B");
        let refreshed = store.establish(counted("s", "t"));
        assert_eq!(store.left(refreshed), 1);
        store.refused_as(
            RefusalKind::Incomplete,
            &reverse().command(),
            &["relationship", "1 tracks"],
        );
        store.expect("t", "ABAA");
    }
}

/// Fast reverse restore from `t` back to `s`; NOCOPY, so that what it has to copy can be counted.
fn fast_reverse() -> Establish {
    nocopy("t", "s").action(EstablishAction::FastReverse)
}

#[test]
fn t2_07_a_fast_reverse_of_a_plain_copy_takes_back_what_was_copied() {
    for profile in BOTH {
        let store = pair(profile, 10);
        let id = store.establish(nocopy("s", "t"));
        store.write("s", 0, "BB");
        store.write("t", 5, "T");
        assert_eq!(store.left(id), 7);

        let reversed = store.establish(fast_reverse());

        assert_eq!(store.left(reversed), 3, "under {}", store.name());
        store.expect("s", "AAAAATAAAA");
        store.ask(&convert("t"));
        store.until_ended(reversed);
        store.expect("s", "AAAAATAAAA");
        assert_eq!(store.live("s"), []);
    }
}

#[test]
fn t2_07_a_fast_reverse_of_an_incremental_copy_takes_back_changes_under_xp7_and_all_under_ibm() {
    for (profile, back) in [(Profile::Xp7, 2), (Profile::Ibm, 7)] {
        let store = pair(profile, 10);
        store.completed(incremental("s", "t"));
        store.write("s", 0, "BBBB");
        let id = store.establish(counted("s", "t"));
        assert_eq!(store.left(id), 4, "partly done");
        store.write("s", 0, "C");
        store.write("t", 9, "T");
        store.write("s", 9, "C");
        // Changed are tracks 0 and 9; copied are 0 and 4 to 9.
        assert_eq!(store.left(id), 3);

        let reversed = store.establish(fast_reverse().incremental(Incremental::TargetWritable));

        assert_eq!(store.left(reversed), back, "under {}", store.name());
        store.expect("s", "BBBBAAAAAT");
    }
}

#[test]
fn t2_07_a_fast_reverse_needs_no_complete_copy_and_a_pair_in_the_other_direction() {
    for profile in BOTH {
        let store = pair(profile, 4);
        store.volume("u", 4);
        store.refused(&fast_reverse().command(), &["`s`", "`t`"]);
        store.establish(nocopy("s", "t"));
        let same_way = nocopy("s", "t").action(EstablishAction::FastReverse).command();
        store.refused(&same_way, &["`s`", "`t`"]);
        let other = nocopy("u", "s").action(EstablishAction::FastReverse).command();
        store.refused(&other, &["`s`", "`u`"]);
        store.write("s", 0, "BBBB");
        store.establish(fast_reverse());
        store.expect("s", "AAAA");
    }
}

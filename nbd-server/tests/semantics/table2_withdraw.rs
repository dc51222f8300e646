//! Table 2's rows about FCWITHDR with XTNTLST: what happens to relationships that are only partly in the list.
//!
//! Where sources disagree the white paper is followed under both profiles (D9).

use flashtrack_engine::admin::{Incremental, Profile, RefusalKind};
use flashtrack_engine::geometry::VolumeType;

use crate::asking::{Establish, ckd, convert, nocopy, withdraw_from, withdraw_id, withdraw_onto};
use crate::store::{BOTH, Store, pair, store};

/// A store with a NOCOPY relationship from tracks 1 to 8 of `s` onto tracks 4 to 11 of `t`; its id.
fn related(profile: Profile) -> (Store, u32) {
    let store = pair(profile, 12);
    store.write("s", 0, "ABCDEFGHIJKL");
    let id = store.establish(nocopy("s", "t").tracks(1, 4, 8));
    (store, id)
}

#[test]
fn t2_12_a_withdraw_with_ddsw_of_a_part() {
    for (profile, extents, left, physical) in [
        (Profile::Xp7, &[(1, 8)][..], 8, "xxxxxxxxxxxx"),
        (Profile::Ibm, &[(4, 5)], 5, "xxxxBCDxxxxx"),
    ] {
        let (store, _) = related(profile);
        store.withdraw(withdraw_from("s").ddsw().tracks(0, 0, 4));
        store.until("the part to end", || store.extents("s") == extents);
        assert_eq!(store.left(store.live("s")[0].id), left, "under {}", store.name());
        assert_eq!(store.withdrawn("t", 12), physical, "under {}", store.name());
    }
}

#[test]
fn t2_12_a_withdraw_with_ddsw_of_the_middle() {
    for (profile, extents, physical) in [
        (Profile::Xp7, &[(1, 8)][..], "xxxxxxxxxxxx"),
        (Profile::Ibm, &[(1, 2), (5, 4)], "xxxxxxDExxxx"),
    ] {
        let (store, _) = related(profile);
        store.withdraw(withdraw_from("s").ddsw().tracks(3, 0, 2));
        store.until("the middle to end", || store.extents("s") == extents);
        store.drain();
        assert_eq!(store.extents("s"), extents, "under {}", store.name());
        assert_eq!(store.withdrawn("t", 12), physical, "under {}", store.name());
    }
}

#[test]
fn t2_12_a_withdraw_with_ddsw_of_whole_relationships_and_a_part_of_another() {
    for (profile, rest) in [(Profile::Xp7, &[(8, 4)][..]), (Profile::Ibm, &[(10, 2)])] {
        let store = pair(profile, 12);
        let three = nocopy("s", "t").tracks(0, 8, 4).tracks(4, 0, 4).tracks(8, 4, 4);
        let ids = store.establish_all(three);
        store.withdraw(withdraw_from("s").ddsw().tracks(0, 0, 10));
        store.until_ended(ids[0]);
        store.until_ended(ids[1]);
        store.until("the rest to be left", || store.extents("s") == rest);
        store.write("s", 0, "BBBBBBBBBBBB");
        store.expect("t", "AAAAAAAAAAAA");
    }
}

#[test]
fn t2_13_a_withdraw_of_a_part_of_the_target() {
    for (profile, extents, image) in
        [(Profile::Xp7, &[(1, 8)][..], "xxxxBCDEFGHI"), (Profile::Ibm, &[(3, 6)], "xxxxxxDEFGHI")]
    {
        let (store, _) = related(profile);
        let before = store.act("t");
        store.withdraw(withdraw_onto("t").tracks(0, 0, 6));
        assert_eq!(store.extents("s"), extents, "under {}", store.name());
        assert_eq!(store.act("t"), before, "one of another length");
        store.write("s", 0, "bbbbbbbbbbbb");
        store.expect("t", image);
    }
}

#[test]
fn t2_13_a_withdraw_of_the_middle_of_the_target_splits_the_rest_under_ibm() {
    for (profile, extents, more, left, image) in [
        (Profile::Xp7, &[(1, 8)][..], 0, 5, "xxxxBCDEFGHI"),
        (Profile::Ibm, &[(1, 3), (6, 3)], 1, 4, "xxxxBCDExGHI"),
    ] {
        let (store, _) = related(profile);
        // One track before, in and after the middle is on the target already.
        store.write("s", 2, "c");
        store.write("s", 4, "e");
        store.write("s", 7, "h");
        store.drain();
        let before = store.act("t");

        store.withdraw(withdraw_from("s").onto("t").tracks(0, 7, 2));

        assert_eq!(store.act("t"), before + more, "ACT under {}", store.name());
        assert_eq!(store.extents("s"), extents, "under {}", store.name());
        let of_all: u32 = store.live("s").iter().map(|copy| store.left(copy.id)).sum();
        assert_eq!(of_all, left, "what is copied stays copied, under {}", store.name());
        let store = store.killed();
        assert_eq!(store.extents("s"), extents, "after kill -9 under {}", store.name());
        // Each track of the rest is copied because of these writes: then the rest ends by itself.
        store.write("s", 0, "bbbbbbbbbbbb");
        store.expect("t", image);
        let store = store.killed();
        store.expect("t", image);
    }
}

#[test]
fn t2_13_under_ibm_a_split_past_the_most_relationships_of_a_volume_is_refused() {
    /// 68 * ceil(15 / 3808) - 1
    const MOST: u32 = 67;
    let store = store(Profile::Ibm);
    store.ask(&ckd("s", VolumeType::M3390A, Some(1)));
    store.ask(&ckd("t", VolumeType::M3390A, Some(600)));
    let single = |what: Establish, number: u32| what.tracks(number % 15, number, 1);
    for numbers in [0..32, 32..64, 64..MOST - 1] {
        store.establish_all(numbers.fold(nocopy("s", "t"), single));
    }
    let long = store.establish(nocopy("s", "t").tracks(0, 100, 3));
    let middle = withdraw_onto("t").tracks(0, 101, 1);
    store.refused_as(RefusalKind::VolumeRelationships, &middle.clone().command(), &["`s`", "67"]);
    assert_eq!(store.show(long).ended, None);
    store.withdraw(withdraw_onto("t").tracks(0, 0, 1));
    store.withdraw(middle);
    assert_eq!(store.act("s"), MOST);
}

#[test]
fn t2_13_ranges_do_not_touch_an_incremental_relationship() {
    for profile in BOTH {
        let store = pair(profile, 4);
        let id = store.establish(nocopy("s", "t").incremental(Incremental::Yes));
        // Refused or without effect: the documents leave it open.
        let _ = store.server.try_command(&withdraw_onto("t").tracks(1, 1, 2).command());
        assert_eq!(store.show(id).ended, None);
        assert_eq!(store.extents("s"), [(0, 4)], "under {}", store.name());
    }
}

#[test]
fn t2_14_what_was_only_partly_withdrawn_cannot_be_a_target_again_under_xp7() {
    for profile in BOTH {
        let (store, id) = related(profile);
        store.volume("u", 12);
        store.write("u", 0, "UUUUUUUUUUUU");
        store.withdraw(withdraw_onto("t").tracks(0, 6, 3));
        let again = nocopy("u", "t").tracks(6, 6, 3);

        if profile == Profile::Xp7 {
            let related = RefusalKind::TargetRelated;
            store.refused_as(related, &again.clone().command(), &["`t`", &id.to_string()]);
            store.withdraw(withdraw_id(id));
            store.establish(again);
            store.expect("t", "xxxxxxUUUxxx");
        } else {
            store.establish(again);
            store.expect("t", "xxxxBCUUUGHI");
        }
    }
}

#[test]
fn t2_14_under_xp7_the_end_of_the_copy_helps_too() {
    let (store, id) = related(Profile::Xp7);
    store.volume("u", 12);
    store.write("u", 0, "UUUUUUUUUUUU");
    store.withdraw(withdraw_from("s").ddsw().tracks(2, 5, 3));
    let again = nocopy("u", "t").tracks(5, 5, 3);
    store.refused_as(RefusalKind::TargetRelated, &again.clone().command(), &["`t`"]);
    store.ask(&convert("s"));
    store.until_ended(id);
    store.establish(again);
    store.expect("t", "xxxxBUUUFGHI");
}

#[test]
fn t2_14_under_ibm_the_part_withdrawn_with_ddsw_is_free_as_soon_as_it_is_copied() {
    let (store, _) = related(Profile::Ibm);
    store.volume("u", 12);
    store.write("u", 0, "UUUUUUUUUUUU");
    store.withdraw(withdraw_from("s").ddsw().tracks(2, 5, 3));
    store.until("the part to end", || store.extents("s") == [(1, 1), (5, 4)]);
    store.establish(nocopy("u", "t").tracks(5, 5, 3));
    store.expect("t", "xxxxBUUUFGHI");
}

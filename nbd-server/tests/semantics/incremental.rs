//! Incremental copies: refresh, last refresh, reverse and fast reverse restore (semantics 3.4, decisions D7, D11
//! to D18).

use flashtrack_engine::admin::{CopyMode, EstablishAction, Incremental, Profile, RefusalKind};

use crate::asking::{convert, copy, counted, incremental, nocopy, withdraw_id, withdraw_onto};
use crate::disk::EPERM;
use crate::store::{BOTH, Store, TRACK, pair, track_of};

/// A store with a complete incremental copy of `ABCDEFGHIJ` from `s` to `t`; its id.
fn complete(profile: Profile) -> (Store, u32) {
    let store = pair(profile, 10);
    store.write("s", 0, "ABCDEFGHIJ");
    let id = store.completed(incremental("s", "t"));
    (store, id)
}

#[test]
fn i_01_a_complete_incremental_copy_stays_and_a_refresh_copies_changed_tracks_only() {
    for profile in BOTH {
        let (store, id) = complete(profile);
        assert!(store.show(id).incremental);
        for track in [1, 3, 4, 8] {
            store.write("s", track, "z");
        }
        store.expect("t", "ABCDEFGHIJ");
        let id = store.establish(counted("s", "t"));
        assert_eq!(store.left(id), 4, "under {}", store.name());
        assert_eq!(store.live("s").len(), 1);
        store.expect("t", "AzCzzFGHzJ");
    }
}

#[test]
fn i_02_a_refresh_discards_what_was_written_to_the_target() {
    for profile in BOTH {
        let (store, _) = complete(profile);
        store.write("t", 2, "TT");
        store.write("s", 3, "zz");
        let id = store.establish(counted("s", "t"));
        assert_eq!(store.left(id), 3, "under {}", store.name());
        store.expect("t", "ABCzzFGHIJ");
    }
}

#[test]
fn i_03_a_refresh_while_the_last_copy_is_unfinished_copies_the_rest_too() {
    for profile in BOTH {
        let store = pair(profile, 10);
        let id = store.establish(counted("s", "t"));
        store.write("s", 0, "BBB");
        store.write("t", 9, "T");
        assert_eq!(store.left(id), 6);
        // The rest is 3 to 8, changed are 0 to 2 and 9 (D12).
        let id = store.establish(counted("s", "t"));
        assert_eq!(store.left(id), 10, "under {}", store.name());
        store.write("s", 0, "C");
        store.expect("t", "BBBAAAAAAA");
        store.completed(incremental("s", "t"));
        store.expect("t", "CBBAAAAAAA");
    }
}

#[test]
fn i_04_a_last_refresh_copies_the_changes_and_ends() {
    for profile in BOTH {
        let (store, _) = complete(profile);
        store.write("s", 0, "z");
        let last = store.establish(copy("s", "t").incremental(Incremental::Last));
        store.until_ended(last);
        assert_eq!(store.live("s"), []);
        store.expect("t", "zBCDEFGHIJ");
        // Without such a pair it is a plain copy.
        store.write("s", 1, "z");
        let plain = store.establish(copy("s", "t").incremental(Incremental::Last));
        store.until_ended(plain);
        store.expect("t", "zzCDEFGHIJ");
    }
}

#[test]
fn i_05_a_reverse_makes_the_source_the_image_of_the_target() {
    for profile in BOTH {
        let (store, _) = complete(profile);
        store.write("s", 0, "zz");
        store.write("t", 1, "TT");
        let reversed = store.establish(incremental("t", "s"));
        let now = store.show(reversed);
        assert_eq!((now.source.as_str(), now.target.as_str()), ("t", "s"));
        store.expect("s", "ATTDEFGHIJ");
        store.until_complete(reversed);
        // And back again, by the word.
        store.write("t", 9, "U");
        store.write("s", 8, "S");
        store.completed(incremental("s", "t").action(EstablishAction::Reverse));
        store.expect("t", "ATTDEFGHSJ");
        store.expect("s", "ATTDEFGHSJ");
    }
}

#[test]
fn i_05_a_reverse_copies_the_tracks_that_changed_on_either_side() {
    for profile in BOTH {
        let (store, _) = complete(profile);
        store.write("s", 0, "zz");
        store.write("t", 1, "TT");
        let reversed = store.establish(counted("t", "s"));
        assert_eq!(store.left(reversed), 3, "under {}", store.name());
    }
}

#[test]
fn i_06_a_reverse_of_an_unfinished_copy_is_refused() {
    for profile in BOTH {
        let store = pair(profile, 10);
        store.establish(counted("s", "t"));
        store.write("s", 0, "B");
        store.drain();
        let reverse = incremental("t", "s").command();
        store.refused_as(RefusalKind::Incomplete, &reverse, &["relationship", "9 tracks"]);
        store.expect("s", "BAAAAAAAAA");
    }
}

#[test]
fn i_07_reverse_and_refresh_need_an_incremental_pair_in_the_right_direction() {
    for profile in BOTH {
        let store = pair(profile, 4);
        let refresh = |source: &str, target: &str| {
            incremental(source, target).action(EstablishAction::Refresh).command()
        };
        let reverse = |source: &str, target: &str| {
            incremental(source, target).action(EstablishAction::Reverse).command()
        };
        store.refused(&refresh("s", "t"), &["`s`", "`t`"]);
        store.refused(&reverse("t", "s"), &["`s`", "`t`"]);
        store.establish(nocopy("s", "t"));
        store.refused(&refresh("s", "t"), &["`s`", "`t`"]);
        store.refused(&reverse("t", "s"), &["`s`", "`t`"]);
        store.withdraw(withdraw_onto("t"));
        store.completed(incremental("s", "t"));
        store.refused_as(RefusalKind::Direction, &refresh("t", "s"), &["`s`", "`t`"]);
        store.refused_as(RefusalKind::Direction, &reverse("s", "t"), &["`s`", "`t`"]);
    }
}

#[test]
fn i_08_a_larger_target_cannot_be_reversed() {
    for profile in BOTH {
        let store = pair(profile, 4);
        store.volume("larger", 6);
        store.completed(incremental("s", "larger"));
        let reverse = incremental("larger", "s").command();
        store.refused_as(RefusalKind::Size, &reverse, &["`larger`", "`s`", "6", "4"]);
    }
}

#[test]
fn i_09_an_incremental_copy_is_of_whole_volumes_and_one_per_source() {
    for profile in BOTH {
        let store = pair(profile, 4);
        store.volume("u", 4);
        store.refused(&incremental("s", "t").tracks(0, 0, 2).command(), &["`s`"]);
        store.establish(counted("s", "t"));
        store.refused(&counted("s", "u").command(), &["`s`"]);
        // A plain one beside it is none.
        store.establish(nocopy("s", "u"));
    }
}

#[test]
fn i_10_a_plain_establish_onto_a_related_target_is_refused() {
    for profile in BOTH {
        let store = pair(profile, 4);
        store.establish(nocopy("s", "t"));
        // The same pair too: DFSMSdss withdraws first, TSO does not (D6).
        let again = nocopy("s", "t").command();
        store.refused_as(RefusalKind::TargetRelated, &again, &["`t`"]);
    }
}

#[test]
fn i_11_the_target_is_write_inhibited_under_ibm_with_yes_and_nowhere_else() {
    for (profile, kind, inhibited) in [
        (Profile::Xp7, Incremental::Yes, false),
        (Profile::Xp7, Incremental::TargetWritable, false),
        (Profile::Ibm, Incremental::Yes, true),
        (Profile::Ibm, Incremental::TargetWritable, false),
    ] {
        let store = pair(profile, 4);
        let id = store.completed(copy("s", "t").incremental(kind));
        assert_eq!(store.show(id).write_inhibited, inhibited, "{kind:?}, {}", store.name());
        let expected = if inhibited { Err(EPERM) } else { Ok(()) };
        let mut disk = store.disk("t");
        assert_eq!(disk.write(0, &track_of(b'T')), expected, "{kind:?}, {}", store.name());
        assert_eq!(disk.trim(0, TRACK), expected, "trim, {kind:?}, {}", store.name());
        assert_eq!(disk.write_zeroes(0, TRACK), expected, "{kind:?}, {}", store.name());
        assert_eq!(disk.flush(), Ok(()));
        store.expect("t", if inhibited { "AAAA" } else { ".AAA" });
        let store = store.killed();
        let again = store.disk("t").write(0, &track_of(b'T'));
        assert_eq!(again, expected, "after kill -9, {kind:?}, {}", store.name());
        store.withdraw(withdraw_id(id));
        assert_eq!(store.disk("t").write(0, &track_of(b'T')), Ok(()), "free again");
    }
}

#[test]
fn i_12_a_reverse_is_refused_while_the_source_has_other_copies() {
    for profile in BOTH {
        let (store, _) = complete(profile);
        store.volume("u", 10);
        let other = store.establish(nocopy("s", "u"));
        let reverse = incremental("t", "s").command();
        store.refused_as(RefusalKind::SourceRelated, &reverse, &["`s`", &other.to_string()]);
        store.withdraw(withdraw_id(other));
        store.ask(&reverse);
    }
}

#[test]
fn i_13_under_xp7_a_conversion_to_copy_allows_reverses_again() {
    let store = pair(Profile::Xp7, 4);
    let id = store.establish(counted("s", "t"));
    store.write("s", 0, "BBBB");
    assert_eq!(store.left(id), 0);
    let reverse = incremental("t", "s").command();
    store.refused_as(RefusalKind::Incomplete, &reverse, &["relationship", "NOCOPY"]);
    store.ask(&convert("s"));
    store.until_complete(id);
    assert_eq!(store.show(id).mode, CopyMode::Copy);
    store.establish(incremental("t", "s"));
    store.expect("s", "AAAA");
}

#[test]
fn i_14_an_incremental_copy_that_is_complete_by_demand_stays_under_both() {
    for profile in BOTH {
        let store = pair(profile, 4);
        let id = store.establish(counted("s", "t"));
        store.write("s", 0, "BBBB");
        assert_eq!(store.left(id), 0);
        let store = store.restarted();
        assert_eq!(store.show(id).ended, None, "under {}", store.name());
    }
}

#[test]
fn i_15_after_a_crash_recorded_changes_are_no_fewer_than_the_real_ones() {
    for profile in BOTH {
        let (mut store, _) = complete(profile);
        for round in ["K", "L", "M"] {
            store.write("s", 2, round);
            store.write("t", 5, round);
            assert_eq!(store.disk("s").flush(), Ok(()));
            assert_eq!(store.disk("t").flush(), Ok(()));
            store = store.killed();
            assert!(store.live("s")[0].changed_tracks >= 2, "after kill -9, {}", store.name());
        }
        store.completed(incremental("s", "t"));
        store.expect("t", "ABMDEFGHIJ");
    }
}

#[test]
fn i_16_after_a_withdraw_nothing_is_recorded_any_more() {
    for profile in BOTH {
        let (store, id) = complete(profile);
        store.withdraw(withdraw_id(id));
        store.write("s", 0, "z");
        let id = store.establish(counted("s", "t"));
        assert_eq!(store.left(id), 10, "a first copy is of all tracks, under {}", store.name());
        store.expect("t", "zBCDEFGHIJ");
    }
}

#[test]
fn i_17_a_fast_reverse_gives_the_source_the_targets_logical_image() {
    for profile in BOTH {
        for mode in [CopyMode::Copy, CopyMode::Nocopy] {
            let store = pair(profile, 10);
            store.write("s", 0, "ABCDEFGHIJ");
            store.establish(counted("s", "t"));
            store.write("s", 0, "zzz");
            store.write("t", 2, "TT");
            // Writes that are still staged count as well (D15).
            let back = incremental("t", "s").action(EstablishAction::FastReverse).mode(mode);
            let id = store.establish(back);
            store.expect("s", "ABTTEFGHIJ");
            store.write("s", 9, "S");
            let store = store.killed();
            store.expect("s", "ABTTEFGHIS");
            store.until_left(id, if mode == CopyMode::Copy { 0 } else { 10 });
            store.withdraw(withdraw_onto("s"));
            if mode == CopyMode::Copy {
                store.expect("s", "ABTTEFGHIS");
            }
        }
    }
}

#[test]
fn i_18_a_write_of_the_source_while_it_is_restored_is_kept() {
    for profile in BOTH {
        let (store, _) = complete(profile);
        store.write("t", 0, "TTTTT");
        let id = store.establish(counted("t", "s"));
        store.write("s", 1, "S");
        store.write_a_part("s", &[2], 'P');
        store.write("t", 3, "u");
        store.ask(&convert("t"));
        store.until_complete(id);
        store.expect("s", "TS?TTFGHIJ");
        store.expect("t", "TTTuTFGHIJ");
    }
}

#[test]
fn i_19_after_a_fast_reverse_of_an_unfinished_copy_a_reverse_or_refresh_misses_no_track() {
    for profile in BOTH {
        for again in [("s", "t"), ("t", "s")] {
            let store = pair(profile, 10);
            store.write("s", 0, "ABCDEFGHIJ");
            store.establish(counted("s", "t"));
            store.write("s", 0, "zz");
            store.write("t", 9, "T");
            store.completed(incremental("t", "s").action(EstablishAction::FastReverse));
            store.expect("s", "ABCDEFGHIT");
            // Tracks 2 to 8 never were on `t`: there the two differ, whichever way the next copy goes.
            store.completed(incremental(again.0, again.1));
            assert_eq!(
                store.read("t", 0..10),
                store.read("s", 0..10),
                "{again:?} {}",
                store.name()
            );
            if again.0 == "s" {
                store.expect("s", "ABCDEFGHIT");
            }
        }
    }
}

//! A background copy is left to the backend, which may have the file system share the blocks; it is as of its moment
//! all the same.

use flashtrack_engine::admin::CopyMode;
use flashtrack_engine::io::{Action, Op};

use crate::store::{BLOCK, Store, TRACK};

fn is_copy(op: &Op) -> bool {
    matches!(op.action, Action::Copy { .. })
}

fn is_sync_of_a_home(op: &Op) -> bool {
    matches!(op.action, Action::Sync) && op.object == crate::store::SOURCE
}

const TRACKS: u64 = 96;
const LAST: u64 = TRACKS * TRACK / BLOCK - 1;

/// A store with a source, all written, and a full volume of that size: more than is copied at a time, so that the source is
/// synced before the last run begins.
fn two_volumes() -> Store {
    let mut store = Store::new(16, None);
    store.volume("source", TRACKS * TRACK, None);
    store.volume("target", TRACKS * TRACK, None);
    store.write_blocks(0, 0..LAST + 1, 1);
    store
}

/// The same while one is copied onto the other, and what is left to the backend.
fn with_copies_held_back() -> (Store, Vec<Op>) {
    let mut store = two_volumes();
    store.hold(is_copy);
    store.copy("source", "target", CopyMode::Copy);
    let copies = store.take_held();
    (store, copies)
}

#[test]
fn what_is_written_while_the_backend_copies_is_not_on_the_target() {
    let (mut store, copies) = with_copies_held_back();

    store.write_blocks(0, 100..102, 2);
    store.write_blocks(0, LAST..LAST + 1, 2);
    store.end(copies);

    for block in [0, 100, 101, LAST] {
        assert_eq!(store.read_block(1, block), [1; 4096]);
    }
    assert_eq!(store.read_block(0, 101), [2; 4096]);
    assert_eq!(store.read_block(0, LAST), [2; 4096]);
}

#[test]
fn a_copy_that_the_backend_cannot_make_fails_and_its_source_goes_on() {
    let (mut store, copies) = with_copies_held_back();

    store.fail(copies);

    let read = store.ask_for_block(1, LAST);
    assert!(matches!(store.answer(read), Some(Err(_))), "the target's image is gone");
    store.write_blocks(0, 3..5, 2);
    assert_eq!(store.read_block(0, 3), [2; 4096]);
}

#[test]
fn nothing_is_left_to_the_backend_before_the_source_was_synced() {
    let mut store = two_volumes();
    store.hold(|op| is_sync_of_a_home(op) || is_copy(op));
    store.copy("source", "target", CopyMode::Copy);

    let held = store.take_held();

    assert!(!held.iter().any(is_copy), "{held:?}");
    store.end(held);
    assert_eq!(store.read_block(1, LAST), [1; 4096]);
}

//! What happens to a volume or a copy while somebody waits for it.

use flashtrack_engine::admin::{Command, CopyMode};
use flashtrack_engine::io::{Action, Object, Op};
use flashtrack_engine::request::{RequestAction, RequestError};

use crate::store::{SOURCE, Store, TRACK, reads_the_source, thin_copy};

fn syncs_the_source(op: &Op) -> bool {
    matches!((op.object, &op.action), (SOURCE, Action::Sync))
}

fn writes_a_pool(op: &Op) -> bool {
    matches!((op.object, &op.action), (Object::Pool(_), Action::Write { .. }))
}

fn syncs_a_pool(op: &Op) -> bool {
    matches!((op.object, &op.action), (Object::Pool(_), Action::Sync))
}

fn syncs_the_journal(op: &Op) -> bool {
    matches!((op.object, &op.action), (Object::Segment(_), Action::Sync))
}

#[test]
fn a_flush_does_not_wait_for_a_source_that_is_deleted_while_its_home_is_synced() {
    let mut store = Store::new(16, None);
    store.volume("source", 4 * TRACK, None);
    store.volume("copy", 4 * TRACK, None);
    // As long as this is not synced, the copy is only as durable as its source.
    store.write_blocks(0, 0..64, 1);
    store.hold(|op| syncs_the_source(op) || reads_the_source(op));
    store.copy("source", "copy", CopyMode::Copy);
    let first = store.ask(1, RequestAction::Flush);
    // A sync counts only for those who asked before it began: this one needs another.
    let second = store.ask(1, RequestAction::Flush);
    // The background copy goes on to its end, and with it the relationship.
    let (syncs, reads) = store.take_held().into_iter().partition(syncs_the_source);
    store.end(reads);

    store.command(Command::VolumeDelete { name: "source".to_owned() });
    store.fail(syncs);

    assert!(store.answer(second).is_some(), "the flush waits for what is no more");
    assert!(store.answer(first).is_some(), "the flush waits for what is no more");
}

#[test]
fn a_read_of_a_copy_that_fails_while_it_is_under_way_is_refused() {
    let mut store = thin_copy(1 << 10);
    store.hold(writes_a_pool);
    store.write_blocks(0, 0..1, 2);
    let preserving = store.take_held();
    store.hold(reads_the_source);
    let read = store.ask_for_block(1, 5);
    let slow = store.take_held();

    store.fail(preserving);
    store.write_blocks(0, 5..6, 2);
    store.end(slow);

    let answer = store.answer(read);
    assert!(matches!(answer, Some(Err(RequestError::Failed))), "{answer:?}");
}

#[test]
fn a_copy_that_fails_during_a_batch_that_a_failed_sync_cuts_off_gives_nothing_back_twice() {
    let mut store = thin_copy(2);
    store.hold(syncs_a_pool);
    store.write_blocks(0, 0..1, 2);
    let pool = store.take_held();

    // More blocks than the pool has slots: the copy fails, but for as long as the batch needs it.
    store.write_blocks(0, 1..8, 2);
    store.hold(syncs_the_journal);
    store.write_blocks(0, 20..21, 2);
    let journal = store.take_held();
    store.fail(journal);
    store.end(pool);

    let write = store.write_blocks(0, 0..1, 3);
    let answer = store.answer(write);
    assert!(matches!(answer, Some(Err(RequestError::FailStop))), "{answer:?}");
}

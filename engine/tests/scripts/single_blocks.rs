//! A block that is overwritten on a source is copied alone to a full target, the rest of its track later (D6, C6, H1).

use flashtrack_engine::admin::{
    Command, CopyMode, CopySelector, EstablishAction, EstablishSpec, PairSpec,
};
use flashtrack_engine::io::{Action, Object, Op};
use flashtrack_engine::units::VolumeId;

use crate::store::{BLOCK, SOURCE, Store, TRACK, write_of};

const TARGET: Object = Object::Home(VolumeId(1));

/// A source of four tracks full of 1, and a copy of it on a full volume without background copy.
fn full_copy() -> Store {
    let mut store = Store::new(16, None);
    store.volume("source", 4 * TRACK, None);
    store.volume("copy", 4 * TRACK, None);
    store.write_blocks(0, 0..64, 1);
    store.command(Command::CopyEstablish(EstablishSpec {
        pairs: vec![pair("source", "copy")],
        mode: CopyMode::Nocopy,
        ..EstablishSpec::default()
    }));
    store
}

fn pair(source: &str, target: &str) -> PairSpec {
    PairSpec { source: source.to_owned(), target: target.to_owned(), extents: vec![] }
}

/// True for the first operation of a run of the copier: it looks where more than one block has data.
fn begins_a_run(op: &Op) -> bool {
    matches!((op.object, &op.action), (SOURCE, Action::Map { bytes, .. }) if *bytes > BLOCK)
}

/// True for the first operation of a block's copy.
fn begins_a_block(op: &Op) -> bool {
    matches!((op.object, &op.action), (SOURCE, Action::Map { bytes: BLOCK, .. }))
}

/// True for the first operation of a copy from what was the target.
fn reads_along_the_copy(op: &Op) -> bool {
    matches!((op.object, &op.action), (TARGET, Action::Map { .. }))
}

fn syncs_the_target(op: &Op) -> bool {
    matches!((op.object, &op.action), (TARGET, Action::Sync))
}

#[test]
fn a_first_write_goes_home_when_its_block_is_copied_and_the_track_follows() {
    let mut store = full_copy();
    store.hold(begins_a_run);
    store.write_blocks(0, 5..6, 2);

    store.command(Command::StoreDrain {});
    let rest = store.take_held();
    assert_eq!(rest.len(), 2, "what lies before the block, and what lies behind it");
    store.write_blocks(0, 6..7, 2);
    store.end(rest);

    for block in [0, 4, 5, 6, 7, 15] {
        assert_eq!(store.read_block(1, block), [1; 4096], "block {block} of the copy");
    }
    assert_eq!(store.read_block(0, 6), [2; 4096]);
}

#[test]
fn a_track_of_which_a_block_is_copied_is_not_left_out_by_the_background_copy() {
    let mut store = full_copy();
    // What is left of this track is copied first.
    store.write_blocks(0, 40..41, 2);
    store.hold(begins_a_block);
    store.write_blocks(0, 5..6, 2);
    let block = store.take_held();
    // It copies all other tracks.
    store.command(Command::CopyConvert { source: "source".to_owned() });

    store.end(block);

    // The relationship has ended.
    store.command(Command::VolumeDelete { name: "source".to_owned() });
    assert_eq!(store.read_block(1, 5), [1; 4096]);
}

#[test]
fn a_fast_reverse_takes_back_the_blocks_that_were_copied_alone_and_keeps_the_others() {
    let mut store = full_copy();
    store.hold(begins_a_run);
    store.write_blocks(0, 5..6, 2);
    let rest = store.take_held();
    // On the same track, and still staged when the command comes.
    store.begin(0, write_of(5..7, 3));
    store.take_turns(40);
    // Nothing is to be copied back until all was read.
    store.hold(|op| begins_a_run(op) || reads_along_the_copy(op));
    store.begin_command(Command::CopyEstablish(EstablishSpec {
        pairs: vec![pair("copy", "source")],
        action: EstablishAction::FastReverse,
        mode: CopyMode::Nocopy,
        ..EstablishSpec::default()
    }));
    store.take_turns(40);
    // The run that it waits for ends, but does not count any more.
    store.end(rest);
    assert!(store.has_succeeded(), "the fast reverse is not answered");

    for block in [0, 4, 5, 6, 7, 15] {
        assert_eq!(store.read_block(0, block), [1; 4096], "block {block} of what was the source");
    }
}

#[test]
fn a_full_target_that_cannot_be_synced_fails_its_copy_and_the_source_goes_on() {
    let mut store = full_copy();
    store.hold(syncs_the_target);
    store.write_blocks(0, 5..6, 2);
    let sync = store.take_held();

    store.fail(sync);

    let read = store.ask_for_block(1, 20);
    assert!(matches!(store.answer(read), Some(Err(_))), "the copy's image is gone");
    store.command(Command::StoreDrain {});
    assert_eq!(store.read_block(0, 5), [2; 4096]);
    store.command(Command::CopyWithdraw(CopySelector::Target("copy".to_owned()).into()));
}

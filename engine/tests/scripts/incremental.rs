//! An incremental copy counts as complete only when its source is durable as of its moment (C8): else a power cut could take a
//! write back on the source that the target has, and a refresh would leave the two different.

use flashtrack_engine::admin::{
    Command, CopyMode, CopySelector, EstablishAction, EstablishSpec, Incremental, PairSpec,
};
use flashtrack_engine::io::{Action, Object, Op};
use flashtrack_engine::sim::mutation::Mutation;
use flashtrack_engine::units::VolumeId;

use crate::store::{SOURCE, Store, TRACK};

const MIDDLE: Object = Object::Home(VolumeId(1));

fn syncs_the_source(op: &Op) -> bool {
    matches!((op.object, &op.action), (SOURCE, Action::Sync))
}

fn establish(from: &str, onto: &str, action: EstablishAction) -> Command {
    let pair = PairSpec { source: from.to_owned(), target: onto.to_owned(), extents: vec![] };
    Command::CopyEstablish(EstablishSpec {
        pairs: vec![pair],
        mode: CopyMode::Copy,
        incremental: Incremental::Yes,
        action,
        ..EstablishSpec::default()
    })
}

/// What is written and not flushed is copied, as far as that goes while the source cannot be synced; tells whether the
/// copy is complete then, and whether it is in the end: only a complete one can be reversed.
fn is_complete(mutation: Option<Mutation>) -> (bool, bool) {
    let mut store = Store::new(16, mutation);
    store.volume("source", 4 * TRACK, None);
    store.volume("copy", 4 * TRACK, None);
    store.write_blocks(0, 0..64, 1);
    store.hold(syncs_the_source);
    store.command(establish("source", "copy", EstablishAction::Establish));
    let reverse = || establish("copy", "source", EstablishAction::Reverse);
    let before = store.is_accepted(reverse());
    let syncs = store.take_held();
    store.end(syncs);
    let after = before || store.is_accepted(reverse());
    (before, after)
}

#[test]
fn tracks_count_as_copied_when_the_source_is_durable_as_of_the_moment_of_the_copy() {
    assert_eq!(is_complete(None), (false, true));
}

#[test]
fn without_the_rule_they_count_before() {
    assert!(is_complete(Some(Mutation::CopiedBeforeSourceDurable)).0);
}

#[test]
fn a_copy_of_a_home_that_can_never_be_durable_fails_and_the_others_become_complete() {
    let mut store = Store::new(16, None);
    for name in ["source", "middle", "last", "other"] {
        store.volume(name, 4 * TRACK, None);
    }
    store.write_blocks(0, 0..64, 1);
    let copy = |from: &str, onto: &str, mode| {
        let pair = PairSpec { source: from.to_owned(), target: onto.to_owned(), extents: vec![] };
        let spec = EstablishSpec { pairs: vec![pair], mode, ..EstablishSpec::default() };
        Command::CopyEstablish(spec)
    };
    store.command(copy("source", "middle", CopyMode::Nocopy));
    store.hold(|op| op.object == MIDDLE && matches!(op.action, Action::Sync));
    store.write_blocks(0, 5..6, 2);
    let syncs = store.take_held();
    store.fail(syncs);
    store.command(Command::CopyWithdraw(CopySelector::Target("middle".to_owned()).into()));

    store.command(establish("middle", "last", EstablishAction::Establish));
    store.command(copy("source", "other", CopyMode::Copy));
    store.go_on();

    let read = store.ask_for_block(2, 0);
    assert!(matches!(store.answer(read), Some(Err(_))), "its source may lose what it has");
    // The other copy has ended.
    store.command(Command::VolumeDelete { name: "other".to_owned() });
}

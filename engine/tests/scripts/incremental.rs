//! An incremental copy counts as complete only when its source is durable as of its moment (C8): else a power cut could take a
//! write back on the source that the target has, and a refresh would leave the two different.

use flashtrack_engine::admin::{
    Command, CopyMode, EstablishAction, EstablishSpec, Incremental, PairSpec,
};
use flashtrack_engine::io::{Action, Op};
use flashtrack_engine::sim::mutation::Mutation;

use crate::store::{SOURCE, Store, TRACK};

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

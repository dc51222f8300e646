//! What the engine hands out at a time, and in which order: nobody waits for a sync longer than it takes.

use flashtrack_engine::admin::{Command, DatasetExtent};
use flashtrack_engine::io::{Action, Object, Op};

use crate::store::{Kind, read_of, thin_copy, write_of};

/// Operations of the background that are handed out at a time (B1 of the engine's `background`).
const AT_ONCE_MAX: usize = 16;

fn syncs_the_journal(op: &Op) -> bool {
    matches!((op.object, &op.action), (Object::Segment(_), Action::Sync))
}

fn writes_the_journal(op: &Op) -> bool {
    matches!((op.object, &op.action), (Object::Segment(_), Action::Write { .. }))
}

fn define(name: &str) -> Command {
    let extent = DatasetExtent { volume: "source".to_owned(), first_track: 0, tracks: 1 };
    Command::DatasetDefine { name: name.to_owned(), extents: vec![extent] }
}

#[test]
fn a_command_takes_one_sync_of_the_journal_whatever_else_is_not_durable() {
    let mut store = thin_copy(1 << 10);
    store.hold(syncs_the_journal);
    // A frame that is written and that nobody has asked to be durable.
    store.begin(0, write_of(3..4, 2));
    store.take_turns(3);
    store.begin_command(define("one"));
    store.take_turns(3);

    let syncs = store.take_held();
    store.hold(syncs_the_journal);
    store.end(syncs);

    assert!(store.has_succeeded(), "it waits for another sync");
}

#[test]
fn what_comes_while_two_writes_of_the_journal_are_under_way_leaves_in_one() {
    let mut store = thin_copy(1 << 10);
    store.hold(writes_the_journal);
    let mut asked = Vec::new();
    for block in 0..6 {
        asked.push(store.begin(0, write_of(block..block + 1, 2)));
        store.take_turns(1);
    }

    let under_way = store.take_held();
    assert_eq!(under_way.len(), 2);
    store.hold(writes_the_journal);
    store.end(under_way);

    let next = store.take_held();
    assert_eq!(next.len(), 1);
    assert_eq!(asked.iter().filter(|id| store.answer(**id).is_some()).count(), 2);
    store.end(next);
    assert_eq!(asked.iter().filter(|id| store.answer(**id).is_some()).count(), 4);
}

#[test]
fn a_batch_of_the_destager_is_handed_out_a_few_operations_at_a_time_behind_what_is_waited_for() {
    let mut store = thin_copy(1 << 10);
    store.turns.clear();
    for block in (0..64).step_by(2) {
        store.begin(0, write_of(block..block + 1, 2));
    }
    let reads = |turn: &[Kind]| turn.iter().filter(|kind| **kind == Kind::SourceRead).count();
    let has_begun = |turns: &[Vec<Kind>]| turns.last().is_some_and(|turn| reads(turn) > 0);
    for _ in 0..500 {
        if has_begun(&store.turns) {
            break;
        }
        store.take_turns(1);
    }
    assert!(has_begun(&store.turns), "no batch has begun");
    store.begin_command(define("one"));
    store.go_on();

    let all: usize = store.turns.iter().map(|turn| reads(turn)).sum();
    assert_eq!(all, 32, "each block is read once");
    let mut both = 0;
    for turn in &store.turns {
        assert!(reads(turn) <= AT_ONCE_MAX, "{turn:?}");
        let first_read = turn.iter().position(|kind| *kind == Kind::SourceRead);
        let last_of_journal = turn.iter().rposition(|kind| *kind == Kind::Journal);
        if let (Some(first_read), Some(last_of_journal)) = (first_read, last_of_journal) {
            assert!(last_of_journal < first_read, "{turn:?}");
            both += 1;
        }
    }
    assert!(both > 0, "the command came when all was read");
    assert!(store.has_succeeded());
}

#[test]
fn what_is_staged_goes_home_though_each_turn_has_something_for_a_host() {
    let mut store = thin_copy(1 << 10);
    for block in (0..16).step_by(2) {
        store.begin(0, write_of(block..block + 1, 2));
    }
    store.begin_command(Command::StoreDrain {});

    // The disk ends one operation in a turn, so the reads alone keep it busy.
    let turns = (0..2000).find(|_| {
        store.begin(0, read_of(40));
        store.take_turns(1);
        store.has_succeeded()
    });

    assert!(turns.is_some(), "the destager never has its turn");
}

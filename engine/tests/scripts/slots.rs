//! A slot that was freed is neither punched nor used again while a read of its old content is under way (rule O8).

use flashtrack_engine::admin::Command;
use flashtrack_engine::io::{Action, Object};
use flashtrack_engine::request::{Durability, RequestAction};
use flashtrack_engine::sim::mutation::Mutation;
use flashtrack_engine::units::ByteRange;

use crate::store::{BLOCK, Store};

/// What is done to the pool while a read of a thin volume's block takes long and the block is trimmed; then
/// what is done when the read has ended.
fn trimmed_under_a_slow_read(mutation: Option<Mutation>) -> (Vec<String>, Vec<String>) {
    let mut store = Store::new(16, mutation);
    store.command(Command::PoolCreate { name: "pool".to_owned(), capacity_bytes: 1 << 20 });
    store.volume("thin", 16 * BLOCK, Some("pool"));
    store.write_blocks(0, 0..1, 7);
    store.command(Command::StoreDrain {});
    store.hold(|op| matches!((op.object, &op.action), (Object::Pool(_), Action::Read { .. })));
    store.ask_for_block(0, 0);
    store.done_to_pools.clear();
    // The second block has no slot, so the first one's is given back, not zeroed in place.
    let two = ByteRange { start: 0, end: 2 * BLOCK };
    store.ask(0, RequestAction::Trim { range: two, durability: Durability::Volatile });
    let meanwhile = std::mem::take(&mut store.done_to_pools);
    let read = store.take_held();
    store.end(read);
    (meanwhile, store.done_to_pools)
}

#[test]
fn a_trimmed_slot_is_punched_when_the_read_of_it_has_ended_and_not_before() {
    let (meanwhile, after) = trimmed_under_a_slow_read(None);
    assert!(meanwhile.is_empty(), "{meanwhile:?}");
    assert!(after.iter().any(|action| action.starts_with("Zero")), "{after:?}");
}

#[test]
fn without_the_rule_it_is_punched_under_the_read() {
    let (meanwhile, _) = trimmed_under_a_slow_read(Some(Mutation::ReuseSlotBeforeReadsEnd));
    assert!(meanwhile.iter().any(|action| action.starts_with("Zero")), "{meanwhile:?}");
}

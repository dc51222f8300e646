//! Two batches of the destager are under way: what the next one owes is copied while the one before goes home (D3, D5).

use flashtrack_engine::io::{Action, Op};

use crate::store::{SOURCE, thin_copy};

fn changes_the_source(op: &Op) -> bool {
    op.object == SOURCE && matches!(op.action, Action::Write { .. } | Action::Sync)
}

#[test]
fn what_the_next_batch_owes_is_copied_while_the_home_of_the_one_before_is_synced() {
    let mut store = thin_copy(1 << 10);
    let written = |store: &crate::store::Store| {
        store.done_to_pools.iter().filter(|it| it.starts_with("Write")).count()
    };
    let old = store.read_block(0, 5);
    store.hold(changes_the_source);
    store.write_blocks(0, 0..1, 2);
    let first_goes_home = store.take_held();
    store.hold(changes_the_source);
    for op in first_goes_home {
        assert!(matches!(op.action, Action::Write { .. }), "{op:?}");
        store.end(vec![op]);
    }
    let before = written(&store);

    // The next batch, with a block of the first one among its own.
    store.write_blocks(0, 5..6, 3);
    store.write_blocks(0, 0..1, 3);

    assert_eq!(written(&store), before + 1, "block 5 is not preserved");
    let first_is_synced = store.take_held();
    assert!(first_is_synced.iter().all(|op| matches!(op.action, Action::Sync)), "one overtakes");
    assert_eq!(first_is_synced.len(), 1);
    store.end(first_is_synced);
    for block in [0, 5] {
        assert_eq!(store.read_block(0, block), [3; 4096], "block {block} of the source");
        assert_eq!(store.read_block(1, block), old, "block {block} of the copy");
    }
}

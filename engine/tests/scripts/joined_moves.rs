//! Small reads and writes of the destager are joined, and fail together (invariants V2 and V3 of the moves).

use flashtrack_engine::admin::CopyMode;
use flashtrack_engine::io::{Buffer, Op, ZeroSpace};
use flashtrack_engine::request::{Durability, RequestAction, RequestError};
use flashtrack_engine::units::ByteRange;

use crate::store::{BLOCK, Store, TRACK, reads_the_source, thin_copy};

/// A store with a copy, a batch of the destager that waits for the operations given, and writes of `blocks` behind it, which
/// the next batch takes: apart on the source, neighbours in the pool.
fn written_behind_a_batch(blocks: &[u64]) -> (Store, Vec<Op>) {
    let mut store = thin_copy(1 << 10);
    store.hold(reads_the_source);
    store.write_blocks(0, 0..1, 2);
    let batch_before = store.take_held();
    store.hold(reads_the_source);
    for &block in blocks {
        store.write_blocks(0, block..block + 1, 2);
    }
    (store, batch_before)
}

#[test]
fn nothing_is_written_of_several_blocks_of_which_one_cannot_be_read() {
    let (mut store, batch_before) = written_behind_a_batch(&[5, 9]);
    store.end(batch_before);
    let mut reads = store.take_held();
    assert_eq!(reads.len(), 2, "{reads:?}");
    store.done_to_pools.clear();

    let last = reads.split_off(1);
    store.end(reads);
    store.fail(last);

    assert!(!store.done_to_pools.iter().any(|it| it.starts_with("Write")), "something is kept");
    let read = store.ask_for_block(1, 5);
    let answer = store.answer(read);
    assert!(matches!(answer, Some(Err(RequestError::Failed))), "{answer:?}");
    assert_eq!(store.read_block(0, 5), [2; 4096], "the source goes on");
}

#[test]
fn several_blocks_that_are_neighbours_in_the_pool_are_written_at_once() {
    let (mut store, batch_before) = written_behind_a_batch(&[5, 9, 12, 20]);
    store.hold(|_| false);
    store.done_to_pools.clear();

    store.end(batch_before);

    let writes = store.done_to_pools.iter().filter(|it| it.starts_with("Write"));
    assert_eq!(writes.count(), 2, "one of each batch: {:?}", store.done_to_pools);
    for block in [0, 5, 9, 12, 20] {
        assert_eq!(store.read_block(1, block), [1; 4096]);
        assert_eq!(store.read_block(0, block), [2; 4096]);
    }
}

#[test]
fn zeroes_among_them_are_zeroes_though_the_memory_was_used_before() {
    let (mut store, batch_before) = written_behind_a_batch(&[5]);
    let zeroes = RequestAction::WriteZeroes {
        range: ByteRange { start: 9 * BLOCK, end: 10 * BLOCK },
        space: ZeroSpace::Release,
        durability: Durability::Volatile,
    };
    store.ask(0, zeroes);
    store.volume("later", 4 * TRACK, Some("pool"));
    store.copy("source", "later", CopyMode::Nocopy);
    for block in [5, 9, 12] {
        store.write_blocks(0, block..block + 1, 3);
    }
    for bytes in [8 << 10, 16 << 10, 32 << 10] {
        drop([0; 4].map(|_| Buffer::from(&vec![7; bytes][..])));
    }
    store.hold(|_| false);

    store.end(batch_before);

    assert_eq!([5, 9, 12].map(|block| store.read_block(2, block)[0]), [2, 0, 1]);
    assert_eq!([5, 9, 12].map(|block| store.read_block(1, block)[0]), [1, 1, 1]);
    assert!(store.read_block(2, 9) == [0; 4096]);
}

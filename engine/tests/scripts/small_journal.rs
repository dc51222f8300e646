//! A journal of the fewest segments that there may be goes on for ever: what it sets free is worth a checkpoint, though
//! hosts may fill only two segments (invariant K4 of the checkpointer).

use flashtrack_engine::admin::{Command, CopyMode};
use flashtrack_engine::sim::prng::Prng;

use crate::store::{BLOCK, Store};

#[test]
fn every_write_gets_its_room_in_a_journal_of_four_segments() {
    for seed in 1..20 {
        let mut prng = Prng::new(seed);
        let mut store = Store::new(4, None);
        store.command(Command::PoolCreate { name: "pool".to_owned(), capacity_bytes: 1 << 20 });
        store.volume("thin", 16 * BLOCK, Some("pool"));

        for number in 0..1000 {
            let first = prng.below(14);
            let write = store.write_blocks(0, first..first + prng.between(1, 2), 7);
            let answer = store.answer(write);
            assert!(matches!(answer, Some(Ok(_))), "seed {seed}: write {number} waits: {answer:?}");
        }
    }
}

#[test]
fn a_write_longer_than_the_journal_is_taken_in_slices() {
    let mut store = Store::new(4, None);
    store.command(Command::PoolCreate { name: "pool".to_owned(), capacity_bytes: 4 << 20 });
    store.volume("source", 256 * BLOCK, None);
    store.volume("thin", 256 * BLOCK, Some("pool"));
    store.copy("source", "thin", CopyMode::Nocopy);

    let write = store.write_blocks(0, 0..250, 7);
    for _ in 0..50 {
        store.go_on();
    }

    assert!(matches!(store.answer(write), Some(Ok(_))), "it waits for ever");
    for (volume, block, byte) in [(0, 0, 7), (0, 249, 7), (0, 250, 0), (1, 0, 0), (1, 249, 0)] {
        assert_eq!(store.read_block(volume, block), [byte; 4096], "volume {volume} block {block}");
    }
}

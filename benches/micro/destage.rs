//! A batch of the destager: 1,024 first writes, each of its own track, on their way home under thin copies.

use criterion::{BatchSize, Criterion, Throughput};
use flashtrack_engine::admin::Command;
use flashtrack_engine::io::Buffer;
use flashtrack_engine::request::{Durability, RequestAction};

use crate::store::Store;

const BLOCK: usize = 4 << 10;
const TRACK: u64 = 64 << 10;
const WRITES: u64 = 1024;

pub(crate) fn run(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("destage of 1,024 first writes");
    group.throughput(Throughput::Elements(WRITES));
    for targets in [1_u32, 16] {
        group.bench_function(format!("{targets} thin targets"), |bencher| {
            bencher.iter_batched(
                || staged(targets),
                |mut store| {
                    store.command(Command::StoreDrain {});
                    store
                },
                BatchSize::LargeInput,
            );
        });
    }
    group.finish();
}

/// A store with the writes in its journal.
fn staged(targets: u32) -> Store {
    let bytes = WRITES * TRACK;
    let mut store = Store::new();
    let source = store.volume("source", bytes, None);
    store.command(Command::PoolCreate { name: "pool".to_owned(), capacity_bytes: bytes });
    for target in 0..targets {
        let name = format!("thin{target}");
        store.volume(&name, bytes, Some("pool"));
        store.establish("source", &name);
    }
    let write = |number| RequestAction::Write {
        offset: number * TRACK,
        data: Buffer::zeroed(BLOCK),
        durability: Durability::Volatile,
    };
    store.requests(source, (0..WRITES).map(write));
    store
}

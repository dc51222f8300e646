//! What a staged write adds to memory when its frame is in the journal.

use criterion::{BatchSize, Criterion, Throughput};
use flashtrack_engine::stage::{Content, Frame, Stage};
use flashtrack_engine::units::{ByteRange, Position, Seq, VolumeId};

const BLOCK: u64 = 4 << 10;
const VOLUME: VolumeId = VolumeId(1);
/// Staged before.
const BEFORE: u64 = 64 << 10;
const INSERTED: u64 = 1024;
const BLOCKS: u64 = 1 << 20;

pub(crate) fn run(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("staged writes of 4 KiB");
    group.throughput(Throughput::Elements(INSERTED));
    group.bench_function("insert 1,024 among 65,536", |bencher| {
        bencher.iter_batched(
            || staged(VOLUME, BEFORE),
            |mut stage| {
                for number in BEFORE..BEFORE + INSERTED {
                    stage.insert(frame(VOLUME, number), Seq(0));
                }
                // Dropped by the caller, outside the time.
                stage
            },
            BatchSize::LargeInput,
        );
    });
    group.finish();
}

/// So many staged writes of one block each, in no order.
pub(crate) fn staged(volume: VolumeId, writes: u64) -> Stage {
    let mut stage = Stage::default();
    for number in 0..writes {
        stage.insert(frame(volume, number), Seq(0));
    }
    stage
}

fn frame(volume: VolumeId, number: u64) -> Frame {
    // Steps that come by every block, far from the one before.
    let start = number * 100_003 % BLOCKS * BLOCK;
    let position = Position(number * BLOCK);
    Frame {
        // Younger than the establish of the lookup's states.
        seq: Seq(number + 10),
        volume,
        range: ByteRange { start, end: start + BLOCK },
        position,
        content: Content::Journal(position),
    }
}

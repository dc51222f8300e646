//! The set of copied or changed tracks, of a volume of 15 TiB of which one track in a hundred is in it.

use std::hint::black_box;

use criterion::{BatchSize, Criterion};
use flashtrack_engine::map::track_bitmap::TrackBitmap;

/// Tracks of 64 KiB in 15 TiB.
const TRACKS: u32 = 15 << 24;
const ONE_IN: u32 = 100;

pub(crate) fn run(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("track bitmap of 15 TiB, 1 % set");
    let mut set = TrackBitmap::new();
    for track in (0..TRACKS).step_by(ONE_IN as usize) {
        set.set(track..track + 1);
    }
    let mut track = 0;
    let mut next = move || {
        // Far from the one before.
        track = (track + 10_000_019) % (TRACKS - 1024);
        track
    };
    group.bench_function("is a track in it", |bencher| {
        bencher.iter(|| black_box(set.contains(next())));
    });
    group.bench_function("next track that is not", |bencher| {
        bencher.iter(|| {
            let from = next();
            black_box(set.next_unset(from, from + 1024))
        });
    });
    group.bench_function("add 1,024 tracks", |bencher| {
        bencher.iter_batched_ref(
            // The clone is made one's own by the first change: that is not to be measured.
            || {
                let mut own = set.clone();
                own.set(0..1);
                own
            },
            |own| {
                for _ in 0..1024 {
                    let track = next();
                    own.set(track..track + 1);
                }
            },
            BatchSize::LargeInput,
        );
    });
    group.finish();
}

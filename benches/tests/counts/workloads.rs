//! The workloads that are counted. Each has a store of its own; what is warmed up or made before is not counted.

use flashtrack_engine::admin::{Command, CopyMode};
use flashtrack_engine::request::RequestAction;
use flashtrack_engine::units::VolumeId;

use crate::baseline::Baseline;
use crate::driver::{BLOCK, Driver, read, write, write_bytes};

const REQUESTS: u64 = 1024;
/// Requests before those that count: buffers have grown and maps have their first entries.
const WARM_UP: u64 = 64;
const TRACK: u64 = 64 << 10;
const BLOCKS_PER_TRACK: u64 = TRACK / BLOCK;
/// One track for each request.
const VOLUME_BYTES: u64 = (WARM_UP + REQUESTS) * TRACK;
const SOURCE: &str = "source";
const MIB: u64 = 1 << 20;

/// Counts all of them.
pub(crate) fn all() -> Baseline {
    let mut counts = Baseline::new();
    for depth in [1, 32] {
        plain_writes(&mut counts, depth);
        plain_reads(&mut counts, depth);
    }
    for (thin, copies) in [(1, "1 thin target"), (16, "16 thin targets")] {
        for depth in [1, 32] {
            first_writes(&mut counts, copies, depth, |bed| bed.copy_thin(thin));
        }
        flushed_writes(&mut counts, &format!("under {copies}"), |bed| bed.copy_thin(thin));
    }
    first_writes(&mut counts, "1 full NOCOPY target", 32, Bed::copy_full);
    flushed_writes(&mut counts, "without copies", |_| ());
    reads_of_a_thin_target(&mut counts);
    background_copy(&mut counts);
    establish(&mut counts);
    counts
}

/// A store with a source that is written and durable.
struct Bed {
    driver: Driver,
    source: VolumeId,
}

impl Bed {
    fn new(bytes: u64) -> Self {
        let mut driver = Driver::new();
        let source = driver.volume(SOURCE, bytes, None);
        driver.requests(source, 4, (0..bytes / MIB).map(|part| write_bytes(part * MIB, MIB)));
        driver.requests(source, 1, [RequestAction::Flush]);
        Self { driver, source }
    }

    fn copy_thin(&mut self, targets: u32) {
        self.make_thin(targets);
        for target in 0..targets {
            self.driver.establish(SOURCE, &format!("thin{target}"), CopyMode::Nocopy);
        }
    }

    fn make_thin(&mut self, targets: u32) {
        let capacity_bytes = VOLUME_BYTES;
        self.driver.command(Command::PoolCreate { name: "pool".to_owned(), capacity_bytes });
        for target in 0..targets {
            self.driver.volume(&format!("thin{target}"), VOLUME_BYTES, Some("pool"));
        }
    }

    fn copy_full(&mut self) {
        self.driver.volume("full", VOLUME_BYTES, None);
        self.driver.establish(SOURCE, "full", CopyMode::Nocopy);
    }
}

fn plain_writes(counts: &mut Baseline, depth: usize) {
    let mut bed = Bed::new(VOLUME_BYTES);
    bed.driver.requests(bed.source, depth, (0..WARM_UP).map(first_block));
    let mark = bed.driver.mark();
    bed.driver.requests(bed.source, depth, (WARM_UP..WARM_UP + REQUESTS).map(first_block));
    counts.insert(format!("4 KiB write, depth {depth}"), bed.driver.since(&mark, REQUESTS));
}

fn plain_reads(counts: &mut Baseline, depth: usize) {
    let mut bed = Bed::new(VOLUME_BYTES);
    bed.driver.requests(bed.source, depth, (0..WARM_UP).map(read));
    let mark = bed.driver.mark();
    bed.driver.requests(bed.source, depth, (0..REQUESTS).map(read));
    counts.insert(format!("4 KiB read, depth {depth}"), bed.driver.since(&mark, REQUESTS));
}

/// Writes of which each is the first to its track since the copies were made, then what follows behind them.
fn first_writes(counts: &mut Baseline, copies: &str, depth: usize, copy: impl FnOnce(&mut Bed)) {
    let mut bed = Bed::new(VOLUME_BYTES);
    copy(&mut bed);
    bed.driver.requests(bed.source, depth, (0..WARM_UP).map(first_block));
    bed.driver.drain();
    let name = format!("first 4 KiB write under {copies}, depth {depth}");
    let mark = bed.driver.mark();
    bed.driver.requests(bed.source, depth, (WARM_UP..WARM_UP + REQUESTS).map(first_block));
    counts.insert(name.clone(), bed.driver.since(&mark, REQUESTS));
    let mark = bed.driver.mark();
    bed.driver.drain();
    counts.insert(format!("{name}, drained"), bed.driver.since(&mark, REQUESTS));
}

/// Pairs of a write and a FLUSH, one after the other.
fn flushed_writes(counts: &mut Baseline, copies: &str, copy: impl FnOnce(&mut Bed)) {
    let mut bed = Bed::new(VOLUME_BYTES);
    copy(&mut bed);
    let pair = |number| [first_block(number), RequestAction::Flush];
    bed.driver.requests(bed.source, 1, (0..WARM_UP).flat_map(pair));
    let mark = bed.driver.mark();
    bed.driver.requests(bed.source, 1, (WARM_UP..WARM_UP + REQUESTS).flat_map(pair));
    let name = format!("4 KiB write and FLUSH, depth 1, {copies}");
    counts.insert(name, bed.driver.since(&mark, REQUESTS));
}

/// Of a target of which each second block was preserved and the others are read from the source.
fn reads_of_a_thin_target(counts: &mut Baseline) {
    let mut bed = Bed::new(VOLUME_BYTES);
    bed.copy_thin(1);
    bed.driver.requests(bed.source, 32, (0..REQUESTS).step_by(2).map(write));
    bed.driver.drain();
    let target = bed.driver.volume_named("thin0");
    bed.driver.requests(target, 32, (0..WARM_UP).map(read));
    let mark = bed.driver.mark();
    bed.driver.requests(target, 32, (0..REQUESTS).map(read));
    let name = "4 KiB read of a thin target, half preserved, depth 32";
    counts.insert(name.to_owned(), bed.driver.since(&mark, REQUESTS));
}

fn background_copy(counts: &mut Baseline) {
    let bytes = 4 * MIB;
    let mut bed = Bed::new(bytes);
    let target = bed.driver.volume("full", bytes, None);
    let mark = bed.driver.mark();
    bed.driver.establish(SOURCE, "full", CopyMode::Copy);
    bed.driver.until_simplex(target);
    counts.insert("background copy of 4 MiB".to_owned(), bed.driver.since(&mark, 1));
}

fn establish(counts: &mut Baseline) {
    let mut bed = Bed::new(MIB);
    bed.make_thin(2);
    bed.driver.establish(SOURCE, "thin0", CopyMode::Nocopy);
    bed.driver.withdraw("thin0");
    bed.driver.rest();
    let mark = bed.driver.mark();
    bed.driver.establish(SOURCE, "thin1", CopyMode::Nocopy);
    counts.insert("establish of a thin target".to_owned(), bed.driver.since(&mark, 1));
}

/// A write of the first block of a track.
fn first_block(track: u64) -> RequestAction {
    write(track * BLOCKS_PER_TRACK)
}

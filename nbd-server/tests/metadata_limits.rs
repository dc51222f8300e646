//! As much metadata as there can be: as many relationships as a volume may have, and changes recorded on the largest
//! volume; time and memory of a real server.

#[path = "common/commands.rs"]
mod commands;
#[path = "common/disk.rs"]
mod disk;
#[path = "common/process.rs"]
mod process;
#[path = "common/random.rs"]
mod random;

use std::ops::Range;
use std::path::Path;
use std::time::{Duration, Instant};

use flashtrack_engine::admin::{
    Command, CopyMode, CopyReport, CopySelector, EstablishSpec, ExtentSpec, Incremental, PairSpec,
    RefusalKind, Report,
};
use flashtrack_engine::units::RelationshipId;

use crate::disk::Disk;
use crate::process::Server;
use crate::random::Random;

const TRACK: u64 = 65_536;
const MEMORY_KIB_MAX: u64 = 256 << 10;
/// What times are asked of: a release build; the others only print.
const TIMES_COUNT: bool = !cfg!(debug_assertions);

/// As many as a volume may have.
const RELATIONSHIPS: u32 = 65_534;
/// Extents of one command.
const AT_ONCE: u32 = 32;
/// How often the last one of them is made.
const TRIES: usize = 9;
const ONE_COMMAND_MAX: Duration = Duration::from_millis(5);
const WITHDRAW_MAX: Duration = Duration::from_secs(10);
const RESTART_MAX: Duration = Duration::from_secs(2);

const LARGEST: u64 = 15 << 40;
/// One track of a hundred of the largest volume takes many minutes: so many with `FLASHTRACK_CHANGED_TRACKS=2516582`.
const CHANGED_USUALLY: u64 = LARGEST / TRACK / 100 / 125;
/// Writes until everything is home, so that the metadata alone is measured.
const BETWEEN_DRAINS: usize = 10_000;
const REFRESH_MAX: Duration = Duration::from_millis(500);
/// Ten million with `FLASHTRACK_PRESERVED_BLOCKS=10000000`, as DESIGN.md asks, take about eight minutes.
const PRESERVED_USUALLY: u64 = 200_000;
const BLOCK: u64 = 4096;
/// Memory of a server beyond that of the preserved blocks, and of each of these.
const MEMORY_BYTES: u64 = 64 << 20;
const BYTES_PER_PRESERVED_BLOCK: u64 = 12;
/// Writes of a track each, as fast as they are taken.
const BURST: u64 = 150_000;

fn establish(tracks: Range<u32>) -> Command {
    let extent = |track| ExtentSpec { source_track: track, target_track: track, tracks: 1 };
    let extents = tracks.map(extent).collect();
    let pair = PairSpec { source: "s".to_owned(), target: "t".to_owned(), extents };
    Command::CopyEstablish(EstablishSpec {
        pairs: vec![pair],
        mode: CopyMode::Nocopy,
        ..EstablishSpec::default()
    })
}

fn copies(server: &Server, command: &Command) -> Vec<CopyReport> {
    match server.command(command) {
        Report::Copies(copies) => copies,
        other => panic!("no relationships: {other:?}"),
    }
}

fn timed<T>(what: &str, most: Duration, work: impl FnOnce() -> T) -> T {
    let began = Instant::now();
    let result = work();
    assert_time(what, most, began.elapsed());
    result
}

fn assert_time(what: &str, most: Duration, took: Duration) {
    println!("{what}: {took:?}");
    assert!(!TIMES_COUNT || took < most, "{what}: {took:?}, at most {most:?}");
}

/// How long the command takes: the median, since other programs run too.
fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

/// How long it takes to be shown a relationship.
fn query(server: &Server, id: u32, source_track: u32) -> Duration {
    let asked = Instant::now();
    let shown = copies(server, &Command::CopyShow(CopySelector::Id(RelationshipId(id))));
    let took = asked.elapsed();
    assert_eq!((shown.len(), shown[0].source_track), (1, source_track));
    took
}

/// What the kernel says of the server's memory, in KiB.
fn memory_kib(server: &Server, field: &str) -> u64 {
    let path = format!("/proc/{}/status", server.id());
    let status = std::fs::read_to_string(path).expect("the server runs");
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
    kib.and_then(|kib| kib.trim().parse().ok()).expect("a number of KiB")
}

/// The most memory that the server had at any time.
fn assert_memory(server: &Server, when: &str) {
    let kib = memory_kib(server, "VmHWM");
    println!("VmHWM {when}: {kib} KiB");
    assert!(kib < MEMORY_KIB_MAX, "{when}: {kib} KiB");
}

#[test]
fn m_01_a_volume_has_65_534_relationships_and_each_is_made_and_found_in_an_instant() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let server = Server::start_with(folder.path(), &[]);
    let bytes = u64::from(RELATIONSHIPS + 1) * TRACK;
    server.command(&commands::full("s", bytes));
    server.command(&commands::full("t", bytes));
    let began = Instant::now();
    for first in (0..RELATIONSHIPS - 1).step_by(AT_ONCE as usize) {
        server.command(&establish(first..(first + AT_ONCE).min(RELATIONSHIPS - 1)));
    }
    println!("all but one: {:?}", began.elapsed());

    let last = RELATIONSHIPS - 1..RELATIONSHIPS;
    let (mut establishes, mut queries) = (Vec::new(), Vec::new());
    for _ in 0..TRIES {
        let asked = Instant::now();
        let made = copies(&server, &establish(last.clone()));
        establishes.push(asked.elapsed());
        queries.push(query(&server, made[0].id, last.start));
        let withdraw = CopySelector::Id(RelationshipId(made[0].id));
        server.command(&Command::CopyWithdraw(withdraw.into()));
    }
    assert_time("the last establish", ONE_COMMAND_MAX, median(establishes));
    assert_time("a query of it", ONE_COMMAND_MAX, median(queries));
    let made = copies(&server, &establish(last.clone()));
    let more = server.try_command(&establish(last.end..last.end + 1));
    let refusal = more.expect_err("no volume may have more");
    assert_eq!(refusal.kind, RefusalKind::VolumeRelationships, "{refusal:?}");
    assert!(refusal.message.contains("`s`") && refusal.message.contains("65534"), "{refusal:?}");
    assert_memory(&server, "with all relationships");

    server.end();
    let server = timed("the restart", RESTART_MAX, || Server::start_with(folder.path(), &[]));
    let volumes = commands::volumes(&server);
    assert!(volumes.iter().all(|volume| {
        volume.source_relationships + volume.target_relationships == RELATIONSHIPS
    }));
    let queries = (0..TRIES).map(|_| query(&server, made[0].id, last.start)).collect();
    assert_time("a query after the restart", ONE_COMMAND_MAX, median(queries));
    timed("the withdraw of all", WITHDRAW_MAX, || server.command(&commands::withdraw("t")));
    assert_eq!(commands::copies(&server), []);
    assert_memory(&server, "after the withdraw of all");
}

fn incremental() -> Command {
    let pair = PairSpec { source: "s".to_owned(), target: "t".to_owned(), extents: vec![] };
    Command::CopyEstablish(EstablishSpec {
        pairs: vec![pair],
        mode: CopyMode::Nocopy,
        incremental: Incremental::TargetWritable,
        ..EstablishSpec::default()
    })
}

/// The one relationship there is, when everything staged is home.
fn drained(server: &Server) -> CopyReport {
    server.command(&Command::StoreDrain {});
    let mut copies = commands::copies(server);
    assert_eq!(copies.len(), 1);
    copies.remove(0)
}

/// Some tracks of a volume of fifteen tebibytes as byte ranges, and how many different ones they are.
fn random_tracks(changed: u64) -> (Vec<Range<u64>>, u32) {
    let mut random = Random::from_seed(0x15_71_B0_01);
    let mut tracks: Vec<u64> = (0..changed).map(|_| random.below(LARGEST / TRACK)).collect();
    let ranges = tracks.iter().map(|track| track * TRACK..(track + 1) * TRACK).collect();
    tracks.sort_unstable();
    tracks.dedup();
    (ranges, u32::try_from(tracks.len()).expect("fewer than all"))
}

/// Volumes `s` and `t` of fifteen tebibytes, `t` an incremental copy of `s` of which no track is copied.
fn largest_pair(folder: &Path) -> Server {
    let server = Server::start_with(folder, &[]);
    server.command(&commands::full("s", LARGEST));
    server.command(&commands::full("t", LARGEST));
    server.command(&incremental());
    server
}

/// Copying fifteen tebibytes takes too long, so tracks get onto the target by writes of zeroes there. Their source
/// tracks, which then owe nothing, are changed in the same way: what is recorded is what it would be.
#[test]
fn m_02_changes_of_one_track_in_a_hundred_of_15_tib_are_recorded_in_little_memory() {
    let changed = std::env::var("FLASHTRACK_CHANGED_TRACKS").map_or(CHANGED_USUALLY, |tracks| {
        tracks.parse().expect("FLASHTRACK_CHANGED_TRACKS is a number")
    });
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let server = largest_pair(folder.path());
    let all = u32::try_from(LARGEST / TRACK).expect("track numbers have 32 bits");
    let (ranges, distinct) = random_tracks(changed);

    let began = Instant::now();
    for volume in ["t", "s"] {
        let mut disk = Disk::of(&server, volume);
        for some in ranges.chunks(BETWEEN_DRAINS) {
            disk.write_zeroes_to(some);
            server.command(&Command::StoreDrain {});
        }
        println!("{distinct} tracks of {volume}: {:?}", began.elapsed());
        assert_memory(&server, "with its changes");
    }
    let copy = drained(&server);
    assert_eq!((copy.tracks_left, copy.changed_tracks), (all - distinct, distinct));

    server.end();
    let server = timed("the restart", RESTART_MAX, || Server::start_with(folder.path(), &[]));
    assert_eq!(drained(&server).changed_tracks, distinct);
    timed("the refresh", REFRESH_MAX, || server.command(&incremental()));
    let copy = drained(&server);
    assert_eq!((copy.tracks_left, copy.changed_tracks), (all, 0));
    assert_memory(&server, "after restart and refresh");
}

/// Zeroes take little of the journal, so its size alone does not bound what is staged (rule O12).
#[test]
fn m_03_a_burst_of_writes_that_owe_copies_is_held_in_bounded_memory() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let server = largest_pair(folder.path());
    let (ranges, _) = random_tracks(BURST);
    let began = Instant::now();
    Disk::of(&server, "s").write_zeroes_to(&ranges);
    println!("{BURST} tracks: {:?}", began.elapsed());
    assert_memory(&server, "after the burst");
    server.end_by_kill();
}

/// Blocks become preserved by writes of zeroes: what is recorded of them is what it would be, without as many files' bytes.
#[test]
fn m_04_a_preserved_block_of_the_largest_volume_takes_at_most_twelve_bytes_of_memory() {
    let blocks = std::env::var("FLASHTRACK_PRESERVED_BLOCKS").map_or(PRESERVED_USUALLY, |blocks| {
        blocks.parse().expect("FLASHTRACK_PRESERVED_BLOCKS is a number")
    });
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let server = Server::start_with(folder.path(), &[]);
    server.command(&commands::pool("p", blocks * BLOCK));
    server.command(&commands::full("s", LARGEST));
    server.command(&commands::thin("t", LARGEST, "p"));
    server.command(&commands::nocopy("s", "t"));
    let mut random = Random::from_seed(0x04_71_B0_01);
    let mut disk = Disk::of(&server, "s");

    let began = Instant::now();
    let mut left = blocks;
    while left > 0 {
        let some = left.min(BETWEEN_DRAINS as u64);
        let block = |_| random.below(LARGEST / BLOCK);
        let ranges: Vec<Range<u64>> =
            (0..some).map(block).map(|block| block * BLOCK..(block + 1) * BLOCK).collect();
        disk.write_zeroes_to(&ranges);
        server.command(&Command::StoreDrain {});
        left -= some;
    }
    println!("{blocks} blocks: {:?}", began.elapsed());

    let pools = commands::pools(&server);
    // Of so many blocks hardly any was drawn twice.
    let preserved = pools[0].preserved_bytes / BLOCK;
    assert!(preserved > blocks - blocks / 100, "{preserved} of {blocks} are preserved");
    let allowed = (MEMORY_BYTES + preserved * BYTES_PER_PRESERVED_BLOCK) >> 10;
    let (now, most) = (memory_kib(&server, "VmRSS"), memory_kib(&server, "VmHWM"));
    println!(
        "{preserved} preserved blocks: VmRSS {now} KiB, VmHWM {most} KiB, allowed {allowed} KiB"
    );
    assert!(now < allowed, "{now} KiB");
    server.end_by_kill();
}

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
use std::thread;
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
/// A full journal of them takes minutes.
const DRAIN_MAX: Duration = Duration::from_mins(20);
const CHANGED_USUALLY: u64 = LARGEST / TRACK / 100 / 125;

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

/// The most memory that the server had at any time.
fn assert_memory(server: &Server, when: &str) {
    let path = format!("/proc/{}/status", server.id());
    let status = std::fs::read_to_string(path).expect("the server runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
    let kib: u64 = kib.and_then(|kib| kib.trim().parse().ok()).expect("a number of KiB");
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
    let began = Instant::now();
    while staged_blocks(server) > 0 {
        assert!(began.elapsed() < DRAIN_MAX, "{} blocks are staged", staged_blocks(server));
        thread::sleep(Duration::from_millis(20));
    }
    server.command(&Command::StoreDrain {});
    let mut copies = commands::copies(server);
    assert_eq!(copies.len(), 1);
    copies.remove(0)
}

fn staged_blocks(server: &Server) -> u64 {
    match server.command(&Command::StoreStatus {}) {
        Report::Store(store) => store.staged_blocks,
        other => panic!("no report of the store: {other:?}"),
    }
}

/// Copying fifteen tebibytes takes too long, so tracks get onto the target by writes of zeroes there. Their source
/// tracks, which then owe nothing, are changed in the same way: what is recorded is what it would be.
#[test]
fn m_02_changes_of_one_track_in_a_hundred_of_15_tib_are_recorded_in_little_memory() {
    let changed = std::env::var("FLASHTRACK_CHANGED_TRACKS").map_or(CHANGED_USUALLY, |tracks| {
        tracks.parse().expect("FLASHTRACK_CHANGED_TRACKS is a number")
    });
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let server = Server::start_with(folder.path(), &[]);
    server.command(&commands::full("s", LARGEST));
    server.command(&commands::full("t", LARGEST));
    let all = u32::try_from(LARGEST / TRACK).expect("track numbers have 32 bits");
    let mut random = Random::from_seed(0x15_71_B0_01);
    let tracks: Vec<u64> = (0..changed).map(|_| random.below(u64::from(all))).collect();
    let ranges: Vec<Range<u64>> =
        tracks.iter().map(|track| track * TRACK..(track + 1) * TRACK).collect();
    let mut distinct = tracks;
    distinct.sort_unstable();
    distinct.dedup();
    let distinct = u32::try_from(distinct.len()).expect("fewer than all");

    server.command(&incremental());
    let began = Instant::now();
    Disk::of(&server, "t").write_zeroes_to(&ranges);
    assert_eq!(drained(&server).tracks_left, all - distinct);
    println!("{distinct} tracks of the target: {:?}", began.elapsed());
    assert_memory(&server, "with the target's changes");
    Disk::of(&server, "s").write_zeroes_to(&ranges);
    let copy = drained(&server);
    assert_eq!((copy.tracks_left, copy.changed_tracks), (all - distinct, distinct));
    println!("and of the source: {:?}", began.elapsed());
    assert_memory(&server, "with the changes of both");

    server.end();
    let server = timed("the restart", RESTART_MAX, || Server::start_with(folder.path(), &[]));
    assert_eq!(drained(&server).changed_tracks, distinct);
    timed("the refresh", ONE_COMMAND_MAX, || server.command(&incremental()));
    let copy = drained(&server);
    assert_eq!((copy.tracks_left, copy.changed_tracks), (all, 0));
    assert_memory(&server, "after restart and refresh");
}

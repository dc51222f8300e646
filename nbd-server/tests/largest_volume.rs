//! The largest volume there is, copied in an instant by a real server: time, memory and space.

#[path = "common/commands.rs"]
mod commands;
#[path = "common/process.rs"]
mod process;

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use flashtrack_engine::admin::RefusalKind;

use crate::process::{STORE, Server};

const LARGEST: u64 = 15 << 40;
const ESTABLISHES: usize = 100;
/// A machine that others use too gets so many tries.
const ROUNDS: usize = 3;
/// Asked of every build: the dev profile is optimised too, and reaches a tenth of it.
const MEDIAN_MAX: Duration = Duration::from_millis(5);
const MEMORY_KIB_MAX: u64 = 100 << 10;
/// What a fresh store may take beside its journal.
const FRESH_BYTES_MAX: u64 = 4 << 20;
/// A fresh journal of a gibibyte: the segment in use, nearly half that is ready, all of 16 MiB, and their folder.
const FRESH_JOURNAL_BYTES_MAX: u64 = (1 + 28) * (16 << 20) + (64 << 10);

#[test]
fn fifteen_tebibytes_are_copied_in_an_instant_and_take_next_to_nothing() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let server = Server::start_with(folder.path(), &[]);
    let refusal = server.try_command(&commands::full("larger", LARGEST + 1));
    let refusal = refusal.expect_err("no volume is larger than the largest");
    assert_eq!(refusal.kind, RefusalKind::Invalid);
    assert!(refusal.message.contains(&format!("{LARGEST} bytes (15 TiB)")), "{refusal}");

    server.command(&commands::pool("pool", 1 << 30));
    server.command(&commands::full("source", LARGEST));
    server.command(&commands::thin("target", LARGEST, "pool"));
    let store = folder.path().join(STORE);
    let journal = allocated_bytes(&store.join("journal"));
    // Each on its own: segments are made meanwhile.
    let beside: u64 = store
        .read_dir()
        .expect("a readable folder")
        .map(|entry| entry.expect("a readable folder").path())
        .filter(|path| !path.ends_with("journal"))
        .map(|path| allocated_bytes(&path))
        .sum();
    println!("a fresh store: {beside} bytes, and {journal} of journal");
    assert!(beside <= FRESH_BYTES_MAX, "{beside} bytes beside the journal");
    assert!(journal <= FRESH_JOURNAL_BYTES_MAX, "{journal} bytes of journal");

    let medians: Vec<Duration> = (0..ROUNDS).map(|_| median_establish(&server)).collect();
    let memory = peak_memory_kib(&server);
    println!("VmHWM {memory} KiB");
    assert!(medians.iter().any(|median| *median < MEDIAN_MAX), "medians {medians:?}");
    assert!(memory < MEMORY_KIB_MAX, "{memory} KiB");
}

/// The median of many establishes of the largest volume; tells the largest time too.
fn median_establish(server: &Server) -> Duration {
    let mut times: Vec<Duration> =
        (0..ESTABLISHES).map(|_| establish(server, "source", "target")).collect();
    let median = median(&mut times);
    let largest = times.last().copied().unwrap_or_default();
    println!("establish of 15 TiB, {ESTABLISHES} times: median {median:?}, largest {largest:?}");
    median
}

/// The time of an establish, from the command to its answer. The copy is withdrawn again.
fn establish(server: &Server, source: &str, target: &str) -> Duration {
    let asked = Instant::now();
    server.command(&commands::nocopy(source, target));
    let took = asked.elapsed();
    server.command(&commands::withdraw(target));
    took
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

/// Bytes that a file, or a folder and all in it, takes of the file system: what `du` tells.
fn allocated_bytes(path: &Path) -> u64 {
    let metadata = path.symlink_metadata().expect("it is there");
    let mut bytes = metadata.blocks() * 512;
    if metadata.is_dir() {
        for entry in path.read_dir().expect("a readable folder") {
            bytes += allocated_bytes(&entry.expect("a readable folder").path());
        }
    }
    bytes
}

/// The most memory that the server had at any time.
fn peak_memory_kib(server: &Server) -> u64 {
    let path = format!("/proc/{}/status", server.id());
    let status = std::fs::read_to_string(path).expect("the server runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
    kib.and_then(|kib| kib.trim().parse().ok()).expect("a number of KiB")
}

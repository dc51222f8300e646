//! Background copies on file systems that let files share blocks: nothing is written, and the copy is exact.

#[path = "common/commands.rs"]
mod commands;
#[path = "common/disk.rs"]
mod disk;
#[path = "common/loop_mount.rs"]
mod loop_mount;
#[path = "common/process.rs"]
mod process;
#[path = "common/random.rs"]
mod random;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use flashtrack_engine::admin::CopyMode;
use rustix::fs::{FallocateFlags, fallocate};

use crate::disk::Disk;
use crate::loop_mount::LoopMount;
use crate::process::Server;
use crate::random::Random;

const MIB: usize = 1 << 20;
const VOLUME: usize = 64 * MIB;
/// What metadata, journal and checkpoints may take meanwhile.
const BESIDES: u64 = 8 << 20;
const PATIENCE: Duration = Duration::from_mins(1);

fn used_bytes(root: &Path) -> u64 {
    let folder = std::fs::File::open(root).expect("the file system is mounted");
    rustix::fs::syncfs(&folder).expect("it can be synced");
    let told = rustix::fs::fstatvfs(&folder).expect("it tells what is used");
    (told.f_blocks - told.f_bfree) * told.f_frsize
}

fn wait_for_completion(server: &Server) {
    let began = Instant::now();
    // A complete copy ends by itself.
    while !commands::copies(server).is_empty() {
        assert!(began.elapsed() < PATIENCE, "{:?}", commands::copies(server));
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A stranger's file that takes all the space there is.
fn fill_up(root: &Path) -> PathBuf {
    let path = root.join("stranger");
    let stranger = std::fs::File::create(&path).expect("a file can be made");
    let (mut end, mut bytes) = (0, 64 * MIB as u64);
    while bytes >= 4096 {
        match fallocate(&stranger, FallocateFlags::empty(), end, bytes) {
            Ok(()) => end += bytes,
            Err(_) => bytes /= 2,
        }
    }
    stranger.sync_all().expect("it can be synced");
    path
}

/// Writes something else to every part of the volume; gives the volume's content.
fn fill(disk: &mut Disk, random: &mut Random) -> Vec<u8> {
    let mut content = Vec::with_capacity(VOLUME);
    for at in (0..VOLUME).step_by(MIB) {
        let words = (0..MIB / 8).flat_map(|_| random.below(u64::MAX).to_le_bytes());
        content.extend(words);
        disk.write(at as u64, &content[at..]).expect("it is written");
    }
    disk.flush().expect("it is flushed");
    content
}

/// A server whose store is a folder of the file system, with two volumes.
fn start(file_system: &LoopMount, sockets: &Path, options: [&str; 2]) -> Server {
    let store = file_system.root().join(options.concat());
    std::os::unix::fs::symlink(&store, sockets.join("store")).expect("a link can be made");
    std::fs::create_dir(&store).expect("a folder can be made");
    let server = Server::start_with(sockets, &[&["--journal-size", "64M"][..], &options].concat());
    for name in ["source", "target"] {
        server.command(&commands::full(name, VOLUME as u64));
    }
    server
}

/// A copy of a whole volume is exact while its source changes, and after a crash; gives the space that it has taken.
fn space_of_a_copy(file_system: &LoopMount, options: [&str; 2]) -> u64 {
    let sockets = tempfile::tempdir().expect("a temporary folder can be made");
    let server = start(file_system, sockets.path(), options);
    let mut random = Random::from_seed(0x5EED);
    let mut source = Disk::of(&server, "source");
    let image = fill(&mut source, &mut random);
    let before = used_bytes(&file_system.root());

    server.command(&commands::copy("source", "target", CopyMode::Copy, false));
    wait_for_completion(&server);

    let taken = used_bytes(&file_system.root()).saturating_sub(before);
    let changed = fill(&mut source, &mut random);
    assert!(server.image("target") == image, "the target while its source changed");
    server.kill();
    let server = server.killed();
    assert!(server.image("target") == image, "the target after a crash");
    assert!(server.image("source") == changed, "the source after a crash");
    server.end_by_kill();
    taken
}

#[test]
fn a_background_copy_on_xfs_takes_no_space_unless_it_is_to_be_written_and_is_exact() {
    let Some(xfs) = LoopMount::new(1 << 30, &["mkfs.xfs", "-q"]) else { return };

    let buffered = space_of_a_copy(&xfs, ["--io", "buffered"]);
    let direct = space_of_a_copy(&xfs, ["--io", "direct"]);
    let written = space_of_a_copy(&xfs, ["--reflink", "never"]);

    assert!(buffered < BESIDES && direct < BESIDES, "{buffered} and {direct} bytes");
    assert!(written >= VOLUME as u64, "{written} bytes");
}

#[test]
fn a_background_copy_on_btrfs_takes_no_space_and_is_exact() {
    let Some(btrfs) = LoopMount::new(1 << 30, &["mkfs.btrfs", "-q"]) else { return };

    let taken = space_of_a_copy(&btrfs, ["--io", "buffered"]);

    assert!(taken < BESIDES, "{taken} bytes");
}

#[test]
fn when_no_space_is_left_for_what_was_shared_writes_are_refused_and_nothing_is_lost() {
    let Some(xfs) = LoopMount::new(512 << 20, &["mkfs.xfs", "-q"]) else { return };
    let sockets = tempfile::tempdir().expect("a temporary folder can be made");
    let server = start(&xfs, sockets.path(), ["--io", "buffered"]);
    let mut random = Random::from_seed(0x5EED);
    let mut source = Disk::of(&server, "source");
    let mut content = fill(&mut source, &mut random);
    let image = content.clone();
    server.command(&commands::copy("source", "target", CopyMode::Copy, false));
    wait_for_completion(&server);

    let stranger = fill_up(&xfs.root());
    let mut refused = 0;
    for at in (0..VOLUME).step_by(1 << 16) {
        let data = vec![at.to_le_bytes()[2]; 1 << 16];
        match source.write(at as u64, &data) {
            Ok(()) => content[at..at + data.len()].copy_from_slice(&data),
            Err(_) => refused += 1,
        }
    }

    assert!(refused > 0, "there was space for all of it");
    assert!(server.image("target") == image, "the target while there is no space");
    std::fs::remove_file(stranger).expect("the stranger can go");
    // What was refused may have been written in part.
    for at in (0..VOLUME).step_by(MIB) {
        source.write(at as u64, &content[at..at + MIB]).expect("there is space again");
    }
    source.flush().expect("it is flushed");
    server.kill();
    let server = server.killed();
    assert!(server.image("source") == content, "the source after a crash");
    assert!(server.image("target") == image, "the target after a crash");
    server.end_by_kill();
}

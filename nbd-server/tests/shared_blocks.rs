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

use std::path::Path;
use std::time::{Duration, Instant};

use flashtrack_engine::admin::CopyMode;

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

/// A copy of a whole volume takes no space, is exact while its source changes, and after a crash.
fn copies_share_blocks(file_system: &LoopMount, io: &str) {
    let sockets = tempfile::tempdir().expect("a temporary folder can be made");
    let store = file_system.root().join(format!("store-{io}"));
    std::os::unix::fs::symlink(&store, sockets.path().join("store")).expect("a link can be made");
    std::fs::create_dir(&store).expect("a folder can be made");
    let server = Server::start_with(sockets.path(), &["--journal-size", "64M", "--io", io]);
    for name in ["source", "target"] {
        server.command(&commands::full(name, VOLUME as u64));
    }
    let mut random = Random::from_seed(0x5EED);
    let mut source = Disk::of(&server, "source");
    let image = fill(&mut source, &mut random);
    let before = used_bytes(&file_system.root());

    server.command(&commands::copy("source", "target", CopyMode::Copy, false));
    wait_for_completion(&server);

    let taken = used_bytes(&file_system.root()).saturating_sub(before);
    assert!(taken < BESIDES, "the copy of {VOLUME} bytes has taken {taken}");
    let changed = fill(&mut source, &mut random);
    assert!(server.image("target") == image, "the target while its source changed");
    server.kill();
    let server = server.killed();
    assert!(server.image("target") == image, "the target after a crash");
    assert!(server.image("source") == changed, "the source after a crash");
    server.end_by_kill();
}

#[test]
fn a_background_copy_on_xfs_takes_no_space_and_is_exact() {
    let Some(xfs) = LoopMount::new(1 << 30, &["mkfs.xfs", "-q"]) else { return };
    copies_share_blocks(&xfs, "buffered");
    copies_share_blocks(&xfs, "direct");
}

#[test]
fn a_background_copy_on_btrfs_takes_no_space_and_is_exact() {
    let Some(btrfs) = LoopMount::new(1 << 30, &["mkfs.btrfs", "-q"]) else { return };
    copies_share_blocks(&btrfs, "buffered");
}

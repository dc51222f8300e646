//! A real file system runs full under the store: under a pool, a home, the journal, a checkpoint (rule O9).
//!
//! Each test has a small ext4 of its own on a loop device. That takes root; without it they say so and end.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod export;
#[path = "../common/loop_mount.rs"]
mod loop_mount;
mod server;
mod small_file_system;

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::export::{Export, Refused, content};
use crate::server::Server;
use crate::small_file_system::SmallFileSystem;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const ENOSPC: u32 = 28;
/// How long anything may take that is to happen by itself.
const PATIENCE: Duration = Duration::from_mins(1);

/// What `look` finds, as soon as it finds something.
fn eventually<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < PATIENCE, "it did not happen");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn copies_whose_pool_cannot_grow_fail_and_their_source_goes_on() {
    let Some(fs) = SmallFileSystem::mount(256 * MIB) else { return };
    let server = Server::start(&fs.store(), "64M");
    server.pool(64 * MIB);
    let mut source = server.volume("source", 16 * MIB, None);
    let mut other = server.volume("other", 4 * MIB, None);
    let mut target = server.volume("target", 16 * MIB, Some("pool"));
    server.volume("innocent", 4 * MIB, Some("pool"));
    let mut thin = server.volume("thin", 4 * MIB, Some("pool"));
    source.fill(1, 0..16 * MIB);
    other.fill(1, 0..4 * MIB);
    thin.fill(1, 0..64 * KIB);
    server.drain();
    server.establish("source", "target", None);
    server.establish("other", "innocent", None);

    fs.fill();
    source.fill(2, 0..16 * MIB);

    eventually(|| (server.state_of_copy("target") == "failed").then_some(()));
    assert!(target.read(0, 4096).is_err(), "a failed target is read");
    server.drain();
    source.holds(2, 0..16 * MIB);
    source.fill(3, 0..16 * MIB);
    assert_eq!(server.state_of_copy("innocent"), "f-copy", "it needed no slot");
    let taken = thin.write_holes_until_refused(4, MIB);
    thin.fill(4, 0..64 * KIB);
    for &offset in &taken {
        thin.holds(4, offset..offset + 4 * KIB);
    }
    server.store();

    server.kill();
    fs.free();
    let server = Server::start(&fs.store(), "64M");
    server.drain();
    let (mut source, mut thin) = (server.export("source"), server.export("thin"));
    source.holds(3, 0..16 * MIB);
    thin.holds(4, 0..64 * KIB);
    for &offset in &taken {
        thin.holds(4, offset..offset + 4 * KIB);
    }
    server.export("innocent").holds(1, 0..4 * MIB);
    server.command("copy_withdraw", json!({"target": "target"}));
    server.establish("source", "target", None);
    source.fill(5, 0..4 * MIB);
    server.drain();
    server.export("target").holds(3, 0..16 * MIB);
}

#[test]
fn copies_whose_full_target_cannot_grow_fail_and_their_source_goes_on() {
    let Some(fs) = SmallFileSystem::mount(192 * MIB) else { return };
    let server = Server::start(&fs.store(), "64M");
    let mut sources: Vec<Export> = Vec::new();
    for mode in ["nocopy", "copy"] {
        sources.push(server.volume(&format!("source-{mode}"), 8 * MIB, None));
        server.volume(&format!("target-{mode}"), 8 * MIB, None);
    }
    for source in &mut sources {
        source.fill(1, 0..8 * MIB);
    }

    fs.fill();
    for (mode, source) in ["nocopy", "copy"].iter().zip(&mut sources) {
        let target = format!("target-{mode}");
        server.establish(&format!("source-{mode}"), &target, Some(mode));
        source.fill(2, 0..8 * MIB);
        server.drain();
        assert_eq!(server.state_of_copy(&target), "failed");
        source.fill(3, 0..4 * MIB);
    }
    server.store();

    server.kill();
    fs.free();
    let server = Server::start(&fs.store(), "64M");
    for mode in ["nocopy", "copy"] {
        let mut source = server.export(&format!("source-{mode}"));
        source.holds(3, 0..4 * MIB);
        source.holds(2, 4 * MIB..8 * MIB);
        assert!(server.export(&format!("target-{mode}")).read(0, 4096).is_err());
    }
}

/// How a server whose homes are full ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    SpaceFreed,
    Killed,
    Terminated,
}

#[test]
fn a_full_home_keeps_what_is_staged_until_there_is_space() {
    staged_into_holes(End::SpaceFreed);
}

#[test]
fn what_is_staged_for_a_full_home_survives_a_kill() {
    staged_into_holes(End::Killed);
}

#[test]
fn a_server_with_a_full_home_ends_in_order_and_keeps_what_is_staged() {
    staged_into_holes(End::Terminated);
}

fn staged_into_holes(end: End) {
    let Some(fs) = SmallFileSystem::mount(160 * MIB) else { return };
    let server = Server::start(&fs.store(), "64M");
    server.pool(64 * MIB);
    let mut source = server.volume("source", 64 * MIB, None);
    let mut plain = server.volume("plain", 4 * MIB, None);
    let mut sparse = server.volume("sparse", 4 * MIB, None);
    server.volume("target", 64 * MIB, Some("pool"));
    source.fill(1, 0..4 * MIB);
    plain.fill(1, 0..4 * MIB);
    server.establish("source", "target", None);

    fs.fill();
    let refused = sparse.write(0, &content(2, 0, MIB));
    assert_eq!(refused, Err(Refused(ENOSPC)));
    plain.fill(2, 0..4 * MIB);
    source.fill(2, 8 * MIB..9 * MIB);
    let taken = source.write_holes_until_refused(2, 16 * MIB);

    let over = eventually(|| source.write(8 * MIB, &content(2, 8 * MIB, 4 * KIB)).err());
    assert_eq!(over, Refused(ENOSPC), "it may never fit its home");
    assert_eq!(server.state_of_copy("target"), "failed");
    source.fill(3, 0..4 * MIB);
    plain.fill(3, 0..4 * MIB);
    source.holds(2, 8 * MIB..9 * MIB);
    assert_ne!(server.store()["staged_bytes"], 0);

    let server = match end {
        End::SpaceFreed => {
            fs.free();
            eventually(|| (server.store()["staged_bytes"] == 0).then_some(()));
            source.fill(4, 32 * MIB..33 * MIB);
            source.holds(4, 32 * MIB..33 * MIB);
            server
        }
        End::Killed | End::Terminated => {
            if end == End::Killed {
                server.kill();
            } else {
                server.terminate();
            }
            fs.free();
            Server::start(&fs.store(), "64M")
        }
    };
    server.drain();
    let mut source = server.export("source");
    source.holds(3, 0..4 * MIB);
    source.holds(2, 8 * MIB..9 * MIB);
    for &offset in &taken {
        source.holds(2, offset..offset + 4 * KIB);
    }
    server.export("plain").holds(3, 0..4 * MIB);
    server.export("sparse").fill(4, 0..MIB);
}

fn segments(fs: &SmallFileSystem) -> usize {
    std::fs::read_dir(fs.store().join("journal")).unwrap().count()
}

#[test]
fn a_journal_that_cannot_grow_goes_on_with_the_segments_it_has() {
    let Some(fs) = SmallFileSystem::mount(384 * MIB) else { return };
    let server = Server::start(&fs.store(), "256M");
    let mut source = server.volume("source", 96 * MIB, None);
    let mut target = server.volume("target", 96 * MIB, None);
    source.fill(1, 0..96 * MIB);
    target.fill(0, 0..96 * MIB);
    let before = eventually(|| Some(segments(&fs)).filter(|&count| count >= 4));
    server.establish("source", "target", Some("nocopy"));

    fs.fill();
    // More than these segments hold: they are filled, brought home and used again.
    source.fill(2, 0..96 * MIB);

    assert_eq!(segments(&fs), before);
    assert_eq!(server.state_of_copy("target"), "f-copy");
    source.holds(2, 0..96 * MIB);
    target.holds(1, 0..96 * MIB);
    assert_ne!(server.store()["counters"]["checkpoints"], 0);

    server.kill();
    fs.free();
    let server = Server::start(&fs.store(), "256M");
    server.export("source").holds(2, 0..96 * MIB);
    server.export("target").holds(1, 0..96 * MIB);
    server.export("source").fill(3, 0..4 * MIB);
    server.drain();
}

#[test]
fn a_checkpoint_that_cannot_grow_leaves_the_old_one_in_force() {
    let Some(fs) = SmallFileSystem::mount(160 * MIB) else { return };
    let server = Server::start(&fs.store(), "64M");
    let mut data = server.volume("data", 4 * MIB, None);
    data.fill(1, 0..4 * MIB);
    // More than the space that a new store's checkpoints have.
    let volumes = 1000;
    for number in 0..volumes {
        let name = format!("{number:063}");
        server.command("volume_create", json!({"name": name, "size_bytes": MIB}));
    }
    let lengths = || ["checkpoint-0", "checkpoint-1"].map(|name| length(&fs.store().join(name)));
    let before = lengths();

    fs.fill();
    server.terminate();
    assert_eq!(lengths(), before);
    // It opens without any space as well.
    let server = Server::start(&fs.store(), "64M");
    server.kill();

    fs.free();
    let server = Server::start(&fs.store(), "64M");
    let found = server.command("volume_list", json!({}));
    assert_eq!(found["volumes"].as_array().unwrap().len(), volumes + 1);
    server.export("data").holds(1, 0..4 * MIB);
    server.terminate();
    assert!(lengths() > before, "{before:?}, then {:?}", lengths());
}

fn length(path: &Path) -> u64 {
    path.metadata().unwrap().len()
}

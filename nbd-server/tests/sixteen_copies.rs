//! Sixteen thin copies of one source at sixteen moments, compared byte for byte with images saved then.
//!
//! `kill_and_restart` has the same with writes in flight, within bounds; here one writer makes every
//! byte known, and copies are drained and withdrawn too. The seed is fixed.

#[path = "common/commands.rs"]
mod commands;
#[path = "common/process.rs"]
mod process;
#[path = "common/random.rs"]
mod random;

use std::collections::BTreeSet;
use std::io::{Seek, SeekFrom, Write};

use flashtrack_engine::admin::Command;
use rustix::fs::{Mode, OFlags};
use tempfile::TempDir;

use crate::process::{Client, Server};
use crate::random::Random;

const BLOCK: usize = 4096;
const VOLUME_BYTES: usize = 2 << 20;
const COPIES: usize = 16;
const SEED: u64 = 0x16_C0_91_E5;

/// A source of which every byte is known.
struct Source {
    client: Client,
    content: Vec<u8>,
    /// Blocks overwritten since the newest copy was taken, and those of all copies together.
    changed: BTreeSet<usize>,
    changed_in_all: usize,
    random: Random,
}

impl Source {
    /// Writes some ranges of any alignment, up to some blocks long.
    fn write_some(&mut self) {
        for _ in 0..24 {
            let bytes = 1 + self.random.index_below(3 * BLOCK);
            let start = self.random.index_below(VOLUME_BYTES - bytes);
            let fill = u8::try_from(self.random.below(256)).expect("a byte");
            self.content[start..start + bytes].fill(fill);
            self.client.seek(SeekFrom::Start(start as u64)).expect("within the volume");
            self.client.write_all(&self.content[start..start + bytes]).expect("it is written");
            self.changed.extend(start / BLOCK..=(start + bytes - 1) / BLOCK);
        }
    }

    fn copied(&mut self) {
        self.changed_in_all += std::mem::take(&mut self.changed).len();
    }
}

/// A copy and what it must hold.
struct Taken {
    target: String,
    image: Vec<u8>,
}

fn assert_exact(server: &Server, taken: &[Taken], when: &str) {
    for copy in taken {
        let image = server.image(&copy.target);
        let wrong = image.iter().zip(&copy.image).position(|(is, should)| is != should);
        assert_eq!(wrong, None, "first wrong byte of {} {when}", copy.target);
    }
}

#[test]
fn sixteen_copies_are_exact_staged_drained_killed_and_while_others_are_withdrawn() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    run_in(&folder, "buffered");
}

#[test]
fn they_are_with_direct_io_too() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::DIRECT;
    match rustix::fs::open(folder.path(), flags, Mode::RUSR) {
        Ok(_) => run_in(&folder, "direct"),
        Err(error) => {
            println!("skipped: no direct I/O in {}: {error}", folder.path().display());
        }
    }
}

fn run_in(folder: &TempDir, io: &str) {
    let server = Server::start_with(folder.path(), &["--journal-size", "64M", "--io", io]);
    let bytes = VOLUME_BYTES as u64;
    server.command(&commands::pool("pool", bytes * COPIES as u64));
    server.command(&commands::full("source", bytes));
    let mut source = Source {
        client: server.connect("source"),
        content: vec![0; VOLUME_BYTES],
        changed: BTreeSet::new(),
        changed_in_all: 0,
        random: Random::from_seed(SEED),
    };
    source.write_some();
    source.changed.clear();
    let mut taken = Vec::new();
    for number in 0..COPIES {
        let target = format!("copy{number}");
        server.command(&commands::thin(&target, bytes, "pool"));
        server.command(&commands::nocopy("source", &target));
        source.copied();
        taken.push(Taken { target, image: source.content.clone() });
        source.write_some();
    }
    source.copied();

    assert_exact(&server, &taken, "while staged");
    server.kill();
    let server = server.killed();
    source.client = server.connect("source");
    assert_exact(&server, &taken, "after kill -9");
    server.command(&Command::StoreDrain {});
    assert_exact(&server, &taken, "when drained");
    assert_space(&server, source.changed_in_all);
    server.kill();
    let server = server.killed();
    source.client = server.connect("source");
    assert_exact(&server, &taken, "after kill -9 of a drained store");

    while !taken.is_empty() {
        source.write_some();
        let gone = taken.swap_remove(source.random.index_below(taken.len()));
        server.command(&commands::withdraw(&gone.target));
        if taken.len().is_multiple_of(3) {
            server.command(&Command::StoreDrain {});
        }
        let when = format!("after the withdraw of {}", gone.target);
        assert_exact(&server, &taken, &when);
    }
    assert_eq!(server.image("source"), source.content);
}

/// What is preserved is counted once for all copies that need it.
fn assert_space(server: &Server, changed: usize) {
    let pool = commands::pools(server).remove(0);
    let used = pool.used_bytes / BLOCK as u64;
    println!("{used} slots for {changed} blocks changed");
    assert_eq!(pool.used_bytes, pool.preserved_bytes, "no target was written");
    assert!(used * 10 <= changed as u64 * 11, "{used} slots for {changed} blocks changed");
}

//! A real server with a pool that is too small: who fails, who does not, and what helps.

#[path = "common/commands.rs"]
mod commands;
#[path = "common/process.rs"]
mod process;

use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use flashtrack_engine::admin::{Command, CopyState, PoolReport, PoolStatus, VolumeStatus};

use crate::process::{Client, PATIENCE, Server};

const BLOCK: usize = 4096;
/// Slots of the pool.
const SLOTS: usize = 64;
const VOLUME_BYTES: usize = 256 * BLOCK;

/// A server with a source of known content, thin volumes `first` and `second`, and a thin volume
/// `own` of which one block is written.
fn server(folder: &Path) -> (Server, Vec<u8>) {
    let server = Server::start(folder);
    let bytes = VOLUME_BYTES as u64;
    server.command(&commands::pool("pool", (SLOTS * BLOCK) as u64));
    server.command(&commands::full("source", bytes));
    for thin in ["first", "second", "own"] {
        server.command(&commands::thin(thin, bytes, "pool"));
    }
    let content: Vec<u8> =
        (0..VOLUME_BYTES).map(|at| u8::try_from(at % 251 + 1).expect("at most 251")).collect();
    server.connect("source").write_all(&content).expect("the source takes it");
    write_blocks(&mut server.connect("own"), 7..8, 0x77).expect("the pool has room");
    (server, content)
}

fn write_blocks(
    client: &mut Client,
    blocks: std::ops::Range<usize>,
    fill: u8,
) -> std::io::Result<()> {
    for block in blocks {
        client.seek(SeekFrom::Start((block * BLOCK) as u64))?;
        client.write_all(&[fill; BLOCK])?;
    }
    Ok(())
}

fn state_of(server: &Server, target: &str) -> Option<CopyState> {
    let known = commands::copies(server);
    known.iter().find(|copy| copy.target == target && copy.ended.is_none()).map(|copy| copy.state)
}

/// Reads and writes of the volume are refused.
fn assert_refuses_io(server: &Server, volume: &str) {
    let mut block = [0; BLOCK];
    let read = server.connect(volume).read_exact(&mut block);
    assert_eq!(read.expect_err("no image is there").to_string(), "EIO", "read of {volume}");
    let write = write_blocks(&mut server.connect(volume), 0..1, 1);
    assert_eq!(write.expect_err("no image is there").to_string(), "EIO", "write of {volume}");
    let report = commands::volumes(server).into_iter().find(|known| known.name == volume);
    assert_eq!(report.expect("the volume").status, VolumeStatus::Failed, "{volume}");
}

/// The pool, as soon as nothing is promised and no more than `used` slots are in use.
fn pool_with(server: &Server, used: usize) -> PoolReport {
    let asked = Instant::now();
    loop {
        server.command(&Command::StoreDrain {});
        let pool = commands::pools(server).remove(0);
        if pool.used_bytes <= (used * BLOCK) as u64 && pool.reserved_bytes == 0 {
            return pool;
        }
        assert!(asked.elapsed() < PATIENCE, "not down to {used} slots: {pool:?}");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn the_copy_that_gets_no_slot_fails_and_one_that_is_served_fully_stays_good() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let (server, content) = server(folder.path());
    let mut source = server.connect("source");
    server.command(&commands::nocopy("source", "first"));
    write_blocks(&mut source, 0..31, 0xA1).expect("a slot for each");
    let mut at_second = content.clone();
    at_second[..31 * BLOCK].fill(0xA1);
    server.command(&commands::nocopy("source", "second"));
    write_blocks(&mut source, 31..63, 0xA2).expect("a slot for each");
    // The second copy preserved none of the first blocks: they are the first one's.
    assert_eq!(server.image("second"), at_second);
    assert_eq!(commands::pools(&server)[0].status, PoolStatus::Full);

    write_blocks(&mut source, 0..1, 0xA3).expect("the source goes on");

    assert_eq!(state_of(&server, "second"), Some(CopyState::Failed));
    assert_refuses_io(&server, "second");
    assert_eq!(state_of(&server, "first"), Some(CopyState::FCopy));
    assert_eq!(server.image("first"), content, "the image of the first moment");
    server.command(&Command::StoreDrain {});
    assert_eq!(server.image("first"), content, "the same, drained");
    server.kill();
    let server = server.killed();
    assert_eq!(state_of(&server, "second"), Some(CopyState::Failed));
    assert_refuses_io(&server, "second");
    assert_eq!(server.image("first"), content, "the same after kill -9");
}

#[test]
fn a_full_pool_costs_the_source_and_unrelated_data_nothing() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let (server, _) = server(folder.path());
    let mut source = server.connect("source");
    server.command(&commands::nocopy("source", "first"));
    write_blocks(&mut source, 0..63, 0xB1).expect("a slot for each");

    let own = server.image("own");
    let before = commands::volumes(&server);
    let write = write_blocks(&mut server.connect("own"), 100..101, 1);
    assert_eq!(write.expect_err("no slot is free").to_string(), "ENOSPC");
    assert_eq!(state_of(&server, "first"), Some(CopyState::FCopy), "a host write fails no copy");
    assert_eq!(without_connections(&server), without_their_connections(before));
    assert_eq!(server.image("own"), own, "the refused write left nothing");

    write_blocks(&mut source, 63..256, 0xB2).expect("the source goes on");
    assert_eq!(state_of(&server, "first"), Some(CopyState::Failed));
    assert_refuses_io(&server, "first");
    let mut expected = vec![0xB1; VOLUME_BYTES];
    expected[63 * BLOCK..].fill(0xB2);
    assert_eq!(server.image("source"), expected);
    assert_eq!(server.image("own"), own, "data of another volume in the pool");
}

#[test]
fn copies_work_again_when_a_withdraw_has_emptied_the_pool() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let (server, _) = server(folder.path());
    let mut source = server.connect("source");
    server.command(&commands::nocopy("source", "first"));
    server.command(&commands::nocopy("source", "second"));
    write_blocks(&mut source, 0..200, 0xC1).expect("the source goes on");
    for target in ["first", "second"] {
        assert_eq!(state_of(&server, target), Some(CopyState::Failed), "{target}");
        server.command(&commands::withdraw(target));
        assert_eq!(state_of(&server, target), None, "{target}");
    }
    let pool = pool_with(&server, 1);
    assert_eq!((pool.preserved_bytes, pool.status), (0, PoolStatus::Ok), "{pool:?}");

    let content = server.image("source");
    server.command(&commands::nocopy("source", "first"));
    write_blocks(&mut source, 100..163, 0xC2).expect("a slot for each");
    write_blocks(&mut server.connect("second"), 0..1, 0xC3).expect_err("the last slot is taken");

    assert_eq!(state_of(&server, "first"), Some(CopyState::FCopy));
    assert_eq!(server.image("first"), content);
    assert_eq!(server.image("second"), vec![0; VOLUME_BYTES], "a withdrawn thin target is empty");
}

/// The volumes, but for who is connected: connections end a moment after their client.
fn without_connections(server: &Server) -> Vec<flashtrack_engine::admin::VolumeReport> {
    without_their_connections(commands::volumes(server))
}

fn without_their_connections(
    mut volumes: Vec<flashtrack_engine::admin::VolumeReport>,
) -> Vec<flashtrack_engine::admin::VolumeReport> {
    for volume in &mut volumes {
        volume.connections = 0;
    }
    volumes
}

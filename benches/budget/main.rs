//! Instructions of one request in session and engine, for a program that counts them.
//!
//! `budget KIND BATCHES` serves so many receives of 32 requests of 4 KiB each, from the bytes received to the bytes that
//! are to be sent, on a store whose operations cost nothing. The instructions of two runs with different numbers of batches,
//! subtracted, leave those of the requests alone:
//!
//! ```sh
//! cargo bench -p flashtrack-benches --bench budget --no-run    # prints where the program is
//! valgrind --tool=callgrind --callgrind-out-file=/dev/null PROGRAM read 100
//! valgrind --tool=callgrind --callgrind-out-file=/dev/null PROGRAM read 200
//! ```

#[path = "../common/commands.rs"]
mod commands;
#[path = "../common/connection.rs"]
mod connection;
#[path = "../common/empty.rs"]
mod empty;
#[path = "../micro/store.rs"]
mod store;

use std::collections::VecDeque;
use std::process::ExitCode;

use flashtrack_engine::admin::Command;
use flashtrack_engine::request::{Reply, RequestAction};
use flashtrack_engine::units::VolumeId;
use flashtrack_nbd_server::protocol::constants::{CMD_READ, CMD_WRITE};
use flashtrack_nbd_server::session::{Event, Session, SessionRequestId};

use crate::connection::{BLOCK, OneExport, connected, requests};
use crate::store::Store;

/// Requests of one receive.
const BATCH: u64 = 32;
const VOLUME_BYTES: u64 = 16 << 30;

/// What is asked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Read,
    Write,
    /// Each is the first of its track since a copy was taken.
    FirstWrite,
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let kind = match words.first().map(String::as_str) {
        Some("read") => Kind::Read,
        Some("write") => Kind::Write,
        Some("first-write") => Kind::FirstWrite,
        _ => return usage(),
    };
    let Some(batches) = words.get(1).and_then(|word| word.parse().ok()) else { return usage() };
    serve(kind, batches);
    ExitCode::SUCCESS
}

fn usage() -> ExitCode {
    // `cargo bench` runs every benchmark, with an option of its own.
    println!("budget read|write|first-write BATCHES: serves so many batches of {BATCH} requests");
    ExitCode::SUCCESS
}

fn serve(kind: Kind, batches: u64) {
    let mut store = Store::new();
    let volume = store.volume("source", VOLUME_BYTES, None);
    if kind == Kind::FirstWrite {
        let name = "pool".to_owned();
        store.command(Command::PoolCreate { name, capacity_bytes: VOLUME_BYTES });
        store.volume("copy", VOLUME_BYTES, Some("pool"));
        store.establish("source", "copy");
    }
    let command = if kind == Kind::Read { CMD_READ } else { CMD_WRITE };
    let (mut session, received) = (connected(), requests(command, BATCH));
    for batch in 0..batches {
        serve_batch(&mut session, &received, &mut store, volume, batch * BATCH);
    }
}

fn serve_batch(
    session: &mut Session,
    received: &[u8],
    store: &mut Store,
    volume: VolumeId,
    first_track: u64,
) {
    let mut events = Vec::with_capacity(64);
    session.receive(received, &OneExport, &mut events);
    let mut tokens: Vec<SessionRequestId> = Vec::with_capacity(64);
    let actions = events.drain(..).filter_map(|event| match event {
        Event::Request { token, action, .. } => {
            tokens.push(token);
            Some(one_per_track(action, first_track))
        }
        _ => None,
    });
    let replies: Vec<Reply> = store.requests(volume, actions);
    assert_eq!(replies.len(), tokens.len(), "each is answered");
    for (token, reply) in tokens.into_iter().zip(replies) {
        session.reply(token, reply.result);
    }
    let mut output = VecDeque::with_capacity(256);
    session.take_output(&mut output);
    for sent in output {
        session.recycle(sent);
    }
}

/// The same in a track of its own: the requests received are for blocks that follow each other.
fn one_per_track(action: RequestAction, first_track: u64) -> RequestAction {
    let track = |offset: u64| (first_track + offset / u64::from(BLOCK)) * (64 << 10) % VOLUME_BYTES;
    match action {
        RequestAction::Write { offset, data, durability } => {
            RequestAction::Write { offset: track(offset), data, durability }
        }
        RequestAction::Read { mut range } => {
            let bytes = range.bytes();
            range.start = track(range.start);
            range.end = range.start + bytes;
            RequestAction::Read { range }
        }
        other => other,
    }
}

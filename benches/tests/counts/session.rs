//! What a session allocates for requests that come 32 at a time, from the receive to the bytes that are to be sent.

use std::collections::VecDeque;

use flashtrack_engine::io::{Buffer, Part};
use flashtrack_engine::request::{ReplyData, RequestAction};
use flashtrack_nbd_server::protocol::constants::{CMD_READ, CMD_WRITE};
use flashtrack_nbd_server::session::{Event, Session, SessionRequestId};

use crate::baseline::{ALLOCATIONS, Baseline, Figures, REQUESTS};
use crate::connection::{BLOCK, OneExport, connected, requests};

const BATCHES: u64 = 32;
const BATCH: u64 = 32;

/// Counts both.
pub(crate) fn add(counts: &mut Baseline) {
    for (name, command) in [("reads", CMD_READ), ("writes", CMD_WRITE)] {
        let mut session = connected();
        let received = requests(command, BATCH);
        // The first one lets buffers grow.
        serve(&mut session, &received);
        let allocations = (0..BATCHES).map(|_| serve(&mut session, &received)).sum();
        let figures =
            [(REQUESTS.to_owned(), BATCHES * BATCH), (ALLOCATIONS.to_owned(), allocations)];
        let name = format!("session, 32 4 KiB {name} in one receive");
        counts.insert(name, Figures::from(figures));
    }
}

/// Allocations of one batch: those of reads' data, which the engine would give, are not among them.
fn serve(session: &mut Session, received: &[u8]) -> u64 {
    let mut events = Vec::with_capacity(64);
    let mut output: VecDeque<Part> = VecDeque::with_capacity(256);
    let received = allocation_counter::measure(|| {
        session.receive(received, &OneExport, &mut events);
    });
    let mut replies: Vec<_> = events.iter().filter_map(reply).collect();
    let replied = allocation_counter::measure(|| {
        for (token, data) in replies.drain(..) {
            session.reply(token, Ok(data));
        }
        session.take_output(&mut output);
    });
    for sent in output {
        session.recycle(sent);
    }
    received.count_total + replied.count_total
}

/// The reply that a request of one block gets.
fn reply(event: &Event) -> Option<(SessionRequestId, ReplyData)> {
    match event {
        Event::Request { token, action: RequestAction::Read { .. }, .. } => {
            Some((*token, ReplyData::Data(Buffer::zeroed(BLOCK as usize))))
        }
        Event::Request { token, .. } => Some((*token, ReplyData::Done)),
        _ => None,
    }
}

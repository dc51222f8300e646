//! One connection: its socket, its session, and what of it is under way in the ring and the engine.
//!
//! - C1 At most one receive and one send are in the ring at any time.
//! - C2 The place of a connection is free again only when nothing of it is in the ring or the engine,
//!   so a completion or reply never meets another connection.
//! - C3 Whatever ends a connection, its requests are finished in the engine; their replies are dropped.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use flashtrack_engine::io::{Buffer, Part};

use crate::session::{Phase, Session};

/// Bytes of the buffer that messages are received into: more than what a Unix socket holds by default,
/// so that one receive takes all there is. Asking for less between long payloads, so that more of the
/// next one can go straight to its place, costs more in wake-ups and calls than it saves in copying.
pub(super) const RECEIVE_BYTES: usize = 256 << 10;
/// A payload that still misses this much is received straight into its request's buffer.
pub(super) const PAYLOAD_DIRECT_MIN: usize = 16 << 10;

/// What is being received.
#[derive(Debug)]
pub(super) enum Receiving {
    /// Nothing.
    Idle,
    /// Messages, into the connection's buffer.
    Messages,
    /// The rest of a payload, of which this much had arrived before.
    Payload { filled: usize },
}

/// How far the connection is from its end.
#[derive(Debug)]
pub(super) enum Stage {
    /// The session is served.
    Serving(Box<Session>),
    /// All is sent and the sending side is closed. What still arrives is dropped until the client
    /// closes too: closing before would cut the last replies off.
    Lingering,
    /// The socket is shut down; what is in flight is waited for.
    Ended,
}

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) socket: Rc<OwnedFd>,
    pub(super) peer: String,
    pub(super) stage: Stage,
    pub(super) receiving: Receiving,
    /// Where messages are received; none while it is in the ring.
    pub(super) buffer: Option<Buffer>,
    pub(super) is_sending: bool,
    /// What is sent next; kept for its memory.
    pub(super) outgoing: VecDeque<Part>,
    /// Requests in the engine.
    pub(super) in_flight: u32,
    /// Place of its volume in the statistics, once it was chosen.
    pub(super) volume: Option<usize>,
    /// When it is ended if it still shakes hands or lingers.
    pub(super) deadline_us: Option<u64>,
    pub(super) accepted_us: u64,
    pub(super) received_bytes: u64,
    pub(super) sent_bytes: u64,
    /// It is on the list of those to be looked at in this turn.
    pub(super) is_listed: bool,
}

impl Connection {
    pub(super) fn new(socket: OwnedFd, peer: String, session: Session, accepted_us: u64) -> Self {
        Self {
            socket: Rc::new(socket),
            peer,
            stage: Stage::Serving(Box::new(session)),
            receiving: Receiving::Idle,
            buffer: Some(Buffer::zeroed(RECEIVE_BYTES)),
            is_sending: false,
            outgoing: VecDeque::new(),
            in_flight: 0,
            volume: None,
            deadline_us: None,
            accepted_us,
            received_bytes: 0,
            sent_bytes: 0,
            is_listed: false,
        }
    }

    /// True until the handshake is finished or the connection goes down.
    pub(super) fn is_in_handshake(&self) -> bool {
        matches!(&self.stage, Stage::Serving(session) if session.phase() == Phase::Handshake)
    }

    /// Shuts the socket down, which ends what is in flight on it.
    pub(super) fn end(&mut self) {
        self.stage = Stage::Ended;
        self.deadline_us = None;
        // A socket that the client has reset cannot be shut down any more, nor does it have to.
        let _ = rustix::net::shutdown(&self.socket, rustix::net::Shutdown::Both);
    }

    /// Closes the sending side and waits for the client to close the other.
    pub(super) fn linger(&mut self, until_us: u64) {
        self.stage = Stage::Lingering;
        self.deadline_us = Some(until_us);
        // As in `end`.
        let _ = rustix::net::shutdown(&self.socket, rustix::net::Shutdown::Write);
    }

    /// True when its place can be given to another (C2).
    pub(super) fn is_gone(&self) -> bool {
        matches!(self.stage, Stage::Ended)
            && matches!(self.receiving, Receiving::Idle)
            && !self.is_sending
            && self.in_flight == 0
    }
}

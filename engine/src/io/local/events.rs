//! What a ring tells, and how long it waits for that.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use crate::io::{Buffer, Completion, Part};

/// Something that the ring has to tell.
#[derive(Debug)]
pub enum Event {
    /// An operation of the engine has ended.
    Completed(Completion),
    /// A receive has ended: with the number of bytes, 0 at the end of the stream.
    Received {
        /// As given to `receive`.
        token: u64,
        /// As given to `receive`, filled as far as `result` says.
        buffer: Buffer,
        /// Bytes received.
        result: io::Result<usize>,
    },
    /// A send has ended.
    Sent {
        /// As given to `send`.
        token: u64,
        /// As given to `send`.
        parts: VecDeque<Part>,
        /// Bytes sent: all of them, or else an error.
        result: io::Result<usize>,
    },
    /// The waker was written since the last event of this kind.
    Woken,
}

/// How long `LocalRing::enter` waits for an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Not at all.
    No,
    /// Until there is one, or this time has passed.
    AtMost(Duration),
    /// Until there is one.
    Forever,
}

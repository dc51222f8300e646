//! What the ring has been given and has not given back: the memory of each, and what follows from
//! its result.
//!
//! - F1 An entry owns every byte and every file that its submission points to, at addresses that do
//!   not change until the result was taken.
//! - F2 A short result is continued, an interrupted one repeated: only whole work is reported.

use std::io;
use std::ops::Range;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::rc::Rc;
use std::sync::Arc;

use io_uring::types::Fd;
use io_uring::{opcode, squeue};

use super::events::Event;
use super::file_work::FileWork;
use super::helper::Task;
use super::open_files::OpenFiles;
use super::sending::Sending;
use crate::io::{Buffer, Completion, IoFailure, Object, OpId, Outcome};
use crate::units::ByteRange;

/// One submission and its memory.
pub(super) enum InFlight {
    File(FileWork),
    Receive(Receive),
    Send(Box<Sending>),
    /// A read of the eventfd into this counter.
    Wake(RawFd, Box<u64>),
}

/// A receive into the bytes `space` of the buffer.
pub(super) struct Receive {
    pub(super) token: u64,
    pub(super) socket: Rc<OwnedFd>,
    pub(super) buffer: Buffer,
    pub(super) space: Range<usize>,
    /// Bytes received into the buffer before, of which the same event tells.
    pub(super) received: usize,
    pub(super) enough: Enough,
}

/// How much has to arrive before a receive ends, unless the stream ends before.
#[derive(Clone, Copy)]
pub(super) enum Enough {
    /// At least one byte.
    Some,
    /// All there is space for.
    All,
}

/// What follows from a result.
pub(super) enum Next {
    /// It ended.
    Ended(Event),
    /// A send ended; its box can be used again.
    Sent(Event, Box<Sending>),
    /// It must be submitted once more.
    Again(InFlight),
    /// The helper thread must do it.
    Help(OpId, Task),
    /// A sync has ended well: the page cache can give these bytes up.
    Synced(OpId, Arc<OpenFiles>, Vec<ByteRange>),
    /// The eventfd was written.
    Woken,
}

/// True for results that say: try again.
pub(super) fn is_transient(result: i32) -> bool {
    result == -libc::EINTR || result == -libc::EAGAIN
}

/// A byte count for the kernel, which takes 32 bits and continues short results.
pub(super) fn count(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(1 << 30)
}

/// The end of an operation.
pub(super) fn ended(id: OpId, result: Result<Outcome, IoFailure>) -> Next {
    Next::Ended(Event::Completed(Completion { id, result }))
}

impl InFlight {
    /// The submission. It points into `self`, by F1 at memory that moves with no move of `self`.
    pub(super) fn submission(&mut self) -> squeue::Entry {
        match self {
            Self::File(work) => work.submission(),
            Self::Receive(receive) => {
                let free = &mut receive.buffer[receive.space.clone()];
                let socket = Fd(receive.socket.as_raw_fd());
                let flags = match receive.enough {
                    Enough::Some => 0,
                    // The kernel continues by itself: no turn of the loop for each piece.
                    Enough::All => libc::MSG_WAITALL,
                };
                opcode::Recv::new(socket, free.as_mut_ptr(), count(free.len())).flags(flags).build()
            }
            Self::Send(send) => send.submission(),
            Self::Wake(eventfd, counter) => {
                let counter: *mut u64 = &raw mut **counter;
                opcode::Read::new(Fd(*eventfd), counter.cast(), 8).build()
            }
        }
    }

    /// The object whose gate its submission has entered.
    pub(super) fn entered(&self) -> Option<Object> {
        match self {
            Self::File(work) => work.way().map(|_| work.object),
            Self::Receive(_) | Self::Send(_) | Self::Wake(..) => None,
        }
    }

    /// Takes the kernel's result.
    pub(super) fn advance(self, result: i32) -> Next {
        match self {
            Self::File(work) => work.advance(result),
            Self::Receive(receive) if is_transient(result) => Next::Again(Self::Receive(receive)),
            Self::Receive(receive) => Next::Ended(Event::Received {
                token: receive.token,
                buffer: receive.buffer,
                result: bytes_or_error(result).map(|bytes| receive.received + bytes),
            }),
            Self::Send(send) => send.advance(result),
            Self::Wake(..) => Next::Woken,
        }
    }
}

/// A result as a number of bytes.
pub(super) fn bytes_or_error(result: i32) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::from_raw_os_error(-result))
}

//! What the ring has been given and has not given back: the memory of each, and what follows from
//! its result.
//!
//! - F1 An entry owns every byte and every file that its submission points to, at addresses that do
//!   not change until the result was taken.
//! - F2 A short result is continued, an interrupted one repeated: only whole work is reported.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::rc::Rc;

use io_uring::types::Fd;
use io_uring::{opcode, squeue};

use super::file_work::FileWork;
use super::helper::Task;
use super::in_place;
use super::ring::Event;
use crate::io::{Buffer, Completion, IoFailure, Object, OpId, Outcome};

/// Parts that one `sendmsg` may carry (the system's `IOV_MAX`).
const PARTS_MAX: usize = 1024;

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

/// A send of all parts, one after the other.
pub(super) struct Sending {
    token: u64,
    socket: Option<Rc<OwnedFd>>,
    parts: VecDeque<Buffer>,
    /// First part that is not sent, and how much of it is.
    next_part: usize,
    next_byte: usize,
    bytes: usize,
    /// The kernel may look at this and `header` until the send has ended.
    vectors: Vec<libc::iovec>,
    header: libc::msghdr,
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

fn bytes_or_error(result: i32) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::from_raw_os_error(-result))
}

impl Sending {
    /// An empty one, to be used for any number of sends.
    pub(super) fn new() -> Box<Self> {
        Box::new(Self {
            token: 0,
            socket: None,
            parts: VecDeque::new(),
            next_part: 0,
            next_byte: 0,
            bytes: 0,
            vectors: Vec::new(),
            header: libc::msghdr {
                msg_name: std::ptr::null_mut(),
                msg_namelen: 0,
                msg_iov: std::ptr::null_mut(),
                msg_iovlen: 0,
                msg_control: std::ptr::null_mut(),
                msg_controllen: 0,
                msg_flags: 0,
            },
        })
    }

    /// Sets what is sent.
    pub(super) fn begin(&mut self, token: u64, socket: Rc<OwnedFd>, parts: VecDeque<Buffer>) {
        self.token = token;
        self.socket = Some(socket);
        self.parts = parts;
        self.next_part = 0;
        self.next_byte = 0;
        self.bytes = 0;
    }

    /// Sends what the socket takes at once; gives the event if that was all.
    pub(super) fn send_in_place(&mut self) -> Option<Event> {
        let bytes = in_place::send(self.socket.as_ref()?, &self.parts);
        self.bytes += bytes;
        self.skip(bytes);
        (bytes > 0 && self.next_part == self.parts.len()).then(|| self.ended(Ok(())))
    }

    /// The event of its end.
    fn ended(&mut self, outcome: io::Result<()>) -> Event {
        self.socket = None;
        Event::Sent {
            token: self.token,
            parts: std::mem::take(&mut self.parts),
            result: outcome.map(|()| self.bytes),
        }
    }

    fn submission(&mut self) -> squeue::Entry {
        let mut skip = self.next_byte;
        self.vectors.clear();
        for part in self.parts.range(self.next_part..).take(PARTS_MAX) {
            let rest = &part[skip..];
            skip = 0;
            let iov_base = rest.as_ptr().cast_mut().cast();
            self.vectors.push(libc::iovec { iov_base, iov_len: rest.len() });
        }
        self.header.msg_iov = self.vectors.as_mut_ptr();
        self.header.msg_iovlen = self.vectors.len();
        let socket = self.socket.as_ref().map_or(-1, AsRawFd::as_raw_fd);
        // With MSG_WAITALL the kernel continues most short sends by itself.
        opcode::SendMsg::new(Fd(socket), &raw const self.header)
            .flags((libc::MSG_NOSIGNAL | libc::MSG_WAITALL).cast_unsigned())
            .build()
    }

    fn advance(mut self: Box<Self>, result: i32) -> Next {
        if is_transient(result) {
            return Next::Again(InFlight::Send(self));
        }
        let outcome = bytes_or_error(result).map(|bytes| {
            self.bytes += bytes;
            self.skip(bytes);
        });
        if outcome.is_ok() && self.next_part < self.parts.len() {
            return Next::Again(InFlight::Send(self));
        }
        Next::Sent(self.ended(outcome), self)
    }

    /// Moves on past `bytes` more bytes, and past empty parts.
    fn skip(&mut self, mut bytes: usize) {
        while let Some(part) = self.parts.get(self.next_part) {
            let rest = part.len() - self.next_byte;
            if bytes < rest {
                self.next_byte += bytes;
                return;
            }
            bytes -= rest;
            self.next_part += 1;
            self.next_byte = 0;
        }
    }
}

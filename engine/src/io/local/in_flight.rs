//! What the ring has been given and has not given back: the memory of each, and what follows from
//! its result.
//!
//! - F1 An entry owns every byte and every file that its submission points to, at addresses that do
//!   not change until the result was taken.
//! - F2 A short result is continued, an interrupted one repeated: only whole work is reported.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::rc::Rc;
use std::sync::Arc;

use io_uring::types::{Fd, FsyncFlags};
use io_uring::{opcode, squeue};

use super::helper::Task;
use super::inline_writes::RING_PIECE_BYTES_MAX;
use super::ring::Event;
use crate::io::{Buffer, Completion, IoFailure, OpId, Outcome, ZeroSpace};

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

/// An operation of the engine.
pub(super) struct FileWork {
    pub(super) id: OpId,
    pub(super) file: Arc<File>,
    pub(super) step: FileStep,
}

/// What is done to the file; `done` counts bytes.
pub(super) enum FileStep {
    Read { offset: u64, buffer: Buffer, done: usize },
    Write { offset: u64, data: Buffer, done: usize },
    Sync,
    Zero { offset: u64, bytes: u64, space: ZeroSpace },
    Allocate { offset: u64, bytes: u64 },
}

/// A receive into the bytes `space` of the buffer.
pub(super) struct Receive {
    pub(super) token: u64,
    pub(super) socket: Rc<OwnedFd>,
    pub(super) buffer: Buffer,
    pub(super) space: Range<usize>,
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
fn is_transient(result: i32) -> bool {
    result == -libc::EINTR || result == -libc::EAGAIN
}

/// A byte count for the kernel, which takes 32 bits and continues short results.
fn count(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(1 << 30)
}

fn ended(id: OpId, result: Result<Outcome, IoFailure>) -> Next {
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

    /// Takes the kernel's result.
    pub(super) fn advance(self, result: i32) -> Next {
        match self {
            Self::File(work) => work.advance(result),
            Self::Receive(receive) if is_transient(result) => Next::Again(Self::Receive(receive)),
            Self::Receive(receive) => Next::Ended(Event::Received {
                token: receive.token,
                buffer: receive.buffer,
                result: bytes_or_error(result),
            }),
            Self::Send(send) => send.advance(result),
            Self::Wake(..) => Next::Woken,
        }
    }
}

fn bytes_or_error(result: i32) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::from_raw_os_error(-result))
}

impl FileWork {
    fn submission(&mut self) -> squeue::Entry {
        let file = Fd(self.file.as_raw_fd());
        match &mut self.step {
            FileStep::Read { offset, buffer, done } => {
                let rest = &mut buffer[*done..];
                opcode::Read::new(file, rest.as_mut_ptr(), count(rest.len()))
                    .offset(*offset + *done as u64)
                    .build()
            }
            FileStep::Write { offset, data, done } => {
                let rest = &data[*done..data.len().min(*done + RING_PIECE_BYTES_MAX)];
                opcode::Write::new(file, rest.as_ptr(), count(rest.len()))
                    .offset(*offset + *done as u64)
                    .build()
            }
            FileStep::Sync => opcode::Fsync::new(file).flags(FsyncFlags::DATASYNC).build(),
            FileStep::Zero { offset, bytes, space } => {
                let mode = match space {
                    ZeroSpace::Release => libc::FALLOC_FL_PUNCH_HOLE,
                    ZeroSpace::Keep => libc::FALLOC_FL_ZERO_RANGE,
                };
                opcode::Fallocate::new(file, *bytes)
                    .offset(*offset)
                    .mode(mode | libc::FALLOC_FL_KEEP_SIZE)
                    .build()
            }
            FileStep::Allocate { offset, bytes } => {
                opcode::Fallocate::new(file, *bytes).offset(*offset).build()
            }
        }
    }

    fn advance(self, result: i32) -> Next {
        let Self { id, file, step } = self;
        if is_transient(result) {
            return Next::Again(InFlight::File(Self { id, file, step }));
        }
        let Ok(bytes) = usize::try_from(result) else {
            return match step {
                FileStep::Zero { offset, bytes, space } if result == -libc::EOPNOTSUPP => {
                    Next::Help(id, Task::Zero { file, offset, bytes, space })
                }
                _ => ended(id, Err(IoFailure::from_errno(-result))),
            };
        };
        match step {
            FileStep::Read { mut buffer, done, .. } if bytes == 0 => {
                buffer[done..].fill(0);
                ended(id, Ok(Outcome::Buffer(buffer)))
            }
            FileStep::Read { offset, buffer, done } => {
                let done = done + bytes;
                if done == buffer.len() {
                    return ended(id, Ok(Outcome::Buffer(buffer)));
                }
                let step = FileStep::Read { offset, buffer, done };
                Next::Again(InFlight::File(Self { id, file, step }))
            }
            FileStep::Write { offset, data, done } => {
                let done = done + bytes;
                if done == data.len() {
                    return ended(id, Ok(Outcome::Buffer(data)));
                }
                if bytes == 0 {
                    // No file system does this; trying again for ever would be worse.
                    return ended(id, Err(IoFailure::Io(libc::EIO)));
                }
                let step = FileStep::Write { offset, data, done };
                Next::Again(InFlight::File(Self { id, file, step }))
            }
            FileStep::Sync | FileStep::Zero { .. } | FileStep::Allocate { .. } => {
                ended(id, Ok(Outcome::Done))
            }
        }
    }
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
        self.socket = None;
        let event = Event::Sent {
            token: self.token,
            parts: std::mem::take(&mut self.parts),
            result: outcome.map(|()| self.bytes),
        };
        Next::Sent(event, self)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn work(step: FileStep) -> InFlight {
        let file = Arc::new(tempfile::tempfile().expect("a temporary file"));
        InFlight::File(FileWork { id: OpId(1), file, step })
    }

    /// The work that goes on after a result.
    fn again(work: InFlight, result: i32) -> InFlight {
        match work.advance(result) {
            Next::Again(work) => work,
            _ => panic!("{result} should not end the work"),
        }
    }

    fn result(work: InFlight, result: i32) -> Result<Outcome, IoFailure> {
        match work.advance(result) {
            Next::Ended(Event::Completed(completion)) => completion.result,
            _ => panic!("{result} should end the work"),
        }
    }

    #[test]
    fn a_short_write_is_continued_until_every_byte_is_written() {
        let data = Buffer::from(&b"abcdef"[..]);
        let whole = work(FileStep::Write { offset: 100, data, done: 0 });

        let rest = again(whole, 4);

        let InFlight::File(FileWork { step: FileStep::Write { offset: 100, done: 4, .. }, .. }) =
            &rest
        else {
            panic!("four bytes are written");
        };
        let rest = again(rest, -libc::EINTR);
        assert!(matches!(result(rest, 2), Ok(Outcome::Buffer(data)) if *data == *b"abcdef"));
    }

    #[test]
    fn a_short_read_is_continued_and_zero_filled_where_the_object_ends() {
        let buffer = Buffer::from(&b"abcdef"[..]);
        let whole = work(FileStep::Read { offset: 0, buffer, done: 0 });

        let rest = again(again(whole, 3), -libc::EAGAIN);

        assert!(matches!(result(rest, 0), Ok(Outcome::Buffer(read)) if *read == *b"abc\0\0\0"));
    }

    #[test]
    fn a_write_that_makes_no_progress_fails_instead_of_going_round_for_ever() {
        let data = Buffer::from(&b"abc"[..]);
        let write = work(FileStep::Write { offset: 0, data, done: 0 });

        assert_eq!(result(write, 0).unwrap_err(), IoFailure::Io(libc::EIO));
    }

    #[test]
    fn a_failed_sync_is_told_and_not_repeated() {
        assert_eq!(result(work(FileStep::Sync), -libc::EIO).unwrap_err(), IoFailure::Io(libc::EIO));
    }

    #[test]
    fn zeroing_that_the_file_system_cannot_do_goes_to_the_helper() {
        let zero = FileStep::Zero { offset: 0, bytes: 10, space: ZeroSpace::Keep };

        let next = work(zero).advance(-libc::EOPNOTSUPP);

        assert!(matches!(next, Next::Help(OpId(1), Task::Zero { offset: 0, bytes: 10, .. })));
    }
}

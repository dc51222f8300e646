//! One send: parts that are in memory and parts that are in files, one after the other.
//!
//! - D1 The client gets the parts in their order, each byte once, or the send fails.
//! - D2 What the socket takes at once is sent in place. For the rest the ring is given one thing at a time: bytes to send, the
//!   socket to wait for, or bytes to read that have left the page cache since they were lent.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;

use io_uring::types::Fd;
use io_uring::{opcode, squeue};

use super::events::Event;
use super::in_flight::{InFlight, Next, bytes_or_error, count, is_transient};
use super::open_files::OpenFiles;
use super::storage::LocalStorage;
use super::{in_place, lending};
use crate::io::{Buffer, Part, Stretch};
use crate::units::ByteRange;

/// Parts that one `sendmsg` may carry (the system's `IOV_MAX`).
const PARTS_MAX: usize = 1024;

/// See the module's documentation.
pub(super) struct Sending {
    token: u64,
    socket: Option<Rc<OwnedFd>>,
    parts: VecDeque<Part>,
    /// First part that is not sent, and how much of it is.
    next_part: usize,
    next_byte: usize,
    bytes: usize,
    wants: Wants,
    /// The kernel may look at this and `header` until the send has ended.
    vectors: Vec<libc::iovec>,
    header: libc::msghdr,
}

/// What the ring does for a send.
enum Wants {
    /// Sends the parts in memory that come next.
    Send,
    /// Waits until the socket takes more.
    Room,
    /// Reads the rest of the next part, which is not in the page cache.
    Read(Reading),
}

/// A part that was lent and has to be read.
struct Reading {
    files: Arc<OpenFiles>,
    offset: u64,
    buffer: Buffer,
}

/// What is to be done next.
enum Step {
    Ended,
    InMemory,
    Lent(Stretch),
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
            wants: Wants::Send,
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
    pub(super) fn begin(&mut self, token: u64, socket: Rc<OwnedFd>, parts: VecDeque<Part>) {
        self.token = token;
        self.socket = Some(socket);
        self.parts = parts;
        self.next_part = 0;
        self.next_byte = 0;
        self.bytes = 0;
    }

    /// Sends what can be sent without waiting; gives the event of its end, or `None` when the ring has something to
    /// do for it first.
    pub(super) fn go_on(&mut self, storage: &LocalStorage) -> Option<Event> {
        loop {
            let next = match self.next_step() {
                Step::Ended => return Some(self.ended(Ok(()))),
                Step::InMemory => Ok(self.send_memory()),
                Step::Lent(stretch) => self.send_lent(stretch, storage),
            };
            match next {
                Ok(None) => {}
                Ok(Some(wants)) => {
                    self.wants = wants;
                    return None;
                }
                Err(error) => return Some(self.ended(Err(error))),
            }
        }
    }

    fn next_step(&mut self) -> Step {
        self.skip(0);
        match self.parts.get(self.next_part) {
            None => Step::Ended,
            Some(Part::Bytes(_)) => Step::InMemory,
            Some(Part::Lent(Stretch { object, range })) => {
                let start = range.start + self.next_byte as u64;
                Step::Lent(Stretch { object: *object, range: ByteRange { start, end: range.end } })
            }
        }
    }

    /// The parts in memory that come next, without what is sent of the first.
    fn memory(&self) -> impl Iterator<Item = &[u8]> {
        let rest = self.parts.range(self.next_part..).map_while(|part| match part {
            Part::Bytes(buffer) => Some(&**buffer),
            Part::Lent(_) => None,
        });
        rest.enumerate().map(|(at, part)| if at == 0 { &part[self.next_byte..] } else { part })
    }

    /// True when a lent part follows those in memory that come next: the network waits for it, to fill its packets.
    fn more_follows(&self) -> bool {
        self.parts.range(self.next_part..).any(|part| matches!(part, Part::Lent(_)))
    }

    fn send_memory(&mut self) -> Option<Wants> {
        let socket = self.socket.as_ref()?;
        let wanted: usize = self.memory().map(<[u8]>::len).sum();
        let sent = in_place::send(socket, self.memory(), self.more_follows());
        self.bytes += sent;
        self.skip(sent);
        (sent < wanted).then_some(Wants::Send)
    }

    fn send_lent(
        &mut self,
        Stretch { object, range }: Stretch,
        storage: &LocalStorage,
    ) -> io::Result<Option<Wants>> {
        let Some(socket) = &self.socket else {
            return Ok(None);
        };
        let files = storage.files(object)?;
        let wanted = usize::try_from(range.bytes()).expect("what is lent is bounded");
        let sent = if lending::may_lend(&files, range) {
            lending::send(socket, &files.cached, range)?
        } else {
            None
        };
        let Some(sent) = sent else {
            let buffer = Buffer::scratch(wanted);
            let reading = Reading { files, offset: range.start, buffer };
            return Ok(Some(Wants::Read(reading)));
        };
        self.bytes += sent;
        self.skip(sent);
        Ok((sent < wanted).then_some(Wants::Room))
    }

    /// The event of its end.
    fn ended(&mut self, outcome: io::Result<()>) -> Event {
        self.socket = None;
        self.wants = Wants::Send;
        Event::Sent {
            token: self.token,
            parts: std::mem::take(&mut self.parts),
            result: outcome.map(|()| self.bytes),
        }
    }

    /// What the ring is given.
    pub(super) fn submission(&mut self) -> squeue::Entry {
        let socket = Fd(self.socket.as_ref().map_or(-1, AsRawFd::as_raw_fd));
        match &mut self.wants {
            Wants::Send => self.send_submission(socket),
            Wants::Room => {
                let events = u32::from(libc::POLLOUT.cast_unsigned());
                opcode::PollAdd::new(socket, events).build()
            }
            Wants::Read(Reading { files, offset, buffer }) => {
                let file = Fd(files.cached.as_raw_fd());
                opcode::Read::new(file, buffer.as_mut_ptr(), count(buffer.len()))
                    .offset(*offset)
                    .build()
            }
        }
    }

    fn send_submission(&mut self, socket: Fd) -> squeue::Entry {
        let mut vectors = std::mem::take(&mut self.vectors);
        vectors.clear();
        for part in self.memory().take(PARTS_MAX) {
            let iov_base = part.as_ptr().cast_mut().cast();
            vectors.push(libc::iovec { iov_base, iov_len: part.len() });
        }
        self.vectors = vectors;
        self.header.msg_iov = self.vectors.as_mut_ptr();
        self.header.msg_iovlen = self.vectors.len();
        let more = if self.more_follows() { libc::MSG_MORE } else { 0 };
        // With MSG_WAITALL the kernel continues most short sends by itself.
        opcode::SendMsg::new(socket, &raw const self.header)
            .flags((libc::MSG_NOSIGNAL | libc::MSG_WAITALL | more).cast_unsigned())
            .build()
    }

    /// Takes the kernel's result.
    pub(super) fn advance(mut self: Box<Self>, result: i32) -> Next {
        if is_transient(result) {
            return Next::Again(InFlight::Send(self));
        }
        match self.take(result) {
            Ok(()) => Next::Again(InFlight::Send(self)),
            Err(error) => Next::Sent(self.ended(Err(error)), self),
        }
    }

    fn take(&mut self, result: i32) -> io::Result<()> {
        let result = bytes_or_error(result)?;
        match &mut self.wants {
            Wants::Send => {
                self.bytes += result;
                self.skip(result);
            }
            Wants::Room => {}
            // The file is shorter than it was.
            Wants::Read(_) if result == 0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            Wants::Read(reading) => {
                let read = std::mem::take(&mut reading.buffer);
                self.has_read(read, result);
            }
        }
        Ok(())
    }

    /// The next part was lent; now the first `bytes` bytes of `read` are its next ones.
    fn has_read(&mut self, read: Buffer, bytes: usize) {
        let is_all = bytes == read.len();
        let read = if is_all { read } else { Buffer::from(&read[..bytes]) };
        let next = &mut self.parts[self.next_part];
        if let Part::Lent(stretch) = next
            && !is_all
        {
            stretch.range.start += (self.next_byte + bytes) as u64;
            self.parts.insert(self.next_part, Part::Bytes(read));
        } else {
            *next = Part::Bytes(read);
        }
        self.next_byte = 0;
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

//! A connection that serves an export: requests out, replies in as they come, in any order.
//!
//! Invariants
//! - C1 A reply belongs to a request in flight; anything else ends the connection.
//! - C2 The data of a read is complete: every byte was sent once, or the reply is an error.

use std::collections::HashMap;
use std::io::{Read, Write};

use flashtrack_nbd_server::protocol::constants as nbd;
use flashtrack_nbd_server::protocol::reader::Reader;

use super::NbdError;
use super::handshake::{self, Agreed};
use super::wire::{ChunkHeader, Extent, RequestHeader, decode_error, decode_simple, decode_status};

/// Longest payload of a chunk besides data: the block status of 2^20 extents.
const STATUS_PAYLOAD_MAX: u32 = 4 + (8 << 20);
/// Set in the types of all error chunks.
const ERROR_BIT: u16 = 1 << 15;

/// An open export.
#[derive(Debug)]
pub(crate) struct Connection<S> {
    stream: S,
    agreed: Agreed,
    next_cookie: u64,
    in_flight: HashMap<u64, InFlight>,
}

/// A request whose reply is not complete.
#[derive(Debug)]
struct InFlight {
    header: RequestHeader,
    /// Of a read.
    data: Vec<u8>,
    filled: u64,
    extents: Vec<Extent>,
    error: Option<(u32, String)>,
}

/// The complete reply to a request.
#[derive(Debug)]
pub(crate) struct Reply {
    /// What the request's call gave.
    pub(crate) cookie: u64,
    /// What it asked for.
    pub(crate) answer: Answer,
}

/// What a request asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It is done.
    Done,
    /// The bytes of a read.
    Data(Vec<u8>),
    /// Allocation from the first byte that was asked on; may end before the last, or pass it.
    Status(Vec<Extent>),
}

impl<S: Read + Write> Connection<S> {
    /// Opens `export` on a stream that was just connected.
    pub(crate) fn open(mut stream: S, export: &str) -> Result<Self, NbdError> {
        let agreed = handshake::open(&mut stream, export)?;
        Ok(Self { stream, agreed, next_cookie: 0, in_flight: HashMap::new() })
    }

    /// Size of the export in bytes.
    pub(crate) fn size_bytes(&self) -> u64 {
        self.agreed.size_bytes
    }

    /// Longest read or write in bytes.
    pub(crate) fn payload_bytes_max(&self) -> u32 {
        self.agreed.payload_bytes_max
    }

    /// Fails when the server does not offer what a restore needs.
    pub(crate) fn check_can_restore(&self) -> Result<(), NbdError> {
        if self.agreed.flags & nbd::FLAG_SEND_FLUSH == 0 {
            return Err(NbdError::Missing("FLUSH"));
        }
        if self.agreed.flags & nbd::FLAG_SEND_WRITE_ZEROES == 0 {
            return Err(NbdError::Missing("WRITE_ZEROES"));
        }
        Ok(())
    }

    /// Requests without a complete reply.
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Asks for bytes. Gives the cookie of the reply, as do the others.
    pub(crate) fn read(&mut self, offset: u64, bytes: u32) -> Result<u64, NbdError> {
        self.request(nbd::CMD_READ, offset, bytes, &[])
    }

    /// Asks what is allocated.
    pub(crate) fn status(&mut self, offset: u64, bytes: u32) -> Result<u64, NbdError> {
        self.request(nbd::CMD_BLOCK_STATUS, offset, bytes, &[])
    }

    /// Writes bytes.
    pub(crate) fn write(&mut self, offset: u64, data: &[u8]) -> Result<u64, NbdError> {
        let bytes = u32::try_from(data.len()).unwrap_or(u32::MAX);
        self.request(nbd::CMD_WRITE, offset, bytes, data)
    }

    /// Makes bytes read as zeroes; their space may be given back.
    pub(crate) fn write_zeroes(&mut self, offset: u64, bytes: u32) -> Result<u64, NbdError> {
        self.request(nbd::CMD_WRITE_ZEROES, offset, bytes, &[])
    }

    /// Makes all that was answered durable.
    pub(crate) fn flush(&mut self) -> Result<u64, NbdError> {
        self.request(nbd::CMD_FLUSH, 0, 0, &[])
    }

    /// Says that no more requests come.
    pub(crate) fn close(mut self) -> Result<(), NbdError> {
        self.request(nbd::CMD_DISC, 0, 0, &[]).map(drop)
    }

    fn request(
        &mut self,
        command: u16,
        offset: u64,
        bytes: u32,
        payload: &[u8],
    ) -> Result<u64, NbdError> {
        let cookie = self.next_cookie;
        self.next_cookie += 1;
        let header = RequestHeader { command, cookie, offset, bytes };
        self.stream.write_all(&header.encode())?;
        self.stream.write_all(payload)?;
        let data = if command == nbd::CMD_READ { vec![0; bytes as usize] } else { Vec::new() };
        let request = InFlight { header, data, filled: 0, extents: Vec::new(), error: None };
        self.in_flight.insert(cookie, request);
        Ok(cookie)
    }

    /// Waits for the next complete reply. A request that was answered with an error is an error of the connection.
    pub(crate) fn reply(&mut self) -> Result<Reply, NbdError> {
        loop {
            let mut magic = [0; 4];
            self.stream.read_exact(&mut magic)?;
            let cookie = match u32::from_be_bytes(magic) {
                nbd::SIMPLE_REPLY_MAGIC => Some(self.simple()?),
                nbd::STRUCTURED_REPLY_MAGIC => self.chunk()?,
                other => return Err(wrong(format!("a reply begins with {other:#010x}"))),
            };
            if let Some(request) = cookie.and_then(|cookie| self.in_flight.remove(&cookie)) {
                return request.finish();
            }
        }
    }

    /// The cookie of a simple reply, which only requests without data may get.
    fn simple(&mut self) -> Result<u64, NbdError> {
        let mut rest = [0; 12];
        self.stream.read_exact(&mut rest)?;
        let (code, cookie) = decode_simple(&rest).unwrap_or_default();
        let request = self.in_flight.get_mut(&cookie).ok_or_else(|| unknown(cookie))?;
        if code != 0 {
            request.error = Some((code, String::new()));
        }
        Ok(cookie)
    }

    /// The cookie, when the chunk was the last of its reply.
    fn chunk(&mut self) -> Result<Option<u64>, NbdError> {
        let mut rest = [0; 16];
        self.stream.read_exact(&mut rest)?;
        let Some(chunk) = ChunkHeader::decode(&rest) else {
            return Err(wrong("a chunk without a header".to_owned()));
        };
        let cookie = chunk.cookie;
        let request = self.in_flight.get_mut(&cookie).ok_or_else(|| unknown(cookie))?;
        let no_sense =
            || wrong(format!("a chunk of type {} and {} bytes", chunk.kind, chunk.bytes));
        if chunk.kind == nbd::REPLY_TYPE_OFFSET_DATA {
            let mut offset = [0; 8];
            let bytes = chunk.bytes.checked_sub(8).ok_or_else(no_sense)?;
            self.stream.read_exact(&mut offset)?;
            let place = request.place(u64::from_be_bytes(offset), bytes).ok_or_else(no_sense)?;
            self.stream.read_exact(place)?;
        } else {
            if chunk.bytes > STATUS_PAYLOAD_MAX {
                return Err(no_sense());
            }
            let mut payload = vec![0; chunk.bytes as usize];
            self.stream.read_exact(&mut payload)?;
            request.take(chunk.kind, &payload, self.agreed.context).ok_or_else(no_sense)?;
        }
        Ok(chunk.done.then_some(cookie))
    }
}

impl InFlight {
    /// Where `bytes` bytes from `offset` of the export on go.
    fn place(&mut self, offset: u64, bytes: u32) -> Option<&mut [u8]> {
        let start = usize::try_from(offset.checked_sub(self.header.offset)?).ok()?;
        let end = start.checked_add(bytes as usize)?;
        let place = self.data.get_mut(start..end)?;
        self.filled += u64::from(bytes);
        Some(place)
    }

    fn take(&mut self, kind: u16, payload: &[u8], context: u32) -> Option<()> {
        match kind {
            nbd::REPLY_TYPE_NONE if payload.is_empty() => {}
            nbd::REPLY_TYPE_OFFSET_HOLE => {
                let mut reader = Reader::new(payload);
                let (offset, bytes) = reader.u64().zip(reader.u32())?;
                self.place(offset, bytes)?.fill(0);
            }
            nbd::REPLY_TYPE_BLOCK_STATUS if self.header.command == nbd::CMD_BLOCK_STATUS => {
                let (of, extents) = decode_status(payload)?;
                if of == context {
                    self.extents = extents;
                }
            }
            error if error & ERROR_BIT != 0 => self.error = Some(decode_error(payload)?),
            _ => return None,
        }
        Some(())
    }

    fn finish(self) -> Result<Reply, NbdError> {
        let RequestHeader { command, cookie, offset, bytes } = self.header;
        if let Some((code, text)) = self.error {
            return Err(NbdError::Request { offset, bytes: bytes.into(), code, text });
        }
        let answer = match command {
            nbd::CMD_READ if self.filled != u64::from(bytes) => {
                return Err(wrong(format!("{} of {bytes} bytes of a read", self.filled)));
            }
            nbd::CMD_READ => Answer::Data(self.data),
            nbd::CMD_BLOCK_STATUS if self.extents.is_empty() => {
                return Err(wrong("a block status without extents".to_owned()));
            }
            nbd::CMD_BLOCK_STATUS => Answer::Status(self.extents),
            _ => Answer::Done,
        };
        Ok(Reply { cookie, answer })
    }
}

fn wrong(what: String) -> NbdError {
    NbdError::Protocol(what)
}

fn unknown(cookie: u64) -> NbdError {
    NbdError::Protocol(format!("a reply to request {cookie}, which is not in flight"))
}

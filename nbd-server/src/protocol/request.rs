//! Requests of the transmission phase: decoded from their header and checked once, completely.
//!
//! Rules that the document leaves open, and how they are settled here:
//! - Length 0: `READ`, `WRITE`, `TRIM` and `WRITE_ZEROES` within the volume succeed and do nothing;
//!   `BLOCK_STATUS` is refused, since its reply would need an extent of at least one byte.
//! - Too long a read or write: refused with `EINVAL`, the payload is skipped, the session goes on.
//! - An unknown command has no payload. `DISC` disconnects whatever its flags and lengths are.

use flashtrack_engine::io::ZeroSpace;
use flashtrack_engine::request::{Durability, RequestAction, RequestError};
use flashtrack_engine::units::{ByteRange, VolumeId};

use super::Violation;
use super::constants as nbd;
use super::reader::Reader;

/// The fixed part of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestHeader {
    /// Command flags.
    pub flags: u16,
    /// Command.
    pub command: u16,
    /// Comes back in the reply.
    pub cookie: u64,
    /// First byte.
    pub offset: u64,
    /// Length in bytes.
    pub bytes: u32,
}

/// What was agreed in the handshake and decides what a request may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Agreed {
    /// The volume behind the export.
    pub volume: VolumeId,
    /// Its size in bytes, as the client was told.
    pub size_bytes: u64,
    /// How requests are answered.
    pub replies: ReplyStyle,
    /// Whether `base:allocation` was chosen for this volume.
    pub allocation_context: bool,
}

/// How requests are answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyStyle {
    /// One header, then the data of a read (what the Linux kernel speaks).
    Simple,
    /// Chunks, with texts for errors.
    Structured,
}

/// How many extents a block status may tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExtentCount {
    /// `REQ_ONE`: one, not longer than asked.
    One,
    /// As many as cover the range.
    Many,
}

/// What the reply to a request has to tell when it succeeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// That it is done.
    Done,
    /// `bytes` bytes from byte `offset` on.
    Data {
        /// First byte.
        offset: u64,
        /// Length in bytes.
        bytes: u32,
    },
    /// What of `bytes` bytes is allocated.
    Status {
        /// Length in bytes.
        bytes: u32,
        /// How many extents it may tell.
        extents: ExtentCount,
    },
}

/// A request that may be carried out. No range in it is empty or passes the end.
#[derive(Debug)]
pub enum Command {
    /// Nothing to do: a length of 0.
    Nothing,
    /// Finish what is outstanding, then close.
    Disconnect,
    /// Write the payload that follows.
    Write {
        /// First byte.
        offset: u64,
        /// When to answer.
        durability: Durability,
    },
    /// Anything that is complete without a payload.
    Complete(RequestAction, Answer),
}

/// Why a request is refused before the engine sees it. The session goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// One of the reasons that the engine knows too.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// Not known, or not offered by the transmission flags.
    #[error("command {0} is not supported by this export")]
    UnknownCommand(u16),
    /// Not known, not offered, or not for this command.
    #[error("flags {flags:#x} are not supported for command {command}")]
    Flags {
        /// The command.
        command: u16,
        /// The flags that are wrong.
        flags: u16,
    },
    /// The range of a flush is reserved.
    #[error("offset and length of a flush must be 0")]
    FlushRange,
    /// No extent of no bytes exists.
    #[error("a block status of 0 bytes cannot be answered; ask for at least 1")]
    EmptyStatus,
    /// No metadata context was chosen for this export.
    #[error("block status needs base:allocation, chosen for this export in the handshake")]
    NoContext,
    /// `DF` on more bytes than one chunk may carry.
    #[error("{0} bytes are too many for one chunk; read less or without the flag DF")]
    UnfragmentedTooLong(u32),
}

impl RequestHeader {
    /// Bytes of a header on the wire.
    pub const BYTES: usize = 28;

    /// Decodes the header at the beginning of `input`; `None` when bytes are missing.
    ///
    /// # Errors
    /// When the bytes are no request, so that the client is out of step.
    pub fn decode(input: &[u8]) -> Result<Option<Self>, Violation> {
        match Self::fields(input) {
            None => Ok(None),
            Some((nbd::REQUEST_MAGIC, header)) => Ok(Some(header)),
            Some((magic, _)) => Err(Violation::RequestMagic(magic)),
        }
    }

    fn fields(input: &[u8]) -> Option<(u32, Self)> {
        let mut reader = Reader::new(input);
        let magic = reader.u32()?;
        let header = Self {
            flags: reader.u16()?,
            command: reader.u16()?,
            cookie: reader.u64()?,
            offset: reader.u64()?,
            bytes: reader.u32()?,
        };
        Some((magic, header))
    }

    /// Bytes that follow the header, whether the request is carried out or refused.
    pub fn payload_bytes(&self) -> u32 {
        if self.command == nbd::CMD_WRITE { self.bytes } else { 0 }
    }

    /// Checks the request against what was agreed and the longest payload that is taken.
    ///
    /// # Errors
    /// When the request is to be refused with an error reply.
    pub fn check(&self, agreed: &Agreed, payload_bytes_max: u32) -> Result<Command, Refusal> {
        if self.command == nbd::CMD_DISC {
            return Ok(Command::Disconnect);
        }
        self.check_flags(agreed.replies)?;
        if self.command == nbd::CMD_FLUSH {
            return match (self.offset, self.bytes) {
                (0, 0) => Ok(Command::Complete(RequestAction::Flush, Answer::Done)),
                _ => Err(Refusal::FlushRange),
            };
        }
        let range = self.check_range(agreed.size_bytes)?;
        if self.command == nbd::CMD_BLOCK_STATUS {
            return self.check_status(agreed, range);
        }
        if range.is_empty() {
            return Ok(Command::Nothing);
        }
        self.check_length(payload_bytes_max)?;
        let durability =
            if self.has(nbd::CMD_FLAG_FUA) { Durability::Durable } else { Durability::Volatile };
        let (action, answer) = match self.command {
            nbd::CMD_WRITE => {
                return Ok(Command::Write { offset: range.start, durability });
            }
            nbd::CMD_READ => {
                let answer = Answer::Data { offset: range.start, bytes: self.bytes };
                (RequestAction::Read { range }, answer)
            }
            nbd::CMD_TRIM => (RequestAction::Trim { range, durability }, Answer::Done),
            nbd::CMD_WRITE_ZEROES => {
                let space = if self.has(nbd::CMD_FLAG_NO_HOLE) {
                    ZeroSpace::Keep
                } else {
                    ZeroSpace::Release
                };
                (RequestAction::WriteZeroes { range, space, durability }, Answer::Done)
            }
            other => return Err(Refusal::UnknownCommand(other)),
        };
        Ok(Command::Complete(action, answer))
    }

    fn has(&self, flag: u16) -> bool {
        self.flags & flag != 0
    }

    fn check_flags(&self, replies: ReplyStyle) -> Result<(), Refusal> {
        let of_command = match self.command {
            nbd::CMD_READ if replies == ReplyStyle::Structured => nbd::CMD_FLAG_DF,
            nbd::CMD_READ | nbd::CMD_WRITE | nbd::CMD_FLUSH | nbd::CMD_TRIM => 0,
            nbd::CMD_WRITE_ZEROES => nbd::CMD_FLAG_NO_HOLE,
            nbd::CMD_BLOCK_STATUS => nbd::CMD_FLAG_REQ_ONE,
            other => return Err(Refusal::UnknownCommand(other)),
        };
        match self.flags & !(of_command | nbd::CMD_FLAG_FUA) {
            0 => Ok(()),
            flags => Err(Refusal::Flags { command: self.command, flags }),
        }
    }

    fn check_range(&self, size: u64) -> Result<ByteRange, Refusal> {
        let bytes = u64::from(self.bytes);
        if let Some(range) = ByteRange::new(self.offset, bytes).filter(|range| range.end <= size) {
            return Ok(range);
        }
        let range = ByteRange { start: self.offset, end: self.offset.saturating_add(bytes) };
        match self.command {
            nbd::CMD_WRITE | nbd::CMD_WRITE_ZEROES => {
                Err(RequestError::WritePastEnd { range, size }.into())
            }
            _ => Err(RequestError::PastEnd { range, size }.into()),
        }
    }

    fn check_status(&self, agreed: &Agreed, range: ByteRange) -> Result<Command, Refusal> {
        if !agreed.allocation_context {
            return Err(Refusal::NoContext);
        }
        if range.is_empty() {
            return Err(Refusal::EmptyStatus);
        }
        let extents =
            if self.has(nbd::CMD_FLAG_REQ_ONE) { ExtentCount::One } else { ExtentCount::Many };
        let answer = Answer::Status { bytes: self.bytes, extents };
        Ok(Command::Complete(RequestAction::BlockStatus { range }, answer))
    }

    fn check_length(&self, payload_bytes_max: u32) -> Result<(), Refusal> {
        let carries_payload = matches!(self.command, nbd::CMD_READ | nbd::CMD_WRITE);
        if self.has(nbd::CMD_FLAG_DF) && self.bytes > nbd::PAYLOAD_BYTES_ADVERTISED {
            return Err(Refusal::UnfragmentedTooLong(self.bytes));
        }
        if carries_payload && self.bytes > payload_bytes_max {
            return Err(RequestError::TooLong(u64::from(self.bytes)).into());
        }
        Ok(())
    }
}

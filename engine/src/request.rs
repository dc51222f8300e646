//! What a host asks of a volume, and the answers.
//!
//! Every request gets exactly one reply (invariant I18). Ranges are checked here once more than the
//! protocol checks them: the engine trusts nobody. Alignment is free, down to single bytes.

use crate::io::{Buffer, Stretch};
use crate::units::{ByteRange, VolumeId};

/// Names a request until its reply; chosen by the caller, unique among those in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// One request of a host.
#[derive(Debug)]
pub struct Request {
    /// Comes back in the reply.
    pub id: RequestId,
    /// The volume.
    pub volume: VolumeId,
    /// What is asked.
    pub action: RequestAction,
}

/// When a write may be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// When a later read gives it: volatile until FLUSH, like a disk's cache.
    Volatile,
    /// When it is durable (NBD's FUA).
    Durable,
}

/// What is asked of a volume.
#[derive(Debug)]
pub enum RequestAction {
    /// Give the bytes.
    Read {
        /// Which.
        range: ByteRange,
    },
    /// Take the bytes.
    Write {
        /// First byte.
        offset: u64,
        /// The new bytes.
        data: Buffer,
        /// When to answer.
        durability: Durability,
    },
    /// Make durable every write answered so far, on any connection (rule O4).
    Flush,
    /// The bytes are not needed any more: advice, content then undefined (here: old or zeroes).
    Trim {
        /// Which.
        range: ByteRange,
        /// When to answer.
        durability: Durability,
    },
    /// Make the bytes read as zeroes.
    WriteZeroes {
        /// Which.
        range: ByteRange,
        /// Whether the space may be given back (NBD: `NO_HOLE` unset).
        space: crate::io::ZeroSpace,
        /// When to answer.
        durability: Durability,
    },
    /// Tell what is allocated (NBD: base:allocation).
    BlockStatus {
        /// Which.
        range: ByteRange,
    },
}

/// The one answer to a request.
#[derive(Debug)]
pub struct Reply {
    /// Of the request.
    pub id: RequestId,
    /// What came of it.
    pub result: Result<ReplyData, RequestError>,
}

/// What a successful request gives.
#[derive(Debug)]
pub enum ReplyData {
    /// Nothing to give: written, flushed, trimmed.
    Done,
    /// The bytes of a read, exactly as many as were asked for.
    Data(Buffer),
    /// The bytes of a read are where this says, and are to be sent from there (`io::Part::Lent`). They stay there as long as
    /// a connection serves the volume.
    Lent(Stretch),
    /// Of `BlockStatus`: from the range's first byte on, neighbours differ, sums to the range.
    Status(Vec<StatusExtent>),
}

/// A run of bytes with one allocation status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatusExtent {
    /// Length.
    pub bytes: u64,
    /// Its status.
    pub status: Allocation,
}

/// NBD's base:allocation of a run of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allocation {
    /// May hold anything.
    Data,
    /// Nothing is allocated; reads as zeroes (NBD: HOLE and ZERO).
    Hole,
    /// Allocated, or recorded, and reads as zeroes (NBD: ZERO).
    Zero,
}

/// Why a request failed. The NBD error value is chosen by the server, in one table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// No such volume (it was deleted).
    #[error("volume {0} does not exist")]
    NoVolume(VolumeId),
    /// A read, trim or status passes the end of the volume.
    #[error("bytes {}..{} pass the volume's end at {size}", range.start, range.end)]
    PastEnd {
        /// What was asked.
        range: ByteRange,
        /// Size of the volume in bytes.
        size: u64,
    },
    /// A write passes the end of the volume.
    #[error("bytes {}..{} pass the volume's end at {size}", range.start, range.end)]
    WritePastEnd {
        /// What was asked.
        range: ByteRange,
        /// Size of the volume in bytes.
        size: u64,
    },
    /// The request is longer than `limits::REQUEST_BYTES_MAX`.
    #[error("{0} bytes are more than one request may carry")]
    TooLong(u64),
    /// The pool of a thin volume, or the file system, is full.
    #[error("no space left")]
    NoSpace,
    /// The system below failed.
    #[error("input/output error")]
    Io,
    /// The target of a failed or suspended relationship: its image is gone (rules O7, O11).
    #[error("the volume is the target of a failed relationship; withdraw it")]
    Failed,
    /// The target of a relationship that inhibits writes (semantics 3.4, decision D11).
    #[error("the volume is a copy's target that takes no writes; withdraw the copy first")]
    Inhibited,
    /// A sync or journal write failed: no write succeeds until the server is restarted (rule O9).
    #[error("the store takes no writes after a failed sync; restart the server")]
    FailStop,
    /// The server is going down.
    #[error("the server is shutting down")]
    Shutdown,
}

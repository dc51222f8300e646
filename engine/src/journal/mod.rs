//! The journal: the one place where order matters. It keeps opaque metadata records and staged writes,
//! numbered without gaps, and says after a crash which of them count.
//!
//! It does no I/O. At run time `Journal` says what to write and sync, and the engine emits the operations;
//! `create`, `recover` and `inspect` work on a `Storage` before anything else runs. The bytes and the
//! cases of partial writes are in `docs/on_disk_format.md`.
//!
//! Invariants (with rules O5, O9, O10 and O12 of the architecture):
//! - J1 A frame's number is one more than that of the frame before it, and it carries that frame's checksum,
//!   its own position and the number of the opening that wrote it.
//! - J2 A frame lies within one segment, and all frames of a segment are of one opening.
//! - J3 `durable` covers a frame only when a sync that began after the frame, all frames before it and the headers of
//!   their segments were written has succeeded. `synced_through` in frames and segment headers was `durable` then.
//! - J4 A write is whole blocks, and never touches one that an earlier write touched and that still counts.
//! - J5 Recovery accepts a prefix of the frames. Damage before the greatest `synced_through` known is corruption: the store is
//!   not opened, and nothing is written. Damage after it ends the prefix.
//! - J6 Recovery changes nothing that the next recovery might need, until one sector, the header of its first fresh segment,
//!   commits its result; what it accepted is then durable, whatever became of earlier syncs.
//! - J7 A segment's slot is reused only when a durable checkpoint does not need the segment.
//! - J8 A checkpoint is committed only when its payload and the journal up to its mark are durable; until then
//!   the other slot's checkpoint stays in force.

mod checkpoint;
mod create;
mod error;
mod frame;
mod inspect;
mod recover;
mod scan;
mod segment;
mod slots;
mod survey;
mod verify;
mod window;
mod writer;

#[cfg(test)]
mod tests;

pub use checkpoint::{CheckpointSlots, CheckpointWriter};
pub use create::{CreateParameters, Presence, create, presence};
pub use error::{Damage, OpenError};
pub use frame::{FRAME_HEADER_BYTES, FrameFault};
pub use inspect::{CheckpointSummary, Inspection, SegmentSummary, inspect};
pub use recover::{Recovered, recover};
pub use scan::{FrameContent, ScannedFrame};
pub use verify::Needed;
pub use writer::{Appended, Journal, JournalWrite, SyncPlan, WriteTicket};

use crate::units::{Position, Seq};

/// A place between two frames, with what the next frame must continue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// Where the frame before it ends, or where the content of a segment without frames begins.
    pub position: Position,
    /// Number of the frame before it.
    pub seq: Seq,
    /// Header checksum of the frame before it.
    pub checksum: u32,
}

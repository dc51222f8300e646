//! Records: every change of metadata, as the journal keeps it.
//!
//! Invariants
//! - M1 The state is a function of the records in order: replaying them gives what the running engine has.
//! - M2 A record names objects by id; ids are given in ascending order and never reused (rule O8).
//! - M3 Applying a record never fails: whatever could be refused was refused before it was appended.

use serde::{Deserialize, Serialize};

use crate::admin::{CopyMode, EndReason};
use crate::geometry::Geometry;
use crate::pace::Pace;
use crate::units::{PoolId, RelationshipId, Seq, Slot, VolumeId};

/// One change of metadata.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Record {
    /// A pool was made.
    PoolCreated {
        /// Its id.
        id: PoolId,
        /// Its name.
        name: String,
        /// Capacity in slots.
        slots: u32,
    },
    /// A pool is gone.
    PoolDeleted {
        /// Its id.
        id: PoolId,
    },
    /// A volume was made.
    VolumeCreated {
        /// Its id.
        id: VolumeId,
        /// Its name.
        name: String,
        /// Its shape.
        geometry: Geometry,
        /// Device number.
        device: u16,
        /// Where a thin volume keeps its data; none for a full volume.
        pool: Option<PoolId>,
    },
    /// A volume is gone.
    VolumeDeleted {
        /// Its id.
        id: VolumeId,
    },
    /// Relationships were established or renewed; the record's number is the T0 of all of them.
    Established {
        /// Seconds since 1970.
        at: u64,
        /// New ones.
        relationships: Vec<NewRelationship>,
        /// Those that were there already and get a new T0.
        renewed: Vec<Renewal>,
    },
    /// NOCOPY relationships have become COPY ones.
    Converted {
        /// Which.
        ids: Vec<RelationshipId>,
    },
    /// A part of a relationship was withdrawn or is to end by itself: what goes on does so under new ids, as of the same T0.
    Split {
        /// Which.
        id: RelationshipId,
        /// What goes on.
        pieces: Vec<Piece>,
    },
    /// Relationships have ended.
    Ended {
        /// Which.
        ids: Vec<RelationshipId>,
        /// Why.
        reason: EndReason,
    },
    /// Relationships have failed; their targets refuse I/O until they are withdrawn (rule O7).
    Failed {
        /// Which.
        ids: Vec<RelationshipId>,
    },
    /// Tracks of a full target hold their T0 image, durably (rule O2).
    Copied {
        /// Of this relationship.
        id: RelationshipId,
        /// First track (counted from the extent's start) and number of tracks.
        runs: Vec<(u32, u32)>,
    },
    /// Blocks of a source, as they were at a T0, are in slots, durably (rule O2).
    Preserved {
        /// The source.
        source: VolumeId,
        /// The pool of the slots.
        pool: PoolId,
        /// The T0 that opened the interval.
        t0: Seq,
        /// Block of the source and slot.
        blocks: Vec<(u32, Slot)>,
    },
    /// Blocks of a thin volume are its own, in these slots, durably.
    Owned {
        /// The thin volume.
        volume: VolumeId,
        /// Block and slot.
        blocks: Vec<(u32, Slot)>,
    },
    /// Blocks of a thin volume were trimmed: they read as zeroes and their slots are free.
    Trimmed {
        /// The thin volume.
        volume: VolumeId,
        /// First block and number of blocks.
        runs: Vec<(u32, u32)>,
    },
    /// All frames up to this one are home, durably (rule O3).
    Released {
        /// The last of them.
        through: Seq,
    },
    /// Extents were given a name.
    DatasetDefined {
        /// The name.
        name: String,
        /// The extents.
        extents: Vec<NamedExtent>,
    },
    /// A dataset's name is forgotten.
    DatasetDeleted {
        /// The name.
        name: String,
    },
    /// Blocks of a full target hold their T0 image, durably, without the rest of their tracks (rule O2).
    CopiedBlocks {
        /// Of this relationship.
        id: RelationshipId,
        /// First block (counted from the extent's start) and number of blocks.
        runs: Vec<(u32, u32)>,
    },
}

/// One relationship of an `Established` record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewRelationship {
    /// Its id.
    pub id: RelationshipId,
    /// Source volume.
    pub source: VolumeId,
    /// Target volume.
    pub target: VolumeId,
    /// First track on the source.
    pub source_track: u32,
    /// First track on the target.
    pub target_track: u32,
    /// Number of tracks.
    pub tracks: u32,
    /// COPY or NOCOPY.
    pub mode: CopyMode,
    /// How fast the background copy may be.
    pub pace: Pace,
    /// Whether volumes were copied or extents.
    pub scope: Scope,
    /// Whether changes are recorded.
    pub recording: Recording,
    /// Whether hosts may write to the target.
    pub target_writes: TargetWrites,
}

/// What an establish was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Scope {
    /// Whole volumes.
    Volume,
    /// Extents.
    Extent,
}

/// Whether changes on both sides are recorded (semantics 3.4). A relationship that records them stays when it is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Recording {
    /// No.
    Off,
    /// Yes: it is incremental.
    On,
}

/// Whether hosts may write to the target while the relationship lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TargetWrites {
    /// Yes.
    Allowed,
    /// No.
    Inhibited,
}

/// A new T0 of a relationship.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Renewal {
    /// Which.
    pub id: RelationshipId,
    /// Whether source and target change their roles.
    pub direction: Direction,
    /// What is copied.
    pub tracks: RenewedTracks,
    /// COPY or NOCOPY from now on.
    pub mode: CopyMode,
    /// Whether changes are recorded from now on.
    pub recording: Recording,
    /// Whether hosts may write to the target from now on.
    pub target_writes: TargetWrites,
}

/// Whether source and target change their roles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Direction {
    /// They stay.
    Same,
    /// They change.
    Reversed,
}

/// Which tracks a renewal copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RenewedTracks {
    /// Those that were changed on either side since the last T0; in the same direction also those not copied yet.
    Changed,
    /// Those that were copied (a fast reverse restore without recorded changes).
    Copied,
}

/// A part of a relationship that goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Piece {
    /// Its id from now on.
    pub id: RelationshipId,
    /// Its first track, counted from the start of the old extent.
    pub first: u32,
    /// Number of tracks.
    pub tracks: u32,
    /// COPY or NOCOPY from now on.
    pub mode: CopyMode,
}

/// An extent of a dataset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedExtent {
    /// The volume; it may be gone.
    pub volume: VolumeId,
    /// First track.
    pub first: u32,
    /// Number of tracks.
    pub tracks: u32,
}

/// Bytes that are no record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the record cannot be read: {0}")]
pub struct RecordError(#[from] postcard::Error);

impl Record {
    /// The record as the journal keeps it.
    pub fn encode(&self) -> Vec<u8> {
        postcard::to_allocvec(self).expect("encoding into memory does not fail")
    }

    /// Reads a record back.
    ///
    /// # Errors
    /// The bytes are no record of this version.
    pub fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        Ok(postcard::from_bytes(bytes)?)
    }
}

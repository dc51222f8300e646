//! Records: every change of metadata, as the journal keeps it.
//!
//! Invariants
//! - M1 The state is a function of the records in order: replaying them gives what the running engine has.
//! - M2 A record names objects by id; ids are given in ascending order and never reused (rule O8).
//! - M3 Applying a record never fails: whatever could be refused was refused before it was appended.

use serde::{Deserialize, Serialize};

use crate::admin::{CopyMode, EndReason};
use crate::geometry::Geometry;
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
    /// Relationships were established; the record's number is the T0 of all of them.
    Established {
        /// Seconds since 1970.
        at: u64,
        /// All of them.
        relationships: Vec<NewRelationship>,
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

//! One relationship: a source extent, a target extent, and which tracks are copied.
//!
//! Invariants
//! - R1 A track not in `copied` is read from the source as of T0 (full targets). A thin target asks its own slots instead.
//! - R2 Between establish and end a track only goes from not copied to copied.
//! - R3 A track enters `copied` only when its `Copied` record is durable (rule O2).
//! - R4 A track in `lingering` is copied, but reads through the source may still be in flight: writes
//!   of the source do not go straight home yet.

use serde::{Deserialize, Serialize};

use crate::map::track_bitmap::TrackBitmap;
use crate::state::record::NewRelationship;
use crate::units::{PoolId, Seq};

/// A relationship as the engine keeps it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Relationship {
    /// What was established.
    pub pair: NewRelationship,
    /// Number of the establish record.
    pub t0: Seq,
    /// Seconds since 1970.
    pub established_at: u64,
    /// Pool of a thin target.
    pub pool: Option<PoolId>,
    /// Whether its image can be served.
    pub health: Health,
    /// Copied tracks, counted from the extent's start.
    pub copied: TrackBitmap,
    /// See R4. Empty after a restart.
    #[serde(skip)]
    pub lingering: TrackBitmap,
    /// The source's home was synced since T0 (rule O5). A restart forgets it: what was written and not
    /// synced before may be in the system's memory still.
    #[serde(skip)]
    pub durable: bool,
}

/// Whether a relationship's image can be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Health {
    /// Yes.
    Good,
    /// No: the record is on its way; what the relationship needs is still kept (rule O6).
    Failing,
    /// No: the target refuses I/O until it is withdrawn.
    Failed,
}

impl Relationship {
    /// A relationship just established.
    pub fn new(pair: NewRelationship, t0: Seq, established_at: u64, pool: Option<PoolId>) -> Self {
        Self {
            pair,
            t0,
            established_at,
            pool,
            health: Health::Good,
            copied: TrackBitmap::default(),
            lingering: TrackBitmap::default(),
            durable: false,
        }
    }

    /// Tracks of the source extent.
    pub fn source_extent(&self) -> std::ops::Range<u32> {
        self.pair.source_track..self.pair.source_track + self.pair.tracks
    }

    /// Tracks of the target extent.
    pub fn target_extent(&self) -> std::ops::Range<u32> {
        self.pair.target_track..self.pair.target_track + self.pair.tracks
    }

    /// True for a full target's track (of the target volume) that is still read from the source.
    pub fn target_reads_source(&self, target_track: u32) -> bool {
        self.pool.is_none() && !self.copied.contains(target_track - self.pair.target_track)
    }

    /// True when the source's track must be copied to a full target before its home may change.
    pub fn owes_track(&self, source_track: u32) -> bool {
        self.health == Health::Good
            && self.pool.is_none()
            && !self.copied.contains(source_track - self.pair.source_track)
    }

    /// True when a write of the source's track may not go straight home on this relationship's account (R4).
    pub fn holds_track(&self, source_track: u32) -> bool {
        let at = source_track - self.pair.source_track;
        self.health != Health::Failed
            && self.pool.is_none()
            && (!self.copied.contains(at) || self.lingering.contains(at))
    }

    /// Tracks of a full target that are not copied.
    pub fn tracks_left(&self) -> u32 {
        let copied = u32::try_from(self.copied.count()).unwrap_or(u32::MAX);
        self.pair.tracks.saturating_sub(copied)
    }
}

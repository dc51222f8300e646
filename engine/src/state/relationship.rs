//! One relationship: a source extent, a target extent, and which tracks are copied.
//!
//! Invariants
//! - R1 What is not in `copied` is read from the source as of T0 (full targets). A thin target asks its own slots instead.
//! - R2 Between establish and end a track or block only goes from not copied to copied.
//! - R3 A track enters `copied` only when its `Copied` record is durable, a block when its `CopiedBlocks` record is (rule
//!   O2).
//! - R4 A track in `lingering` is copied, but reads through the source may still be in flight: writes
//!   of the source do not go straight home yet.
//! - R5 While changes are recorded, every track that a host has changed since T0 is in `source_changed` or
//!   `target_changed`, after any crash too: a staged write tells its tracks by its frame, and one
//!   goes straight home only when they are in the set durably. The sets may hold more.

use serde::{Deserialize, Serialize};

use crate::admin::CopyMode;
use crate::limits;
use crate::map::track_bitmap::TrackBitmap;
use crate::state::copied::Copied;
use crate::state::record::{
    Direction, NewRelationship, Piece, Recording, Renewal, RenewedTracks, Scope, TargetWrites,
};
use crate::units::{Block, PoolId, Seq};

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
    /// What the full target holds.
    pub copied: Copied,
    /// Tracks that the source's host has changed since T0, if that is recorded (R5).
    pub source_changed: TrackBitmap,
    /// The same of the target's host.
    pub target_changed: TrackBitmap,
    /// See R4. Empty after a restart.
    #[serde(skip)]
    pub lingering: TrackBitmap,
    /// The source's home was synced since T0 (rule O5). A restart forgets it: what was written and not
    /// synced before may be in the system's memory still.
    #[serde(skip)]
    pub durable: bool,
}

/// The part that a volume plays in a relationship.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// It is copied.
    Source,
    /// It holds the copy.
    Target,
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
            copied: Copied::default(),
            source_changed: TrackBitmap::default(),
            target_changed: TrackBitmap::default(),
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

    /// True for a full target's track (of the target volume) that is still read from the source, if only in part.
    pub fn target_reads_source(&self, target_track: u32) -> bool {
        self.pool.is_none() && !self.copied.has_track(target_track - self.pair.target_track)
    }

    /// True for a full target's block (of the target volume) that is still read from the source.
    pub fn target_block_reads_source(&self, target_block: Block, track_blocks: u32) -> bool {
        let block = target_block.0 - self.pair.target_track * track_blocks;
        self.pool.is_none() && !self.copied.has_block(block, track_blocks)
    }

    /// True when the source's block must be copied to a full target before its home may change.
    pub fn owes_block(&self, source_block: Block, track_blocks: u32) -> bool {
        let block = source_block.0 - self.pair.source_track * track_blocks;
        self.health == Health::Good
            && self.pool.is_none()
            && !self.copied.has_block(block, track_blocks)
    }

    /// True when a write of the source's track may not go straight home on this relationship's account (R4).
    pub fn holds_track(&self, source_track: u32) -> bool {
        let at = source_track - self.pair.source_track;
        self.health != Health::Failed
            && self.pool.is_none()
            && (!self.copied.has_track(at) || self.lingering.contains(at))
    }

    /// Copy tables that it takes: of bitmaps with one bit for each track (semantics 3.3).
    pub fn copy_tables(&self) -> u64 {
        copy_tables(self.pair.tracks, self.pair.recording)
    }

    /// True when changes are recorded.
    pub fn is_incremental(&self) -> bool {
        self.pair.recording == Recording::On
    }

    /// True when hosts cannot write to the target.
    pub fn inhibits_target(&self) -> bool {
        self.pair.target_writes == TargetWrites::Inhibited
    }

    /// Tracks that have changed on either side since T0, if that is recorded.
    pub fn changed(&self) -> TrackBitmap {
        let mut changed = self.source_changed.clone();
        changed.unite(&self.target_changed);
        changed
    }

    /// How many tracks have changed on either side since T0, if that is recorded.
    pub fn changed_tracks(&self) -> u64 {
        self.source_changed.united_count(&self.target_changed)
    }

    /// Takes the relationship to a new T0 (semantics 3.4); gives what was copied before. The indexes of the
    /// volumes are the caller's.
    pub fn renew(&mut self, renewal: &Renewal, t0: Seq, at: u64, track_blocks: u32) -> Copied {
        let changed = self.changed();
        let before = std::mem::take(&mut self.copied);
        let mut missing = TrackBitmap::default();
        self.copied = match renewal.direction {
            Direction::Same => {
                let mut copied = before.tracks().clone();
                copied.subtract(&changed);
                copied.into()
            }
            Direction::Reversed => {
                // What was never copied was never overwritten on the new target: it holds its image.
                let mut again = before.tracks().clone();
                if renewal.tracks == RenewedTracks::Changed {
                    again.intersect(&changed);
                }
                // The new source lacks what was never copied to it: both sides differ there.
                missing.set(0..self.pair.tracks);
                missing.subtract(before.tracks());
                missing.compact();
                before.complement(&again, self.pair.tracks, track_blocks)
            }
        };
        self.copied.compact();
        if renewal.direction == Direction::Reversed {
            std::mem::swap(&mut self.pair.source, &mut self.pair.target);
            std::mem::swap(&mut self.pair.source_track, &mut self.pair.target_track);
        }
        self.pair.mode = renewal.mode;
        self.pair.recording = renewal.recording;
        self.pair.target_writes = renewal.target_writes;
        self.source_changed = match renewal.recording {
            Recording::On => missing,
            Recording::Off => TrackBitmap::default(),
        };
        self.target_changed = TrackBitmap::default();
        self.lingering = TrackBitmap::default();
        self.durable = false;
        self.t0 = t0;
        self.established_at = at;
        before
    }

    /// The part of the relationship that goes on under an id of its own.
    #[must_use]
    pub fn piece(&self, piece: &Piece, track_blocks: u32) -> Self {
        let mut part = self.clone();
        part.pair.id = piece.id;
        part.pair.source_track += piece.first;
        part.pair.target_track += piece.first;
        part.pair.tracks = piece.tracks;
        part.pair.mode = piece.mode;
        part.pair.scope = Scope::Extent;
        part.copied = self.copied.part(piece.first..piece.first + piece.tracks, track_blocks);
        part.lingering = self.lingering.part(piece.first..piece.first + piece.tracks);
        part
    }

    /// True when it ends by itself once every track is copied.
    pub fn ends_when_copied(&self, on_demand_too: bool) -> bool {
        let by_mode = self.pair.mode == CopyMode::Copy || on_demand_too;
        by_mode && !self.is_incremental() && self.pool.is_none()
    }

    /// Tracks of a full target that are not copied.
    pub fn tracks_left(&self) -> u32 {
        let copied = u32::try_from(self.copied.tracks().count()).unwrap_or(u32::MAX);
        self.pair.tracks.saturating_sub(copied)
    }
}

/// Copy tables that a relationship of so many tracks takes; recording changes takes two more sets of them.
pub fn copy_tables(tracks: u32, recording: Recording) -> u64 {
    let one = u64::from(tracks.div_ceil(limits::TRACKS_PER_COPY_TABLE));
    match recording {
        Recording::Off => one,
        Recording::On => 3 * one,
    }
}

//! Staged versions that are void: those of what a copy gives new content (rule O5).

use crate::map::track_bitmap::TrackBitmap;
use crate::units::{ByteRange, Seq, VolumeId};

/// Staged versions of a range that are void (rule O5).
#[derive(Clone, Debug)]
pub struct Superseded {
    /// The volume.
    pub volume: VolumeId,
    /// Which bytes.
    pub range: ByteRange,
    /// Only those of some parts of the range.
    pub only: Option<Only>,
    /// Versions with a greater number than this.
    pub after: Seq,
    /// And a lower number than this.
    pub before: Seq,
}

/// Some tracks, or blocks, of a range of bytes.
#[derive(Clone, Debug)]
pub struct Only {
    /// Counted from the start of the range.
    pub set: TrackBitmap,
    /// True for those in the set, false for the others.
    pub in_set: bool,
    /// Bytes of a track, or of a block.
    pub unit_bytes: u64,
}

impl Superseded {
    /// All versions of a range up to a moment.
    pub fn all(volume: VolumeId, range: ByteRange, before: Seq) -> Self {
        Self { volume, range, only: None, after: Seq(0), before }
    }

    /// True when it speaks of the block that holds this byte of the volume.
    pub fn concerns(&self, byte: u64) -> bool {
        self.only.as_ref().is_none_or(|only| {
            let unit = byte.saturating_sub(self.range.start) / only.unit_bytes;
            u32::try_from(unit).is_ok_and(|unit| only.set.contains(unit) == only.in_set)
        })
    }
}

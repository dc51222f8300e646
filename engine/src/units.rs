//! Units and identities: a bare integer never says whether it counts bytes, blocks or tracks.
//!
//! - A *byte* range addresses a volume as its host sees it.
//! - A *block* is 4 KiB: the grain of staging, of pool slots and of what a thin copy preserves.
//! - A *track* is the grain of extents, limits, reports and full targets (see `geometry`).
//! - Ids are given in ascending order and never reused (rule O8).

use serde::{Deserialize, Serialize};

/// Bytes in a block and in a pool slot.
pub const BLOCK_BYTES: u64 = 4096;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        pub struct $name(pub $inner);

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number! {
    /// A volume of this store.
    VolumeId(u32)
}
number! {
    /// A pool of 4 KiB slots.
    PoolId(u32)
}
number! {
    /// A relationship: one source extent paired with one target extent.
    RelationshipId(u32)
}
number! {
    /// A moment of the store's history: the number of a journal frame. Every staged write and every
    /// record has one; `T0(R)` is the number of the record that established R.
    Seq(u64)
}
number! {
    /// A 4 KiB block of a volume, counted from its first byte.
    Block(u32)
}
number! {
    /// A track of a volume, counted from zero.
    Track(u32)
}
number! {
    /// A 4 KiB slot of a pool, counted from zero.
    Slot(u32)
}
number! {
    /// A byte of the journal, counted over all segments that ever were: segment number times
    /// segment size plus offset within the segment.
    Position(u64)
}

impl Seq {
    /// The number after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl Block {
    /// Offset of the block's first byte within its volume.
    pub fn offset(self) -> u64 {
        u64::from(self.0) * BLOCK_BYTES
    }

    /// The block that holds byte `offset` of a volume.
    ///
    /// Volumes end below 16 TiB (`limits::VOLUME_BYTES_MAX`), so block numbers fit 32 bits.
    pub fn containing(offset: u64) -> Self {
        Self(u32::try_from(offset / BLOCK_BYTES).expect("volumes are smaller than 2^32 blocks"))
    }
}

impl Slot {
    /// Offset of the slot's first byte within its pool.
    pub fn offset(self) -> u64 {
        u64::from(self.0) * BLOCK_BYTES
    }
}

/// Bytes `start..end` of a volume or an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ByteRange {
    /// First byte.
    pub start: u64,
    /// One past the last byte.
    pub end: u64,
}

impl ByteRange {
    /// The range of `bytes` bytes from `start`, or `None` when it would pass the end of 64 bits.
    pub fn new(start: u64, bytes: u64) -> Option<Self> {
        Some(Self { start, end: start.checked_add(bytes)? })
    }

    /// Length in bytes.
    pub fn bytes(self) -> u64 {
        self.end - self.start
    }

    /// True when the range holds no byte.
    pub fn is_empty(self) -> bool {
        self.start == self.end
    }

    /// The blocks that the range touches, as numbers.
    pub fn blocks(self) -> std::ops::Range<u32> {
        if self.is_empty() {
            return 0..0;
        }
        Block::containing(self.start).0..Block::containing(self.end - 1).0 + 1
    }

    /// The part of the range within `block`, as offsets from the block's start.
    pub fn within(self, block: Block) -> std::ops::Range<u16> {
        let base = block.offset();
        let clip = |at: u64| at.saturating_sub(base).min(BLOCK_BYTES);
        let narrow = |at: u64| u16::try_from(at).expect("an offset within a block fits 16 bits");
        narrow(clip(self.start))..narrow(clip(self.end))
    }

    /// True when both ranges share a byte.
    pub fn overlaps(self, other: Self) -> bool {
        self.start < other.end && other.start < self.end
    }
}

/// The moment of a tick, given in from outside: the engine reads no clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment {
    /// Microseconds of a clock that never goes back.
    pub monotonic_us: u64,
    /// Seconds since 1970, for reports only.
    pub unix_seconds: u64,
}

//! Every bound in one place, checked against each other at compile time.

use crate::units::BLOCK_BYTES;

/// Largest volume: ext4 holds files a little under 16 TiB; 15 TiB leaves room (by policy).
pub const VOLUME_BYTES_MAX: u64 = 15 << 40;
/// Bytes of a track on generic (`fb`) volumes.
pub const TRACK_BYTES_FB: u32 = 65_536;
/// Bytes of a track on 3390 volumes: 12 records of 4 KiB.
pub const TRACK_BYTES_3390: u32 = 49_152;
/// Tracks of a cylinder on 3390 volumes.
pub const TRACKS_PER_CYLINDER: u32 = 15;
/// Relationships that one source track may take part in (white paper, Table 2).
pub const RELATIONSHIPS_PER_TRACK: usize = 16;
/// The same under the `ibm` profile.
pub const RELATIONSHIPS_PER_TRACK_IBM: usize = 12;
/// Relationships that one volume may take part in, in both roles together (white paper, Table 2).
pub const RELATIONSHIPS_PER_VOLUME: u32 = 65_534;
/// Tracks that one copy table serves, as on the array: 639 slots of 32 tracks (semantics 3.3).
pub const TRACKS_PER_COPY_TABLE: u32 = 20_448;
/// Copy tables of a store unless told otherwise: those of the largest array.
pub const COPY_TABLES: u64 = 209_600;
/// Seconds after which the held writes of a control unit go on by themselves, unless told otherwise.
pub const FREEZE_SECONDS: u32 = 120;
/// Relationships that one command makes at most.
pub const RELATIONSHIPS_PER_COMMAND: usize = 4096;
/// Extents of one establish command.
pub const EXTENTS_PER_COMMAND: usize = 32;
/// Longest data that one journal frame carries; longer writes become several frames.
pub const FRAME_DATA_MAX: u64 = 1 << 20;
/// Longest zero range that one journal frame carries; longer requests are carried out in slices.
pub const FRAME_ZERO_MAX: u64 = 4 << 20;
/// Longest read or write of one request.
pub const REQUEST_BYTES_MAX: u64 = 64 << 20;
/// Shortest read that may be sent from where it is, in bytes: shorter ones are cheaper copied, several to a call.
pub const LENT_BYTES_MIN: u64 = if cfg!(feature = "sim") { 4096 } else { 32 << 10 };
/// Longest such read: a turn of the worker sends it.
pub const LENT_BYTES_MAX: u64 = 1 << 20;
/// Longest range that one block status tells of.
pub const STATUS_BYTES_MAX: u64 = 256 << 20;
/// Unsynced journal that starts a sync by itself, in bytes.
pub const UNSYNCED_BYTES_MAX: u64 = 8 << 20;
/// Age of unsynced journal that starts a sync by itself, in microseconds.
pub const UNSYNCED_AGE_MAX_US: u64 = 10_000;
/// Bytes of a checkpoint that are encoded and written at once, about. The simulator's stores are small and are to be
/// written in several pieces too.
pub const CHECKPOINT_PIECE_BYTES: usize = if cfg!(feature = "sim") { 256 } else { 128 << 10 };
/// Blocks with staged writes that are looked at for one part of such a piece.
pub const CHECKPOINT_PIECE_BLOCKS: usize = if cfg!(feature = "sim") { 4 } else { 2048 };
/// Blocks staged at most (rule O12). Each takes 111 bytes of memory with a frame of its own, 70 where a frame of zeroes stages a thousand.
pub const STAGED_BLOCKS_MAX: u64 = 512 << 10;
/// Longest name of a volume or pool, in bytes.
pub const NAME_BYTES_MAX: usize = 128;
/// Runs of changed tracks in one answer.
pub const CHANGE_RUNS_MAX: usize = 16_384;
/// Ended relationships that are remembered with their reason.
pub const ENDED_REMEMBERED: usize = 1024;

const _: () = assert!(VOLUME_BYTES_MAX / BLOCK_BYTES <= u32::MAX as u64);
const _: () = assert!((TRACK_BYTES_FB as u64).is_multiple_of(BLOCK_BYTES));
const _: () = assert!((TRACK_BYTES_3390 as u64).is_multiple_of(BLOCK_BYTES));
const _: () = assert!(
    FRAME_DATA_MAX.is_multiple_of(BLOCK_BYTES) && FRAME_ZERO_MAX.is_multiple_of(BLOCK_BYTES)
);

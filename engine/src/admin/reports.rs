//! What is told of pools, volumes, relationships, datasets and the store: facts as they stand when asked.

use serde::{Deserialize, Serialize};

use super::commands::CopyMode;
use super::profile::Profile;
use crate::geometry::VolumeType;
use crate::pace::Pace;

/// The answer to a command.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Report {
    /// Done, nothing to tell.
    Done,
    /// Pools asked for.
    Pools(Vec<PoolReport>),
    /// Volumes asked for, or the one made.
    Volumes(Vec<VolumeReport>),
    /// Relationships asked for, made, changed or withdrawn.
    Copies(Vec<CopyReport>),
    /// What has changed since the moment of a relationship.
    Changes(ChangesReport),
    /// Datasets asked for, or the one defined.
    Datasets(Vec<DatasetReport>),
    /// What a thaw has set free.
    Thawed(ThawReport),
    /// The store.
    Store(Box<StoreReport>),
}

/// A pool as it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolReport {
    /// Its number.
    pub id: u32,
    /// Its name.
    pub name: String,
    /// Capacity in bytes.
    pub capacity_bytes: u64,
    /// Bytes in slots that hold data.
    pub used_bytes: u64,
    /// Bytes promised to staged writes that will need a slot.
    pub reserved_bytes: u64,
    /// Of `used_bytes`, what is preserved of sources for their thin targets.
    pub preserved_bytes: u64,
    /// Volumes that keep their data here.
    pub volumes: Vec<String>,
    /// `ok`, `warning` (over 70 % or 80 % full), `full` or `failed`.
    pub status: PoolStatus,
}

/// How a pool fares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PoolStatus {
    /// Room enough.
    Ok,
    /// Over the first or second threshold.
    Warning,
    /// No slot is free.
    Full,
    /// A write or sync of it failed.
    Failed,
}

/// A volume as it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeReport {
    /// Its number: names the volume to `Request`.
    pub id: u32,
    /// Its name.
    pub name: String,
    /// Device number, four hexadecimal digits.
    pub device: String,
    /// Type.
    #[serde(rename = "type")]
    pub volume_type: VolumeType,
    /// Size in bytes.
    pub size_bytes: u64,
    /// Bytes of a track.
    pub track_bytes: u32,
    /// Number of tracks.
    pub tracks: u32,
    /// True when its data is in a pool.
    pub thin: bool,
    /// Name of that pool.
    pub pool: Option<String>,
    /// Bytes allocated: slots of a thin volume; of a full one the server fills it in from the file system.
    pub allocated_bytes: u64,
    /// `online` or `failed`.
    pub status: VolumeStatus,
    /// Connections to its export; the server fills it in.
    pub connections: u32,
    /// Relationships as source.
    pub source_relationships: u32,
    /// Relationships as target.
    pub target_relationships: u32,
    /// Relationships, in both roles together, that the volume may have under the store's profile.
    pub relationships_max: u32,
    /// Seconds until held writes go on by themselves; none when the volume is not frozen.
    pub frozen_seconds_left: Option<u32>,
}

/// Tracks that have changed on either side of a relationship since its moment. A superset after a crash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangesReport {
    /// The relationship.
    pub id: u32,
    /// Number of its moment T0: a later moment has a greater one, a refresh takes a new one.
    pub moment: u64,
    /// False when the relationship does not record changes; then no runs are told.
    pub recorded: bool,
    /// Runs of changed tracks, ascending, at most `limits::CHANGE_RUNS_MAX`.
    pub runs: Vec<TrackRun>,
    /// Ask again from this track on for the rest; none when this was all.
    pub next_track: Option<u32>,
}

/// Neighbouring tracks, counted from the first of a relationship's extents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrackRun {
    /// The first.
    pub first: u32,
    /// How many.
    pub count: u32,
}

/// A dataset as it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatasetReport {
    /// Its name.
    pub name: String,
    /// Its extents. A volume that was deleted has no name: the dataset cannot be copied.
    pub extents: Vec<DatasetExtentReport>,
    /// Tracks of all extents.
    pub tracks: u64,
}

/// An extent of a dataset as it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatasetExtentReport {
    /// Name of the volume; none when it was deleted.
    pub volume: Option<String>,
    /// First track.
    pub first_track: u32,
    /// Number of tracks.
    pub tracks: u32,
}

/// What a thaw has set free.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThawReport {
    /// The volumes that were frozen.
    pub volumes: Vec<String>,
    /// Of the volume to be verified: whether it was still frozen.
    pub consistent: Option<bool>,
}

/// How a volume fares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VolumeStatus {
    /// Reads and writes are served.
    Online,
    /// Refused: target of a failed relationship, or its storage failed.
    Failed,
}

/// A relationship as it stands or ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "the documented form: facts, not options")]
pub struct CopyReport {
    /// Its id.
    pub id: u32,
    /// Source volume.
    pub source: String,
    /// Target volume.
    pub target: String,
    /// First track on the source.
    pub source_track: u32,
    /// First track on the target.
    pub target_track: u32,
    /// Number of tracks.
    pub tracks: u32,
    /// COPY or NOCOPY.
    pub mode: CopyMode,
    /// How fast the background copy may be.
    #[serde(default)]
    pub pace: Pace,
    /// State.
    pub state: CopyState,
    /// True when changes are recorded.
    pub incremental: bool,
    /// True when it was established for whole volumes.
    pub whole: bool,
    /// True when hosts cannot write to the target while it lives.
    pub write_inhibited: bool,
    /// Tracks that have changed on either side since the last moment, as far as it is recorded.
    pub changed_tracks: u32,
    /// True when the target is thin.
    pub space_efficient: bool,
    /// Tracks whose T0 image is not yet on the target.
    pub tracks_left: u32,
    /// When, in seconds since 1970.
    pub established_at: u64,
    /// Number of its moment T0: a later moment has a greater one, a refresh takes a new one.
    #[serde(default)]
    pub moment: u64,
    /// False until the source's home was synced after T0: a power cut before then leaves the image exact
    /// only for what had been flushed (rule O5).
    pub durable: bool,
    /// Why it ended; none while it lives.
    pub ended: Option<EndReason>,
}

/// State of a relationship (semantics 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CopyState {
    /// It exists; copying in the background or on demand.
    FCopy,
    /// All tracks are on the target.
    Complete,
    /// The pool ran out, or the target's storage failed: the target refuses I/O, the source goes on.
    Failed,
    /// Its metadata cannot be read: the target refuses I/O.
    Suspended,
}

/// Why a relationship ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EndReason {
    /// Every track was copied.
    Completed,
    /// By command.
    Withdrawn,
}

/// The whole store as it stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StoreReport {
    /// Identity of the store, 32 hexadecimal digits.
    pub uuid: String,
    /// How often it was opened: its epoch.
    pub epoch: u64,
    /// Whose rules apply where the two columns of the white paper's tables differ.
    pub profile: Profile,
    /// Copy tables that live relationships take, each for 20,448 tracks.
    pub copy_tables_used: u64,
    /// Copy tables that they may take.
    pub copy_tables: u64,
    /// Why no writes are taken; none while all is well.
    pub fail_stop: Option<String>,
    /// Bytes of staged writes whose home is not written yet.
    pub staged_bytes: u64,
    /// Blocks of staged writes.
    pub staged_blocks: u64,
    /// Journal bytes in use, and what the journal may hold.
    pub journal_used_bytes: u64,
    /// See `journal_used_bytes`.
    pub journal_capacity_bytes: u64,
    /// Plain counters since the server started, by name (see `stats`).
    pub counters: std::collections::BTreeMap<String, u64>,
}

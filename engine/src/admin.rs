//! Administration: commands, reports and refusals, shared with the server and the tools.
//!
//! A refused command changes nothing. An accepted one is answered when its record is durable
//! (rule O5). The serde forms are the control API's JSON, documented in `nbd-server/docs/control_api.md`.

use serde::{Deserialize, Serialize};

use crate::geometry::VolumeType;
use crate::units::RelationshipId;

/// Names a command until its answer; chosen by the caller, unique among those in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommandId(pub u64);

/// What an administrator can ask.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Command {
    /// Make a pool.
    PoolCreate {
        /// Its name, unique among pools.
        name: String,
        /// Capacity; rounded down to whole 4 KiB slots.
        capacity_bytes: u64,
    },
    /// All pools.
    PoolList {},
    /// One pool.
    PoolShow {
        /// Its name.
        name: String,
    },
    /// Remove a pool that no volume uses.
    PoolDelete {
        /// Its name.
        name: String,
    },
    /// Make a volume.
    VolumeCreate(VolumeSpec),
    /// All volumes.
    VolumeList {},
    /// One volume.
    VolumeShow {
        /// Its name.
        name: String,
    },
    /// Remove a volume that is neither related nor connected.
    VolumeDelete {
        /// Its name.
        name: String,
    },
    /// Copy from sources to targets: one record, one T0 for all of them.
    CopyEstablish(EstablishSpec),
    /// Live relationships, and those that ended of late.
    CopyList {
        /// Only those of this volume, as source or target.
        volume: Option<String>,
    },
    /// One relationship, live or remembered.
    CopyShow(CopySelector),
    /// End relationships. Nothing matching by source or target ends normally; an unknown id is refused.
    CopyWithdraw(CopySelector),
    /// Counters and states of the whole store.
    StoreStatus {},
    /// Destage everything that is staged now, then answer.
    StoreDrain {},
}

/// A volume to make.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VolumeSpec {
    /// Its name, unique among volumes; also the NBD export's name.
    pub name: String,
    /// Wanted size; rounded up to whole tracks. Needed for `fb`; for 3390 types it or `cylinders`
    /// may replace the type's own size.
    pub size_bytes: Option<u64>,
    /// Cylinders of a 3390 volume.
    pub cylinders: Option<u32>,
    /// Type: decides the track size.
    #[serde(default)]
    pub volume_type: VolumeType,
    /// Device number, unique; the lowest free one when not given.
    pub device: Option<u16>,
    /// Name of the pool that keeps the volume's data: a thin volume.
    pub thin: Option<String>,
}

/// An establish command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EstablishSpec {
    /// Source and target volumes, with extents or whole.
    pub pairs: Vec<PairSpec>,
    /// Whether a background copy runs.
    #[serde(default)]
    pub mode: CopyMode,
    /// The opt-in that a thin target needs.
    #[serde(default)]
    pub space_efficient: bool,
}

/// One source and target of an establish.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PairSpec {
    /// Name of the source volume.
    pub source: String,
    /// Name of the target volume.
    pub target: String,
    /// Extents; none means the whole volume.
    #[serde(default)]
    pub extents: Vec<ExtentSpec>,
}

/// A run of tracks, from a place on the source to a place on the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExtentSpec {
    /// First track on the source.
    pub source_track: u32,
    /// First track on the target.
    pub target_track: u32,
    /// Number of tracks.
    pub tracks: u32,
}

/// Whether the background copier fills the target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CopyMode {
    /// Background copy; the relationship ends when it is complete.
    #[default]
    Copy,
    /// Copy on demand only.
    Nocopy,
}

/// Which relationships a command means.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CopySelector {
    /// This one.
    Id(RelationshipId),
    /// All whose target is on this volume.
    Target(String),
    /// All whose source is on this volume.
    Source(String),
}

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
    /// Relationships asked for, made or withdrawn.
    Copies(Vec<CopyReport>),
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
    /// State.
    pub state: CopyState,
    /// True when changes are recorded.
    pub incremental: bool,
    /// True when the target is thin.
    pub space_efficient: bool,
    /// Tracks whose T0 image is not yet on the target.
    pub tracks_left: u32,
    /// When, in seconds since 1970.
    pub established_at: u64,
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

/// Why a command was refused: nothing was changed. The kinds follow the capability reason codes of
/// semantics 1.4 where there is one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("{message}")]
pub struct Refusal {
    /// A stable word for programs.
    pub kind: RefusalKind,
    /// Names the object and the numbers.
    pub message: String,
    /// What the user can do.
    pub help: Option<String>,
}

/// Kinds of refusals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefusalKind {
    /// Name, size, extent or another value makes no sense.
    Invalid,
    /// No such volume, pool or relationship.
    NotFound,
    /// Name or device number is taken.
    Exists,
    /// Related, connected or otherwise in use.
    Busy,
    /// Device types do not fit each other.
    DeviceType,
    /// The target is smaller than the source.
    Size,
    /// A target extent overlaps a related extent, or a source a target.
    Overlap,
    /// A source track has all the relationships it may have.
    TooManyCopies,
    /// A space-efficient rule is broken.
    SpaceEfficient,
    /// Not offered yet.
    Unsupported,
    /// Out of space or metadata budget.
    NoResources,
    /// The store takes no writes after a failed sync.
    FailStop,
    /// The server is going down.
    Shutdown,
}

/// The answer that goes with a `CommandId`.
#[derive(Debug)]
pub struct Answer {
    /// Of the command.
    pub id: CommandId,
    /// What came of it.
    pub result: Result<Report, Refusal>,
}

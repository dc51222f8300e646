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
    /// The moment of a live relationship, and the tracks that have changed since, as far as it records them.
    CopyChanges {
        /// The relationship.
        id: RelationshipId,
        /// Tell changes from this track on, counted from the extents' first.
        #[serde(default)]
        from_track: u32,
    },
    /// Start the background copy of all NOCOPY relationships of a source; no new moment is taken. None ends normally.
    CopyConvert {
        /// Name of the source volume.
        source: String,
    },
    /// End relationships. Nothing matching by source or target ends normally; an unknown id is refused.
    CopyWithdraw(WithdrawSpec),
    /// Let the held writes of every frozen volume of a control unit go on.
    Thaw {
        /// The control unit: the upper two digits of its volumes' device numbers.
        cu: u8,
        /// Tell whether this volume was still frozen, so that the group is consistent.
        #[serde(default)]
        verify: Option<String>,
    },
    /// Name extents, on one volume or several, that are copied together.
    DatasetDefine {
        /// Its name, unique among datasets.
        name: String,
        /// In the order of its data.
        extents: Vec<DatasetExtent>,
    },
    /// All datasets.
    DatasetList {},
    /// One dataset.
    DatasetShow {
        /// Its name.
        name: String,
    },
    /// Forget a dataset's name; its data and copies stay.
    DatasetDelete {
        /// Its name.
        name: String,
    },
    /// Copy all extents of a dataset, at one moment or not at all.
    DatasetCopy(DatasetCopySpec),
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

/// An establish command: new relationships, or an incremental one taken to a new moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
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
    /// Whether changes are recorded, for a refresh or reversal later.
    #[serde(default)]
    pub incremental: Incremental,
    /// What is to happen to a pair that exists already.
    #[serde(default)]
    pub action: EstablishAction,
    /// Whether further writes of the sources are held until their control unit is thawed.
    #[serde(default)]
    pub freeze: Freeze,
    /// Whether a target may have connected clients.
    #[serde(default)]
    pub online_target: OnlineTarget,
}

/// Whether changes on both sides are recorded after the establish (semantics 3.4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Incremental {
    /// No.
    #[default]
    No,
    /// Yes; under the `ibm` profile hosts cannot write to the target (decision D11).
    Yes,
    /// Yes, and hosts may write to the target under both profiles (YTW).
    TargetWritable,
    /// A last refresh: what was recorded is copied, then the relationship ends. Without such a pair: a plain copy.
    Last,
}

/// What is to happen to a pair that exists already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EstablishAction {
    /// New pairs are established; an incremental pair is refreshed, or reversed when named the other way round.
    #[default]
    Establish,
    /// The pair must exist in this direction: a new moment, only changes are copied.
    Refresh,
    /// The pair must exist in the other direction: the changes are copied back.
    Reverse,
    /// As `Reverse`, also while the copy is incomplete and without recorded changes: what was copied is copied back.
    FastReverse,
}

/// Whether an establish holds further writes of its sources (semantics 3.6).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Freeze {
    /// No.
    #[default]
    No,
    /// Until a thaw, or the control unit's timer runs out.
    HoldWrites,
}

/// Whether an establish takes a target that has connected clients (ONLINTGT).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnlineTarget {
    /// Yes.
    #[default]
    Allowed,
    /// No.
    Refused,
}

/// Which relationships are to end, and how (semantics 1.3). At least one of `id`, `source` and `target` is given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WithdrawSpec {
    /// This relationship.
    #[serde(default)]
    pub id: Option<RelationshipId>,
    /// Those with this source volume; with `ddsw` those with it as target too, which end at once.
    #[serde(default)]
    pub source: Option<String>,
    /// Those with this target volume; with `source` and `ddsw` it is ignored.
    #[serde(default)]
    pub target: Option<String>,
    /// Only what lies in these extents: of target tracks, or with `ddsw` of source tracks. Under the `xp7` profile
    /// relationships that lie wholly inside one; under `ibm` the part inside, the rest goes on.
    #[serde(default)]
    pub extents: Vec<ExtentSpec>,
    /// Copy what is left in the background first; an incremental relationship then stays.
    #[serde(default)]
    pub ddsw: bool,
}

impl From<CopySelector> for WithdrawSpec {
    /// At once and whole.
    fn from(selector: CopySelector) -> Self {
        let nothing = Self::default();
        match selector {
            CopySelector::Id(id) => Self { id: Some(id), ..nothing },
            CopySelector::Target(name) => Self { target: Some(name), ..nothing },
            CopySelector::Source(name) => Self { source: Some(name), ..nothing },
        }
    }
}

/// Tracks of a volume that belong to a dataset.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatasetExtent {
    /// Name of the volume.
    pub volume: String,
    /// First track.
    pub first_track: u32,
    /// Number of tracks.
    pub tracks: u32,
}

/// A copy of a dataset.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatasetCopySpec {
    /// Name of the dataset.
    pub name: String,
    /// A target volume for each volume of the dataset, in the order of their first extents; positions stay the same.
    #[serde(default)]
    pub targets: Vec<String>,
    /// Instead of `targets`: a dataset whose extents have the same lengths in the same order.
    #[serde(default)]
    pub onto: Option<String>,
    /// Whether a background copy runs.
    #[serde(default)]
    pub mode: CopyMode,
    /// Whether further writes of the sources are held.
    #[serde(default)]
    pub freeze: Freeze,
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

/// Whose rules apply where the two columns of the white paper's tables differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// The HP XP7 column.
    #[default]
    Xp7,
    /// The IBM column.
    Ibm,
}

impl Profile {
    /// The word of the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Xp7 => "xp7",
            Self::Ibm => "ibm",
        }
    }
}

impl std::str::FromStr for Profile {
    type Err = UnknownProfile;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        [Self::Xp7, Self::Ibm]
            .into_iter()
            .find(|known| known.name() == word)
            .ok_or_else(|| UnknownProfile(word.to_owned()))
    }
}

/// A word that names no profile.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no profile; known are xp7 and ibm")]
pub struct UnknownProfile(String);

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
    /// Extents of one command overlap where they must not.
    Overlap,
    /// An extent is part of a target already (reason code 11).
    TargetRelated,
    /// An extent is part of a source already (reason code 12).
    SourceRelated,
    /// A source track has all the relationships it may have (reason code 13).
    TooManyCopies,
    /// A volume has all the relationships it may have (reason code 1).
    VolumeRelationships,
    /// The source has an incremental relationship already; there is one at most.
    SecondIncremental,
    /// The target has connected clients, and that was not allowed.
    Online,
    /// An earlier copy has to be complete first.
    Incomplete,
    /// The pair is no incremental one, or not in the direction that was named.
    Direction,
    /// A space-efficient rule is broken (reason code 14).
    SpaceEfficient,
    /// Not offered yet.
    Unsupported,
    /// Out of space or copy tables (reason code 8).
    NoResources,
    /// The store takes no writes after a failed sync.
    FailStop,
    /// The server is going down.
    Shutdown,
}

impl RefusalKind {
    /// The capability reason code of semantics 1.4, where there is one.
    pub fn reason_code(self) -> Option<u8> {
        match self {
            Self::VolumeRelationships => Some(1),
            Self::NoResources => Some(8),
            Self::TargetRelated => Some(11),
            Self::SourceRelated => Some(12),
            Self::TooManyCopies => Some(13),
            Self::SpaceEfficient => Some(14),
            _ => None,
        }
    }
}

/// The answer that goes with a `CommandId`.
#[derive(Debug)]
pub struct Answer {
    /// Of the command.
    pub id: CommandId,
    /// What came of it.
    pub result: Result<Report, Refusal>,
}

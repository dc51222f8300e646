//! What an administrator can ask, and the values that go with it.
//!
//! Only their form is decided here, and a field that it does not know is refused; whether a command makes sense is
//! judged by `admission`.

use serde::{Deserialize, Serialize};

use crate::geometry::VolumeType;
use crate::pace::Pace;
use crate::units::RelationshipId;

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
    /// How fast the background copy may be; the server's own pace where none is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pace: Option<Pace>,
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

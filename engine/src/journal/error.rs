//! Why a store cannot be created or opened, and storage calls that name what failed.

use super::frame::FrameFault;
use crate::io::{CreateSpace, IoFailure, Object, Storage, Stretch};
use crate::store::FORMAT_VERSION;
use crate::units::{ByteRange, Position};

/// Damage before the place up to which the journal is known synced: corruption, not a torn tail.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "journal segment {segment} ({}) is damaged at offset {offset}: {fault}; the journal was known synced \
     through position {synced_through}, the damage is at position {position}",
    .object.map_or("in no object".to_owned(), |object| format!("{object:?}"))
)]
pub struct Damage {
    /// Number of the segment.
    pub segment: u64,
    /// The object that holds it, when there is one.
    pub object: Option<Object>,
    /// Offset of the first frame that is not acceptable, in that object.
    pub offset: u64,
    /// The same place as a position.
    pub position: Position,
    /// What is wrong there.
    pub fault: FrameFault,
    /// The greatest place up to which the journal is known to have been synced.
    pub synced_through: Position,
}

/// Why a store cannot be created or opened. Nothing was written, except after a failure of the storage.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The system below failed.
    #[error("cannot {action} {object:?}: {failure}")]
    Storage {
        /// What was to be done.
        action: &'static str,
        /// To which object.
        object: Object,
        /// How it failed.
        failure: IoFailure,
    },
    /// The objects cannot be listed.
    #[error("cannot list the store's objects: {0}")]
    List(IoFailure),
    /// There is nothing here.
    #[error("there is no store here; create one first")]
    Missing,
    /// A store is here.
    #[error("a store is here already; nothing was changed")]
    Exists,
    /// The layout that was asked for makes no sense.
    #[error("{0}")]
    Parameters(String),
    /// Another version of the format.
    #[error(
        "the store has format version {found}, this release reads version {FORMAT_VERSION} only; open it with the \
         release that wrote it"
    )]
    Version {
        /// The store's version.
        found: u32,
    },
    /// Volumes or pools are here, and no copy of the header is whole.
    #[error(
        "the store's header is missing or both copies are damaged ({0}); nothing was changed, restore the store \
         from a backup"
    )]
    HeaderDamaged(String),
    /// No checkpoint can be read.
    #[error(
        "no checkpoint is whole (slot 0: {first}; slot 1: {second}); nothing was changed, restore the store from a \
         backup"
    )]
    CheckpointDamaged {
        /// What is wrong with slot 0.
        first: String,
        /// What is wrong with slot 1.
        second: String,
    },
    /// The newest checkpoint is damaged, and the journal since the older one is not complete.
    #[error(
        "the checkpoint in slot {slot} is damaged ({reason}), and the older one cannot replace it: {journal}; nothing \
         was changed, restore the store from a backup"
    )]
    CheckpointLost {
        /// Slot of the damaged checkpoint.
        slot: u8,
        /// What is wrong with it.
        reason: String,
        /// What is wrong with the journal since the older one.
        journal: Box<Damage>,
    },
    /// The synced part of the journal is damaged.
    #[error("{0}; nothing was changed, restore the store from a backup")]
    JournalDamaged(Box<Damage>),
}

/// Reads, naming the object when that fails.
pub(super) fn read(
    storage: &mut dyn Storage,
    object: Object,
    offset: u64,
    buffer: &mut [u8],
) -> Result<(), OpenError> {
    storage.read(object, offset, buffer).map_err(|failure| OpenError::Storage {
        action: "read",
        object,
        failure,
    })
}

/// Writes, naming the object when that fails.
pub(super) fn write(
    storage: &mut dyn Storage,
    object: Object,
    offset: u64,
    data: &[u8],
) -> Result<(), OpenError> {
    storage.write(object, offset, data).map_err(|failure| OpenError::Storage {
        action: "write",
        object,
        failure,
    })
}

/// Syncs, naming the object when that fails.
pub(super) fn sync(storage: &mut dyn Storage, object: Object) -> Result<(), OpenError> {
    storage.sync(object).map_err(|failure| OpenError::Storage { action: "sync", object, failure })
}

/// Creates an object, naming it when that fails.
pub(super) fn create(
    storage: &mut dyn Storage,
    object: Object,
    bytes: u64,
    space: CreateSpace,
) -> Result<(), OpenError> {
    storage.create(object, bytes, space).map_err(|failure| OpenError::Storage {
        action: "create",
        object,
        failure,
    })
}

/// Removes an object, naming it when that fails.
pub(super) fn remove(storage: &mut dyn Storage, object: Object) -> Result<(), OpenError> {
    storage.remove(object).map_err(|failure| OpenError::Storage {
        action: "remove",
        object,
        failure,
    })
}

/// Length of an object, `None` when it is not there.
pub(super) fn length(storage: &mut dyn Storage, object: Object) -> Result<Option<u64>, OpenError> {
    storage.length(object).map_err(|failure| OpenError::Storage {
        action: "find the length of",
        object,
        failure,
    })
}

/// The parts of a stretch that may hold anything but zeroes.
pub(super) fn data(
    storage: &mut dyn Storage,
    stretch: Stretch,
) -> Result<Vec<ByteRange>, OpenError> {
    storage.data(stretch).map_err(|failure| OpenError::Storage {
        action: "find the data of",
        object: stretch.object,
        failure,
    })
}

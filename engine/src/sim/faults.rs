//! What can go wrong with an operation, and what is counted about operations.

use std::collections::BTreeMap;

use crate::io::{Action, IoFailure, Object};

/// Kinds of objects, for counting and for aiming faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ObjectKind {
    /// The store's identity.
    Header,
    /// Checkpoints.
    Checkpoint,
    /// Journal segments.
    Segment,
    /// Homes of full volumes.
    Home,
    /// Pools.
    Pool,
}

impl ObjectKind {
    /// The kind of `object`.
    pub fn of(object: Object) -> Self {
        match object {
            Object::Header => Self::Header,
            Object::Checkpoint(_) => Self::Checkpoint,
            Object::Segment(_) => Self::Segment,
            Object::Home(_) => Self::Home,
            Object::Pool(_) => Self::Pool,
        }
    }
}

/// Kinds of operations, for counting and for aiming faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ActionKind {
    /// Bytes read.
    Read,
    /// Bytes written.
    Write,
    /// Bytes copied from another object.
    Copy,
    /// Object synced.
    Sync,
    /// Bytes zeroed or punched.
    Zero,
    /// Space taken.
    Allocate,
    /// Holes looked for.
    Map,
    /// Object made.
    Create,
    /// Object removed.
    Remove,
}

impl ActionKind {
    /// The kind of `action`.
    pub fn of(action: &Action) -> Self {
        match action {
            Action::Read { .. } | Action::Lend { .. } => Self::Read,
            Action::Write { .. } => Self::Write,
            Action::Copy { .. } => Self::Copy,
            Action::Sync => Self::Sync,
            Action::Zero { .. } => Self::Zero,
            Action::Allocate { .. } => Self::Allocate,
            Action::Map { .. } => Self::Map,
            Action::Create { .. } => Self::Create,
            Action::Remove => Self::Remove,
        }
    }
}

/// One planned failure.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    /// On which kind of object.
    pub object: ObjectKind,
    /// On which kind of operation.
    pub action: ActionKind,
    /// How many such operations succeed before.
    pub after: u64,
    /// What the operation gives.
    pub failure: IoFailure,
    /// How often it strikes.
    pub strikes: Strikes,
}

/// How often a fault strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strikes {
    /// One operation fails.
    Once,
    /// Every operation from then on fails.
    Forever,
}

/// What becomes of the unsynced writes of an object whose sync fails; file systems differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SyncFailure {
    /// They are gone and forgotten: reads give the old bytes, the next sync succeeds (btrfs).
    #[default]
    Dropped,
    /// Reads give the new bytes but nobody will write them out: the next sync succeeds (ext4).
    Kept,
    /// As `Dropped`, and every later sync of the object fails until the store is reopened.
    Latched,
}

/// The faults of a run, and how often they struck.
#[derive(Clone, Debug, Default)]
pub(super) struct Faults {
    planned: Vec<Fault>,
    struck: u64,
}

impl Faults {
    /// Plans one more.
    pub(super) fn plan(&mut self, fault: Fault) {
        self.planned.push(fault);
    }

    /// Forgets what is planned.
    pub(super) fn clear(&mut self) {
        self.planned.clear();
    }

    /// Operations that failed so far.
    pub(super) fn struck(&self) -> u64 {
        self.struck
    }

    /// The failure of the next operation of these kinds, if it is to fail.
    pub(super) fn strike(&mut self, object: ObjectKind, action: ActionKind) -> Option<IoFailure> {
        let index = self.planned.iter_mut().position(|fault| {
            fault.object == object && fault.action == action && counted_down(fault)
        })?;
        self.struck += 1;
        let failure = self.planned[index].failure;
        if self.planned[index].strikes == Strikes::Once {
            self.planned.remove(index);
        }
        Some(failure)
    }
}

/// Counts an operation against the fault: true when its turn has come.
fn counted_down(fault: &mut Fault) -> bool {
    let due = fault.after == 0;
    fault.after = fault.after.saturating_sub(1);
    due
}

/// Number and volume of the operations of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Operations.
    pub operations: u64,
    /// Bytes that they moved.
    pub bytes: u64,
}

/// Operations by kind of object and of action.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts(BTreeMap<(ObjectKind, ActionKind), Count>);

impl Counts {
    /// What was done of that kind so far.
    pub fn of(&self, object: ObjectKind, action: ActionKind) -> Count {
        self.0.get(&(object, action)).copied().unwrap_or_default()
    }

    /// Everything that was done.
    pub fn iter(&self) -> impl Iterator<Item = (ObjectKind, ActionKind, Count)> {
        self.0.iter().map(|((object, action), count)| (*object, *action, *count))
    }

    /// Adds an operation.
    pub(super) fn add(&mut self, object: ObjectKind, action: ActionKind, bytes: u64) {
        let count = self.0.entry((object, action)).or_default();
        count.operations += 1;
        count.bytes += bytes;
    }
}

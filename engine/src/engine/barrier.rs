//! Barriers: what happens when a number of things has ended.
//!
//! A barrier starts with one hold of its maker; everything it shall wait for adds one. When the last
//! hold is gone it opens: its `Then` is queued and carried out by `settle`, never inside the call
//! that opened it, so no state changes under somebody's feet.
//!
//! Invariant B1: a barrier opens exactly once, with the first error that was reported to it.

use super::Engine;
use super::commands::Step;
use super::copier::Run;
use crate::io::Object;
use crate::request::{Durability, RequestError, RequestId};
use crate::syncs::Wait;
use crate::units::{PoolId, Position, RelationshipId, Seq, Slot, VolumeId};

/// Names a barrier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BarrierId(usize);

/// A host request that is being carried out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Host {
    /// Of the request.
    pub id: RequestId,
    /// Its volume.
    pub volume: VolumeId,
    /// When it was taken, for a read or write: how long they take says whether a background copy disturbs them.
    pub taken_us: Option<u64>,
}

/// Who is told when a write has ended.
#[derive(Clone, Copy, Debug)]
pub(super) enum Finish {
    /// A host.
    Host(Host),
    /// A barrier: the write is a slice of a long request.
    Barrier(BarrierId),
}

/// A write straight home.
#[derive(Clone, Copy, Debug)]
pub(super) struct HomeWrite {
    /// Who is told.
    pub finish: Finish,
    /// What was written.
    pub object: Object,
    /// When to tell.
    pub durability: Durability,
}

/// What follows when a barrier opens.
#[derive(Debug)]
pub(super) enum Then {
    /// Tell whoever asked for a write or flush.
    Finish(Finish),
    /// The parts of a write are home: make them durable if asked, then tell.
    WroteHome(HomeWrite),
    /// Answer the read with this key.
    Read(usize),
    /// Go on with the command under way.
    Command(Step),
    /// Go on with the destage batch that does what is owed.
    BatchOwed,
    /// Go on with the destage batch that goes home.
    BatchHome,
    /// The blocks that a destage batch, whose barrier this is, owes a full target are written, or durable.
    OwedBlocks(RelationshipId, BarrierId),
    /// The transfers of a copy run, begun at that time, have ended.
    CopyRun(RelationshipId, Run, u64),
    /// Copied runs are durable on their targets, or their record is.
    CopyCommit,
    /// Go on with the checkpoint.
    Checkpoint,
    /// Reads through the source that began before these tracks were copied have ended.
    Settled(RelationshipId, Seq, Run),
    /// The writes of the sources that were in flight at that T0 have ended: the gates of the targets open.
    Ready(Vec<RelationshipId>, Seq, Vec<VolumeId>),
    /// The source's home was synced since these T0s.
    Durable(Vec<(RelationshipId, Seq)>),
    /// Nobody reads from the journal before this position any more.
    Recycle(Position),
    /// Nobody reads these slots any more: punch them.
    Punch(Vec<(PoolId, Slot)>),
    /// These slots are punched.
    Free(PoolId, Vec<Slot>),
    /// Go on with a long request at this byte.
    Continue(usize),
    /// A deleted volume's or pool's storage is not used any more.
    Remove(Object),
    /// Nothing.
    Nothing,
}

/// A barrier.
#[derive(Debug)]
pub(super) struct Barrier {
    holds: usize,
    error: Option<RequestError>,
    then: Then,
}

impl Engine {
    /// A new barrier with one hold, to be let go by [`Engine::release`].
    pub(super) fn barrier(&mut self, then: Then) -> BarrierId {
        BarrierId(self.barriers.insert(Barrier { holds: 1, error: None, then }))
    }

    /// Changes what follows when the barrier opens.
    pub(super) fn set_then(&mut self, id: BarrierId, then: Then) {
        self.barriers.get_mut(id.0).expect("B1: the barrier has not opened").then = then;
    }

    /// One more hold.
    pub(super) fn hold(&mut self, id: BarrierId) {
        self.barriers.get_mut(id.0).expect("B1: the barrier has not opened").holds += 1;
    }

    /// One hold less.
    pub(super) fn release(&mut self, id: BarrierId, result: Result<(), RequestError>) {
        let barrier = self.barriers.get_mut(id.0).expect("B1: the barrier has not opened");
        barrier.holds -= 1;
        if let Err(error) = result {
            barrier.error.get_or_insert(error);
        }
        if barrier.holds == 0
            && let Some(barrier) = self.barriers.remove(id.0)
        {
            self.opened.push_back((barrier.then, barrier.error.map_or(Ok(()), Err)));
        }
    }

    /// Holds the barrier until everything that uses stored data now has ended.
    pub(super) fn join_grace(&mut self, id: BarrierId) {
        self.hold(id);
        self.tickets.wait(id);
    }

    /// Holds the barrier until the journal is durable up to `position`.
    pub(super) fn join_journal(&mut self, id: BarrierId, position: Position) {
        if self.fail_stop.is_some() {
            self.hold(id);
            self.release(id, Err(RequestError::FailStop));
        } else if self.journal.durable() < position {
            self.hold(id);
            self.journal_waiters.push((position, id));
        }
    }

    /// Holds the barrier until completed writes of the object are durable.
    pub(super) fn join_object(&mut self, id: BarrierId, object: Object) {
        let Some(syncs) = self.syncs.get_mut(&object) else {
            return;
        };
        match syncs.wait(id) {
            Wait::Over => {}
            Wait::Joined => {
                self.hold(id);
                self.sync_wanted = true;
            }
            Wait::Failed => {
                self.hold(id);
                self.release(id, Err(RequestError::FailStop));
            }
        }
    }
}

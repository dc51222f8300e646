//! FLUSH, and the syncs of homes and pools.
//!
//! Invariants
//! - F1 FLUSH covers every write answered before it arrived, on any connection (rule O4): the journal, and the
//!   home or pool if it took direct writes since its last sync.
//! - F2 On a target it also covers what the target reads through: direct writes of the source older
//!   than T0, unless they were synced since (`Relationship::durable`).
//! - F3 A failed sync is never retried and believed (rule O9): of a source's home it stops all writes, of
//!   a target's home or a pool it fails the relationships that use it.

use super::Engine;
use super::barrier::{Finish, Host, Then};
use super::ops::{Pending, host_error};
use crate::io::{Action, IoFailure, Object, Outcome};
use crate::request::RequestError;
use crate::state::{Health, Record};
use crate::units::{RelationshipId, VolumeId};

impl Engine {
    /// Carries out a FLUSH.
    pub(super) fn flush(&mut self, host: Host) {
        if self.fail_stop.is_some() {
            self.finish(Finish::Host(host), Err(RequestError::FailStop));
            return;
        }
        let barrier = self.barrier(Then::Finish(Finish::Host(host)));
        if !breaks!(self, FlushSkipsJournalSync) {
            self.join_journal(barrier, self.journal.written());
        }
        for object in self.objects_behind(host.volume) {
            let own = object == Object::Home(host.volume) || matches!(object, Object::Pool(_));
            let skipped = breaks!(self, FlushSkipsHomeSync) && own
                || breaks!(self, FlushOfTargetSkipsSource) && !own;
            if !skipped {
                self.join_object(barrier, object);
            }
        }
        self.release(barrier, Ok(()));
    }

    /// Objects that hold what the volume's host may read, but for the journal.
    fn objects_behind(&self, id: VolumeId) -> Vec<Object> {
        let Some(volume) = self.state.volumes.get(&id) else {
            return Vec::new();
        };
        let mut objects = vec![match volume.pool() {
            Some(pool) => Object::Pool(pool),
            None => Object::Home(id),
        }];
        for (_, ids) in volume.as_target.overlapping(0..volume.geometry.tracks) {
            for relationship in ids.iter().filter_map(|id| self.state.relationships.get(id)) {
                let source = Object::Home(relationship.pair.source);
                if !relationship.durable && !objects.contains(&source) {
                    objects.push(source);
                }
            }
        }
        objects
    }

    /// Starts the syncs that somebody waits for.
    pub(super) fn step_syncs(&mut self) {
        if !std::mem::take(&mut self.sync_wanted) {
            return;
        }
        let due: Vec<Object> = self
            .syncs
            .iter_mut()
            .filter_map(|(&object, syncs)| syncs.begin().then_some(object))
            .collect();
        for object in due {
            self.stats.object_syncs += 1;
            self.emit(object, Action::Sync, Pending::ObjectSync(object));
        }
    }

    /// A sync of a home or pool has ended.
    pub(super) fn object_synced(&mut self, object: Object, result: Result<Outcome, IoFailure>) {
        let Some(syncs) = self.syncs.get_mut(&object) else {
            return;
        };
        let (told, result) = match result {
            Ok(_) => (syncs.done(), Ok(())),
            Err(failure) => (syncs.fail(), Err(host_error(failure))),
        };
        if result.is_err() {
            self.sync_failed(object);
        }
        for barrier in told {
            self.release(barrier, result);
        }
        self.sync_wanted = true;
    }

    fn sync_failed(&mut self, object: Object) {
        match object {
            Object::Pool(id) => {
                if let Some(pool) = self.state.pools.get_mut(&id) {
                    pool.failed = true;
                }
                self.fail_copies(|relationship| relationship.pool == Some(id));
            }
            Object::Home(id) => {
                let only_target = self.state.volumes.get(&id).is_some_and(|volume| {
                    volume.as_source.is_empty() && !volume.as_target.is_empty()
                });
                if only_target {
                    self.fail_copies(|relationship| relationship.pair.target == id);
                } else {
                    self.stop_writes(&format!("a sync of volume {id} failed"));
                }
            }
            Object::Header | Object::Checkpoint(_) | Object::Segment(_) => {
                self.stop_writes("a sync of the journal or checkpoint failed");
            }
        }
    }

    /// Fails the live relationships that `concerned` picks; their record is appended.
    pub(super) fn fail_copies(
        &mut self,
        concerned: impl Fn(&crate::state::Relationship) -> bool,
    ) -> Vec<RelationshipId> {
        let mut ids = Vec::new();
        for (&id, relationship) in &mut self.state.relationships {
            if relationship.health == Health::Good && concerned(relationship) {
                relationship.health = Health::Failing;
                ids.push(id);
            }
        }
        if !ids.is_empty() {
            self.append(Record::Failed { ids: ids.clone() }, None);
            self.copies_given_up(&ids);
        }
        ids
    }
}

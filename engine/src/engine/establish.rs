//! Establish: an instant copy, whatever the size.
//!
//! 1. The targets' gates are shut; their requests, and a destage batch that writes to them, end.
//! 2. One record makes all relationships; its number is their T0. From here on every write of the
//!    sources is later than T0, and older versions on the targets are void.
//! 3. When the record is durable the command is answered. When also the writes that were in flight on the
//!    sources have ended (they count as before T0), the gates open and copying may begin.
//! 4. In the background the sources' homes are synced: `durable` in the reports.
//!
//! Invariant T1: between 2 and 3 nobody reads a target, so an image is never seen to change.

use super::Engine;
use super::barrier::Then;
use super::commands::{Active, Recorded, Work};
use crate::admin::CommandId;
use crate::state::{NewRelationship, Record};
use crate::units::{RelationshipId, VolumeId};

impl Engine {
    /// Step 1.
    pub(super) fn begin_establish(&mut self, id: CommandId, plan: Vec<NewRelationship>) {
        for new in &plan {
            self.shut_gate(new.target);
        }
        self.active = Some(Active { id, work: Work::Establishing(plan) });
    }

    /// Step 2, when the targets are quiet.
    pub(super) fn try_establish(&mut self, id: CommandId, plan: Vec<NewRelationship>) {
        let in_flight = |volume: VolumeId| {
            self.runtimes.get(&volume).is_some_and(|runtime| runtime.in_flight > 0)
        };
        let host_busy = plan.iter().any(|new| in_flight(new.target));
        let batch_busy = plan.iter().any(|new| self.destager.concerns(new.target));
        if host_busy || batch_busy {
            self.destager.hold = batch_busy;
            self.active = Some(Active { id, work: Work::Establishing(plan) });
            return;
        }
        self.destager.hold = false;
        let targets: Vec<VolumeId> = plan.iter().map(|new| new.target).collect();
        let ids: Vec<RelationshipId> = plan.iter().map(|new| new.id).collect();
        for new in &plan {
            let full = self.state.volumes.get(&new.target).is_some_and(|v| v.pool().is_none());
            if full {
                self.copier.add(new.id, false);
            }
        }
        let at = self.now.unix_seconds;
        let record = Record::Established { at, relationships: plan };
        self.record_command(id, record, Recorded::Established(ids.clone()));
        let ready = self.barrier(Then::Ready(ids, targets));
        if !breaks!(self, TargetReadIgnoresInFlightWrites) {
            self.join_grace(ready);
        }
        self.join_journal(ready, self.journal.end());
        self.release(ready, Ok(()));
    }

    /// The images can be read: the gates open.
    pub(super) fn targets_ready(&mut self, targets: &[VolumeId]) {
        for &target in targets {
            self.open_gate(target);
        }
    }
}

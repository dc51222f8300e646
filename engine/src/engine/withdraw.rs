//! Withdraw: relationships end by command.
//!
//! 1. The targets' gates are shut; their requests end; the destage batch under way ends; copies onto the
//!    targets end (rule O6).
//! 2. One record ends all of them.
//! 3. When it is applied, what only they needed is given back, the gates open, the command is answered.

use super::Engine;
use super::commands::{Active, Recorded, Work};
use crate::admin::{CommandId, EndReason};
use crate::state::Record;
use crate::units::{RelationshipId, VolumeId};

impl Engine {
    /// Step 1.
    pub(super) fn begin_withdraw(&mut self, id: CommandId, ids: Vec<RelationshipId>) {
        let targets = self.targets_of(&ids);
        for &target in &targets {
            self.shut_gate(target);
        }
        self.active = Some(Active { id, work: Work::Withdrawing(ids, targets) });
    }

    /// Step 2, when the targets are quiet. A copy that completes meanwhile ends by itself; the gates that
    /// were shut are opened all the same.
    ///
    /// The order matters: a request on a target may wait for the destager (journal space), and the
    /// destager for a copy.
    pub(super) fn try_withdraw(
        &mut self,
        id: CommandId,
        ids: Vec<RelationshipId>,
        targets: Vec<VolumeId>,
    ) {
        if !self.is_quiet_for_withdraw(&ids, &targets) {
            self.active = Some(Active { id, work: Work::Withdrawing(ids, targets) });
            return;
        }
        let record = Record::Ended { ids: ids.clone(), reason: EndReason::Withdrawn };
        self.record_command(id, record, Recorded::Withdrawn(ids, targets));
    }

    fn is_quiet_for_withdraw(&mut self, ids: &[RelationshipId], targets: &[VolumeId]) -> bool {
        let in_flight = |volume: &VolumeId| {
            self.runtimes.get(volume).is_some_and(|runtime| runtime.in_flight > 0)
        };
        if targets.iter().any(in_flight) {
            return false;
        }
        self.destager.hold = true;
        if !self.destager.is_idle() || self.journaling.has_deferred() {
            return false;
        }
        for &relationship in ids {
            self.copier.stop(relationship);
        }
        !ids.iter().any(|&relationship| self.copier.is_busy_with(relationship))
    }

    /// Step 3: the targets are ordinary volumes again.
    pub(super) fn end_hold(&mut self, targets: &[VolumeId]) {
        self.destager.hold = false;
        for &target in targets {
            self.open_gate(target);
        }
    }

    fn targets_of(&self, ids: &[RelationshipId]) -> Vec<VolumeId> {
        let mut targets: Vec<VolumeId> = ids
            .iter()
            .filter_map(|id| self.state.relationships.get(id))
            .map(|known| known.pair.target)
            .collect();
        targets.sort_unstable();
        targets.dedup();
        targets
    }
}

//! Withdraw: relationships end by command, or go on in part, or are copied first.
//!
//! 1. The targets' gates are shut; their requests end; the destage batches under way end; copies onto the
//!    targets end (rule O6).
//! 2. Records end and divide them. What is only to be copied first needs no quiet: its record changes the mode.
//! 3. When the last is applied, what only they needed is given back, the gates open, the command is answered.

use super::Engine;
use super::barrier::Then;
use super::commands::{Active, Recorded, Step, Work};
use crate::admin::{CommandId, CopyReport, EndReason, Report};
use crate::admission::WithdrawPlan;
use crate::state::Record;
use crate::units::{RelationshipId, VolumeId};

/// Bytes that an id takes in a record at most.
const ID_BYTES: u64 = 5;

impl Engine {
    /// Step 1. Answers at once when nothing matches.
    pub(super) fn begin_withdraw(&mut self, id: CommandId, plan: WithdrawPlan) -> Option<Report> {
        if plan.is_empty() {
            return Some(Report::Copies(Vec::new()));
        }
        let targets = self.targets_of(plan.disturbed());
        for &target in &targets {
            self.shut_gate(target);
        }
        self.active = Some(Active { id, work: Work::Withdrawing(plan, targets) });
        None
    }

    /// Step 2, when the targets are quiet. A copy that completes meanwhile ends by itself; the gates that
    /// were shut are opened all the same.
    ///
    /// The order matters: a request on a target may wait for the destager (journal space), and the
    /// destager for a copy.
    pub(super) fn try_withdraw(
        &mut self,
        id: CommandId,
        plan: WithdrawPlan,
        targets: Vec<VolumeId>,
    ) {
        if !targets.is_empty() && !self.is_quiet_for_withdraw(&plan, &targets) {
            self.active = Some(Active { id, work: Work::Withdrawing(plan, targets) });
            return;
        }
        let barrier = self.barrier(Then::Command(Step::Recorded));
        let per_record = usize::try_from(self.journal.payload_max() / ID_BYTES / 2);
        let per_record = per_record.unwrap_or(1).max(1);
        for ids in plan.converted.chunks(per_record) {
            self.hold(barrier);
            self.append(Record::Converted { ids: ids.to_vec() }, Some(barrier));
        }
        for (split, pieces) in &plan.split {
            let record = Record::Split { id: *split, pieces: pieces.clone() };
            self.hold(barrier);
            self.append(record, Some(barrier));
        }
        for ids in plan.ended.chunks(per_record) {
            let record = Record::Ended { ids: ids.to_vec(), reason: EndReason::Withdrawn };
            self.hold(barrier);
            self.append(record, Some(barrier));
        }
        let work = Work::Recording(Recorded::Withdrawn(plan, targets));
        self.active = Some(Active { id, work });
        self.release(barrier, Ok(()));
    }

    fn is_quiet_for_withdraw(&mut self, plan: &WithdrawPlan, targets: &[VolumeId]) -> bool {
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
        for relationship in plan.disturbed() {
            self.copier.stop(relationship);
        }
        !plan.disturbed().any(|relationship| self.copier.is_busy_with(relationship))
    }

    /// Step 3: the targets are ordinary volumes again.
    pub(super) fn end_hold(&mut self, targets: &[VolumeId]) {
        self.destager.hold = false;
        for &target in targets {
            self.open_gate(target);
        }
    }

    /// What became of each relationship that a withdraw meant.
    pub(super) fn withdraw_reports(&self, plan: &WithdrawPlan) -> Vec<CopyReport> {
        let pieces = plan.split.iter().flat_map(|(_, pieces)| pieces.iter().map(|piece| piece.id));
        let ids: Vec<RelationshipId> =
            plan.ended.iter().chain(&plan.converted).copied().chain(pieces).collect();
        self.copy_reports(&ids)
    }

    fn targets_of(&self, ids: impl Iterator<Item = RelationshipId>) -> Vec<VolumeId> {
        let mut targets: Vec<VolumeId> = ids
            .filter_map(|id| self.state.relationships.get(&id))
            .map(|known| known.pair.target)
            .collect();
        targets.sort_unstable();
        targets.dedup();
        targets
    }
}

//! Establish: an instant copy, whatever the size; or a new moment of one that exists.
//!
//! 1. The targets' gates are shut; their requests, and a destage batch that writes to them, end. Of a relationship that
//!    gets a new T0 the copying ends too, and what hosts wrote to a target that becomes a source has its track copied.
//! 2. One record makes all relationships; its number is their T0. From here on every write of the
//!    sources is later than T0, and older versions on the targets are void. Frozen sources hold further writes.
//! 3. When the record is durable the command is answered. When also the writes that were in flight on the
//!    sources have ended (they count as before T0), the gates open and copying may begin.
//! 4. In the background the sources' homes are synced: `durable` in the reports.
//!
//! Invariant T1: between 2 and 3 nobody reads a target, so an image is never seen to change.

use super::Engine;
use super::barrier::Then;
use super::checkpointing::RecordPurpose;
use super::commands::{Active, Recorded, Work};
use crate::admin::{CommandId, DatasetCopySpec, EstablishSpec, Freeze, Refusal};
use crate::admission::{self, EstablishPlan};
use crate::state::{Direction, Record};
use crate::units::{RelationshipId, VolumeId};

/// What an establish was asked for.
#[derive(Debug)]
pub(super) enum Wish {
    /// Pairs of volumes.
    Copies(EstablishSpec),
    /// A dataset.
    Dataset(DatasetCopySpec),
}

impl Wish {
    fn freeze(&self) -> Freeze {
        match self {
            Self::Copies(spec) => spec.freeze,
            Self::Dataset(spec) => spec.freeze,
        }
    }
}

/// An establish that waits for quiet on its targets.
#[derive(Debug)]
pub(super) struct Establishing {
    wish: Wish,
    /// Volumes whose gates are shut.
    pub(super) gated: Vec<VolumeId>,
}

impl Engine {
    fn plan_establish(&self, wish: &Wish) -> Result<EstablishPlan, Refusal> {
        self.plan(|rules| match wish {
            Wish::Copies(spec) => admission::plan_establish(rules, spec),
            Wish::Dataset(spec) => admission::plan_dataset_copy(rules, spec),
        })
    }

    /// Step 1.
    pub(super) fn begin_establish(&mut self, id: CommandId, wish: Wish) -> Result<(), Refusal> {
        let plan = self.plan_establish(&wish)?;
        let gated = self.disturbed(&plan);
        for &volume in &gated {
            self.shut_gate(volume);
        }
        let work = Work::Establishing(Establishing { wish, gated });
        self.active = Some(Active { id, work });
        Ok(())
    }

    /// The volumes that must be quiet: those that are targets afterwards, and targets that become sources.
    fn disturbed(&self, plan: &EstablishPlan) -> Vec<VolumeId> {
        let renewed = plan.renewed.iter().flat_map(|renewal| {
            let pair = self.state.relationships.get(&renewal.id).map(|known| known.pair);
            let source = pair.filter(|_| renewal.direction == Direction::Reversed);
            let source = source.map(|pair| pair.source);
            pair.map(|pair| pair.target).into_iter().chain(source)
        });
        let mut volumes: Vec<VolumeId> =
            plan.new.iter().map(|new| new.target).chain(renewed).collect();
        volumes.sort_unstable();
        volumes.dedup();
        volumes
    }

    /// Step 2, when the targets are quiet. What was true when the command came may not be any more: it is planned
    /// anew each time.
    pub(super) fn try_establish(&mut self, id: CommandId, work: Establishing) {
        let in_flight = |volume: &VolumeId| {
            self.runtimes.get(volume).is_some_and(|runtime| runtime.in_flight > 0)
        };
        if work.gated.iter().any(in_flight) {
            self.active = Some(Active { id, work: Work::Establishing(work) });
            return;
        }
        let plan = match self.plan_establish(&work.wish) {
            Ok(plan) => plan,
            Err(refusal) => {
                self.restart_copies();
                self.end_hold(&work.gated);
                self.answer(id, Err(refusal));
                return;
            }
        };
        let batch_busy = work.gated.iter().any(|&volume| self.destager.concerns(volume));
        // A renewal that waits for room holds nothing: only the destager makes some.
        self.destager.hold |= batch_busy;
        if batch_busy || !self.is_quiet_for_renewal(&plan) {
            self.active = Some(Active { id, work: Work::Establishing(work) });
            return;
        }
        self.destager.hold = false;
        self.record_establish(id, plan, work);
    }

    fn record_establish(&mut self, id: CommandId, plan: EstablishPlan, work: Establishing) {
        let frozen = plan.frozen(&self.state, work.wish.freeze());
        let new = plan.new.iter().map(|new| new.id);
        let ids: Vec<RelationshipId> =
            new.chain(plan.renewed.iter().map(|renewal| renewal.id)).collect();
        for new in &plan.new {
            let full = self.state.volumes.get(&new.target).is_some_and(|v| v.pool().is_none());
            if full {
                self.copier.add(new.id, false);
            }
        }
        for renewal in &plan.renewed {
            self.copier.add(renewal.id, false);
        }
        let at = self.now.unix_seconds;
        let record = Record::Established { at, relationships: plan.new, renewed: plan.renewed };
        let t0 = self.record_command(id, record, Recorded::Established(ids.clone()));
        for volume in frozen {
            self.freeze(volume);
        }
        let ready = self.barrier(Then::Ready(ids, t0, work.gated));
        if !breaks!(self, TargetReadIgnoresInFlightWrites) {
            self.join_grace(ready);
        }
        self.join_journal(ready, self.journal.end());
        self.release(ready, Ok(()));
    }

    /// True when nothing is copied or destaged for the relationships that get a new T0.
    fn is_quiet_for_renewal(&mut self, plan: &EstablishPlan) -> bool {
        if plan.renewed.is_empty() {
            return true;
        }
        // The copier may need room in the journal, and only the destager makes some.
        let may_hold = self.has_record_room(RecordPurpose::Copy);
        self.destager.hold = may_hold;
        let stopped = |id: RelationshipId| self.copier.is_stopped(id);
        if !may_hold && plan.renewed.iter().any(|renewal| stopped(renewal.id)) {
            // The destager may need their tracks.
            self.restart_copies();
        }
        if !may_hold || !self.destager.is_idle() || self.journaling.has_deferred() {
            return false;
        }
        for renewal in &plan.renewed {
            // Its end is on its way: when that is here, there is nothing to renew.
            if self.copier.is_ending(renewal.id) {
                return false;
            }
            if renewal.direction == Direction::Reversed && self.want_staged_tracks(renewal.id) {
                return false;
            }
        }
        for renewal in &plan.renewed {
            self.copier.stop(renewal.id);
        }
        !plan.renewed.iter().any(|renewal| self.copier.is_busy_with(renewal.id))
    }

    /// Lets the tracks be copied that a host of the target has written to and that are not copied yet: the target
    /// becomes a source, which reads only itself. True while there are some.
    fn want_staged_tracks(&mut self, id: RelationshipId) -> bool {
        let Some(known) = self.state.relationships.get(&id) else {
            return false;
        };
        let Some(target) = self.state.volumes.get(&known.pair.target) else {
            return false;
        };
        let per_track = target.geometry.track_blocks();
        let extent = known.target_extent();
        let blocks = extent.start * per_track..extent.end * per_track;
        let mut tracks: Vec<u32> = self
            .stage
            .staged_blocks(known.pair.target, blocks)
            .map(|block| block / per_track)
            .filter(|&track| known.target_reads_source(track))
            .map(|track| track - known.pair.target_track)
            .collect();
        tracks.dedup();
        for &track in &tracks {
            self.copier.want(id, track);
        }
        !tracks.is_empty()
    }

    /// The images can be read: the gates open.
    pub(super) fn targets_ready(&mut self, targets: &[VolumeId]) {
        for &target in targets {
            self.open_gate(target);
        }
    }
}

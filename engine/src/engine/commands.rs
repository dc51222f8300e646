//! Commands of administrators: one that changes something at a time, in the order they came.
//!
//! Invariants
//! - A1 A command is validated completely before it changes anything; a refused one leaves no trace.
//! - A2 It is answered when its record is applied, so durable (rule O5).
//! - A3 The next command begins when this one is answered: it sees all that came before.

use super::Engine;
use super::barrier::Then;
use super::checkpointing::RecordPurpose;
use super::establish::{Establishing, Wish};
use super::ops::Pending;
use crate::admin::{
    Answer, Command, CommandId, CopySelector, Refusal, RefusalKind, Report, VolumeSpec,
};
use crate::admission::{self, Rules, WithdrawPlan, refuse, refuse_with_help};
use crate::geometry::Geometry;
use crate::io::{Action, CreateSpace, Object};
use crate::limits;
use crate::request::RequestError;
use crate::state::Record;
use crate::units::{BLOCK_BYTES, PoolId, Seq, VolumeId};

/// Bytes that a relationship takes in a record at most.
const RELATIONSHIP_BYTES: u64 = 64;

/// The command under way.
#[derive(Debug)]
pub(super) struct Active {
    pub(super) id: CommandId,
    pub(super) work: Work,
}

/// What the command under way waits for.
#[derive(Debug)]
pub(super) enum Work {
    /// A new object, then its record.
    Creating(Record),
    /// Quiet on the targets, then the establish record.
    Establishing(Establishing),
    /// Quiet on the targets, then the records that end relationships or divide them.
    Withdrawing(WithdrawPlan, Vec<VolumeId>),
    /// Quiet on the volume, then the record that deletes it.
    Deleting(VolumeId),
    /// Its record.
    Recording(Recorded),
}

/// What is reported when the record is applied.
#[derive(Debug)]
pub(super) enum Recorded {
    Volume(String),
    Pool(String),
    Established(Vec<crate::units::RelationshipId>),
    Withdrawn(WithdrawPlan, Vec<VolumeId>),
    Dataset(String),
    Deleted(Object),
    Nothing,
}

/// What has just happened to the command under way.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    /// The object is there.
    Created,
    /// The record is applied.
    Recorded,
}

impl Engine {
    /// Begins commands, or lets the one under way look whether it can go on.
    pub(super) fn step_commands(&mut self) {
        while self.active.is_none() {
            let Some((id, command)) = self.commands.pop_front() else {
                return;
            };
            match self.begin_command(id, command) {
                Ok(Some(report)) => self.answer(id, Ok(report)),
                Ok(None) => {}
                Err(refusal) => self.answer(id, Err(refusal)),
            }
        }
        self.continue_command();
    }

    /// A report answers at once; none means that the command is under way.
    fn begin_command(
        &mut self,
        id: CommandId,
        command: Command,
    ) -> Result<Option<Report>, Refusal> {
        if let Some(report) = self.look(&command)? {
            return Ok(Some(report));
        }
        if self.shutdown != super::Shutdown::No {
            return Err(refuse(RefusalKind::Shutdown, "the server is shutting down"));
        }
        if let Some(reason) = &self.fail_stop {
            let message = format!("the store takes no writes: {reason}");
            let help = "see the server's log, mend the cause, restart the server";
            return Err(refuse_with_help(RefusalKind::FailStop, message, help));
        }
        self.check_record_room(&command)?;
        match command {
            Command::PoolCreate { name, capacity_bytes } => {
                self.pool_create(id, name, capacity_bytes)?;
            }
            Command::PoolDelete { name } => self.pool_delete(id, &name)?,
            Command::VolumeCreate(spec) => self.volume_create(id, spec)?,
            Command::VolumeDelete { name } => self.volume_delete(id, &name)?,
            Command::CopyEstablish(spec) => {
                self.begin_establish(id, Wish::Copies(spec))?;
            }
            Command::DatasetCopy(spec) => self.begin_establish(id, Wish::Dataset(spec))?,
            Command::CopyWithdraw(spec) => {
                let plan = self.plan(|rules| admission::plan_withdraw(rules, &spec))?;
                return Ok(self.begin_withdraw(id, plan));
            }
            Command::CopyConvert { source } => {
                let plan = self.plan(|rules| admission::plan_convert(rules, &source))?;
                return Ok(self.begin_withdraw(id, plan));
            }
            Command::Thaw { cu, verify } => {
                return self.thaw_by_command(cu, verify.as_deref()).map(Some);
            }
            Command::DatasetDefine { name, extents } => {
                let extents = self.plan(|rules| admission::plan_dataset(rules, &name, &extents))?;
                let record = Record::DatasetDefined { name: name.clone(), extents };
                self.record_command(id, record, Recorded::Dataset(name));
            }
            Command::DatasetDelete { name } => {
                self.dataset_known(&name)?;
                self.record_command(id, Record::DatasetDeleted { name }, Recorded::Nothing);
            }
            Command::StoreDrain {} => {
                self.drains.push((Seq(self.journal.next_seq().0 - 1), id));
            }
            Command::DatasetList {}
            | Command::DatasetShow { .. }
            | Command::PoolList {}
            | Command::PoolShow { .. }
            | Command::VolumeList {}
            | Command::VolumeShow { .. }
            | Command::CopyList { .. }
            | Command::CopyShow(_)
            | Command::CopyChanges { .. }
            | Command::StoreStatus {} => {}
        }
        Ok(None)
    }

    /// Refuses a command whose record would take the room in the journal that the destager needs.
    fn check_record_room(&self, command: &Command) -> Result<(), Refusal> {
        let needs_record = !matches!(command, Command::StoreDrain {} | Command::Thaw { .. });
        if !needs_record || self.has_record_room(RecordPurpose::Command) {
            return Ok(());
        }
        let (used, staged) = (self.journal.used_bytes(), self.stage.bytes());
        let message = format!(
            "the journal is full: {used} bytes are in use, for {staged} bytes of writes that are not home yet"
        );
        let help = "try again in a moment; where a pool or file system is full (`flashtrack store status`), make \
                    room in it first";
        Err(refuse_with_help(RefusalKind::NoResources, message, help))
    }

    /// True when the command under way makes an object or has its record on the way; both end by themselves.
    pub(super) fn command_is_recording(&self) -> bool {
        self.active
            .as_ref()
            .is_some_and(|active| matches!(active.work, Work::Creating(_) | Work::Recording(_)))
    }

    fn continue_command(&mut self) {
        let Some(active) = self.active.take() else {
            return;
        };
        let id = active.id;
        if self.fail_stop.is_some() {
            self.give_up_command(active);
            return;
        }
        match active.work {
            Work::Establishing(work) => self.try_establish(id, work),
            Work::Withdrawing(plan, targets) => self.try_withdraw(id, plan, targets),
            Work::Deleting(volume) => self.try_delete(id, volume),
            work @ (Work::Creating(_) | Work::Recording(_)) => {
                self.active = Some(Active { id, work });
            }
        }
    }

    /// After a fail-stop a command that only waits is refused: what it waits for may never end (rule O9).
    fn give_up_command(&mut self, active: Active) {
        let targets = match active.work {
            Work::Establishing(work) => work.gated,
            Work::Withdrawing(_, targets) => targets,
            Work::Deleting(_) => Vec::new(),
            work @ (Work::Creating(_) | Work::Recording(_)) => {
                self.active = Some(Active { id: active.id, work });
                return;
            }
        };
        self.end_hold(&targets);
        self.answer(active.id, Err(refuse(RefusalKind::FailStop, "the store takes no writes")));
    }

    /// Something that the command under way waited for has happened.
    pub(super) fn command_step(&mut self, step: Step, result: Result<(), RequestError>) {
        let Some(active) = self.active.take() else {
            return;
        };
        match (step, active.work, result) {
            (Step::Created, Work::Creating(record), Ok(())) => {
                let recorded = match &record {
                    Record::VolumeCreated { name, .. } => Recorded::Volume(name.clone()),
                    Record::PoolCreated { name, .. } => Recorded::Pool(name.clone()),
                    _ => Recorded::Nothing,
                };
                self.record_command(active.id, record, recorded);
            }
            (Step::Recorded, Work::Recording(recorded), Ok(())) => {
                let report = self.recorded(recorded);
                self.answer(active.id, Ok(report));
            }
            (_, work, Err(error)) => {
                if let Work::Recording(Recorded::Withdrawn(_, targets)) = work {
                    self.end_hold(&targets);
                }
                self.answer(active.id, Err(failure(error)));
            }
            (_, work, Ok(())) => self.active = Some(Active { id: active.id, work }),
        }
    }

    /// Appends the command's record; it is answered when that is applied.
    pub(super) fn record_command(
        &mut self,
        id: CommandId,
        record: Record,
        recorded: Recorded,
    ) -> Seq {
        self.active = Some(Active { id, work: Work::Recording(recorded) });
        let barrier = self.barrier(Then::Command(Step::Recorded));
        self.append(record, Some(barrier))
    }

    fn recorded(&mut self, recorded: Recorded) -> Report {
        match recorded {
            Recorded::Volume(name) => Report::Volumes(
                self.volume_reports().into_iter().filter(|known| known.name == name).collect(),
            ),
            Recorded::Pool(name) => Report::Pools(
                self.pool_reports().into_iter().filter(|known| known.name == name).collect(),
            ),
            Recorded::Established(ids) => {
                self.stats.established += ids.len() as u64;
                Report::Copies(self.copy_reports(&ids))
            }
            Recorded::Withdrawn(plan, targets) => {
                self.stats.withdrawn += plan.ended.len() as u64;
                self.end_hold(&targets);
                Report::Copies(self.withdraw_reports(&plan))
            }
            Recorded::Dataset(name) => Report::Datasets(self.dataset_reports(Some(&name))),
            Recorded::Deleted(object) => {
                self.after_grace(Then::Remove(object));
                Report::Done
            }
            Recorded::Nothing => Report::Done,
        }
    }

    pub(super) fn answer(&mut self, id: CommandId, result: Result<Report, Refusal>) {
        self.answers.push(Answer { id, result });
    }

    /// Answers drains whose frames are all home. Last of all steps: after a drain of an idle store, or after
    /// the step that brought the last frame home, nothing may ever happen again.
    pub(super) fn answer_drains(&mut self) {
        let oldest_unwritten = self.journaling.unwritten.front().map(super::write::Unwritten::seq);
        let oldest =
            self.stage.oldest().map(|frame| frame.seq).into_iter().chain(oldest_unwritten).min();
        let failed = self.fail_stop.is_some() || (oldest.is_some() && self.has_failed_storage());
        for (seq, id) in std::mem::take(&mut self.drains) {
            if failed {
                self.answer(id, Err(refuse(RefusalKind::FailStop, "the store takes no writes")));
            } else if oldest.is_some_and(|oldest| oldest <= seq) {
                if self.shutdown == super::Shutdown::Done {
                    let message = "the server stops; the file system is full, what is staged stays in the journal";
                    self.answer(id, Err(refuse(RefusalKind::Shutdown, message)));
                } else {
                    self.drains.push((seq, id));
                }
            } else {
                self.answer(id, Ok(Report::Done));
            }
        }
    }

    fn pool_create(
        &mut self,
        id: CommandId,
        name: String,
        capacity_bytes: u64,
    ) -> Result<(), Refusal> {
        admission::check_name("pool", &name)?;
        if self.state.pool_named(&name).is_some() {
            return Err(refuse(RefusalKind::Exists, format!("pool `{name}` exists already")));
        }
        let slots = capacity_bytes / BLOCK_BYTES;
        let largest = u64::from(u32::MAX) - 1;
        let slots =
            u32::try_from(slots).ok().filter(|&slots| slots > 0 && u64::from(slots) <= largest);
        let Some(slots) = slots else {
            let message = format!("a pool of {capacity_bytes} bytes is not possible");
            let help = format!(
                "the capacity is between {BLOCK_BYTES} and {} bytes",
                largest * BLOCK_BYTES
            );
            return Err(refuse_with_help(RefusalKind::Invalid, message, help));
        };
        let pool = PoolId(self.state.next_pool);
        let record = Record::PoolCreated { id: pool, name, slots };
        self.create_object(id, Object::Pool(pool), u64::from(slots) * BLOCK_BYTES, record);
        Ok(())
    }

    fn create_object(&mut self, id: CommandId, object: Object, bytes: u64, record: Record) {
        self.active = Some(Active { id, work: Work::Creating(record) });
        let barrier = self.barrier(Then::Command(Step::Created));
        let action = Action::Create { bytes, space: CreateSpace::Sparse };
        self.emit(object, action, Pending::Barrier(barrier));
    }

    pub(super) fn pool_known(&self, name: &str) -> Result<PoolId, Refusal> {
        self.state.pool_named(name).map(|(id, _)| id).ok_or_else(|| {
            let message = format!("pool `{}` does not exist", name.escape_default());
            refuse_with_help(
                RefusalKind::NotFound,
                message,
                "`flashtrack pool list` shows all pools",
            )
        })
    }

    fn volume_create(&mut self, id: CommandId, spec: VolumeSpec) -> Result<(), Refusal> {
        admission::check_name("volume", &spec.name)?;
        if self.state.volume_named(&spec.name).is_some() {
            let message = format!("volume `{}` exists already", spec.name);
            return Err(refuse(RefusalKind::Exists, message));
        }
        let geometry =
            Geometry::new(spec.volume_type, spec.size_bytes, spec.cylinders).map_err(|error| {
                refuse(RefusalKind::Invalid, format!("volume `{}`: {error}", spec.name))
            })?;
        let pool = spec.thin.as_deref().map(|name| self.pool_known(name)).transpose()?;
        let device = self.free_device(spec.device)?;
        let volume = VolumeId(self.state.next_volume);
        let record = Record::VolumeCreated { id: volume, name: spec.name, geometry, device, pool };
        if let Record::VolumeCreated { name, pool: Some(_), .. } = &record {
            let recorded = Recorded::Volume(name.clone());
            self.record_command(id, record, recorded);
        } else {
            self.create_object(id, Object::Home(volume), geometry.size_bytes(), record);
        }
        Ok(())
    }

    fn free_device(&self, wanted: Option<u16>) -> Result<u16, Refusal> {
        let used: std::collections::BTreeSet<u16> =
            self.state.volumes.values().map(|volume| volume.device).collect();
        match wanted {
            Some(device) if used.contains(&device) => {
                let message = format!("device number {device:04X} is taken");
                Err(refuse(RefusalKind::Exists, message))
            }
            Some(device) => Ok(device),
            None => (0..=u16::MAX).find(|device| !used.contains(device)).ok_or_else(|| {
                refuse(RefusalKind::NoResources, "all 65536 device numbers are taken")
            }),
        }
    }

    /// What commands are judged by.
    pub(super) fn plan<T>(
        &self,
        judge: impl FnOnce(Rules<'_>) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        let online =
            |id: VolumeId| self.runtimes.get(&id).is_some_and(|runtime| runtime.connections > 0);
        let by_payload = usize::try_from(self.journal.payload_max() / RELATIONSHIP_BYTES);
        judge(Rules {
            state: &self.state,
            policy: &self.policy,
            online: &online,
            relationships_per_command: by_payload
                .unwrap_or(usize::MAX)
                .min(limits::RELATIONSHIPS_PER_COMMAND),
        })
    }

    /// The live relationships that a selector means.
    pub(super) fn selected(
        &self,
        selector: &CopySelector,
    ) -> Result<Vec<crate::units::RelationshipId>, Refusal> {
        let all = self.state.relationships.iter();
        match selector {
            CopySelector::Id(id) if self.state.relationships.contains_key(id) => Ok(vec![*id]),
            CopySelector::Id(id) => {
                let ended = self.state.ended.iter().any(|ended| ended.relationship.pair.id == *id);
                let message = if ended {
                    format!("relationship {id} has ended already")
                } else {
                    format!("relationship {id} does not exist")
                };
                let help = "`flashtrack copy list` shows all relationships";
                Err(refuse_with_help(RefusalKind::NotFound, message, help))
            }
            CopySelector::Target(name) => {
                let (volume, _) = admission::volume(&self.state, name)?;
                Ok(all
                    .filter(|(_, known)| known.pair.target == volume)
                    .map(|(&id, _)| id)
                    .collect())
            }
            CopySelector::Source(name) => {
                let (volume, _) = admission::volume(&self.state, name)?;
                Ok(all
                    .filter(|(_, known)| known.pair.source == volume)
                    .map(|(&id, _)| id)
                    .collect())
            }
        }
    }
}

/// The refusal for a command that failed below.
fn failure(error: RequestError) -> Refusal {
    match error {
        RequestError::NoSpace => {
            refuse(RefusalKind::NoResources, "the file system of the store is full")
        }
        error => {
            refuse(RefusalKind::FailStop, format!("the command could not be made durable: {error}"))
        }
    }
}

//! A disk in memory that keeps only what the contract of `io` promises.
//!
//! - Operations in flight end in an order that the seed chooses; a read sees any part of a write
//!   that is in flight with it.
//! - Every object has what is durable, what reads see (the page cache), and between them the ordered
//!   list of changes since they were last synced. `Sync` moves changes that had *completed* before it
//!   began; others that were executed meanwhile it may or may not move.
//! - A power cut keeps, of every 512-byte sector, the durable bytes or any unsynced version. A kill
//!   of the process keeps the page cache. Operations in flight are lost, done or half done.
//! - Same seed and same operations: same trace hash (invariant I22).

use std::collections::BTreeMap;
use std::rc::Rc;

use super::faults::{ActionKind, Counts, Fault, Faults, ObjectKind, SyncFailure};
use super::pages::to_usize;
use super::prng::{Prng, mix};
use super::stored::{Content, Stored, Survival, survive};
use crate::io::{Action, Buffer, Completion, IoFailure, Object, Op, OpId, Outcome};
use crate::units::ByteRange;

/// Error number for what cannot be: no such object, or no power.
pub(super) const ENOENT: IoFailure = IoFailure::Io(2);

/// How long operations take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// In the order of submission, each done at once.
    InOrder,
    /// Any order; some take long.
    Shuffled,
}

/// The disk.
#[derive(Clone, Debug)]
pub struct SimDisk {
    pub(super) objects: BTreeMap<Object, Stored>,
    in_flight: Vec<InFlight>,
    pub(super) prng: Prng,
    pace: Pace,
    step: u64,
    deliveries: u64,
    changes: u64,
    pub(super) faults: Faults,
    sync_failure: SyncFailure,
    pub(super) counts: Counts,
    trace: u64,
    violations: Vec<String>,
    pub(super) power: Power,
    /// Decides whether what may be lent is; nothing is lent without.
    lending: Option<Prng>,
}

/// Whether blocking calls still work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Power {
    On,
    /// It goes during the call after so many.
    Calls(u64),
    Off,
}

#[derive(Clone, Debug)]
struct InFlight {
    id: OpId,
    object: Object,
    work: Work,
    ready_at: u64,
    phase: Phase,
    failure: Option<IoFailure>,
}

#[derive(Clone, Debug)]
enum Work {
    Read {
        offset: u64,
        bytes: usize,
    },
    Lend {
        offset: u64,
        bytes: usize,
    },
    Change {
        offset: u64,
        content: Content,
    },
    /// Becomes a change once it has read.
    Copy {
        offset: u64,
        from: (Object, u64),
        bytes: u64,
    },
    Sync,
    Allocate,
    Map {
        offset: u64,
        bytes: u64,
    },
    Create {
        bytes: u64,
    },
    Remove,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Waiting,
    /// The change is in the page cache, but nobody was told.
    Applied(u64),
    /// The sync began when this many deliveries had been made.
    Syncing(u64),
}

impl SimDisk {
    /// An empty disk whose choices come from `prng`.
    pub fn new(prng: Prng, pace: Pace) -> Self {
        Self {
            objects: BTreeMap::new(),
            in_flight: Vec::new(),
            prng,
            pace,
            step: 0,
            deliveries: 0,
            changes: 0,
            faults: Faults::default(),
            sync_failure: SyncFailure::default(),
            counts: Counts::default(),
            trace: 0,
            violations: Vec::new(),
            power: Power::On,
            lending: None,
        }
    }

    /// Replaces the stream of choices: the same disk may meet another fate.
    pub fn reseed(&mut self, prng: Prng) {
        self.prng = prng;
    }

    /// Plans a failure.
    pub fn plan_fault(&mut self, fault: Fault) {
        self.faults.plan(fault);
    }

    /// From now on nothing fails that has not failed yet.
    pub fn heal(&mut self) {
        self.faults.clear();
    }

    /// Operations that failed by plan so far.
    pub fn faults_struck(&self) -> u64 {
        self.faults.struck()
    }

    /// What a failed sync does to the unsynced writes.
    pub fn set_sync_failure(&mut self, model: SyncFailure) {
        self.sync_failure = model;
    }

    /// The power goes during the blocking call after the next `calls` ones; later calls fail.
    pub fn cut_power_after_calls(&mut self, calls: u64) {
        self.power = Power::Calls(calls);
    }

    /// True when the power went during a blocking call.
    pub fn power_is_off(&self) -> bool {
        self.power == Power::Off
    }

    /// Nothing happens to the power any more.
    pub fn restore_power(&mut self) {
        self.power = Power::On;
    }

    /// Operations counted so far.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// A number that differs when anything that happened differs.
    pub fn trace(&self) -> u64 {
        self.trace
    }

    /// What the engine did that the contract of `io` forbids.
    pub fn violations(&self) -> &[String] {
        &self.violations
    }

    /// Number of operations in flight.
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Bytes that the object takes.
    pub fn allocated(&self, object: Object) -> u64 {
        self.objects.get(&object).map_or(0, |stored| stored.cache.allocated())
    }

    /// From now on most reads that may be are lent, instead of none.
    pub fn lend(&mut self) {
        self.lending = Some(self.prng.actor("lending"));
    }

    /// True when there is such an object.
    pub fn has(&self, object: Object) -> bool {
        self.objects.contains_key(&object)
    }

    /// What a reader of the object sees now.
    pub fn content(&self, object: Object, offset: u64, bytes: u64) -> Vec<u8> {
        let mut out = vec![0; to_usize(bytes)];
        if let Some(stored) = self.objects.get(&object) {
            stored.cache.read(offset, &mut out);
        }
        out
    }

    /// Takes an operation.
    pub fn submit(&mut self, op: Op) {
        let Op { id, object, action } = op;
        let kind = ActionKind::of(&action);
        let work = match action {
            Action::Read { offset, buffer } => Work::Read { offset, bytes: buffer.len() },
            Action::Lend { offset, bytes } => Work::Lend { offset, bytes },
            Action::Write { offset, data } => {
                Work::Change { offset, content: Content::Data(Rc::new(data.into_vec())) }
            }
            Action::Copy { offset, from, from_offset, bytes } => {
                Work::Copy { offset, from: (from, from_offset), bytes }
            }
            Action::Sync => Work::Sync,
            Action::Zero { offset, bytes, .. } => {
                Work::Change { offset, content: Content::Zeroes(bytes) }
            }
            Action::Allocate { .. } => Work::Allocate,
            Action::Map { offset, bytes } => Work::Map { offset, bytes },
            Action::Create { bytes, .. } => Work::Create { bytes },
            Action::Remove => Work::Remove,
        };
        let (offset, bytes) = work.place();
        self.note(&[1, id.0, kind as u64, offset, bytes]);
        self.counts.add(ObjectKind::of(object), kind, bytes);
        self.check_contract(id, object, &work);
        let failure = self.faults.strike(ObjectKind::of(object), kind);
        let ready_at = self.step + self.delay();
        self.in_flight.push(InFlight {
            id,
            object,
            work,
            ready_at,
            phase: Phase::Waiting,
            failure,
        });
    }

    /// Lets something happen; gives a completion when an operation ended.
    pub fn advance(&mut self) -> Option<Completion> {
        self.step += 1;
        let index = self.choose()?;
        if self.in_flight[index].failure.is_none() && self.linger(index) {
            return None;
        }
        let ended = self.in_flight.remove(index);
        let result = self.finish(&ended);
        self.deliveries += 1;
        self.note(&[2, ended.id.0, u64::from(result.is_ok())]);
        Some(Completion { id: ended.id, result })
    }

    /// The process dies: the page cache stays; operations in flight are lost, done or half done.
    pub fn kill(&mut self) {
        self.drop_in_flight();
        for stored in self.objects.values_mut() {
            stored.reopen();
        }
        self.power = Power::On;
        self.note(&[3]);
    }

    /// The power goes: what was not synced is old, new or mixed.
    pub fn cut_power(&mut self) {
        self.drop_in_flight();
        let mut prng = self.prng.actor("power");
        self.prng.next_u64();
        for stored in self.objects.values_mut() {
            stored.cut_power(&mut prng);
        }
        self.power = Power::On;
        self.note(&[4]);
    }

    /// Adds to the trace.
    pub(super) fn note(&mut self, facts: &[u64]) {
        for fact in facts {
            self.trace = mix(self.trace.rotate_left(7) ^ fact);
        }
    }

    pub(super) fn next_change(&mut self) -> u64 {
        self.changes += 1;
        self.changes
    }

    /// Number of deliveries so far: a change made by a blocking call is delivered at once.
    pub(super) fn deliveries(&self) -> u64 {
        self.deliveries
    }

    fn delay(&mut self) -> u64 {
        if self.pace == Pace::InOrder {
            return 0;
        }
        match self.prng.below(64) {
            0 => self.prng.below(1000),
            1..8 => self.prng.below(60),
            _ => 0,
        }
    }

    /// Index of the operation that something happens to; time passes when none is ready.
    fn choose(&mut self) -> Option<usize> {
        if self.pace == Pace::InOrder {
            return (!self.in_flight.is_empty()).then_some(0);
        }
        let earliest = self.in_flight.iter().map(|op| op.ready_at).min()?;
        self.step = self.step.max(earliest);
        let step = self.step;
        let ready = self.in_flight.iter().filter(|op| op.ready_at <= step).count();
        let drawn = self.prng.index(ready);
        let mut indexes =
            (0..self.in_flight.len()).filter(|at| self.in_flight[*at].ready_at <= step);
        indexes.nth(drawn)
    }

    /// Lets the operation do a part of its work; false when it may end now.
    fn linger(&mut self, index: usize) -> bool {
        let op = self.in_flight[index].clone();
        match (&op.work, op.phase) {
            (Work::Change { offset, content }, Phase::Waiting) => {
                if self.pace == Pace::Shuffled && self.prng.once_in(8) {
                    self.apply_part(op.object, *offset, content);
                    return true;
                }
                let change = self.apply(op.object, *offset, content);
                self.in_flight[index].phase = Phase::Applied(change);
                self.pace == Pace::Shuffled && self.prng.once_in(4)
            }
            (Work::Copy { offset, from: (from, from_offset), bytes }, _) => {
                let data = self.content(*from, *from_offset, *bytes);
                let content = Content::Data(Rc::new(data));
                self.in_flight[index].work = Work::Change { offset: *offset, content };
                true
            }
            (Work::Sync, Phase::Waiting) => {
                self.in_flight[index].phase = Phase::Syncing(self.deliveries);
                true
            }
            _ => false,
        }
    }

    fn apply(&mut self, object: Object, offset: u64, content: &Content) -> u64 {
        let id = self.next_change();
        if let Some(stored) = self.objects.get_mut(&object) {
            stored.change(id, offset, content.clone(), u64::MAX);
        }
        id
    }

    fn apply_part(&mut self, object: Object, offset: u64, content: &Content) {
        let mut prng = self.prng.actor("part");
        self.prng.next_u64();
        let survival = Survival::draw(&mut prng);
        let mut parts = Vec::new();
        survive(survival, offset, content, &mut prng, |offset, part| {
            parts.push((offset, part.clone()));
        });
        for (offset, part) in parts {
            self.apply(object, offset, &part);
        }
    }

    fn finish(&mut self, op: &InFlight) -> Result<Outcome, IoFailure> {
        if let Some(failure) = op.failure {
            match &op.work {
                Work::Change { offset, content } => self.apply_part(op.object, *offset, content),
                Work::Sync => {
                    let model = self.sync_failure;
                    if let Some(stored) = self.objects.get_mut(&op.object) {
                        stored.fail_sync(model);
                    }
                }
                _ => {}
            }
            return Err(failure);
        }
        if let Work::Create { bytes } = op.work {
            return self.create(op.object, bytes).map(|()| Outcome::Done);
        }
        let delivery = self.deliveries + 1;
        let lends = matches!(op.work, Work::Lend { .. })
            && self.lending.as_mut().is_some_and(|prng| !prng.once_in(4));
        let stored = self.objects.get_mut(&op.object).ok_or(ENOENT)?;
        match (&op.work, op.phase) {
            (Work::Read { offset, bytes } | Work::Lend { offset, bytes }, _) if !lends => {
                let mut buffer = Buffer::zeroed(*bytes);
                stored.cache.read(*offset, &mut buffer);
                Ok(Outcome::Buffer(buffer))
            }
            (Work::Lend { .. }, _) => Ok(Outcome::Lent),
            (Work::Change { content, .. }, Phase::Applied(id)) => {
                stored.deliver(id, delivery);
                Ok(match content {
                    Content::Data(data) => Outcome::Buffer(Buffer::from_vec(data.to_vec())),
                    Content::Zeroes(_) => Outcome::Done,
                })
            }
            (Work::Sync, Phase::Syncing(began)) => {
                if stored.latched {
                    return Err(IoFailure::Io(5));
                }
                stored.sync(began, &mut self.prng);
                Ok(Outcome::Done)
            }
            (Work::Map { offset, bytes }, _) => {
                Ok(Outcome::Data(stored.cache.data(*offset, *bytes)))
            }
            (Work::Remove, _) => {
                self.objects.remove(&op.object);
                Ok(Outcome::Done)
            }
            _ => Ok(Outcome::Done),
        }
    }

    pub(super) fn create(&mut self, object: Object, bytes: u64) -> Result<(), IoFailure> {
        if self.objects.contains_key(&object) {
            return Err(IoFailure::Io(17));
        }
        self.objects.insert(object, Stored::zeroes(bytes));
        Ok(())
    }

    /// Decides the fate of every operation in flight.
    fn drop_in_flight(&mut self) {
        for op in std::mem::take(&mut self.in_flight) {
            match (&op.work, op.phase) {
                (Work::Change { offset, content }, Phase::Waiting) => {
                    self.apply_part(op.object, *offset, content);
                }
                (Work::Create { bytes }, _) if self.prng.once_in(2) => {
                    // An object of that name would have made the operation fail.
                    let _ = self.create(op.object, *bytes);
                }
                (Work::Remove, _) if self.prng.once_in(2) => {
                    self.objects.remove(&op.object);
                }
                (Work::Sync, Phase::Syncing(began)) if self.prng.once_in(2) => {
                    if let Some(stored) = self.objects.get_mut(&op.object) {
                        stored.sync(began, &mut self.prng);
                    }
                }
                _ => {}
            }
        }
    }

    /// Notes what no backend has to bear.
    fn check_contract(&mut self, id: OpId, object: Object, work: &Work) {
        let mut wrong = Vec::new();
        if self.in_flight.iter().any(|op| op.id == id) {
            wrong.push("its id is in flight already".to_owned());
        }
        let (offset, bytes) = work.place();
        let range = ByteRange { start: offset, end: offset + bytes };
        if let (Work::Change { .. } | Work::Copy { .. }, Some(stored)) =
            (work, self.objects.get(&object))
            && range.end > stored.bytes
        {
            wrong.push(format!("it ends at {} in an object of {} bytes", range.end, stored.bytes));
        }
        for reason in wrong {
            self.violations.push(format!("{id:?} on {object:?} at {range:?}: {reason}"));
        }
    }
}

impl Work {
    /// First byte and number of bytes.
    fn place(&self) -> (u64, u64) {
        match self {
            Self::Read { offset, bytes } | Self::Lend { offset, bytes } => (*offset, *bytes as u64),
            Self::Change { offset, content } => (*offset, content.bytes()),
            Self::Copy { offset, bytes, .. } | Self::Map { offset, bytes } => (*offset, *bytes),
            Self::Create { bytes } => (0, *bytes),
            Self::Sync | Self::Allocate | Self::Remove => (0, 0),
        }
    }
}

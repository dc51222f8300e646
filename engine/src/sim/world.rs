//! One run: engine, disk and model, driven by a workload, all from one seed.
//!
//! The world plays the worker's loop: it carries operations to the disk, completions to the engine
//! and replies to the model, in an order that the seed chooses. `crash` stops and reopens the store;
//! `judge` compares what comes back with the model.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;

use super::content::Value;
use super::directory::Directory;
use super::disk::{Pace, SimDisk};
use super::judge::{Asked, Commanded};
use super::model::{Model, Pair, View};
use super::mutation::Mutation;
use super::pattern;
use super::prng::{Prng, mix};
use super::workload::{Ask, Move, Plan, Stop, Workload, volume};
use crate::admin::{
    Answer, Command, CommandId, CopySelector, EstablishAction, EstablishSpec, Incremental,
    PairSpec, Report, WithdrawSpec,
};

use crate::io::{Buffer, Op};
use crate::request::{Durability, Reply, Request, RequestAction, RequestId};
use crate::units::{ByteRange, Moment, VolumeId};
use crate::{Engine, OpenOptions};

/// Turns within which everything in flight must end once nothing new comes and no fault strikes (I21).
const TURNS_TO_QUIET: u32 = 100_000;

/// When every run begins.
const START: Moment = Moment { monotonic_us: 1_000_000, unix_seconds: 1_800_000_000 };

/// A promise that was broken, and how to see it again.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Seed of the run.
    pub seed: u64,
    /// Action at which it showed.
    pub action: u32,
    /// What is wrong.
    pub message: String,
    /// The last events, when the run was told to keep them.
    pub events: Vec<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for event in &self.events {
            writeln!(f, "  {event}")?;
        }
        write!(f, "seed {}, action {}: {}", self.seed, self.action, self.message)
    }
}

/// What a run that broke no promise has to tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Equal for runs in which the same happened (I22).
    pub trace: u64,
    /// Requests answered.
    pub replies: u64,
    /// Times that the store was stopped and opened again.
    pub openings: u64,
    /// Bytes compared.
    pub compared: u64,
}

/// How to run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Config {
    /// A rule to break.
    pub mutation: Option<Mutation>,
    /// How many of the last events to keep for the report of a failure.
    pub keep_events: usize,
}

/// One run.
pub struct World {
    pub(super) engine: Engine,
    pub(super) disk: SimDisk,
    pub(super) model: Model,
    pub(super) directory: Directory,
    pub(super) plan: Plan,
    pub(super) config: Config,
    pub(super) prng: Prng,
    pub(super) now: Moment,
    pub(super) asked: BTreeMap<RequestId, Asked>,
    pub(super) commanded: BTreeMap<CommandId, Commanded>,
    /// Set when the engine refuses writes after a failed sync, until it is reopened.
    pub(super) fail_stopped: bool,
    pub(super) shutting_down: bool,
    /// Faults that had struck when the store was last opened.
    pub(super) faults_at_open: u64,
    /// Faults that had struck when the power last went.
    pub(super) faults_at_power_cut: u64,
    /// Commands that were refused after a failed sync: done or not, as the next opening tells.
    pub(super) doubted: Vec<Commanded>,
    /// The report that `inspect` waits for.
    pub(super) inspected: Option<Report>,
    pub(super) summary: Summary,
    workload: Workload,
    seed: u64,
    action: u32,
    ids: u64,
    events: VecDeque<String>,
    ops: Vec<Op>,
    replies: Vec<Reply>,
    answers: Vec<Answer>,
}

/// Runs one seed.
///
/// # Errors
/// The first promise that was broken.
pub fn run(seed: u64, config: Config) -> Result<Summary, Failure> {
    let mut world = World::new(seed, config)?;
    let outcome = world.play();
    world.finish(outcome)
}

impl World {
    /// An empty store and what the plan of the seed puts into it.
    ///
    /// # Errors
    /// The store could not be made.
    pub fn new(seed: u64, config: Config) -> Result<Self, Failure> {
        let plan = Plan::draw(&mut Prng::new(seed).actor("plan"));
        Self::with_plan(seed, plan, Pace::Shuffled, config)
    }

    /// An empty store and what the plan puts into it.
    ///
    /// # Errors
    /// The store could not be made.
    pub fn with_plan(seed: u64, plan: Plan, pace: Pace, config: Config) -> Result<Self, Failure> {
        let prng = Prng::new(seed);
        let mut disk = SimDisk::new(prng.actor("disk"), pace);
        let options = Self::options(&plan, config, true);
        let engine = Engine::open(&mut disk, &options, START).map_err(|error| Failure {
            seed,
            action: 0,
            message: format!("a new store does not open: {error}"),
            events: Vec::new(),
        })?;
        let mut world = Self::around(seed, plan, config, engine, disk);
        let prepared = world.prepare();
        prepared.map_err(|message| world.failure(message))?;
        Ok(world)
    }

    /// A world around an engine that is open; nothing is known of what its store holds.
    fn around(seed: u64, plan: Plan, config: Config, engine: Engine, disk: SimDisk) -> Self {
        let prng = Prng::new(seed);
        let workload = Workload::new(&plan, prng.actor("workload"));
        Self {
            engine,
            disk,
            model: Model::default(),
            directory: Directory { policy: plan.policy, ..Directory::default() },
            plan,
            config,
            prng: prng.actor("world"),
            now: START,
            asked: BTreeMap::new(),
            commanded: BTreeMap::new(),
            fail_stopped: false,
            shutting_down: false,
            faults_at_open: 0,
            faults_at_power_cut: 0,
            doubted: Vec::new(),
            inspected: None,
            summary: Summary::default(),
            workload,
            seed,
            action: 0,
            ids: 0,
            events: VecDeque::new(),
            ops: Vec::new(),
            replies: Vec::new(),
            answers: Vec::new(),
        }
    }

    /// What would be left if the power went now: the store, opened again, with all that was promised.
    /// `fate` decides what becomes of everything that is not durable.
    ///
    /// # Errors
    /// The store does not open.
    pub(super) fn after_power_cut(&self, fate: u64) -> Result<Self, String> {
        let mut disk = self.disk.clone();
        disk.reseed(Prng::new(fate));
        disk.cut_power();
        let options = Self::options(&self.plan, self.config, false);
        let engine = Engine::open(&mut disk, &options, self.now)
            .map_err(|error| format!("the store does not open: {error}"))?;
        let mut twin = Self::around(self.seed, self.plan.clone(), self.config, engine, disk);
        twin.now = self.now;
        twin.action = self.action;
        twin.ids = self.ids;
        twin.model = self.model.clone();
        twin.directory = self.directory.clone();
        twin.model.crash();
        twin.reconcile(self.commanded.values().cloned().collect())?;
        twin.settle_all(View::AfterPowerCut)?;
        Ok(twin)
    }

    pub(super) fn options(plan: &Plan, config: Config, create: bool) -> OpenOptions {
        OpenOptions {
            journal_bytes: plan.journal_bytes,
            segment_bytes: plan.segment_bytes,
            create,
            entropy: [7; 32],
            mutation: config.mutation,
            policy: plan.policy,
        }
    }

    fn prepare(&mut self) -> Result<(), String> {
        let plan = self.plan.clone();
        let capacity_bytes = plan.pool_slots * 4096;
        self.command(Command::PoolCreate { name: "pool".to_owned(), capacity_bytes });
        self.quiet()?;
        for tracks in &plan.volumes {
            let name = self.workload.name("volume");
            self.command(volume(name, u64::from(*tracks) << 16, None));
            self.quiet()?;
        }
        for like in &plan.thin {
            let name = self.workload.name("volume");
            self.command(volume(
                name,
                u64::from(plan.volumes[*like]) << 16,
                Some("pool".to_owned()),
            ));
            self.quiet()?;
        }
        for fault in &plan.faults {
            self.disk.plan_fault(*fault);
        }
        self.disk.set_sync_failure(plan.sync_failure);
        Ok(())
    }

    fn play(&mut self) -> Result<(), String> {
        while self.action < self.plan.actions {
            self.action += 1;
            if self.fail_stopped {
                self.recover_from_faults()?;
            }
            if let Some(next) = self.workload.next(&self.directory) {
                self.make(next)?;
            }
            for _ in 0..self.prng.below(2 * self.plan.turns) {
                self.turn()?;
            }
            while self.asked.len() + self.commanded.len() >= self.plan.depth {
                let before = self.asked.len() + self.commanded.len();
                self.until(|world| world.asked.len() + world.commanded.len() < before)?;
            }
        }
        self.disk.heal();
        self.quiet()?;
        if self.disk.faults_struck() > 0 {
            self.recover_from_faults()?;
        }
        self.compare_all()?;
        self.empty()
    }

    pub(super) fn make(&mut self, next: Move) -> Result<(), String> {
        self.note(|| format!("{next:?}"));
        match next {
            Move::Request { volume, ask } => self.ask(volume, ask),
            Move::Command(command) => self.command(command),
            Move::Stop(stop) => return self.stop(stop),
        }
        Ok(())
    }

    /// Sends a request of a host.
    pub(super) fn ask(&mut self, volume: u32, ask: Ask) {
        let id = RequestId(self.next_id());
        self.note(|| format!("{id:?}: {ask:?} of volume {volume}"));
        let asked = self.begin(volume, ask);
        let durability = |durable| if durable { Durability::Durable } else { Durability::Volatile };
        let action = match ask {
            Ask::Read(range) => RequestAction::Read { range },
            Ask::Status(range) => RequestAction::BlockStatus { range },
            Ask::Flush => RequestAction::Flush,
            Ask::Write(range, durable) => {
                let mut data = Buffer::zeroed(usize::try_from(range.bytes()).unwrap_or(0));
                if let Asked::Write { number, .. } = asked {
                    pattern::fill(number, range.start, &mut data);
                }
                RequestAction::Write { offset: range.start, data, durability: durability(durable) }
            }
            Ask::Trim(range, durable) => {
                RequestAction::Trim { range, durability: durability(durable) }
            }
            Ask::Zeroes(range, space, durable) => {
                RequestAction::WriteZeroes { range, space, durability: durability(durable) }
            }
        };
        self.asked.insert(id, asked);
        self.engine.submit(Request { id, volume: VolumeId(volume), action });
    }

    /// Tells the model that a request begins.
    fn begin(&mut self, volume: u32, ask: Ask) -> Asked {
        let held_until_us = self.directory.frozen.get(&volume).copied();
        match ask {
            Ask::Read(range) => Asked::Read { volume, range, since: self.model.begin_read() },
            Ask::Status(range) => Asked::Status { volume, range, since: self.model.begin_read() },
            Ask::Flush => Asked::Flush { volume, since: self.model.begin_read() },
            Ask::Write(range, durable) => {
                let number = self.model.next_number();
                let value = Value::Data { write: number, shift: 0 };
                self.model.begin_write(volume, range, number, value, true);
                Asked::Write { volume, range, number, durable, held_until_us }
            }
            Ask::Trim(range, durable) | Ask::Zeroes(range, _, durable) => {
                let number = self.model.next_number();
                let certain = matches!(ask, Ask::Zeroes(..));
                self.model.begin_write(volume, range, number, Value::Zero, certain);
                Asked::Write { volume, range, number, durable, held_until_us }
            }
        }
    }

    /// Sends a command of the administrator.
    pub(super) fn command(&mut self, command: Command) {
        let id = CommandId(self.next_id());
        if let Command::VolumeDelete { name } = &command {
            let Some((volume, _)) = self.directory.volume_named(name) else {
                return;
            };
            if self.asked.values().any(|asked| asked.volume() == volume) {
                return;
            }
        }
        let establishing =
            || self.commanded.values().any(|other| matches!(other, Commanded::Establish { .. }));
        let renews = |command: &Command| match command {
            Command::CopyEstablish(spec) => {
                spec.action != EstablishAction::Establish || spec.incremental != Incremental::No
            }
            Command::CopyWithdraw(spec) => !spec.extents.is_empty(),
            _ => false,
        };
        let copies = matches!(
            command,
            Command::CopyEstablish(_)
                | Command::CopyWithdraw(_)
                | Command::CopyConvert { .. }
                | Command::DatasetCopy(_)
        );
        let renewing = || {
            self.commanded.values().any(|other| match other {
                Commanded::Establish { renewed, .. } => renewed.is_some(),
                Commanded::Withdraw { parts, .. } => !parts.is_empty(),
                _ => false,
            })
        };
        if (renews(&command) && !self.commanded.is_empty()) || (copies && renewing()) {
            // What becomes of the others would depend on which comes first.
            return;
        }
        if let Command::CopyWithdraw(WithdrawSpec { id: None, .. }) = &command
            && establishing()
        {
            // Whether it means the new relationship too depends on which comes first.
            return;
        }
        let commanded = self.expect(&command);
        self.commanded.insert(id, commanded);
        self.note(|| format!("{id:?}: {command:?}"));
        self.engine.command(id, command);
    }

    /// One turn of the worker's loop.
    pub(super) fn turn(&mut self) -> Result<(), String> {
        self.carry()?;
        if self.disk.in_flight() > 0 {
            if let Some(completion) = self.disk.advance() {
                self.engine.complete(completion);
            }
            self.now.monotonic_us += self.prng.below(50);
        } else {
            let later = self.now.monotonic_us + 1 + self.prng.below(1000);
            let due = self.engine.next_deadline_us().unwrap_or(later);
            self.now.monotonic_us = later.max(due.min(later + 1_000_000));
        }
        self.engine.tick(self.now);
        self.carry()
    }

    /// Carries what the engine gave to where it belongs.
    fn carry(&mut self) -> Result<(), String> {
        self.engine.take_ops(&mut self.ops);
        for op in std::mem::take(&mut self.ops) {
            self.note(|| format!("      op {op:?}"));
            self.disk.submit(op);
        }
        if let Some(violation) = self.disk.violations().first() {
            return Err(violation.clone());
        }
        self.engine.take_replies(&mut self.replies);
        for reply in std::mem::take(&mut self.replies) {
            self.note(|| format!("   {:?} {:?}", reply.id, reply.result));
            self.summary.replies += 1;
            self.summary.trace =
                mix(self.summary.trace ^ reply.id.0 ^ u64::from(reply.result.is_ok()) << 60);
            self.judge_reply(reply)?;
        }
        self.engine.take_answers(&mut self.answers);
        for answer in std::mem::take(&mut self.answers) {
            self.note(|| format!("   {:?} {:?}", answer.id, answer.result));
            self.judge_answer(answer)?;
        }
        Ok(())
    }

    /// Turns until `done`; too many, the second half of them without faults, are a failure (I21).
    pub(super) fn until(&mut self, done: impl Fn(&Self) -> bool) -> Result<(), String> {
        for turn in 0..2 * TURNS_TO_QUIET {
            if turn == TURNS_TO_QUIET {
                self.disk.heal();
            }
            self.carry()?;
            if done(self) {
                return Ok(());
            }
            self.turn()?;
        }
        Err(format!(
            "nothing moves (I21): unanswered are {:?} and {:?}, {} operations are in flight",
            self.asked,
            self.commanded,
            self.disk.in_flight()
        ))
    }

    /// True when every request and command is answered.
    pub(super) fn is_quiet(&self) -> bool {
        self.asked.is_empty() && self.commanded.is_empty()
    }

    /// Waits for everything that is in flight with hosts and the administrator.
    pub(super) fn quiet(&mut self) -> Result<(), String> {
        self.until(Self::is_quiet)
    }

    /// Takes every incremental copy to a new moment: what was recorded of changes shows then.
    pub(super) fn refresh_all(&mut self) -> Result<(), String> {
        let pairs: Vec<Pair> = self
            .directory
            .copies
            .values()
            .filter(|copy| copy.kind.incremental)
            .map(|copy| copy.pair)
            .collect();
        for pair in pairs {
            let name =
                |volume: u32| self.directory.volumes.get(&volume).map(|known| known.name.clone());
            let (Some(source), Some(target)) = (name(pair.source), name(pair.target)) else {
                continue;
            };
            self.command(Command::CopyEstablish(EstablishSpec {
                pairs: vec![PairSpec { source, target, extents: Vec::new() }],
                action: EstablishAction::Refresh,
                ..EstablishSpec::default()
            }));
            self.quiet()?;
        }
        self.compare_all()
    }

    /// Takes everything apart; afterwards nothing may be in use.
    pub(super) fn empty(&mut self) -> Result<(), String> {
        let copies: Vec<u32> = self.directory.copies.keys().copied().collect();
        for copy in copies {
            if let Some(known) = self.directory.copies.get(&copy) {
                let Pair { target, .. } = known.pair;
                let name = self.directory.volumes.get(&target).map(|volume| volume.name.clone());
                self.command(Command::CopyWithdraw(
                    CopySelector::Target(name.unwrap_or_default()).into(),
                ));
                self.quiet()?;
            }
        }
        self.command(Command::StoreDrain {});
        self.quiet()?;
        self.compare_all()?;
        let thin: Vec<String> = self
            .directory
            .volumes
            .values()
            .filter(|volume| volume.pool.is_some())
            .map(|volume| volume.name.clone())
            .collect();
        for name in thin {
            self.command(Command::VolumeDelete { name });
            self.quiet()?;
        }
        self.command(Command::StoreDrain {});
        self.quiet()?;
        // Slots come back when they are punched, which nobody waits for.
        self.until(|world| world.disk.in_flight() == 0)?;
        self.command(Command::PoolList {});
        self.quiet()?;
        self.stop(Stop::Shutdown)?;
        self.compare_all()
    }

    /// Reads every volume through the engine and judges it.
    pub(super) fn compare_all(&mut self) -> Result<(), String> {
        let volumes: Vec<(u32, u64)> =
            self.directory.volumes.iter().map(|(id, volume)| (*id, volume.bytes)).collect();
        for (volume, bytes) in volumes {
            for start in (0..bytes).step_by(64 << 10) {
                let end = bytes.min(start + (64 << 10));
                self.ask(volume, Ask::Read(ByteRange { start, end }));
            }
        }
        self.quiet()
    }

    /// True when an operation failed by plan and the store was not reopened since.
    pub(super) fn faults_since_open(&self) -> bool {
        self.disk.faults_struck() > self.faults_at_open
    }

    /// A number for a request or command.
    pub(super) fn next_id(&mut self) -> u64 {
        self.ids += 1;
        self.ids
    }

    /// Keeps an event for the report of a failure.
    pub(super) fn note(&mut self, event: impl FnOnce() -> String) {
        if self.config.keep_events > 0 {
            if self.events.len() == self.config.keep_events {
                self.events.pop_front();
            }
            self.events.push_back(event());
        }
    }

    pub(super) fn failure(&mut self, message: String) -> Failure {
        let events = std::mem::take(&mut self.events).into();
        Failure { seed: self.seed, action: self.action, message, events }
    }

    fn finish(mut self, outcome: Result<(), String>) -> Result<Summary, Failure> {
        outcome.map_err(|message| self.failure(message))?;
        self.summary.trace = mix(self.summary.trace ^ self.disk.trace());
        Ok(self.summary)
    }
}

impl Drop for World {
    /// A panic of the engine is a failure, too: it shows what led to it.
    fn drop(&mut self) {
        if std::thread::panicking() {
            for event in &self.events {
                eprintln!("  {event}");
            }
        }
    }
}

//! One run: engine, disk and model, driven by a workload, all from one seed.
//!
//! The world plays the worker's loop: it carries operations to the disk, completions to the engine
//! and replies to the model, in an order that the seed chooses. `sending` asks the engine, `replies` and `answers`
//! compare what comes back with the model; `crash` stops and reopens the store; `checks` looks at everything.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;

use super::directory::Directory;
use super::disk::{Pace, SimDisk};
use super::expectation::Commanded;
use super::lending::Lent;
use super::model::{Model, View};
use super::mutation::Mutation;
use super::plan::Plan;
use super::prng::{Prng, mix};
use super::replies::Asked;
use super::workload::{Workload, volume};
use crate::admin::{Answer, Command, CommandId, Report};
use crate::io::Op;
use crate::request::{Reply, RequestId};
use crate::units::Moment;
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
    /// Replies on their way to clients; they are among `asked`.
    pub(super) lent: BTreeMap<RequestId, Lent>,
    /// Decides how long those take.
    pub(super) lending: Prng,
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
        if plan.lends {
            disk.lend();
        }
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
            lent: BTreeMap::new(),
            lending: prng.actor("lending"),
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
        self.carry()?;
        self.advance_lent()
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

//! The engine: the only owner and mutator of a store's state.
//!
//! `submit`, `command` and `complete` take what happened; `take_ops` carries out what follows from it
//! and gives the operations to perform. Nothing here waits, and every call ends in bounded time.
//!
//! Reading order: `host` (requests), `write` (the one predicate: home or journal), `flush`, `journaling`
//! (records and when they count), `destage` (what is owed, then home), `copier` (full targets),
//! `commands`, `establish`, `withdraw`, `checkpointing`, `open`.
//!
//! Invariants
//! - E1 Every request gets one reply and every command one answer (I18).
//! - E2 Metadata changes only through `State::apply`, in the order of the journal but for an
//!   `Established` record, which is applied when appended (O5), and `Ended`/`Failed`, which wait for
//!   the destage batches under way.
//! - E3 Every operation that uses a place found by the lookup holds a ticket until it completes.

/// True when the simulator has told the engine to break that rule, to see whether the tests notice.
#[cfg(feature = "sim")]
macro_rules! breaks {
    ($engine:expr, $rule:ident) => {
        $engine.mutation == Some(crate::sim::mutation::Mutation::$rule)
    };
}
#[cfg(not(feature = "sim"))]
macro_rules! breaks {
    ($engine:expr, $rule:ident) => {
        $engine.breaks_a_rule()
    };
}

mod background;
mod barrier;
mod changes;
mod checkpointing;
mod commands;
mod copier;
mod credits;
mod deleting;
mod destage;
mod establish;
mod examine;
mod flush;
mod freeze;
mod host;
mod journaling;
mod moves;
mod open;
mod ops;
mod reports;
mod room;
mod withdraw;
mod write;

use std::collections::{BTreeMap, VecDeque};

pub use examine::{Examination, examine};
pub use open::{OpenError, OpenOptions};

use crate::admin::{Answer, Command, CommandId};
use crate::io::{Completion, Object, Op};
use crate::journal::Journal;
use crate::policy::Policy;
use crate::pressure::Pressure;
use crate::request::{Reply, Request, RequestError};
use crate::slab::Slab;
use crate::stage::Stage;
use crate::state::State;
use crate::stats::Stats;
use crate::store::StoreHeader;
use crate::syncs::Syncs;
use crate::tickets::Tickets;
use crate::units::{Moment, Position, VolumeId};

use barrier::{Barrier, BarrierId, Then};

/// Calls of `take_ops` in a row that may leave the background's planning out.
const PUT_OFF_MAX: u32 = 2;

/// A store that is open.
#[derive(Debug)]
pub struct Engine {
    header: StoreHeader,
    /// A rule that is broken on purpose.
    #[cfg(feature = "sim")]
    mutation: Option<crate::sim::mutation::Mutation>,
    state: State,
    stage: Stage,
    journal: Journal,
    now: Moment,
    stats: Stats,
    /// Why no writes are taken any more (rule O9).
    fail_stop: Option<String>,
    shutdown: Shutdown,

    ops: Vec<Op>,
    replies: Vec<Reply>,
    answers: Vec<Answer>,

    pending: Slab<(ops::Pending, background::Turn)>,
    background: background::Background,
    barriers: Slab<Barrier>,
    opened: VecDeque<(Then, Result<(), RequestError>)>,
    /// Those of them that take long.
    opened_long: Vec<(Then, Result<(), RequestError>)>,
    /// Calls in a row that left the background's planning out.
    put_off: u32,
    tickets: Tickets<BarrierId>,
    syncs: BTreeMap<Object, Syncs<BarrierId>>,
    sync_wanted: bool,

    journal_waiters: Vec<(Position, BarrierId)>,
    journaling: journaling::Journaling,
    runtimes: BTreeMap<VolumeId, Runtime>,
    reads: Slab<host::ReadInParts>,
    long: Slab<write::LongRequest>,
    gatherings: Slab<moves::Gathering>,
    /// Writes that wait for room, oldest first (M2).
    waiting: VecDeque<room::WaitingWrite>,
    pressure: Pressure,

    commands: VecDeque<(CommandId, Command)>,
    active: Option<commands::Active>,
    drains: Vec<(crate::units::Seq, CommandId)>,
    destager: destage::Destager,
    copier: copier::Copier,
    checkpointer: checkpointing::Checkpointer,
    changes: changes::Changes,
    freezes: freeze::Freezes,
    policy: Policy,
}

/// What the engine keeps of a volume while it is open.
#[derive(Debug, Default)]
struct Runtime {
    /// Requests that are being carried out.
    in_flight: u32,
    /// Requests that wait until a command on the volume is through; none when the gate is open.
    gate: Option<Vec<Request>>,
    /// How many hold the gate shut: an establish until its images can be read, a withdraw.
    gate_shut: u32,
    /// Connections to the volume's export.
    connections: u32,
}

/// How far a shutdown has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shutdown {
    /// Not asked for.
    No,
    /// No new work is taken; what is staged goes home.
    Draining,
    /// The last checkpoint and watermark are on their way.
    Closing,
    /// Everything is durable.
    Done,
}

/// A volume as its users name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeInfo {
    /// Its id.
    pub id: VolumeId,
    /// Its name.
    pub name: String,
    /// Size in bytes.
    pub size_bytes: u64,
    /// Bytes of a track.
    pub track_bytes: u32,
}

impl Engine {
    /// Takes a host's request; the reply comes by [`Engine::take_replies`].
    pub fn submit(&mut self, request: Request) {
        if self.shutdown != Shutdown::No {
            self.replies.push(Reply { id: request.id, result: Err(RequestError::Shutdown) });
            return;
        }
        self.intake(request);
    }

    /// Takes an administrator's command; the answer comes by [`Engine::take_answers`].
    pub fn command(&mut self, id: CommandId, command: Command) {
        self.commands.push_back((id, command));
    }

    /// Takes the outcome of an operation.
    pub fn complete(&mut self, completion: Completion) {
        self.completed(completion);
    }

    /// Takes the time.
    pub fn tick(&mut self, now: Moment) {
        self.now = now;
    }

    /// When `tick` must be called at the latest, as `Moment::monotonic_us`.
    pub fn next_deadline_us(&self) -> Option<u64> {
        if self.fail_stop.is_some() {
            return None;
        }
        let journal = self.journaling.deadline_us();
        let destage = self.destage_deadline_us();
        let checkpoint = self.checkpointer.deadline_us();
        let thaw = self.freezes.deadline_us();
        let waiting = self.waiting_deadline_us();
        let copy = self.copy_deadline_us();
        [journal, destage, checkpoint, thaw, waiting, copy].into_iter().flatten().min()
    }

    /// Carries out what follows from everything taken so far; appends the operations to perform.
    ///
    /// The background's planning takes milliseconds, so it is left to a later call while there is something else to
    /// perform, for `PUT_OFF_MAX` calls in a row at most. When nothing is appended, nothing was left.
    pub fn take_ops(&mut self, out: &mut Vec<Op>) {
        self.settle();
        if !self.ops.is_empty() && self.put_off < PUT_OFF_MAX {
            self.put_off += 1;
        } else {
            self.put_off = 0;
            self.plan_background();
        }
        self.begin_background();
        out.append(&mut self.ops);
    }

    /// Appends the replies that are ready.
    pub fn take_replies(&mut self, out: &mut Vec<Reply>) {
        out.append(&mut self.replies);
    }

    /// Appends the answers that are ready.
    pub fn take_answers(&mut self, out: &mut Vec<Answer>) {
        out.append(&mut self.answers);
    }

    /// Counters since the engine was opened.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Tells how many connections a volume's export has: a connected volume is not deleted.
    pub fn set_connections(&mut self, volume: VolumeId, count: u32) {
        self.runtimes.entry(volume).or_default().connections = count;
    }

    /// Refuses new requests and commands; what is staged goes home and is synced.
    pub fn begin_shutdown(&mut self) {
        if self.shutdown == Shutdown::No {
            self.shutdown = Shutdown::Draining;
        }
    }

    /// True when a shutdown is complete.
    pub fn is_shut_down(&self) -> bool {
        self.shutdown == Shutdown::Done
    }

    /// Why no writes are taken, if so (rule O9).
    pub fn fail_stop(&self) -> Option<&str> {
        self.fail_stop.as_deref()
    }

    /// Does everything that can be done without waiting.
    fn settle(&mut self) {
        loop {
            self.carry_out_opened();
            self.step_freezes();
            self.step_commands();
            self.step_waiting_writes();
            self.step_shutdown();
            self.step_journal();
            self.step_syncs();
            if self.opened.is_empty() {
                self.answer_drains();
                return;
            }
        }
    }

    fn carry_out_opened(&mut self) {
        loop {
            while let Some(barrier) = self.tickets.ready() {
                self.release(barrier, Ok(()));
            }
            match self.opened.pop_front() {
                Some(long @ (Then::BatchOwed | Then::BatchHome | Then::Checkpoint, _)) => {
                    self.opened_long.push(long);
                }
                Some((then, result)) => self.carry_out(then, result),
                None => return,
            }
        }
    }

    /// Goes on with what thousands of blocks take part in, and carries out what follows.
    fn plan_background(&mut self) {
        loop {
            for (then, result) in std::mem::take(&mut self.opened_long) {
                self.carry_out(then, result);
            }
            self.step_destage();
            self.step_copier();
            self.step_checkpoint();
            self.settle();
            if self.opened_long.is_empty() {
                return;
            }
        }
    }

    fn carry_out(&mut self, then: Then, result: Result<(), RequestError>) {
        match then {
            Then::Finish(finish) => self.finish(finish, result),
            Then::WroteHome(write) => self.wrote_home(write, result),
            Then::Read(read) => self.finish_read(read, result),
            Then::Command(step) => self.command_step(step, result),
            Then::BatchOwed => self.owed_step(result),
            Then::BatchHome => self.home_step(result),
            Then::OwedBlocks(id, batch) => self.owed_blocks_step(id, batch, result),
            Then::CopyRun(id, run, begun_us) => self.copy_run_ended(id, run, begun_us, result),
            Then::CopyCommit => self.copy_commit_step(result),
            Then::Checkpoint => self.checkpoint_step(result),
            Then::Settled(id, t0, run) => self.copy_settled(id, t0, run),
            Then::Ready(ids, t0, targets) => self.copies_ready(&ids, Some(t0), &targets),
            Then::Durable(ids) => self.copies_durable(&ids, result),
            Then::Recycle(position) => self.journal.release_before(position),
            Then::Punch(slots) => self.punch_slots(slots),
            Then::Free(pool, slots) => self.free_slots(pool, &slots),
            Then::Continue(long) => self.continue_long(long, result),
            Then::Remove(object) => self.remove_object(object),
            Then::Nothing => {}
        }
    }

    /// Outside the simulator no rule is ever broken.
    #[cfg(not(feature = "sim"))]
    #[expect(clippy::unused_self, reason = "stands for a look at a field")]
    fn breaks_a_rule(&self) -> bool {
        false
    }

    /// Enters the state in which no write succeeds until the store is reopened (rule O9).
    fn stop_writes(&mut self, reason: &str) {
        if self.fail_stop.is_none() {
            self.fail_stop = Some(reason.to_owned());
        }
        for (_, barrier) in std::mem::take(&mut self.journal_waiters) {
            self.release(barrier, Err(RequestError::FailStop));
        }
        for write in std::mem::take(&mut self.waiting) {
            self.finish(write.finish, Err(RequestError::FailStop));
        }
        self.fail_unwritten();
        self.fail_undurable();
    }

    /// True when what is staged for some pool or home cannot go there until the store is reopened (rule O9).
    fn has_failed_storage(&self) -> bool {
        self.syncs.values().any(Syncs::has_failed)
    }

    fn step_shutdown(&mut self) {
        match self.shutdown {
            Shutdown::No | Shutdown::Done => {}
            _ if self.fail_stop.is_some() => {
                let nothing_waits = self.active.is_none() && self.commands.is_empty();
                let opened = !self.opened.is_empty() || !self.opened_long.is_empty();
                let quiet = self.pending.is_empty() && !opened && !self.sync_wanted;
                if quiet && nothing_waits {
                    self.shutdown = Shutdown::Done;
                }
            }
            Shutdown::Draining => {
                // What cannot go home stays in the journal.
                let stuck = self.destager.is_stuck();
                let failed = self.has_failed_storage();
                let drained = self.stage.oldest().is_none() || failed || stuck;
                if stuck || failed {
                    // No room will ever be made for them.
                    let error = if stuck { RequestError::NoSpace } else { RequestError::Io };
                    for write in std::mem::take(&mut self.waiting) {
                        self.finish(write.finish, Err(error));
                    }
                }
                let idle = self.waiting.is_empty()
                    && self.active.is_none()
                    && drained
                    && self.journaling.is_quiet()
                    && self.destager.is_idle()
                    && self.copier.is_idle()
                    && self.pending.is_empty()
                    && self.checkpointer.is_idle();
                if idle {
                    self.begin_closing();
                    self.shutdown = Shutdown::Closing;
                }
            }
            Shutdown::Closing => {
                if self.checkpointer.is_idle()
                    && self.pending.is_empty()
                    && self.journaling.is_quiet()
                {
                    self.shutdown = Shutdown::Done;
                }
            }
        }
    }
}

//! What the workers of a store share: the machine, and what it has said for each of them.
//!
//! A worker gives the machine what happened on its connections and in its ring, and takes what the machine wants done
//! (`Shared::exchange`). What it takes is its own to perform; replies to requests of other workers are put down for them.
//!
//! Invariants
//! - S1 The lock is held for the machine's own work and never while something is performed, sent or waited for.
//! - S2 Who takes operations performs them, gives their completions, and exchanges again: nothing that the machine
//!   wants done is left to somebody who sleeps.
//! - S3 What is for another worker is put down before that worker is woken, and it exchanges whenever it was woken.
//! - S4 The machine's time never goes back, though workers read the clock before they have the lock.
//! - S5 Everybody is woken when a shutdown is complete.
//! - S6 A worker sleeps no longer than until the deadline that the machine had at the end of its exchange: so whoever's
//!   exchange brings a deadline nearer keeps it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use flashtrack_engine::admin::{Answer, Command, CommandId, Report};
use flashtrack_engine::io::{Completion, Op};
use flashtrack_engine::request::{Reply, Request};
use flashtrack_engine::units::{Moment, VolumeId};

use super::machine::Machine;
use crate::session::{ExportInfo, Exports};

/// Names of requests and commands carry their worker's number above so many bits of its own.
const OWN_BITS: u32 = 48;

/// One of the workers of a store, counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct WorkerId(usize);

impl WorkerId {
    /// A name for the worker's `number`th request or command.
    pub(super) fn name(self, number: u64) -> u64 {
        (self.0 as u64) << OWN_BITS | number
    }

    /// The number in a name, when it is one of this worker's.
    pub(super) fn number(self, name: u64) -> Option<u64> {
        (Self::of(name) == self).then_some(name & ((1 << OWN_BITS) - 1))
    }

    fn of(name: u64) -> Self {
        Self(usize::try_from(name >> OWN_BITS).unwrap_or(usize::MAX))
    }
}

/// What a worker has for the machine.
#[derive(Debug, Default)]
pub(super) struct Given {
    pub(super) completions: Vec<Completion>,
    pub(super) requests: Vec<Request>,
    pub(super) commands: Vec<(CommandId, Command)>,
}

/// What the machine has for a worker.
#[derive(Debug, Default)]
pub(super) struct Taken {
    /// To be performed (S2).
    pub(super) ops: Vec<Op>,
    pub(super) replies: Vec<Reply>,
    pub(super) answers: Vec<Answer>,
    /// When to exchange again at the latest (S6).
    pub(super) deadline_us: Option<u64>,
    pub(super) is_shut_down: bool,
    /// Others that have to be woken; kept for its memory.
    wake: Vec<Arc<File>>,
}

/// What was put down for one worker.
#[derive(Debug)]
struct Tray {
    replies: Vec<Reply>,
    answers: Vec<Answer>,
    /// The eventfd of its ring.
    waker: Arc<File>,
}

impl Tray {
    /// Something is about to be put down: the worker is to be woken, unless it was for what is here already.
    fn announce(&self, wake: &mut Vec<Arc<File>>) {
        if self.replies.is_empty() && self.answers.is_empty() {
            wake.push(Arc::clone(&self.waker));
        }
    }
}

/// What the lock guards.
#[derive(Debug)]
struct Core<M> {
    machine: M,
    trays: Vec<Tray>,
    /// Connections of each volume, of all workers.
    connections: BTreeMap<VolumeId, u32>,
    /// The time that the machine was told last.
    now_us: u64,
    is_shut_down: bool,
}

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Shared<M> {
    core: Mutex<Core<M>>,
    /// Workers that look for events instead of sleeping, and the most that may.
    looking: AtomicUsize,
    looking_max: usize,
}

impl<M: Machine> Shared<M> {
    /// For a machine that has no workers yet, on a computer with so many processors.
    pub(super) fn new(machine: M, processors: usize) -> Self {
        let core = Core {
            machine,
            trays: Vec::new(),
            connections: BTreeMap::new(),
            now_us: 0,
            is_shut_down: false,
        };
        Self {
            core: Mutex::new(core),
            looking: AtomicUsize::new(0),
            // The others are for whoever is waited for.
            looking_max: processors / 2,
        }
    }

    /// A further worker, whose ring is woken through `waker`.
    pub(super) fn join(&self, waker: File) -> WorkerId {
        let mut core = self.lock();
        core.trays.push(Tray { replies: Vec::new(), answers: Vec::new(), waker: Arc::new(waker) });
        WorkerId(core.trays.len() - 1)
    }

    /// The machine, for as long as the guard is held.
    fn lock(&self) -> MutexGuard<'_, Core<M>> {
        self.core.lock().expect("no worker has panicked with the machine in its hands")
    }

    /// Gives the machine what the worker has for it, and takes what follows. Empties `given`, appends to the lists of
    /// `taken`.
    pub(super) fn exchange(
        &self,
        worker: WorkerId,
        now: Moment,
        given: &mut Given,
        taken: &mut Taken,
    ) {
        self.lock().exchange(worker, now, given, taken);
        for waker in taken.wake.drain(..) {
            // The counter of an eventfd is never full: each turn of a worker empties it.
            let _ = (&*waker).write(&1_u64.to_ne_bytes());
        }
    }

    /// A connection serves the volume now; nothing when the volume is no more.
    pub(super) fn connect(&self, volume: VolumeId) -> Option<Connected> {
        let mut core = self.lock();
        let name = core.machine.volume_name(volume)?;
        let count = core.connections.entry(volume).or_default();
        *count += 1;
        let count = *count;
        core.machine.set_connections(volume, count);
        Some(Connected { name, served: core.served() })
    }

    /// A connection that has served the volume is gone.
    pub(super) fn disconnect(&self, volume: VolumeId) {
        let mut core = self.lock();
        let count = core.connections.entry(volume).or_default();
        *count -= 1;
        let count = *count;
        core.machine.set_connections(volume, count);
    }

    /// Connections that serve volumes, of all workers.
    pub(super) fn served(&self) -> usize {
        self.lock().served()
    }

    /// Begins the end, unless it was begun.
    pub(super) fn begin_shutdown(&self) {
        self.lock().machine.begin_shutdown();
    }

    /// Takes a place among those who look for events; gives it back when dropped. None is left when the processors that
    /// the others need would be taken.
    pub(super) fn begin_look(&self) -> Option<Looking<'_>> {
        let looking = Looking(&self.looking);
        (self.looking.fetch_add(1, Ordering::Relaxed) < self.looking_max).then_some(looking)
    }
}

/// What came of a connection's choice of a volume.
#[derive(Debug)]
pub(super) struct Connected {
    /// Of the volume.
    pub(super) name: String,
    /// Connections that serve volumes, of all workers, this one included.
    pub(super) served: usize,
}

/// A place among those who look.
#[derive(Debug)]
pub(super) struct Looking<'a>(&'a AtomicUsize);

impl Drop for Looking<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl<M: Machine> Core<M> {
    fn served(&self) -> usize {
        self.connections.values().map(|count| *count as usize).sum()
    }

    fn exchange(&mut self, worker: WorkerId, now: Moment, given: &mut Given, taken: &mut Taken) {
        if now.monotonic_us >= self.now_us {
            self.now_us = now.monotonic_us;
            self.machine.tick(now);
        }
        for completion in given.completions.drain(..) {
            self.machine.complete(completion);
        }
        for request in given.requests.drain(..) {
            self.machine.submit(request);
        }
        for (id, command) in given.commands.drain(..) {
            self.machine.command(id, command);
        }
        self.machine.take_ops(&mut taken.ops);
        self.machine.take_replies(&mut taken.replies);
        self.machine.take_answers(&mut taken.answers);
        taken.answers.iter_mut().for_each(|answer| self.complete_answer(answer));
        self.put_down(worker, taken);
        let tray = &mut self.trays[worker.0];
        taken.replies.append(&mut tray.replies);
        taken.answers.append(&mut tray.answers);
        taken.deadline_us = self.machine.next_deadline_us();
        if !self.is_shut_down && self.machine.is_shut_down() {
            self.is_shut_down = true;
            taken.wake.extend(self.trays.iter().map(|tray| Arc::clone(&tray.waker)));
        }
        taken.is_shut_down = self.is_shut_down;
    }

    /// Puts what is for others on their trays (S3).
    fn put_down(&mut self, worker: WorkerId, taken: &mut Taken) {
        let Taken { replies, answers, wake, .. } = taken;
        let is_other = |name: u64| WorkerId::of(name) != worker;
        for reply in replies.extract_if(.., |reply| is_other(reply.id.0)) {
            let tray = &mut self.trays[WorkerId::of(reply.id.0).0];
            tray.announce(wake);
            tray.replies.push(reply);
        }
        for answer in answers.extract_if(.., |answer| is_other(answer.id.0)) {
            let tray = &mut self.trays[WorkerId::of(answer.id.0).0];
            tray.announce(wake);
            tray.answers.push(answer);
        }
    }

    /// Completes what the machine cannot know.
    fn complete_answer(&self, answer: &mut Answer) {
        if let Ok(Report::Volumes(volumes)) = &mut answer.result {
            for volume in volumes {
                let count = self.connections.get(&VolumeId(volume.id));
                volume.connections = count.copied().unwrap_or(0);
            }
        }
    }
}

/// Volumes of the machine as exports.
impl<M: Machine> Exports for Shared<M> {
    fn find(&self, name: &str) -> Option<ExportInfo> {
        self.lock().machine.export(name)
    }

    fn names(&self) -> Vec<String> {
        self.lock().machine.export_names()
    }
}

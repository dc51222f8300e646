//! An engine on a simulated disk, driven as the worker drives it: requests in, operations out, everything that has
//! completed back in, once per turn. What it costs is counted around the engine's calls only.

use std::collections::VecDeque;

use flashtrack_engine::Engine;
use flashtrack_engine::admin::{Answer, Command, CommandId, CopyMode, CopySelector};
use flashtrack_engine::io::{Buffer, Op};
use flashtrack_engine::request::{Durability, Reply, Request, RequestAction, RequestId};
use flashtrack_engine::sim::disk::SimDisk;
use flashtrack_engine::sim::faults::{ActionKind, Counts, ObjectKind};
use flashtrack_engine::units::{ByteRange, Moment, VolumeId};

use crate::baseline::{ALLOCATIONS, Figures, REQUESTS};
use crate::commands;
use crate::empty::empty_store;

pub(crate) const BLOCK: u64 = 4 << 10;
/// A turn of the loop takes so long.
const TURN_US: u64 = 10;
/// Longer than anything waits in order to be done with something else.
const REST_US: u64 = 100_000;
/// More turns than anything here needs.
const TURNS_MAX: u32 = 1_000_000;

pub(crate) struct Driver {
    engine: Engine,
    disk: SimDisk,
    now: Moment,
    next_id: u64,
    allocations: u64,
    ops: Vec<Op>,
    replies: Vec<Reply>,
    answers: Vec<Answer>,
}

/// What had been counted at some moment.
pub(crate) struct Mark {
    counts: Counts,
    journal_bytes: u64,
    allocations: u64,
}

impl Driver {
    pub(crate) fn new() -> Self {
        let (engine, disk, now) = empty_store();
        let (ops, replies, answers) = (Vec::new(), Vec::new(), Vec::new());
        Self { engine, disk, now, next_id: 0, allocations: 0, ops, replies, answers }
    }

    /// Makes a volume, in a pool if one is named.
    pub(crate) fn volume(&mut self, name: &str, bytes: u64, thin: Option<&str>) -> VolumeId {
        self.command(commands::create(name, bytes, thin));
        self.engine.volume(name).expect("just made").id
    }

    pub(crate) fn volume_named(&self, name: &str) -> VolumeId {
        self.engine.volume(name).expect("it was made").id
    }

    /// Copies whole volumes.
    pub(crate) fn establish(&mut self, source: &str, target: &str, mode: CopyMode) {
        self.command(commands::establish(source, target, mode));
    }

    pub(crate) fn withdraw(&mut self, target: &str) {
        self.command(Command::CopyWithdraw(CopySelector::Target(target.to_owned()).into()));
    }

    pub(crate) fn drain(&mut self) {
        self.command(Command::StoreDrain {});
    }

    /// Carries a command out.
    pub(crate) fn command(&mut self, command: Command) {
        self.next_id += 1;
        let id = CommandId(self.next_id);
        self.counted(|engine| engine.command(id, command));
        for _ in 0..TURNS_MAX {
            self.turn();
            if let Some(answer) = self.answers.pop() {
                answer.result.expect("nothing here is refused");
                return;
            }
        }
        panic!("a command is not answered");
    }

    /// Lets so much time pass that nothing is left to be done.
    pub(crate) fn rest(&mut self) {
        for _ in 0..REST_US / TURN_US {
            self.turn();
        }
    }

    /// Lets time pass until a volume has no copies.
    pub(crate) fn until_simplex(&mut self, volume: VolumeId) {
        for _ in 0..TURNS_MAX {
            if self.engine.is_simplex(volume) {
                return;
            }
            self.turn();
        }
        panic!("a copy does not end");
    }

    /// Carries requests out, so many at a time.
    pub(crate) fn requests(
        &mut self,
        volume: VolumeId,
        depth: usize,
        actions: impl IntoIterator<Item = RequestAction>,
    ) {
        let mut actions: VecDeque<RequestAction> = actions.into_iter().collect();
        let mut under_way = 0;
        for _ in 0..TURNS_MAX {
            while under_way < depth
                && let Some(action) = actions.pop_front()
            {
                self.next_id += 1;
                let request = Request { id: RequestId(self.next_id), volume, action };
                self.counted(|engine| engine.submit(request));
                under_way += 1;
            }
            if under_way == 0 {
                return;
            }
            self.turn();
            for reply in self.replies.drain(..) {
                reply.result.expect("nothing here fails");
                under_way -= 1;
            }
        }
        panic!("a request is not answered");
    }

    /// Where the counters stand.
    pub(crate) fn mark(&self) -> Mark {
        Mark {
            counts: self.disk.counts().clone(),
            journal_bytes: self.engine.stats().journal_bytes,
            allocations: self.allocations,
        }
    }

    /// What was counted since, for so many requests.
    pub(crate) fn since(&self, mark: &Mark, requests: u64) -> Figures {
        assert_eq!(self.disk.violations(), &[] as &[String], "the contract of `io`");
        let mut figures = Figures::from([
            (REQUESTS.to_owned(), requests),
            (ALLOCATIONS.to_owned(), self.allocations - mark.allocations),
        ]);
        let appended = self.engine.stats().journal_bytes - mark.journal_bytes;
        figures.insert("journal bytes appended".to_owned(), appended);
        for (object, action, count) in self.disk.counts().iter() {
            let before = mark.counts.of(object, action);
            let (object, (operations, bytes)) = (object_name(object), action_names(action));
            let done = count.operations - before.operations;
            figures.insert(format!("{object} {operations}"), done);
            if let Some(bytes) = bytes {
                figures.insert(format!("{object} {bytes}"), count.bytes - before.bytes);
            }
        }
        figures.retain(|_, count| *count > 0);
        figures
    }

    /// One turn of the loop: what is to be done is done, and everything that has completed is told.
    fn turn(&mut self) {
        self.now.monotonic_us += TURN_US;
        let now = self.now;
        let mut ops = std::mem::take(&mut self.ops);
        let mut replies = std::mem::take(&mut self.replies);
        let mut answers = std::mem::take(&mut self.answers);
        self.counted(|engine| {
            engine.tick(now);
            engine.take_ops(&mut ops);
            engine.take_replies(&mut replies);
            engine.take_answers(&mut answers);
        });
        for op in ops.drain(..) {
            self.disk.submit(op);
        }
        (self.ops, self.replies, self.answers) = (ops, replies, answers);
        while self.disk.in_flight() > 0 {
            if let Some(completion) = self.disk.advance() {
                self.counted(|engine| engine.complete(completion));
            }
        }
    }

    /// A call of the engine whose allocations count.
    fn counted(&mut self, call: impl FnOnce(&mut Engine)) {
        let engine = &mut self.engine;
        self.allocations += allocation_counter::measure(|| call(engine)).count_total;
    }
}

/// A write of one block.
pub(crate) fn write(block: u64) -> RequestAction {
    write_bytes(block * BLOCK, BLOCK)
}

/// A write of so many bytes.
pub(crate) fn write_bytes(offset: u64, bytes: u64) -> RequestAction {
    let bytes = usize::try_from(bytes).expect("a request fits memory");
    let data = Buffer::from_vec(vec![1; bytes]);
    RequestAction::Write { offset, data, durability: Durability::Volatile }
}

/// A read of one block.
pub(crate) fn read(block: u64) -> RequestAction {
    let start = block * BLOCK;
    RequestAction::Read { range: ByteRange { start, end: start + BLOCK } }
}

fn object_name(object: ObjectKind) -> &'static str {
    match object {
        ObjectKind::Header => "header",
        ObjectKind::Checkpoint => "checkpoint",
        ObjectKind::Segment => "journal",
        ObjectKind::Home => "home",
        ObjectKind::Pool => "pool",
    }
}

/// What operations are called, and their bytes where they move any.
fn action_names(action: ActionKind) -> (&'static str, Option<&'static str>) {
    match action {
        ActionKind::Read => ("reads", Some("bytes read")),
        ActionKind::Write => ("writes", Some("bytes written")),
        ActionKind::Copy => ("copies", Some("bytes copied")),
        ActionKind::Sync => ("syncs", None),
        ActionKind::Zero => ("zeroings", Some("bytes zeroed")),
        ActionKind::Allocate => ("allocations of space", None),
        ActionKind::Map => ("maps", None),
        ActionKind::Create => ("creations", None),
        ActionKind::Remove => ("removals", None),
    }
}

//! One scripted workload, the power cut at every operation of it, several fates of the unsynced sectors
//! each: after recovery every volume holds what was promised (rules O1 to O8, invariants I2 and I5).
//!
//! Every block is written whole with one byte value, so a sector tells which write it came from.
//! `each_rule_of_the_script_is_needed` breaks rules one at a time and demands that some cut notices.

use std::collections::BTreeMap;

use flashtrack_engine::admin::{
    Answer, Command, CommandId, CopyMode, CopySelector, EstablishSpec, PairSpec, VolumeSpec,
};
use flashtrack_engine::geometry::VolumeType;
use flashtrack_engine::io::{Buffer, Op};
use flashtrack_engine::request::{Durability, Reply, ReplyData, Request, RequestAction, RequestId};
use flashtrack_engine::sim::disk::{Pace, SimDisk};
use flashtrack_engine::sim::mutation::Mutation;
use flashtrack_engine::sim::prng::Prng;
use flashtrack_engine::units::{ByteRange, Moment};
use flashtrack_engine::{Engine, OpenOptions};

const BLOCK: usize = 4096;
const SECTOR: usize = 512;
/// Blocks of each volume: two tracks.
const BLOCKS: usize = 32;
/// Fates of the unsynced sectors that are tried at each operation.
const FATES: u64 = 3;

/// What a sector of a block may hold.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Admissible(Vec<u8>);

/// What is promised of one volume.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Promise {
    /// Each block on its own.
    Blocks(Vec<Admissible>),
    /// All blocks as the first says, or all as the second: a command is on its way.
    Either(Vec<Admissible>, Vec<Admissible>),
    /// Of a target while its relationship exists: blocks as this says. When it is withdrawn: nothing.
    WhileRelated(Vec<Admissible>),
}

type Promises = BTreeMap<&'static str, Promise>;

/// One step of the script.
#[derive(Clone, Copy, Debug)]
enum Step {
    Create(&'static str, Option<&'static str>),
    Write(&'static str, usize, usize, u8),
    Flush(&'static str),
    Establish(&'static str, &'static str, CopyMode),
    Withdraw(&'static str),
    Drain,
    Wait(&'static str),
}

/// First writes under two thin copies and a full one, target writes, destaging, withdrawal, reuse of slots.
const SCRIPT: &[Step] = &[
    Step::Create("source", None),
    Step::Create("thin1", Some("pool")),
    Step::Create("thin2", Some("pool")),
    Step::Create("full", None),
    Step::Create("nocopy", None),
    Step::Write("source", 0, BLOCKS, 1),
    Step::Write("full", 0, 8, 90),
    Step::Flush("full"),
    Step::Flush("source"),
    Step::Establish("source", "thin1", CopyMode::Nocopy),
    Step::Write("source", 0, 6, 2),
    Step::Write("source", 4, 4, 3),
    Step::Flush("source"),
    Step::Establish("source", "thin2", CopyMode::Nocopy),
    Step::Establish("source", "nocopy", CopyMode::Nocopy),
    Step::Write("source", 2, 12, 4),
    Step::Write("thin1", 3, 3, 50),
    Step::Flush("thin1"),
    Step::Drain,
    Step::Write("source", 0, 4, 5),
    Step::Write("thin1", 4, 1, 51),
    Step::Flush("source"),
    Step::Write("nocopy", 6, 2, 60),
    Step::Establish("source", "full", CopyMode::Copy),
    Step::Write("source", 10, 12, 6),
    Step::Flush("source"),
    Step::Drain,
    Step::Wait("full"),
    Step::Withdraw("thin1"),
    Step::Write("source", 1, 20, 7),
    Step::Flush("source"),
    Step::Drain,
    Step::Write("source", 30, 2, 8),
    Step::Flush("thin2"),
    Step::Withdraw("thin2"),
    Step::Withdraw("nocopy"),
    Step::Write("source", 30, 2, 9),
    Step::Flush("source"),
    Step::Drain,
];

struct Script {
    engine: Engine,
    disk: SimDisk,
    promises: Promises,
    ids: BTreeMap<&'static str, flashtrack_engine::units::VolumeId>,
    options: OpenOptions,
    now: Moment,
    next: u64,
    cuts: u64,
    replies: Vec<Reply>,
    answers: Vec<Answer>,
}

fn options(mutation: Option<Mutation>) -> OpenOptions {
    OpenOptions {
        journal_bytes: 1 << 20,
        segment_bytes: 64 << 10,
        entropy: [9; 32],
        mutation,
        ..OpenOptions::default()
    }
}

impl Script {
    fn new(mutation: Option<Mutation>) -> Self {
        let options = options(mutation);
        let mut disk = SimDisk::new(Prng::new(1), Pace::InOrder);
        let now = Moment { monotonic_us: 1, unix_seconds: 1 };
        let engine = Engine::open(&mut disk, &options, now).expect("an empty store");
        Self {
            engine,
            disk,
            promises: Promises::new(),
            ids: BTreeMap::new(),
            options,
            now,
            next: 0,
            cuts: 0,
            replies: Vec::new(),
            answers: Vec::new(),
        }
    }

    /// Plays the whole script; the first broken promise ends it.
    fn play(mut self) -> Result<u64, String> {
        self.ask(Command::PoolCreate { name: "pool".to_owned(), capacity_bytes: 1 << 20 })?;
        for (number, step) in SCRIPT.iter().enumerate() {
            self.step(*step).map_err(|broken| format!("step {number}, {step:?}: {broken}"))?;
        }
        Ok(self.cuts)
    }

    fn step(&mut self, step: Step) -> Result<(), String> {
        match step {
            Step::Create(name, thin) => {
                self.ask(Command::VolumeCreate(VolumeSpec {
                    name: name.to_owned(),
                    size_bytes: Some((BLOCKS * BLOCK) as u64),
                    cylinders: None,
                    volume_type: VolumeType::Fb,
                    device: None,
                    thin: thin.map(str::to_owned),
                }))?;
                self.ids.insert(name, self.engine.volume(name).expect("just created").id);
                self.promises.insert(name, Promise::Blocks(vec![Admissible(vec![0]); BLOCKS]));
                Ok(())
            }
            Step::Write(name, first, count, value) => self.write(name, first, count, value),
            Step::Flush(name) => {
                self.request(name, RequestAction::Flush)?;
                let settle = |promise: &mut Promise| {
                    if let Promise::Blocks(blocks) = promise {
                        for Admissible(values) in blocks {
                            values.drain(..values.len() - 1);
                        }
                    }
                };
                self.promises.get_mut(name).map(settle).ok_or_else(|| "no such volume".to_owned())
            }
            Step::Establish(source, target, mode) => self.establish(source, target, mode),
            Step::Withdraw(target) => {
                if let Some(Promise::Blocks(image)) = self.promises.get(target).cloned() {
                    self.promises.insert(target, Promise::WhileRelated(image));
                }
                self.ask(Command::CopyWithdraw(CopySelector::Target(target.to_owned()).into()))
            }
            Step::Drain => self.ask(Command::StoreDrain {}),
            Step::Wait(target) => self.until(|script| {
                let Some(volume) = script.engine.volume(target) else { return false };
                script.engine.is_simplex(volume.id)
            }),
        }
    }

    fn write(
        &mut self,
        name: &'static str,
        first: usize,
        count: usize,
        value: u8,
    ) -> Result<(), String> {
        if let Some(Promise::Blocks(blocks)) = self.promises.get_mut(name) {
            for Admissible(values) in &mut blocks[first..first + count] {
                values.push(value);
            }
        }
        let data = Buffer::from_vec(vec![value; count * BLOCK]);
        let offset = (first * BLOCK) as u64;
        self.request(name, RequestAction::Write { offset, data, durability: Durability::Volatile })
    }

    fn establish(
        &mut self,
        source: &'static str,
        target: &'static str,
        mode: CopyMode,
    ) -> Result<(), String> {
        // The script flushes the source before: its image is exact from the start.
        let Some(Promise::Blocks(image)) = self.promises.get(source).cloned() else {
            return Err("the source has no exact content".to_owned());
        };
        if let Some(Promise::Blocks(old)) = self.promises.get(target).cloned() {
            self.promises.insert(target, Promise::Either(old, image.clone()));
        }
        self.ask(Command::CopyEstablish(EstablishSpec {
            pairs: vec![PairSpec {
                source: source.to_owned(),
                target: target.to_owned(),
                extents: Vec::new(),
            }],
            mode,
            space_efficient: true,
            ..EstablishSpec::default()
        }))?;
        self.promises.insert(target, Promise::Blocks(image));
        Ok(())
    }

    fn request(&mut self, name: &str, action: RequestAction) -> Result<(), String> {
        self.next += 1;
        let id = RequestId(self.next);
        self.engine.submit(Request { id, volume: self.ids[name], action });
        self.until(|script| script.replies.iter().any(|reply| reply.id == id))?;
        let reply = self.replies.pop().ok_or("no reply")?;
        reply.result.map(drop).map_err(|error| error.to_string())
    }

    fn ask(&mut self, command: Command) -> Result<(), String> {
        self.next += 1;
        let id = CommandId(self.next);
        self.engine.command(id, command);
        self.until(|script| script.answers.iter().any(|answer| answer.id == id))?;
        let answer = self.answers.pop().ok_or("no answer")?;
        answer.result.map(drop).map_err(|refusal| refusal.to_string())
    }

    /// Lets things happen until `done`; the power is cut, on a copy of the disk, after each of them.
    fn until(&mut self, done: impl Fn(&Self) -> bool) -> Result<(), String> {
        for _ in 0..100_000 {
            self.now.monotonic_us += 200;
            self.engine.tick(self.now);
            let mut ops: Vec<Op> = Vec::new();
            self.engine.take_ops(&mut ops);
            self.engine.take_replies(&mut self.replies);
            self.engine.take_answers(&mut self.answers);
            for op in ops {
                self.disk.submit(op);
                self.cut()?;
            }
            if done(self) {
                return Ok(());
            }
            if let Some(completion) = self.disk.advance() {
                self.cut()?;
                self.engine.complete(completion);
            }
        }
        Err("nothing moves any more".to_owned())
    }

    /// What if the power went now?
    fn cut(&mut self) -> Result<(), String> {
        self.cuts += 1;
        for fate in 0..FATES {
            let mut disk = self.disk.clone();
            disk.reseed(Prng::new(self.cuts * FATES + fate));
            disk.cut_power();
            let mut after = Recovered::open(disk, &self.options)?;
            let before = after.read_all(&self.ids)?;
            self.check(&after, &before)
                .map_err(|broken| format!("cut {}.{fate}: {broken}", self.cuts))?;
            after.ask(Command::StoreDrain {})?;
            if after.read_all(&self.ids)? != before {
                return Err(format!("cut {}.{fate}: destaging changed what is read", self.cuts));
            }
        }
        Ok(())
    }

    fn check(
        &self,
        after: &Recovered,
        found: &BTreeMap<&'static str, Vec<u8>>,
    ) -> Result<(), String> {
        for (name, content) in found {
            let kept = match &self.promises[name] {
                Promise::WhileRelated(_) if after.engine.is_simplex(self.ids[name]) => Ok(()),
                Promise::WhileRelated(blocks) | Promise::Blocks(blocks) => admits(blocks, content),
                Promise::Either(old, new) => admits(old, content).or_else(|_| admits(new, content)),
            };
            kept.map_err(|broken| format!("volume {name}, {broken}"))?;
        }
        Ok(())
    }
}

fn admits(blocks: &[Admissible], content: &[u8]) -> Result<(), String> {
    for (number, sector) in content.chunks(SECTOR).enumerate() {
        let Admissible(values) = &blocks[number * SECTOR / BLOCK];
        let value = sector[0];
        if sector.iter().any(|&byte| byte != value) || !values.contains(&value) {
            return Err(format!("sector {number} holds {value} where {values:?} may be"));
        }
    }
    Ok(())
}

/// A store that was opened after a power cut.
struct Recovered {
    engine: Engine,
    disk: SimDisk,
    now: Moment,
    next: u64,
}

impl Recovered {
    fn open(mut disk: SimDisk, options: &OpenOptions) -> Result<Self, String> {
        let now = Moment { monotonic_us: 1, unix_seconds: 1 };
        // A cut during creation may leave nothing, or what creation starts over from.
        let engine = Engine::open(&mut disk, options, now).map_err(|error| error.to_string())?;
        Ok(Self { engine, disk, now, next: 0 })
    }

    fn read_all(
        &mut self,
        ids: &BTreeMap<&'static str, flashtrack_engine::units::VolumeId>,
    ) -> Result<BTreeMap<&'static str, Vec<u8>>, String> {
        let mut all = BTreeMap::new();
        for (&name, &volume) in ids {
            self.next += 1;
            let range = ByteRange { start: 0, end: (BLOCKS * BLOCK) as u64 };
            let action = RequestAction::Read { range };
            self.engine.submit(Request { id: RequestId(self.next), volume, action });
            let mut replies = Vec::new();
            self.turn(|engine| {
                engine.take_replies(&mut replies);
                !replies.is_empty()
            })?;
            let reply = replies.pop().ok_or("no reply")?;
            match reply.result.map_err(|error| format!("reading {name}: {error}"))? {
                ReplyData::Data(data) => all.insert(name, data.into_vec()),
                other => return Err(format!("a read of {name} gave {other:?}")),
            };
        }
        Ok(all)
    }

    fn ask(&mut self, command: Command) -> Result<(), String> {
        self.engine.command(CommandId(1), command);
        let mut answers = Vec::new();
        self.turn(|engine| {
            engine.take_answers(&mut answers);
            !answers.is_empty()
        })?;
        let answer = answers.pop().ok_or("no answer")?;
        answer.result.map(drop).map_err(|refusal| refusal.to_string())
    }

    fn turn(&mut self, mut done: impl FnMut(&mut Engine) -> bool) -> Result<(), String> {
        for _ in 0..100_000 {
            self.now.monotonic_us += 200;
            self.engine.tick(self.now);
            let mut ops = Vec::new();
            self.engine.take_ops(&mut ops);
            for op in ops {
                self.disk.submit(op);
            }
            if done(&mut self.engine) {
                return Ok(());
            }
            if let Some(completion) = self.disk.advance() {
                self.engine.complete(completion);
            }
        }
        Err("nothing moves after recovery".to_owned())
    }
}

#[test]
fn a_power_cut_at_any_operation_keeps_every_promise() {
    match Script::new(None).play() {
        Ok(cuts) => println!("{cuts} operations, each cut {FATES} times"),
        Err(broken) => panic!("{broken}"),
    }
}

/// Rules that the script exercises; the others need races or faults, which the seeds of `simulation.rs` bring.
#[test]
fn each_rule_of_the_script_is_needed() {
    for mutation in [
        Mutation::HomeBeforeCopyRecorded,
        Mutation::SkipPoolSyncBeforePreserved,
        Mutation::SkipTargetSyncBeforeCopied,
        Mutation::ReleaseBeforeHomeSync,
        Mutation::DirectWritePastLiveFrame,
        Mutation::FlushSkipsHomeSync,
        Mutation::FlushSkipsJournalSync,
        Mutation::AnswerEstablishBeforeDurable,
        Mutation::WithdrawFreesBeforeDurable,
    ] {
        let outcome = std::panic::catch_unwind(|| Script::new(Some(mutation)).play())
            .unwrap_or_else(|_| {
                Err("the engine noticed that its own invariants do not hold".to_owned())
            });
        assert!(outcome.is_err(), "{mutation:?} breaks no promise at any cut");
    }
}

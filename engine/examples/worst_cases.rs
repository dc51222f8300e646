//! Times of what grows with a store's content: opening one with a full journal, and the longest pause that a checkpoint
//! of many preserved blocks makes.
//!
//! `cargo run --release -p flashtrack-engine --example worst_cases -- open [DIRECTORY]`, or `checkpoint [BLOCKS]`

use std::collections::BTreeMap;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use flashtrack_engine::admin::{
    Answer, Command, CommandId, CopyMode, EstablishSpec, PairSpec, VolumeSpec,
};
use flashtrack_engine::geometry::VolumeType;
use flashtrack_engine::io::local::{Access, LocalStorage};
use flashtrack_engine::io::{
    Action, Buffer, Completion, CreateSpace, IoFailure, Object, Op, Outcome, Storage,
};
use flashtrack_engine::request::{Durability, Reply, Request, RequestAction, RequestId};
use flashtrack_engine::units::{ByteRange, Moment, VolumeId};
use flashtrack_engine::{Engine, OpenOptions, examine};

const BLOCK: usize = 4096;
/// Writes handed over at a time.
const BATCH: u64 = 256;

fn main() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args().skip(1);
    let what = words.next().unwrap_or_default();
    let how = words.next();
    match what.as_str() {
        "open" => measure_open(&how.map_or_else(std::env::temp_dir, PathBuf::from)),
        "checkpoint" => measure_checkpoint(how.map_or(Ok(10_000_000), |blocks| blocks.parse())?),
        _ => Err("say open or checkpoint".into()),
    }
}

/// Fills a journal of 1 GiB with staged writes of 4 KiB, leaves the store as a crash would, and opens it again.
fn measure_open(directory: &Path) -> Result<(), Box<dyn Error>> {
    let folder = directory.join(format!("flashtrack-worst-cases-{}", std::process::id()));
    std::fs::create_dir(&folder)?;
    let result = fill_and_open(&folder);
    std::fs::remove_dir_all(&folder)?;
    result
}

fn fill_and_open(folder: &Path) -> Result<(), Box<dyn Error>> {
    let mut driver = Driver::new(LocalStorage::open(folder, Access::ReadWrite)?, &options())?;
    let source = driver.make_copy(2 << 30)?;
    // Nothing reaches the pool: so nothing is destaged, and the journal runs full.
    driver.holds_pools = true;
    let mut written = 0;
    while driver.write_batch(source, written)? {
        written += BATCH;
    }
    drop(driver);
    let mut storage = LocalStorage::open(folder, Access::ReadWrite)?;
    let found = examine(&mut storage)?;
    println!("{} staged versions, {} bytes", found.staged_versions, found.staged_bytes);
    println!("{} frames after the checkpoint", found.inspection.frames.len());
    let begin = Instant::now();
    let engine = Engine::open(&mut storage, &options(), moment(1))?;
    println!("opened in {:.3} s", begin.elapsed().as_secs_f64());
    drop(engine);
    Ok(())
}

/// Lets a source preserve so many blocks, and tells the longest calls while checkpoints are written.
fn measure_checkpoint(preserved: u64) -> Result<(), Box<dyn Error>> {
    // A large journal, so that filling does not write a checkpoint every few moments.
    let options = OpenOptions { journal_bytes: 8 << 30, ..options() };
    let mut driver = Driver::new(Memory::default(), &options)?;
    driver.performs = false;
    let source = driver.make_copy(2 * preserved * BLOCK as u64 + (1 << 30))?;
    let mut written = 0;
    while written < preserved {
        if !driver.write_batch(source, written)? {
            return Err("the journal runs full".into());
        }
        written += BATCH;
    }
    driver.longest = [Duration::ZERO; 2];
    let before = driver.engine.stats().checkpoints;
    while driver.engine.stats().checkpoints < before + 2 {
        if !driver.write_batch(source, written)? {
            return Err("the journal runs full".into());
        }
        written += BATCH;
    }
    println!("{} blocks preserved", driver.engine.stats().preserved_blocks);
    let [busy, idle] = driver.longest.map(|time| time.as_secs_f64() * 1e3);
    println!(
        "longest call of take_ops: {busy:.1} ms with a checkpoint under way, {idle:.1} ms without"
    );
    Ok(())
}

fn options() -> OpenOptions {
    OpenOptions { entropy: [7; 32], ..OpenOptions::default() }
}

fn moment(us: u64) -> Moment {
    Moment { monotonic_us: us, unix_seconds: 1 }
}

/// An engine whose operations are performed at once, one after the other.
struct Driver<S> {
    engine: Engine,
    storage: S,
    /// False: operations succeed without being performed.
    performs: bool,
    /// Operations on pools never end.
    holds_pools: bool,
    now_us: u64,
    next: u64,
    answers: Vec<Answer>,
    replies: Vec<Reply>,
    /// Of `take_ops`, when it began or went on with a checkpoint, and otherwise.
    longest: [Duration; 2],
}

impl<S: Storage> Driver<S> {
    fn new(mut storage: S, options: &OpenOptions) -> Result<Self, Box<dyn Error>> {
        let engine = Engine::open(&mut storage, options, moment(1))?;
        Ok(Self {
            engine,
            storage,
            performs: true,
            holds_pools: false,
            now_us: 1,
            next: 0,
            answers: Vec::new(),
            replies: Vec::new(),
            longest: [Duration::ZERO; 2],
        })
    }

    /// Makes a source of that size with a thin NOCOPY target.
    fn make_copy(&mut self, size_bytes: u64) -> Result<VolumeId, Box<dyn Error>> {
        let pool = "pool".to_owned();
        self.ask(Command::PoolCreate { name: pool.clone(), capacity_bytes: size_bytes })?;
        for (name, thin) in [("source", None), ("target", Some(pool))] {
            self.ask(Command::VolumeCreate(VolumeSpec {
                name: name.to_owned(),
                size_bytes: Some(size_bytes),
                cylinders: None,
                volume_type: VolumeType::Fb,
                device: None,
                thin,
            }))?;
        }
        let pair = PairSpec {
            source: "source".to_owned(),
            target: "target".to_owned(),
            extents: Vec::new(),
        };
        self.ask(Command::CopyEstablish(EstablishSpec {
            pairs: vec![pair],
            mode: CopyMode::Nocopy,
            space_efficient: true,
            ..EstablishSpec::default()
        }))?;
        Ok(self.engine.volume("source").ok_or("no source")?.id)
    }

    fn ask(&mut self, command: Command) -> Result<(), Box<dyn Error>> {
        self.next += 1;
        self.engine.command(CommandId(self.next), command);
        while self.answers.is_empty() {
            self.turn()?;
        }
        let answer = self.answers.pop().ok_or("no answer")?;
        answer.result.map(drop).map_err(|refusal| refusal.to_string().into())
    }

    /// Writes every second block from number `first` on; false when the writes are not answered any more.
    fn write_batch(&mut self, volume: VolumeId, first: u64) -> Result<bool, Box<dyn Error>> {
        for number in first..first + BATCH {
            self.next += 1;
            let data = Buffer::from_vec(vec![number.to_le_bytes()[0]; BLOCK]);
            let offset = number * 2 * BLOCK as u64;
            let action = RequestAction::Write { offset, data, durability: Durability::Volatile };
            self.engine.submit(Request { id: RequestId(self.next), volume, action });
        }
        self.replies.clear();
        let mut idle_turns = 0;
        while (self.replies.len() as u64) < BATCH {
            idle_turns = if self.turn()? { 0 } else { idle_turns + 1 };
            if idle_turns > 1000 {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Lets the engine go on; true when something happened.
    fn turn(&mut self) -> Result<bool, Box<dyn Error>> {
        self.now_us += 100;
        self.engine.tick(moment(self.now_us));
        let mut ops = Vec::new();
        let begin = Instant::now();
        self.engine.take_ops(&mut ops);
        let took = begin.elapsed();
        let of_checkpoint = |op: &Op| matches!(op.object, Object::Checkpoint(_));
        let longest = &mut self.longest[usize::from(!ops.iter().any(of_checkpoint))];
        *longest = took.max(*longest);
        let before = self.replies.len() + self.answers.len();
        self.engine.take_replies(&mut self.replies);
        self.engine.take_answers(&mut self.answers);
        let happened = !ops.is_empty() || self.replies.len() + self.answers.len() > before;
        for op in ops {
            if self.holds_pools && matches!(op.object, Object::Pool(_)) {
                continue;
            }
            let result = self.perform(op.object, op.action);
            self.engine.complete(Completion { id: op.id, result });
        }
        Ok(happened)
    }

    fn perform(&mut self, object: Object, action: Action) -> Result<Outcome, IoFailure> {
        let performs = self.performs;
        let storage = &mut self.storage;
        match action {
            Action::Read { offset, mut buffer } => {
                if performs {
                    storage.read(object, offset, &mut buffer)?;
                }
                return Ok(Outcome::Buffer(buffer));
            }
            Action::Write { offset, data } => {
                if performs {
                    storage.write(object, offset, &data)?;
                }
                return Ok(Outcome::Buffer(data));
            }
            Action::Map { offset, bytes } => {
                let all = ByteRange { start: offset, end: offset + bytes };
                return Ok(Outcome::Data(vec![all]));
            }
            Action::Sync if performs => storage.sync(object)?,
            Action::Create { bytes, space } if performs => storage.create(object, bytes, space)?,
            Action::Remove if performs => storage.remove(object)?,
            _ => {}
        }
        Ok(Outcome::Done)
    }
}

/// Objects in memory: enough to make a store.
#[derive(Default)]
struct Memory(BTreeMap<Object, Vec<u8>>);

impl Storage for Memory {
    fn read(&mut self, object: Object, offset: u64, buffer: &mut [u8]) -> Result<(), IoFailure> {
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        let stored = self.0.get(&object).and_then(|bytes| bytes.get(offset..)).unwrap_or(&[]);
        let bytes = stored.len().min(buffer.len());
        buffer[..bytes].copy_from_slice(&stored[..bytes]);
        buffer[bytes..].fill(0);
        Ok(())
    }

    fn write(&mut self, object: Object, offset: u64, data: &[u8]) -> Result<(), IoFailure> {
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        let stored = self.0.entry(object).or_default();
        if stored.len() < offset + data.len() {
            stored.resize(offset + data.len(), 0);
        }
        stored[offset..offset + data.len()].copy_from_slice(data);
        Ok(())
    }

    fn sync(&mut self, _: Object) -> Result<(), IoFailure> {
        Ok(())
    }

    fn create(&mut self, object: Object, bytes: u64, _: CreateSpace) -> Result<(), IoFailure> {
        self.0.insert(object, vec![0; usize::try_from(bytes).unwrap_or(0)]);
        Ok(())
    }

    fn remove(&mut self, object: Object) -> Result<(), IoFailure> {
        self.0.remove(&object);
        Ok(())
    }

    fn length(&mut self, object: Object) -> Result<Option<u64>, IoFailure> {
        Ok(self.0.get(&object).map(|bytes| bytes.len() as u64))
    }

    fn list(&mut self) -> Result<Vec<Object>, IoFailure> {
        Ok(self.0.keys().copied().collect())
    }
}

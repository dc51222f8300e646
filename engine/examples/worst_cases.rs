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
use flashtrack_engine::geometry::{Geometry, VolumeType};
use flashtrack_engine::io::local::{Access, LocalStorage};
use flashtrack_engine::io::{
    Action, Buffer, Completion, CreateSpace, IoFailure, Object, Op, Outcome, Storage,
};
use flashtrack_engine::journal::{self, CreateParameters};
use flashtrack_engine::pace::Pace;
use flashtrack_engine::request::{Durability, Reply, Request, RequestAction, RequestId};
use flashtrack_engine::state::{NewRelationship, Record, Recording, Scope, State, TargetWrites};
use flashtrack_engine::units::{ByteRange, Moment, PoolId, RelationshipId, Seq, Slot, VolumeId};
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
    let mut driver = Driver::new(LocalStorage::open(folder, Access::ReadWrite)?)?;
    let source = driver.make_copy(2 << 30)?;
    // Nothing reaches the pool: so nothing is destaged, and the journal runs full.
    driver.holds_pools = true;
    let mut written = 0;
    while driver.write_batch(source, written) {
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

/// Opens a store in which so many scattered blocks are preserved, and tells the longest calls while two checkpoints
/// are written under a load of first writes.
fn measure_checkpoint(preserved: u32) -> Result<(), Box<dyn Error>> {
    let state = state_with(preserved)?;
    let mut storage = Memory::default();
    for (&id, volume) in &state.volumes {
        storage.objects.insert(Object::Home(id), (volume.geometry.size_bytes(), Vec::new()));
    }
    for (&id, pool) in &state.pools {
        let bytes = u64::from(pool.slots) * BLOCK as u64;
        storage.objects.insert(Object::Pool(id), (bytes, Vec::new()));
    }
    let mut checkpoint = Vec::new();
    let begin = Instant::now();
    let mut snapshot = state.snapshot();
    println!("snapshot: {:.1} ms", begin.elapsed().as_secs_f64() * 1e3);
    snapshot.encode_some(&mut checkpoint, usize::MAX);
    println!("encoded: {} bytes in {:.3} s", checkpoint.len(), begin.elapsed().as_secs_f64());
    drop(state);
    let mut made = Memory::default();
    let OpenOptions { entropy, segment_bytes, .. } = options();
    let parameters = CreateParameters { entropy, segment_bytes, capacity_segments: 16, checkpoint };
    journal::create(&mut made, &parameters)?;
    storage.objects.append(&mut made.objects);
    let mut driver = Driver::new(storage)?;
    let source = driver.engine.volume("source").ok_or("no source")?.id;
    let mut written = u64::from(preserved);
    while driver.engine.stats().checkpoints < 2 {
        if !driver.write_batch(source, written) {
            return Err("the journal runs full".into());
        }
        written += BATCH;
    }
    let [busy, idle] = driver.longest.map(|time| time.as_secs_f64() * 1e3);
    println!("longest call of take_ops: {busy:.1} ms at a checkpoint, {idle:.1} ms otherwise");
    Ok(())
}

/// A source of which every second block is preserved for a thin target.
fn state_with(preserved: u32) -> Result<State, Box<dyn Error>> {
    let (source, target) = (VolumeId(1), VolumeId(2));
    let pool = PoolId(1);
    let size_bytes = 2 * u64::from(preserved) * BLOCK as u64 + (1 << 30);
    let geometry = Geometry::new(VolumeType::Fb, Some(size_bytes), None)?;
    let slots = u32::try_from(size_bytes / BLOCK as u64)?;
    let mut state = State::default();
    let mut apply = |record| drop(state.apply(Seq(0), &record));
    apply(Record::PoolCreated { id: pool, name: "pool".to_owned(), slots });
    for (id, name, pool) in [(source, "source", None), (target, "target", Some(pool))] {
        let device = u16::try_from(id.0)?;
        apply(Record::VolumeCreated { id, name: name.to_owned(), geometry, device, pool });
    }
    let pair = NewRelationship {
        id: RelationshipId(1),
        source,
        target,
        pace: Pace::default(),
        source_track: 0,
        target_track: 0,
        tracks: geometry.tracks,
        mode: CopyMode::Nocopy,
        scope: Scope::Volume,
        recording: Recording::Off,
        target_writes: TargetWrites::Allowed,
    };
    apply(Record::Established { at: 0, relationships: vec![pair], renewed: Vec::new() });
    let blocks = (0..preserved).map(|block| (2 * block, Slot(block))).collect();
    apply(Record::Preserved { source, pool, t0: Seq(0), blocks });
    Ok(state)
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
    fn new(mut storage: S) -> Result<Self, Box<dyn Error>> {
        let engine = Engine::open(&mut storage, &options(), moment(1))?;
        Ok(Self {
            engine,
            storage,
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
            self.turn();
        }
        let answer = self.answers.pop().ok_or("no answer")?;
        answer.result.map(drop).map_err(|refusal| refusal.to_string().into())
    }

    /// Writes every second block from number `first` on; false when the writes are not answered any more.
    fn write_batch(&mut self, volume: VolumeId, first: u64) -> bool {
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
            idle_turns = if self.turn() { 0 } else { idle_turns + 1 };
            if idle_turns > 1000 {
                return false;
            }
        }
        true
    }

    /// Lets the engine go on; true when something happened.
    fn turn(&mut self) -> bool {
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
        happened
    }

    fn perform(&mut self, object: Object, action: Action) -> Result<Outcome, IoFailure> {
        let storage = &mut self.storage;
        match action {
            Action::Read { offset, mut buffer } => {
                storage.read(object, offset, &mut buffer)?;
                return Ok(Outcome::Buffer(buffer));
            }
            Action::Lend { offset, bytes } => {
                let mut buffer = Buffer::scratch(bytes);
                storage.read(object, offset, &mut buffer)?;
                return Ok(Outcome::Buffer(buffer));
            }
            Action::Write { offset, data } => {
                storage.write(object, offset, &data)?;
                return Ok(Outcome::Buffer(data));
            }
            Action::Map { offset, bytes } => {
                let all = ByteRange { start: offset, end: offset + bytes };
                return Ok(Outcome::Data(vec![all]));
            }
            Action::Sync => storage.sync(object)?,
            Action::Create { bytes, space } => storage.create(object, bytes, space)?,
            Action::Remove => storage.remove(object)?,
            Action::Zero { .. } | Action::Allocate { .. } | Action::Copy { .. } => {}
        }
        Ok(Outcome::Done)
    }
}

/// Objects in memory by their length and first bytes: volumes and pools read as zeroes and forget what is written.
#[derive(Default)]
struct Memory {
    objects: BTreeMap<Object, (u64, Vec<u8>)>,
}

impl Storage for Memory {
    fn read(&mut self, object: Object, offset: u64, buffer: &mut [u8]) -> Result<(), IoFailure> {
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        let stored = self.objects.get(&object).and_then(|(_, bytes)| bytes.get(offset..));
        let stored = stored.unwrap_or(&[]);
        let bytes = stored.len().min(buffer.len());
        buffer[..bytes].copy_from_slice(&stored[..bytes]);
        buffer[bytes..].fill(0);
        Ok(())
    }

    fn write(&mut self, object: Object, offset: u64, data: &[u8]) -> Result<(), IoFailure> {
        if matches!(object, Object::Home(_) | Object::Pool(_)) {
            return Ok(());
        }
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        let (length, stored) = self.objects.entry(object).or_default();
        if stored.len() < offset + data.len() {
            stored.resize(offset + data.len(), 0);
        }
        stored[offset..offset + data.len()].copy_from_slice(data);
        *length = (*length).max(stored.len() as u64);
        Ok(())
    }

    fn sync(&mut self, _: Object) -> Result<(), IoFailure> {
        Ok(())
    }

    fn create(&mut self, object: Object, bytes: u64, _: CreateSpace) -> Result<(), IoFailure> {
        self.objects.insert(object, (bytes, Vec::new()));
        Ok(())
    }

    fn remove(&mut self, object: Object) -> Result<(), IoFailure> {
        self.objects.remove(&object);
        Ok(())
    }

    fn length(&mut self, object: Object) -> Result<Option<u64>, IoFailure> {
        Ok(self.objects.get(&object).map(|(length, _)| *length))
    }

    fn list(&mut self) -> Result<Vec<Object>, IoFailure> {
        Ok(self.objects.keys().copied().collect())
    }
}

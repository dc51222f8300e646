//! A store as a killed server leaves it: made by an engine whose operations are carried out on files.

use std::path::Path;

use flashtrack_engine::admin::{
    Command, CommandId, CopyMode, EstablishSpec, PairSpec, Report, VolumeSpec,
};
use flashtrack_engine::geometry::VolumeType;
use flashtrack_engine::io::local::{Access, LocalStorage};
use flashtrack_engine::io::{
    Action, Buffer, Completion, CreateSpace, IoFailure, Op, Outcome, Storage,
};
use flashtrack_engine::request::{Durability, Request, RequestAction, RequestId};
use flashtrack_engine::units::{ByteRange, Moment};
use flashtrack_engine::{Engine, OpenOptions};

/// Size of every volume.
pub(crate) const SIZE: u64 = 1 << 20;

/// An engine on files, without a ring.
struct Running {
    storage: LocalStorage,
    engine: Engine,
}

impl Running {
    fn create(path: &Path) -> Self {
        let mut storage = LocalStorage::open(path, Access::ReadWrite).expect("a new folder");
        let options = OpenOptions {
            journal_bytes: 16 << 20,
            segment_bytes: 1 << 20,
            entropy: std::array::from_fn(|at| u8::try_from(at).expect("a small number")),
            ..OpenOptions::default()
        };
        let now = Moment { monotonic_us: 0, unix_seconds: 1_700_000_000 };
        let engine = Engine::open(&mut storage, &options, now).expect("a new store");
        Self { storage, engine }
    }

    /// Carries out everything that follows. No time passes: what is staged stays so.
    fn settle(&mut self) {
        loop {
            let mut ops = Vec::new();
            self.engine.take_ops(&mut ops);
            if ops.is_empty() {
                return;
            }
            for op in ops {
                let id = op.id;
                let result = self.perform(op);
                self.engine.complete(Completion { id, result });
            }
        }
    }

    fn perform(&mut self, op: Op) -> Result<Outcome, IoFailure> {
        let object = op.object;
        match op.action {
            Action::Read { offset, buffer } => {
                let mut bytes = buffer.into_vec();
                self.storage.read(object, offset, &mut bytes)?;
                return Ok(Outcome::Buffer(Buffer::from_vec(bytes)));
            }
            Action::Lend { offset, bytes } => {
                let mut buffer = Buffer::zeroed(bytes);
                self.storage.read(object, offset, &mut buffer)?;
                return Ok(Outcome::Buffer(buffer));
            }
            Action::Write { offset, data } => {
                self.storage.write(object, offset, &data)?;
                return Ok(Outcome::Buffer(data));
            }
            Action::Copy { offset, from, from_offset, bytes } => {
                let mut data = vec![0; usize::try_from(bytes).expect("it fits memory")];
                self.storage.read(from, from_offset, &mut data)?;
                self.storage.write(object, offset, &data)?;
            }
            Action::Zero { offset, bytes, .. } => {
                let zeroes = vec![0; usize::try_from(bytes).expect("it fits memory")];
                self.storage.write(object, offset, &zeroes)?;
            }
            Action::Map { offset, bytes } => {
                return Ok(Outcome::Data(vec![ByteRange { start: offset, end: offset + bytes }]));
            }
            Action::Sync => self.storage.sync(object)?,
            Action::Create { bytes, .. } => {
                self.storage.create(object, bytes, CreateSpace::Sparse)?;
            }
            Action::Remove => self.storage.remove(object)?,
            Action::Allocate { .. } => {}
        }
        Ok(Outcome::Done)
    }

    fn command(&mut self, command: Command) -> Report {
        self.engine.command(CommandId(1), command);
        self.settle();
        let mut answers = Vec::new();
        self.engine.take_answers(&mut answers);
        answers.pop().expect("it is answered").result.expect("it is carried out")
    }

    fn request(&mut self, volume: &str, action: RequestAction) {
        let volume = self.engine.volume(volume).expect("it was made").id;
        self.engine.submit(Request { id: RequestId(1), volume, action });
        self.settle();
        let mut replies = Vec::new();
        self.engine.take_replies(&mut replies);
        replies.pop().expect("it is answered").result.expect("it is carried out");
    }

    fn write(&mut self, volume: &str, blocks: std::ops::Range<u64>) {
        for block in blocks {
            let (offset, data) = (block * 4096, Buffer::from_vec(vec![0xD7; 4096]));
            let durability = Durability::Volatile;
            self.request(volume, RequestAction::Write { offset, data, durability });
        }
        self.request(volume, RequestAction::Flush);
    }

    fn volume(&mut self, name: &str, thin: Option<&str>) {
        self.command(Command::VolumeCreate(VolumeSpec {
            name: name.to_owned(),
            size_bytes: Some(SIZE),
            cylinders: None,
            volume_type: VolumeType::Fb,
            device: None,
            thin: thin.map(str::to_owned),
        }));
    }

    fn copy(&mut self, target: &str, mode: CopyMode) {
        let (source, target) = ("data".to_owned(), target.to_owned());
        self.command(Command::CopyEstablish(EstablishSpec {
            pairs: vec![PairSpec { source, target, extents: vec![] }],
            mode,
            space_efficient: mode == CopyMode::Nocopy,
            ..EstablishSpec::default()
        }));
    }
}

/// Makes a store: `data` with a complete copy `clone`, and thin copies `monday` and `tuesday`, of
/// which eight blocks of the older one are preserved; four younger writes are staged and synced.
pub(crate) fn make(path: &Path) {
    let mut running = Running::create(path);
    running.command(Command::PoolCreate { name: "p0".to_owned(), capacity_bytes: SIZE });
    running.volume("data", None);
    running.volume("clone", None);
    running.volume("monday", Some("p0"));
    running.volume("tuesday", Some("p0"));
    running.copy("clone", CopyMode::Copy);
    running.copy("monday", CopyMode::Nocopy);
    running.write("data", 0..8);
    running.command(Command::StoreDrain {});
    running.copy("tuesday", CopyMode::Nocopy);
    running.write("data", 4..8);
}

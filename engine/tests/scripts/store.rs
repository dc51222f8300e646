//! An engine on a simulated disk that does what it is told at once, but for operations that are held back.

use std::ops::Range;

use flashtrack_engine::admin::{
    Answer, Command, CommandId, CopyMode, EstablishSpec, PairSpec, VolumeSpec,
};
use flashtrack_engine::geometry::VolumeType;
use flashtrack_engine::io::{Action, Buffer, Completion, IoFailure, Object, Op};
use flashtrack_engine::request::{
    Durability, Reply, ReplyData, Request, RequestAction, RequestError, RequestId,
};
use flashtrack_engine::sim::disk::{Pace, SimDisk};
use flashtrack_engine::sim::mutation::Mutation;
use flashtrack_engine::sim::prng::Prng;
use flashtrack_engine::units::{ByteRange, Moment, VolumeId};
use flashtrack_engine::{Engine, OpenOptions};

pub(crate) const BLOCK: u64 = 4096;
/// Bytes of a track of a volume of type `fb`.
pub(crate) const TRACK: u64 = 64 << 10;
const SEGMENT_BYTES: u32 = 128 << 10;

/// What came of a request.
pub(crate) type Outcome = Result<ReplyData, RequestError>;

pub(crate) struct Store {
    engine: Engine,
    disk: SimDisk,
    now: Moment,
    asked: u64,
    replies: Vec<Reply>,
    hold: fn(&Op) -> bool,
    held: Vec<Op>,
    /// What was done to pools, operation by operation.
    pub(crate) done_to_pools: Vec<String>,
    /// What the engine handed out at a time.
    pub(crate) turns: Vec<Vec<Kind>>,
}

/// What an operation is, for a test that looks at the order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    SourceRead,
    Journal,
    Other,
}

impl Kind {
    fn of(op: &Op) -> Self {
        match (op.object, &op.action) {
            (Object::Segment(_), Action::Sync | Action::Write { .. }) => Self::Journal,
            _ if reads_the_source(op) => Self::SourceRead,
            _ => Self::Other,
        }
    }
}

impl Store {
    /// An empty store with a journal of so many segments, and a rule of the engine broken.
    pub(crate) fn new(segments: u64, mutation: Option<Mutation>) -> Self {
        let mut disk = SimDisk::new(Prng::new(1), Pace::InOrder);
        let now = Moment { monotonic_us: 1, unix_seconds: 1 };
        let options = OpenOptions {
            journal_bytes: segments * u64::from(SEGMENT_BYTES),
            segment_bytes: SEGMENT_BYTES,
            entropy: [9; 32],
            mutation,
            ..OpenOptions::default()
        };
        let engine = Engine::open(&mut disk, &options, now).expect("an empty store");
        let mut store = Self {
            engine,
            disk,
            now,
            asked: 0,
            replies: Vec::new(),
            hold: |_| false,
            held: Vec::new(),
            done_to_pools: Vec::new(),
            turns: Vec::new(),
        };
        // Segments are made ahead of need.
        while !store.turns.ends_with(&[const { vec![] }; 10]) {
            store.take_turns(1);
        }
        store.turns.clear();
        store
    }

    /// From now on operations of which this is true wait, until `end` or `fail` is told of them.
    pub(crate) fn hold(&mut self, hold: fn(&Op) -> bool) {
        self.hold = hold;
    }

    /// What was held back; nothing is from now on.
    ///
    /// # Panics
    /// When nothing was.
    pub(crate) fn take_held(&mut self) -> Vec<Op> {
        self.hold = |_| false;
        assert!(!self.held.is_empty(), "nothing was held back");
        std::mem::take(&mut self.held)
    }

    /// Lets operations that were held back go on.
    pub(crate) fn end(&mut self, ops: Vec<Op>) {
        for op in ops {
            self.disk.submit(op);
        }
        self.go_on();
    }

    /// Lets operations that were held back fail.
    pub(crate) fn fail(&mut self, ops: Vec<Op>) {
        for op in ops {
            self.engine.complete(Completion { id: op.id, result: Err(IoFailure::Io(5)) });
        }
        self.go_on();
    }

    /// Lets everything happen that can, a tenth of a second long.
    pub(crate) fn go_on(&mut self) {
        self.take_turns(500);
    }

    /// So many turns of a fifth of a millisecond.
    pub(crate) fn take_turns(&mut self, count: usize) {
        for _ in 0..count {
            self.now.monotonic_us += 200;
            self.engine.tick(self.now);
            let mut ops: Vec<Op> = Vec::new();
            self.engine.take_ops(&mut ops);
            self.turns.push(ops.iter().map(Kind::of).collect());
            for op in ops {
                if (self.hold)(&op) {
                    self.held.push(op);
                    continue;
                }
                if matches!(op.object, Object::Pool(_)) {
                    self.done_to_pools.push(format!("{:?}", op.action));
                }
                self.disk.submit(op);
            }
            if let Some(completion) = self.disk.advance() {
                self.engine.complete(completion);
            }
        }
        self.engine.take_replies(&mut self.replies);
    }

    /// Gives a command; it must succeed at once.
    pub(crate) fn command(&mut self, command: Command) {
        self.begin_command(command);
        self.go_on();
        assert!(self.has_succeeded(), "the command is not answered");
    }

    /// Gives a command; false when it is refused.
    ///
    /// # Panics
    /// When it is not answered at once.
    pub(crate) fn is_accepted(&mut self, command: Command) -> bool {
        self.begin_command(command);
        self.go_on();
        let mut answers = Vec::new();
        self.engine.take_answers(&mut answers);
        answers.pop().expect("an answer").result.is_ok()
    }

    /// Gives a command, and lets nothing happen yet.
    pub(crate) fn begin_command(&mut self, command: Command) {
        self.asked += 1;
        self.engine.command(CommandId(self.asked), command);
    }

    /// True when the command given last has been answered meanwhile.
    ///
    /// # Panics
    /// When it was refused.
    pub(crate) fn has_succeeded(&mut self) -> bool {
        let mut answers = Vec::new();
        self.engine.take_answers(&mut answers);
        assert!(matches!(&answers[..], [] | [Answer { result: Ok(_), .. }]), "{answers:?}");
        !answers.is_empty()
    }

    /// Makes the next volume, full or in the pool `thin`.
    pub(crate) fn volume(&mut self, name: &str, size_bytes: u64, thin: Option<&str>) {
        self.command(Command::VolumeCreate(VolumeSpec {
            name: name.to_owned(),
            size_bytes: Some(size_bytes),
            cylinders: None,
            volume_type: VolumeType::Fb,
            device: None,
            thin: thin.map(str::to_owned),
        }));
    }

    /// Makes a copy of a whole volume; a thin target takes one without background copy.
    pub(crate) fn copy(&mut self, source: &str, target: &str, mode: CopyMode) {
        let (source, target) = (source.to_owned(), target.to_owned());
        self.command(Command::CopyEstablish(EstablishSpec {
            pairs: vec![PairSpec { source, target, extents: vec![] }],
            mode,
            space_efficient: mode == CopyMode::Nocopy,
            ..EstablishSpec::default()
        }));
    }

    /// Asks something of the volume made as number `volume`, from 0 on; the answer is at `answer`.
    pub(crate) fn ask(&mut self, volume: u32, action: RequestAction) -> RequestId {
        let id = self.begin(volume, action);
        self.go_on();
        id
    }

    /// Asks something, and lets nothing happen yet.
    pub(crate) fn begin(&mut self, volume: u32, action: RequestAction) -> RequestId {
        self.asked += 1;
        let id = RequestId(self.asked);
        self.engine.submit(Request { id, volume: VolumeId(volume), action });
        id
    }

    /// The answer to a request, when there is one.
    pub(crate) fn answer(&mut self, id: RequestId) -> Option<Outcome> {
        let at = self.replies.iter().position(|reply| reply.id == id)?;
        Some(self.replies.swap_remove(at).result)
    }

    /// Writes some blocks full of `byte`.
    pub(crate) fn write_blocks(&mut self, volume: u32, blocks: Range<u64>, byte: u8) -> RequestId {
        self.ask(volume, write_of(blocks, byte))
    }

    /// Asks for one block.
    pub(crate) fn ask_for_block(&mut self, volume: u32, block: u64) -> RequestId {
        self.ask(volume, read_of(block))
    }

    /// Reads one block.
    ///
    /// # Panics
    /// When that fails.
    pub(crate) fn read_block(&mut self, volume: u32, block: u64) -> Vec<u8> {
        let id = self.ask_for_block(volume, block);
        match self.answer(id) {
            Some(Ok(ReplyData::Data(data))) => data.to_vec(),
            other => panic!("block {block} of volume {volume} cannot be read: {other:?}"),
        }
    }
}

/// A read of one block.
pub(crate) fn read_of(block: u64) -> RequestAction {
    RequestAction::Read { range: ByteRange { start: block * BLOCK, end: (block + 1) * BLOCK } }
}

/// A write of some blocks full of `byte`.
pub(crate) fn write_of(blocks: Range<u64>, byte: u8) -> RequestAction {
    let offset = blocks.start * BLOCK;
    let bytes = blocks.end * BLOCK - offset;
    let data = Buffer::from_vec(vec![byte; usize::try_from(bytes).expect("a few blocks")]);
    RequestAction::Write { offset, data, durability: Durability::Volatile }
}

/// The home of the first volume.
pub(crate) const SOURCE: Object = Object::Home(VolumeId(0));

/// True for a read of the first volume's home.
pub(crate) fn reads_the_source(op: &Op) -> bool {
    matches!((op.object, &op.action), (SOURCE, Action::Read { .. }))
}

/// A source of four tracks and a copy of it without background copy, in a pool of so many slots.
pub(crate) fn thin_copy(slots: u64) -> Store {
    let mut store = Store::new(16, None);
    store.command(Command::PoolCreate { name: "pool".to_owned(), capacity_bytes: slots * BLOCK });
    store.volume("source", 4 * TRACK, None);
    store.volume("copy", 4 * TRACK, Some("pool"));
    store.write_blocks(0, 0..64, 1);
    store.copy("source", "copy", CopyMode::Nocopy);
    store
}

//! A slot that was freed is neither punched nor used again while a read of its old content is under way (rule O8).

use flashtrack_engine::admin::{Command, CommandId, VolumeSpec};
use flashtrack_engine::geometry::VolumeType;
use flashtrack_engine::io::{Action, Buffer, Object, Op};
use flashtrack_engine::request::{Durability, Request, RequestAction, RequestId};
use flashtrack_engine::sim::disk::{Pace, SimDisk};
use flashtrack_engine::sim::mutation::Mutation;
use flashtrack_engine::sim::prng::Prng;
use flashtrack_engine::units::{ByteRange, Moment, VolumeId};
use flashtrack_engine::{Engine, OpenOptions};

const BLOCK: u64 = 4096;

struct Store {
    engine: Engine,
    disk: SimDisk,
    now: Moment,
    asked: u64,
    /// The read of the pool that takes its time, when reads are held back.
    slow: Option<Op>,
    hold_reads: bool,
    /// What was done to the pool.
    done_to_pool: Vec<String>,
}

impl Store {
    fn new(mutation: Option<Mutation>) -> Self {
        let mut disk = SimDisk::new(Prng::new(1), Pace::InOrder);
        let now = Moment { monotonic_us: 1, unix_seconds: 1 };
        let options = OpenOptions {
            journal_bytes: 1 << 20,
            segment_bytes: 64 << 10,
            entropy: [9; 32],
            mutation,
            ..OpenOptions::default()
        };
        let engine = Engine::open(&mut disk, &options, now).expect("an empty store");
        Self {
            engine,
            disk,
            now,
            asked: 0,
            slow: None,
            hold_reads: false,
            done_to_pool: Vec::new(),
        }
    }

    /// Lets everything happen that can, a tenth of a second long.
    fn go_on(&mut self) {
        for _ in 0..500 {
            self.now.monotonic_us += 200;
            self.engine.tick(self.now);
            let mut ops: Vec<Op> = Vec::new();
            self.engine.take_ops(&mut ops);
            for op in ops {
                let in_pool = matches!(op.object, Object::Pool(_));
                if self.hold_reads && in_pool && matches!(op.action, Action::Read { .. }) {
                    self.slow = Some(op);
                    continue;
                }
                if in_pool {
                    self.done_to_pool.push(format!("{:?}", op.action));
                }
                self.disk.submit(op);
            }
            if let Some(completion) = self.disk.advance() {
                self.engine.complete(completion);
            }
        }
    }

    fn command(&mut self, command: Command) {
        self.asked += 1;
        self.engine.command(CommandId(self.asked), command);
        self.go_on();
        let mut answers = Vec::new();
        self.engine.take_answers(&mut answers);
        assert!(answers.iter().all(|answer| answer.result.is_ok()), "{answers:?}");
    }

    fn ask(&mut self, action: RequestAction) {
        self.asked += 1;
        self.engine.submit(Request { id: RequestId(self.asked), volume: VolumeId(0), action });
        self.go_on();
    }
}

/// What is done to the pool while a read of a thin volume's block takes long and the block is trimmed; then
/// what is done when the read has ended.
fn trimmed_under_a_slow_read(mutation: Option<Mutation>) -> (Vec<String>, Vec<String>) {
    let mut store = Store::new(mutation);
    store.command(Command::PoolCreate { name: "pool".to_owned(), capacity_bytes: 1 << 20 });
    store.command(Command::VolumeCreate(VolumeSpec {
        name: "thin".to_owned(),
        size_bytes: Some(16 * BLOCK),
        cylinders: None,
        volume_type: VolumeType::Fb,
        device: None,
        thin: Some("pool".to_owned()),
    }));
    let data = Buffer::from_vec(vec![7; 4096]);
    let durability = Durability::Volatile;
    store.ask(RequestAction::Write { offset: 0, data, durability });
    store.command(Command::StoreDrain {});
    let range = ByteRange { start: 0, end: BLOCK };
    store.hold_reads = true;
    store.ask(RequestAction::Read { range });
    let read = store.slow.take().expect("the block is in the pool");
    store.done_to_pool.clear();
    // The second block has no slot, so the first one's is given back, not zeroed in place.
    let two = ByteRange { start: 0, end: 2 * BLOCK };
    store.ask(RequestAction::Trim { range: two, durability });
    let meanwhile = std::mem::take(&mut store.done_to_pool);
    store.disk.submit(read);
    store.go_on();
    (meanwhile, store.done_to_pool)
}

#[test]
fn a_trimmed_slot_is_punched_when_the_read_of_it_has_ended_and_not_before() {
    let (meanwhile, after) = trimmed_under_a_slow_read(None);
    assert!(meanwhile.is_empty(), "{meanwhile:?}");
    assert!(after.iter().any(|action| action.starts_with("Zero")), "{after:?}");
}

#[test]
fn without_the_rule_it_is_punched_under_the_read() {
    let (meanwhile, _) = trimmed_under_a_slow_read(Some(Mutation::ReuseSlotBeforeReadsEnd));
    assert!(meanwhile.iter().any(|action| action.starts_with("Zero")), "{meanwhile:?}");
}

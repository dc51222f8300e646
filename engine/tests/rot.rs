//! Rot of the synced journal, seen from outside: with any byte flipped, a store with staged writes is refused with the
//! place named and nothing written, or it opens and holds exactly what was flushed (rules O10 and O12).
//!
//! The journal has what there is: staged writes before and after a checkpoint's mark, those that nobody needs any more,
//! records, zeroes, watermarks. Every byte of headers, records and short writes is flipped, and samples of what is long
//! and alike.

use flashtrack_engine::admin::{Command, CommandId, CopyMode, EstablishSpec, PairSpec, VolumeSpec};
use flashtrack_engine::geometry::VolumeType;
use flashtrack_engine::io::{Action, Buffer, Object, Storage, ZeroSpace};
use flashtrack_engine::request::{Durability, ReplyData, Request, RequestAction, RequestId};
use flashtrack_engine::sim::disk::{Pace, SimDisk};
use flashtrack_engine::sim::faults::ActionKind;
use flashtrack_engine::sim::mutation::Mutation;
use flashtrack_engine::sim::prng::Prng;
use flashtrack_engine::units::{ByteRange, Moment, Position};
use flashtrack_engine::{Engine, OpenOptions, examine};

const SIZE: u64 = 65_536;
const SEGMENT_BYTES: u64 = 64 << 10;
const BLOCK: u64 = 4096;

fn options(mutation: Option<Mutation>) -> OpenOptions {
    OpenOptions {
        journal_bytes: 8 * SEGMENT_BYTES,
        segment_bytes: u32::try_from(SEGMENT_BYTES).expect("small"),
        entropy: [11; 32],
        mutation,
        ..OpenOptions::default()
    }
}

/// A store and the means to ask it.
struct Store {
    engine: Engine,
    disk: SimDisk,
    now_us: u64,
    next: u64,
}

impl Store {
    fn open(mut disk: SimDisk, mutation: Option<Mutation>) -> Result<Self, Box<(SimDisk, String)>> {
        let now = Moment { monotonic_us: 1, unix_seconds: 1 };
        match Engine::open(&mut disk, &options(mutation), now) {
            Ok(engine) => Ok(Self { engine, disk, now_us: 1, next: 0 }),
            Err(error) => Err(Box::new((disk, error.to_string()))),
        }
    }

    /// Lets things happen; what is done to the pool never ends, so nothing staged goes home.
    fn turn(&mut self) {
        self.now_us += 500;
        self.engine.tick(Moment { monotonic_us: self.now_us, unix_seconds: 1 });
        let mut ops = Vec::new();
        self.engine.take_ops(&mut ops);
        for op in ops {
            let creates = matches!(op.action, Action::Create { .. });
            if creates || !matches!(op.object, Object::Pool(_)) {
                self.disk.submit(op);
            }
        }
        while self.disk.in_flight() > 0 {
            if let Some(completion) = self.disk.advance() {
                self.engine.complete(completion);
            }
        }
    }

    fn ask(&mut self, command: Command) {
        self.engine.command(CommandId(1), command);
        let mut answers = Vec::new();
        for _ in 0..1000 {
            self.turn();
            self.engine.take_answers(&mut answers);
        }
        answers.pop().expect("an answer").result.expect("it is done");
    }

    fn request(&mut self, name: &str, action: RequestAction) -> Result<ReplyData, String> {
        self.next += 1;
        let volume = self.engine.volume(name).expect("it exists").id;
        self.engine.submit(Request { id: RequestId(self.next), volume, action });
        let mut replies = Vec::new();
        for _ in 0..1000 {
            self.turn();
            self.engine.take_replies(&mut replies);
            if let Some(reply) = replies.pop() {
                return reply.result.map_err(|error| error.to_string());
            }
        }
        panic!("no reply");
    }

    fn write(&mut self, name: &str, offset: u64, bytes: usize, value: u8) {
        let data = Buffer::from_vec(vec![value; bytes]);
        let action = RequestAction::Write { offset, data, durability: Durability::Durable };
        self.request(name, action).expect("it is written");
    }

    /// What source and target hold.
    fn content(&mut self) -> Result<[Vec<u8>; 2], String> {
        let mut read = |name| {
            let range = ByteRange { start: 0, end: SIZE };
            match self.request(name, RequestAction::Read { range })? {
                ReplyData::Data(data) => Ok(data.into_vec()),
                other => Err(format!("{other:?}")),
            }
        };
        Ok([read("source")?, read("target")?])
    }
}

/// A killed store: staged writes, a checkpoint, more of them, all known synced. What its volumes hold, where the
/// replay begins, and the end of the journal.
fn killed_store() -> (SimDisk, [Vec<u8>; 2], Position, Position) {
    let disk = SimDisk::new(Prng::new(1), Pace::InOrder);
    let Ok(mut store) = Store::open(disk, None) else { panic!("an empty disk becomes a store") };
    store.ask(Command::PoolCreate { name: "pool".to_owned(), capacity_bytes: 1 << 20 });
    for (name, thin) in [("source", None), ("target", Some("pool".to_owned()))] {
        store.ask(Command::VolumeCreate(VolumeSpec {
            name: name.to_owned(),
            size_bytes: Some(SIZE),
            cylinders: None,
            volume_type: VolumeType::Fb,
            device: None,
            thin,
        }));
    }
    store.write("source", 0, 16_384, 1);
    let pair =
        PairSpec { source: "source".to_owned(), target: "target".to_owned(), extents: Vec::new() };
    store.ask(Command::CopyEstablish(EstablishSpec {
        pairs: vec![pair],
        mode: CopyMode::Nocopy,
        space_efficient: true,
        ..EstablishSpec::default()
    }));
    store.write("source", 0, 700, 2);
    store.write("source", BLOCK + 100, 5000, 3);
    let zeroes = ByteRange { start: 4 * BLOCK, end: 5 * BLOCK };
    let durability = Durability::Durable;
    let action = RequestAction::WriteZeroes { range: zeroes, space: ZeroSpace::Keep, durability };
    store.request("source", action).expect("zeroes");
    // Each covers the one before, which nobody needs then; they make a checkpoint due.
    let before = store.engine.stats().checkpoints;
    let mut value = 10;
    while store.engine.stats().checkpoints == before {
        store.write("source", 8 * BLOCK, 4096, value);
        value += 1;
    }
    store.write("source", 3 * BLOCK, 512, 4);
    store.write("target", 8 * BLOCK + 10, 300, 5);
    store.write("source", 8 * BLOCK, 4096, 6);
    store.write("source", 9 * BLOCK, 100, 7);
    for _ in 0..100 {
        store.turn();
    }
    let content = store.content().expect("it is whole");
    let mut disk = store.disk;
    disk.kill();
    let found = examine(&mut disk).expect("a store");
    assert_eq!(found.refusal, None);
    let mark = found.inspection.checkpoint.replay_from;
    (disk, content, mark, found.inspection.end.0.position)
}

/// Flips a byte of an object.
fn flip(disk: &mut SimDisk, object: Object, at: u64) {
    let byte = disk.content(object, at, 1)[0];
    disk.write(object, at, &[byte ^ 0x20]).expect("it is written");
}

/// Changes that were asked of the disk.
fn changes(disk: &SimDisk) -> u64 {
    let changing = |kind| !matches!(kind, ActionKind::Read | ActionKind::Map);
    disk.counts()
        .iter()
        .filter(|(_, kind, _)| changing(*kind))
        .map(|(.., count)| count.operations)
        .sum()
}

/// The bytes of a segment to flip: all but those within long stretches of one value, of which some.
fn interesting(content: &[u8]) -> impl Iterator<Item = usize> + '_ {
    (0..content.len()).filter(|&at| {
        let around = &content[at.saturating_sub(72)..(at + 72).min(content.len())];
        at % 41 == 0 || around.iter().any(|&byte| byte != content[at])
    })
}

#[test]
fn every_flipped_byte_of_the_synced_journal_is_refused_or_lies_in_bytes_that_nobody_needs() {
    let (disk, content, mark, end) = killed_store();
    let inspected = examine(&mut disk.clone()).expect("a store").inspection;
    // Refused for a payload, before and after the mark; refused otherwise; harmless.
    let (mut old, mut new, mut other, mut harmless) = (0, 0, 0, 0);
    for segment in &inspected.segments {
        let object = Object::Segment(segment.slot);
        let bytes = disk.content(object, 0, SEGMENT_BYTES);
        for at in interesting(&bytes) {
            let position = Position(segment.number * SEGMENT_BYTES + at as u64);
            let mut damaged = disk.clone();
            flip(&mut damaged, object, at as u64);
            let before = changes(&damaged);
            let what =
                format!("{object:?} byte {at}, position {position} (mark {mark}, end {end})");
            match Store::open(damaged, None) {
                Ok(mut store) => {
                    assert_eq!(store.content().as_ref(), Ok(&content), "{what}");
                    harmless += 1;
                }
                Err(refused) => {
                    let (damaged, error) = *refused;
                    assert_eq!(changes(&damaged), before, "{what}: refused, yet written to");
                    // Without its header it is not known where the segment is.
                    let place = if at < 512 { String::new() } else { format!("{object:?}) ") };
                    let place = format!("journal segment {} ({place}", segment.number);
                    assert!(error.contains(&place), "{what}: {error}");
                    assert!(error.contains("is damaged at offset"), "{what}: {error}");
                    let payload = error.contains("the frame's payload");
                    let count = if !payload {
                        &mut other
                    } else if position < mark {
                        &mut old
                    } else {
                        &mut new
                    };
                    *count += 1;
                }
            }
        }
    }
    println!("{old} and {new} refused for a payload, {other} otherwise, {harmless} harmless");
    assert!(old > 200 && new > 500 && other > 500 && harmless > 500);
}

#[test]
fn without_the_check_a_flipped_byte_is_served() {
    let (disk, content, mark, _) = killed_store();
    let inspected = examine(&mut disk.clone()).expect("a store").inspection;
    let mut served = [0, 0];
    for segment in &inspected.segments {
        let object = Object::Segment(segment.slot);
        for at in (0..SEGMENT_BYTES).step_by(97) {
            let mut damaged = disk.clone();
            flip(&mut damaged, object, at);
            let Ok(mut store) = Store::open(damaged, Some(Mutation::SkipPayloadCheck)) else {
                continue;
            };
            let after = Position(segment.number * SEGMENT_BYTES + at) >= mark;
            served[usize::from(after)] += u32::from(store.content().as_ref() != Ok(&content));
        }
    }
    assert!(served[0] > 0 && served[1] > 0, "{served:?}");
}

#[test]
fn damage_of_a_frame_that_nobody_needs_does_not_hide_those_behind_it() {
    let (disk, content, mark, _) = killed_store();
    let inspected = examine(&mut disk.clone()).expect("a store").inspection;
    let first = inspected.segments.iter().find(|segment| segment.number == 1).expect("kept");
    // The record of the pool is the very first frame; the checkpoint holds what it says.
    assert!(mark > Position(2 * 4096));
    let mut damaged = disk.clone();
    for at in 4096..4096 + 64 {
        flip(&mut damaged, Object::Segment(first.slot), at);
    }
    let Ok(mut store) = Store::open(damaged, None) else { panic!("nobody needs that frame") };
    assert_eq!(store.content().as_ref(), Ok(&content));
}

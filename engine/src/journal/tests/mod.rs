//! Tests of the journal: a small world of a disk and an open store, then the cases file by file.

mod basic;
mod checkpoints;
mod cuts;
mod disk;
mod rot;

use crate::io::{CreateSpace, Object, Storage};
use crate::journal::{
    Appended, CheckpointWriter, CreateParameters, FrameContent, Journal, Needed, OpenError,
    Recovered, ScannedFrame, create,
};
use crate::units::{ByteRange, Position, Seq, VolumeId};
use disk::{Fate, TestDisk};

const SEGMENT_BYTES: u32 = 64 << 10;
const CAPACITY: u32 = 8;
const FIRST_CHECKPOINT: &[u8] = b"an empty store";

fn parameters() -> CreateParameters {
    CreateParameters {
        entropy: std::array::from_fn(|index| u8::try_from(index).unwrap().wrapping_mul(37) ^ 0x5a),
        segment_bytes: SEGMENT_BYTES,
        capacity_segments: CAPACITY,
        checkpoint: FIRST_CHECKPOINT.to_vec(),
    }
}

/// Recovery of whatever the journal itself accepts; all data after the checkpoint is needed.
fn recover(disk: &mut TestDisk) -> Result<Recovered, OpenError> {
    super::recover(disk, |_, _, frames| Ok((all_data(frames), ()))).map(|(store, ())| store)
}

/// The data of all staged writes.
fn all_data(frames: &[ScannedFrame]) -> Vec<Needed> {
    let needed = frames.iter().filter_map(|frame| match frame.content {
        FrameContent::Data { payload, range, .. } => {
            Some(Needed { position: payload, bytes: range.bytes(), seq: frame.seq })
        }
        _ => None,
    });
    needed.collect()
}

/// A disk with a new store.
fn new_disk() -> TestDisk {
    let mut disk = TestDisk::default();
    create(&mut disk, &parameters()).unwrap();
    disk
}

/// An open store and what it should hold.
struct World {
    disk: TestDisk,
    store: Recovered,
    /// What every frame after the checkpoint should be, in order.
    expected: Vec<Expected>,
}

/// What a frame should be.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Expected {
    Record(Vec<u8>),
    Data(VolumeId, u64, Vec<u8>),
    Zeroes(VolumeId, ByteRange),
    Watermark,
}

impl World {
    fn new() -> Self {
        Self::open(new_disk())
    }

    fn open(mut disk: TestDisk) -> Self {
        let store = recover(&mut disk).unwrap();
        let expected = contents(&mut disk, &store);
        let mut world = Self { disk, store, expected };
        world.provide_slots();
        world
    }

    fn journal(&mut self) -> &mut Journal {
        &mut self.store.journal
    }

    fn provide_slots(&mut self) {
        while let Some((slot, space)) = self.store.journal.wanted_slot() {
            self.disk.create(Object::Segment(slot), u64::from(SEGMENT_BYTES), space).unwrap();
            if space == CreateSpace::Written {
                let mark = self.store.journal.ready_mark(slot);
                self.disk.write(Object::Segment(slot), 0, &mark).unwrap();
                self.disk.sync(Object::Segment(slot)).unwrap();
            }
            self.store.journal.slot_ready(slot);
        }
    }

    fn record(&mut self, bytes: &[u8]) -> Appended {
        self.expected.push(Expected::Record(bytes.to_vec()));
        self.journal().append_record(bytes)
    }

    fn data(&mut self, offset: u64, data: &[u8]) -> Appended {
        self.expected.push(Expected::Data(VolumeId(7), offset, data.to_vec()));
        self.journal().append_data(VolumeId(7), offset, data)
    }

    fn zeroes(&mut self, offset: u64, bytes: u64) -> Appended {
        let range = ByteRange::new(offset, bytes).unwrap();
        self.expected.push(Expected::Zeroes(VolumeId(8), range));
        self.journal().append_zeroes(VolumeId(8), range)
    }

    fn watermark(&mut self) -> Appended {
        self.expected.push(Expected::Watermark);
        self.journal().append_watermark()
    }

    /// Writes out what was appended.
    fn write(&mut self) {
        let mut writes = Vec::new();
        self.store.journal.take_writes(&mut writes);
        for out in writes {
            self.disk.write(out.object, out.offset, &out.data).unwrap();
            self.store.journal.write_done(out.ticket);
        }
        self.provide_slots();
    }

    /// Makes durable what was written.
    fn sync(&mut self) {
        while let Some(plan) = self.store.journal.begin_sync() {
            for object in plan.objects {
                self.disk.sync(object).unwrap();
            }
            self.store.journal.sync_done();
        }
    }

    fn write_and_sync(&mut self) {
        self.write();
        self.sync();
    }

    /// Writes a checkpoint of everything up to now that needs nothing older, and releases what it allows.
    fn checkpoint(&mut self, payload: &[u8]) {
        let mark = self.store.journal.mark();
        let mut writer = self.store.checkpoints.begin(mark, mark.position);
        let durable = self.store.journal.durable();
        write_checkpoint(&mut self.disk, &mut writer, payload, durable);
        let position = self.store.checkpoints.committed(&writer);
        self.store.journal.release_before(position);
        self.expected.clear();
    }

    /// Cuts the power and opens the store again.
    fn cut(mut self, fate: impl FnMut(usize) -> Fate) -> Self {
        self.disk.power_cut(fate);
        Self::open(self.disk)
    }
}

/// Writes a checkpoint as far as it goes, with the payload in pieces of a few bytes.
fn write_checkpoint(
    disk: &mut TestDisk,
    writer: &mut CheckpointWriter,
    payload: &[u8],
    durable: Position,
) {
    let mut pieces = payload.chunks(7).peekable();
    loop {
        if writer.wants_piece() {
            let piece = pieces.next().unwrap_or(&[]).to_vec();
            writer.supply(piece, pieces.peek().is_none());
        }
        let Some((object, action)) = writer.next_action(durable) else { return };
        perform(disk, object, action);
        writer.action_done();
    }
}

/// Performs an operation of a checkpoint.
fn perform(disk: &mut TestDisk, object: Object, action: crate::io::Action) {
    match action {
        crate::io::Action::Allocate { offset, bytes } => disk.allocate(object, offset + bytes),
        crate::io::Action::Write { offset, data } => disk.write(object, offset, &data).unwrap(),
        crate::io::Action::Sync => disk.sync(object).unwrap(),
        other => panic!("a checkpoint does not {other:?}"),
    }
}

/// The frames of an opened store with their payloads, all of which must be whole and numbered without gaps.
fn contents(disk: &mut TestDisk, store: &Recovered) -> Vec<Expected> {
    let mut seq = store.checkpoint_seq;
    store
        .frames
        .iter()
        .map(|frame| {
            seq = seq.next();
            assert_eq!(frame.seq, seq);
            content(disk, &store.journal, frame)
        })
        .collect()
}

fn content(disk: &mut TestDisk, journal: &Journal, frame: &ScannedFrame) -> Expected {
    match &frame.content {
        FrameContent::Record(bytes) => Expected::Record(bytes.clone()),
        FrameContent::Zeroes { volume, range } => Expected::Zeroes(*volume, *range),
        FrameContent::Watermark => Expected::Watermark,
        FrameContent::Data { volume, range, payload } => {
            let bytes = payload_at(disk, journal, *payload, range.bytes());
            Expected::Data(*volume, range.start, bytes)
        }
    }
}

fn payload_at(disk: &mut TestDisk, journal: &Journal, payload: Position, bytes: u64) -> Vec<u8> {
    let (object, offset) = journal.locate(payload).expect("the segment is live");
    let mut content = vec![0; usize::try_from(bytes).unwrap()];
    disk.read(object, offset, &mut content).unwrap();
    content
}

/// A generator of numbers from a seed (xorshift), enough to vary tests.
struct Numbers(u64);

impl Numbers {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % limit
    }

    fn fate(&mut self) -> Fate {
        match self.below(20) {
            0 => Fate::Garbage,
            1..=9 => Fate::Lost,
            _ => Fate::Kept,
        }
    }

    fn bytes(&mut self, length: u64) -> Vec<u8> {
        (0..length).map(|_| u8::try_from(self.below(256)).unwrap()).collect()
    }
}

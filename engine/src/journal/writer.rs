//! The journal at run time: frames are appended in memory, taken as writes, and become durable by group commit.
//!
//! Three places move through it, in order: `end` (appended) >= `written` (all writes up to here have completed)
//! >= `durable` (a sync that began after that has succeeded). Invariants J1 to J4 are kept here.

use std::collections::{BTreeSet, VecDeque};

use super::Mark;
use super::frame::{FRAME_ALIGN, FRAME_HEADER_BYTES, FrameHeader, FrameKind, frame_bytes};
use super::segment::{CONTENT_OFFSET, Layout, SegmentHeader, ready_mark};
use super::slots::Slots;
use crate::io::{Buffer, BufferBuilder, CreateSpace, Object};
use crate::limits::{FRAME_DATA_MAX, FRAME_ZERO_MAX};
use crate::store::{StoreHeader, StoreUuid, checksum};
use crate::units::{BLOCK_BYTES, ByteRange, Position, Seq, VolumeId};

/// Free segments that host writes leave for records, above all those that free journal space.
const RESERVE_SEGMENTS: u64 = 2;

/// Where an appended frame lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Number of the frame.
    pub seq: Seq,
    /// First byte of its payload.
    pub payload: Position,
    /// One past its last byte: durable when `Journal::durable` reaches it.
    pub end: Position,
}

/// Names a write of the journal until it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WriteTicket(pub u64);

/// A write to perform: whole blocks.
#[derive(Debug)]
pub struct JournalWrite {
    /// The segment's slot.
    pub object: Object,
    /// First byte of the object.
    pub offset: u64,
    /// What is written.
    pub data: Buffer,
    /// To report when it is done.
    pub ticket: WriteTicket,
}

/// A sync to perform: each of these objects, at the same time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncPlan {
    /// What to sync.
    pub objects: Vec<Object>,
    /// Everything before this is durable when all of them have succeeded.
    pub covers: Position,
}

/// Frames appended to one segment and not yet taken.
#[derive(Debug)]
struct Batch {
    slot: u32,
    offset: u64,
    bytes: BufferBuilder,
    /// After its last frame.
    end: Mark,
}

/// A write that was taken.
#[derive(Debug)]
struct InFlight {
    slot: u32,
    end: Mark,
    done: bool,
}

/// The journal of an open store.
#[derive(Debug)]
pub struct Journal {
    seed: u32,
    uuid: StoreUuid,
    opening: u64,
    layout: Layout,
    capacity_segments: u64,
    /// The capacity for records: above the other one after an opening that found the journal full, until the segments
    /// are released that were too many. What frees journal space has to write records first.
    record_segments: u64,
    slots: Slots,
    /// The segment being filled, and the offset within it after the last byte appended.
    number: u64,
    offset: u64,
    end: Mark,
    batches: Vec<Batch>,
    /// Length of the last batch that was taken: what the next one gets memory for before it has to grow.
    batch_bytes: usize,
    /// Writes taken, oldest first; the first one's ticket is `first_ticket`.
    in_flight: VecDeque<InFlight>,
    first_ticket: u64,
    written: Mark,
    durable: Mark,
    /// Slots with completed writes before `written` that no successful sync covers yet.
    unsynced: BTreeSet<u32>,
    /// Of the sync under way.
    syncing: Option<Mark>,
    /// End of the last frame that is not a watermark: what a watermark is there to vouch for.
    last_content: Position,
    /// `synced_through` of the last frame.
    last_told: Position,
}

impl Journal {
    /// A journal that goes on after `base`, up to which everything is durable, in a new segment `number`.
    /// The caller has made sure that a slot is free.
    pub(super) fn resume(store: &StoreHeader, slots: Slots, base: Mark, number: u64) -> Self {
        let capacity_segments = u64::from(store.capacity_segments);
        let mut journal = Self {
            seed: store.secret,
            uuid: store.uuid,
            opening: store.epoch,
            layout: Layout::new(store.segment_bytes),
            capacity_segments,
            record_segments: capacity_segments,
            slots,
            number,
            offset: 0,
            end: base,
            batches: Vec::new(),
            batch_bytes: 0,
            in_flight: VecDeque::new(),
            first_ticket: 0,
            written: base,
            durable: base,
            unsynced: BTreeSet::new(),
            syncing: None,
            last_content: base.position,
            last_told: base.position,
        };
        journal.begin_segment(number);
        journal
    }

    /// Appends a metadata record of at most `payload_max` bytes.
    ///
    /// # Panics
    /// As `append_data`.
    pub fn append_record(&mut self, bytes: &[u8]) -> Appended {
        let length = u32::try_from(bytes.len()).expect("records are shorter than payload_max");
        self.append(FrameKind::Record, VolumeId(0), 0, length, bytes)
    }

    /// Appends a staged write of at most `payload_max` bytes.
    ///
    /// # Panics
    /// When the data is longer than that, or no slot is ready (`fits`): the engine checks room before it takes a
    /// request, and leaves the reserve to records.
    pub fn append_data(&mut self, volume: VolumeId, offset: u64, data: &[u8]) -> Appended {
        let length = u32::try_from(data.len()).expect("frames are shorter than payload_max");
        self.append(FrameKind::Data, volume, offset, length, data)
    }

    /// Appends a staged range of zeroes, at most `limits::FRAME_ZERO_MAX` long.
    ///
    /// # Panics
    /// As `append_data`.
    pub fn append_zeroes(&mut self, volume: VolumeId, range: ByteRange) -> Appended {
        assert!(range.bytes() <= FRAME_ZERO_MAX, "{} zeroes in one frame", range.bytes());
        let length = u32::try_from(range.bytes()).expect("FRAME_ZERO_MAX fits 32 bits");
        self.append(FrameKind::Zeroes, volume, range.start, length, &[])
    }

    /// Appends a frame that says how far the journal is synced; worth it when `watermark_due`.
    ///
    /// # Panics
    /// As `append_data`.
    pub fn append_watermark(&mut self) -> Appended {
        self.append(FrameKind::Watermark, VolumeId(0), 0, 0, &[])
    }

    /// True when frames are durable and no later frame says so: an idle journal then gets a watermark, itself
    /// synced (rule O10). Watermarks need none.
    pub fn watermark_due(&self) -> bool {
        self.last_told < self.last_content && self.last_content <= self.durable.position
    }

    fn append(
        &mut self,
        kind: FrameKind,
        volume: VolumeId,
        offset: u64,
        length: u32,
        payload: &[u8],
    ) -> Appended {
        let payload_bytes = payload.len() as u64;
        assert!(payload_bytes <= self.payload_max(), "a payload of {payload_bytes} bytes");
        self.make_place(frame_bytes(payload_bytes));
        let position = Position(self.layout.start(self.number).0 + self.offset);
        let header = FrameHeader {
            kind,
            opening: self.opening,
            seq: self.end.seq.next(),
            position,
            synced_through: self.durable.position,
            volume,
            offset,
            length,
            payload_crc: checksum(self.seed, payload),
            previous: self.end.checksum,
        };
        let (encoded, sum) = header.encode(self.seed);
        self.end = Mark { position: header.end(), seq: header.seq, checksum: sum };
        self.offset += frame_bytes(payload_bytes);
        self.last_told = header.synced_through;
        if kind != FrameKind::Watermark {
            self.last_content = header.end();
        }
        let batch = self.batches.last_mut().expect("make_place leaves a batch to append to");
        batch.bytes.append(&encoded);
        batch.bytes.append(payload);
        let length = self.offset - batch.offset;
        batch.bytes.pad_to(usize::try_from(length).expect("a segment fits memory"));
        batch.end = self.end;
        Appended { seq: header.seq, payload: header.payload(), end: header.end() }
    }

    /// Leaves a batch whose end is the place of the next frame, of `bytes` bytes.
    fn make_place(&mut self, bytes: u64) {
        // A new batch begins in a block of its own (J4): a write torn by a power cut must not harm frames that are
        // synced, and the page cache takes whole blocks without reading what was there.
        let offset = if self.batches.is_empty() {
            self.offset.next_multiple_of(BLOCK_BYTES)
        } else {
            self.offset
        };
        if offset + bytes > self.layout.segment_bytes() {
            self.begin_segment(self.number + 1);
        } else if self.batches.is_empty() {
            let slot = self.slots.slot_of(self.number).expect("the segment being filled is live");
            self.offset = offset;
            let bytes = BufferBuilder::with_capacity(self.batch_bytes);
            self.batches.push(Batch { slot, offset, bytes, end: self.end });
        }
    }

    /// Moves to segment `number`; its header begins a new batch.
    fn begin_segment(&mut self, number: u64) {
        let slot = self.slots.take(number).expect("room was checked: a slot is ready");
        let header = SegmentHeader {
            number,
            opening: self.opening,
            after: self.end.position,
            synced_through: self.durable.position,
        };
        self.number = number;
        self.offset = CONTENT_OFFSET;
        self.end.position = self.layout.content(number);
        let mut bytes = BufferBuilder::with_capacity(self.batch_bytes);
        bytes.append(&header.encode(self.uuid, self.seed));
        self.batches.push(Batch { slot, offset: 0, bytes, end: self.end });
    }

    /// The number that the next frame will have.
    pub fn next_seq(&self) -> Seq {
        self.end.seq.next()
    }

    /// The place after the last frame: what a checkpoint of the state up to here carries.
    pub fn mark(&self) -> Mark {
        self.end
    }

    /// One past the last byte appended.
    pub fn end(&self) -> Position {
        self.end.position
    }

    /// Longest payload of a frame, in bytes: a multiple of 4 KiB, `limits::FRAME_DATA_MAX` or, with small
    /// segments, a quarter of one.
    pub fn payload_max(&self) -> u64 {
        let quarter = (self.layout.segment_bytes() - CONTENT_OFFSET) / 4;
        FRAME_DATA_MAX.min(quarter - quarter % BLOCK_BYTES)
    }

    /// The most that a frame with `payload_bytes` bytes of payload takes of `room`.
    pub fn cost(payload_bytes: u64) -> u64 {
        Self::cost_together(1, payload_bytes)
    }

    /// The most that so many frames, appended one after the other and with so many bytes of payload in all, take of `room`:
    /// they leave in one write, or in one for each segment.
    pub fn cost_together(frames: u64, payload_bytes: u64) -> u64 {
        payload_bytes + frames * (FRAME_HEADER_BYTES + FRAME_ALIGN - 1) + BLOCK_BYTES - 1
    }

    /// Bytes that may still be appended as host writes, counted by `cost`; the reserve is left for records.
    pub fn room(&self) -> u64 {
        let free = self.free_segments(self.capacity_segments);
        free.checked_sub(RESERVE_SEGMENTS).map_or(0, |free| self.room_in(free))
    }

    /// Bytes that may still be appended as records, counted by `cost`: room and reserve.
    pub fn room_for_records(&self) -> u64 {
        self.room_in(self.free_segments(self.record_segments))
    }

    /// True when a frame with this payload can be appended now.
    pub fn fits(&self, payload_bytes: u64) -> bool {
        self.slots.free_count() > 0
            || self.offset.next_multiple_of(BLOCK_BYTES) + frame_bytes(payload_bytes)
                <= self.layout.segment_bytes()
    }

    /// Segments that this capacity still allows and for which a slot is ready.
    fn free_segments(&self, capacity: u64) -> u64 {
        let allowed = capacity.saturating_sub(self.slots.live_count() as u64);
        allowed.min(self.slots.free_count() as u64)
    }

    /// What surely fits the segment being filled and `segments` more: each may waste its end on a frame
    /// that does not fit.
    fn room_in(&self, segments: u64) -> u64 {
        let waste = Self::cost(self.payload_max());
        let here = (self.layout.segment_bytes() - self.offset).saturating_sub(waste);
        here + segments * (self.layout.segment_bytes() - CONTENT_OFFSET).saturating_sub(waste)
    }

    /// Bytes of the segments in use.
    pub fn used_bytes(&self) -> u64 {
        self.slots.live_count() as u64 * self.layout.segment_bytes()
    }

    /// Bytes of the segments that may be in use.
    pub fn capacity_bytes(&self) -> u64 {
        self.capacity_segments * self.layout.segment_bytes()
    }

    /// Bytes of the segments that host writes may fill.
    pub fn host_capacity_bytes(&self) -> u64 {
        (self.capacity_segments - RESERVE_SEGMENTS) * self.layout.segment_bytes()
    }

    /// Adds to `out` everything appended since the last call: one contiguous write per segment touched, in order.
    pub fn take_writes(&mut self, out: &mut Vec<JournalWrite>) {
        for batch in self.batches.drain(..) {
            let ticket = WriteTicket(self.first_ticket + self.in_flight.len() as u64);
            let mut bytes = batch.bytes;
            let block = usize::try_from(BLOCK_BYTES).expect("a small constant");
            bytes.pad_to(bytes.len().next_multiple_of(block));
            let data = bytes.finish();
            self.batch_bytes = data.len();
            let object = Object::Segment(batch.slot);
            out.push(JournalWrite { object, offset: batch.offset, data, ticket });
            self.in_flight.push_back(InFlight { slot: batch.slot, end: batch.end, done: false });
        }
    }

    /// Writes taken and not done, those included that are done before an older one.
    pub fn writes_in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// A write was performed. Writes may be reported in any order.
    ///
    /// # Panics
    /// When that write is not in flight.
    pub fn write_done(&mut self, ticket: WriteTicket) {
        let write = ticket
            .0
            .checked_sub(self.first_ticket)
            .and_then(|index| self.in_flight.get_mut(usize::try_from(index).ok()?))
            .filter(|write| !write.done)
            .expect("each write of the journal is reported once");
        write.done = true;
        while let Some(write) = self.in_flight.pop_front_if(|write| write.done) {
            self.first_ticket += 1;
            self.written = write.end;
            self.unsynced.insert(write.slot);
        }
    }

    /// Every write before this has completed.
    pub fn written(&self) -> Position {
        self.written.position
    }

    /// What to sync to make everything before `written` durable, or `None` when it is durable already or a
    /// sync is under way. A sync covers what was written before it began, and nothing else.
    pub fn begin_sync(&mut self) -> Option<SyncPlan> {
        if self.syncing.is_some() || self.unsynced.is_empty() {
            return None;
        }
        self.syncing = Some(self.written);
        let objects = std::mem::take(&mut self.unsynced).into_iter().map(Object::Segment).collect();
        Some(SyncPlan { objects, covers: self.written.position })
    }

    /// All objects of the sync under way were synced with success. There is nothing to report when one
    /// was not: the journal takes no writes then (rule O9), and `durable` stays.
    ///
    /// # Panics
    /// When no sync is under way.
    pub fn sync_done(&mut self) {
        self.durable = self.syncing.take().expect("a sync was begun");
    }

    /// The durable place: what a checkpoint of exactly the durable state carries.
    pub fn durable_mark(&self) -> Mark {
        self.durable
    }

    /// Everything before this is durable.
    pub fn durable(&self) -> Position {
        self.durable.position
    }

    /// All frames up to this number are durable.
    pub fn durable_seq(&self) -> Seq {
        self.durable.seq
    }

    /// Bytes appended and not durable, ends of segments left empty included.
    pub fn unsynced_bytes(&self) -> u64 {
        self.end.position.0 - self.durable.position.0
    }

    /// The object and the offset in it where `position` lies; `None` when no live segment holds it.
    pub fn locate(&self, position: Position) -> Option<(Object, u64)> {
        let slot = self.slots.slot_of(self.layout.number(position))?;
        Some((Object::Segment(slot), self.layout.offset(position)))
    }

    /// Frees the segments that hold nothing at or after `position`. At most the `keep_from` of a checkpoint that
    /// is committed, or any place before it: recovery starts from there (J7).
    ///
    /// # Panics
    /// When `position` is not durable.
    pub fn release_before(&mut self, position: Position) {
        assert!(position <= self.durable.position, "release of {position}, not durable yet");
        // The segment in which the replay starts stays: its header anchors the chain of frames.
        self.slots.release_below(self.layout.number_before(position));
        self.record_segments = self.record_segments.min(self.enough_for_records());
    }

    /// First byte of the oldest segment in use.
    pub fn oldest(&self) -> Position {
        self.layout.start(self.slots.oldest().unwrap_or(self.number))
    }

    /// A slot to create, `segment_bytes` long, ahead of need. One that is `Written` gets its `ready_mark` before it is ready.
    pub fn wanted_slot(&mut self) -> Option<(u32, CreateSpace)> {
        let capacity = usize::try_from(self.record_segments).unwrap_or(usize::MAX);
        self.slots.wanted(capacity)
    }

    /// The first block of a slot that was written with zeroes: an opening does not look through them then. No sync waits
    /// for it.
    pub fn ready_mark(&self, slot: u32) -> Buffer {
        Buffer::from_vec(ready_mark(self.uuid, self.seed, slot))
    }

    /// The slot was created.
    ///
    /// # Panics
    /// When it was not wanted.
    pub fn slot_ready(&mut self, slot: u32) {
        self.slots.ready(slot);
    }

    /// The slot could not be created. None is wanted until segments are released or `retry_slots`.
    ///
    /// # Panics
    /// When it was not wanted.
    pub fn slot_failed(&mut self, slot: u32) {
        self.slots.failed(slot);
    }

    /// True when a slot could not be created, and since then none was released and none tried again.
    pub fn lacks_slots(&self) -> bool {
        self.slots.is_paused()
    }

    /// Slots may be wanted again after `slot_failed`.
    pub fn retry_slots(&mut self) {
        self.slots.retry();
    }

    /// Bytes of a segment: the length of its object.
    pub fn segment_bytes(&self) -> u64 {
        self.layout.segment_bytes()
    }

    /// Number of this opening.
    pub fn opening(&self) -> u64 {
        self.opening
    }

    /// The slots, for recovery to create some and to free what it made void.
    pub(super) fn slots_mut(&mut self) -> &mut Slots {
        &mut self.slots
    }

    /// Segments with which records surely have room, whatever host writes hold: the capacity or more.
    fn enough_for_records(&self) -> u64 {
        self.capacity_segments.max(self.slots.live_count() as u64 + RESERVE_SEGMENTS)
    }

    /// Recovery has performed and synced every write taken so far, and takes no more segments.
    pub(super) fn all_durable(&mut self) {
        self.record_segments = self.enough_for_records();
        self.first_ticket += self.in_flight.len() as u64;
        self.in_flight.clear();
        self.written = self.end;
        self.durable = self.end;
    }
}

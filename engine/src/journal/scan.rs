//! The scan: from a checkpoint's mark along the chain of frames to the first one that is not acceptable, and
//! the judgement whether that is the torn tail or corruption (invariant J5). It writes nothing.
//!
//! Every payload is read once and compared with its checksum. A damaged record ends the frames that count, and so does a
//! damaged staged write past the place known synced; whether an older one is needed, the caller knows (`verify`).

use super::checkpoint::LoadedCheckpoint;
use super::error::read;
use super::frame::{FRAME_HEADER_BYTES, FrameFault, FrameHeader, FrameKind};
use super::segment::Layout;
use super::survey::{Nameless, Segment, Survey, find_frames};
use super::window::Window;
use super::{Damage, Mark, OpenError};
use crate::io::{Object, Storage, Stretch};
use crate::store::{SectorFault, StoreHeader, checksum};
use crate::units::{BLOCK_BYTES, ByteRange, Position, Seq, VolumeId};

/// A frame of the journal, as recovery gives it to the engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScannedFrame {
    /// Its number.
    pub seq: Seq,
    /// What it holds.
    pub content: FrameContent,
}

/// What a frame holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FrameContent {
    /// A metadata record.
    Record(Vec<u8>),
    /// A staged write; its payload stays in the journal.
    Data {
        /// Volume.
        volume: VolumeId,
        /// Bytes of the volume.
        range: ByteRange,
        /// First byte of the payload.
        payload: Position,
    },
    /// A staged range of zeroes.
    Zeroes {
        /// Volume.
        volume: VolumeId,
        /// Bytes of the volume.
        range: ByteRange,
    },
    /// Nothing.
    Watermark,
}

/// A frame with its header.
#[derive(Clone, Debug)]
pub(super) struct Accepted {
    pub(super) header: FrameHeader,
    /// After the frame.
    pub(super) end: Mark,
    /// Of a record: its bytes.
    pub(super) record: Vec<u8>,
    /// The payload has its checksum: always true of records.
    pub(super) whole: bool,
}

impl Accepted {
    /// For the engine, with the payload at `payload`.
    pub(super) fn into_scanned(self, payload: Position) -> ScannedFrame {
        let header = self.header;
        let content = match header.kind {
            FrameKind::Record => FrameContent::Record(self.record),
            FrameKind::Data => {
                FrameContent::Data { volume: header.volume, range: header.range(), payload }
            }
            FrameKind::Zeroes => {
                FrameContent::Zeroes { volume: header.volume, range: header.range() }
            }
            FrameKind::Watermark => FrameContent::Watermark,
        };
        ScannedFrame { seq: header.seq, content }
    }
}

/// Where and why a scan ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stop {
    pub(super) mark: Mark,
    /// Where the frame was looked for that is not acceptable: at the mark or in the next block.
    pub(super) at: Position,
    pub(super) segment: u64,
    pub(super) slot: Option<u32>,
    pub(super) fault: FrameFault,
}

/// What a scan found.
#[derive(Debug)]
pub(super) struct Scan {
    /// The frames that count, in order.
    pub(super) frames: Vec<Accepted>,
    /// Everything up to here is known synced; the frames after it are the tail.
    pub(super) base: Mark,
    /// How many frames lie before `base`.
    pub(super) synced_frames: usize,
    /// Where the frames that count end, and why.
    pub(super) stop: Stop,
    /// The journal is known to have been synced through here.
    pub(super) synced_through: Position,
    /// The greatest segment number and opening that any frame looked at names.
    pub(super) greatest_number: u64,
    pub(super) greatest_opening: u64,
    /// Segments told from their frames, their headers being lost: number and slot.
    pub(super) told: Vec<(u64, u32)>,
}

impl Scan {
    /// Corruption, when the frames that count end before the place known synced.
    pub(super) fn damage(&self, layout: Layout) -> Option<Damage> {
        let Stop { mark, at, segment, slot, fault } = self.stop;
        let anchor_lost = fault == FrameFault::NoSegment && mark.position.0 > 0;
        if self.synced_through <= mark.position && !anchor_lost {
            return None;
        }
        // What ends with its segment goes on in the next, whose header cannot be read then.
        let (segment, slot, fault) = if at < layout.end(segment) {
            (segment, slot, fault)
        } else {
            (segment + 1, None, FrameFault::NoSegment)
        };
        Some(Damage {
            segment,
            object: slot.map(Object::Segment),
            offset: at.0 - layout.start(segment).0,
            position: at,
            fault,
            synced_through: self.synced_through,
        })
    }
}

/// Scans from the checkpoint's mark on.
pub(super) fn scan(
    storage: &mut dyn Storage,
    store: &StoreHeader,
    survey: &Survey,
    checkpoint: &LoadedCheckpoint,
) -> Result<Scan, OpenError> {
    let mut walk = Walk {
        store,
        layout: Layout::new(store.segment_bytes),
        survey,
        frames: Vec::new(),
        places: vec![checkpoint.header.mark],
        synced_through: checkpoint.synced_through,
    };
    storage.will_read(&walk.way_from(checkpoint.header.mark));
    let mut stop = walk.follow(storage, checkpoint.header.mark)?;
    let mut greatest_number = 0;
    let mut greatest_opening = 0;
    let mut told = Vec::new();
    for (slot, header) in walk.frames_past(storage, &stop)? {
        let number = walk.layout.number(header.position);
        greatest_number = greatest_number.max(number);
        greatest_opening = greatest_opening.max(header.opening);
        walk.note_evidence(&stop, slot, &header, &mut told);
    }
    if walk.synced_through <= stop.mark.position {
        walk.end_tail_at_damage(&mut stop);
    }
    let Walk { frames, places, synced_through, .. } = walk;
    let base = places.into_iter().rfind(|place| place.position <= synced_through);
    let base = base.unwrap_or(checkpoint.header.mark);
    let synced_frames = frames.partition_point(|frame| frame.end.position <= base.position);
    told.sort_unstable();
    told.dedup_by_key(|(number, _)| *number);
    Ok(Scan {
        frames,
        base,
        synced_frames,
        stop,
        synced_through,
        greatest_number,
        greatest_opening,
        told,
    })
}

struct Walk<'a> {
    store: &'a StoreHeader,
    layout: Layout,
    survey: &'a Survey,
    frames: Vec<Accepted>,
    /// The start, the end of each frame, the start of the content of each segment entered.
    places: Vec<Mark>,
    synced_through: Position,
}

impl Walk<'_> {
    /// What is read from `mark` on, unless the chain of frames ends.
    fn way_from(&self, mark: Mark) -> Vec<Stretch> {
        let first = self.layout.number_before(mark.position);
        let stretch = |(&number, segment): (&u64, &Segment)| {
            let start = mark.position.max(self.layout.content(number)).0;
            let base = self.layout.start(number).0;
            let range = ByteRange { start: start - base, end: segment.limit.0.max(start) - base };
            Stretch { object: Object::Segment(segment.slot), range }
        };
        self.survey.segments.range(first..).map(stretch).collect()
    }

    /// Accepts frames along the chain from `mark` on.
    fn follow(&mut self, storage: &mut dyn Storage, mut mark: Mark) -> Result<Stop, OpenError> {
        let survey = self.survey;
        let mut segment = survey.segments.get(&self.layout.number_before(mark.position));
        let mut window = Window::default();
        loop {
            if let Some(next) = survey.successor(mark.position) {
                mark.position = self.layout.content(next.header.number);
                self.places.push(mark);
                self.synced_through = self.synced_through.max(next.header.synced_through);
                segment = Some(next);
                continue;
            }
            let Some(here) = segment else {
                let number = self.layout.number_before(mark.position);
                let fault = FrameFault::NoSegment;
                let at = mark.position;
                return Ok(Stop { mark, at, segment: number, slot: None, fault });
            };
            match self.next_frame(storage, &mut window, here, &mark)? {
                Ok(frame) => {
                    mark = frame.end;
                    self.places.push(mark);
                    self.synced_through = self.synced_through.max(frame.header.synced_through);
                    self.frames.push(frame);
                }
                Err((at, fault)) => {
                    let (number, slot) = (here.header.number, Some(here.slot));
                    return Ok(Stop { mark, at, segment: number, slot, fault });
                }
            }
        }
    }

    /// The frame after `mark`: right there, or, when a new write began with it, in the next block.
    /// Otherwise where it should be, and what is wrong there.
    fn next_frame(
        &self,
        storage: &mut dyn Storage,
        window: &mut Window,
        segment: &Segment,
        mark: &Mark,
    ) -> Result<Result<Accepted, (Position, FrameFault)>, OpenError> {
        let block = Position(mark.position.0.next_multiple_of(BLOCK_BYTES));
        let fault = match self.frame_at(storage, window, segment, mark, mark.position)? {
            Err(fault) if block != mark.position => fault,
            done => return Ok(done.map_err(|fault| (mark.position, fault))),
        };
        // The block is where the frame should be, unless there is a trace of one at the mark.
        Ok(match self.frame_at(storage, window, segment, mark, block)? {
            Err(_) if fault != FrameFault::Absent => Err((mark.position, fault)),
            done => done.map_err(|fault| (block, fault)),
        })
    }

    /// The frame at `position`, if it continues `mark` there.
    fn frame_at(
        &self,
        storage: &mut dyn Storage,
        window: &mut Window,
        segment: &Segment,
        mark: &Mark,
        position: Position,
    ) -> Result<Result<Accepted, FrameFault>, OpenError> {
        let object = Object::Segment(segment.slot);
        let offset = position.0 - self.layout.start(segment.header.number).0;
        let bytes = window.read(storage, self.layout, object, offset, FRAME_HEADER_BYTES)?;
        let (header, sum) = match FrameHeader::decode(bytes, self.store.secret) {
            Ok(decoded) => decoded,
            Err(fault) => return Ok(Err(fault)),
        };
        if let Err(fault) = check(&header, mark, position, segment) {
            return Ok(Err(fault));
        }
        let start = offset + FRAME_HEADER_BYTES;
        let payload = window.read(storage, self.layout, object, start, header.payload_bytes())?;
        let whole = checksum(self.store.secret, payload) == header.payload_crc;
        let mut record = Vec::new();
        if header.kind == FrameKind::Record {
            if !whole {
                return Ok(Err(FrameFault::PayloadChecksum));
            }
            record = payload.to_vec();
        }
        let end = Mark { position: header.end(), seq: header.seq, checksum: sum };
        Ok(Ok(Accepted { header, end, record, whole }))
    }

    /// Whole frame headers past the stop, wherever they may lie, with their slots.
    fn frames_past(
        &self,
        storage: &mut dyn Storage,
        stop: &Stop,
    ) -> Result<Vec<(u32, FrameHeader)>, OpenError> {
        let mut found = Vec::new();
        for (&number, segment) in self.survey.segments.range(stop.segment..) {
            let start = self.layout.start(number).0;
            let from = stop.mark.position.0.saturating_sub(start);
            let to = segment.limit.0 - start;
            let frames = find_frames(storage, self.store, segment.slot, from, to)?;
            let of_it = |frame: &FrameHeader| {
                self.layout.number(frame.position) == number
                    && frame.opening == segment.header.opening
            };
            found.extend(frames.into_iter().filter(of_it).map(|frame| (segment.slot, frame)));
        }
        for nameless in &self.survey.nameless {
            let to = self.layout.segment_bytes();
            let frames = find_frames(storage, self.store, nameless.slot, 0, to)?;
            found.extend(frames.into_iter().map(|frame| (nameless.slot, frame)));
        }
        Ok(found)
    }

    /// What a frame that the chain does not reach still proves: that the journal was synced, or which segment lies in a
    /// slot whose header is lost.
    fn note_evidence(
        &mut self,
        stop: &Stop,
        slot: u32,
        frame: &FrameHeader,
        told: &mut Vec<(u64, u32)>,
    ) {
        let number = self.layout.number(frame.position);
        let known = |number| {
            self.survey.segments.contains_key(&number) || self.survey.void.contains_key(&number)
        };
        let of_named = self.survey.segments.get(&number).is_some_and(|named| named.slot == slot);
        if !of_named && known(number) {
            return;
        }
        let damaged = |it: &Nameless| it.slot == slot && it.fault != SectorFault::Blank;
        if number <= stop.segment && self.survey.nameless.iter().any(damaged) {
            told.push((number, slot));
        }
        let newest = self.survey.segments.get(&stop.segment).map_or(0, |it| it.header.opening);
        if frame.position >= stop.mark.position && frame.opening >= newest {
            self.synced_through = self.synced_through.max(frame.synced_through);
        }
    }

    /// Ends the frames that count at the first staged write past the place known synced whose payload is not whole.
    fn end_tail_at_damage(&mut self, stop: &mut Stop) {
        let first = self.frames.partition_point(|it| it.end.position <= self.synced_through);
        let Some(header) = self.frames[first..].iter().find(|it| !it.whole).map(|it| it.header)
        else {
            return;
        };
        let number = self.layout.number(header.position);
        let slot = self.survey.segments.get(&number).map(|segment| segment.slot);
        self.frames.retain(|frame| frame.header.position < header.position);
        self.places.retain(|place| place.position <= header.position);
        let mark = self.places.last().copied().unwrap_or_default();
        let (at, fault) = (header.position, FrameFault::PayloadChecksum);
        *stop = Stop { mark, at, segment: number, slot, fault };
    }
}

/// Invariants J1 and J2, for a frame found at `position` after `mark`.
fn check(
    header: &FrameHeader,
    mark: &Mark,
    position: Position,
    segment: &Segment,
) -> Result<(), FrameFault> {
    if header.position != position {
        return Err(FrameFault::Position(header.position));
    }
    if header.opening != segment.header.opening {
        let (found, expected) = (header.opening, segment.header.opening);
        return Err(FrameFault::Opening { found, expected });
    }
    if header.seq != mark.seq.next() {
        return Err(FrameFault::Sequence { found: header.seq, expected: mark.seq.next() });
    }
    if header.previous != mark.checksum {
        return Err(FrameFault::Chain);
    }
    if header.end() > segment.limit {
        return Err(FrameFault::TooLong);
    }
    Ok(())
}

/// The payload of an accepted frame, `None` when it is not whole.
pub(super) fn read_payload(
    storage: &mut dyn Storage,
    store: &StoreHeader,
    survey: &Survey,
    header: &FrameHeader,
) -> Result<Option<Vec<u8>>, OpenError> {
    let layout = Layout::new(store.segment_bytes);
    let Some(segment) = survey.segments.get(&layout.number(header.position)) else {
        return Ok(None);
    };
    let mut payload = vec![0; usize::try_from(header.payload_bytes()).unwrap_or(0)];
    let offset = layout.offset(header.payload());
    read(storage, Object::Segment(segment.slot), offset, &mut payload)?;
    Ok((checksum(store.secret, &payload) == header.payload_crc).then_some(payload))
}

#[cfg(test)]
mod tests {
    use super::super::segment::SegmentHeader;
    use super::*;

    fn segment() -> Segment {
        let header = SegmentHeader {
            number: 2,
            opening: 5,
            after: Position(70_000),
            synced_through: Position(0),
        };
        Segment { slot: 0, header, limit: Position(140_000) }
    }

    const MARK: Mark = Mark { position: Position(139_000), seq: Seq(8), checksum: 77 };

    fn next() -> FrameHeader {
        FrameHeader {
            kind: FrameKind::Data,
            opening: 5,
            seq: Seq(9),
            position: MARK.position,
            synced_through: Position(0),
            volume: VolumeId(0),
            offset: 0,
            length: 900,
            payload_crc: 0,
            previous: 77,
        }
    }

    #[test]
    fn a_frame_is_accepted_only_where_it_was_written_and_after_the_frame_it_was_written_after() {
        let judge = |header: FrameHeader| check(&header, &MARK, MARK.position, &segment());
        assert_eq!(judge(next()), Ok(()));
        let elsewhere = Position(MARK.position.0 - 65_536);
        assert_eq!(
            judge(FrameHeader { position: elsewhere, ..next() }),
            Err(FrameFault::Position(elsewhere))
        );
        for opening in [4, 6] {
            assert_eq!(
                judge(FrameHeader { opening, ..next() }),
                Err(FrameFault::Opening { found: opening, expected: 5 })
            );
        }
        for seq in [Seq(8), Seq(10)] {
            assert_eq!(
                judge(FrameHeader { seq, ..next() }),
                Err(FrameFault::Sequence { found: seq, expected: Seq(9) })
            );
        }
        assert_eq!(judge(FrameHeader { previous: 78, ..next() }), Err(FrameFault::Chain));
        assert_eq!(judge(FrameHeader { length: 1000, ..next() }), Err(FrameFault::TooLong));
    }
}

//! Payloads that are still needed are verified when a store is opened (rule O12): a damaged one is told while the
//! administrator looks, and no block is ever served from it.
//!
//! Frames after the checkpoint's mark were verified by the scan. Those before it are found by walking the segments that
//! hold something needed, from the start of their content. There a frame counts when its header is whole, lies where it
//! says and is of the segment's opening, and when its number is the one that the checkpoint lists: what else a chain
//! of frames would tell is not needed, so damage of frames that nobody needs does no harm.

use super::error::Damage;
use super::frame::{FRAME_ALIGN, FRAME_HEADER_BYTES, FrameFault, FrameHeader, FrameKind};
use super::recover::Judged;
use super::segment::Layout;
use super::window::Window;
use super::{OpenError, survey};
use crate::io::{Object, Storage, Stretch};
use crate::store::{StoreHeader, checksum};
use crate::units::{BLOCK_BYTES, ByteRange, Position, Seq};

/// Bytes of a staged write that are still needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Needed {
    /// The first of them in the journal.
    pub position: Position,
    /// How many.
    pub bytes: u64,
    /// Number of the frame that holds them.
    pub seq: Seq,
}

impl Needed {
    /// What is wrong when the frame `header`, whose payload is whole, is to hold the bytes.
    fn check(&self, header: &FrameHeader) -> Result<(), FrameFault> {
        if header.kind != FrameKind::Data {
            return Err(FrameFault::Absent);
        }
        if header.seq != self.seq {
            return Err(FrameFault::Sequence { found: header.seq, expected: self.seq });
        }
        let end = header.payload().0 + header.payload_bytes();
        if self.position < header.payload() || self.position.0 + self.bytes > end {
            return Err(FrameFault::Fields);
        }
        Ok(())
    }
}

/// A place in the journal and what is wrong there.
type Fault = (Position, FrameFault);

/// The first of the needed payloads that is damaged, if any.
///
/// # Errors
/// The storage fails.
pub(super) fn find_damage(
    storage: &mut dyn Storage,
    judged: &Judged,
    mut needed: Vec<Needed>,
) -> Result<Option<Damage>, OpenError> {
    needed.sort_unstable();
    let layout = judged.layout();
    let mark = judged.checkpoint.header.mark.position;
    let (before, after) = needed.split_at(needed.partition_point(|it| it.position < mark));
    let segments = before.chunk_by(|a, b| layout.number(a.position) == layout.number(b.position));
    let way: Vec<Stretch> = segments.clone().filter_map(|needed| way_to(judged, needed)).collect();
    storage.will_read(&way);
    for of_segment in segments {
        let number = layout.number(of_segment[0].position);
        let fault = match OldSegment::find(judged, number) {
            Some(segment) => segment.look_for(storage, of_segment)?,
            None => Some((layout.start(number), FrameFault::NoSegment)),
        };
        if let Some(fault) = fault {
            return Ok(Some(damage(judged, fault)));
        }
    }
    Ok(look_among_scanned(judged, after).map(|fault| damage(judged, fault)))
}

/// What is read of a segment to verify the last of the needed bytes in it.
fn way_to(judged: &Judged, needed: &[Needed]) -> Option<Stretch> {
    let layout = judged.layout();
    let last = needed.last()?;
    let number = layout.number(last.position);
    let end = layout.offset(last.position) + last.bytes;
    let range = ByteRange { start: layout.offset(layout.content(number)), end };
    Some(Stretch { object: Object::Segment(slot_of(judged, number)?), range })
}

/// The needed bytes after the mark: the scan has read every frame there.
fn look_among_scanned(judged: &Judged, needed: &[Needed]) -> Option<Fault> {
    let frames = &judged.scan.frames;
    needed.iter().find_map(|needed| {
        let following = frames.partition_point(|it| it.header.position <= needed.position);
        let Some(frame) = following.checked_sub(1).and_then(|at| frames.get(at)) else {
            return Some((needed.position, FrameFault::Absent));
        };
        let fault = match needed.check(&frame.header) {
            Ok(()) if frame.whole => return None,
            Ok(()) => FrameFault::PayloadChecksum,
            Err(fault) => fault,
        };
        Some((frame.header.position, fault))
    })
}

fn damage(judged: &Judged, (position, fault): Fault) -> Damage {
    let layout = judged.layout();
    let segment = layout.number(position);
    Damage {
        segment,
        object: slot_of(judged, segment).map(Object::Segment),
        offset: layout.offset(position),
        position,
        fault,
        synced_through: judged.scan.synced_through,
    }
}

/// The slot of a segment, also when its header rotted.
fn slot_of(judged: &Judged, number: u64) -> Option<u32> {
    let named = judged.survey.segments.get(&number).map(|segment| segment.slot);
    let told = || judged.scan.told.iter().find(|told| told.0 == number).map(|told| told.1);
    named.or_else(told)
}

/// A segment that holds frames before the mark.
struct OldSegment<'a> {
    store: &'a StoreHeader,
    layout: Layout,
    number: u64,
    object: Object,
    /// What its header says, unless that rotted.
    header: Option<&'a survey::Segment>,
}

impl<'a> OldSegment<'a> {
    fn find(judged: &'a Judged, number: u64) -> Option<Self> {
        let object = Object::Segment(slot_of(judged, number)?);
        let header = judged.survey.segments.get(&number);
        Some(Self { store: &judged.header, layout: judged.layout(), number, object, header })
    }

    /// Walks the frames up to the last one that is needed; gives what is wrong with the first one that is damaged.
    fn look_for(
        &self,
        storage: &mut dyn Storage,
        mut needed: &[Needed],
    ) -> Result<Option<Fault>, OpenError> {
        let mut window = Window::default();
        let mut place = self.layout.content(self.number);
        while let Some(first) = needed.first() {
            let frame = match self.next_frame(storage, &mut window, place)? {
                Ok(frame) => frame,
                Err(fault) => {
                    let last = first.position;
                    match self.whole_frame(storage, &mut window, place, last)? {
                        Some(frame) => frame,
                        None => return Ok(Some(fault)),
                    }
                }
            };
            place = frame.end();
            let held = needed.partition_point(|it| it.position < frame.end());
            if held == 0 {
                continue;
            }
            let (here, later) = needed.split_at(held);
            let payload =
                self.read(storage, &mut window, frame.payload(), frame.payload_bytes())?;
            let whole = checksum(self.store.secret, payload) == frame.payload_crc;
            let fault = here.iter().find_map(|it| it.check(&frame).err());
            if let Some(fault) = fault.or((!whole).then_some(FrameFault::PayloadChecksum)) {
                return Ok(Some((frame.position, fault)));
            }
            needed = later;
        }
        Ok(None)
    }

    /// The frame at `place`, or, when a new write began with it, in the next block.
    fn next_frame(
        &self,
        storage: &mut dyn Storage,
        window: &mut Window,
        place: Position,
    ) -> Result<Result<FrameHeader, Fault>, OpenError> {
        let block = Position(place.0.next_multiple_of(BLOCK_BYTES));
        let fault = match self.frame_at(storage, window, place)? {
            Err(fault) if block != place => fault,
            done => return Ok(done.map_err(|fault| (place, fault))),
        };
        // The block is where the frame should be, unless there is a trace of one right here.
        Ok(match self.frame_at(storage, window, block)? {
            Err(_) if fault != FrameFault::Absent => Err((place, fault)),
            done => done.map_err(|fault| (block, fault)),
        })
    }

    /// The first whole frame after `place` that begins at `last` at the latest: how the walk goes on past damage.
    fn whole_frame(
        &self,
        storage: &mut dyn Storage,
        window: &mut Window,
        place: Position,
        last: Position,
    ) -> Result<Option<FrameHeader>, OpenError> {
        let mut at = Position(place.0 + FRAME_ALIGN);
        while at <= last {
            if let Ok(frame) = self.frame_at(storage, window, at)? {
                return Ok(Some(frame));
            }
            at.0 += FRAME_ALIGN;
        }
        Ok(None)
    }

    fn frame_at(
        &self,
        storage: &mut dyn Storage,
        window: &mut Window,
        place: Position,
    ) -> Result<Result<FrameHeader, FrameFault>, OpenError> {
        let bytes = self.read(storage, window, place, FRAME_HEADER_BYTES)?;
        let header = match FrameHeader::decode(bytes, self.store.secret) {
            Ok((header, _)) => header,
            Err(fault) => return Ok(Err(fault)),
        };
        Ok(if header.position != place {
            Err(FrameFault::Position(header.position))
        } else if header.end() > self.layout.end(self.number) {
            Err(FrameFault::TooLong)
        } else if let Some(named) = self.header
            && header.opening != named.header.opening
        {
            let (found, expected) = (header.opening, named.header.opening);
            Err(FrameFault::Opening { found, expected })
        } else {
            Ok(header)
        })
    }

    /// Bytes of the segment from `place` on, fewer where it ends.
    fn read<'w>(
        &self,
        storage: &mut dyn Storage,
        window: &'w mut Window,
        place: Position,
        bytes: u64,
    ) -> Result<&'w [u8], OpenError> {
        let offset = place.0 - self.layout.start(self.number).0;
        window.read(storage, self.layout, self.object, offset, bytes)
    }
}

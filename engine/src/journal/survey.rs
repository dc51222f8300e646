//! A survey of the slots: which segments there are, how far the content of each counts, and which slots are free.
//!
//! A segment's `after` makes void what older segments hold past it. So the content of a segment counts up to the
//! least `after` of all younger segments, and a segment of which nothing counts is void.
//!
//! A slot that carries the mark of those written with zeroes is not looked through for frames whose header was lost. The header
//! takes the mark's place with the segment's first frames, so where the mark is, nothing was synced, unless that write was
//! lost although its sync succeeded. Later frames tell of it, so their first place is looked at all the same.

use std::collections::BTreeMap;

use super::OpenError;
use super::error::{data, length, read};
use super::frame::{FRAME_ALIGN, FRAME_HEADER_BYTES, FrameHeader};
use super::segment::{CONTENT_OFFSET, Layout, SegmentHeader, is_ready_mark};
use crate::io::{Object, Storage, Stretch};
use crate::store::{HEADER_BLOCK_BYTES, SectorFault, StoreHeader};
use crate::units::{ByteRange, Position};

/// A segment with a whole header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    /// Where it is.
    pub(super) slot: u32,
    /// What its header says.
    pub(super) header: SegmentHeader,
    /// Its content counts up to here.
    pub(super) limit: Position,
}

/// A slot without a whole header: never used, torn when it was begun, or damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Nameless {
    /// Which.
    pub(super) slot: u32,
    /// Why there is no header.
    pub(super) fault: SectorFault,
}

/// Bytes at the start of a ready slot's content that are looked at: the frames of the first writes.
const LOOKED_AT: usize = 64 << 10;

/// A slot whose object has another length than a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct WrongLength {
    /// Which.
    pub(super) slot: u32,
    /// The length in bytes.
    pub(super) bytes: u64,
    /// True when it holds nothing: a creation that was cut off. Otherwise it was damaged.
    pub(super) blank: bool,
}

/// All slots.
#[derive(Debug, Default)]
pub(super) struct Survey {
    /// Segments of which something counts, by number.
    pub(super) segments: BTreeMap<u64, Segment>,
    /// Segments of which nothing counts, by number.
    pub(super) void: BTreeMap<u64, Segment>,
    /// Slots without a whole header.
    pub(super) nameless: Vec<Nameless>,
    /// Slots in which nothing was written but zeroes and the mark that says so.
    pub(super) ready: Vec<u32>,
    /// Slots whose object has another length than a segment.
    pub(super) wrong_length: Vec<WrongLength>,
    /// By `after`: what goes on there.
    successors: BTreeMap<Position, u64>,
}

impl Survey {
    /// Looks at the header of every slot.
    pub(super) fn take(storage: &mut dyn Storage, store: &StoreHeader) -> Result<Self, OpenError> {
        let mut survey = Self::default();
        let mut found: BTreeMap<u64, Segment> = BTreeMap::new();
        for object in storage.list().map_err(OpenError::List)? {
            let Object::Segment(slot) = object else {
                continue;
            };
            let bytes = length(storage, object)?.unwrap_or(0);
            let mut block = [0; HEADER_BLOCK_BYTES];
            read(storage, object, 0, &mut block)?;
            if bytes != u64::from(store.segment_bytes) {
                let blank = block.iter().all(|&byte| byte == 0);
                survey.wrong_length.push(WrongLength { slot, bytes, blank });
                continue;
            }
            let header = match SegmentHeader::decode(&block, store) {
                Ok(header) => header,
                Err(_) if is_ready_mark(&block, store, slot) && is_unused(storage, slot)? => {
                    survey.ready.push(slot);
                    continue;
                }
                Err(fault) => {
                    survey.nameless.push(Nameless { slot, fault });
                    continue;
                }
            };
            let segment = Segment { slot, header, limit: Position(0) };
            match found.get(&header.number) {
                // Numbers are unique, unless an object was copied by hand: the first one counts.
                Some(_) => survey.nameless.push(Nameless { slot, fault: SectorFault::Fields }),
                None => {
                    found.insert(header.number, segment);
                }
            }
        }
        survey.set_limits(found, Layout::new(store.segment_bytes));
        Ok(survey)
    }

    /// From the youngest to the oldest: the least `after` seen so far limits what counts.
    fn set_limits(&mut self, found: BTreeMap<u64, Segment>, layout: Layout) {
        let mut least_after = Position(u64::MAX);
        for (number, mut segment) in found.into_iter().rev() {
            if least_after <= layout.start(number) {
                self.void.insert(number, segment);
                continue;
            }
            segment.limit = least_after.min(layout.end(number));
            least_after = least_after.min(segment.header.after);
            self.successors.insert(segment.header.after, number);
            self.segments.insert(number, segment);
        }
    }

    /// The segment that goes on where content ends at `position`.
    pub(super) fn successor(&self, position: Position) -> Option<&Segment> {
        self.successors.get(&position).and_then(|number| self.segments.get(number))
    }

    /// The greatest segment number in any header.
    pub(super) fn greatest_number(&self) -> u64 {
        let last = |map: &BTreeMap<u64, Segment>| map.last_key_value().map_or(0, |(&n, _)| n);
        last(&self.segments).max(last(&self.void))
    }

    /// The greatest opening in any header.
    pub(super) fn greatest_opening(&self) -> u64 {
        let all = self.segments.values().chain(self.void.values());
        all.map(|segment| segment.header.opening).max().unwrap_or(0)
    }
}

/// True when no frame is where the first ones of a segment would be.
fn is_unused(storage: &mut dyn Storage, slot: u32) -> Result<bool, OpenError> {
    let mut content = vec![0; LOOKED_AT];
    read(storage, Object::Segment(slot), CONTENT_OFFSET, &mut content)?;
    Ok(content.iter().all(|&byte| byte == 0))
}

/// Every whole frame header in `slot` that lies where it says, from byte `from` up to byte `to` of the segment: how a
/// segment is read when the chain of frames is broken or its header is lost. Most such slots were never written.
pub(super) fn find_frames(
    storage: &mut dyn Storage,
    store: &StoreHeader,
    slot: u32,
    from: u64,
    to: u64,
) -> Result<Vec<FrameHeader>, OpenError> {
    let object = Object::Segment(slot);
    let start = from.next_multiple_of(FRAME_ALIGN).max(CONTENT_OFFSET);
    let mut frames = Vec::new();
    if to <= start {
        return Ok(frames);
    }
    for part in data(storage, Stretch { object, range: ByteRange { start, end: to } })? {
        let from = part.start - part.start % FRAME_ALIGN;
        // The last header may end in zeroes that were never written.
        let end = part.end.saturating_add(FRAME_HEADER_BYTES).min(to);
        let bytes = usize::try_from(end - from).expect("a segment fits memory");
        let mut content = vec![0; bytes];
        read(storage, object, from, &mut content)?;
        frames.append(&mut frames_in(&content, from, store));
    }
    frames.dedup_by_key(|frame| frame.position);
    Ok(frames)
}

/// The same in `content`, which lies at byte `from` of the segment.
fn frames_in(content: &[u8], from: u64, store: &StoreHeader) -> Vec<FrameHeader> {
    let layout = Layout::new(store.segment_bytes);
    let mut frames = Vec::new();
    let step = usize::try_from(FRAME_ALIGN).expect("a small constant");
    for at in (0..content.len()).step_by(step) {
        let Some(rest) = content.get(at..) else { break };
        if let Ok((header, _)) = FrameHeader::decode(rest, store.secret)
            && layout.offset(header.position) == from + at as u64
        {
            frames.push(header);
        }
    }
    frames
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Segments of 64 KiB, each a number and its `after`, in slots of the same number.
    fn survey(segments: &[(u64, u64)]) -> Survey {
        let found = segments.iter().map(|&(number, after)| {
            let after = Position(after);
            let header =
                SegmentHeader { number, opening: number, after, synced_through: Position(0) };
            let slot = u32::try_from(number).unwrap();
            (number, Segment { slot, header, limit: Position(0) })
        });
        let mut survey = Survey::default();
        survey.set_limits(found.collect(), Layout::new(65_536));
        survey
    }

    const SEGMENT: u64 = 65_536;

    #[test]
    fn content_counts_up_to_the_place_where_a_younger_segment_takes_over() {
        let survey = survey(&[(1, 0), (2, SEGMENT + 9000), (3, 2 * SEGMENT + 8192)]);
        let limits: Vec<u64> = survey.segments.values().map(|segment| segment.limit.0).collect();
        assert_eq!(limits, [SEGMENT + 9000, 2 * SEGMENT + 8192, 4 * SEGMENT]);
        assert_eq!(survey.successor(Position(SEGMENT + 9000)).map(|it| it.header.number), Some(2));
        assert_eq!(survey.successor(Position(SEGMENT + 9008)), None);
        assert!(survey.void.is_empty());
    }

    #[test]
    fn segments_after_the_place_that_a_recovery_went_back_to_are_void() {
        // Segment 2 followed 1; a recovery gave up its content and went on within 1, twice.
        let back = SEGMENT + 5000;
        let survey = survey(&[(1, 0), (2, SEGMENT + 9000), (3, back), (4, back)]);
        assert_eq!(survey.void.keys().copied().collect::<Vec<_>>(), [2, 3]);
        assert_eq!(survey.successor(Position(back)).map(|it| it.header.number), Some(4));
        assert_eq!(survey.successor(Position(SEGMENT + 9000)), None);
        assert_eq!(survey.greatest_number(), 4);
    }

    #[test]
    fn a_segment_whose_predecessor_is_missing_makes_nothing_void() {
        let survey = survey(&[(1, 0), (3, 2 * SEGMENT + 8192)]);
        assert_eq!(survey.segments.len(), 2);
        assert_eq!(survey.segments[&1].limit, Position(2 * SEGMENT));
    }
}

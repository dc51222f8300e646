//! Segments: where positions lie in stored objects, and the header that begins each segment.
//!
//! Segments are numbered upward over all time, from 1; a slot (a stored object) holds one segment after the other.
//! Position = number x segment size + offset. Position 0 is the beginning of history, before segment 1.

use crate::store::{
    HEADER_BLOCK_BYTES, SectorFault, StoreHeader, StoreUuid, open_sector, sealed_block,
};
use crate::units::Position;

/// Bytes before the first frame of a segment.
pub(super) const CONTENT_OFFSET: u64 = HEADER_BLOCK_BYTES as u64;

const MAGIC: [u8; 8] = *b"FTSEGMNT";
const READY_MAGIC: [u8; 8] = *b"FTSREADY";

/// What the header of a segment says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    /// Number of the segment.
    pub(super) number: u64,
    /// Number of the opening that writes it.
    pub(super) opening: u64,
    /// Where the content before this segment ends; what older segments hold past it is void.
    pub(super) after: Position,
    /// The journal was known synced up to here when the header was written.
    pub(super) synced_through: Position,
}

impl SegmentHeader {
    /// The segment's first block.
    pub(super) fn encode(&self, uuid: StoreUuid, seed: u32) -> Vec<u8> {
        sealed_block(MAGIC, seed, |fields| {
            fields.put(&uuid.0);
            fields.put_u64(self.number);
            fields.put_u64(self.opening);
            fields.put_u64(self.after.0);
            fields.put_u64(self.synced_through.0);
        })
    }

    /// From the segment's first block.
    ///
    /// # Errors
    /// Says why there is no whole header of this store.
    pub(super) fn decode(block: &[u8], store: &StoreHeader) -> Result<Self, SectorFault> {
        let mut fields = open_sector(block, MAGIC, store.secret)?;
        let uuid = StoreUuid(fields.take());
        let header = Self {
            number: fields.take_u64(),
            opening: fields.take_u64(),
            after: Position(fields.take_u64()),
            synced_through: Position(fields.take_u64()),
        };
        let layout = Layout::new(store.segment_bytes);
        let start = layout.checked_start(header.number).ok_or(SectorFault::Fields)?;
        if uuid != store.uuid || header.after > start || header.synced_through > start {
            return Err(SectorFault::Fields);
        }
        Ok(header)
    }
}

/// The first block of a slot that is full of zeroes otherwise, until a segment begins there.
pub(super) fn ready_mark(uuid: StoreUuid, seed: u32, slot: u32) -> Vec<u8> {
    sealed_block(READY_MAGIC, seed, |fields| {
        fields.put(&uuid.0);
        fields.put_u32(slot);
    })
}

/// True when `block` is that of this slot.
pub(super) fn is_ready_mark(block: &[u8], store: &StoreHeader, slot: u32) -> bool {
    open_sector(block, READY_MAGIC, store.secret)
        .is_ok_and(|mut fields| fields.take() == store.uuid.0 && fields.take_u32() == slot)
}

/// Translates between positions and places in segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    segment_bytes: u64,
}

impl Layout {
    /// For segments of that many bytes.
    pub(super) fn new(segment_bytes: u32) -> Self {
        Self { segment_bytes: u64::from(segment_bytes) }
    }

    /// Bytes of a segment, header included.
    pub(super) fn segment_bytes(self) -> u64 {
        self.segment_bytes
    }

    /// First byte of the segment, or `None` for numbers that no journal reaches.
    pub(super) fn checked_start(self, number: u64) -> Option<Position> {
        // The segment's end must fit too.
        let end = number.checked_add(1)?.checked_mul(self.segment_bytes)?;
        (number > 0).then(|| Position(end - self.segment_bytes))
    }

    /// First byte of the segment.
    pub(super) fn start(self, number: u64) -> Position {
        Position(number * self.segment_bytes)
    }

    /// First byte of the segment that may hold a frame.
    pub(super) fn content(self, number: u64) -> Position {
        Position(number * self.segment_bytes + CONTENT_OFFSET)
    }

    /// One past the last byte of the segment.
    pub(super) fn end(self, number: u64) -> Position {
        Position((number + 1) * self.segment_bytes)
    }

    /// Number of the segment that holds the byte.
    pub(super) fn number(self, position: Position) -> u64 {
        position.0 / self.segment_bytes
    }

    /// Offset of the byte within its segment.
    pub(super) fn offset(self, position: Position) -> u64 {
        position.0 % self.segment_bytes
    }

    /// Number of the segment that holds the byte *before* the position: where content that ends
    /// there lies, also when it fills its segment. 0 for the beginning of history.
    pub(super) fn number_before(self, position: Position) -> u64 {
        position.0.saturating_sub(1) / self.segment_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> StoreHeader {
        StoreHeader {
            generation: 1,
            uuid: StoreUuid([1; 16]),
            owner: 0,
            epoch: 1,
            secret: 5,
            segment_bytes: 65_536,
            capacity_segments: 8,
        }
    }

    #[test]
    fn a_segment_header_of_another_store_or_with_impossible_fields_is_refused() {
        let header = SegmentHeader {
            number: 3,
            opening: 2,
            after: Position(2 * 65_536 + 5000),
            synced_through: Position(0),
        };
        let block = header.encode(store().uuid, 5);
        assert_eq!(SegmentHeader::decode(&block, &store()), Ok(header));
        let stranger = StoreHeader { uuid: StoreUuid([2; 16]), ..store() };
        assert_eq!(SegmentHeader::decode(&block, &stranger), Err(SectorFault::Fields));
        let late = SegmentHeader { after: Position(3 * 65_536 + 1), ..header };
        let block = late.encode(store().uuid, 5);
        assert_eq!(SegmentHeader::decode(&block, &store()), Err(SectorFault::Fields));
        for number in [0, u64::MAX, u64::MAX / 65_536] {
            let block = SegmentHeader { number, ..header }.encode(store().uuid, 5);
            assert_eq!(SegmentHeader::decode(&block, &store()), Err(SectorFault::Fields));
        }
    }

    #[test]
    fn content_that_fills_a_segment_ends_in_that_segment() {
        let layout = Layout::new(65_536);
        assert_eq!(layout.number(layout.end(3)), 4);
        assert_eq!(layout.number_before(layout.end(3)), 3);
        assert_eq!(layout.number_before(Position(0)), 0);
    }
}

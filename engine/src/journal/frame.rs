//! Frames: the unit of the journal. A header of 64 bytes, then the payload, padded to 8 bytes.
//!
//! What a frame says of itself lets a reader tell it from anything else that may lie at that place:
//! its opening, its number, its own position, and the checksum of the frame before it (rule O10).
//! Checksums are CRC32C begun with the store's secret, since clients choose payloads.

use crate::store::{FieldReader, FieldWriter, checksum};
use crate::units::{ByteRange, Position, Seq, VolumeId};

/// Bytes of a frame's header.
pub const FRAME_HEADER_BYTES: u64 = 64;
/// Frames begin at multiples of this.
pub(super) const FRAME_ALIGN: u64 = 8;

const HEADER: usize = 64;
/// Bytes that the header's checksum covers.
const COVERED: usize = HEADER - 4;
/// First three bytes of a frame; the fourth is the kind.
const MAGIC: [u8; 3] = *b"FTJ";

/// What a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FrameKind {
    /// Metadata, opaque here.
    Record,
    /// A staged write.
    Data,
    /// A staged range of zeroes, without payload.
    Zeroes,
    /// Nothing but how far the journal is synced.
    Watermark,
}

impl FrameKind {
    fn code(self) -> u8 {
        match self {
            Self::Record => b'R',
            Self::Data => b'D',
            Self::Zeroes => b'Z',
            Self::Watermark => b'W',
        }
    }

    fn from_code(code: u8) -> Option<Self> {
        [Self::Record, Self::Data, Self::Zeroes, Self::Watermark]
            .into_iter()
            .find(|kind| kind.code() == code)
    }

    /// True when the payload follows the header.
    fn has_payload(self) -> bool {
        matches!(self, Self::Record | Self::Data)
    }
}

/// The fields of a frame's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FrameHeader {
    /// What it holds.
    pub(super) kind: FrameKind,
    /// Number of the opening that wrote it.
    pub(super) opening: u64,
    /// Its number; one more than that of the frame before it.
    pub(super) seq: Seq,
    /// Where its first byte lies.
    pub(super) position: Position,
    /// The journal was known synced up to here when the frame was appended.
    pub(super) synced_through: Position,
    /// Of a staged write: the volume.
    pub(super) volume: VolumeId,
    /// Of a staged write: first byte on the volume.
    pub(super) offset: u64,
    /// Bytes of the payload, or of the range of zeroes.
    pub(super) length: u32,
    /// Checksum of the payload.
    pub(super) payload_crc: u32,
    /// Header checksum of the frame before it.
    pub(super) previous: u32,
}

impl FrameHeader {
    /// Bytes of payload that follow the header.
    pub(super) fn payload_bytes(&self) -> u64 {
        if self.kind.has_payload() { u64::from(self.length) } else { 0 }
    }

    /// First byte of the payload.
    pub(super) fn payload(&self) -> Position {
        Position(self.position.0 + FRAME_HEADER_BYTES)
    }

    /// One past the frame's last byte, padding included.
    pub(super) fn end(&self) -> Position {
        Position(self.position.0 + frame_bytes(self.payload_bytes()))
    }

    /// The staged range.
    pub(super) fn range(&self) -> ByteRange {
        // Checked on decoding; the writer stages ranges of real volumes only.
        ByteRange { start: self.offset, end: self.offset + u64::from(self.length) }
    }

    /// The header's bytes and its checksum, which the next frame carries as `previous`.
    pub(super) fn encode(&self, seed: u32) -> ([u8; HEADER], u32) {
        let mut bytes = [0; HEADER];
        let mut fields = FieldWriter::new(&mut bytes);
        fields.put(&MAGIC);
        fields.put(&[self.kind.code()]);
        fields.put_u32(self.previous);
        fields.put_u64(self.opening);
        fields.put_u64(self.seq.0);
        fields.put_u64(self.position.0);
        fields.put_u64(self.synced_through.0);
        fields.put_u64(self.offset);
        fields.put_u32(self.volume.0);
        fields.put_u32(self.length);
        fields.put_u32(self.payload_crc);
        let sum = checksum(seed, &bytes[..COVERED]);
        bytes[COVERED..].copy_from_slice(&sum.to_le_bytes());
        (bytes, sum)
    }

    /// The header at the start of `bytes`, and its checksum.
    ///
    /// # Errors
    /// Says why there is no whole header.
    pub(super) fn decode(bytes: &[u8], seed: u32) -> Result<(Self, u32), FrameFault> {
        let Some(bytes) = bytes.first_chunk::<HEADER>() else {
            return Err(FrameFault::Absent);
        };
        let mut fields = FieldReader::new(bytes);
        if fields.take::<3>() != MAGIC {
            return Err(FrameFault::Absent);
        }
        let [code] = fields.take::<1>();
        let previous = fields.take_u32();
        let opening = fields.take_u64();
        let seq = Seq(fields.take_u64());
        let position = Position(fields.take_u64());
        let synced_through = Position(fields.take_u64());
        let offset = fields.take_u64();
        let volume = VolumeId(fields.take_u32());
        let length = fields.take_u32();
        let payload_crc = fields.take_u32();
        let sum = fields.take_u32();
        if sum != checksum(seed, &bytes[..COVERED]) {
            return Err(FrameFault::HeaderChecksum);
        }
        let kind = FrameKind::from_code(code).ok_or(FrameFault::Kind(code))?;
        if offset.checked_add(u64::from(length)).is_none() || synced_through > position {
            return Err(FrameFault::Fields);
        }
        let header = Self {
            kind,
            opening,
            seq,
            position,
            synced_through,
            volume,
            offset,
            length,
            payload_crc,
            previous,
        };
        Ok((header, sum))
    }
}

/// Bytes of a frame with `payload_bytes` bytes of payload.
pub(super) fn frame_bytes(payload_bytes: u64) -> u64 {
    FRAME_HEADER_BYTES + payload_bytes.next_multiple_of(FRAME_ALIGN)
}

/// Why there is no acceptable frame at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameFault {
    /// No frame begins here.
    #[error("no frame begins here")]
    Absent,
    /// The header is damaged or torn.
    #[error("the checksum of the frame's header is wrong")]
    HeaderChecksum,
    /// A kind that this version does not know.
    #[error("frame kind {0:#04x} is unknown")]
    Kind(u8),
    /// The header contradicts itself.
    #[error("the fields of the frame's header contradict each other")]
    Fields,
    /// It was written for another place.
    #[error("the frame says it lies at position {0}")]
    Position(Position),
    /// It is of another opening than its segment.
    #[error("the frame is of opening {found}, its segment of opening {expected}")]
    Opening {
        /// What the frame says.
        found: u64,
        /// What the segment's header says.
        expected: u64,
    },
    /// It does not follow the frame before it.
    #[error("the frame has number {found}, expected was {expected}")]
    Sequence {
        /// What the frame says.
        found: Seq,
        /// One more than the frame before it.
        expected: Seq,
    },
    /// It follows another frame than the one before it.
    #[error("the frame follows another one than the frame before it")]
    Chain,
    /// It passes the end of its segment, or the place where a later segment takes over.
    #[error("the frame passes the end of its segment's content")]
    TooLong,
    /// The payload is damaged or torn.
    #[error("the checksum of the frame's payload is wrong")]
    PayloadChecksum,
    /// The segment is not there, or its header is damaged.
    #[error("the segment's header is missing or damaged")]
    NoSegment,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> FrameHeader {
        FrameHeader {
            kind: FrameKind::Data,
            opening: 3,
            seq: Seq(17),
            position: Position(1 << 20),
            synced_through: Position(1 << 19),
            volume: VolumeId(5),
            offset: 12_288,
            length: 4096,
            payload_crc: 0xdead_beef,
            previous: 0x0102_0304,
        }
    }

    #[test]
    fn a_header_decodes_to_what_was_encoded() {
        for kind in [FrameKind::Record, FrameKind::Data, FrameKind::Zeroes, FrameKind::Watermark] {
            let header = FrameHeader { kind, ..sample() };
            let (bytes, sum) = header.encode(9);
            assert_eq!(FrameHeader::decode(&bytes, 9), Ok((header, sum)));
        }
    }

    #[test]
    fn every_flipped_bit_of_a_header_is_noticed() {
        let (bytes, _) = sample().encode(9);
        for bit in 0..HEADER * 8 {
            let mut damaged = bytes;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(FrameHeader::decode(&damaged, 9).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_header_made_without_the_secret_is_refused() {
        let (bytes, _) = sample().encode(9);
        assert_eq!(FrameHeader::decode(&bytes, 10), Err(FrameFault::HeaderChecksum));
    }

    #[test]
    fn a_header_whose_range_passes_64_bits_is_refused() {
        let (bytes, _) = FrameHeader { offset: u64::MAX, ..sample() }.encode(9);
        assert_eq!(FrameHeader::decode(&bytes, 9), Err(FrameFault::Fields));
    }

    #[test]
    fn zeroes_and_watermarks_carry_no_payload() {
        let zeroes = FrameHeader { kind: FrameKind::Zeroes, ..sample() };
        assert_eq!(zeroes.end(), Position(zeroes.position.0 + FRAME_HEADER_BYTES));
        assert_eq!(sample().end(), Position(sample().position.0 + FRAME_HEADER_BYTES + 4096));
    }
}

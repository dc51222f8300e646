//! The dump format: records with checksums. `docs/dump_format.md` is its reference.
//!
//! Invariants
//! - F1 A dump is a header record, records of data and zeroes in ascending order without overlap, and a manifest record.
//!   Nothing follows. Without a base they cover the volume; with one, what they leave out is as in the base.
//! - F2 Every byte lies under a checksum of its record and, up to the manifest, under the manifest's hash.

use serde::{Deserialize, Serialize};

/// Version of the format.
pub(crate) const FORMAT: u32 = 1;
/// First four bytes of every record.
pub(crate) const RECORD_MAGIC: [u8; 4] = *b"FTDR";
/// Bytes of a record before its payload.
pub(crate) const RECORD_BYTES: usize = 40;
/// Most bytes of a volume in one data record.
pub(crate) const CHUNK_BYTES_MAX: u64 = 1 << 20;
/// Longest payload of a record. Data that does not get smaller is stored as it is.
pub(crate) const PAYLOAD_BYTES_MAX: u32 = 1 << 20;

/// What a record holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum RecordKind {
    /// The JSON of `Header`.
    Header = 1,
    /// Bytes of the volume.
    Data = 2,
    /// Nothing: the bytes read as zeroes.
    Zeroes = 3,
    /// The JSON of `Manifest`.
    Manifest = 4,
}

/// How a payload is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Encoding {
    /// As it is.
    Plain = 0,
    /// One zstd frame.
    Zstd = 1,
}

/// The fixed part of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RecordHeader {
    /// What it holds.
    pub(crate) kind: RecordKind,
    /// How its payload is stored.
    pub(crate) encoding: Encoding,
    /// Counts from 0.
    pub(crate) number: u32,
    /// Length of its payload.
    pub(crate) payload_bytes: u32,
    /// First byte of the volume.
    pub(crate) offset: u64,
    /// Bytes of the volume.
    pub(crate) bytes: u64,
    /// CRC-32C of its payload.
    pub(crate) payload_crc: u32,
}

impl RecordHeader {
    /// As it is stored.
    pub(crate) fn encode(&self) -> [u8; RECORD_BYTES] {
        let mut out = [0; RECORD_BYTES];
        out[..4].copy_from_slice(&RECORD_MAGIC);
        out[4] = self.kind as u8;
        out[5] = self.encoding as u8;
        out[8..12].copy_from_slice(&self.number.to_le_bytes());
        out[12..16].copy_from_slice(&self.payload_bytes.to_le_bytes());
        out[16..24].copy_from_slice(&self.offset.to_le_bytes());
        out[24..32].copy_from_slice(&self.bytes.to_le_bytes());
        out[32..36].copy_from_slice(&self.payload_crc.to_le_bytes());
        let crc = crc32c::crc32c(&out[..36]);
        out[36..].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// None when the checksum is wrong or a field has no meaning.
    pub(crate) fn decode(input: &[u8; RECORD_BYTES]) -> Option<Self> {
        let u32_at = |at| Some(u32::from_le_bytes(*input.get(at..)?.first_chunk()?));
        let u64_at = |at| Some(u64::from_le_bytes(*input.get(at..)?.first_chunk()?));
        let is_whole = u32_at(36)? == crc32c::crc32c(&input[..36]);
        if !is_whole || input[..4] != RECORD_MAGIC || input[6..8] != [0, 0] {
            return None;
        }
        Some(Self {
            kind: match input[4] {
                1 => RecordKind::Header,
                2 => RecordKind::Data,
                3 => RecordKind::Zeroes,
                4 => RecordKind::Manifest,
                _ => return None,
            },
            encoding: match input[5] {
                0 => Encoding::Plain,
                1 => Encoding::Zstd,
                _ => return None,
            },
            number: u32_at(8)?,
            payload_bytes: u32_at(12).filter(|&bytes| bytes <= PAYLOAD_BYTES_MAX)?,
            offset: u64_at(16)?,
            bytes: u64_at(24)?,
            payload_crc: u32_at(32)?,
        })
    }
}

/// What a dump is of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Header {
    /// Version of the format.
    pub(crate) format: u32,
    /// 32 random hexadecimal digits.
    pub(crate) id: String,
    /// Name of the volume.
    pub(crate) volume: String,
    /// Type of the volume, as on the command line.
    pub(crate) volume_type: String,
    /// Its size in bytes.
    pub(crate) size_bytes: u64,
    /// Bytes of a track.
    pub(crate) track_bytes: u32,
    /// When it was begun, in seconds since 1970.
    pub(crate) created_at: u64,
    /// The relationships onto the volume.
    pub(crate) copies: Vec<CopyOf>,
    /// The dump that this one adds to; none for a dump of all.
    pub(crate) base: Option<Base>,
}

/// A relationship that makes the volume's image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CopyOf {
    /// The relationship.
    pub(crate) id: u32,
    /// Name of its source volume.
    pub(crate) source: String,
    /// Number of its moment T0.
    pub(crate) moment: u64,
    /// When that was, in seconds since 1970.
    pub(crate) established_at: u64,
    /// True when it is of all tracks of both volumes.
    pub(crate) whole: bool,
}

/// Names an earlier dump.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Base {
    /// Its id.
    pub(crate) id: String,
    /// Its hash.
    pub(crate) blake3: String,
}

/// The end of a dump.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    /// Records, header and manifest included.
    pub(crate) records: u32,
    /// What the records before are made of.
    #[serde(flatten)]
    pub(crate) totals: Totals,
    /// BLAKE3 of all bytes before the manifest record, 64 hexadecimal digits.
    pub(crate) blake3: String,
}

/// Bytes of a volume by how they are told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::struct_field_names, reason = "they are names of the format")]
pub(crate) struct Totals {
    /// In data records.
    pub(crate) data_bytes: u64,
    /// In records of zeroes.
    pub(crate) zero_bytes: u64,
    /// As in the base.
    pub(crate) unchanged_bytes: u64,
}

/// What a dump says about a range of the volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// Its bytes.
    Data {
        /// First byte.
        offset: u64,
        /// Its bytes.
        bytes: Vec<u8>,
    },
    /// That it reads as zeroes.
    Zeroes {
        /// First byte.
        offset: u64,
        /// Length.
        bytes: u64,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_header_has_the_bytes_of_the_reference() {
        let header = RecordHeader {
            kind: RecordKind::Data,
            encoding: Encoding::Zstd,
            number: 0x0102_0304,
            payload_bytes: 0x1020,
            offset: 0x1122_3344_5566_7788,
            bytes: 0x1_0000,
            payload_crc: 0xAABB_CCDD,
        };

        let stored = header.encode();

        assert_eq!(stored[..16], *b"FTDR\x02\x01\0\0\x04\x03\x02\x01\x20\x10\0\0");
        assert_eq!(stored[16..24], [0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11]);
        assert_eq!(stored[24..36], [0, 0, 1, 0, 0, 0, 0, 0, 0xDD, 0xCC, 0xBB, 0xAA]);
        assert_eq!(RecordHeader::decode(&stored), Some(header));
        for at in 0..RECORD_BYTES {
            let mut flipped = stored;
            flipped[at] ^= 1;
            assert_eq!(RecordHeader::decode(&flipped), None, "byte {at}");
        }
    }
}

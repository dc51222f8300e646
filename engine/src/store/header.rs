//! The header of a store: who it is, how its journal is laid out, how often it was opened.
//!
//! Two copies, one 4 KiB block each, are written in turn. What always holds:
//! - the copy with the greatest generation that is whole is the header;
//! - a new header goes over the other copy, so a torn write leaves the one in force untouched;
//! - uuid, secret, owner and layout never change after creation; epoch and generation only grow.

use super::sector::{HEADER_BLOCK_BYTES, SectorFault, open_sector, sealed_block};

/// The only format version that this release reads and writes.
pub const FORMAT_VERSION: u32 = 2;
/// Bytes of the header object.
pub(crate) const HEADER_BYTES: u64 = 2 * HEADER_BLOCK_BYTES as u64;

const MAGIC: [u8; 8] = *b"FLSHTRCK";

/// Offset of copy 0 or 1 within the header object.
pub(crate) fn copy_offset(copy: usize) -> u64 {
    copy as u64 * HEADER_BLOCK_BYTES as u64
}

/// The identity of a store, drawn at random when it is created.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct StoreUuid(pub [u8; 16]);

impl std::fmt::Display for StoreUuid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl std::fmt::Debug for StoreUuid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "StoreUuid({self})")
    }
}

/// What the header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreHeader {
    /// How often a header was written.
    pub generation: u64,
    /// Identity of the store.
    pub uuid: StoreUuid,
    /// Identity of the server that owns the store; lets a shared backend fence off another one.
    pub owner: u64,
    /// How often the store was opened; every frame carries the number of its opening.
    pub epoch: u64,
    /// Seed of all checksums but the header's own (rule O10: clients choose payloads).
    pub secret: u32,
    /// Bytes of a journal segment.
    pub segment_bytes: u32,
    /// Segments that host writes may fill.
    pub capacity_segments: u32,
}

impl StoreHeader {
    /// The 4 KiB block of one copy.
    pub(crate) fn encode(&self) -> Vec<u8> {
        sealed_block(MAGIC, 0, |fields| {
            fields.put_u32(FORMAT_VERSION);
            fields.put_u32(0);
            fields.put_u64(self.generation);
            fields.put(&self.uuid.0);
            fields.put_u64(self.owner);
            fields.put_u64(self.epoch);
            fields.put_u32(self.secret);
            fields.put_u32(self.segment_bytes);
            fields.put_u32(self.capacity_segments);
        })
    }
}

/// What one copy turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Copy {
    Whole(StoreHeader),
    /// Whole, but of this other version.
    OtherVersion {
        generation: u64,
        version: u32,
    },
    Bad(SectorFault),
}

/// Magic, version, generation and checksum keep their places in every version, so that a newer
/// store is recognised as such and not taken for damage.
fn decode(block: &[u8]) -> Copy {
    let mut fields = match open_sector(block, MAGIC, 0) {
        Ok(fields) => fields,
        Err(fault) => return Copy::Bad(fault),
    };
    let version = fields.take_u32();
    let _reserved = fields.take_u32();
    let generation = fields.take_u64();
    if version != FORMAT_VERSION {
        return Copy::OtherVersion { generation, version };
    }
    Copy::Whole(StoreHeader {
        generation,
        uuid: StoreUuid(fields.take()),
        owner: fields.take_u64(),
        epoch: fields.take_u64(),
        secret: fields.take_u32(),
        segment_bytes: fields.take_u32(),
        capacity_segments: fields.take_u32(),
    })
}

/// Both copies, read together.
#[derive(Debug)]
pub(crate) struct HeaderCopies([Copy; 2]);

/// Why no copy can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeaderFault {
    /// The newest copy is of this version.
    Version(u32),
    /// Neither copy is whole.
    Damaged,
}

impl HeaderCopies {
    /// From the two blocks of the header object.
    pub(crate) fn decode(first: &[u8], second: &[u8]) -> Self {
        Self([decode(first), decode(second)])
    }

    /// The header in force and which copy (0 or 1) holds it.
    ///
    /// # Errors
    /// Another version, or no whole copy.
    pub(crate) fn newest(&self) -> Result<(StoreHeader, usize), HeaderFault> {
        let generation = |copy: &Copy| match copy {
            Copy::Whole(header) => Some(header.generation),
            Copy::OtherVersion { generation, .. } => Some(*generation),
            Copy::Bad(_) => None,
        };
        let newest = usize::from(generation(&self.0[1]) > generation(&self.0[0]));
        match self.0[newest] {
            Copy::Whole(header) => Ok((header, newest)),
            Copy::OtherVersion { version, .. } => Err(HeaderFault::Version(version)),
            Copy::Bad(_) => Err(HeaderFault::Damaged),
        }
    }

    /// The copies that are neither whole nor blank, with the reason: findings of a check.
    pub(crate) fn faults(&self) -> impl Iterator<Item = (usize, SectorFault)> + '_ {
        self.0.iter().enumerate().filter_map(|(copy, state)| match state {
            Copy::Bad(fault) if *fault != SectorFault::Blank => Some((copy, *fault)),
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(generation: u64) -> StoreHeader {
        StoreHeader {
            generation,
            uuid: StoreUuid([0xab; 16]),
            owner: 3,
            epoch: generation,
            secret: 0x5eed,
            segment_bytes: 1 << 24,
            capacity_segments: 64,
        }
    }

    #[test]
    fn the_newest_whole_copy_is_the_header() {
        let old = header(4).encode();
        let new = header(5).encode();
        assert_eq!(HeaderCopies::decode(&old, &new).newest(), Ok((header(5), 1)));
        assert_eq!(HeaderCopies::decode(&new, &old).newest(), Ok((header(5), 0)));
    }

    #[test]
    fn a_damaged_copy_leaves_the_other_in_force() {
        let old = header(4).encode();
        let mut new = header(5).encode();
        new[20] ^= 1;
        assert_eq!(HeaderCopies::decode(&old, &new).newest(), Ok((header(4), 0)));
        let copies = HeaderCopies::decode(&new, &[0; 4096]);
        assert_eq!(copies.newest(), Err(HeaderFault::Damaged));
        assert_eq!(copies.faults().collect::<Vec<_>>(), [(0, SectorFault::Checksum)]);
    }

    #[test]
    fn another_version_is_named_and_not_taken_for_damage() {
        let block = sealed_block(MAGIC, 0, |fields| {
            fields.put_u32(FORMAT_VERSION + 1);
            fields.put_u32(0);
            fields.put_u64(9);
        });
        let copies = HeaderCopies::decode(&header(8).encode(), &block);
        assert_eq!(copies.newest(), Err(HeaderFault::Version(FORMAT_VERSION + 1)));
    }
}

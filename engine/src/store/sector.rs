//! Sealed sectors: how the headers of store, segments and checkpoints are laid out.
//!
//! A header is one sector of 512 bytes, at the start of a 4 KiB block that is otherwise zeroes: magic
//! (8 bytes), fields in little-endian order without gaps, zeroes, and the CRC32C of the first 508 bytes
//! in the last four. A disk writes a sector whole or not at all, so a torn header is the old one, the
//! new one or, where a disk loses the sector, neither: never a mixture that passes.

/// Bytes of a sector: what a disk writes atomically.
pub(crate) const SECTOR_BYTES: usize = 512;
/// Bytes of the block that a sealed sector begins.
pub(crate) const HEADER_BLOCK_BYTES: usize = 4096;
/// Bytes that the checksum covers.
const COVERED_BYTES: usize = SECTOR_BYTES - 4;

/// CRC32C of `bytes`, begun with `seed` so that who does not know it cannot foresee the sum (rule O10).
pub(crate) fn checksum(seed: u32, bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(seed, bytes)
}

/// Why a sector is not the header that was looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SectorFault {
    /// Nothing was ever written here.
    #[error("it was never written")]
    Blank,
    /// Something else is here.
    #[error("its magic number is wrong")]
    Magic,
    /// It was damaged or torn.
    #[error("its checksum is wrong")]
    Checksum,
    /// It is whole, yet what it says cannot be.
    #[error("its fields contradict this store or each other")]
    Fields,
}

/// A 4 KiB block whose first sector holds `magic` and what `fill` writes, sealed with `seed`.
pub(crate) fn sealed_block(
    magic: [u8; 8],
    seed: u32,
    fill: impl FnOnce(&mut FieldWriter<'_>),
) -> Vec<u8> {
    let mut block = vec![0; HEADER_BLOCK_BYTES];
    let (covered, rest) = block.split_at_mut(COVERED_BYTES);
    let mut fields = FieldWriter::new(covered);
    fields.put(&magic);
    fill(&mut fields);
    rest[..4].copy_from_slice(&checksum(seed, covered).to_le_bytes());
    block
}

/// The fields of the sealed sector at the start of `bytes`.
///
/// # Errors
/// Says why it is not a sector of that magic and seed.
pub(crate) fn open_sector(
    bytes: &[u8],
    magic: [u8; 8],
    seed: u32,
) -> Result<FieldReader<'_>, SectorFault> {
    let Some(sector) = bytes.get(..SECTOR_BYTES) else {
        return Err(SectorFault::Blank);
    };
    if sector.iter().all(|&byte| byte == 0) {
        return Err(SectorFault::Blank);
    }
    let (covered, sum) = sector.split_at(COVERED_BYTES);
    let mut fields = FieldReader::new(covered);
    if fields.take::<8>() != magic {
        return Err(SectorFault::Magic);
    }
    if sum != checksum(seed, covered).to_le_bytes() {
        return Err(SectorFault::Checksum);
    }
    Ok(fields)
}

/// Writes fields one after the other.
pub(crate) struct FieldWriter<'a> {
    rest: &'a mut [u8],
}

impl<'a> FieldWriter<'a> {
    /// Starts at the first byte of `bytes`.
    pub(crate) fn new(bytes: &'a mut [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Appends a field; the layouts, constants of this crate, fit their sectors.
    pub(crate) fn put(&mut self, field: &[u8]) {
        let (head, rest) = std::mem::take(&mut self.rest).split_at_mut(field.len());
        head.copy_from_slice(field);
        self.rest = rest;
    }

    /// Appends four bytes.
    pub(crate) fn put_u32(&mut self, value: u32) {
        self.put(&value.to_le_bytes());
    }

    /// Appends eight bytes.
    pub(crate) fn put_u64(&mut self, value: u64) {
        self.put(&value.to_le_bytes());
    }
}

/// Reads fields one after the other; past the end it reads zeroes, so that no input can panic.
pub(crate) struct FieldReader<'a> {
    rest: &'a [u8],
}

impl<'a> FieldReader<'a> {
    /// Starts at the first byte of `bytes`.
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The next `N` bytes.
    pub(crate) fn take<const N: usize>(&mut self) -> [u8; N] {
        match self.rest.split_first_chunk::<N>() {
            Some((head, rest)) => {
                self.rest = rest;
                *head
            }
            None => [0; N],
        }
    }

    /// The next four bytes.
    pub(crate) fn take_u32(&mut self) -> u32 {
        u32::from_le_bytes(self.take())
    }

    /// The next eight bytes.
    pub(crate) fn take_u64(&mut self) -> u64 {
        u64::from_le_bytes(self.take())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAGIC: [u8; 8] = *b"TESTTEST";

    #[test]
    fn a_sealed_sector_gives_its_fields_back() {
        let block = sealed_block(MAGIC, 7, |fields| {
            fields.put_u64(0x0102_0304_0506_0708);
            fields.put_u32(9);
        });
        let mut fields = open_sector(&block, MAGIC, 7).unwrap();
        assert_eq!(fields.take_u64(), 0x0102_0304_0506_0708);
        assert_eq!(fields.take_u32(), 9);
    }

    #[test]
    fn every_flipped_bit_of_a_sealed_sector_is_noticed() {
        let block = sealed_block(MAGIC, 7, |fields| fields.put_u64(u64::MAX));
        for bit in 0..SECTOR_BYTES * 8 {
            let mut damaged = block.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(open_sector(&damaged, MAGIC, 7).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_sector_of_another_seed_or_magic_or_none_is_refused() {
        let block = sealed_block(MAGIC, 7, |fields| fields.put_u32(1));
        assert_eq!(open_sector(&block, MAGIC, 8).err(), Some(SectorFault::Checksum));
        assert_eq!(open_sector(&block, *b"OTHEROTH", 7).err(), Some(SectorFault::Magic));
        assert_eq!(open_sector(&[0; 4096], MAGIC, 7).err(), Some(SectorFault::Blank));
        assert_eq!(open_sector(&[1; 100], MAGIC, 7).err(), Some(SectorFault::Blank));
    }

    #[test]
    fn reading_past_the_last_field_gives_zeroes() {
        let mut fields = FieldReader::new(&[1, 2, 3]);
        assert_eq!(fields.take_u64(), 0);
    }
}

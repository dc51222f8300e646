//! The store's identity, and the sealed sectors in which headers are kept.

mod header;
mod sector;

pub use header::{FORMAT_VERSION, StoreHeader, StoreUuid};
pub(crate) use header::{HEADER_BYTES, HeaderCopies, HeaderFault, copy_offset};
#[cfg(test)]
pub(crate) use sector::SECTOR_BYTES;
pub(crate) use sector::{
    FieldReader, FieldWriter, HEADER_BLOCK_BYTES, SectorFault, checksum, open_sector, sealed_block,
};

//! A file mapped into memory and shared by all connections.
//!
//! Requests of two connections that touch the same bytes at once get what a disk would give: any mixture.
#![expect(unsafe_code, reason = "several threads copy to and from one map of a file")]

use std::fs::File;
use std::io;

use memmap2::MmapRaw;

/// The map.
#[derive(Debug)]
pub(super) struct SharedMap(MmapRaw);

impl SharedMap {
    /// Maps the whole of `file`.
    ///
    /// # Errors
    /// The system refuses.
    pub(super) fn new(file: &File) -> io::Result<Self> {
        MmapRaw::map_raw(file).map(Self)
    }

    /// Length in bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.0.len() as u64
    }

    /// Appends bytes of the map to `replies`.
    ///
    /// # Errors
    /// The range passes the end.
    pub(super) fn read(&self, offset: u64, bytes: usize, replies: &mut Vec<u8>) -> io::Result<()> {
        let place = self.place(offset, bytes)?;
        let before = replies.len();
        replies.reserve(bytes);
        // SAFETY: `place` is the first of `bytes` bytes of the map, which lives as long as `self`; so many bytes were just
        // reserved behind `before`, in memory that is no part of the map. Bytes that another thread writes meanwhile come
        // out old or new, and all of those reserved are set before they count.
        unsafe {
            place.copy_to_nonoverlapping(replies.as_mut_ptr().add(before), bytes);
            replies.set_len(before + bytes);
        }
        Ok(())
    }

    /// Copies into the map.
    ///
    /// # Errors
    /// The range passes the end.
    pub(super) fn write(&self, offset: u64, from: &[u8]) -> io::Result<()> {
        let place = self.place(offset, from.len())?;
        // SAFETY: `place` is the first of `from.len()` bytes of the map; no reference into the map is ever made, so nobody
        // is promised that its bytes stay.
        unsafe { place.copy_from_nonoverlapping(from.as_ptr(), from.len()) };
        Ok(())
    }

    /// Where `bytes` bytes from `offset` on begin.
    fn place(&self, offset: u64, bytes: usize) -> io::Result<*mut u8> {
        let offset = usize::try_from(offset).ok();
        let end = offset.and_then(|offset| offset.checked_add(bytes));
        match (offset, end) {
            // `wrapping_add` never leaves the map: the end was checked.
            (Some(offset), Some(end)) if end <= self.0.len() => {
                Ok(self.0.as_mut_ptr().wrapping_add(offset))
            }
            _ => Err(io::ErrorKind::InvalidInput.into()),
        }
    }
}

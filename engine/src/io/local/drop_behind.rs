//! What a background copy has written does not stay in the page cache.
//!
//! Who takes a copy does not read it at once, and each page of it would take the place of one that hosts use. Where new pages are
//! dear (in a virtual machine that gives free memory back to its host 12 us each) the pages that were dropped serve the next piece.
//!
//! - B1 Only what a copy wrote is dropped, after a sync that began later: the kernel keeps what is not on the disk.
//! - B2 It is advice. No content depends on it, and nobody is told of it.

use std::fs::File;
use std::num::NonZeroU64;
use std::sync::{Mutex, PoisonError};

use rustix::fs::{Advice, fadvise};

use crate::units::ByteRange;

/// What copies have written to a file since its last sync, of whichever ring they were.
#[derive(Debug, Default)]
pub(super) struct DropBehind(Mutex<Vec<ByteRange>>);

impl DropBehind {
    /// A copy has written this.
    pub(super) fn note(&self, range: ByteRange) {
        // A list is whole after each change, so a panic elsewhere does not spoil it.
        let mut written = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match written.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ => written.push(range),
        }
    }

    /// What a sync that begins now will cover.
    pub(super) fn take(&self) -> Vec<ByteRange> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Has the page cache give these bytes up. Takes 0.1 ms for each megabyte.
pub(super) fn drop_cached(file: &File, ranges: &[ByteRange]) {
    for range in ranges {
        let _ = fadvise(file, range.start, NonZeroU64::new(range.bytes()), Advice::DontNeed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_piece_after_piece_is_one_range_and_taken_once() {
        let behind = DropBehind::default();
        for (start, end) in [(0, 10), (10, 20), (30, 40), (20, 30)] {
            behind.note(ByteRange { start, end });
        }

        let taken = behind.take();

        let expected = [(0, 20), (30, 40), (20, 30)];
        assert_eq!(taken, expected.map(|(start, end)| ByteRange { start, end }));
        assert_eq!(behind.take(), []);
    }
}

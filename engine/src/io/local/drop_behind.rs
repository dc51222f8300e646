//! What a background copy has written does not stay in the page cache.
//!
//! Who takes a copy does not read it at once, and each page of it would take the place of one that hosts use. Where new pages are
//! dear (in a virtual machine that gives free memory back to its host 12 us each) the pages that were dropped serve the next piece.
//!
//! - B1 Only ranges that a copy wrote are dropped, after a sync that began later and ended well: what is dirty again stays, and a page
//!   whose write-back failed is none of them, since that sync would have failed.
//! - B2 It is advice. No content depends on it, and nobody is told of it.

use std::fs::File;
use std::num::NonZeroU64;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::fs::{Advice, fadvise};

use crate::units::ByteRange;

/// What copies have written to a file since its last sync, of whichever ring they were.
#[derive(Debug, Default)]
pub(super) struct DropBehind(Mutex<Vec<ByteRange>>);

impl DropBehind {
    /// A copy has written this.
    pub(super) fn note(&self, range: ByteRange) {
        if range.is_empty() {
            // As an advice it would mean all the rest of the file.
            return;
        }
        self.list().push(range);
    }

    /// What a sync that begins now will cover, ascending; what touches is one.
    pub(super) fn take(&self) -> Vec<ByteRange> {
        let mut written = std::mem::take(&mut *self.list());
        written.sort_unstable_by_key(|range| range.start);
        written.dedup_by(|next, last| {
            let touches = next.start <= last.end;
            if touches {
                last.end = last.end.max(next.end);
            }
            touches
        });
        written
    }

    /// It is whole after each change, so a panic elsewhere does not spoil it.
    fn list(&self) -> MutexGuard<'_, Vec<ByteRange>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
    fn pieces_that_touch_are_one_range_and_all_are_taken_once() {
        let behind = DropBehind::default();
        for (start, end) in [(0, 10), (10, 20), (30, 40), (50, 60), (5, 5), (20, 30), (70, 80)] {
            behind.note(ByteRange { start, end });
        }

        let taken = behind.take();

        let expected = [(0, 40), (50, 60), (70, 80)];
        assert_eq!(taken, expected.map(|(start, end)| ByteRange { start, end }));
        assert_eq!(behind.take(), []);
    }
}

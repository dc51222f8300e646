//! A stretch of a segment that is read at once, since frames are often small.
//!
//! Invariant: whoever reads on from where it was reads each byte of the object once.

use super::OpenError;
use super::error::read;
use super::segment::Layout;
use crate::io::{Object, Storage};

/// Bytes read at once.
const WINDOW_BYTES: u64 = 1 << 20;

/// The stretch held at present.
#[derive(Default)]
pub(super) struct Window {
    object: Option<Object>,
    start: u64,
    bytes: Vec<u8>,
}

impl Window {
    /// `bytes` bytes of the object from `offset` on, fewer where the segment ends.
    pub(super) fn read(
        &mut self,
        storage: &mut dyn Storage,
        layout: Layout,
        object: Object,
        offset: u64,
        bytes: u64,
    ) -> Result<&[u8], OpenError> {
        let end = offset.saturating_add(bytes).min(layout.segment_bytes()).max(offset);
        if self.object != Some(object) || offset < self.start || offset > self.end() {
            (self.object, self.start) = (Some(object), offset);
            self.bytes.clear();
        }
        if end > self.end() {
            self.bytes.drain(..to_usize(offset - self.start));
            self.start = offset;
            let held = self.bytes.len();
            let wanted = WINDOW_BYTES.max(end - offset);
            let wanted = wanted.min(layout.segment_bytes().saturating_sub(offset));
            self.bytes.resize(to_usize(wanted).max(held), 0);
            if let Err(error) = read(storage, object, offset + held as u64, &mut self.bytes[held..])
            {
                // What could not be read is not held.
                self.bytes.truncate(held);
                return Err(error);
            }
        }
        let (from, to) = (to_usize(offset - self.start), to_usize(end - self.start));
        Ok(self.bytes.get(from..to).unwrap_or(&[]))
    }

    /// One past the last byte held.
    fn end(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }
}

/// Within a segment, which fits memory.
fn to_usize(bytes: u64) -> usize {
    usize::try_from(bytes).expect("a segment fits memory")
}

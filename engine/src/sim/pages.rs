//! Sparse bytes: what was never written takes no memory and reads as zeroes.
//!
//! Copies share their pages until one of them changes, so that a power cut or a copy of a whole
//! simulated disk costs little.

use std::collections::BTreeMap;
use std::rc::Rc;

use crate::units::ByteRange;

const PAGE: u64 = 4096;
const PAGE_LENGTH: usize = 4096;

/// A sparse array of bytes.
#[derive(Clone, Debug, Default)]
pub(super) struct Pages {
    pages: BTreeMap<u64, Rc<[u8; PAGE_LENGTH]>>,
}

impl Pages {
    /// Fills `out` with the bytes from `offset` on.
    pub(super) fn read(&self, offset: u64, out: &mut [u8]) {
        for (page, within, range) in split(offset, out.len()) {
            match self.pages.get(&page) {
                Some(bytes) => {
                    let end = within + range.len();
                    out[range].copy_from_slice(&bytes[within..end]);
                }
                None => out[range].fill(0),
            }
        }
    }

    /// Puts `data` at `offset`.
    pub(super) fn write(&mut self, offset: u64, data: &[u8]) {
        for (page, within, range) in split(offset, data.len()) {
            let bytes = self.pages.entry(page).or_insert_with(|| Rc::new([0; PAGE_LENGTH]));
            Rc::make_mut(bytes)[within..within + range.len()].copy_from_slice(&data[range]);
        }
    }

    /// Makes `bytes` bytes from `offset` on read as zeroes; whole pages are given back.
    pub(super) fn zero(&mut self, offset: u64, bytes: u64) {
        let end = offset + bytes;
        let touched: Vec<u64> =
            self.pages.range(offset / PAGE..end.div_ceil(PAGE)).map(|(page, _)| *page).collect();
        for page in touched {
            let first = (page * PAGE).max(offset) - page * PAGE;
            let last = ((page + 1) * PAGE).min(end) - page * PAGE;
            if last - first == PAGE {
                self.pages.remove(&page);
            } else if let Some(content) = self.pages.get_mut(&page) {
                Rc::make_mut(content)[to_usize(first)..to_usize(last)].fill(0);
            }
        }
    }

    /// Ranges within `offset..offset + bytes` that have pages, ascending.
    pub(super) fn data(&self, offset: u64, bytes: u64) -> Vec<ByteRange> {
        let end = offset + bytes;
        let mut found: Vec<ByteRange> = Vec::new();
        for page in self.pages.range(offset / PAGE..end.div_ceil(PAGE)).map(|(page, _)| *page) {
            let start = (page * PAGE).max(offset);
            let stop = ((page + 1) * PAGE).min(end);
            match found.last_mut() {
                Some(last) if last.end == start => last.end = stop,
                _ => found.push(ByteRange { start, end: stop }),
            }
        }
        found
    }

    /// Bytes that take memory.
    pub(super) fn allocated(&self) -> u64 {
        self.pages.len() as u64 * PAGE
    }
}

/// Cuts a buffer of `length` bytes that belongs at `offset` at page borders: (page, first byte in
/// the page, range of the buffer).
fn split(offset: u64, length: usize) -> impl Iterator<Item = (u64, usize, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        if done == length {
            return None;
        }
        let position = offset + done as u64;
        let within = to_usize(position % PAGE);
        let end = length.min(done + to_usize(PAGE) - within);
        let range = done..end;
        done = end;
        Some((position / PAGE, within, range))
    })
}

/// Lengths in the simulator fit the machine.
pub(super) fn to_usize(value: u64) -> usize {
    usize::try_from(value).expect("simulated sizes fit the address space")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_reads_back_and_the_rest_is_zero() {
        let mut pages = Pages::default();
        pages.write(4090, &[7; 20]);
        let before = pages.clone();
        pages.zero(4096, 4096);
        let mut out = [1; 24];
        pages.read(4088, &mut out);
        assert_eq!(out, [0, 0, 7, 7, 7, 7, 7, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(pages.data(0, 1 << 20), vec![ByteRange { start: 0, end: 4096 }]);
        before.read(4100, &mut out[..2]);
        assert_eq!(out[..2], [7, 7]);
    }
}

//! The order in which blocks are written: one in each chunk of 64 KiB of a file, at random, each once.
//!
//! fio's own random orders know no such stride, so it is told every write.

use std::fmt::Write;

/// Bytes from one block that is written to the next.
const CHUNK: u64 = 64 << 10;
/// Bytes of a write.
const BLOCK: u64 = 4 << 10;
/// Chunks of a mebibyte.
const CHUNKS_PER_MEBIBYTE: u64 = (1 << 20) / CHUNK;

/// Chunks of a file in the order in which their first blocks are written.
pub(super) struct Order(Vec<u64>);

impl Order {
    /// A random order for a file of so many mebibytes; the same for the same seed.
    pub(super) fn random(mebibytes: u64, seed: usize) -> Self {
        let mut chunks: Vec<u64> = (0..mebibytes * CHUNKS_PER_MEBIBYTE).collect();
        let mut state = u64::try_from(seed).expect("a number fits 64 bits");
        // Fisher and Yates.
        for last in (1..chunks.len()).rev() {
            let choices = u64::try_from(last + 1).expect("a length fits 64 bits");
            let chosen = next_random(&mut state) % choices;
            chunks.swap(last, usize::try_from(chosen).expect("it is below a length"));
        }
        Self(chunks)
    }

    /// As fio reads it (a trace of version 2), for the file `name`.
    pub(super) fn trace(&self, name: &str) -> String {
        let mut text = format!("fio version 2 iolog\n{name} add\n{name} open\n");
        for chunk in &self.0 {
            writeln!(text, "{name} write {} {BLOCK}", chunk * CHUNK)
                .expect("a string takes everything");
        }
        text
    }

    /// Numbers, in blocks, of the first and the last block that are written.
    pub(super) fn ends(&self) -> Vec<u64> {
        [self.0.first(), self.0.last()]
            .into_iter()
            .flatten()
            .map(|chunk| chunk * CHUNK / BLOCK)
            .collect()
    }
}

/// `SplitMix64`.
fn next_random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_chunk_is_written_once_and_not_in_sequence() {
        let Order(chunks) = Order::random(4, 7);
        let mut sorted = chunks.clone();
        sorted.sort_unstable();

        assert_eq!(sorted, (0..64).collect::<Vec<u64>>());
        assert_ne!(chunks, sorted);
        assert_eq!(chunks, Order::random(4, 7).0, "the same seed, the same order");
        assert_ne!(chunks, Order::random(4, 8).0);
    }

    #[test]
    fn a_trace_names_each_write_by_its_offset() {
        let order = Order(vec![3, 0]);

        assert_eq!(
            order.trace("load"),
            "fio version 2 iolog\nload add\nload open\nload write 196608 4096\nload write 0 4096\n"
        );
        assert_eq!(order.ends(), [48, 0]);
    }
}

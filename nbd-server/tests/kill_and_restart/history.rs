//! What was written, answered and flushed, block by block, and what a volume may therefore hold.
//!
//! 1. A block has one writer, which numbers its writes upwards: its generations. Zero is never written.
//! 2. Every sector of a block carries the block's number and the generation, so that a block torn by a
//!    kill shows both generations, and a block in a wrong place shows itself.

use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes of a block, the unit of writing.
pub(crate) const BLOCK_BYTES: usize = 4096;
/// Blocks of the volume.
pub(crate) const BLOCKS: usize = 4096;
/// Size of the volume.
pub(crate) const VOLUME_BYTES: u64 = (BLOCKS * BLOCK_BYTES) as u64;
const SECTOR_BYTES: usize = 512;

/// The content of `block` in generation `generation`.
pub(crate) fn stamped(block: usize, generation: u64) -> Vec<u8> {
    let mut stamp = (block as u64).to_le_bytes().to_vec();
    stamp.extend(generation.to_le_bytes());
    stamp.repeat(BLOCK_BYTES / stamp.len())
}

/// Generations of all blocks: sent to the server, answered by it, flushed.
pub(crate) struct History {
    issued: Vec<AtomicU64>,
    answered: Vec<AtomicU64>,
    flushed: Vec<AtomicU64>,
}

impl History {
    /// Of a volume that was never written.
    pub(crate) fn new() -> Self {
        let zeroes = || (0..BLOCKS).map(|_| AtomicU64::new(0)).collect();
        Self { issued: zeroes(), answered: zeroes(), flushed: zeroes() }
    }

    /// The next write of `block` is about to be sent; gives its generation.
    pub(crate) fn issue(&self, block: usize) -> u64 {
        self.issued[block].fetch_add(1, Ordering::SeqCst) + 1
    }

    /// The write of that generation was answered.
    pub(crate) fn answer(&self, block: usize, generation: u64) {
        self.answered[block].store(generation, Ordering::SeqCst);
    }

    /// What has been answered by now, on any connection: a FLUSH sent after this covers it (rule O4).
    pub(crate) fn answered(&self) -> Vec<u64> {
        load(&self.answered)
    }

    /// A FLUSH that covers `answered` was answered.
    pub(crate) fn flush(&self, answered: &[u64]) {
        for (flushed, generation) in self.flushed.iter().zip(answered) {
            flushed.fetch_max(*generation, Ordering::SeqCst);
        }
    }

    /// What is known to be flushed.
    pub(crate) fn flushed(&self) -> Vec<u64> {
        load(&self.flushed)
    }

    /// What may be on the volume at most.
    pub(crate) fn issued(&self) -> Vec<u64> {
        load(&self.issued)
    }

    /// What the volume may hold now.
    pub(crate) fn bounds(&self) -> Bounds {
        Bounds { at_least: self.flushed(), at_most: self.issued() }
    }

    /// The volume was read after a restart: this is what it holds, whatever else was sent.
    pub(crate) fn is_now(&self, bounds: &Bounds) {
        for block in 0..BLOCKS {
            self.issued[block].store(bounds.at_most[block], Ordering::SeqCst);
            self.answered[block].store(bounds.at_least[block], Ordering::SeqCst);
            self.flushed[block].store(bounds.at_least[block], Ordering::SeqCst);
        }
    }
}

fn load(generations: &[AtomicU64]) -> Vec<u64> {
    generations.iter().map(|generation| generation.load(Ordering::SeqCst)).collect()
}

/// The generations that each block of an image may have.
#[derive(Clone)]
pub(crate) struct Bounds {
    pub(crate) at_least: Vec<u64>,
    pub(crate) at_most: Vec<u64>,
}

impl Bounds {
    /// Compares an image with the bounds, and narrows them to what it holds.
    ///
    /// # Errors
    /// A sector of another block, of an older or of a newer generation: says which.
    pub(crate) fn narrow_to(&mut self, image: &[u8]) -> Result<(), String> {
        assert_eq!(image.len(), BLOCKS * BLOCK_BYTES, "length of the image");
        for (block, content) in image.chunks(BLOCK_BYTES).enumerate() {
            let allowed = self.at_least[block]..=self.at_most[block];
            let (mut oldest, mut newest) = (u64::MAX, 0);
            for (sector, bytes) in content.chunks(SECTOR_BYTES).enumerate() {
                let place = format!("block {block}, sector {sector}");
                let generation =
                    generation(block, bytes).map_err(|why| format!("{place}: {why}"))?;
                if !allowed.contains(&generation) {
                    return Err(format!("{place} has generation {generation}, not of {allowed:?}"));
                }
                (oldest, newest) = (oldest.min(generation), newest.max(generation));
            }
            (self.at_least[block], self.at_most[block]) = (oldest, newest);
        }
        Ok(())
    }
}

/// The generation of a sector of `block`; zero when it was never written.
fn generation(block: usize, sector: &[u8]) -> Result<u64, String> {
    if sector.iter().all(|byte| *byte == 0) {
        return Ok(0);
    }
    let number = |at: usize| {
        let bytes = sector[at..at + 8].try_into().expect("eight bytes");
        u64::from_le_bytes(bytes)
    };
    let (owner, generation) = (number(0), number(8));
    if stamped(block, generation)[..SECTOR_BYTES] == *sector {
        Ok(generation)
    } else {
        Err(format!("holds neither zeroes nor its stamp (first words {owner} and {generation})"))
    }
}

#[test]
fn a_block_older_than_what_was_flushed_is_found() {
    let history = History::new();
    let mut image = vec![0; BLOCKS * BLOCK_BYTES];
    for _ in 0..2 {
        let generation = history.issue(7);
        history.answer(7, generation);
    }
    history.flush(&history.answered());

    image[7 * BLOCK_BYTES..8 * BLOCK_BYTES].copy_from_slice(&stamped(7, 2));
    assert_eq!(history.bounds().narrow_to(&image), Ok(()));
    image[7 * BLOCK_BYTES..7 * BLOCK_BYTES + 512].copy_from_slice(&stamped(7, 1)[..512]);
    assert!(history.bounds().narrow_to(&image).is_err(), "an old sector");
    image[7 * BLOCK_BYTES..8 * BLOCK_BYTES].copy_from_slice(&stamped(8, 2));
    assert!(history.bounds().narrow_to(&image).is_err(), "the content of another block");
}

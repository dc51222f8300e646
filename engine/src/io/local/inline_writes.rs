//! Whether a write is made by a plain call in the loop or by the ring, and in which pieces.
//!
//! File systems without non-blocking buffered writes (ext4 up to at least Linux 6.18) let the ring
//! punt every such write to a helper thread: measured on two cores, 70,000 to 140,000 4 KiB writes/s,
//! against 150,000 to 215,000 made in place. A plain call however sleeps when the system throttles
//! writers, and everything else of the loop with it. So short writes are made in place until one of
//! them was slow; then all go to the ring for a while. In direct mode a plain call would wait for the
//! device: there the ring takes all.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

/// Longest write made in place: copying it takes tens of microseconds.
const BYTES_MAX: usize = 256 << 10;
/// A write that took longer has slept: a copy of `BYTES_MAX` bytes takes a tenth of it.
const SLOW: Duration = Duration::from_millis(1);
/// How long the ring takes all writes after a slow one.
const PAUSE: Duration = Duration::from_millis(50);

/// Longest piece that one call writes. The page cache keeps a written piece in one folio as large as it
/// can, and ext4 walks all buffers of a folio at every later write into it: after writing 64 MiB in
/// pieces of 1 MiB, a random 4 KiB write took 6.3 us, after pieces of 64 KiB 2.9 us, and the long
/// writes themselves were no slower.
const PIECE_BYTES_MAX: usize = 64 << 10;
/// The same for a submission to the ring, where each further piece costs a turn of the loop.
pub(super) const RING_PIECE_BYTES_MAX: usize = 256 << 10;

/// Decides for one write after the other.
#[derive(Debug, Default)]
pub(super) struct InlineWrites {
    paused_until: Option<Instant>,
}

impl InlineWrites {
    /// True when a write of `bytes` bytes should be made in place, now.
    pub(super) fn allowed(&self, bytes: usize, now: Instant) -> bool {
        bytes <= BYTES_MAX && self.paused_until.is_none_or(|until| until <= now)
    }

    /// Learns how long a write made in place took.
    pub(super) fn took(&mut self, began: Instant, ended: Instant) {
        self.paused_until = (ended - began > SLOW).then(|| ended + PAUSE);
    }
}

/// Writes all of `data` at byte `offset`, in pieces.
pub(super) fn write(file: &File, data: &[u8], mut offset: u64) -> io::Result<()> {
    for piece in data.chunks(PIECE_BYTES_MAX) {
        file.write_all_at(piece, offset)?;
        offset += piece.len() as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_slow_write_the_ring_takes_over_for_a_while() {
        let start = Instant::now();
        let mut writes = InlineWrites::default();
        assert!(writes.allowed(4096, start));

        writes.took(start, start + Duration::from_millis(2));

        assert!(!writes.allowed(4096, start + Duration::from_millis(3)));
        assert!(writes.allowed(4096, start + Duration::from_millis(52)));
    }

    #[test]
    fn long_writes_always_go_to_the_ring() {
        let writes = InlineWrites::default();

        assert!(writes.allowed(256 << 10, Instant::now()));
        assert!(!writes.allowed((256 << 10) + 1, Instant::now()));
    }
}

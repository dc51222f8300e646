//! Whether to look for events a little longer before sleeping.
//!
//! A client that asks for one thing at a time is back within microseconds of its reply. To sleep and be woken in between
//! takes longer than that, so the worker looks for events for a short while first, as long as this finds some. A disk
//! takes longer than a client; while requests wait for it, so do looks.
//!
//! Invariants
//! - P1 An idle server sleeps: after a look that found nothing, looks are left out, twice as many each time.
//! - P2 Whoever is waited for has a processor: half of them, rounded down, are looked from at a time (`Shared::begin_look`), so
//!   with a single one there is no look at all.

use flashtrack_engine::io::local::IoMode;

/// Microseconds that a look lasts at most while nothing is awaited but clients.
const LOOK_US: u64 = 50;
/// The same while requests are in the engine.
const LOOK_IN_FLIGHT_US: u64 = 300;
/// The same when all of them wait for the device: longer than most take. At depth 32 300 us gave 1.2 to 1.5 times the reads of
/// 50 us on a device that took 350 us for a read, and 1000 us gave 1.4 times the reads of 300 us when it took 600 us
/// (a processor that sleeps takes its interrupts late, too).
const LOOK_DIRECT_US: u64 = 1000;
/// Looks left out after many in vain: one less than this power of two.
const MISSES_MAX: u32 = 10;

/// What the looks so far have found.
#[derive(Debug, Default)]
pub(super) struct Polling {
    /// Looks in vain since the last one that found something.
    misses: u32,
    /// Looks to leave out.
    skip: u32,
}

impl Polling {
    /// True when it is worth a look now.
    pub(super) fn begin(&mut self) -> bool {
        if self.skip > 0 {
            self.skip -= 1;
            return false;
        }
        true
    }

    /// Microseconds that it may last, with so many requests in the engine.
    pub(super) fn look_us(requests: usize, io: IoMode) -> u64 {
        match io {
            _ if requests == 0 => LOOK_US,
            IoMode::Buffered => LOOK_IN_FLIGHT_US,
            IoMode::Direct => LOOK_DIRECT_US,
        }
    }

    /// What became of the look.
    pub(super) fn end(&mut self, found: bool) {
        if found {
            self.misses = 0;
        } else {
            self.misses = (self.misses + 1).min(MISSES_MAX);
            self.skip = (1 << self.misses) - 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The number of looks in a thousand sleeps, when every look finds something or none does.
    fn looks(found: bool) -> usize {
        let mut polling = Polling::default();
        let look = |polling: &mut Polling| {
            let looks = polling.begin();
            if looks {
                polling.end(found);
            }
            looks
        };
        (0..1000).filter(|_| look(&mut polling)).count()
    }

    #[test]
    fn a_busy_server_looks_each_time_and_an_idle_one_hardly_ever() {
        assert_eq!(looks(true), 1000);
        assert!(looks(false) < 10);
    }
}

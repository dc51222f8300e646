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

/// Microseconds that a look lasts at most while nothing is awaited but clients.
const LOOK_US: u64 = 50;
/// The same while requests are in the engine. At depth 32 with `--io direct` on a device that takes 350 us for a
/// read, this gave 1.2 to 1.5 times the reads of 50 us.
const LOOK_IN_FLIGHT_US: u64 = 300;
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
    pub(super) fn look_us(requests: usize) -> u64 {
        if requests == 0 { LOOK_US } else { LOOK_IN_FLIGHT_US }
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

//! The workers' time: the only clock that engine and sessions ever see.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use flashtrack_engine::units::Moment;

/// Counts from the moment it is made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    started: Instant,
}

impl Clock {
    pub(super) fn new() -> Self {
        Self { started: Instant::now() }
    }

    /// Microseconds since the clock was made.
    pub(super) fn now_us(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// The moment for the engine.
    pub(super) fn moment(&self) -> Moment {
        // A wall clock before 1970 is wrong; reports then say 1970.
        let unix_seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
        Moment { monotonic_us: self.now_us(), unix_seconds }
    }
}

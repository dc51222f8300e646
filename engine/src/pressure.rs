//! Back-pressure: how much slower staged writes are taken when more comes in than the destager takes home.
//!
//! Fill and load are shares of what may be staged, whichever of journal bytes and staged blocks is scarcer.
//!
//! Invariants
//! - P1 Up to `SLOWED_FROM` nobody is slowed, so a burst that fits runs at full speed.
//! - P2 Beyond, what is taken per second falls steadily with the fill, through the rate of the destager at `BALANCED_AT`:
//!   so the fill settles there, and the limit, at which writes stop for whole batches, is not reached.
//! - P3 Nothing is slowed while the rate is not known, and no write for longer than `PAUSE_MAX_US` beyond the one before.

/// A share of what may be staged, in parts per million.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Share(pub u64);

const WHOLE: u64 = 1_000_000;

impl Share {
    /// `part` of `whole`, rounded up.
    pub fn of(part: u64, whole: u64) -> Self {
        let whole = whole.max(1);
        // 128 bits are for terabytes only: they take a processor several times as long.
        if let Some(share) = part.checked_mul(WHOLE) {
            return Self(share.div_ceil(whole));
        }
        let share = (u128::from(part) * u128::from(WHOLE)).div_ceil(u128::from(whole));
        Self(u64::try_from(share).unwrap_or(u64::MAX))
    }
}

/// Writes are slowed when this share is staged.
const SLOWED_FROM: Share = Share(WHOLE / 2);
/// As much is taken as goes home when this share is staged.
const BALANCED_AT: Share = Share(WHOLE * 3 / 4);
/// Writes are taken so much ahead of their time: a timer for each would cost more than it smooths.
const AHEAD_US: u64 = 500;
/// Longest time that one write makes the next one wait.
const PAUSE_MAX_US: u64 = 100_000;
/// Weight of the last batch in the rate of the destager: one of so many parts.
const SMOOTHING: u64 = 4;

/// What is known of the load.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pressure {
    /// Millionths of what may be staged that go home in a second.
    drained_per_second: Option<u64>,
    /// Until when the writes taken have used up their time.
    paid_until_us: u64,
}

impl Pressure {
    /// A batch of this share has gone home in so long a time.
    pub fn drained(&mut self, share: Share, took_us: u64) {
        let rate = share.0.saturating_mul(1_000_000) / took_us.max(1);
        self.drained_per_second = Some(match self.drained_per_second {
            None => rate.max(1),
            Some(known) => (known - known / SMOOTHING + rate / SMOOTHING).max(1),
        });
    }

    /// When the next write may be taken; at or before `now_us` means now.
    pub fn next_us(&self) -> u64 {
        self.paid_until_us.saturating_sub(AHEAD_US)
    }

    /// False when writes that are taken while `fill` is staged slow nobody: then `taken` need not be told of them.
    pub fn slows(&self, fill: Share) -> bool {
        self.rate(fill).is_some()
    }

    /// A write of this share was taken while `fill` was staged.
    pub fn taken(&mut self, share: Share, fill: Share, now_us: u64) {
        let pause = self
            .rate(fill)
            .map_or(0, |rate| (share.0.saturating_mul(1_000_000) / rate.max(1)).min(PAUSE_MAX_US));
        if pause > 0 {
            self.paid_until_us = self.paid_until_us.max(now_us) + pause;
        }
    }

    /// Millionths that may be taken in a second while `fill` is staged; `None` is any number.
    fn rate(&self, fill: Share) -> Option<u64> {
        let over = fill.0.checked_sub(SLOWED_FROM.0).filter(|over| *over > 0)?;
        let drained = self.drained_per_second?;
        Some(drained.saturating_mul(BALANCED_AT.0 - SLOWED_FROM.0) / over)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The largest and the last fill, in percent, of ten seconds in which the destager takes home one batch of 1 %
    /// every 10 ms and writes of 0.01 % come as fast as they are taken, up to one in 10 microseconds.
    fn run() -> (u64, u64) {
        let mut pressure = Pressure::default();
        let (mut fill, mut largest) = (0, 0);
        for now_us in (0..10_000_000).step_by(10) {
            if now_us % 10_000 == 0 && fill >= 10_000 {
                fill -= 10_000;
                pressure.drained(Share(10_000), 10_000);
            }
            if pressure.next_us() <= now_us {
                pressure.taken(Share(100), Share(fill), now_us);
                fill += 100;
            }
            largest = largest.max(fill);
        }
        (largest / 10_000, fill / 10_000)
    }

    #[test]
    fn under_endless_load_the_fill_settles_where_as_much_is_taken_as_goes_home() {
        let (largest, last) = run();
        assert!(largest < 90, "{largest} %");
        assert!((70..80).contains(&last), "{last} %");
    }

    #[test]
    fn nothing_is_slowed_below_half_or_before_the_first_batch() {
        let mut pressure = Pressure::default();
        pressure.taken(Share(1000), Share(WHOLE), 5000);
        assert_eq!(pressure.next_us(), 0);
        pressure.drained(Share(1000), 1_000_000);
        pressure.taken(Share(1000), SLOWED_FROM, 5000);
        assert_eq!(pressure.next_us(), 0);
        pressure.taken(Share(1000), Share(SLOWED_FROM.0 + 1), 5000);
        assert!(pressure.next_us() < 5000, "hardly");
        pressure.taken(Share(1000), BALANCED_AT, 5000);
        let most = 5000 + PAUSE_MAX_US - AHEAD_US;
        assert!((most..most + 10).contains(&pressure.next_us()), "a pause is bounded (P3)");
    }

    #[test]
    fn the_fuller_the_slower() {
        let pressure = Pressure { drained_per_second: Some(1000), paid_until_us: 0 };
        let rates: Vec<u64> = [60, 70, 75, 80, 100]
            .iter()
            .filter_map(|it| pressure.rate(Share(it * 10_000)))
            .collect();
        assert_eq!(rates, [2500, 1250, 1000, 833, 500]);
    }

    #[test]
    fn shares_are_rounded_up_and_never_overflow() {
        assert_eq!(Share::of(1, u64::MAX), Share(1));
        assert_eq!(Share::of(u64::MAX, 1), Share(u64::MAX));
        assert_eq!(Share::of(1, 0), Share(WHOLE));
        let last_of_64_bits = u64::MAX / WHOLE;
        assert_eq!(Share::of(last_of_64_bits, last_of_64_bits), Share(WHOLE));
        assert_eq!(Share::of(last_of_64_bits + 1, last_of_64_bits + 1), Share(WHOLE));
    }
}

//! How fast background copies run, and how they give way to hosts.
//!
//! An administrator chooses a `Pace` per relationship. While hosts are at work, the `Governor` lets one short run be copied at
//! a time and then lets the copier rest: as long as it takes for the hosts' requests to be answered nearly as fast as they
//! are during the rests.
//!
//! Invariants
//! - P1 Without host I/O nothing rests but for the pace itself.
//! - P2 A rest has an end (`REST_MAX_US`): a copy is slowed by hosts and never stopped.
//! - P3 What a rest is compared with was measured while nothing was copied: each rest measures it anew.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// How fast a background copy may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pace {
    /// A quarter of the time at most, and hosts hardly notice.
    Slow,
    /// All that hosts leave over: their requests may take half as long again.
    #[default]
    Medium,
    /// Before hosts: their requests may take three times as long.
    Fast,
    /// At most so many mebibytes per second, and not at the hosts' cost either.
    MebibytesPerSecond(u32),
}

impl Pace {
    /// What hosts' requests may take at most, in percent of what they take while nothing is copied.
    fn tolerance_percent(self) -> u64 {
        match self {
            Self::Slow => 115,
            Self::Medium | Self::MebibytesPerSecond(_) => 150,
            Self::Fast => 300,
        }
    }

    /// True when the pace itself rests between runs.
    pub fn rests(self) -> bool {
        matches!(self, Self::Slow | Self::MebibytesPerSecond(_))
    }

    /// How long this pace rests after a run of `bytes` that took `took_us`, whatever hosts do.
    pub fn rest_us(self, bytes: u64, took_us: u64) -> u64 {
        match self {
            Self::Medium | Self::Fast => 0,
            Self::Slow => (3 * took_us).min(REST_MAX_US),
            Self::MebibytesPerSecond(most) => {
                let due = u128::from(bytes) * 1_000_000 / (u128::from(most.max(1)) << 20);
                u64::try_from(due).unwrap_or(u64::MAX).saturating_sub(took_us)
            }
        }
    }
}

impl fmt::Display for Pace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Slow => f.write_str("slow"),
            Self::Medium => f.write_str("medium"),
            Self::Fast => f.write_str("fast"),
            Self::MebibytesPerSecond(most) => write!(f, "{most} MiB/s"),
        }
    }
}

/// A pace that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no pace: give slow, medium, fast, or a rate such as 200MiB/s")]
pub struct NoPace(String);

impl FromStr for Pace {
    type Err = NoPace;

    fn from_str(text: &str) -> Result<Self, NoPace> {
        let rate = || {
            let number = text.trim_end().strip_suffix("MiB/s").unwrap_or(text).trim();
            number.parse().ok().filter(|most| *most > 0).map(Self::MebibytesPerSecond)
        };
        match text {
            "slow" => Ok(Self::Slow),
            "medium" => Ok(Self::Medium),
            "fast" => Ok(Self::Fast),
            _ => rate().ok_or_else(|| NoPace(text.to_owned())),
        }
    }
}

/// Hosts are at work when one has been answered in the last so many microseconds.
const ACTIVE_US: u64 = 20_000;
/// Longest rest.
const REST_MAX_US: u64 = 50_000;
/// First rest, before anything is known.
const FIRST_REST_US: u64 = 2_000;
/// Requests after which a mean says something.
const SAMPLES: u64 = 16;
/// Rests are counted in so many parts of the time that the run before took.
const PARTS: u64 = 8;
/// Longest rest in these parts.
const REST_PARTS_MAX: u64 = 64 * PARTS;

/// A mean that is being taken.
#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    total_us: u64,
    count: u64,
}

impl Sum {
    fn add(&mut self, latency_us: u64) {
        self.total_us += latency_us;
        self.count += 1;
    }

    /// The mean of enough samples, which are then forgotten; at least 1.
    fn take(&mut self) -> Option<u64> {
        if self.count < SAMPLES {
            return None;
        }
        let sum = std::mem::take(self);
        Some((sum.total_us / sum.count).max(1))
    }
}

/// Watches hosts' requests, and says when the next run of a background copy may begin.
#[derive(Clone, Copy, Debug, Default)]
pub struct Governor {
    alone: Sum,
    beside: Sum,
    /// What requests take while nothing is copied.
    alone_us: Option<u64>,
    rest_parts: u64,
    rest_until_us: u64,
    last_host_us: Option<u64>,
}

impl Governor {
    /// A host's read or write was answered `latency_us` after it came.
    pub fn answered(&mut self, latency_us: u64, copying: bool, now_us: u64) {
        self.last_host_us = Some(now_us);
        if copying {
            self.beside.add(latency_us);
            return;
        }
        self.alone.add(latency_us);
        if let Some(mean) = self.alone.take() {
            let known = self.alone_us.unwrap_or(mean);
            self.alone_us = Some((3 * known + mean) / 4);
        }
    }

    /// True while hosts are at work.
    pub fn hosts_are_active(&self, now_us: u64) -> bool {
        self.last_host_us.is_some_and(|last| now_us < last + ACTIVE_US)
    }

    /// A run of a background copy has ended: hosts at work get a rest.
    pub fn run_ended(&mut self, pace: Pace, took_us: u64, now_us: u64) {
        if !self.hosts_are_active(now_us) {
            return;
        }
        let Some(alone_us) = self.alone_us else {
            self.rest_until_us = now_us + FIRST_REST_US;
            return;
        };
        if let Some(beside_us) = self.beside.take() {
            self.rest_parts = if beside_us * 100 > alone_us * pace.tolerance_percent() {
                (2 * self.rest_parts + 1).min(REST_PARTS_MAX)
            } else {
                self.rest_parts - self.rest_parts.div_ceil(8)
            };
        }
        let rest_us = (took_us * self.rest_parts / PARTS).min(REST_MAX_US);
        self.rest_until_us = now_us + rest_us;
    }

    /// When the next run may begin, while hosts are at work.
    pub fn rest_until_us(&self) -> u64 {
        self.rest_until_us
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The share of ten seconds, in percent, in which a copy runs beside hosts whose requests take 100 microseconds, and
    /// `beside_us` while it runs. A run takes a millisecond, and eight requests are under way.
    fn busy_percent(pace: Pace, beside_us: u64) -> u64 {
        let mut governor = Governor::default();
        let (mut now_us, mut running_us) = (0, 0);
        while now_us < 10_000_000 {
            for _ in 0..10 {
                now_us += 100;
                (0..8).for_each(|_| governor.answered(beside_us, true, now_us));
            }
            running_us += 1000;
            governor.run_ended(pace, 1000, now_us);
            while now_us < governor.rest_until_us() {
                now_us += 100;
                (0..8).for_each(|_| governor.answered(100, false, now_us));
            }
        }
        running_us * 100 / now_us
    }

    #[test]
    fn a_copy_that_hosts_do_not_notice_hardly_rests() {
        assert!(busy_percent(Pace::Medium, 110) > 90);
        assert!(busy_percent(Pace::Slow, 110) > 90);
        assert!(busy_percent(Pace::Fast, 250) > 90);
    }

    #[test]
    fn a_copy_that_hosts_suffer_from_rests_most_of_the_time_and_never_stops() {
        for pace in [Pace::Slow, Pace::Medium, Pace::Fast] {
            let busy = busy_percent(pace, 1000);
            assert!((1..10).contains(&busy), "{pace}: {busy} %");
        }
    }

    #[test]
    fn without_hosts_there_is_no_rest() {
        let mut governor = Governor::default();
        governor.answered(100, true, 1000);
        governor.run_ended(Pace::Medium, 5000, 1_000_000);
        assert_eq!(governor.rest_until_us(), 0);
        assert!(!governor.hosts_are_active(1_000_000));
    }

    #[test]
    fn a_rate_rests_as_long_as_the_run_was_too_fast() {
        let pace = Pace::MebibytesPerSecond(100);
        assert_eq!(pace.rest_us(1 << 20, 2000), 8000);
        assert_eq!(pace.rest_us(1 << 20, 20_000), 0);
        assert_eq!(Pace::Slow.rest_us(1 << 20, 1000), 3000);
        assert_eq!(Pace::Medium.rest_us(1 << 20, 1000), 0);
    }

    #[test]
    fn a_pace_is_read_as_it_is_written() {
        for pace in [Pace::Slow, Pace::Medium, Pace::Fast, Pace::MebibytesPerSecond(25)] {
            assert_eq!(pace.to_string().parse(), Ok(pace));
        }
        assert_eq!("25MiB/s".parse(), Ok(Pace::MebibytesPerSecond(25)));
        for bad in ["", "0", "0MiB/s", "-1", "quick", "5 MB/s"] {
            assert!(bad.parse::<Pace>().is_err(), "{bad}");
        }
    }
}

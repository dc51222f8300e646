//! Random numbers: from a seed, or different from run to run.

#![allow(dead_code, reason = "each test uses its part of the module")]

use std::hash::{BuildHasher, Hasher, RandomState};

/// A generator of the xorshift kind.
pub(crate) struct Random(u64);

impl Random {
    /// Seeded by the system: for what cannot be repeated anyway.
    pub(crate) fn new() -> Self {
        Self(RandomState::new().build_hasher().finish() | 1)
    }

    /// The same numbers for the same seed, which is not zero.
    pub(crate) fn from_seed(seed: u64) -> Self {
        Self(seed)
    }

    /// A number from 0 up to, but not including, `limit`.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % limit
    }

    /// The same for places in memory.
    pub(crate) fn index_below(&mut self, limit: usize) -> usize {
        usize::try_from(self.below(limit as u64)).expect("less than a place in memory")
    }
}

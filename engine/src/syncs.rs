//! Group commit of one object: who waits for which writes to become durable.
//!
//! Invariants
//! - Y1 A sync covers the writes completed before it began, and no others (rule O4).
//! - Y2 At most one sync of an object is running; waiters that it does not cover get the next one.
//! - Y3 After a failed sync nothing becomes durable any more (rule O9): every waiter is told of the failure.

/// Sync state of one object.
#[derive(Debug)]
pub struct Syncs<W> {
    written: u64,
    durable: u64,
    running: Option<u64>,
    failed: bool,
    waiters: Vec<(u64, W)>,
}

impl<W> Default for Syncs<W> {
    fn default() -> Self {
        Self { written: 0, durable: 0, running: None, failed: false, waiters: Vec::new() }
    }
}

/// What a waiter has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Nothing: all is durable.
    Over,
    /// It will be told.
    Joined,
    /// Nothing more: the object cannot be made durable.
    Failed,
}

impl<W> Syncs<W> {
    /// A write of the object has completed.
    pub fn wrote(&mut self) {
        self.written += 1;
    }

    /// True when completed writes are not durable.
    pub fn is_dirty(&self) -> bool {
        self.durable < self.written
    }

    /// True after a failed sync (Y3).
    pub fn has_failed(&self) -> bool {
        self.failed
    }

    /// Waits until everything written so far is durable.
    pub fn wait(&mut self, waiter: W) -> Wait {
        if self.failed {
            return Wait::Failed;
        }
        if !self.is_dirty() {
            return Wait::Over;
        }
        self.waiters.push((self.written, waiter));
        Wait::Joined
    }

    /// True when a sync is to be started now; it then counts as running.
    pub fn begin(&mut self) -> bool {
        if self.failed || self.running.is_some() || self.waiters.is_empty() {
            return false;
        }
        self.running = Some(self.written);
        true
    }

    /// The running sync has ended well; gives those it covers.
    pub fn done(&mut self) -> Vec<W> {
        let covered = self.running.take().unwrap_or(self.durable);
        self.durable = self.durable.max(covered);
        let (over, waiting) =
            std::mem::take(&mut self.waiters).into_iter().partition(|(until, _)| *until <= covered);
        self.waiters = waiting;
        over.into_iter().map(|(_, waiter): (u64, W)| waiter).collect()
    }

    /// The object is removed, so nothing of it needs to be durable any more; gives everybody who waits.
    pub fn end(self) -> Vec<W> {
        self.waiters.into_iter().map(|(_, waiter)| waiter).collect()
    }

    /// The running sync has failed; gives everybody who waits.
    pub fn fail(&mut self) -> Vec<W> {
        self.running = None;
        self.failed = true;
        std::mem::take(&mut self.waiters).into_iter().map(|(_, waiter)| waiter).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_waiter_that_came_during_a_sync_gets_the_next_one() {
        let mut syncs = Syncs::default();
        syncs.wrote();
        assert_eq!(syncs.wait("first"), Wait::Joined);
        assert!(syncs.begin());
        syncs.wrote();
        assert_eq!(syncs.wait("second"), Wait::Joined);
        assert!(!syncs.begin(), "one sync at a time");
        assert_eq!(syncs.done(), ["first"]);
        assert!(syncs.begin());
        assert_eq!(syncs.done(), ["second"]);
        assert_eq!(syncs.wait("third"), Wait::Over);
    }

    #[test]
    fn after_a_failed_sync_nobody_is_told_that_data_is_durable() {
        let mut syncs = Syncs::default();
        syncs.wrote();
        assert_eq!(syncs.wait(1), Wait::Joined);
        assert!(syncs.begin());
        assert_eq!(syncs.fail(), [1]);
        assert_eq!(syncs.wait(2), Wait::Failed);
    }
}

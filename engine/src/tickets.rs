//! What is in flight, in the order it began: the grace periods of the engine.
//!
//! Whoever reads or writes stored data takes a ticket first and gives it back when done. To wait until
//! nothing that looked up a place *before now* is still using it, wait until every ticket up to now is
//! back. No ranges, no locks; a slow operation only delays the waiter.
//!
//! Invariant T1: a waiter is told exactly once, when all tickets taken before it began to wait are back.

use std::collections::VecDeque;

/// Taken by an operation before it uses a place; given back when it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a ticket that is not given back stops every waiter"]
pub struct Ticket(u64);

/// All tickets out, and who waits for them.
#[derive(Debug)]
pub struct Tickets<W> {
    /// Number of the ticket at the front of `back`.
    first: u64,
    /// Whether each ticket from `first` on is back; never starts with a returned one.
    back: VecDeque<bool>,
    /// Number of the next ticket when the wait began, and who waits; ascending.
    waiters: VecDeque<(u64, W)>,
}

impl<W> Default for Tickets<W> {
    fn default() -> Self {
        Self { first: 0, back: VecDeque::new(), waiters: VecDeque::new() }
    }
}

impl<W> Tickets<W> {
    /// Takes a ticket.
    pub fn take(&mut self) -> Ticket {
        self.back.push_back(false);
        Ticket(self.first + self.back.len() as u64 - 1)
    }

    /// Gives a ticket back.
    pub fn give_back(&mut self, ticket: Ticket) {
        let at = usize::try_from(ticket.0 - self.first).expect("tickets in flight fit memory");
        self.back[at] = true;
        while self.back.front() == Some(&true) {
            self.back.pop_front();
            self.first += 1;
        }
    }

    /// Waits until every ticket that is out now is back. The waiter is told by [`Tickets::ready`],
    /// at the earliest by the next call of it.
    pub fn wait(&mut self, waiter: W) {
        self.waiters.push_back((self.first + self.back.len() as u64, waiter));
    }

    /// The next waiter whose wait is over.
    pub fn ready(&mut self) -> Option<W> {
        if self.waiters.front()?.0 > self.first {
            return None;
        }
        self.waiters.pop_front().map(|(_, waiter)| waiter)
    }

    /// Number of tickets out, counting those behind a slower one.
    pub fn out(&self) -> usize {
        self.back.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_waiter_is_told_when_all_earlier_tickets_are_back_whatever_their_order() {
        let mut tickets = Tickets::default();
        let (a, b) = (tickets.take(), tickets.take());
        tickets.wait("old ones are gone");
        let c = tickets.take();
        tickets.give_back(b);
        assert_eq!(tickets.ready(), None);
        tickets.give_back(a);
        assert_eq!(tickets.ready(), Some("old ones are gone"));
        assert_eq!(tickets.ready(), None);
        tickets.give_back(c);
        assert_eq!(tickets.out(), 0);
    }

    #[test]
    fn with_nothing_in_flight_a_wait_is_over_at_once() {
        let mut tickets = Tickets::default();
        tickets.wait(1);
        tickets.wait(2);
        assert_eq!((tickets.ready(), tickets.ready(), tickets.ready()), (Some(1), Some(2), None));
    }
}

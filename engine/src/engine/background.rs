//! Reads and writes of the destager and the copier: a few at a time, so that what hosts ask for meanwhile never waits
//! behind a whole batch of thousands, nor does a sync of the journal behind the few.
//!
//! Invariants
//! - B1 At most `IN_FLIGHT_MAX` of them are with the backend; the others wait, what holds data before what has yet to be read.
//!   At most `AT_ONCE_MAX`, with little more than `AT_ONCE_BYTES`, are handed out at a time, after all that is no background.
//! - B2 One that waits is pending like one in flight: its ticket is taken and its barrier held, so nobody takes it for ended.
//! - B3 A read that waits has no memory yet, and a write goes before it. So a batch holds little more than what is read at a
//!   time, and uses that memory again.

use std::collections::VecDeque;

use super::Engine;
use super::barrier::BarrierId;
use super::ops::Pending;
use crate::io::{Action, Buffer, Object, Op};

/// As many keep a device busy.
const IN_FLIGHT_MAX: usize = 64;
/// As many take a page cache a fifth of a millisecond.
const AT_ONCE_MAX: usize = 16;
/// So do as many bytes: tracks that are copied to a full target are long.
const AT_ONCE_BYTES: usize = 128 << 10;

/// Those that wait, and how many do not.
#[derive(Debug, Default)]
pub(super) struct Background {
    in_flight: usize,
    /// With the bytes that a read is to get (B3).
    waiting: VecDeque<(Op, Option<usize>)>,
}

/// Whether an operation waits for others of its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// It is the backend's at once.
    Now,
    /// It is one of the background (B1).
    Background,
}

impl Engine {
    /// Emits an operation of the background that is no read; its turn comes (B1), before that of reads.
    pub(super) fn emit_in_background(&mut self, object: Object, action: Action, pending: Pending) {
        let op = self.op(object, action, pending, Turn::Background);
        self.background.waiting.push_front((op, None));
    }

    /// Emits a write for which the barrier is held.
    pub(super) fn write_in_background(
        &mut self,
        (object, offset): (Object, u64),
        data: Buffer,
        barrier: BarrierId,
    ) {
        let pending = Pending::Wrote { barrier, object, ticket: None };
        self.emit_in_background(object, Action::Write { offset, data }, pending);
    }

    /// Emits a read of `bytes` bytes from `offset` on.
    pub(super) fn read_in_background(
        &mut self,
        object: Object,
        offset: u64,
        bytes: usize,
        pending: Pending,
    ) {
        let action = Action::Read { offset, buffer: Buffer::default() };
        let op = self.op(object, action, pending, Turn::Background);
        self.background.waiting.push_back((op, Some(bytes)));
    }

    /// An operation of the background has ended.
    pub(super) fn background_ended(&mut self) {
        self.background.in_flight -= 1;
    }

    /// Hands out the next ones, behind what is to be performed already (B1).
    pub(super) fn begin_background(&mut self) {
        let free = IN_FLIGHT_MAX - self.background.in_flight;
        let mut moved = 0;
        for _ in 0..free.min(AT_ONCE_MAX) {
            if moved >= AT_ONCE_BYTES {
                return;
            }
            let Some((mut op, bytes)) = self.background.waiting.pop_front() else {
                return;
            };
            self.background.in_flight += 1;
            match (&mut op.action, bytes) {
                (Action::Read { buffer, .. }, Some(bytes)) => {
                    *buffer = Buffer::scratch(bytes);
                    moved += bytes;
                }
                (Action::Write { data, .. }, _) => moved += data.len(),
                _ => {}
            }
            self.ops.push(op);
        }
    }
}

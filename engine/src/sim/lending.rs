//! Replies that name the bytes of a read instead of carrying them: the client gets those some time later.
//!
//! Until then the read is unanswered as far as the model knows, so it may meet every write of its volume that is asked for
//! meanwhile, and nothing else (H3 of `engine::host`).

use super::replies::Asked;
use super::world::World;
use crate::io::{Buffer, Stretch};
use crate::request::{ReplyData, RequestId};

/// Turns that the longest way to a client takes.
const TURNS_MAX: u64 = 64;

/// Bytes on their way to a client.
#[derive(Debug)]
pub(super) struct Lent {
    stretch: Stretch,
    /// What the client has of them.
    received: Vec<u8>,
    /// Turns until it gets more of them.
    turns_left: u64,
}

impl World {
    /// Takes a reply that names the bytes of a read.
    pub(super) fn lent(
        &mut self,
        id: RequestId,
        asked: Asked,
        stretch: Stretch,
    ) -> Result<(), String> {
        let turns_left = self.lending.below(TURNS_MAX);
        self.lent.insert(id, Lent { stretch, received: Vec::new(), turns_left });
        // What is settled must not meet anything, so it is had at once.
        let at_once = matches!(asked, Asked::Settle { .. });
        self.asked.insert(id, asked);
        if at_once { self.receive_rest(id) } else { Ok(()) }
    }

    /// A turn passes; some clients get their bytes, or half of them.
    pub(super) fn advance_lent(&mut self) -> Result<(), String> {
        let mut due = Vec::new();
        for (id, lent) in &mut self.lent {
            match lent.turns_left.checked_sub(1) {
                Some(left) => lent.turns_left = left,
                None => due.push(*id),
            }
        }
        for id in due {
            let Some(lent) = self.lent.get_mut(&id).filter(|lent| lent.received.is_empty()) else {
                self.receive_rest(id)?;
                continue;
            };
            let Stretch { object, range } = lent.stretch;
            lent.received = self.disk.content(object, range.start, range.bytes() / 2);
            lent.turns_left = self.lending.below(TURNS_MAX);
        }
        Ok(())
    }

    /// All clients get their bytes now.
    pub(super) fn receive_all_lent(&mut self) -> Result<(), String> {
        while let Some((&id, _)) = self.lent.first_key_value() {
            self.receive_rest(id)?;
        }
        Ok(())
    }

    fn receive_rest(&mut self, id: RequestId) -> Result<(), String> {
        let (Some(lent), Some(asked)) = (self.lent.remove(&id), self.asked.remove(&id)) else {
            return Err(format!("{id:?} is on its way to nobody"));
        };
        let Lent { stretch, mut received, .. } = lent;
        let Stretch { object, range } = stretch;
        if !self.disk.has(object) {
            return Err(format!("{asked:?} was given {stretch:?}, which is gone"));
        }
        let had = received.len() as u64;
        received.extend(self.disk.content(object, range.start + had, range.bytes() - had));
        let what = format!("{asked:?}, lent as {stretch:?}");
        let data = ReplyData::Data(Buffer::from_vec(received));
        self.judge_success(asked, data).map_err(|error| format!("{what}: {error}"))
    }
}

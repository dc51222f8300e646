//! Replies that name the bytes of a read instead of carrying them: the client gets those some time later.
//!
//! Until then the read is unanswered as far as the model knows, so it may meet every write of its volume that is asked for
//! meanwhile, and nothing else (H3 of `engine::host`).

use super::replies::Asked;
use super::world::World;
use crate::io::Stretch;
use crate::request::{ReplyData, RequestId};

/// Turns that the longest way to a client takes.
const TURNS_MAX: u64 = 64;

/// Bytes on their way to a client.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lent {
    stretch: Stretch,
    /// Turns until the client has them.
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
        // What is settled must not meet anything, so it is had at once.
        if matches!(asked, Asked::Settle { .. }) {
            return self.receive_lent(asked, stretch);
        }
        let turns_left = self.lending.below(TURNS_MAX);
        self.lent.insert(id, Lent { stretch, turns_left });
        self.asked.insert(id, asked);
        Ok(())
    }

    /// A turn passes; some clients have their bytes now.
    pub(super) fn advance_lent(&mut self) -> Result<(), String> {
        let mut received = Vec::new();
        for (id, lent) in &mut self.lent {
            match lent.turns_left.checked_sub(1) {
                Some(left) => lent.turns_left = left,
                None => received.push(*id),
            }
        }
        for id in received {
            self.receive(id)?;
        }
        Ok(())
    }

    /// All clients get their bytes now.
    pub(super) fn receive_all_lent(&mut self) -> Result<(), String> {
        while let Some((&id, _)) = self.lent.first_key_value() {
            self.receive(id)?;
        }
        Ok(())
    }

    fn receive(&mut self, id: RequestId) -> Result<(), String> {
        let lent = self.lent.remove(&id);
        let (Some(lent), Some(asked)) = (lent, self.asked.remove(&id)) else {
            return Err(format!("{id:?} is on its way to nobody"));
        };
        self.receive_lent(asked, lent.stretch)
    }

    fn receive_lent(&mut self, asked: Asked, stretch: Stretch) -> Result<(), String> {
        if !self.disk.has(stretch.object) {
            return Err(format!("{asked:?} was given {stretch:?}, which is gone"));
        }
        let bytes = self.disk.content(stretch.object, stretch.range.start, stretch.range.bytes());
        let what = format!("{asked:?}, lent as {stretch:?}");
        let data = ReplyData::Data(crate::io::Buffer::from_vec(bytes));
        self.judge_success(asked, data).map_err(|error| format!("{what}: {error}"))
    }
}

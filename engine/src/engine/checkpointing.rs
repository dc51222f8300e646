//! Checkpoints: the whole metadata and the index of live frames, so that opening is quick and the
//! journal's old segments can be used again. They are encoded and written piece by piece, each once the one before is
//! written, so that no call of the engine takes long however much there is (rule O12).
//!
//! Invariants
//! - K1 A checkpoint's content is the state with exactly the records up to its mark applied: it is taken
//!   when none was applied early (E2), and its mark is what is durable at that moment. It comes from a snapshot,
//!   which does not change while it is written.
//! - K2 It lists every staged version whose frame is before the mark and not released, also those that are covered or
//!   superseded while it is written: what does that may be lost in a crash. The journal is kept from the first of their
//!   payloads on. Versions that are released meanwhile may be missing: that record is durable, and after the mark.
//! - K3 Segments are used again when the checkpoint is committed and nobody reads from them any more.
//! - K4 Writes that wait for room get it: once all that is staged has gone home, what the next checkpoint sets free is
//!   enough for it to be begun, however small the journal.

use super::Engine;
use super::barrier::Then;
use super::ops::Pending;
use crate::io::Object;
use crate::journal::{CheckpointSlots, CheckpointWriter};
use crate::limits::{CHECKPOINT_PIECE_BLOCKS, CHECKPOINT_PIECE_BYTES};
use crate::request::RequestError;
use crate::stage::{Stage, Staged};
use crate::state::{Snapshot, State, StateError};
use crate::units::Position;

/// What the checkpointer is at.
#[derive(Debug)]
pub(super) struct Checkpointer {
    slots: CheckpointSlots,
    writing: Option<Writing>,
    /// Where replay would begin now.
    replay_from: Position,
    /// After a failure the next attempt waits until then.
    retry_at_us: Option<u64>,
}

/// A checkpoint on its way. The stage lists what is live as long as there is one.
#[derive(Debug)]
struct Writing {
    writer: CheckpointWriter,
    snapshot: Snapshot,
}

impl Writing {
    /// Supplies the next piece of the payload when it is wanted: the state first, then the index of live frames.
    fn supply(&mut self, stage: &mut Stage) {
        if !self.writer.wants_piece() {
            return;
        }
        let mut piece = Vec::new();
        self.snapshot.encode_some(&mut piece, CHECKPOINT_PIECE_BYTES);
        let mut last = false;
        while self.snapshot.is_encoded() && !last && piece.len() < CHECKPOINT_PIECE_BYTES {
            match stage.list_some(CHECKPOINT_PIECE_BLOCKS) {
                Some(staged) => piece.extend(encode_staged(&staged)),
                None => last = true,
            }
        }
        self.writer.supply(piece, last);
    }
}

/// What records are for. The journal's reserve is shared out so that what makes room in it is never kept from doing so
/// by what does not: a batch of the destager fits when commands are refused, a command when the copier pauses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RecordPurpose {
    /// What staged writes become at home: sets journal space free.
    Destage,
    /// A command: among them those that end a lack of space, as a withdraw does.
    Command,
    /// Progress of a background copy.
    Copy,
}

impl RecordPurpose {
    /// The room that there has to be, in bytes of a journal whose frames hold `payload_max`.
    fn least_room(self, payload_max: u64) -> u64 {
        match self {
            Self::Destage => 2 * payload_max,
            Self::Command => 3 * payload_max,
            Self::Copy => 4 * payload_max,
        }
    }
}

const RETRY_US: u64 = 1_000_000;

impl Checkpointer {
    pub(super) fn new(slots: CheckpointSlots, replay_from: Position) -> Self {
        Self { slots, writing: None, replay_from, retry_at_us: None }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.writing.is_none()
    }

    /// When to try again what has failed.
    pub(super) fn deadline_us(&self) -> Option<u64> {
        self.retry_at_us
    }
}

/// The payload of the checkpoint of an empty store.
pub(super) fn empty() -> Vec<u8> {
    let mut bytes = Vec::new();
    State::default().snapshot().encode_some(&mut bytes, usize::MAX);
    bytes
}

fn encode_staged(staged: &[Staged]) -> Vec<u8> {
    postcard::to_allocvec(staged).expect("encoding into memory does not fail")
}

/// Reads a checkpoint's payload back; staged versions in no order that means anything.
pub(super) fn decode(bytes: &[u8]) -> Result<(State, Vec<Staged>), StateError> {
    let (state, mut rest) = State::decode(bytes)?;
    let mut all: Vec<Staged> = Vec::new();
    while !rest.is_empty() {
        let (staged, after): (Vec<Staged>, _) = postcard::take_from_bytes(rest)?;
        if !staged.iter().all(Staged::is_within_its_block) {
            return Err(StateError::Order);
        }
        all.extend(staged);
        rest = after;
    }
    Ok((state, all))
}

impl Engine {
    /// Begins a checkpoint when much journal has been written since the last one, or goes on.
    pub(super) fn step_checkpoint(&mut self) {
        let since = self.journal.durable().0.saturating_sub(self.checkpointer.replay_from.0);
        let segment = self.journal.segment_bytes();
        // When somebody waits for room, a checkpoint is worth what it sets free.
        let short = !self.has_record_room(RecordPurpose::Copy);
        let pressed = !self.waiting.is_empty() || short;
        let needed_from = self.oldest_staged().min(self.journal.durable());
        let gain = needed_from.0.saturating_sub(self.journal.oldest().0);
        // Where no further segments can be made, or the reserve is in use, each one counts. What hosts may fill, but for
        // the segment being filled, is all there is to gain (K4).
        let most = self.journal.host_capacity_bytes() - segment;
        let few = self.journal.lacks_slots() || short;
        let worth = if few { segment } else { (2 * segment).min(most) };
        let due = since >= self.journal.capacity_bytes() / 4 || (pressed && gain >= worth);
        if self.checkpointer.retry_at_us.is_some_and(|at| self.now.monotonic_us >= at) {
            self.checkpointer.retry_at_us = None;
        }
        let may = self.checkpointer.is_idle()
            && self.fail_stop.is_none()
            && self.checkpointer.retry_at_us.is_none();
        if due && may {
            self.begin_checkpoint();
        }
        self.emit_checkpoint_action();
    }

    /// True when records for this purpose may be appended to the journal.
    pub(super) fn has_record_room(&self, purpose: RecordPurpose) -> bool {
        self.journal.room_for_records() >= purpose.least_room(self.journal.payload_max())
    }

    /// Syncs what took direct writes, and a last checkpoint, before the store is closed.
    pub(super) fn begin_closing(&mut self) {
        let objects: Vec<Object> = self.syncs.keys().copied().collect();
        let barrier = self.barrier(Then::Nothing);
        for object in objects {
            self.join_object(barrier, object);
        }
        self.release(barrier, Ok(()));
        self.append_last_watermark();
        if self.checkpointer.replay_from < self.journal.durable() {
            self.begin_checkpoint();
        }
    }

    fn begin_checkpoint(&mut self) {
        // A command that waits for requests may wait for what the checkpoint sets free.
        if self.command_is_recording() || self.journaling.applied_early() {
            return;
        }
        let mark = self.journal.durable_mark();
        let first = self.stage.first_in_journal();
        let keep_from = first.map_or(mark.position, |first| first.min(mark.position));
        let writer = self.checkpointer.slots.begin(mark, keep_from);
        self.stage.begin_listing(mark.seq);
        self.checkpointer.writing = Some(Writing { writer, snapshot: self.state.snapshot() });
        self.emit_checkpoint_action();
    }

    fn emit_checkpoint_action(&mut self) {
        let durable = self.journal.durable();
        let Some(writing) = &mut self.checkpointer.writing else {
            return;
        };
        writing.supply(&mut self.stage);
        if let Some((object, action)) = writing.writer.next_action(durable) {
            let barrier = self.barrier(Then::Checkpoint);
            self.emit(object, action, Pending::Barrier(barrier));
        }
    }

    fn drop_checkpoint(&mut self) {
        self.checkpointer.writing = None;
        self.stage.end_listing();
    }

    /// An operation of the checkpoint has ended.
    pub(super) fn checkpoint_step(&mut self, result: Result<(), RequestError>) {
        let Some(Writing { writer, .. }) = &mut self.checkpointer.writing else {
            return;
        };
        match result {
            Err(_) if writer.is_syncing() => {
                self.drop_checkpoint();
                self.stop_writes("a sync of a checkpoint failed");
            }
            Err(_) => {
                self.drop_checkpoint();
                self.checkpointer.retry_at_us = Some(self.now.monotonic_us + RETRY_US);
            }
            Ok(()) => {
                writer.action_done();
                if !writer.is_committed() {
                    return;
                }
                let replay_from = writer.mark().position;
                let keep_from = self.checkpointer.slots.committed(writer);
                self.drop_checkpoint();
                self.checkpointer.replay_from = replay_from;
                self.stats.checkpoints += 1;
                self.after_grace(Then::Recycle(keep_from));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stage::{Content, Version};
    use crate::units::{Block, Position, Seq, VolumeId};

    #[test]
    fn a_staged_version_that_is_not_within_its_block_is_refused() {
        let listing = |start, end| {
            let content = Content::Journal(Position(9000));
            let version = Version { seq: Seq(7), start, end, content };
            let staged = Staged { volume: VolumeId(1), block: Block(3), version };
            [empty(), encode_staged(&[staged])].concat()
        };

        assert!(decode(&listing(0, 4096)).is_ok_and(|(_, listed)| listed.len() == 1));
        for (start, end) in [(0, 0), (512, 512), (513, 512), (0, 4097)] {
            let refused = decode(&listing(start, end)).map(drop);
            assert_eq!(refused, Err(StateError::Order), "{start}..{end}");
        }
    }
}

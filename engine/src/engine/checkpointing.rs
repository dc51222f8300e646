//! Checkpoints: the whole metadata and the index of live frames, so that opening is quick and the
//! journal's old segments can be used again.
//!
//! Invariants
//! - K1 A checkpoint's content is the state with exactly the records up to its mark applied: it is taken
//!   when none was applied early (E2), and its mark is what is durable at that moment.
//! - K2 It lists every staged version whose frame is before the mark and not released; the journal is
//!   kept from the first of their payloads on.
//! - K3 Segments are used again when the checkpoint is committed and nobody reads from them any more.

use serde::{Deserialize, Serialize};

use super::Engine;
use super::barrier::Then;
use super::ops::Pending;
use crate::io::Object;
use crate::journal::{CheckpointSlots, CheckpointWriter};
use crate::request::RequestError;
use crate::stage::{Content, Stage, Version};
use crate::state::{State, StateError};
use crate::units::{Block, Position, VolumeId};

/// What the checkpointer is at.
#[derive(Debug)]
pub(super) struct Checkpointer {
    slots: CheckpointSlots,
    writer: Option<CheckpointWriter>,
    /// Where replay would begin now.
    replay_from: Position,
    /// After a failure the next attempt waits until then.
    retry_at_us: Option<u64>,
}

/// One staged version, as a checkpoint lists it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct LiveVersion {
    pub(super) volume: VolumeId,
    pub(super) block: Block,
    pub(super) version: Version,
}

const RETRY_US: u64 = 1_000_000;

impl Checkpointer {
    pub(super) fn new(slots: CheckpointSlots, replay_from: Position) -> Self {
        Self { slots, writer: None, replay_from, retry_at_us: None }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.writer.is_none()
    }

    /// When to try again what has failed.
    pub(super) fn deadline_us(&self) -> Option<u64> {
        self.retry_at_us
    }
}

/// The payload of a checkpoint.
pub(super) fn encode(state: &State, live: &[LiveVersion]) -> Vec<u8> {
    let mut bytes = state.encode();
    bytes.extend(postcard::to_allocvec(live).expect("encoding into memory does not fail"));
    bytes
}

/// Reads a checkpoint's payload back.
pub(super) fn decode(bytes: &[u8]) -> Result<(State, Vec<LiveVersion>), StateError> {
    let (state, rest) = State::decode(bytes)?;
    Ok((state, postcard::from_bytes(rest)?))
}

/// Versions of the stage up to the mark, in the order of their numbers (K2).
fn live_versions(stage: &Stage, through: crate::units::Seq) -> Vec<LiveVersion> {
    let mut live: Vec<LiveVersion> = stage
        .all_versions()
        .filter(|(_, _, version)| version.seq <= through)
        .map(|(volume, block, version)| LiveVersion { volume, block, version: *version })
        .collect();
    live.sort_by_key(|live| live.version.seq);
    live
}

impl Engine {
    /// Begins a checkpoint when much journal has been written since the last one, or goes on.
    pub(super) fn step_checkpoint(&mut self) {
        let since = self.journal.durable().0.saturating_sub(self.checkpointer.replay_from.0);
        let segment = self.journal.segment_bytes();
        // When somebody waits for room, a checkpoint is worth what it sets free.
        let pressed = !self.waiting.is_empty() || !self.has_record_room();
        let needed_from = self.live_from().min(self.journal.durable());
        let gain = needed_from.0.saturating_sub(self.journal.oldest().0);
        // Where no further segments can be made, each one counts.
        let worth = if self.journal.lacks_slots() { segment } else { 2 * segment };
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

    /// The byte of the journal from which on live frames lie.
    fn live_from(&self) -> Position {
        self.stage.oldest().map_or(self.journal.written(), |frame| frame.position)
    }

    /// True when a batch's or command's records surely fit the journal.
    pub(super) fn has_record_room(&self) -> bool {
        self.journal.room_for_records() >= 2 * self.journal.payload_max()
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
        let live = live_versions(&self.stage, mark.seq);
        let keep_from = live
            .iter()
            .filter_map(|live| match live.version.content {
                Content::Journal(position) => Some(position),
                Content::Zeroes => None,
            })
            .min()
            .map_or(mark.position, |first| first.min(mark.position));
        let payload = encode(&self.state, &live);
        let writer = self.checkpointer.slots.begin(mark, keep_from, payload);
        self.checkpointer.writer = Some(writer);
        self.emit_checkpoint_action();
    }

    fn emit_checkpoint_action(&mut self) {
        let durable = self.journal.durable();
        let action =
            self.checkpointer.writer.as_mut().and_then(|writer| writer.next_action(durable));
        if let Some((object, action)) = action {
            let barrier = self.barrier(Then::Checkpoint);
            self.emit(object, action, Pending::Barrier(barrier));
        }
    }

    /// An operation of the checkpoint has ended.
    pub(super) fn checkpoint_step(&mut self, result: Result<(), RequestError>) {
        let Some(writer) = &mut self.checkpointer.writer else {
            return;
        };
        match result {
            Err(_) if writer.is_syncing() => {
                self.checkpointer.writer = None;
                self.stop_writes("a sync of a checkpoint failed");
            }
            Err(_) => {
                self.checkpointer.writer = None;
                self.checkpointer.retry_at_us = Some(self.now.monotonic_us + RETRY_US);
            }
            Ok(()) => {
                writer.action_done();
                if !writer.is_committed() {
                    return;
                }
                let replay_from = writer.mark().position;
                let keep_from = self.checkpointer.slots.committed(writer);
                self.checkpointer.writer = None;
                self.checkpointer.replay_from = replay_from;
                self.stats.checkpoints += 1;
                self.after_grace(Then::Recycle(keep_from));
            }
        }
    }
}

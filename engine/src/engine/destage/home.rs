//! Steps 5 to 8 of a batch: the newest versions go home, and their frames are released.

use super::{Batch, BatchStep};
use crate::engine::Engine;
use crate::engine::barrier::{BarrierId, Then};
use crate::engine::moves::{Move, newest_bytes, push_move};
use crate::io::Object;
use crate::lookup::Piece;
use crate::request::RequestError;
use crate::state::{Backing, Record};
use crate::units::{BLOCK_BYTES, Block, ByteRange, Seq};

impl Engine {
    /// Step 5, once the copies of a batch are recorded and the batch before is over; a batch that is not to go home ends here.
    pub(super) fn go_home(&mut self) {
        let recorded = |batch: &mut Batch| batch.step == BatchStep::Recorded;
        if self.destager.homing.is_some() {
            return;
        }
        let Some(mut batch) = self.destager.owing.take_if(recorded) else {
            return;
        };
        if !batch.goes_home {
            self.apply_deferred();
            return;
        }
        batch.step = BatchStep::Draining;
        self.destager.homing = Some(batch);
        let barrier = self.barrier(Then::BatchHome);
        self.join_grace(barrier);
        // The next batch waits for what is in flight now, too: it had better begin before step 6 has.
        self.step_destage();
        self.release(barrier, Ok(()));
    }

    /// Goes on with the batch that goes home.
    pub(in crate::engine) fn home_step(&mut self, result: Result<(), RequestError>) {
        let Some(mut batch) = self.destager.homing.take() else {
            return;
        };
        if let Err(error) = result {
            self.batch_failed(&batch, error);
            return;
        }
        if batch.step == BatchStep::Releasing {
            self.batch_over(&batch);
            return;
        }
        let barrier = self.barrier(Then::BatchHome);
        batch.step = match batch.step {
            BatchStep::Draining => {
                batch.written.clear();
                self.write_homes(&mut batch, barrier);
                BatchStep::Writing
            }
            BatchStep::Writing => {
                for &object in &batch.written {
                    if !breaks!(self, ReleaseBeforeHomeSync) {
                        self.join_object(barrier, object);
                    }
                }
                BatchStep::SyncingHomes
            }
            _ => {
                self.append(Record::Released { through: batch.through }, None);
                self.join_journal(barrier, self.journal.end());
                BatchStep::Releasing
            }
        };
        self.destager.homing = Some(batch);
        self.release(barrier, Ok(()));
    }

    fn batch_over(&mut self, batch: &Batch) {
        let since_us = batch.begun_us.max(self.destager.ended_us);
        self.room_made(batch.from, batch.blocks.len() as u64, since_us);
        self.destager.ended_us = self.now.monotonic_us;
        if self.destager.hold {
            self.keep_from_home();
        } else {
            self.go_home();
        }
        self.apply_deferred();
    }

    /// Step 6: the newest versions, byte by byte, go home.
    fn write_homes(&mut self, batch: &mut Batch, barrier: BarrierId) {
        let mut moves = Vec::new();
        for &(id, block) in &batch.blocks {
            let Some(volume) = self.state.volumes.get(&id) else {
                continue;
            };
            let block = Block(block);
            // Nobody can read what a failed copy holds.
            let bytes = ByteRange { start: block.offset(), end: block.offset() + BLOCK_BYTES };
            if self.image_is_gone(volume, bytes) {
                continue;
            }
            let base = match &volume.backing {
                Backing::Home => (Object::Home(id), block.offset()),
                Backing::Thin(thin) => match thin.slots.get(block) {
                    Some(slot) => (Object::Pool(thin.pool), slot.offset()),
                    None => continue,
                },
            };
            let mut pieces: Vec<Piece> = Vec::with_capacity(1);
            for version in self.stage.versions_of(id, block) {
                if version.seq <= batch.plan {
                    newest_bytes(&mut pieces, block, version);
                }
            }
            for piece in pieces {
                let to = (base.0, base.1 + (piece.range.start - block.offset()));
                push_move(&mut moves, Move { from: piece.place, to, bytes: piece.range.bytes() });
            }
        }
        self.stats.destaged_bytes += moves.iter().map(|moved| moved.bytes).sum::<u64>();
        batch.written = moves.iter().map(|moved| moved.to.0).collect();
        self.perform_moves(moves, barrier);
    }

    /// A `Released` record is durable.
    pub(in crate::engine) fn released(&mut self, through: Seq) {
        self.stage.release(through);
        self.destager.full.clear();
        self.destager.stuck = false;
    }
}

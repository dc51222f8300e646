//! The destager: what is owed first, then home, oldest frames first, in batches.
//!
//! A batch goes through these steps; each ends when its barrier opens:
//! 1. `Waiting`: writes that were in flight when the batch began have ended, its frames are durable.
//! 2. `Copying`: owed blocks are written to slots and full targets, or whole tracks are copied there.
//! 3. `SyncingCopies`: pools and targets that were written are synced.
//! 4. `Recording`: "preserved", "owned" and "copied blocks" are durable, and so is every record appended before.
//! 5. `Draining`: the batch before is over, and so are reads that looked up home before that.
//! 6. `Writing`: the newest versions are written home.
//! 7. `SyncingHomes`: homes and pools that were written are synced.
//! 8. `Releasing`: the frames are released by a durable record.
//!
//! Two batches are under way at most: while one is in steps 5 to 8 (`home`), the next one does what is owed, steps 1 to 4
//! (`owed`). So the device is not idle while blocks are copied, nor the processor while homes are synced.
//!
//! Invariants
//! - D1 Home advances to a version only in step 6: when every older version that some copy needs is durable
//!   and journaled (rule O1, O2).
//! - D2 Only frames up to `plan` take part: they are durable, and every T0 below `plan` is settled.
//! - D3 `Released` is appended after the homes were synced (rule O3), batch by batch in the order of their frames: a batch
//!   whose predecessor did not bring its frames home ends when its copies are recorded.
//! - D5 What the copies of a batch are read from does not change meanwhile: of a block that the batch before brings home, every
//!   older version that some copy needs is preserved already (D1), and newer ones lie in the journal until tickets are back.

mod full_targets;
mod home;
mod owed;

use std::collections::{BTreeMap, BTreeSet};

use super::Engine;
use super::barrier::Then;
use super::checkpointing::RecordPurpose;
use crate::io::Object;
use crate::request::RequestError;
use crate::units::{Block, Moment, PoolId, Position, RelationshipId, Seq, Slot, VolumeId};

/// Blocks of a batch, at most (a little over, by the last frame).
const BATCH_BLOCKS_MAX: u64 = 4096;
/// Journal bytes that the records of a block take at most, in a usual batch.
const RECORD_BYTES_PER_BLOCK: u64 = 32;
/// The destager begins when hosts have not written for so long.
const IDLE_US: u64 = 20_000;
/// After a batch that could not be finished (file system full) the next one waits so long.
const RETRY_US: u64 = 1_000_000;

/// What the destager is at.
#[derive(Debug, Default)]
pub(super) struct Destager {
    /// The batch in steps 1 to 4, or waiting for step 5.
    owing: Option<Batch>,
    /// The batch in steps 5 to 8, the older one.
    homing: Option<Batch>,
    /// When a batch was over last.
    ended_us: u64,
    last_host_write_us: u64,
    retry_at_us: u64,
    /// A command waits for the batches to end: no new one begins.
    pub(super) hold: bool,
    /// The journal filled up: go on until it is well below.
    pressed: bool,
    /// Homes and pools that found the file system full, until frames have gone home again.
    full: BTreeSet<Object>,
    /// The last batch could not go home because the file system is full.
    stuck: bool,
}

#[derive(Debug)]
struct Batch {
    step: BatchStep,
    begun_us: u64,
    /// Where the oldest frame lay.
    from: Position,
    /// Frames up to this one take part.
    plan: Seq,
    /// Frames up to this one are released at the end.
    through: Seq,
    blocks: BTreeSet<(VolumeId, u32)>,
    /// Volumes that the batch has to do with, also when their blocks are done.
    volumes: BTreeSet<VolumeId>,
    preserved: BTreeMap<(VolumeId, PoolId, Seq), Vec<(u32, Slot)>>,
    owned: BTreeMap<VolumeId, Vec<(u32, Slot)>>,
    /// Blocks, counted from the start of the extent, that are copied alone to full targets.
    copied: BTreeMap<RelationshipId, Vec<u32>>,
    written: BTreeSet<Object>,
    /// False when it ends with its copies (D3).
    goes_home: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BatchStep {
    Waiting,
    Copying,
    SyncingCopies,
    Recording,
    /// Its copies count; the batch before is not over.
    Recorded,
    Draining,
    Writing,
    SyncingHomes,
    Releasing,
}

impl Destager {
    pub(super) fn is_idle(&self) -> bool {
        self.owing.is_none() && self.homing.is_none()
    }

    /// True when staged data cannot go home because the file system is full.
    pub(super) fn is_stuck(&self) -> bool {
        self.stuck
    }

    /// True when the object found the file system full and no frame has gone home since.
    pub(super) fn found_full(&self, object: Object) -> bool {
        self.full.contains(&object)
    }

    /// A write of a home or pool found the file system full.
    pub(super) fn set_full(&mut self, object: Object) {
        self.full.insert(object);
    }

    pub(super) fn host_wrote(&mut self, now: Moment) {
        self.last_host_write_us = now.monotonic_us;
    }

    /// True when a batch under way has to do with the volume.
    pub(super) fn concerns(&self, volume: VolumeId) -> bool {
        self.owing.iter().chain(&self.homing).any(|batch| batch.volumes.contains(&volume))
    }
}

impl Engine {
    /// When the destager wants to be called, if it has something to wait for.
    pub(super) fn destage_deadline_us(&self) -> Option<u64> {
        let waits = self.destager.is_idle() && self.stage.oldest().is_some() && self.may_destage();
        waits.then(|| (self.destager.last_host_write_us + IDLE_US).max(self.destager.retry_at_us))
    }

    /// False while batches are held up by what ends with an event of its own.
    fn may_destage(&self) -> bool {
        let in_vain = self.shutdown != super::Shutdown::No && self.has_failed_storage();
        !self.destager.hold
            && self.fail_stop.is_none()
            && self.shutdown != super::Shutdown::Closing
            && self.has_record_room(RecordPurpose::Destage)
            && !in_vain
    }

    /// Begins a batch when it is time for one.
    pub(super) fn step_destage(&mut self) {
        self.apply_deferred();
        // What is deferred waits for a moment without batches.
        let busy = self.destager.owing.is_some() || self.journaling.has_deferred();
        if busy || !self.may_destage() {
            return;
        }
        let Some(oldest) = self.stage.oldest() else {
            self.destager.full.clear();
            self.destager.stuck = false;
            return;
        };
        let capacity = self.journal.capacity_bytes();
        let live = self.journal.written().0.saturating_sub(oldest.position.0);
        let (blocks, most) = (self.stage.versions(), self.policy.staged_blocks_max);
        if live > capacity / 2 || blocks > most / 2 || !self.waiting.is_empty() {
            self.destager.pressed = true;
        } else if live < capacity / 4 && blocks < most / 4 {
            self.destager.pressed = false;
        }
        let idle = self.now.monotonic_us >= self.destager.last_host_write_us + IDLE_US;
        let asked = !self.drains.is_empty() || self.shutdown != super::Shutdown::No;
        let retry = self.now.monotonic_us >= self.destager.retry_at_us;
        if (idle || asked || self.destager.pressed) && retry {
            self.begin_batch();
        }
    }

    /// Begins a batch of the oldest frames that are in none, if there are any.
    fn begin_batch(&mut self) {
        // Frames that are only written, not durable, take part too: their sync is awaited first.
        let most = self.journal.payload_max() / RECORD_BYTES_PER_BLOCK;
        let most = usize::try_from(most.min(BATCH_BLOCKS_MAX)).unwrap_or(1);
        let taken = self.destager.homing.as_ref().map_or(Seq(0), |batch| batch.through);
        if self.stage.newest().is_none_or(|newest| newest.seq <= taken) {
            return;
        }
        let mut blocks = BTreeSet::new();
        let mut from = None;
        let mut through = taken;
        for frame in self.stage.frames().skip_while(|frame| frame.seq <= taken) {
            if blocks.len() >= most {
                break;
            }
            let live = frame
                .range
                .blocks()
                .filter(|&block| !self.stage.versions_of(frame.volume, Block(block)).is_empty());
            blocks.extend(live.map(|block| (frame.volume, block)));
            from.get_or_insert(frame.position);
            through = frame.seq;
        }
        let Some(from) = from else {
            return;
        };
        let plan = Seq(self.journal.next_seq().0 - 1);
        self.stats.destage_batches += 1;
        self.destager.owing = Some(Batch {
            step: BatchStep::Waiting,
            begun_us: self.now.monotonic_us,
            from,
            plan,
            through,
            volumes: blocks.iter().map(|&(volume, _)| volume).collect(),
            blocks,
            preserved: BTreeMap::new(),
            owned: BTreeMap::new(),
            copied: BTreeMap::new(),
            written: BTreeSet::new(),
            goes_home: true,
        });
        let barrier = self.barrier(Then::BatchOwed);
        self.join_grace(barrier);
        self.join_journal(barrier, self.journal.end());
        self.release(barrier, Ok(()));
    }

    /// Goes on with the batch that does what is owed.
    pub(super) fn owed_step(&mut self, result: Result<(), RequestError>) {
        let Some(mut batch) = self.destager.owing.take() else {
            return;
        };
        if let Err(error) = result {
            self.batch_failed(&batch, error);
            return;
        }
        if batch.step == BatchStep::Recording {
            batch.step = BatchStep::Recorded;
            self.give_tracks_back(&batch);
            batch.copied.clear();
            self.destager.owing = Some(batch);
            self.go_home();
            return;
        }
        let barrier = self.barrier(Then::BatchOwed);
        batch.step = match batch.step {
            BatchStep::Waiting => {
                self.copy_owed(&mut batch, barrier);
                BatchStep::Copying
            }
            BatchStep::Copying => {
                for &object in &batch.written {
                    if !breaks!(self, SkipPoolSyncBeforePreserved) {
                        self.join_object(barrier, object);
                    }
                }
                self.sync_full_targets(&batch, barrier);
                BatchStep::SyncingCopies
            }
            _ => {
                self.record_copies(&mut batch);
                if !breaks!(self, HomeBeforeCopyRecorded) {
                    self.join_journal(barrier, self.journal.end());
                }
                BatchStep::Recording
            }
        };
        self.destager.owing = Some(batch);
        self.release(barrier, Ok(()));
    }

    /// The batch before did not bring its frames home, or a command waits for both (D3).
    fn keep_from_home(&mut self) {
        if let Some(batch) = &mut self.destager.owing {
            batch.goes_home = false;
        }
        self.go_home();
    }

    /// A batch that cannot go on is given up: its frames stay live, nothing is lost.
    fn batch_failed(&mut self, batch: &Batch, error: RequestError) {
        let unrecorded = matches!(
            batch.step,
            BatchStep::Waiting | BatchStep::Copying | BatchStep::SyncingCopies
        );
        if unrecorded {
            self.give_slots_back(batch);
        }
        self.give_tracks_back(batch);
        match (error, batch.step) {
            // A failed sync of a home was dealt with when it failed (F3).
            (RequestError::FailStop, _) | (_, BatchStep::SyncingHomes) => {}
            (error, BatchStep::Copying | BatchStep::SyncingCopies) => {
                let none_failed = self.fail_slot_users(batch).is_empty();
                self.destager.stuck = none_failed && error == RequestError::NoSpace;
            }
            // The objects concerned are in `full`: new writes to their holes are refused (rule O9).
            (RequestError::NoSpace, BatchStep::Writing) => self.destager.stuck = true,
            _ => self.stop_writes("writing staged data home failed"),
        }
        if self.has_failed_storage() && !self.waiting.is_empty() {
            self.stop_writes("the journal is full of writes to a pool or volume that failed");
        }
        self.destager.retry_at_us = self.now.monotonic_us + RETRY_US;
        if self.destager.homing.is_none() && !breaks!(self, GoHomePastFailedBatch) {
            self.keep_from_home();
        }
        self.apply_deferred();
    }

    /// Slots of copies that were not recorded turn back into credits.
    fn give_slots_back(&mut self, batch: &Batch) {
        let preserved = batch.preserved.iter().map(|(&(_, pool, _), blocks)| (pool, blocks));
        let owned = batch.owned.iter().filter_map(|(volume, blocks)| {
            let pool = self.state.volumes.get(volume)?.pool()?;
            Some((pool, blocks))
        });
        let slots: Vec<(PoolId, Slot)> = preserved
            .chain(owned)
            .flat_map(|(pool, blocks)| blocks.iter().map(move |&(_, slot)| (pool, slot)))
            .collect();
        for (id, slot) in slots {
            if let Some(pool) = self.state.pools.get_mut(&id) {
                pool.allocator.free(slot);
                pool.allocator.take_credits(1);
            }
        }
    }

    /// A pool could not be written: the copies for which the batch keeps data there fail, the sources go on (rule
    /// O9). A thin volume that is no target keeps its frames.
    fn fail_slot_users(&mut self, batch: &Batch) -> Vec<RelationshipId> {
        self.fail_copies(|relationship| {
            relationship.pool.is_some_and(|pool| {
                let source = relationship.pair.source;
                batch.owned.contains_key(&relationship.pair.target)
                    || batch
                        .preserved
                        .range((source, pool, relationship.t0)..=(source, pool, Seq(u64::MAX)))
                        .next()
                        .is_some()
            })
        })
    }
}

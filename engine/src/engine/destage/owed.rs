//! What a batch copies before homes may change, and the records of it (steps 2 and 4).
//!
//! Invariant D4: a version of a block goes home only after everything that some copy reads from its home was put on the
//! list here: the block, or its track, for each full target that lacks it (`full_targets`), a slot for each interval of a
//! chain that owes the block, and a slot of its own for a thin volume.

use super::Batch;
use crate::engine::Engine;
use crate::engine::barrier::BarrierId;
use crate::engine::moves::{Move, slot_moves};
use crate::lookup::View;
use crate::state::{Backing, Record};
use crate::units::{Block, PoolId, Seq, VolumeId};

/// Blocks of one record: bounds its size well below a segment.
pub(super) const RECORD_BLOCKS: usize = 512;

impl Engine {
    /// Step 2: everything that some copy is owed, of the blocks of the batch.
    pub(super) fn copy_owed(&mut self, batch: &mut Batch, barrier: BarrierId) {
        let mut moves = Vec::new();
        let blocks: Vec<(VolumeId, Block, Seq)> = batch
            .blocks
            .iter()
            .filter_map(|&(volume, block)| {
                let block = Block(block);
                let versions = self.stage.versions_of(volume, block);
                let newest = versions.iter().rev().find(|version| version.seq <= batch.plan)?;
                Some((volume, block, newest.seq))
            })
            .collect();
        for &(volume, block, _) in &blocks {
            self.preserve_moves(batch, volume, block, &mut moves);
            self.own_moves(batch, volume, block, &mut moves);
        }
        batch.written = moves.iter().map(|moved: &Move| moved.to.0).collect();
        self.perform_moves(moves, barrier);
        self.copy_to_full_targets(batch, &blocks, barrier);
    }

    /// Moves that preserve a source's block for the intervals that owe it.
    fn preserve_moves(
        &mut self,
        batch: &mut Batch,
        id: VolumeId,
        block: Block,
        moves: &mut Vec<Move>,
    ) {
        let owed: Vec<(PoolId, Seq)> = self
            .state
            .pools
            .iter()
            .filter_map(|(&pool, known)| Some((pool, known.chains.get(&id)?)))
            .flat_map(|(pool, chain)| chain.owed_of(block).into_iter().map(move |t0| (pool, t0)))
            .filter(|&(_, t0)| t0 < batch.plan)
            .collect();
        for (pool_id, t0) in owed {
            let Some(pool) = self.state.pools.get_mut(&pool_id) else {
                continue;
            };
            let slot = pool.allocator.allocate_credited();
            batch.preserved.entry((id, pool_id, t0)).or_default().push((block.0, slot));
            let mut pieces = Vec::with_capacity(1);
            let view = View { state: &self.state, stage: &self.stage };
            if view.as_of(id, t0, Some(pool_id), block, 0..4096, &mut pieces).is_ok() {
                slot_moves(pool_id, slot, block, &pieces, moves);
            }
        }
    }

    /// Moves that make a thin volume's block its own.
    fn own_moves(&mut self, batch: &mut Batch, id: VolumeId, block: Block, moves: &mut Vec<Move>) {
        let Some(volume) = self.state.volumes.get(&id) else {
            return;
        };
        let Backing::Thin(thin) = &volume.backing else {
            return;
        };
        if thin.slots.contains(block) {
            return;
        }
        let pool_id = thin.pool;
        let mut pieces = Vec::with_capacity(2);
        let before = batch.plan.next();
        let view = View { state: &self.state, stage: &self.stage };
        if view.image(id, block, 0..4096, before, &mut pieces).is_err() {
            return;
        }
        let Some(pool) = self.state.pools.get_mut(&pool_id) else {
            return;
        };
        let slot = pool.allocator.allocate_credited();
        batch.owned.entry(id).or_default().push((block.0, slot));
        slot_moves(pool_id, slot, block, &pieces, moves);
    }

    /// Step 4: what was copied counts.
    pub(super) fn record_copies(&mut self, batch: &mut Batch) {
        self.record_copied_blocks(batch);
        for ((source, pool, t0), blocks) in std::mem::take(&mut batch.preserved) {
            self.stats.preserved_blocks += blocks.len() as u64;
            for blocks in blocks.chunks(RECORD_BLOCKS) {
                let blocks = blocks.to_vec();
                self.append(Record::Preserved { source, pool, t0, blocks }, None);
            }
        }
        for (volume, blocks) in std::mem::take(&mut batch.owned) {
            self.stats.owned_blocks += blocks.len() as u64;
            for &(block, _) in &blocks {
                batch.blocks.remove(&(volume, block));
            }
            for blocks in blocks.chunks(RECORD_BLOCKS) {
                self.append(Record::Owned { volume, blocks: blocks.to_vec() }, None);
            }
        }
    }
}

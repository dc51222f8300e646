//! What full targets are owed by a batch: the overwritten blocks alone, or their whole tracks.
//!
//! A first write of 4 KiB moves 4 KiB before it goes home. The rest of its track follows in the background (`copier`), when
//! hosts leave time for it.
//!
//! Invariants
//! - D6 A block is copied alone only while its track is lent by the copier, and the track is given back when the block
//!   counts or the batch has failed: a track's run and a block's copy are never under way together (C1).
//! - D7 A track that the target's own staged writes need is copied whole. No batch waits for a run of a track that it has
//!   borrowed.
//! - D8 A target that cannot be written or synced fails its copies and nothing else (rule O9): the batch goes on without
//!   their blocks.

use std::collections::{BTreeMap, BTreeSet};

use super::Batch;
use super::owed::RECORD_BLOCKS;
use crate::engine::Engine;
use crate::engine::barrier::{BarrierId, Then};
use crate::engine::moves::{Move, push_move};
use crate::engine::ops::Sharing;
use crate::io::Object;
use crate::journal::Journal;
use crate::lookup::{Piece, View};
use crate::request::RequestError;
use crate::state::{Health, Record, Relationship};
use crate::units::{BLOCK_BYTES, Block, RelationshipId, Seq, VolumeId};

/// Bytes that a block takes in a record at most: where it lies and how many follow, if the one before is no neighbour.
const RECORD_BYTES_PER_BLOCK: u64 = 10;

/// Tracks of relationships, counted from the start of the extent.
type Tracks = BTreeSet<(RelationshipId, u32)>;

impl Engine {
    /// Copies what full targets are owed of blocks, each with the number of the version that is to go home.
    pub(super) fn copy_to_full_targets(
        &mut self,
        batch: &mut Batch,
        blocks: &[(VolumeId, Block, Seq)],
        barrier: BarrierId,
    ) {
        let mut whole = Tracks::new();
        for &(volume, block, _) in blocks {
            self.tracks_of_target(volume, block, &mut whole);
        }
        let mut borrowed = Tracks::new();
        let mut moves: BTreeMap<RelationshipId, Vec<Move>> = BTreeMap::new();
        // Of the room that there was when the batch began, the other half is for what is recorded of slots.
        let mut room = self.journal.payload_max();
        for &(volume, block, newest) in blocks {
            for id in self.owed_block(volume, block, newest) {
                let Some((track, at)) = self.within_extent(id, block) else { continue };
                let recorded = batch.copied.get(&id).map_or(0, Vec::len);
                let begins = recorded.is_multiple_of(RECORD_BLOCKS);
                let record = if begins { Journal::cost(0) } else { 0 };
                let bytes = record + RECORD_BYTES_PER_BLOCK;
                let image = self.block_moves(id, block).filter(|_| !whole.contains(&(id, track)));
                let alone = image.is_some()
                    && (borrowed.contains(&(id, track))
                        || (bytes <= room && self.copier.lend_track(id, track)));
                let Some(image) = image.filter(|_| alone) else {
                    whole.insert((id, track));
                    continue;
                };
                // What is borrowed is copied block by block to its end, for a little more than the room.
                room = room.saturating_sub(bytes);
                borrowed.insert((id, track));
                batch.copied.entry(id).or_default().push(at);
                let moves = moves.entry(id).or_default();
                for moved in image {
                    push_move(moves, moved);
                }
            }
        }
        for (id, track) in whole {
            self.want_track(id, track, barrier);
        }
        for (id, moves) in moves {
            self.hold(barrier);
            let own = self.barrier(Then::OwedBlocks(id, barrier));
            for Move { from, to, bytes } in moves {
                self.transfer_with_holes(from, to, bytes, Sharing::Unwise, own);
            }
            self.release(own, Ok(()));
        }
    }

    /// Tracks that a target needs before a block of its own goes home.
    fn tracks_of_target(&self, id: VolumeId, block: Block, tracks: &mut Tracks) {
        let Some(volume) = self.state.volumes.get(&id) else {
            return;
        };
        let track = block.0 / volume.geometry.track_blocks();
        for id in volume.as_target.at(track) {
            if let Some(known) = self.state.relationships.get(id)
                && known.health == Health::Good
                && known.target_reads_source(track)
            {
                tracks.insert((*id, track - known.pair.target_track));
            }
        }
    }

    /// Relationships whose full targets need a block of their source before its home may become the version `newest`.
    fn owed_block(&self, id: VolumeId, block: Block, newest: Seq) -> Vec<RelationshipId> {
        let Some(volume) = self.state.volumes.get(&id) else {
            return Vec::new();
        };
        let track_blocks = volume.geometry.track_blocks();
        let owes =
            |known: &Relationship| known.t0 < newest && known.owes_block(block, track_blocks);
        let related = volume.as_source.at(block.0 / track_blocks).iter().copied();
        related.filter(|id| self.state.relationships.get(id).is_some_and(owes)).collect()
    }

    /// Track and block of a source's block, counted from the start of the relationship's extent.
    fn within_extent(&self, id: RelationshipId, block: Block) -> Option<(u32, u32)> {
        let pair = self.state.relationships.get(&id)?.pair;
        let track_blocks = self.state.volumes.get(&pair.source)?.geometry.track_blocks();
        let at = block.0 - pair.source_track * track_blocks;
        Some((at / track_blocks, at))
    }

    /// Moves of a source's block, as of T0, to the full target; none when its image is gone.
    fn block_moves(&self, id: RelationshipId, block: Block) -> Option<Vec<Move>> {
        let known = self.state.relationships.get(&id)?;
        let pair = known.pair;
        let track_bytes = u64::from(self.state.volumes.get(&pair.source)?.geometry.track_bytes());
        let (from, to) = (
            u64::from(pair.source_track) * track_bytes,
            u64::from(pair.target_track) * track_bytes,
        );
        let mut pieces: Vec<Piece> = Vec::with_capacity(1);
        let view = View { state: &self.state, stage: &self.stage };
        view.as_of(pair.source, known.t0, None, block, 0..4096, &mut pieces).ok()?;
        let moves = pieces.into_iter().map(|piece| Move {
            from: piece.place,
            to: (Object::Home(pair.target), piece.range.start - from + to),
            bytes: piece.range.bytes(),
        });
        Some(moves.collect())
    }

    /// Step 3: the full targets that got blocks are synced.
    pub(super) fn sync_full_targets(&mut self, batch: &Batch, barrier: BarrierId) {
        for id in batch.copied.keys() {
            let Some(target) = self.state.relationships.get(id).map(|known| known.pair.target)
            else {
                continue;
            };
            self.hold(barrier);
            let own = self.barrier(Then::OwedBlocks(*id, barrier));
            if !breaks!(self, SkipTargetSyncBeforeCopied) {
                self.join_object(own, Object::Home(target));
            }
            self.release(own, Ok(()));
        }
    }

    /// The blocks of a batch that one full target is owed are written, or synced (D8).
    pub(in crate::engine) fn owed_blocks_step(
        &mut self,
        id: RelationshipId,
        barrier: BarrierId,
        result: Result<(), RequestError>,
    ) {
        if result.is_err() {
            let given_up = self.destager.owing.as_mut().and_then(|batch| batch.copied.remove(&id));
            self.give_blocks_back(id, &given_up.unwrap_or_default());
            let target = self.state.relationships.get(&id).map(|known| known.pair.target);
            self.fail_copies(|known| Some(known.pair.target) == target && known.pool.is_none());
        }
        self.release(barrier, Ok(()));
    }

    /// Step 4: blocks that were copied alone count.
    pub(super) fn record_copied_blocks(&mut self, batch: &Batch) {
        for (&id, blocks) in &batch.copied {
            self.stats.copied_bytes += blocks.len() as u64 * BLOCK_BYTES;
            let runs: Vec<(u32, u32)> = blocks
                .chunk_by(|block, next| block + 1 == *next)
                .map(|run| (run[0], u32::try_from(run.len()).unwrap_or(u32::MAX)))
                .collect();
            for runs in runs.chunks(RECORD_BLOCKS) {
                self.append(Record::CopiedBlocks { id, runs: runs.to_vec() }, None);
            }
        }
    }

    /// The batch has no use any more for the tracks that it has borrowed (D6).
    pub(super) fn give_tracks_back(&mut self, batch: &Batch) {
        for (&id, blocks) in &batch.copied {
            self.give_blocks_back(id, blocks);
        }
    }

    fn give_blocks_back(&mut self, id: RelationshipId, blocks: &[u32]) {
        let tracks: BTreeSet<u32> = blocks
            .iter()
            .filter_map(|&at| {
                let pair = self.state.relationships.get(&id)?.pair;
                let source = self.state.volumes.get(&pair.source)?;
                Some(at / source.geometry.track_blocks())
            })
            .collect();
        self.copier.give_tracks_back(id, &tracks);
    }
}

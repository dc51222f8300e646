//! The one place where metadata changes: records applied in order, at run time and in replay.
//!
//! Applying never fails (M3). What a record frees is told as effects: the running engine waits for
//! reads in flight before it reuses a slot (rule O8), replay rebuilds the allocators instead.

use super::superseded::{Only, Superseded};
use super::{Backing, Copied, Ended, Health, Pool, Record, Relationship, State, Volume};
use super::{Direction, NewRelationship, Piece, Renewal, Role};
use crate::admin::{CopyMode, EndReason};
use crate::geometry::Geometry;
use crate::limits;
use crate::map::track_bitmap::TrackBitmap;
use crate::thin::chain::Chain;
use crate::thin::slots::SlotAllocator;
use crate::units::{BLOCK_BYTES, ByteRange, PoolId, RelationshipId, Seq, Slot, VolumeId};

/// What applying a record sets free.
#[derive(Debug, Default)]
pub struct Effects {
    /// Slots that hold nothing any more.
    pub slots: Vec<(PoolId, Slot)>,
    /// Credits that nothing needs any more.
    pub credits: Vec<(PoolId, u64)>,
    /// Staged versions that are void.
    pub superseded: Vec<Superseded>,
    /// Tracks that were copied block by block, the last one now.
    pub completed: Vec<(RelationshipId, u32)>,
}

impl State {
    /// Applies the record with number `seq`.
    pub fn apply(&mut self, seq: Seq, record: &Record) -> Effects {
        let mut effects = Effects::default();
        match record {
            Record::PoolCreated { id, name, slots } => self.pool_created(*id, name, *slots),
            Record::PoolDeleted { id } => {
                self.pools.remove(id);
            }
            Record::VolumeCreated { id, name, geometry, device, pool } => {
                self.volume_created(*id, name, *geometry, *device, *pool);
            }
            Record::VolumeDeleted { id } => self.volume_deleted(*id, seq, &mut effects),
            Record::Established { at, relationships, renewed } => {
                for pair in relationships {
                    self.established(seq, *at, *pair, &mut effects);
                }
                for renewal in renewed {
                    self.renewed(seq, *at, renewal, &mut effects);
                }
            }
            Record::Converted { ids } => {
                for id in ids {
                    if let Some(relationship) = self.relationships.get_mut(id) {
                        relationship.pair.mode = CopyMode::Copy;
                    }
                }
            }
            Record::Split { id, pieces } => self.split(*id, pieces),
            Record::DatasetDefined { name, extents } => {
                self.datasets.insert(name.clone(), extents.clone());
            }
            Record::DatasetDeleted { name } => {
                self.datasets.remove(name);
            }
            Record::Ended { ids, reason } => {
                for id in ids {
                    self.ended(*id, *reason, seq, &mut effects);
                }
            }
            Record::Failed { ids } => {
                for id in ids {
                    self.failed(*id, seq, &mut effects);
                }
            }
            Record::Copied { id, runs } => self.copied(*id, runs),
            Record::CopiedBlocks { id, runs } => self.copied_blocks(*id, runs, &mut effects),
            Record::Preserved { source, pool, t0, blocks } => {
                self.preserved(*source, *pool, *t0, blocks, &mut effects);
            }
            Record::Owned { volume, blocks } => self.owned(*volume, blocks, &mut effects),
            Record::Trimmed { volume, runs } => self.trimmed(*volume, runs, &mut effects),
            Record::Released { through } => self.released = self.released.max(*through),
        }
        effects
    }

    fn pool_created(&mut self, id: PoolId, name: &str, slots: u32) {
        self.next_pool = self.next_pool.max(id.0 + 1);
        let pool = Pool {
            name: name.to_owned(),
            slots,
            chains: std::collections::BTreeMap::new(),
            allocator: SlotAllocator::new(slots),
            failed: false,
        };
        self.pools.insert(id, pool);
    }

    fn volume_created(
        &mut self,
        id: VolumeId,
        name: &str,
        geometry: Geometry,
        device: u16,
        pool: Option<PoolId>,
    ) {
        self.next_volume = self.next_volume.max(id.0 + 1);
        let volume = Volume::new(name.to_owned(), device, geometry, pool);
        self.volumes.insert(id, volume);
    }

    fn volume_deleted(&mut self, id: VolumeId, seq: Seq, effects: &mut Effects) {
        self.clear_thin(id, 0..u32::MAX, effects);
        if let Some(volume) = self.volumes.remove(&id) {
            let range = ByteRange { start: 0, end: volume.geometry.size_bytes() };
            effects.superseded.push(Superseded::all(id, range, seq));
        }
    }

    /// Notes that a host has changed a range: the frame that says so was appended, or is replayed (R5). Tells
    /// each track that was not noted before.
    pub fn note_change(
        &mut self,
        id: VolumeId,
        range: ByteRange,
        mut newly: impl FnMut(RelationshipId, Role, u32),
    ) {
        let Some(volume) = self.volumes.get(&id).filter(|volume| volume.incremental > 0) else {
            return;
        };
        let blocks = range.blocks();
        let per_track = volume.geometry.track_blocks();
        let tracks = blocks.start / per_track..blocks.end.div_ceil(per_track);
        for (role, cover) in [(Role::Source, &volume.as_source), (Role::Target, &volume.as_target)]
        {
            for (tracks, ids) in cover.overlapping(tracks.clone()) {
                for &relationship in ids {
                    let Some(known) = self.relationships.get_mut(&relationship) else { continue };
                    if !known.is_incremental() {
                        continue;
                    }
                    let (first, changed) = match role {
                        Role::Source => (known.pair.source_track, &mut known.source_changed),
                        Role::Target => (known.pair.target_track, &mut known.target_changed),
                    };
                    for track in tracks.start - first..tracks.end - first {
                        if changed.set(track..track + 1) > 0 {
                            newly(relationship, role, track);
                        }
                    }
                }
            }
        }
    }

    /// Enters a relationship into the indexes of its volumes.
    pub(super) fn link(&mut self, relationship: Relationship) {
        let pair = relationship.pair;
        if let Some(source) = self.volumes.get_mut(&pair.source) {
            source.as_source.insert(relationship.source_extent(), pair.id);
            source.newest_t0 = source.newest_t0.max(relationship.t0);
            source.as_source_count += 1;
            source.incremental += u32::from(relationship.is_incremental());
        }
        if let Some(target) = self.volumes.get_mut(&pair.target) {
            target.as_target.insert(relationship.target_extent(), pair.id);
            target.as_target_count += 1;
            target.incremental += u32::from(relationship.is_incremental());
        }
        self.copy_tables += relationship.copy_tables();
        self.relationships.insert(pair.id, relationship);
    }

    /// Takes a relationship out of the indexes of its volumes.
    fn unlink(&mut self, id: RelationshipId) -> Option<Relationship> {
        let relationship = self.relationships.remove(&id)?;
        let pair = relationship.pair;
        if let Some(source) = self.volumes.get_mut(&pair.source) {
            source.as_source.remove(relationship.source_extent(), id);
            source.as_source_count -= 1;
            source.incremental -= u32::from(relationship.is_incremental());
        }
        if let Some(target) = self.volumes.get_mut(&pair.target) {
            target.as_target.remove(relationship.target_extent(), id);
            target.as_target_count -= 1;
            target.incremental -= u32::from(relationship.is_incremental());
        }
        self.copy_tables -= relationship.copy_tables();
        Some(relationship)
    }

    /// Blocks of a relationship's tracks.
    pub(super) fn track_blocks(&self, relationship: &Relationship) -> u32 {
        let target = self.volumes.get(&relationship.pair.target);
        target.map_or(1, |volume| volume.geometry.track_blocks())
    }

    fn copied(&mut self, id: RelationshipId, runs: &[(u32, u32)]) {
        let Some(track_blocks) = self.relationships.get(&id).map(|it| self.track_blocks(it)) else {
            return;
        };
        if let Some(relationship) = self.relationships.get_mut(&id) {
            for &(first, count) in runs {
                relationship.copied.set_tracks(first..first.saturating_add(count), track_blocks);
            }
        }
    }

    fn copied_blocks(&mut self, id: RelationshipId, runs: &[(u32, u32)], effects: &mut Effects) {
        let Some(track_blocks) = self.relationships.get(&id).map(|it| self.track_blocks(it)) else {
            return;
        };
        if let Some(relationship) = self.relationships.get_mut(&id) {
            for &(first, count) in runs {
                let blocks = first..first.saturating_add(count);
                let completed = relationship.copied.set_blocks(blocks, track_blocks);
                effects.completed.extend(completed.into_iter().map(|track| (id, track)));
            }
        }
    }

    /// A new T0 of a full target's relationship (semantics 3.4). What a host wrote to the target of what is
    /// copied anew is void. On a new target also what was written to it since the last T0 on tracks that
    /// were never copied, or not wholly: its home still has their image, but for the blocks that were copied alone.
    fn renewed(&mut self, t0: Seq, at: u64, renewal: &Renewal, effects: &mut Effects) {
        let Some(mut relationship) = self.unlink(renewal.id) else {
            return;
        };
        let last_t0 = relationship.t0;
        let track_blocks = self.track_blocks(&relationship);
        let before = relationship.renew(renewal, t0, at, track_blocks);
        let target = relationship.pair.target;
        if let Some(volume) = self.volumes.get(&target) {
            let unit_bytes = u64::from(volume.geometry.track_bytes());
            let range = track_range(volume, relationship.target_extent());
            let void = |set: TrackBitmap, in_set, unit_bytes, after| Superseded {
                only: Some(Only { set, in_set, unit_bytes }),
                after,
                ..Superseded::all(target, range, t0)
            };
            let mut there = relationship.copied.tracks().clone();
            if renewal.direction == Direction::Reversed {
                there.unite(&before.partial_tracks(track_blocks));
                let (tracks, blocks) = (before.tracks().clone(), before.blocks().clone());
                effects.superseded.push(void(tracks, false, unit_bytes, last_t0));
                effects.superseded.push(void(blocks, true, BLOCK_BYTES, Seq(0)));
            }
            effects.superseded.push(void(there, false, unit_bytes, Seq(0)));
        }
        self.link(relationship);
    }

    fn split(&mut self, id: RelationshipId, pieces: &[Piece]) {
        let Some(relationship) = self.unlink(id) else {
            return;
        };
        let track_blocks = self.track_blocks(&relationship);
        for piece in pieces {
            self.next_relationship = self.next_relationship.max(piece.id.0 + 1);
            self.link(relationship.piece(piece, track_blocks));
        }
    }

    fn established(&mut self, t0: Seq, at: u64, pair: NewRelationship, effects: &mut Effects) {
        self.next_relationship = self.next_relationship.max(pair.id.0 + 1);
        let Some(target) = self.volumes.get(&pair.target) else {
            return;
        };
        let pool = target.pool();
        let relationship = Relationship::new(pair, t0, at, pool);
        let extent = relationship.target_extent();
        let range = track_range(target, extent.clone());
        effects.superseded.push(Superseded::all(pair.target, range, t0));
        self.clear_thin(pair.target, extent, effects);
        if let Some(pool) = pool.and_then(|id| self.pools.get_mut(&id)) {
            pool.chains.entry(pair.source).or_default().open(t0);
        }
        self.link(relationship);
    }

    fn ended(&mut self, id: RelationshipId, reason: EndReason, seq: Seq, effects: &mut Effects) {
        let Some(mut relationship) = self.unlink(id) else {
            return;
        };
        let pair = relationship.pair;
        let tracks_left = self.tracks_left(&relationship);
        if relationship.health != Health::Failed {
            self.close_interval(&relationship, effects);
        }
        self.drop_thin_image(&relationship, seq, effects);
        relationship.copied = Copied::default();
        relationship.lingering = TrackBitmap::default();
        relationship.source_changed = TrackBitmap::default();
        relationship.target_changed = TrackBitmap::default();
        let name = |volume: VolumeId| {
            self.volumes.get(&volume).map(|volume| volume.name.clone()).unwrap_or_default()
        };
        let (source, target) = (name(pair.source), name(pair.target));
        self.ended.push_back(Ended { relationship, tracks_left, source, target, reason });
        while self.ended.len() > limits::ENDED_REMEMBERED {
            self.ended.pop_front();
        }
    }

    fn failed(&mut self, id: RelationshipId, seq: Seq, effects: &mut Effects) {
        let Some(relationship) = self.relationships.get_mut(&id) else {
            return;
        };
        if relationship.health == Health::Failed {
            return;
        }
        relationship.health = Health::Failed;
        let relationship = relationship.clone();
        self.close_interval(&relationship, effects);
        self.drop_thin_image(&relationship, seq, effects);
    }

    /// One sharer less of the interval that a thin relationship opened.
    fn close_interval(&mut self, relationship: &Relationship, effects: &mut Effects) {
        let Some(id) = relationship.pool else { return };
        let Some(pool) = self.pools.get_mut(&id) else {
            return;
        };
        let source = relationship.pair.source;
        let Some(chain) = pool.chains.get_mut(&source) else {
            return;
        };
        let freed = chain.close(relationship.t0);
        effects.slots.extend(freed.slots.into_iter().map(|slot| (id, slot)));
        effects.credits.push((id, freed.credits));
        if chain.is_empty() {
            pool.chains.remove(&source);
        }
    }

    /// What a thin target holds is void when its relationship ends or fails (decision D8).
    fn drop_thin_image(&mut self, relationship: &Relationship, seq: Seq, effects: &mut Effects) {
        if relationship.pool.is_none() {
            return;
        }
        let target = relationship.pair.target;
        let extent = relationship.target_extent();
        self.clear_thin(target, extent.clone(), effects);
        if let Some(volume) = self.volumes.get(&target) {
            let range = track_range(volume, extent);
            effects.superseded.push(Superseded::all(target, range, seq));
        }
    }

    /// Frees the slots and credits of a thin volume's tracks.
    fn clear_thin(&mut self, id: VolumeId, tracks: std::ops::Range<u32>, effects: &mut Effects) {
        let Some(volume) = self.volumes.get_mut(&id) else {
            return;
        };
        let per_track = volume.geometry.track_blocks();
        let Backing::Thin(thin) = &mut volume.backing else {
            return;
        };
        let blocks = tracks.start.saturating_mul(per_track)..tracks.end.saturating_mul(per_track);
        let own: Vec<_> = thin.slots.range(blocks.clone()).collect();
        for (block, slot) in own {
            thin.slots.remove(block);
            effects.slots.push((thin.pool, slot));
        }
        effects.credits.push((thin.pool, thin.owed.clear(blocks)));
    }

    fn preserved(
        &mut self,
        source: VolumeId,
        id: PoolId,
        t0: Seq,
        blocks: &[(u32, Slot)],
        effects: &mut Effects,
    ) {
        let chain: Option<&mut Chain> =
            self.pools.get_mut(&id).and_then(|pool| pool.chains.get_mut(&source));
        let Some(chain) = chain else {
            effects.slots.extend(blocks.iter().map(|&(_, slot)| (id, slot)));
            return;
        };
        for &(block, slot) in blocks {
            if let Some(unused) = chain.preserve(t0, crate::units::Block(block), slot) {
                effects.slots.push((id, unused));
            }
        }
    }

    /// Blocks have become a thin volume's own. When its relationship has failed they have not: the record
    /// of the failure may come first in the journal, though it was applied later.
    fn owned(&mut self, id: VolumeId, blocks: &[(u32, Slot)], effects: &mut Effects) {
        let Some(volume) = self.volumes.get_mut(&id) else {
            return;
        };
        let per_track = volume.geometry.track_blocks();
        let Backing::Thin(thin) = &mut volume.backing else {
            return;
        };
        for &(block, slot) in blocks {
            thin.owed.clear(block..block + 1);
            let mut related = volume.as_target.at(block / per_track).iter();
            let failed = |id: &RelationshipId| {
                self.relationships.get(id).is_some_and(|known| known.health == Health::Failed)
            };
            if related.any(failed) {
                effects.slots.push((thin.pool, slot));
            } else if let Some(old) = thin.slots.insert(crate::units::Block(block), slot) {
                effects.slots.push((thin.pool, old));
            }
        }
    }

    fn trimmed(&mut self, id: VolumeId, runs: &[(u32, u32)], effects: &mut Effects) {
        let Some(volume) = self.volumes.get_mut(&id) else {
            return;
        };
        let Backing::Thin(thin) = &mut volume.backing else {
            return;
        };
        for &(first, count) in runs {
            thin.trimming.clear(first..first.saturating_add(count));
            let blocks: Vec<_> = thin
                .slots
                .range(first..first.saturating_add(count))
                .map(|(block, _)| block)
                .collect();
            for block in blocks {
                if let Some(slot) = thin.slots.remove(block) {
                    effects.slots.push((thin.pool, slot));
                }
            }
        }
    }

    /// Tracks whose T0 image is not on the target. Of a thin target a track counts as copied when
    /// all its blocks are its own.
    pub fn tracks_left(&self, relationship: &Relationship) -> u32 {
        let pair = relationship.pair;
        if relationship.pool.is_none() {
            return relationship.tracks_left();
        }
        let Some(volume) = self.volumes.get(&pair.target) else {
            return pair.tracks;
        };
        let Backing::Thin(thin) = &volume.backing else {
            return pair.tracks;
        };
        let per_track = volume.geometry.track_blocks();
        let mut own_tracks = 0;
        let mut current = (u32::MAX, 0);
        for (block, _) in thin.slots.iter() {
            let track = block.0 / per_track;
            current = if current.0 == track { (track, current.1 + 1) } else { (track, 1) };
            if current.1 == per_track && relationship.target_extent().contains(&track) {
                own_tracks += 1;
            }
        }
        pair.tracks - own_tracks
    }
}

/// The bytes of some tracks.
fn track_range(volume: &Volume, tracks: std::ops::Range<u32>) -> ByteRange {
    let track_bytes = u64::from(volume.geometry.track_bytes());
    ByteRange {
        start: u64::from(tracks.start) * track_bytes,
        end: u64::from(tracks.end) * track_bytes,
    }
}

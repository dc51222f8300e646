//! The store's metadata: pools, volumes, relationships. A function of the records (M1).
//!
//! Invariants
//! - S1 Only `apply` changes what a checkpoint keeps; runtime fields (credits, lingering tracks) are the engine's.
//! - S2 `as_source` and `as_target` of the volumes hold exactly the live relationships' extents.
//! - S3 A slot is in one place at most: a thin volume's map or one interval of one chain.

mod apply;
mod copied;
mod record;
mod relationship;
mod snapshot;
mod superseded;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

pub use apply::Effects;
pub use copied::Copied;
pub use record::{
    Direction, NamedExtent, NewRelationship, Piece, Record, RecordError, Recording, Renewal,
    RenewedTracks, Scope, TargetWrites,
};
pub use relationship::{Health, Relationship, Role, copy_tables};
pub use snapshot::Snapshot;
pub use superseded::Superseded;

use crate::admin::EndReason;
use crate::geometry::Geometry;
use crate::map::cover::CoverMap;
use crate::map::slot_map::SlotMap;
use crate::map::track_bitmap::TrackBitmap;
use crate::thin::chain::Chain;
use crate::thin::slots::SlotAllocator;
use crate::units::{Block, PoolId, RelationshipId, Seq, Slot, VolumeId};

/// All metadata of a store.
#[derive(Debug, Default)]
pub struct State {
    /// Id of the next volume.
    pub next_volume: u32,
    /// Id of the next pool.
    pub next_pool: u32,
    /// Id of the next relationship.
    pub next_relationship: u32,
    /// All pools.
    pub pools: BTreeMap<PoolId, Pool>,
    /// All volumes.
    pub volumes: BTreeMap<VolumeId, Volume>,
    /// All live relationships.
    pub relationships: BTreeMap<RelationshipId, Relationship>,
    /// Ended ones that are remembered, oldest first.
    pub ended: VecDeque<Ended>,
    /// All frames up to this one are home.
    pub released: Seq,
    /// Extents that have a name.
    pub datasets: BTreeMap<String, Vec<NamedExtent>>,
    /// Copy tables that the live relationships take.
    pub copy_tables: u64,
}

/// A relationship that has ended, and why.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Ended {
    /// As it was; its bitmaps are dropped.
    pub relationship: Relationship,
    /// Tracks that were not copied.
    pub tracks_left: u32,
    /// Name of the source at that time.
    pub source: String,
    /// Name of the target at that time.
    pub target: String,
    /// Why.
    pub reason: EndReason,
}

/// A pool of slots.
#[derive(Debug)]
pub struct Pool {
    /// Its name.
    pub name: String,
    /// Capacity.
    pub slots: u32,
    /// What sources have preserved here for their thin targets.
    pub chains: BTreeMap<VolumeId, Chain>,
    /// Which slots are free; rebuilt from the maps at open.
    pub allocator: SlotAllocator,
    /// A write or sync of the pool failed.
    pub failed: bool,
}

/// A volume.
#[derive(Debug)]
pub struct Volume {
    /// Its name.
    pub name: String,
    /// Device number.
    pub device: u16,
    /// Shape.
    pub geometry: Geometry,
    /// Where its data is kept.
    pub backing: Backing,
    /// Relationships by source track.
    pub as_source: CoverMap<RelationshipId>,
    /// Relationships by target track.
    pub as_target: CoverMap<RelationshipId>,
    /// Greatest T0 of the relationships with this source.
    pub newest_t0: Seq,
    /// Relationships with this source.
    pub as_source_count: u32,
    /// Relationships with this target.
    pub as_target_count: u32,
    /// How many of them record changes.
    pub incremental: u32,
}

impl Volume {
    /// A volume without data and without relationships: thin in `pool`, or full.
    fn new(name: String, device: u16, geometry: Geometry, pool: Option<PoolId>) -> Self {
        let thin = |pool| Thin {
            pool,
            slots: SlotMap::new(),
            owed: TrackBitmap::default(),
            trimming: TrackBitmap::default(),
        };
        Self {
            name,
            device,
            geometry,
            backing: pool.map_or(Backing::Home, |pool| Backing::Thin(thin(pool))),
            as_source: CoverMap::new(),
            as_target: CoverMap::new(),
            newest_t0: Seq(0),
            as_source_count: 0,
            as_target_count: 0,
            incremental: 0,
        }
    }
}

/// Where a volume's data is kept.
#[derive(Debug)]
pub enum Backing {
    /// One sparse object, identity-mapped.
    Home,
    /// Slots of a pool.
    Thin(Thin),
}

/// The data of a thin volume.
#[derive(Debug)]
pub struct Thin {
    /// The pool.
    pub pool: PoolId,
    /// Its own blocks.
    pub slots: SlotMap,
    /// Blocks for which a credit is taken: a staged write will make them its own.
    pub owed: TrackBitmap,
    /// Own blocks whose `Trimmed` record is on its way: their slots take no writes any more.
    pub trimming: TrackBitmap,
}

impl Thin {
    /// True when the block is durably the volume's own and stays so.
    pub fn owns(&self, block: Block) -> bool {
        self.slots.contains(block) && !self.trimming.contains(block.0)
    }
}

/// What a checkpoint cannot be turned into.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// The bytes are no state of this version.
    #[error("the metadata cannot be read: {0}")]
    Unreadable(#[from] postcard::Error),
    /// Its parts do not follow each other as any state's do.
    #[error("the parts of the metadata do not fit together")]
    Order,
    /// A slot is used twice, or lies outside its pool.
    #[error("slot {slot} of pool {pool} is used twice or lies outside the pool's {slots} slots")]
    Slot {
        /// The pool.
        pool: PoolId,
        /// The slot.
        slot: Slot,
        /// Capacity of the pool.
        slots: u32,
    },
    /// A relationship or volume names something that does not exist.
    #[error("the metadata names {what} {id}, which does not exist")]
    Dangling {
        /// Kind of thing.
        what: &'static str,
        /// Its id.
        id: u32,
    },
    /// An extent passes the end of its volume.
    #[error("relationship {0} passes the end of its volume")]
    Extent(RelationshipId),
    /// What a relationship has copied is not of its extent.
    #[error("what relationship {0} has copied cannot be true: {1}")]
    Copied(RelationshipId, String),
}

impl State {
    /// Builds the relationship indexes after decoding.
    ///
    /// # Errors
    /// Something is named that does not exist, or lies outside its volume.
    pub fn rebuild_indexes(&mut self) -> Result<(), StateError> {
        for (id, relationship) in std::mem::take(&mut self.relationships) {
            let pair = relationship.pair;
            for (volume, extent) in [
                (pair.source, relationship.source_extent()),
                (pair.target, relationship.target_extent()),
            ] {
                let volume = self
                    .volumes
                    .get(&volume)
                    .ok_or(StateError::Dangling { what: "volume", id: volume.0 })?;
                if extent.end > volume.geometry.tracks {
                    return Err(StateError::Extent(id));
                }
            }
            let track_blocks = self.track_blocks(&relationship);
            let copied = relationship.copied.check(pair.tracks, track_blocks);
            copied.map_err(|error| StateError::Copied(id, error.to_string()))?;
            self.link(relationship);
        }
        Ok(())
    }

    /// Builds the allocators of the pools from the maps, after replay.
    ///
    /// # Errors
    /// A slot is used twice or lies outside its pool (S3).
    pub fn rebuild_allocators(&mut self) -> Result<(), StateError> {
        for pool in self.pools.values_mut() {
            pool.allocator = SlotAllocator::new(pool.slots);
        }
        let mut used: Vec<(PoolId, Slot)> = Vec::new();
        for volume in self.volumes.values() {
            if let Backing::Thin(thin) = &volume.backing {
                used.extend(thin.slots.iter().map(|(_, slot)| (thin.pool, slot)));
            }
        }
        for (&id, pool) in &self.pools {
            for chain in pool.chains.values() {
                used.extend(chain.kept_slots().map(|slot| (id, slot)));
            }
        }
        for (id, slot) in used {
            let pool =
                self.pools.get_mut(&id).ok_or(StateError::Dangling { what: "pool", id: id.0 })?;
            let slots = pool.slots;
            pool.allocator.mark_used(slot).map_err(|_| StateError::Slot {
                pool: id,
                slot,
                slots,
            })?;
        }
        Ok(())
    }

    /// The volume of that name.
    pub fn volume_named(&self, name: &str) -> Option<(VolumeId, &Volume)> {
        self.volumes
            .iter()
            .find(|(_, volume)| volume.name == name)
            .map(|(&id, volume)| (id, volume))
    }

    /// The pool of that name.
    pub fn pool_named(&self, name: &str) -> Option<(PoolId, &Pool)> {
        self.pools.iter().find(|(_, pool)| pool.name == name).map(|(&id, pool)| (id, pool))
    }
}

impl Volume {
    /// True when no relationship touches the volume.
    pub fn is_simplex(&self) -> bool {
        self.as_source.is_empty() && self.as_target.is_empty()
    }

    /// Relationships of the volume, in both roles together.
    pub fn relationships(&self) -> u32 {
        self.as_source_count + self.as_target_count
    }

    /// Pool of a thin volume.
    pub fn pool(&self) -> Option<PoolId> {
        match &self.backing {
            Backing::Home => None,
            Backing::Thin(thin) => Some(thin.pool),
        }
    }
}

//! The state as a checkpoint keeps it: taken at one moment, encoded piece by piece while the state goes on changing.
//!
//! A snapshot is a list of *items*, each small or a clone that shares its content (`SlotMap`, `TrackBitmap`). Encoding
//! takes items off the front, long maps in parts. Reading applies them in the same order.
//!
//! Invariants
//! - P1 A snapshot never changes: what the state changes later is copied first.
//! - P2 Reading what was encoded gives the state as it was, but for what is not kept (runtime fields and indexes).

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use super::{Backing, Ended, NamedExtent, Pool, Relationship, State, StateError, Thin, Volume};
use crate::geometry::Geometry;
use crate::map::slot_map::SlotMap;
use crate::map::track_bitmap::TrackBitmap;
use crate::thin::slots::SlotAllocator;
use crate::units::{PoolId, RelationshipId, Seq, VolumeId};

/// One part of the state, as bytes hold it. Those without an id belong to what was named last.
#[derive(Debug, Serialize, Deserialize)]
enum Item {
    /// What is there once.
    Numbers {
        next_volume: u32,
        next_pool: u32,
        next_relationship: u32,
        released: Seq,
    },
    Pool {
        id: PoolId,
        name: String,
        slots: u32,
    },
    /// Of the last pool.
    Interval {
        source: VolumeId,
        t0: Seq,
        sharers: u32,
    },
    /// Preserved blocks of the last interval.
    Kept(SlotMap),
    Volume {
        id: VolumeId,
        name: String,
        device: u16,
        geometry: Geometry,
        pool: Option<PoolId>,
    },
    /// Own blocks of the last volume.
    Own(SlotMap),
    Relationship(RelationshipId, Box<Relationship>),
    Ended(Box<Ended>),
    Dataset(String, Vec<NamedExtent>),
    /// Nothing more of the state follows.
    End,
    /// Blocks that the last relationship has copied without the rest of their tracks.
    CopiedBlocks(TrackBitmap),
}

/// Blocks that one item of them reaches over at most: 128 KiB when half of them are in it.
const BLOCKS_PER_ITEM: u32 = 1 << 20;

/// The state at one moment.
#[derive(Debug)]
pub struct Snapshot {
    items: VecDeque<Item>,
}

impl State {
    /// The state as it is now, in a time that grows with the number of things but hardly with their content.
    pub fn snapshot(&self) -> Snapshot {
        // Every field is named, so that none is forgotten.
        let Self {
            next_volume,
            next_pool,
            next_relationship,
            pools,
            volumes,
            relationships,
            ended,
            released,
            datasets,
            copy_tables: _,
        } = self;
        let mut items = VecDeque::with_capacity(relationships.len() + ended.len() + 16);
        items.push_back(Item::Numbers {
            next_volume: *next_volume,
            next_pool: *next_pool,
            next_relationship: *next_relationship,
            released: *released,
        });
        for (&id, pool) in pools {
            push_pool(&mut items, id, pool);
        }
        for (&id, volume) in volumes {
            push_volume(&mut items, id, volume);
        }
        for (&id, relationship) in relationships {
            items.push_back(Item::Relationship(id, Box::new(relationship.clone())));
            if !relationship.copied.blocks().is_empty() {
                items.push_back(Item::CopiedBlocks(relationship.copied.blocks().clone()));
            }
        }
        items.extend(ended.iter().map(|ended| Item::Ended(Box::new(ended.clone()))));
        let named = datasets.iter();
        items.extend(named.map(|(name, extents)| Item::Dataset(name.clone(), extents.clone())));
        items.push_back(Item::End);
        Snapshot { items }
    }

    /// Reads a snapshot's bytes back; gives what follows them too. The indexes are not yet built: see
    /// [`State::rebuild_indexes`].
    ///
    /// # Errors
    /// The bytes are no state.
    pub fn decode(mut bytes: &[u8]) -> Result<(Self, &[u8]), StateError> {
        let mut reader = Reader::default();
        loop {
            let (item, rest) = postcard::take_from_bytes(bytes)?;
            bytes = rest;
            if !reader.take(item)? {
                return Ok((reader.state, bytes));
            }
        }
    }
}

fn push_pool(items: &mut VecDeque<Item>, id: PoolId, pool: &Pool) {
    let Pool { name, slots, chains, allocator: _, failed: _ } = pool;
    items.push_back(Item::Pool { id, name: name.clone(), slots: *slots });
    for (&source, chain) in chains {
        for interval in chain.intervals() {
            let (t0, sharers) = (interval.t0(), interval.sharers());
            items.push_back(Item::Interval { source, t0, sharers });
            items.push_back(Item::Kept(interval.kept().clone()));
        }
    }
}

fn push_volume(items: &mut VecDeque<Item>, id: VolumeId, volume: &Volume) {
    let Volume {
        name,
        device,
        geometry,
        backing,
        as_source: _,
        as_target: _,
        newest_t0: _,
        as_source_count: _,
        as_target_count: _,
        incremental: _,
    } = volume;
    let item =
        |pool| Item::Volume { id, name: name.clone(), device: *device, geometry: *geometry, pool };
    match backing {
        Backing::Home => items.push_back(item(None)),
        Backing::Thin(Thin { pool, slots, owed: _, trimming: _ }) => {
            items.push_back(item(Some(*pool)));
            items.push_back(Item::Own(slots.clone()));
        }
    }
}

impl Snapshot {
    /// Appends the next items until `out` is `bytes` long or longer by at most one item.
    pub fn encode_some(&mut self, out: &mut Vec<u8>, bytes: usize) {
        while out.len() < bytes
            && let Some(mut item) = self.items.pop_front()
        {
            if let Item::Kept(map) | Item::Own(map) = &mut item {
                let first = map.split_first();
                let rest = std::mem::replace(map, first);
                if !rest.is_empty() {
                    let owns = matches!(item, Item::Own(_));
                    self.items.push_front(if owns { Item::Own(rest) } else { Item::Kept(rest) });
                }
            }
            if let Item::CopiedBlocks(blocks) = &mut item {
                let first = blocks.split_first(BLOCKS_PER_ITEM);
                let rest = std::mem::replace(blocks, first);
                if !rest.is_empty() {
                    self.items.push_front(Item::CopiedBlocks(rest));
                }
            }
            let encoded = postcard::to_allocvec(&item).expect("encoding into memory does not fail");
            out.extend_from_slice(&encoded);
        }
    }

    /// True when everything was encoded.
    pub fn is_encoded(&self) -> bool {
        self.items.is_empty()
    }
}

/// The state as far as it was read.
#[derive(Default)]
struct Reader {
    state: State,
    pool: Option<PoolId>,
    /// Source of the last interval.
    source: Option<VolumeId>,
    volume: Option<VolumeId>,
    relationship: Option<RelationshipId>,
}

impl Reader {
    /// Adds an item; false when it is the last one.
    fn take(&mut self, item: Item) -> Result<bool, StateError> {
        match item {
            Item::Numbers { next_volume, next_pool, next_relationship, released } => {
                self.state.next_volume = next_volume;
                self.state.next_pool = next_pool;
                self.state.next_relationship = next_relationship;
                self.state.released = released;
            }
            Item::Pool { id, name, slots } => {
                self.pool = Some(id);
                let (chains, allocator) = (BTreeMap::new(), SlotAllocator::new(0));
                let pool = Pool { name, slots, chains, allocator, failed: false };
                self.state.pools.insert(id, pool);
            }
            Item::Interval { source, t0, sharers } => {
                self.source = Some(source);
                let pool = self.pool.and_then(|id| self.state.pools.get_mut(&id));
                let chain = pool.ok_or(StateError::Order)?.chains.entry(source).or_default();
                chain.restore(t0, sharers).then_some(()).ok_or(StateError::Order)?;
            }
            Item::Kept(blocks) => {
                let pool = self.pool.and_then(|id| self.state.pools.get_mut(&id));
                let chains = pool.map(|pool| &mut pool.chains).zip(self.source);
                let chain = chains.and_then(|(chains, source)| chains.get_mut(&source));
                let kept = chain.is_some_and(|chain| chain.restore_kept(&blocks));
                kept.then_some(()).ok_or(StateError::Order)?;
            }
            Item::Volume { id, name, device, geometry, pool } => {
                self.volume = Some(id);
                self.state.volumes.insert(id, Volume::new(name, device, geometry, pool));
            }
            Item::Own(blocks) => {
                let volume = self.volume.and_then(|id| self.state.volumes.get_mut(&id));
                let Some(Backing::Thin(thin)) = volume.map(|volume| &mut volume.backing) else {
                    return Err(StateError::Order);
                };
                thin.slots.append(&blocks).then_some(()).ok_or(StateError::Order)?;
            }
            Item::Relationship(id, relationship) => {
                self.relationship = Some(id);
                self.state.relationships.insert(id, *relationship);
            }
            Item::CopiedBlocks(blocks) => {
                let last = self.relationship;
                let known = last.and_then(|id| self.state.relationships.get_mut(&id));
                known.ok_or(StateError::Order)?.copied.restore_blocks(&blocks);
            }
            Item::Ended(ended) => self.state.ended.push_back(*ended),
            Item::Dataset(name, extents) => {
                self.state.datasets.insert(name, extents);
            }
            Item::End => return Ok(false),
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::CopyMode;
    use crate::geometry::VolumeType;
    use crate::pace::Pace;
    use crate::state::{NewRelationship, Record, Recording, Scope, TargetWrites};
    use crate::units::Slot;

    const POOL: PoolId = PoolId(1);
    const SOURCE: VolumeId = VolumeId(1);
    const THIN: VolumeId = VolumeId(2);
    const FULL: VolumeId = VolumeId(3);

    fn preserved(t0: u64, blocks: std::ops::Range<u32>) -> Record {
        let blocks = blocks.map(|block| (2 * block, Slot(block))).collect();
        Record::Preserved { source: SOURCE, pool: POOL, t0: Seq(t0), blocks }
    }

    fn owned(blocks: std::ops::Range<u32>) -> Record {
        let blocks = blocks.map(|block| (block, Slot(100_000 - 3 * block))).collect();
        Record::Owned { volume: THIN, blocks }
    }

    /// A state with something of everything, maps of several pieces among it.
    fn state() -> State {
        let geometry = Geometry::new(VolumeType::Fb, Some(1 << 30), None).unwrap();
        let volume = |id: VolumeId, pool| {
            let device = u16::try_from(id.0).unwrap();
            Record::VolumeCreated { id, name: format!("volume{id}"), geometry, device, pool }
        };
        let pair = |id, target, tracks, mode| NewRelationship {
            id: RelationshipId(id),
            source: SOURCE,
            target,
            pace: Pace::default(),
            source_track: 0,
            target_track: 0,
            tracks,
            mode,
            scope: Scope::Extent,
            recording: Recording::On,
            target_writes: TargetWrites::Allowed,
        };
        let established =
            |pair| Record::Established { at: 5, relationships: vec![pair], renewed: Vec::new() };
        let mut state = State::default();
        let records = [
            Record::PoolCreated { id: POOL, name: "pool".to_owned(), slots: 1 << 20 },
            volume(SOURCE, None),
            volume(THIN, Some(POOL)),
            volume(FULL, None),
            established(pair(1, THIN, geometry.tracks, CopyMode::Nocopy)),
            established(pair(3, FULL, 10, CopyMode::Copy)),
            established(pair(2, FULL, 100, CopyMode::Copy)),
            preserved(5, 0..20_000),
            owned(0..10_000),
            Record::Copied { id: RelationshipId(2), runs: vec![(3, 4), (50, 1)] },
            Record::CopiedBlocks { id: RelationshipId(2), runs: vec![(5, 2), (90, 16)] },
            Record::Ended {
                ids: vec![RelationshipId(3)],
                reason: crate::admin::EndReason::Completed,
            },
            Record::Released { through: Seq(6) },
        ];
        for (seq, record) in (1..).zip(&records) {
            state.apply(Seq(seq), record);
        }
        state
    }

    fn encode(mut snapshot: Snapshot, bytes: usize, mut between: impl FnMut()) -> Vec<u8> {
        let mut all = Vec::new();
        while !snapshot.is_encoded() {
            let mut piece = Vec::new();
            snapshot.encode_some(&mut piece, bytes);
            assert!(piece.len() < bytes + (256 << 10), "{} bytes at once", piece.len());
            all.extend(piece);
            between();
        }
        all
    }

    #[test]
    fn a_snapshot_holds_the_state_of_its_moment_whatever_changes_while_it_is_written() {
        let mut state = state();
        let expected = encode(state.snapshot(), usize::MAX - (1 << 20), || {});
        let snapshot = state.snapshot();
        let mut step = 0;
        let found = encode(snapshot, 100, || {
            step += 1;
            state.apply(Seq(100 + u64::from(step)), &preserved(5, 20_000 + step..20_300 + step));
            state.apply(Seq(200), &owned(step..9000 + step));
            state.apply(Seq(300), &Record::Trimmed { volume: THIN, runs: vec![(0, 9000)] });
            let runs = vec![(step % 90, 9)];
            state.apply(Seq(400), &Record::Copied { id: RelationshipId(2), runs });
        });
        assert!(step > 5, "{step} pieces");
        assert!(found == expected);
        assert!(encode(state.snapshot(), usize::MAX - (1 << 20), || {}) != expected);
    }

    #[test]
    fn what_is_read_is_what_was_written() {
        let mut before = state();
        let mut bytes = encode(before.snapshot(), 1000, || {});
        bytes.extend(b"rest");
        let (mut after, rest) = State::decode(&bytes).unwrap();
        assert_eq!(rest, b"rest");
        after.rebuild_indexes().unwrap();
        for state in [&mut before, &mut after] {
            state.rebuild_allocators().unwrap();
        }
        assert!(format!("{before:?}") == format!("{after:?}"));
    }

    #[test]
    fn parts_in_an_order_that_no_state_has_are_refused() {
        let own = || Item::Own(SlotMap::new());
        let kept = || Item::Kept(SlotMap::new());
        let interval = || Item::Interval { source: SOURCE, t0: Seq(1), sharers: 1 };
        let pool = || Item::Pool { id: POOL, name: String::new(), slots: 1 };
        let cases = [
            vec![own()],
            vec![kept()],
            vec![interval()],
            vec![pool(), kept()],
            vec![pool(), interval(), interval()],
            vec![Item::CopiedBlocks(TrackBitmap::new())],
        ];
        for mut items in cases {
            items.push(Item::End);
            let bytes: Vec<u8> =
                items.iter().flat_map(|item| postcard::to_allocvec(item).unwrap()).collect();
            assert_eq!(State::decode(&bytes).map(drop), Err(StateError::Order), "{items:?}");
        }
        let bytes = encode(state().snapshot(), 1000, || {});
        assert!(matches!(State::decode(&bytes[..bytes.len() - 1]), Err(StateError::Unreadable(_))));
    }
}

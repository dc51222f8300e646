//! Opening a store: the checkpoint, then the journal since, give the state as it was.
//!
//! Invariants
//! - O1 Replay applies the same records in the same order as the engine that wrote them; what was staged and
//!   not released is staged again, and the credits that it needs are taken again.
//! - O2 An object that the state does not name (a command that was cut off) is removed.
//! - O3 Whatever cannot be read is refused with its place; nothing is guessed (rule O11). That goes for the data of staged
//!   writes too: all that is still needed is verified (rule O12).

use std::collections::{BTreeMap, VecDeque};

use super::checkpointing::{self, Checkpointer};
use super::{Engine, Shutdown};
use crate::io::{IoFailure, Object, Storage};
use crate::journal::{
    self, CreateParameters, FrameContent, Needed, Presence, Recovered, ScannedFrame,
};
use crate::policy::Policy;
use crate::pressure::Pressure;
#[cfg(feature = "sim")]
use crate::sim::mutation::{Mutation, NeverSynced};
use crate::slab::Slab;
use crate::stage::{Content, Frame, Stage, Version};
use crate::state::{Backing, Record, RecordError, State, StateError};
use crate::stats::Stats;
use crate::tickets::Tickets;
use crate::units::{Moment, Position, RelationshipId, Seq, VolumeId};

/// How a store is opened.
#[derive(Clone, Debug)]
pub struct OpenOptions {
    /// Make a store where there is none.
    pub create: bool,
    /// Bytes of the journal of a new store.
    pub journal_bytes: u64,
    /// Bytes of a journal segment of a new store.
    pub segment_bytes: u32,
    /// Rules and limits that the store is served under.
    pub policy: Policy,
    /// Random bytes, for the identity of a new store.
    pub entropy: [u8; 32],
    /// A rule that is broken on purpose.
    #[cfg(feature = "sim")]
    pub mutation: Option<Mutation>,
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self {
            create: true,
            journal_bytes: 1 << 30,
            segment_bytes: 16 << 20,
            policy: Policy::default(),
            entropy: [0; 32],
            #[cfg(feature = "sim")]
            mutation: None,
        }
    }
}

/// Why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The journal, a checkpoint or the header.
    #[error(transparent)]
    Journal(#[from] journal::OpenError),
    /// The metadata contradicts itself.
    #[error("the metadata of the store is damaged")]
    State(#[from] StateError),
    /// A record of the journal cannot be read.
    #[error("record {seq} of the journal is damaged")]
    Record {
        /// Its number.
        seq: Seq,
        /// Why.
        source: RecordError,
    },
    /// The object of a volume or pool is missing or of another size.
    #[error(
        "{object:?} has {found:?} bytes where {expected} are expected; restore it from a backup"
    )]
    Object {
        /// Which.
        object: Object,
        /// Its length, if it is there.
        found: Option<u64>,
        /// The length that the metadata tells.
        expected: u64,
    },
    /// An object cannot be looked at or removed.
    #[error("{object:?} cannot be accessed")]
    Storage {
        /// Which.
        object: Object,
        /// Why.
        source: IoFailure,
    },
}

impl Engine {
    /// Opens the store, or makes an empty one: recovery, all blocking, before anything else runs.
    ///
    /// # Errors
    /// See [`OpenError`]; nothing was lost, and where the store is damaged nothing was written.
    pub fn open(
        storage: &mut dyn Storage,
        options: &OpenOptions,
        now: Moment,
    ) -> Result<Self, OpenError> {
        let absent = matches!(journal::presence(storage)?, Presence::Empty | Presence::Unfinished);
        if absent && options.create {
            let capacity = options.journal_bytes / u64::from(options.segment_bytes.max(1));
            let parameters = CreateParameters {
                entropy: options.entropy,
                segment_bytes: options.segment_bytes,
                capacity_segments: u32::try_from(capacity).unwrap_or(u32::MAX),
                checkpoint: checkpointing::empty(),
            };
            journal::create(storage, &parameters)?;
        }
        let (recovered, (state, mut stage)) = recover(storage, options)?;
        for frame in &recovered.frames[recovered.moved_from..] {
            if let FrameContent::Data { payload, .. } = frame.content {
                stage.moved(frame.seq, payload);
            }
        }
        remove_unnamed(storage, &state)?;
        let mut engine = Self::assemble(recovered, state, stage, now);
        #[cfg(feature = "sim")]
        {
            engine.mutation = options.mutation;
        }
        engine.policy = options.policy;
        engine.take_credits_again();
        for (&id, relationship) in &engine.state.relationships {
            if relationship.pool.is_none() {
                engine.copier.add(id, true);
            }
        }
        engine.distrust_page_cache();
        let all: Vec<RelationshipId> = engine.state.relationships.keys().copied().collect();
        engine.copies_ready(&all, None, &[]);
        Ok(engine)
    }

    fn assemble(recovered: Recovered, state: State, stage: Stage, now: Moment) -> Self {
        // At the earliest: a journal that is full when the store is opened is soon made free.
        let replay_from = recovered.journal.oldest();
        Self {
            header: recovered.header,
            #[cfg(feature = "sim")]
            mutation: None,
            state,
            stage,
            journal: recovered.journal,
            now,
            stats: Stats::default(),
            fail_stop: None,
            shutdown: Shutdown::No,
            ops: Vec::new(),
            replies: Vec::new(),
            answers: Vec::new(),
            pending: Slab::default(),
            background: super::background::Background::default(),
            barriers: Slab::default(),
            opened: VecDeque::new(),
            opened_long: Vec::new(),
            put_off: 0,
            tickets: Tickets::default(),
            syncs: BTreeMap::new(),
            sync_wanted: false,
            journal_waiters: Vec::new(),
            journaling: super::journaling::Journaling::default(),
            runtimes: BTreeMap::new(),
            reads: Slab::default(),
            long: Slab::default(),
            gatherings: Slab::default(),
            waiting: VecDeque::new(),
            pressure: Pressure::default(),
            commands: VecDeque::new(),
            active: None,
            drains: Vec::new(),
            destager: super::destage::Destager::default(),
            copier: super::copier::Copier::default(),
            checkpointer: Checkpointer::new(recovered.checkpoints, replay_from),
            changes: super::changes::Changes::default(),
            freezes: super::freeze::Freezes::default(),
            policy: Policy::default(),
        }
    }

    /// Takes the credits that the staged versions need: those taken before the restart are gone with it.
    fn take_credits_again(&mut self) {
        let versions: Vec<(VolumeId, crate::units::Block, Seq)> = self
            .stage
            .all_versions()
            .map(|(volume, block, version)| (volume, block, version.seq))
            .collect();
        for (id, block, seq) in versions {
            for pool in self.state.pools.values_mut() {
                let Some(chain) = pool.chains.get_mut(&id) else {
                    continue;
                };
                if chain.charge_at(block, seq) {
                    pool.allocator.take_credits(1);
                }
            }
            let Some(volume) = self.state.volumes.get_mut(&id) else {
                continue;
            };
            let Backing::Thin(thin) = &mut volume.backing else {
                continue;
            };
            if !thin.slots.contains(block)
                && thin.owed.set(block.0..block.0 + 1) > 0
                && let Some(pool) = self.state.pools.get_mut(&thin.pool)
            {
                pool.allocator.take_credits(1);
            }
        }
    }

    /// A home or pool may hold completed writes that no sync covered: nobody waits for them now, but
    /// the next flush must.
    fn distrust_page_cache(&mut self) {
        for (&id, volume) in &self.state.volumes {
            if volume.pool().is_none() {
                self.syncs.entry(Object::Home(id)).or_default().wrote();
            }
        }
        for &id in self.state.pools.keys() {
            self.syncs.entry(Object::Pool(id)).or_default().wrote();
        }
    }
}

/// The state and the stage as the records and frames leave them.
pub(super) fn replay(
    checkpoint: &[u8],
    frames: &[ScannedFrame],
) -> Result<(State, Stage), OpenError> {
    let (mut state, listed) = checkpointing::decode(checkpoint)?;
    state.rebuild_indexes()?;
    let mut stage = Stage::restored(listed);
    for frame in frames {
        replay_frame(frame, &mut state, &mut stage)?;
    }
    stage.release(state.released);
    stage.keep_volumes(|id| state.volumes.contains_key(&id));
    state.rebuild_allocators()?;
    Ok((state, stage))
}

fn replay_frame(
    frame: &ScannedFrame,
    state: &mut State,
    stage: &mut Stage,
) -> Result<(), OpenError> {
    let (volume, range, content) = match &frame.content {
        FrameContent::Record(bytes) => {
            let record = Record::decode(bytes)
                .map_err(|source| OpenError::Record { seq: frame.seq, source })?;
            for void in state.apply(frame.seq, &record).superseded {
                stage.supersede(&void);
            }
            return Ok(());
        }
        FrameContent::Data { volume, range, payload, .. } => {
            (*volume, *range, Content::Journal(*payload))
        }
        FrameContent::Zeroes { volume, range } => (*volume, *range, Content::Zeroes),
        FrameContent::Watermark => return Ok(()),
    };
    let position = match content {
        Content::Journal(position) => position,
        Content::Zeroes => Position(0),
    };
    state.note_change(volume, range, |_, _, _| {});
    let keep = state.volumes.get(&volume).map_or(frame.seq, |known| known.newest_t0);
    stage.insert(Frame { seq: frame.seq, volume, range, position, content }, keep);
    // What recovery accepts it has made durable before anything else is done.
    stage.durable(frame.seq);
    Ok(())
}

#[cfg(not(feature = "sim"))]
fn recover(
    storage: &mut dyn Storage,
    _: &OpenOptions,
) -> Result<(Recovered, (State, Stage)), OpenError> {
    journal::recover(storage, approve)
}

#[cfg(feature = "sim")]
fn recover(
    storage: &mut dyn Storage,
    options: &OpenOptions,
) -> Result<(Recovered, (State, Stage)), OpenError> {
    match options.mutation {
        Some(Mutation::SkipTailSync) => journal::recover(&mut NeverSynced(storage), approve),
        Some(Mutation::SkipPayloadCheck) => journal::recover(storage, |storage, bytes, frames| {
            approve(storage, bytes, frames).map(|(_, replayed)| (Vec::new(), replayed))
        }),
        _ => journal::recover(storage, approve),
    }
}

/// The metadata can be replayed, and every volume and pool has its object. Gives what is needed of the journal.
fn approve(
    storage: &mut dyn Storage,
    checkpoint: &[u8],
    frames: &[ScannedFrame],
) -> Result<(Vec<Needed>, (State, Stage)), OpenError> {
    let (state, stage) = replay(checkpoint, frames)?;
    let mut expected = expected_objects(&state).into_iter();
    expected.try_for_each(|(object, bytes)| check_length(storage, object, bytes))?;
    Ok((needed(&stage), (state, stage)))
}

/// The bytes of the journal that staged versions are read from.
pub(super) fn needed(stage: &Stage) -> Vec<Needed> {
    let in_journal = |version: &Version| match version.content {
        Content::Journal(position) => {
            let bytes = u64::from(version.end - version.start);
            Some(Needed { position, bytes, seq: version.seq })
        }
        Content::Zeroes => None,
    };
    stage.all_versions().filter_map(|(_, _, version)| in_journal(version)).collect()
}

/// Removes the objects that nobody names (O2).
fn remove_unnamed(storage: &mut dyn Storage, state: &State) -> Result<(), OpenError> {
    let expected = expected_objects(state);
    let header = Object::Header;
    let all = storage.list().map_err(|source| OpenError::Storage { object: header, source })?;
    for object in all {
        let data = matches!(object, Object::Home(_) | Object::Pool(_));
        if data && !expected.contains_key(&object) {
            storage.remove(object).map_err(|source| OpenError::Storage { object, source })?;
        }
    }
    Ok(())
}

/// The objects that hold volumes and pools, with their lengths in bytes.
pub(super) fn expected_objects(state: &State) -> BTreeMap<Object, u64> {
    let homes = state.volumes.iter().filter(|(_, volume)| volume.pool().is_none());
    let homes = homes.map(|(&id, volume)| (Object::Home(id), volume.geometry.size_bytes()));
    let pool_bytes = |slots: u32| u64::from(slots) * crate::units::BLOCK_BYTES;
    let pools = state.pools.iter().map(|(&id, pool)| (Object::Pool(id), pool_bytes(pool.slots)));
    homes.chain(pools).collect()
}

/// An object is there and as long as it should be.
pub(super) fn check_length(
    storage: &mut dyn Storage,
    object: Object,
    expected: u64,
) -> Result<(), OpenError> {
    let found = storage.length(object).map_err(|source| OpenError::Storage { object, source })?;
    if found == Some(expected) {
        Ok(())
    } else {
        Err(OpenError::Object { object, found, expected })
    }
}

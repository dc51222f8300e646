//! What administrators see: pools, volumes, relationships, the store. Nothing here changes anything.

use super::{Engine, VolumeInfo};
use crate::admin::{
    ChangesReport, Command, CopyReport, CopySelector, CopyState, PoolReport, PoolStatus, Profile,
    Refusal, RefusalKind, Report, StoreReport, VolumeReport, VolumeStatus,
};
use crate::admission;
use crate::limits;
use crate::state::{Backing, Ended, Health, Pool, Relationship, Volume};
use crate::units::{BLOCK_BYTES, PoolId, RelationshipId, VolumeId};

/// A pool fuller than this, in percent, is reported with a warning.
const WARNING_PERCENT: u64 = 70;

impl Engine {
    /// Every volume, by name.
    pub fn volumes(&self) -> Vec<VolumeInfo> {
        let mut all: Vec<VolumeInfo> =
            self.state.volumes.iter().map(|(&id, volume)| info(id, volume)).collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    /// The volume of that name.
    pub fn volume(&self, name: &str) -> Option<VolumeInfo> {
        self.state.volume_named(name).map(|(id, volume)| info(id, volume))
    }

    /// True when no relationship touches the volume.
    pub fn is_simplex(&self, id: VolumeId) -> bool {
        self.state.volumes.get(&id).is_some_and(Volume::is_simplex)
    }

    /// The report of a command that only looks; none for others.
    pub(super) fn look(&self, command: &Command) -> Result<Option<Report>, Refusal> {
        Ok(Some(match command {
            Command::PoolList {} => Report::Pools(self.pool_reports()),
            Command::PoolShow { name } => {
                let id = self.pool_known(name)?;
                Report::Pools(
                    self.pool_reports().into_iter().filter(|pool| pool.id == id.0).collect(),
                )
            }
            Command::VolumeList {} => Report::Volumes(self.volume_reports()),
            Command::VolumeShow { name } => {
                let (id, volume) = admission::volume(&self.state, name)?;
                Report::Volumes(vec![self.volume_report(id, volume)])
            }
            Command::CopyList { volume } => Report::Copies(self.copies_of(volume.as_deref())?),
            Command::CopyShow(CopySelector::Id(id)) => {
                let found = self.copy_reports(|known| known == *id);
                if found.is_empty() {
                    self.selected(&CopySelector::Id(*id))?;
                }
                Report::Copies(found)
            }
            Command::CopyShow(CopySelector::Target(name)) => {
                Report::Copies(self.newest_copies_onto(name)?)
            }
            Command::CopyShow(CopySelector::Source(name)) => {
                let ids = self.selected(&CopySelector::Source(name.clone()))?;
                Report::Copies(self.copy_reports(|id| ids.contains(&id)))
            }
            Command::CopyChanges { id, .. } => Report::Changes(self.changes(*id)?),
            Command::StoreStatus {} => Report::Store(Box::new(self.store_report())),
            _ => return Ok(None),
        }))
    }

    pub(super) fn pool_reports(&self) -> Vec<PoolReport> {
        self.state.pools.iter().map(|(&id, pool)| self.pool_report(id, pool)).collect()
    }

    fn pool_report(&self, id: PoolId, pool: &Pool) -> PoolReport {
        let bytes = |slots: u32| u64::from(slots) * BLOCK_BYTES;
        let preserved: u64 = pool.chains.values().map(crate::thin::chain::Chain::kept_len).sum();
        let taken = u64::from(pool.allocator.used()) + u64::from(pool.allocator.reserved());
        let status = if pool.failed {
            PoolStatus::Failed
        } else if pool.allocator.free_slots() == 0 {
            PoolStatus::Full
        } else if taken * 100 > u64::from(pool.slots) * WARNING_PERCENT {
            PoolStatus::Warning
        } else {
            PoolStatus::Ok
        };
        let volumes = self.state.volumes.values();
        PoolReport {
            id: id.0,
            name: pool.name.clone(),
            capacity_bytes: bytes(pool.slots),
            used_bytes: bytes(pool.allocator.used()),
            reserved_bytes: bytes(pool.allocator.reserved()),
            preserved_bytes: preserved * BLOCK_BYTES,
            volumes: volumes
                .filter(|volume| volume.pool() == Some(id))
                .map(|volume| volume.name.clone())
                .collect(),
            status,
        }
    }

    pub(super) fn volume_reports(&self) -> Vec<VolumeReport> {
        self.state.volumes.iter().map(|(&id, volume)| self.volume_report(id, volume)).collect()
    }

    fn volume_report(&self, id: VolumeId, volume: &Volume) -> VolumeReport {
        let related = |as_source: bool| {
            let count = self.state.relationships.values().filter(|known| {
                if as_source { known.pair.source == id } else { known.pair.target == id }
            });
            u32::try_from(count.count()).unwrap_or(u32::MAX)
        };
        let failed = self
            .state
            .relationships
            .values()
            .any(|known| known.pair.target == id && known.health != Health::Good)
            || volume
                .pool()
                .and_then(|pool| self.state.pools.get(&pool))
                .is_some_and(|pool| pool.failed);
        let allocated_bytes = match &volume.backing {
            Backing::Home => 0,
            Backing::Thin(thin) => thin.slots.len() * BLOCK_BYTES,
        };
        VolumeReport {
            id: id.0,
            name: volume.name.clone(),
            device: format!("{:04X}", volume.device),
            volume_type: volume.geometry.volume_type,
            size_bytes: volume.geometry.size_bytes(),
            track_bytes: volume.geometry.track_bytes(),
            tracks: volume.geometry.tracks,
            thin: volume.pool().is_some(),
            pool: volume
                .pool()
                .and_then(|pool| self.state.pools.get(&pool))
                .map(|pool| pool.name.clone()),
            allocated_bytes,
            status: if failed { VolumeStatus::Failed } else { VolumeStatus::Online },
            connections: self.runtimes.get(&id).map_or(0, |runtime| runtime.connections),
            source_relationships: related(true),
            target_relationships: related(false),
            relationships_max: limits::RELATIONSHIPS_PER_VOLUME,
            frozen_seconds_left: None,
        }
    }

    fn copies_of(&self, volume: Option<&str>) -> Result<Vec<CopyReport>, Refusal> {
        let Some(name) = volume else {
            return Ok(self.live_copy_reports(|_| true));
        };
        let (id, _) = admission::volume(&self.state, name)?;
        Ok(self.live_copy_reports(|known| known.pair.source == id || known.pair.target == id))
    }

    fn live_copy_reports(&self, pick: impl Fn(&Relationship) -> bool) -> Vec<CopyReport> {
        self.state
            .relationships
            .values()
            .filter(|known| pick(known))
            .map(|known| self.live_copy_report(known))
            .collect()
    }

    /// Live relationships and remembered ones that `pick` picks.
    pub(super) fn copy_reports(&self, pick: impl Fn(RelationshipId) -> bool) -> Vec<CopyReport> {
        let ended = self.state.ended.iter().filter(|ended| pick(ended.relationship.pair.id));
        ended
            .map(ended_copy_report)
            .chain(self.live_copy_reports(|known| pick(known.pair.id)))
            .collect()
    }

    /// The relationships onto a volume; when there are none, the last one that ended.
    fn newest_copies_onto(&self, name: &str) -> Result<Vec<CopyReport>, Refusal> {
        let ids = self.selected(&CopySelector::Target(name.to_owned()))?;
        if !ids.is_empty() {
            return Ok(self.copy_reports(|id| ids.contains(&id)));
        }
        let last = self.state.ended.iter().rev().find(|ended| ended.target == name);
        Ok(last.map(ended_copy_report).into_iter().collect())
    }

    fn live_copy_report(&self, known: &Relationship) -> CopyReport {
        let name = |id: VolumeId| {
            self.state.volumes.get(&id).map(|volume| volume.name.clone()).unwrap_or_default()
        };
        let tracks_left = self.state.tracks_left(known);
        let state = match known.health {
            Health::Good if tracks_left == 0 => CopyState::Complete,
            Health::Good => CopyState::FCopy,
            Health::Failing | Health::Failed => CopyState::Failed,
        };
        report(known, (name(known.pair.source), name(known.pair.target)), state, tracks_left)
    }

    fn changes(&self, id: RelationshipId) -> Result<ChangesReport, Refusal> {
        let known = self.state.relationships.get(&id).ok_or_else(|| {
            let message = format!("relationship {id} does not exist, or has ended");
            admission::refuse(RefusalKind::NotFound, message)
        })?;
        let (recorded, runs, next_track) = (false, Vec::new(), None);
        Ok(ChangesReport { id: id.0, moment: known.t0.0, recorded, runs, next_track })
    }

    fn store_report(&self) -> StoreReport {
        let uuid = format!("{:032x}", u128::from_be_bytes(self.header.uuid.0));
        StoreReport {
            uuid,
            epoch: self.header.epoch,
            profile: Profile::Xp7,
            copy_tables_used: 0,
            copy_tables: 0,
            fail_stop: self.fail_stop.clone(),
            staged_bytes: self.stage.bytes(),
            staged_blocks: self.stage.versions(),
            journal_used_bytes: self.journal.used_bytes(),
            journal_capacity_bytes: self.journal.capacity_bytes(),
            counters: self
                .stats
                .named()
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value))
                .collect(),
        }
    }
}

fn info(id: VolumeId, volume: &Volume) -> VolumeInfo {
    VolumeInfo {
        id,
        name: volume.name.clone(),
        size_bytes: volume.geometry.size_bytes(),
        track_bytes: volume.geometry.track_bytes(),
    }
}

fn report(
    known: &Relationship,
    (source, target): (String, String),
    state: CopyState,
    tracks_left: u32,
) -> CopyReport {
    CopyReport {
        id: known.pair.id.0,
        source,
        target,
        source_track: known.pair.source_track,
        target_track: known.pair.target_track,
        tracks: known.pair.tracks,
        mode: known.pair.mode,
        state,
        incremental: false,
        whole: false,
        write_inhibited: false,
        changed_tracks: 0,
        space_efficient: known.pool.is_some(),
        tracks_left,
        established_at: known.established_at,
        durable: known.durable,
        ended: None,
    }
}

fn ended_copy_report(ended: &Ended) -> CopyReport {
    let state = match ended.relationship.health {
        Health::Failing | Health::Failed => CopyState::Failed,
        Health::Good if ended.tracks_left == 0 => CopyState::Complete,
        Health::Good => CopyState::FCopy,
    };
    let names = (ended.source.clone(), ended.target.clone());
    let live = report(&ended.relationship, names, state, ended.tracks_left);
    CopyReport { ended: Some(ended.reason), ..live }
}

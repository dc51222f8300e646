//! What administrators see: pools, volumes, relationships, the store. Nothing here changes anything.

use std::collections::BTreeSet;

use super::{Engine, VolumeInfo};
use crate::admin::{
    ChangesReport, Command, CopyReport, CopySelector, CopyState, DatasetExtentReport,
    DatasetReport, PoolReport, PoolStatus, Refusal, RefusalKind, Report, StoreReport, TrackRun,
    VolumeReport, VolumeStatus,
};
use crate::admission;
use crate::limits;
use crate::state::{Backing, Ended, Health, Pool, Relationship, Scope, Volume};
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
                let found = self.copy_reports(&[*id]);
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
                Report::Copies(self.copy_reports(&ids))
            }
            Command::DatasetList {} => Report::Datasets(self.dataset_reports(None)),
            Command::DatasetShow { name } => {
                self.dataset_known(name)?;
                Report::Datasets(self.dataset_reports(Some(name)))
            }
            Command::CopyChanges { id, from_track } => {
                Report::Changes(self.changes_report(*id, *from_track)?)
            }
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
        let onto = volume.as_target.overlapping(0..volume.geometry.tracks).flat_map(|(_, ids)| ids);
        let failed = onto
            .filter_map(|id| self.state.relationships.get(id))
            .any(|known| known.health != Health::Good)
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
            source_relationships: volume.as_source_count,
            target_relationships: volume.as_target_count,
            relationships_max: self.policy.relationships_per_volume(volume.geometry),
            frozen_seconds_left: self.frozen_seconds_left(id),
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

    /// These relationships, live or remembered.
    pub(super) fn copy_reports(&self, ids: &[RelationshipId]) -> Vec<CopyReport> {
        let live = ids.iter().filter_map(|id| self.state.relationships.get(id));
        let mut reports: Vec<CopyReport> = live.map(|known| self.live_copy_report(known)).collect();
        if reports.len() < ids.len() {
            let wanted: BTreeSet<RelationshipId> = ids.iter().copied().collect();
            let ended = self.state.ended.iter();
            let ended = ended.filter(|ended| wanted.contains(&ended.relationship.pair.id));
            reports.extend(ended.map(ended_copy_report));
        }
        reports.sort_by_key(|report| report.id);
        reports
    }

    /// Datasets: the one of that name, or all.
    pub(super) fn dataset_reports(&self, name: Option<&str>) -> Vec<DatasetReport> {
        let picked = |known: &String| name.is_none_or(|name| known == name);
        let all = self.state.datasets.iter().filter(|(known, _)| picked(known));
        all.map(|(name, extents)| DatasetReport {
            name: name.clone(),
            extents: extents
                .iter()
                .map(|extent| DatasetExtentReport {
                    volume: self.state.volumes.get(&extent.volume).map(|known| known.name.clone()),
                    first_track: extent.first,
                    tracks: extent.tracks,
                })
                .collect(),
            tracks: extents.iter().map(|extent| u64::from(extent.tracks)).sum(),
        })
        .collect()
    }

    /// Refuses the name of a dataset that does not exist.
    pub(super) fn dataset_known(&self, name: &str) -> Result<(), Refusal> {
        if self.state.datasets.contains_key(name) {
            return Ok(());
        }
        let message = format!("dataset `{}` does not exist", name.escape_default());
        let help = "`flashtrack dataset list` shows all datasets";
        Err(admission::refuse_with_help(RefusalKind::NotFound, message, help))
    }

    /// The relationships onto a volume; when there are none, the last one that ended.
    fn newest_copies_onto(&self, name: &str) -> Result<Vec<CopyReport>, Refusal> {
        let ids = self.selected(&CopySelector::Target(name.to_owned()))?;
        if !ids.is_empty() {
            return Ok(self.copy_reports(&ids));
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

    fn changes_report(&self, id: RelationshipId, from: u32) -> Result<ChangesReport, Refusal> {
        let known = self.state.relationships.get(&id).ok_or_else(|| {
            let message = format!("relationship {id} does not exist, or has ended");
            admission::refuse(RefusalKind::NotFound, message)
        })?;
        let changed = known.changed();
        let mut found = changed.set_runs(from..known.pair.tracks);
        let runs = found
            .by_ref()
            .take(limits::CHANGE_RUNS_MAX)
            .map(|run| TrackRun { first: run.start, count: run.end - run.start })
            .collect();
        let next_track = found.next().map(|run| run.start);
        let recorded = known.is_incremental();
        Ok(ChangesReport { id: id.0, moment: known.t0.0, recorded, runs, next_track })
    }

    fn store_report(&self) -> StoreReport {
        let uuid = format!("{:032x}", u128::from_be_bytes(self.header.uuid.0));
        StoreReport {
            uuid,
            epoch: self.header.epoch,
            profile: self.policy.profile,
            copy_tables_used: self.state.copy_tables,
            copy_tables: self.policy.copy_tables,
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
        pace: known.pair.pace,
        state,
        incremental: known.is_incremental(),
        whole: known.pair.scope == Scope::Volume,
        write_inhibited: known.inhibits_target(),
        changed_tracks: u32::try_from(known.changed_tracks()).unwrap_or(u32::MAX),
        space_efficient: known.pool.is_some(),
        tracks_left,
        established_at: known.established_at,
        moment: known.t0.0,
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

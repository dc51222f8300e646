//! One observation of the whole server: everything that a scrape tells.

use flashtrack_engine::admin::{
    Command, CopyReport, PoolReport, Refusal, Report, StoreReport, VolumeReport,
};

use crate::control::Counted;
use crate::worker::{KindStats, WorkerStats};

/// Relationships that have series of their own. Listing many would take the worker's time at every
/// scrape, and Prometheus' memory.
pub(super) const RELATIONSHIP_SERIES_MAX: u64 = 1000;

/// Everything that a scrape tells, of nearly the same moment.
#[derive(Clone, Debug, Default)]
pub(super) struct Observation {
    /// Counted by the worker.
    pub(super) worker: WorkerStats,
    /// Establish commands.
    pub(super) establishes: KindStats,
    /// The store.
    pub(super) store: StoreReport,
    /// All volumes.
    pub(super) volumes: Vec<VolumeReport>,
    /// All pools.
    pub(super) pools: Vec<PoolReport>,
    /// Relationships, unless there are too many of them.
    pub(super) copies: Vec<CopyReport>,
}

impl Observation {
    /// Relationships that live.
    pub(super) fn relationships(&self) -> u64 {
        let as_source = |volume: &VolumeReport| u64::from(volume.source_relationships);
        self.volumes.iter().map(as_source).sum()
    }
}

/// Asks the worker.
///
/// # Errors
/// The worker has ended or is going down.
pub(super) async fn observe<C: Counted>(worker: &C) -> Result<Observation, Refusal> {
    let mut seen = Observation {
        worker: worker.worker_stats().await?,
        establishes: worker.establishes(),
        ..Observation::default()
    };
    let commands = [Command::StoreStatus {}, Command::PoolList {}, Command::VolumeList {}];
    for command in commands {
        seen.take(worker.command(command).await?);
    }
    if seen.relationships() <= RELATIONSHIP_SERIES_MAX {
        seen.take(worker.command(Command::CopyList { volume: None }).await?);
    }
    Ok(seen)
}

impl Observation {
    fn take(&mut self, report: Report) {
        match report {
            Report::Store(store) => self.store = *store,
            Report::Pools(pools) => self.pools = pools,
            Report::Volumes(volumes) => self.volumes = volumes,
            Report::Copies(copies) => self.copies = copies,
            Report::Done | Report::Changes(_) | Report::Datasets(_) | Report::Thawed(_) => {}
        }
    }
}

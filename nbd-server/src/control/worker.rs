//! Commands for the worker, and what the engine cannot know of volumes filled into its reports.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use flashtrack_engine::admin::{Command, Refusal, RefusalKind, Report, VolumeReport};

use super::{Administrator, Counted};
use crate::worker::{Mailbox, WorkerGone, WorkerStats};

/// Bytes of a block in `stat`'s count of allocated blocks, whatever the file system's own size is.
const STAT_BLOCK_BYTES: u64 = 512;

/// Has the worker's engine carry out commands.
#[derive(Clone, Debug)]
pub struct WorkerAdministrator {
    mailbox: Mailbox,
    store: PathBuf,
}

impl WorkerAdministrator {
    /// For the worker behind `mailbox`, which serves the store in the directory `store`.
    pub fn new(mailbox: Mailbox, store: PathBuf) -> Self {
        Self { mailbox, store }
    }

    fn allocated_bytes(&self, volume: &VolumeReport) -> u64 {
        let file = self.store.join(format!("volumes/volume-{:08}", volume.id));
        // A volume that was deleted since the report was made has nothing allocated.
        file.metadata()
            .map_or(0, |metadata| metadata.blocks() * STAT_BLOCK_BYTES)
    }

    async fn fill_in(&self, volumes: &mut [VolumeReport]) -> Result<(), Refusal> {
        let stats = self.worker_stats().await?;
        let connections: BTreeMap<u32, u32> = stats
            .volumes
            .iter()
            .map(|volume| (volume.id.0, volume.connections))
            .collect();
        for volume in volumes {
            volume.connections = connections.get(&volume.id).copied().unwrap_or(0);
            if !volume.thin {
                volume.allocated_bytes = self.allocated_bytes(volume);
            }
        }
        Ok(())
    }
}

impl Administrator for WorkerAdministrator {
    async fn command(&self, command: Command) -> Result<Report, Refusal> {
        let mut report = self.mailbox.command(command).await.map_err(gone)??;
        if let Report::Volumes(volumes) = &mut report {
            // The command is done: that its report stays incomplete must not turn it into a refusal.
            if let Err(error) = self.fill_in(volumes).await {
                tracing::debug!(%error, "a report without connections");
            }
        }
        Ok(report)
    }
}

impl Counted for WorkerAdministrator {
    async fn worker_stats(&self) -> Result<WorkerStats, Refusal> {
        let snapshot = self.mailbox.snapshot().await.map_err(gone)?;
        Ok(snapshot.stats)
    }
}

fn gone(error: WorkerGone) -> Refusal {
    Refusal {
        kind: RefusalKind::Shutdown,
        message: error.to_string(),
        help: Some(
            "see the server's log; start it again and look with `list` what was done".to_owned(),
        ),
    }
}

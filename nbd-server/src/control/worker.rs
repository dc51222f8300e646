//! Commands for the worker; times those whose speed is promised.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use flashtrack_engine::admin::{Command, Refusal, RefusalKind, Report};

use super::{Administrator, Counted};
use crate::worker::{KindStats, Mailbox, WorkerGone, WorkerStats};

/// Has the worker's engine carry out commands.
#[derive(Clone, Debug)]
pub struct WorkerAdministrator {
    mailbox: Mailbox,
    establishes: Arc<Mutex<KindStats>>,
}

impl WorkerAdministrator {
    /// For the worker behind `mailbox`.
    pub fn new(mailbox: Mailbox) -> Self {
        Self { mailbox, establishes: Arc::default() }
    }
}

impl Administrator for WorkerAdministrator {
    async fn command(&self, command: Command) -> Result<Report, Refusal> {
        let establish = matches!(command, Command::CopyEstablish(_));
        let started = Instant::now();
        let result = self.mailbox.command(command).await.map_err(gone)?;
        if establish {
            let duration_us = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
            // Counters are right after every single step: a panic elsewhere does not spoil them.
            let mut establishes = self.establishes.lock().unwrap_or_else(PoisonError::into_inner);
            establishes.record(duration_us, result.is_ok().then_some(0));
        }
        result
    }
}

impl Counted for WorkerAdministrator {
    async fn worker_stats(&self) -> Result<WorkerStats, Refusal> {
        let snapshot = self.mailbox.snapshot().await.map_err(gone)?;
        Ok(snapshot.stats)
    }

    fn establishes(&self) -> KindStats {
        let establishes = self.establishes.lock().unwrap_or_else(PoisonError::into_inner);
        establishes.clone()
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

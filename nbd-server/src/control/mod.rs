//! The control API: administration over HTTP with JSON on a Unix socket.
//!
//! `docs/control_api.md` is its reference. Who may connect to the socket may do everything: its mode is
//! the access control. `wire` turns requests into commands and results into responses; `worker` has
//! the engine carry them out.

mod wire;
mod worker;

use std::future::Future;

use flashtrack_engine::admin::{Command, Refusal, Report};
use tokio::net::UnixListener;
use tokio::sync::watch;

pub use worker::WorkerAdministrator;

use crate::worker::{KindStats, WorkerStats};

/// Whoever carries out commands.
pub trait Administrator: Clone + Send + Sync + 'static {
    /// Carries out one command; an error says that nothing was changed.
    fn command(&self, command: Command) -> impl Future<Output = Result<Report, Refusal>> + Send;
}

/// An administrator that also tells what the worker counts.
pub trait Counted: Administrator {
    /// The worker's counters as they stand.
    fn worker_stats(&self) -> impl Future<Output = Result<WorkerStats, Refusal>> + Send;

    /// Establish commands, from command to answer; `bytes` stays 0.
    fn establishes(&self) -> KindStats;
}

/// Serves the control API until `stop` turns true; requests under way are answered.
pub async fn serve<A: Administrator>(
    listener: UnixListener,
    administrator: A,
    stop: watch::Receiver<bool>,
) {
    let handler = move |request| wire::respond(request, administrator.clone());
    crate::http::serve(listener, handler, stop).await;
}

/// Whether the store takes writes; for health checks.
pub(crate) async fn health<A: Administrator>(administrator: &A) -> Result<(), String> {
    match administrator.command(Command::StoreStatus {}).await {
        Ok(Report::Store(store)) => store.fail_stop.map_or(Ok(()), Err),
        Ok(_) => Ok(()),
        Err(refusal) => Err(refusal.message),
    }
}

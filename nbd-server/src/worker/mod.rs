//! One thread that owns a store: ring, engine and sessions, and the only loop.
//!
//! Everything that a client or an administrator wants of the store passes through `Mailbox` into
//! this thread. Starting it opens the store (recovery included) before `start` returns.

mod clock;
mod connection;
mod connections;
mod machine;
mod mailbox;
mod polling;
mod requests;
mod socket;
mod stats;
mod sync_times;
#[cfg(test)]
mod tests;
mod turn;

use std::path::Path;
use std::thread::JoinHandle;
use std::time::Duration;

use flashtrack_engine::io::local::{
    Access, IoMode, LocalRing, LocalStorage, OpenStoreError, Reflink, RingError,
};
use flashtrack_engine::policy::Policy;
use flashtrack_engine::units::Moment;
use flashtrack_engine::{Engine, OpenError, OpenOptions};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::rand::GetRandomFlags;
use tokio::sync::oneshot;

use clock::Clock;
use machine::Machine;
use turn::Worker;

pub use mailbox::{ConnectionReport, Mailbox, Snapshot, Socket, WorkerGone};
pub use stats::{KindStats, LATENCY_BOUNDS_US, RequestKind, SyncKind, VolumeStats, WorkerStats};

/// Limits and sizes of the worker.
#[derive(Clone, Debug)]
pub struct WorkerOptions {
    /// Size of the journal in bytes, when the store is made.
    pub journal_bytes: u64,
    /// How the store's files are read and written.
    pub io: IoMode,
    /// Whether the store's background copies share blocks.
    pub reflink: Reflink,
    /// Rules and limits that the store is served under.
    pub policy: Policy,
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
            io: IoMode::default(),
            reflink: Reflink::default(),
            policy: Policy::default(),
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
    /// The directory cannot be used.
    #[error(transparent)]
    Store(#[from] OpenStoreError),
    /// The system gives no random bytes for the identity of a new store.
    #[error("cannot get random bytes from the system: {0}")]
    Entropy(#[source] std::io::Error),
    /// The directory holds a store that cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// There is no ring to be had.
    #[error(transparent)]
    Ring(#[from] RingError),
    /// A broken invariant of our own; its message is in the log.
    #[error("the worker thread panicked while it opened the store")]
    Panicked,
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
    allow_many_files();
    let mut entropy = [0; 32];
    rustix::rand::getrandom(&mut entropy, GetRandomFlags::empty())
        .map_err(|error| StartError::Entropy(error.into()))?;
    let (journal_bytes, policy) = (options.journal_bytes, options.policy);
    launch(store, options, move |storage, now| {
        let open =
            OpenOptions { create: true, journal_bytes, policy, entropy, ..OpenOptions::default() };
        Ok(Engine::open(storage, &open, now)?)
    })
}

/// Every connection and every volume in use takes a file descriptor: take as many as are allowed.
fn allow_many_files() {
    let limit = getrlimit(Resource::Nofile);
    // Without it the server still works, only for fewer clients.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}

/// Starts a worker on the machine that `open` makes of the locked store, in the worker's thread.
fn launch<M: Machine>(
    store: &Path,
    options: WorkerOptions,
    open: impl FnOnce(&mut LocalStorage, Moment) -> Result<M, StartError> + Send + 'static,
) -> Result<WorkerHandle, StartError> {
    let store = store.to_owned();
    let (started, start) = std::sync::mpsc::channel::<Result<Mailbox, StartError>>();
    let (end, ended) = oneshot::channel();
    let thread = std::thread::Builder::new().name("worker".to_owned());
    let thread = thread.spawn(move || {
        // The ring serves only the thread that makes it, so everything is made here.
        let clock = Clock::new();
        let made: Result<_, StartError> = (|| {
            let mut storage = LocalStorage::open(&store, Access::ReadWrite)?;
            storage.set_mode(options.io)?;
            storage.set_reflink(options.reflink);
            let machine = open(&mut storage, clock.moment())?;
            let ring = LocalRing::new(storage)?;
            let (mailbox, messages) = Mailbox::new(ring.waker().map_err(StartError::Thread)?);
            Ok((mailbox, Worker::new(options, clock, ring, machine, messages)))
        })();
        match made {
            Err(error) => {
                // Nobody waits only when the starting thread has panicked.
                let _ = started.send(Err(error));
            }
            Ok((mailbox, worker)) => {
                let _ = started.send(Ok(mailbox));
                // Dropping the handle means not to ask how it ends.
                let _ = end.send(worker.run());
            }
        }
    });
    let thread = thread.map_err(StartError::Thread)?;
    let mailbox = start.recv().map_err(|_| StartError::Panicked)??;
    Ok(WorkerHandle { mailbox, thread, ended })
}

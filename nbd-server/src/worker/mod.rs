//! The threads that serve a store: each has a ring, sessions and a loop of its own, and all share the engine.
//!
//! Everything that a client or an administrator wants of the store passes through `Mailbox` into
//! one of these threads. `start` opens the store (recovery included) before it returns.

mod clock;
mod connection;
mod connections;
mod machine;
mod mailbox;
mod polling;
mod requests;
mod shared;
mod socket;
mod stats;
mod sync_times;
#[cfg(test)]
mod tests;
mod turn;

use std::fs::File;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
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
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use clock::Clock;
use machine::Machine;
use mailbox::Slot;
use shared::Shared;
use turn::Worker;

pub use mailbox::{ConnectionReport, Mailbox, Snapshot, Socket, WorkerGone};
pub use stats::{KindStats, LATENCY_BOUNDS_US, RequestKind, SyncKind, VolumeStats, WorkerStats};

/// Limits and sizes of the workers; limits are those of all workers together.
#[derive(Clone, Debug)]
pub struct WorkerOptions {
    /// How many there are.
    pub workers: NonZeroUsize,
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
    /// Connections whose handshake is not finished, each worker having its share; the oldest makes room for a new one, so
    /// that silent clients cannot keep others out.
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
            workers: NonZeroUsize::MIN,
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

/// Running workers.
#[derive(Debug)]
pub struct WorkerHandle {
    /// The way to them.
    pub mailbox: Mailbox,
    threads: Vec<JoinHandle<()>>,
    ends: UnboundedReceiver<Result<(), WorkerError>>,
}

impl WorkerHandle {
    /// Waits until all workers have ended after `Mailbox::shut_down`, or one by a failure: then the others may be waiting for
    /// it for ever, and the process is to end.
    ///
    /// # Errors
    /// What ended it, when that was not an orderly shutdown.
    pub async fn ended(mut self) -> Result<(), WorkerError> {
        for _ in &self.threads {
            self.ends.recv().await.unwrap_or(Err(WorkerError::Panicked))?;
        }
        for thread in self.threads {
            // The thread has nothing left to do but to return; a panic was told above.
            let _ = thread.join();
        }
        Ok(())
    }
}

/// Tells how a worker ended, also when it panics.
struct Ending {
    ends: UnboundedSender<Result<(), WorkerError>>,
    result: Option<Result<(), WorkerError>>,
}

impl Ending {
    fn tell(mut self, result: Result<(), WorkerError>) {
        self.result = Some(result);
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        let result = self.result.take().unwrap_or(Err(WorkerError::Panicked));
        // Dropping the handle means not to ask how it ends.
        let _ = self.ends.send(result);
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
    #[error("a worker thread panicked while it started")]
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
/// the workers on it. Blocks while the store is recovered.
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

/// Starts workers on the machine that `open` makes of the locked store.
fn launch<M: Machine + Send + 'static>(
    store: &Path,
    options: WorkerOptions,
    open: impl FnOnce(&mut LocalStorage, Moment) -> Result<M, StartError> + Send,
) -> Result<WorkerHandle, StartError> {
    let mut storage = LocalStorage::open(store, Access::ReadWrite)?;
    storage.set_mode(options.io)?;
    storage.set_reflink(options.reflink);
    let clock = Clock::new();
    // In a thread, so that a panic is told like any other failure.
    let opened = std::thread::scope(|scope| {
        let opening = scope.spawn(|| open(&mut storage, clock.moment()));
        opening.join().map_err(|_| StartError::Panicked)?
    });
    // A home that cannot be used is the better reason when its volume cannot be opened.
    storage.finish_opening()?;
    let machine = opened?;
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let shared = Arc::new(Shared::new(machine, processors));
    let (ends, ended) = unbounded_channel();
    let made: Result<Vec<Launched>, StartError> = (0..options.workers.get())
        .map(|_| {
            let ending = Ending { ends: ends.clone(), result: None };
            let served = (storage.share()?, Arc::clone(&shared));
            launch_one(served, options.clone(), clock, ending)
        })
        .collect();
    let (mut slots, mut threads) = (Vec::new(), Vec::new());
    // All have their rings, so each may begin. Where one has none, the others end without having begun.
    for Launched { slot, thread, begin } in made? {
        slots.push(slot);
        threads.push(thread);
        begin.send(()).map_err(|_| StartError::Panicked)?;
    }
    Ok(WorkerHandle { mailbox: Mailbox::new(slots), threads, ends: ended })
}

/// A worker that waits for its begin, or ends when `begin` is dropped.
struct Launched {
    slot: Slot,
    thread: JoinHandle<()>,
    begin: std::sync::mpsc::Sender<()>,
}

/// Starts one of them.
fn launch_one<M: Machine + Send + 'static>(
    (storage, shared): (LocalStorage, Arc<Shared<M>>),
    options: WorkerOptions,
    clock: Clock,
    ending: Ending,
) -> Result<Launched, StartError> {
    let (begin, begun) = std::sync::mpsc::channel();
    let (started, start) = std::sync::mpsc::channel::<Result<Slot, StartError>>();
    let thread = std::thread::Builder::new().name("worker".to_owned());
    let thread = thread.spawn(move || {
        // The ring serves only the thread that makes it, so it is made here.
        let made: Result<_, StartError> = (|| {
            let ring = LocalRing::new(storage)?;
            let waker = || ring.waker().map_err(StartError::Thread);
            let (slot, inbox) = Slot::new(waker()?);
            let id = shared.join(File::from(waker()?));
            Ok((slot, Worker::new(options, clock, ring, (id, shared), inbox)))
        })();
        match made {
            Err(error) => {
                // Nobody waits only when the starting thread has panicked.
                let _ = started.send(Err(error));
            }
            Ok((slot, worker)) => {
                let _ = started.send(Ok(slot));
                if begun.recv().is_ok() {
                    ending.tell(worker.run());
                }
            }
        }
    });
    let thread = thread.map_err(StartError::Thread)?;
    let slot = start.recv().map_err(|_| StartError::Panicked)??;
    Ok(Launched { slot, thread, begin })
}

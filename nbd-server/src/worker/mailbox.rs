//! The way into the workers: for each a queue of messages and an eventfd that wakes its ring.
//!
//! - M1 A message that was taken is answered, or its answer channel is closed: the sender never hangs.
//! - M2 The eventfd is written after the message is queued, and read before the queue is emptied, so
//!   that no message waits for the next one.
//! - M3 A connection goes to the worker that has the fewest. So does a command: where connections leave a worker free,
//!   nobody waits for the other.

use std::fs::File;
use std::io::Write;
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SendError, Sender, channel};

use flashtrack_engine::admin::{Command, Refusal, Report};
use tokio::sync::oneshot;

use super::stats::WorkerStats;

/// A connection that was accepted and that nobody has read from yet.
#[derive(Debug)]
pub enum Socket {
    /// From a TCP listener.
    Tcp(TcpStream),
    /// From a listener on a Unix socket.
    Unix(UnixStream),
}

/// What a worker tells about one connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionReport {
    /// Who is at the other end, as the listener told it.
    pub peer: String,
    /// Name of the volume; none until the handshake is finished.
    pub volume: Option<String>,
    /// Requests received and not yet answered.
    pub requests_in_flight: u32,
    /// Bytes received from it.
    pub received_bytes: u64,
    /// Bytes sent to it.
    pub sent_bytes: u64,
    /// How long it has been connected, in microseconds.
    pub age_us: u64,
}

/// The workers' state.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// All counters.
    pub stats: WorkerStats,
    /// All connections.
    pub connections: Vec<ConnectionReport>,
}

/// What is put into the mailbox.
#[derive(Debug)]
pub(super) enum Message {
    AddConnection { socket: Socket, peer: String },
    Command { command: Command, answer: oneshot::Sender<Result<Report, Refusal>> },
    Snapshot { answer: oneshot::Sender<Box<Snapshot>> },
    Shutdown,
}

/// A worker has ended: nothing put into its mailbox is taken any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the worker has ended; the server is shutting down or has failed")]
pub struct WorkerGone;

/// The end that one worker empties.
#[derive(Debug)]
pub(super) struct Inbox {
    pub(super) messages: Receiver<Message>,
    connections: Arc<AtomicUsize>,
}

impl Inbox {
    /// A connection that was put in here is closed.
    pub(super) fn connection_gone(&self) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The end that messages for one worker are put in.
#[derive(Debug)]
pub(super) struct Slot {
    queue: Sender<Message>,
    wake: File,
    /// Connections put in and not closed yet.
    connections: Arc<AtomicUsize>,
}

impl Slot {
    /// Both ends, for a worker that `wake`, an eventfd, wakes.
    pub(super) fn new(wake: OwnedFd) -> (Self, Inbox) {
        let (queue, messages) = channel();
        let connections = Arc::new(AtomicUsize::new(0));
        let inbox = Inbox { messages, connections: Arc::clone(&connections) };
        (Self { queue, wake: File::from(wake), connections }, inbox)
    }

    fn load(self: &&Self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// Gives the message back when the worker has ended.
    fn put(&self, message: Message) -> Result<(), Message> {
        self.queue.send(message).map_err(|SendError(message)| message)?;
        // M2. The counter of an eventfd is never full: each turn of the worker empties it.
        let _ = (&self.wake).write(&1_u64.to_ne_bytes());
        Ok(())
    }
}

/// Puts messages into the workers' mailboxes. Clones reach the same workers, from any thread.
#[derive(Clone, Debug)]
pub struct Mailbox {
    slots: Arc<[Slot]>,
}

impl Mailbox {
    /// Of at least one worker.
    pub(super) fn new(slots: Vec<Slot>) -> Self {
        Self { slots: slots.into() }
    }

    /// Hands a connection over. A worker sets its options, does the handshake and serves it; it
    /// closes it at once when a limit is reached. `peer` is for logs and reports.
    ///
    /// # Errors
    /// The worker has ended.
    pub fn add_connection(&self, socket: Socket, peer: String) -> Result<(), WorkerGone> {
        // Among equals the last, so that the first is left for commands.
        let slot = self.slots.iter().rev().min_by_key(Slot::load).expect("there is a worker");
        slot.connections.fetch_add(1, Ordering::Relaxed);
        slot.put(Message::AddConnection { socket, peer }).map_err(|_| WorkerGone)
    }

    /// Has the engine carry out `command` and waits for its answer.
    ///
    /// # Errors
    /// The worker has ended; whether the command was carried out is then not known.
    pub async fn command(&self, command: Command) -> Result<Result<Report, Refusal>, WorkerGone> {
        let (answer, answered) = oneshot::channel();
        let mut slots: Vec<&Slot> = self.slots.iter().collect();
        slots.sort_by_key(Slot::load);
        let mut message = Message::Command { command, answer };
        // In a shutdown, workers without connections end before others.
        for slot in slots {
            let Err(back) = slot.put(message) else {
                return answered.await.map_err(|_| WorkerGone);
            };
            message = back;
        }
        Err(WorkerGone)
    }

    /// The workers' counters and connections as they stand, each worker's at a moment of its own.
    ///
    /// # Errors
    /// A worker has ended.
    pub async fn snapshot(&self) -> Result<Snapshot, WorkerGone> {
        let mut asked = Vec::new();
        for slot in &*self.slots {
            let (answer, answered) = oneshot::channel();
            slot.put(Message::Snapshot { answer }).map_err(|_| WorkerGone)?;
            asked.push(answered);
        }
        let mut all = Snapshot { stats: WorkerStats::default(), connections: Vec::new() };
        for answered in asked {
            let one = answered.await.map_err(|_| WorkerGone)?;
            all.stats.add(&one.stats);
            all.connections.extend(one.connections);
        }
        Ok(all)
    }

    /// Begins the graceful end: no connection or request is taken any more, what is in flight is
    /// answered, everything is synced; then `WorkerHandle::ended` gives the result. Asking again
    /// changes nothing.
    pub fn shut_down(&self) {
        for slot in &*self.slots {
            // A worker that has ended is shut down already.
            let _ = slot.put(Message::Shutdown);
        }
    }
}

//! The way into the worker: a queue of messages and an eventfd that wakes its ring.
//!
//! - M1 A message that was taken is answered, or its answer channel is closed: the sender never hangs.
//! - M2 The eventfd is written after the message is queued, and read before the queue is emptied, so
//!   that no message waits for the next one.

use std::io::Write;
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

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

/// What the worker tells about one connection.
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

/// The worker's state at one moment.
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

/// The worker has ended: nothing put into its mailbox is taken any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the worker has ended; the server is shutting down or has failed")]
pub struct WorkerGone;

/// Puts messages into the worker's mailbox. Clones reach the same worker, from any thread.
#[derive(Clone, Debug)]
pub struct Mailbox {
    queue: Sender<Message>,
    wake: Arc<std::fs::File>,
}

impl Mailbox {
    /// A mailbox that wakes the worker through `wake`, an eventfd, and the end the worker empties.
    pub(super) fn new(wake: OwnedFd) -> (Self, Receiver<Message>) {
        let (queue, messages) = channel();
        (Self { queue, wake: Arc::new(std::fs::File::from(wake)) }, messages)
    }

    /// Hands a connection over. The worker sets its options, does the handshake and serves it; it
    /// closes it at once when a limit is reached. `peer` is for logs and reports.
    ///
    /// # Errors
    /// The worker has ended.
    pub fn add_connection(&self, socket: Socket, peer: String) -> Result<(), WorkerGone> {
        self.put(Message::AddConnection { socket, peer })
    }

    /// Has the engine carry out `command` and waits for its answer.
    ///
    /// # Errors
    /// The worker has ended; whether the command was carried out is then not known.
    pub async fn command(&self, command: Command) -> Result<Result<Report, Refusal>, WorkerGone> {
        let (answer, answered) = oneshot::channel();
        self.put(Message::Command { command, answer })?;
        answered.await.map_err(|_| WorkerGone)
    }

    /// The worker's counters and connections as they stand.
    ///
    /// # Errors
    /// The worker has ended.
    pub async fn snapshot(&self) -> Result<Snapshot, WorkerGone> {
        let (answer, answered) = oneshot::channel();
        self.put(Message::Snapshot { answer })?;
        answered.await.map(|snapshot| *snapshot).map_err(|_| WorkerGone)
    }

    /// Begins the graceful end: no connection or request is taken any more, what is in flight is
    /// answered, everything is synced; then `WorkerHandle::ended` gives the result. Asking again
    /// changes nothing.
    pub fn shut_down(&self) {
        // A worker that has ended is shut down already.
        let _ = self.put(Message::Shutdown);
    }

    fn put(&self, message: Message) -> Result<(), WorkerGone> {
        self.queue.send(message).map_err(|_| WorkerGone)?;
        // M2. The counter of an eventfd is never full: each turn of the worker empties it.
        let _ = (&*self.wake).write(&1_u64.to_ne_bytes());
        Ok(())
    }
}

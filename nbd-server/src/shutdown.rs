//! The end of the server, in order.
//!
//! 1. A signal (SIGTERM, SIGINT): nothing is accepted any more.
//! 2. The worker answers what is in flight, drains, syncs and ends. The control API still answers.
//! 3. The control API and the metrics finish what is under way; the sockets are removed.
//!
//! A second signal ends the process at once: for the store that is a crash, which it recovers from.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that end the server.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Catches them from now on.
    ///
    /// # Errors
    /// The system's.
    pub fn catch() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// The name of the next one that comes.
    pub async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

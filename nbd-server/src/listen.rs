//! Listeners of the NBD server: accepted connections go to the worker, unread.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;

use crate::worker::{Mailbox, Socket, WorkerGone};

/// Pause after a failed accept: what is missing (file descriptors, mostly) may come back.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Listens on `address`; gives the address really bound too, which differs for port 0.
///
/// # Errors
/// The system's.
pub async fn bind_tcp(address: SocketAddr) -> io::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(address).await?;
    let bound = listener.local_addr()?;
    if !bound.ip().is_loopback() {
        tracing::warn!(%bound, "anybody who reaches this address can use it: there is no authentication");
    }
    Ok((listener, bound))
}

/// A listener whose connections the worker can take over.
pub trait Listen {
    /// The next connection, and who is at its other end.
    fn accept_socket(&self) -> impl Future<Output = io::Result<(Socket, String)>> + Send;
}

impl Listen for TcpListener {
    async fn accept_socket(&self) -> io::Result<(Socket, String)> {
        let (stream, peer) = self.accept().await?;
        let stream = stream.into_std()?;
        // The ring waits by itself; a non-blocking socket would make it give up instead.
        stream.set_nonblocking(false)?;
        Ok((Socket::Tcp(stream), peer.to_string()))
    }
}

impl Listen for UnixListener {
    async fn accept_socket(&self) -> io::Result<(Socket, String)> {
        let (stream, _) = self.accept().await?;
        let peer = match stream.peer_cred() {
            Ok(peer) => format!("uid {} pid {}", peer.uid(), peer.pid().unwrap_or_default()),
            Err(_) => "unknown process".to_owned(),
        };
        let stream = stream.into_std()?;
        stream.set_nonblocking(false)?;
        Ok((Socket::Unix(stream), peer))
    }
}

/// Accepts until `stop` turns true or the worker has ended.
pub async fn accept<L: Listen>(listener: L, worker: Mailbox, mut stop: watch::Receiver<bool>) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept_socket() => accepted,
            _ = stop.wait_for(|stop| *stop) => return,
        };
        match accepted {
            Ok((socket, peer)) => {
                if let Err(WorkerGone) = worker.add_connection(socket, peer) {
                    return;
                }
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept an NBD connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

//! Options of an accepted socket.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::net::sockopt;

use super::mailbox::Socket;

/// Silence after which a TCP peer is asked whether it is still there.
const KEEPALIVE_IDLE: Duration = Duration::from_mins(1);
/// Time between questions.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// Questions without answer that end the connection.
const KEEPALIVE_COUNT: u32 = 6;
/// How long sent data may stay unacknowledged (`TCP_USER_TIMEOUT`): otherwise a peer that vanished in
/// the middle of a reply keeps its connection for a quarter of an hour.
const UNACKNOWLEDGED_TIME: Duration = Duration::from_mins(1);

/// Send buffer of a Unix socket in bytes, as far as `net.core.wmem_max` allows. The default holds one
/// reply of 128 KiB and a half; with room for a few, long reads were an eighth faster. TCP sizes its
/// buffers by itself.
const UNIX_SEND_BYTES: usize = 512 << 10;

/// Makes the socket fit for the ring, and finds out by itself when the peer is gone.
pub(super) fn prepare(socket: Socket) -> io::Result<OwnedFd> {
    let socket: OwnedFd = match socket {
        Socket::Unix(stream) => {
            sockopt::set_socket_send_buffer_size(&stream, UNIX_SEND_BYTES)?;
            stream.into()
        }
        Socket::Tcp(stream) => {
            // Without delay from the start: a reply held back costs the client up to 40 ms.
            stream.set_nodelay(true)?;
            sockopt::set_socket_keepalive(&stream, true)?;
            sockopt::set_tcp_keepidle(&stream, KEEPALIVE_IDLE)?;
            sockopt::set_tcp_keepintvl(&stream, KEEPALIVE_INTERVAL)?;
            sockopt::set_tcp_keepcnt(&stream, KEEPALIVE_COUNT)?;
            let millis = u32::try_from(UNACKNOWLEDGED_TIME.as_millis()).unwrap_or(u32::MAX);
            sockopt::set_tcp_user_timeout(&stream, millis)?;
            stream.into()
        }
    };
    // The ring waits by itself; on a non-blocking socket it would report "try again" instead.
    rustix::io::ioctl_fionbio(&socket, false)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn a_unix_connection_has_room_for_more_than_a_long_reply() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let before = sockopt::socket_send_buffer_size(&ours).unwrap();

        let socket = prepare(Socket::Unix(ours)).unwrap();

        let after = sockopt::socket_send_buffer_size(&socket).unwrap();
        assert!(after > before, "{after} bytes after {before}");
    }

    #[test]
    fn a_tcp_connection_sends_at_once_and_notices_a_vanished_peer() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let _client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        accepted.set_nonblocking(true).unwrap();

        let socket = prepare(Socket::Tcp(accepted)).unwrap();

        assert!(sockopt::tcp_nodelay(&socket).unwrap());
        assert!(sockopt::socket_keepalive(&socket).unwrap());
        assert_eq!(sockopt::tcp_keepidle(&socket).unwrap(), KEEPALIVE_IDLE);
        assert_eq!(sockopt::tcp_user_timeout(&socket).unwrap(), 60_000);
        let flags = rustix::fs::fcntl_getfl(&socket).unwrap();
        assert!(!flags.contains(rustix::fs::OFlags::NONBLOCK), "the ring waits by itself");
    }
}

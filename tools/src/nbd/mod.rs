//! A small NBD client: structured replies, `base:allocation`, several requests in flight. It blocks.
//!
//! The crate `nbd` knows neither structured replies nor block status, so it cannot leave holes out. `wire` is
//! bytes without state, `handshake` opens an export, `connection` sends requests and collects replies, `address`
//! says where the server is. Numbers and field reader are those of the server.

mod address;
mod connection;
mod handshake;
#[cfg(test)]
mod tests;
mod wire;

pub(crate) use address::{Address, Stream};
pub(crate) use connection::{Answer, Connection};
pub(crate) use wire::Extent;

/// What went wrong between client and NBD server.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NbdError {
    /// Nobody listens there, or it may not be used.
    #[error("cannot reach the NBD server at {address}")]
    Unreachable {
        /// Where.
        address: Address,
        /// What the system says.
        source: std::io::Error,
    },
    /// The connection broke, or nothing came for too long.
    #[error("the connection to the NBD server failed")]
    Connection(#[from] std::io::Error),
    /// The export does not exist, or the server refuses more connections.
    #[error("the NBD server refuses export {export}: {text} (reply {reply:#x})")]
    Export {
        /// Its name.
        export: String,
        /// Type of the error reply.
        reply: u32,
        /// What the server says.
        text: String,
    },
    /// Something that this client needs is not offered.
    #[error("the NBD server does not offer {0}")]
    Missing(&'static str),
    /// Bytes that the protocol does not allow.
    #[error("what the server sends is not the NBD protocol: {0}")]
    Protocol(String),
    /// A request was answered with an error.
    #[error(
        "the NBD server answers a request for {bytes} bytes at {offset} with error {code}: {text}"
    )]
    Request {
        /// First byte.
        offset: u64,
        /// Length.
        bytes: u64,
        /// Error value of the protocol, as `errno` of Linux.
        code: u32,
        /// What the server says.
        text: String,
    },
}

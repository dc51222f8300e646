//! The NBD protocol as bytes: what a client may send, and what it gets. No state, no sockets.
//!
//! Spoken: fixed newstyle with `NO_ZEROES`; the options `EXPORT_NAME`, `ABORT`, `LIST`, `INFO`, `GO`,
//! `STRUCTURED_REPLY`, `LIST_META_CONTEXT`, `SET_META_CONTEXT`; the commands `READ`, `WRITE`, `DISC`,
//! `FLUSH`, `TRIM`, `WRITE_ZEROES`, `BLOCK_STATUS`; simple and structured replies; the context
//! `base:allocation`. Answered with "unsupported": TLS, extended headers, everything unknown.
//!
//! What always holds
//! - P1 Nothing a client sends makes a decoder panic, read past the announced bytes, or allocate more
//!   than the bytes it was given.
//! - P2 An option is decoded from exactly its announced bytes, a request from its 28-byte header.
//! - P3 Strings sent are UTF-8 without NUL and at most 4,096 bytes long.

pub mod constants;
pub mod errno;
pub mod option;
pub mod reader;
pub mod reply;
pub mod request;
pub mod status;

use option::OptionError;

/// What a client did that leaves no way to answer it: the connection is closed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Violation {
    /// Flags that the server did not offer (document: the connection MUST be dropped).
    #[error("the client set the unknown handshake flags {0:#x}")]
    ClientFlags(u32),
    /// Not the beginning of an option.
    #[error("an option begins with {0:#018x} instead of IHAVEOPT")]
    OptionMagic(u64),
    /// More options than a session may send.
    #[error("the client sent more than {0} options")]
    TooManyOptions(u32),
    /// `EXPORT_NAME` cannot be refused in any other way.
    #[error("the client asked by EXPORT_NAME for what it cannot have: {0}")]
    ExportName(OptionError),
    /// Not the beginning of a request.
    #[error("a request begins with {0:#010x} instead of the magic number")]
    RequestMagic(u32),
}

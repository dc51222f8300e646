//! NBD server of Flashtrack.
//!
//! `protocol` is bytes, without state; `session` is one connection, without a socket.
pub mod protocol;
pub mod session;
pub mod worker;

//! NBD server of Flashtrack.
//!
//! `protocol` is bytes, without state; `session` is one connection, without a socket; `worker` owns the
//! store, in a thread of its own. Everything around it runs on the main thread: `config`, `log`,
//! `listen` (NBD), `control` (administration), `metrics`, `shutdown`.

pub mod config;
pub mod control;
mod http;
pub mod listen;
pub mod log;
pub mod metrics;
pub mod protocol;
pub mod session;
pub mod shutdown;
pub mod unix_socket;
pub mod worker;

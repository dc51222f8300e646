//! NBD server of Flashtrack.

pub mod protocol;
pub mod session;

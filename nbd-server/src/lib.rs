//! NBD server of Flashtrack.
pub mod worker;

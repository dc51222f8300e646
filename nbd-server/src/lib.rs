//! NBD server of Flashtrack.

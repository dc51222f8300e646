//! `flashtrackd`, the server.
fn main() {}

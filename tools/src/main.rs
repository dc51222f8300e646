//! `flashtrack`, the command line.
fn main() {}

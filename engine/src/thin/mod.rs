//! What thin targets are made of: pool slots, and what a source preserves in them.

pub mod chain;
#[cfg(test)]
mod tests;

//! What thin targets are made of: pool slots, and what a source preserves in them.

pub mod chain;
pub mod slots;
#[cfg(test)]
mod tests;

//! The verbs of Flashtrack's own command line, one file for each noun.
//!
//! Each verb turns its options into one `Command`, and the report into a table or JSON.

pub(crate) mod copy;
pub(crate) mod dataset;
pub(crate) mod dump;
pub(crate) mod pool;
pub(crate) mod store;
pub(crate) mod thaw;
pub(crate) mod volume;
mod wait;

//! Measurements of Flashtrack: side-by-side runs against peers, in one run on one machine.
//!
//! Times on a shared machine drift, so servers take turns within each round, medians over the rounds are
//! quoted, and only ratios within one run mean something. See `README.md` for how to run and read them.

pub mod fio;
pub mod servers;
pub mod table;

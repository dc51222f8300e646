//! Flashtrack's engine: block volumes and their point-in-time copies as a pure state machine.
//!
//! The engine takes requests, commands and completions, and gives replies, answers and operations.
//! It never opens a file, reads a clock, spawns a thread or awaits; the same code runs on io_uring
//! and in the simulator. Start reading at `request`, `io` and `admin`: what goes in and out.

pub mod admin;
pub mod admission;
mod engine;
pub mod geometry;
pub mod io;
pub mod journal;
pub mod limits;
pub mod lookup;
pub mod map;
pub mod pace;
pub mod policy;
pub mod pressure;
pub mod request;
#[cfg(feature = "sim")]
pub mod sim;
pub mod slab;
pub mod stage;
pub mod state;
pub mod stats;
pub mod store;
pub mod syncs;
pub mod thin;
pub mod tickets;
pub mod units;
mod versions;

pub use engine::{Engine, Examination, OpenError, OpenOptions, VolumeInfo, examine};

//! The simulated world that tests the engine: a disk, a naive model, a workload, and runs from a seed.
//!
//! `world::run(seed, config)` is one run. The same seed and the same code give the same trace, so a
//! failure is repeated by its seed alone:
//! `FLASHTRACK_SIM_BASE=<seed> FLASHTRACK_SIM_SEEDS=1 cargo test --release --all-features --test simulation`.
//!
//! Reading order: `disk` (what may be lost), `content` and `model` (what was promised), `plan` and `workload`
//! (what happens), `world` (one run) with `sending`, `replies`, `lending`, `expectation`, `answers`, `crash` and `checks`.
//! Nothing here uses a clock, a thread, a file or chance other than `prng`.

mod answers;
mod checks;
mod content;
mod crash;
pub mod cuts;
pub mod directory;
pub mod disk;
mod expectation;
pub mod faults;
mod lending;
pub mod model;
pub mod mutation;
mod pages;
mod parts;
pub mod pattern;
pub mod plan;
pub mod prng;
mod replies;
mod sending;
mod storage;
mod stored;
pub mod workload;
pub mod world;

pub use content::Value;

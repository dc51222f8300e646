//! Measurements of Flashtrack: side-by-side runs against peers, in one run on one machine.
//!
//! Times on a shared machine drift, so sides take turns within each round, medians over the rounds are
//! quoted, and only ratios within one run mean something. See `README.md` for how to run and read them.
//!
//! Reading order: `report` (what a run gives), `rounds` (how sides take turns), `fio` (one run of the client), `servers`
//! (what it runs against), then the runs themselves: `peers`,
//! `direct`, `copies`, `establish`, `recovery`.

pub mod bare_loop;
pub mod control;
pub mod copies;
pub mod direct;
pub mod error;
pub mod establish;
pub mod fio;
pub mod machine;
pub mod options;
pub mod peers;
pub mod plot;
pub mod process;
pub mod recovery;
pub mod report;
pub mod rounds;
pub mod servers;
pub mod statistics;
pub mod table;

//! `flashtrack tso`, `dss` and `ickdsf` as jobs and people meet them: decks, messages, condition codes, and what
//! the server is asked to do.
//!
//! `tso`, `dss`, `ickdsf` and `deck` look at what is asked of a server that only listens; `rows` has the rows of the
//! white paper's tables about commands, carried out by `flashtrackd`, with data.

#[path = "../common/control_api.rs"]
mod control_api;
mod deck;
mod dss;
mod fake;
#[path = "../common/flashtrackd.rs"]
mod flashtrackd;
mod ickdsf;
#[path = "../common/program.rs"]
mod program;
mod rows;
#[path = "../common/run.rs"]
mod run;
mod server;
mod tso;

//! `flashtrack tso`, `dss` and `ickdsf` as jobs and people meet them: decks, messages, condition codes, and what
//! the server is asked to do.
//!
//! `tso`, `dss`, `ickdsf` and `deck` look at what is asked of a server that only listens; `rows` has the rows of the
//! white paper's tables about commands, carried out by `flashtrackd`, with data.

mod deck;
mod dss;
mod fake;
mod ickdsf;
mod rows;
mod server;
mod tso;

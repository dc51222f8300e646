//! `flashtrack tso`, `dss` and `ickdsf` as jobs and people meet them: decks, messages, condition codes, and what
//! the server is asked to do.
//!
//! Names of tests that begin with an id are of the rows of the white paper's tables that commands alone can show.

mod deck;
mod dss;
mod fake;
mod ickdsf;
mod tso;

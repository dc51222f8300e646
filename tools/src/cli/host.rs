//! Options of `dss` and `ickdsf`.

use std::path::PathBuf;

use clap::{Args, ValueHint};

use super::dump::NbdServer;

/// A deck of statements.
#[derive(Args, Debug)]
pub(crate) struct HostDeck {
    /// The file; - for standard input.
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) server: NbdServer,
}

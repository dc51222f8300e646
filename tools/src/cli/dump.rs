//! Options of `dump` and `restore`.

use std::path::PathBuf;

use clap::{Args, ValueHint};

use crate::nbd::Address;

/// Where the volumes are served.
#[derive(Args, Debug)]
pub(crate) struct NbdServer {
    /// NBD address of the same server: HOST:PORT or unix:PATH.
    #[arg(long, env = "FLASHTRACK_NBD", default_value = "127.0.0.1:10809", value_name = "ADDRESS")]
    pub(crate) nbd: Address,
}

/// Options of `dump`.
#[derive(Args, Debug)]
pub(crate) struct Dump {
    /// Name of the volume.
    pub(crate) volume: String,
    /// File of the dump, which must not exist; - for standard output.
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) file: PathBuf,
    /// Only what may differ from this earlier dump. That was of a whole incremental copy of the same
    /// source, which has not been refreshed since.
    #[arg(long, value_name = "DUMP", value_hint = ValueHint::FilePath)]
    pub(crate) since: Option<PathBuf>,
    /// Go on with an interrupted dump in FILE, after verifying what is there.
    #[arg(long)]
    pub(crate) resume: bool,
    /// End the relationships onto the volume when the dump is durable.
    #[arg(long)]
    pub(crate) withdraw: bool,
    #[command(flatten)]
    pub(crate) server: NbdServer,
}

/// Options of `restore`.
#[derive(Args, Debug)]
pub(crate) struct Restore {
    /// The dump; - for standard input.
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) file: PathBuf,
    /// Name of the volume that is overwritten.
    pub(crate) volume: String,
    /// A dump that FILE adds to, the oldest first. May be given several times.
    #[arg(long = "base", value_name = "DUMP", value_hint = ValueHint::FilePath)]
    pub(crate) bases: Vec<PathBuf>,
    /// Overwrite the volume also while it has connected clients or relationships.
    #[arg(long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) server: NbdServer,
}

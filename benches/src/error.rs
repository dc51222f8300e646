//! Why a measurement gave nothing, each with what can be done about it.

use std::io;
use std::path::{Path, PathBuf};

/// Result of a measurement or of a part of one.
pub type Outcome<T = ()> = Result<T, BenchError>;

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// A program could not be started.
    #[error("cannot start `{program}`: {source}; `cargo xtask setup` installs what is missing")]
    Start {
        /// Which.
        program: String,
        /// What the system says.
        source: io::Error,
    },
    /// A program ended with a failure.
    #[error("`{command}` failed ({status}): {output}")]
    Failed {
        /// As a person would type it.
        command: String,
        /// How it ended.
        status: String,
        /// What it printed.
        output: String,
    },
    /// A server did not get ready.
    #[error("{server} did not get ready within {seconds} s: {}", said.trim())]
    NotReady {
        /// Which.
        server: String,
        /// How long was waited.
        seconds: u64,
        /// What it said.
        said: String,
    },
    /// Flashtrack refused a command.
    #[error("flashtrackd answers {status} to {command}: {answer}")]
    Refused {
        /// The command's JSON.
        command: String,
        /// HTTP status.
        status: String,
        /// The refusal.
        answer: String,
    },
    /// A file or socket could not be used.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// An answer was not of the documented form, or something does not fit together.
    #[error("{0}")]
    Unexpected(String),
}

impl BenchError {
    /// Adds the path to an I/O error.
    pub fn file(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { path, source }
    }
}

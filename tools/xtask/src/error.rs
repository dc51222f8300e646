//! What can go wrong in a task, each with what the developer can do about it.

use std::io;
use std::path::{Path, PathBuf};

/// Result of a task or of a part of one.
pub(crate) type Outcome<T = ()> = Result<T, TaskError>;

/// Why a task failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TaskError {
    /// A program could not be started.
    #[error("cannot start `{program}`: {source}")]
    Start { program: String, source: io::Error },
    /// A program ran and failed.
    #[error("`{command}` failed ({status}){}", indent(.output))]
    Failed { command: String, status: String, output: String },
    /// A file or folder could not be read, made or removed.
    #[error("{}: {source}", .path.display())]
    File { path: PathBuf, source: io::Error },
    /// Something did not happen in time.
    #[error("{what} took longer than {seconds} s{}", indent(.output))]
    Late { what: String, seconds: u64, output: String },
    /// Programs that are not installed and could not be.
    #[error("missing: {missing}. {help}")]
    Missing { missing: String, help: String },
    /// An answer was not of the documented form.
    #[error("{0}")]
    Unexpected(String),
    /// A check of what the task is there to show.
    #[error("check failed: {0}")]
    Check(String),
    /// Results that could not be computed or written.
    #[error(transparent)]
    Bench(#[from] flashtrack_benches::error::BenchError),
    /// Stopped by a signal.
    #[error("interrupted; everything that was started has been ended")]
    Interrupted,
    /// The failure was printed where it happened.
    #[error("failed, as said above")]
    Reported,
}

impl TaskError {
    /// Adds the path to an I/O error.
    pub(crate) fn file(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { path, source }
    }
}

/// What a program printed, set off from the sentence before it.
fn indent(output: &str) -> String {
    let text = output.trim_end();
    if text.is_empty() { String::new() } else { format!(":\n    {}", text.replace('\n', "\n    ")) }
}

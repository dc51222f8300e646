//! What went wrong: for a person (message, cause, help), for a program (JSON), for a script (exit code).

use std::fmt::Display;
use std::path::PathBuf;
use std::process::ExitCode;

use flashtrack_engine::admin::Refusal;
use flashtrack_engine::io::local::OpenStoreError;
use miette::{Diagnostic, LabeledSpan, SourceCode};
use serde::Serialize;

use crate::dump::DumpError;
use crate::host::MalformedText;
use crate::import::ImportError;

/// Why a command did not succeed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The server refused; nothing was changed.
    #[error("{0}")]
    Refused(Refusal),
    /// No server listens on the control socket, or it may not be used.
    #[error("cannot reach the server at its control socket {}", path.display())]
    Unreachable {
        /// The socket.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The connection ended in mid-command: what became of it is not known.
    #[error("the server closed the connection before it answered")]
    Interrupted(#[source] hyper::Error),
    /// The answer is not one of the control API.
    #[error("what answers at {} does not speak the control API: HTTP status {status}", path.display())]
    Answer {
        /// The socket.
        path: PathBuf,
        /// Status of the answer.
        status: u16,
    },
    /// A copy that was waited for ended otherwise than complete.
    #[error("relationship {id} ({copy_source} to {copy_target}) {how}")]
    NotCompleted {
        /// The relationship.
        id: u32,
        /// Its source volume.
        copy_source: String,
        /// Its target volume.
        copy_target: String,
        /// What became of it.
        how: &'static str,
        /// What to do.
        advice: &'static str,
    },
    /// Nothing to wait for.
    #[error("no relationship onto volume {0} lives or has ended of late")]
    NothingToWaitFor(String),
    /// The time given is over.
    #[error("timed out after {}: {tracks_left} tracks are left to copy", humantime::format_duration(*.after))]
    TimedOut {
        /// The time given.
        after: std::time::Duration,
        /// What is left of all relationships waited for.
        tracks_left: u64,
    },
    /// A volume was not frozen any more when its control unit was thawed.
    #[error("volume {volume} was not frozen any more when control unit {cu:02X} was thawed")]
    NotFrozen {
        /// The control unit.
        cu: u8,
        /// The volume to be verified.
        volume: String,
    },
    /// The store is in use, or its directory cannot be read.
    #[error("{0}")]
    StoreUnavailable(OpenStoreError),
    /// There is nothing to look at.
    #[error("store {} cannot be opened", path.display())]
    StoreUnreadable {
        /// The store.
        path: PathBuf,
        /// Why not, and where.
        source: flashtrack_engine::OpenError,
    },
    /// An opening would be refused.
    #[error("store {} is damaged: {reason}", path.display())]
    StoreDamaged {
        /// The store.
        path: PathBuf,
        /// What is wrong, and where.
        reason: String,
    },
    /// A dump or a restore failed.
    #[error(transparent)]
    Dump(#[from] DumpError),
    /// A text of host commands makes no sense.
    #[error("{0}")]
    Malformed(Box<MalformedText>),
    /// A host command was refused or failed; it has been told why.
    #[error("the highest condition code is {code}")]
    HostCommand {
        /// 8 or 12.
        code: u8,
    },
    /// A text of host commands cannot be read.
    #[error("cannot read {what}")]
    Unreadable {
        /// The file.
        what: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// The tracks of a file cannot be told.
    #[error(transparent)]
    Import(#[from] ImportError),
    /// The command line makes no sense.
    #[error("{0}")]
    Usage(String),
    /// The result cannot be written.
    #[error("cannot write {what}")]
    Output {
        /// Which result.
        what: String,
        /// What the system says.
        source: std::io::Error,
    },
}

impl Failure {
    fn kind(&self) -> String {
        let word = match self {
            Self::Refused(refusal) => {
                return serde_json::to_value(refusal.kind)
                    .ok()
                    .and_then(|kind| kind.as_str().map(str::to_owned))
                    .unwrap_or_default();
            }
            Self::Unreachable { .. } => "unreachable",
            Self::Interrupted(_) => "interrupted",
            Self::Answer { .. } => "protocol",
            Self::NotCompleted { .. } => "not_completed",
            Self::NothingToWaitFor(_) => "not_found",
            Self::TimedOut { .. } => "timed_out",
            Self::NotFrozen { .. } => "not_frozen",
            Self::Dump(error) => error.kind(),
            Self::Import(error) => error.kind(),
            Self::StoreUnavailable(OpenStoreError::InUse { .. }) => "busy",
            Self::StoreUnavailable(_) | Self::StoreUnreadable { .. } | Self::Unreadable { .. } => {
                "unreadable"
            }
            Self::StoreDamaged { .. } => "damaged",
            Self::Malformed(_) => "malformed",
            Self::HostCommand { .. } => "host_command",
            Self::Usage(_) => "usage",
            Self::Output { .. } => "output",
        };
        word.to_owned()
    }

    fn advice(&self) -> Option<String> {
        let text = match self {
            Self::Refused(refusal) => return refusal.help.clone(),
            Self::Unreachable { source, .. }
                if source.kind() == std::io::ErrorKind::PermissionDenied =>
            {
                "run as the user of the server, or give the socket a wider mode (flashtrackd --control-mode)"
            }
            Self::Unreachable { .. } => {
                "start flashtrackd, or name its control socket with --control PATH or FLASHTRACK_CONTROL; the server \
                 prints the path when it starts (control.sock in its store unless told otherwise)"
            }
            Self::Interrupted(_) => {
                "see the server's log; look with `list` whether the command was carried out before giving it again"
            }
            Self::Answer { .. } => {
                "use a flashtrack of the server's version (flashtrackd --version)"
            }
            Self::NotCompleted { advice, .. } => advice,
            Self::NothingToWaitFor(_) => "see `flashtrack copy list`",
            Self::TimedOut { .. } => "the copy goes on; wait again, or see `flashtrack copy list`",
            Self::NotFrozen { .. } => {
                "the copies of the group do not show one moment: withdraw them and establish them again, in less time \
                 than the freeze timer gives, or all of them in one `flashtrack copy establish ... --pair ...`"
            }
            Self::Dump(error) => return error.advice().map(str::to_owned),
            Self::Malformed(error) => return Some(error.advice()),
            Self::HostCommand { .. } => {
                "the messages of the statements on standard output say what was refused, and why"
            }
            Self::Import(error) => error.advice(),
            Self::Usage(_) => "see `flashtrack --help`",
            // Their messages say what to do.
            Self::StoreUnavailable(_)
            | Self::StoreUnreadable { .. }
            | Self::StoreDamaged { .. }
            | Self::Unreadable { .. }
            | Self::Output { .. } => return None,
        };
        Some(text.to_owned())
    }

    /// 1 refused or failed, 2 bad usage, 3 timed out.
    pub(crate) fn exit_code(&self) -> ExitCode {
        match self {
            Self::Usage(_) | Self::Malformed(_) => ExitCode::from(2),
            Self::TimedOut { .. } => ExitCode::from(3),
            _ => ExitCode::from(1),
        }
    }

    /// Tells the failure on standard error: for a person, or in the JSON form of a refusal.
    pub(crate) fn tell(self, json: bool) {
        if json {
            let error = ErrorJson {
                kind: self.kind(),
                message: std::iter::successors(Some(&self as &dyn std::error::Error), |error| {
                    error.source()
                })
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(": "),
                help: self.advice(),
            };
            let text = serde_json::to_string(&error).expect("three strings are valid JSON");
            eprintln!("{text}");
        } else {
            // Unwrapped, so that a script can look for a message as it is. A second setting of the hook would fail
            // and change nothing.
            let _ = miette::set_hook(Box::new(|_| {
                Box::new(miette::MietteHandlerOpts::new().wrap_lines(false).build())
            }));
            eprintln!("{:?}", miette::Report::new(self));
        }
    }
}

impl Diagnostic for Failure {
    fn help<'a>(&'a self) -> Option<Box<dyn Display + 'a>> {
        self.advice().map(|advice| Box::new(advice) as Box<dyn Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        match self {
            Self::Malformed(error) => Some(error.source_code()),
            _ => None,
        }
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        match self {
            Self::Malformed(error) => Some(Box::new(std::iter::once(error.label()))),
            _ => None,
        }
    }
}

/// The JSON form: that of the control API's refusals, with a few more kinds.
#[derive(Serialize)]
struct ErrorJson {
    kind: String,
    message: String,
    help: Option<String>,
}

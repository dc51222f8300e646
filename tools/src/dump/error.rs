//! Why a dump or a restore did not succeed.

use std::path::{Path, PathBuf};

use super::reader::Damage;
use crate::nbd::NbdError;

/// Why a dump or a restore did not succeed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DumpError {
    /// The volume cannot be read or written.
    #[error(transparent)]
    Nbd(#[from] NbdError),
    /// A file cannot be used.
    #[error("cannot {action} {}", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A dump would overwrite a file.
    #[error("{} exists already", .0.display())]
    Exists(PathBuf),
    /// Nothing is left to resume.
    #[error("the dump in {} is complete", .0.display())]
    Complete(PathBuf),
    /// A file is no dump, or was changed.
    #[error("{} is no whole dump", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        damage: Damage,
    },
    /// The interrupted dump is of something else.
    #[error("the dump in {} cannot be resumed: {why}", path.display())]
    NotResumable {
        /// The file.
        path: PathBuf,
        /// Why not.
        why: String,
    },
    /// No dump can add to that one.
    #[error("changes since the dump in {} are not known: {why}", path.display())]
    NotSince {
        /// The earlier dump.
        path: PathBuf,
        /// Why not.
        why: String,
    },
    /// What was read is not one image.
    #[error("the image of volume {volume} is lost: {why}")]
    ImageLost {
        /// The volume.
        volume: String,
        /// What became of its relationship.
        why: String,
    },
    /// Dumps do not follow each other.
    #[error("{} cannot be restored: {why}", path.display())]
    Chain {
        /// The dump that does not fit.
        path: PathBuf,
        /// Why not.
        why: String,
    },
    /// The volume does not hold the dump.
    #[error("volume {volume} has {size_bytes} bytes, the dump needs {needed_bytes}")]
    TooSmall {
        /// The volume.
        volume: String,
        /// Its size.
        size_bytes: u64,
        /// That of the dumped volume.
        needed_bytes: u64,
    },
    /// A restore would write to a volume that is in use.
    #[error("volume {volume} is in use: {connections} connections, {relationships} relationships")]
    InUse {
        /// The volume.
        volume: String,
        /// Connected clients.
        connections: u32,
        /// Relationships in both roles.
        relationships: u32,
    },
    /// The NBD server is not the one that was asked on the control socket.
    #[error("volume {volume} has {size_bytes} bytes, but its NBD export {export_bytes}")]
    OtherServer {
        /// The volume.
        volume: String,
        /// As the control API says.
        size_bytes: u64,
        /// As the export says.
        export_bytes: u64,
    },
    /// A restore was cut short.
    #[error("volume {volume} is restored only in part")]
    Partly {
        /// The volume.
        volume: String,
        /// Why.
        source: Box<DumpError>,
    },
    /// A broken invariant of our own.
    #[error("a thread of the dump panicked")]
    Panicked,
}

impl DumpError {
    /// A stable word for programs.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Nbd(NbdError::Unreachable { .. }) => "unreachable",
            Self::Nbd(_) => "nbd",
            Self::File { .. } => "file",
            Self::Exists(_) => "exists",
            Self::Complete(_) => "complete",
            Self::Damaged { .. } => "damaged",
            Self::NotResumable { .. } => "not_resumable",
            Self::NotSince { .. } => "changes_unknown",
            Self::ImageLost { .. } => "image_lost",
            Self::Chain { .. } => "wrong_base",
            Self::TooSmall { .. } => "size",
            Self::InUse { .. } => "busy",
            Self::OtherServer { .. } => "other_server",
            Self::Partly { .. } => "partly",
            Self::Panicked => "internal",
        }
    }

    /// What to do.
    pub(crate) fn advice(&self) -> Option<&'static str> {
        Some(match self {
            Self::Nbd(NbdError::Unreachable { .. }) | Self::OtherServer { .. } => {
                "name the NBD address of the same server with --nbd HOST:PORT or --nbd unix:PATH; the server prints it \
                 when it starts"
            }
            Self::Nbd(_) => {
                "see the server's log; an interrupted dump into a file goes on with --resume"
            }
            Self::Exists(_) => "name another file; or let an interrupted dump go on with --resume",
            Self::Complete(_) => {
                "nothing is left to do; `flashtrack restore` verifies it before it writes"
            }
            Self::Damaged { damage: Damage::EndsEarly { .. }, .. } => {
                "finish it with `flashtrack dump VOLUME FILE --resume`, or take another dump; nothing was written"
            }
            Self::Damaged { .. } => "take another dump; nothing was written",
            Self::NotResumable { .. } | Self::ImageLost { .. } => "remove the file and dump anew",
            Self::NotSince { .. } => {
                "make a dump without --since; dumps add to one of an incremental copy's target, as long as that copy \
                 is not refreshed"
            }
            Self::Chain { .. } => "name the dumps that it adds to, the oldest first, with --base",
            Self::TooSmall { .. } => "make a volume of that size, or name another one",
            Self::InUse { .. } => {
                "disconnect its clients and withdraw its relationships, or overwrite it nevertheless with --force"
            }
            Self::Partly { .. } => {
                "mend the cause and restore again: what the volume held before is gone"
            }
            Self::File { .. } | Self::Panicked => return None,
        })
    }

    /// For `map_err`: what failed to be done with which file.
    pub(super) fn file(
        action: &'static str,
        path: &Path,
    ) -> impl Fn(std::io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::File { action, path: path.clone(), source }
    }
}

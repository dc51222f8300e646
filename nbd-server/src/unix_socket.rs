//! Unix sockets of the server: made with the right mode from the first moment, removed at the end.
//!
//! - U1 A path is taken over only from a socket on which nobody answers. Any other file there is kept and
//!   the server does not start.
//! - U2 A socket is never open wider than its mode: `restrict_new_files` has set the process's mask.
//! - U3 At the end only our own socket is removed, not one that another server has put there since.

use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::fs::Mode;

/// Why a socket cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// Another server listens there.
    #[error("a server answers on {} already; stop it, or choose another path", .0.display())]
    InUse(PathBuf),
    /// Something else has that name.
    #[error("{} exists and is no socket; choose another path, or remove it", .0.display())]
    NoSocket(PathBuf),
    /// The system refused.
    #[error("cannot make the socket {} (its directory must exist, its path be shorter than 108 bytes)", path.display())]
    System {
        /// The socket.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

/// A listening socket and its name.
#[derive(Debug)]
pub struct BoundSocket {
    /// Non-blocking, for tokio.
    pub listener: UnixListener,
    /// Removes the name when dropped.
    pub name: SocketName,
}

/// The name of a socket in the file system; dropping it removes it (U3).
#[derive(Debug)]
pub struct SocketName {
    path: PathBuf,
    device_and_inode: (u64, u64),
}

/// Makes files and sockets private to this user until told otherwise (U2). Call it before any thread runs.
pub fn restrict_new_files() {
    rustix::process::umask(Mode::RWXG | Mode::RWXO);
}

/// Listens on `path`, with `mode` as its permissions.
///
/// # Errors
/// The path is in use or cannot be made.
pub fn bind(path: &Path, mode: u32) -> Result<BoundSocket, BindError> {
    let failed = |source| BindError::System { path: path.to_owned(), source };
    remove_stale(path)?;
    let listener = UnixListener::bind(path).map_err(failed)?;
    let metadata = std::fs::symlink_metadata(path).map_err(failed)?;
    let name =
        SocketName { path: path.to_owned(), device_and_inode: (metadata.dev(), metadata.ino()) };
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    Ok(BoundSocket { listener, name })
}

fn remove_stale(path: &Path) -> Result<(), BindError> {
    let failed = |source| BindError::System { path: path.to_owned(), source };
    let metadata = match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        metadata => metadata.map_err(failed)?,
    };
    if !metadata.file_type().is_socket() {
        return Err(BindError::NoSocket(path.to_owned()));
    }
    match UnixStream::connect(path) {
        // Only this says that nobody listens; with a full backlog or without permission somebody may.
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path).map_err(failed)
        }
        _ => Err(BindError::InUse(path.to_owned())),
    }
}

impl Drop for SocketName {
    fn drop(&mut self) {
        let ours = std::fs::symlink_metadata(&self.path)
            .is_ok_and(|now| (now.dev(), now.ino()) == self.device_and_inode);
        if ours {
            // A name that stays is found stale at the next start.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory() -> tempfile::TempDir {
        tempfile::tempdir().expect("a temporary directory")
    }

    #[test]
    fn a_socket_has_its_mode_and_goes_with_its_guard() {
        let directory = directory();
        let path = directory.path().join("s");

        let socket = bind(&path, 0o640).expect("a socket");

        let mode = path.metadata().expect("it exists").permissions().mode();
        assert_eq!(mode & 0o777, 0o640);
        drop(socket);
        assert!(!path.exists());
    }

    #[test]
    fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
        let directory = directory();
        let path = directory.path().join("s");
        drop(UnixListener::bind(&path).expect("a socket that nobody answers on"));

        let live = bind(&path, 0o600).expect("the stale one is replaced");

        assert!(matches!(bind(&path, 0o600), Err(BindError::InUse(_))));
        drop(live);
    }

    #[test]
    fn a_file_that_is_no_socket_is_kept() {
        let directory = directory();
        let path = directory.path().join("precious");
        std::fs::write(&path, "data").expect("a file");

        assert!(matches!(bind(&path, 0o600), Err(BindError::NoSocket(_))));
        assert_eq!(std::fs::read(&path).expect("it is still there"), b"data");
    }

    #[test]
    fn a_name_that_was_taken_over_is_left_alone() {
        let directory = directory();
        let path = directory.path().join("s");
        let first = bind(&path, 0o600).expect("a socket");
        std::fs::remove_file(&path).expect("somebody removes it");
        let second = bind(&path, 0o600).expect("another server's socket");

        drop(first);

        assert!(path.exists());
        drop(second);
    }
}

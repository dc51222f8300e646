//! Copies made by the file system alone: both files share the blocks until one of them changes (XFS, btrfs).
//!
//! - K1 A file system that cannot do this is asked once by each ring, not for every copy.
//! - K2 What could not be shared is read and written, whatever the reason was.

#![expect(unsafe_code, reason = "cloning a range of a file has no safe wrapper")]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::str::FromStr;

/// Whether copies share blocks where the file system can.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reflink {
    /// They do.
    #[default]
    Auto,
    /// Each copy is written, so that what rots on the disk is not in both.
    Never,
}

/// A word that does not say when blocks are shared.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` does not say whether copies share blocks; known are auto and never")]
pub struct UnknownReflink(String);

impl FromStr for Reflink {
    type Err = UnknownReflink;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        match word {
            "auto" => Ok(Self::Auto),
            "never" => Ok(Self::Never),
            _ => Err(UnknownReflink(word.to_owned())),
        }
    }
}

/// Has `bytes` bytes of `to` from `offset` on share the blocks of `from` from `from_offset` on. The kernel writes dirty
/// pages of the source back first.
///
/// # Errors
/// The file system does not do this, or not for this range, or has no space.
pub(super) fn clone_range(
    from: &File,
    from_offset: u64,
    to: &File,
    offset: u64,
    bytes: u64,
) -> io::Result<()> {
    let range = libc::file_clone_range {
        src_fd: i64::from(from.as_raw_fd()),
        src_offset: from_offset,
        src_length: bytes,
        dest_offset: offset,
    };
    // SAFETY: the descriptors are those of open files that live longer than the call, which reads `range` and keeps
    // no pointer to it.
    match unsafe { libc::ioctl(to.as_raw_fd(), libc::FICLONERANGE, &raw const range) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// True for errors that say that no copy will be shared on this file system (K1).
pub(super) fn is_unsupported(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EOPNOTSUPP | libc::ENOTTY | libc::ENOSYS | libc::EXDEV | libc::EPERM)
    )
}

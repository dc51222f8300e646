//! A store in a directory of local files, behind the engine's operations.
//!
//! `LocalStorage` is the directory: names, lock, and plain blocking calls for opening a store.
//! `LocalRing` takes it over and performs operations, and the worker's sockets, on one `io_uring`.

mod clone;
mod directory;
mod drop_behind;
mod events;
mod file_work;
mod forgetting;
mod helper;
mod holes;
mod in_flight;
mod in_place;
mod lending;
mod open_files;
mod read_ahead;
mod ring;
mod sending;
mod set_up;
mod storage;
#[cfg(test)]
mod tests;
mod write_gates;

pub use clone::{Reflink, UnknownReflink};
pub use directory::{Access, OpenStoreError};
pub use events::{Event, Wait};
pub use open_files::{IoMode, UnknownIoMode};
pub use ring::LocalRing;
pub use set_up::RingError;
pub use storage::LocalStorage;

use super::IoFailure;

/// What the engine learns of a system error.
fn failure(error: &std::io::Error) -> IoFailure {
    IoFailure::from_errno(error.raw_os_error().unwrap_or(libc::EIO))
}

impl IoFailure {
    /// The failure that the system's error number `errno` stands for. A quota and the largest file
    /// size are limits of space like a full file system.
    fn from_errno(errno: i32) -> Self {
        match errno {
            libc::ENOSPC | libc::EDQUOT | libc::EFBIG => Self::NoSpace,
            other => Self::Io(other),
        }
    }
}

//! Sending what the page cache holds without copying it.
//!
//! The system puts references to pages of the cache into the socket, so of the three copies of a read (cache to buffer, buffer
//! to socket, socket to client) only the last is left: the client's. With fio over a Unix socket, beside a read and a
//! send: 128 KiB 1.4 to 1.7 times at depth 1 and 1.0 to 1.3 times at depth 16, where the client has no time left; 32 KiB 1.2
//! to 1.4 and 0.95 to 1.0 times. Several shorter replies in one send are cheaper than a call for each.
//!
//! - G1 What is not in the cache, and readable there without waiting, is neither lent nor sent from there: that is looked at just
//!   before each call, so that the call does not wait for the device, or for who has locked the file. Only what happens
//!   between the two it may meet.
//! - G2 It does not wait for the client: the socket takes what it has room for.
//!
//! In direct mode nothing is lent. The system call that tells what is cached came with Linux 6.5; before, or where it is
//! forbidden, nothing is lent either.

#![expect(unsafe_code, reason = "no library has the system call")]

use std::fs::File;
use std::io::{self, IoSliceMut};
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::fs::sendfile;
use rustix::io::{Errno, ReadWriteFlags, ioctl_fionbio, preadv2};

use super::open_files::OpenFiles;
use crate::units::ByteRange;

/// Number of the system call `cachestat`, the same on every architecture.
const CACHESTAT: libc::c_long = 451;
/// Of the page size: as small as it gets.
const PAGE_BYTES: u64 = 4096;

/// Distance of the bytes that are looked at: as much as the kernel reads ahead at once, unless it is told otherwise.
const PROBE_BYTES: usize = 128 << 10;

/// Argument of `cachestat`.
#[repr(C)]
struct CachedRange {
    start: u64,
    bytes: u64,
}

/// What `cachestat` tells, in pages.
#[repr(C)]
#[derive(Default)]
struct CachedPages {
    cached: u64,
    dirty: u64,
    in_writeback: u64,
    evicted: u64,
    evicted_recently: u64,
}

/// True when the page cache has all these bytes of an object for who sends them from there.
pub(super) fn may_lend(files: &OpenFiles, range: ByteRange) -> bool {
    let pages = range.end.div_ceil(PAGE_BYTES) - range.start / PAGE_BYTES;
    files.direct.is_none()
        && !range.is_empty()
        && cached_pages(&files.cached, range) == Some(pages)
        && is_readable(&files.cached, range)
}

/// False when pages of these bytes are in the cache, but what belongs there is still on its way from the device. Those that
/// lie together are read together, so some of them tell.
fn is_readable(file: &File, range: ByteRange) -> bool {
    let probes = (range.start..range.end).step_by(PROBE_BYTES).chain([range.end - 1]);
    probes.into_iter().all(|at| {
        let mut byte = [0];
        let read = preadv2(file, &mut [IoSliceMut::new(&mut byte)], at, ReadWriteFlags::NOWAIT);
        read == Ok(1)
    })
}

/// Number of pages of these bytes that the page cache holds; `None` where the system does not tell.
fn cached_pages(file: &File, range: ByteRange) -> Option<u64> {
    let of = CachedRange { start: range.start, bytes: range.bytes() };
    let mut pages = CachedPages::default();
    // SAFETY: both structures are laid out as the kernel's, live until the call returns, and nobody else has them.
    let result =
        unsafe { libc::syscall(CACHESTAT, file.as_raw_fd(), &raw const of, &raw mut pages, 0) };
    (result == 0).then_some(pages.cached)
}

/// Sends what the socket takes now of these bytes of the file; tells how many those are, 0 when it takes none. `None` when
/// they cannot be sent in this way: another will tell why, if that is not only this one's.
///
/// # Errors
/// Whether the socket waits cannot be set: it is of no use any more.
pub(super) fn send(socket: &OwnedFd, file: &File, range: ByteRange) -> io::Result<Option<usize>> {
    let bytes = usize::try_from(range.bytes()).unwrap_or(usize::MAX);
    let mut offset = range.start;
    // The call has no flag for it; and a socket that never waits is no use to the ring, which then does not either.
    ioctl_fionbio(socket, true)?;
    // A client that has gone gives an error: the programs of this project ignore the signal for it, as Rust's do by default.
    let sent = sendfile(socket, file, Some(&mut offset), bytes);
    ioctl_fionbio(socket, false)?;
    Ok(match sent {
        // The file is shorter than it was.
        Ok(0) => None,
        Ok(sent) => Some(sent),
        Err(Errno::AGAIN | Errno::INTR) => Some(0),
        Err(_) => None,
    })
}

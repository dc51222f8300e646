//! Where the data of a file lies on its file system's device: FIEMAP, an ioctl of Linux (`linux/fiemap.h`).

#![expect(unsafe_code, reason = "FIEMAP is an ioctl, and no library has it")]

use std::os::fd::AsFd;

use rustix::ioctl::{Opcode, Updater, ioctl, opcode};

/// Extents of one call.
const EXTENTS_PER_CALL: usize = 128;
/// Write dirty pages back first, so that nothing waits for its allocation.
const FLAG_SYNC: u32 = 1;
/// `FS_IOC_FIEMAP`, whose number counts the request without its extents.
const FIEMAP: Opcode = opcode::read_write::<Request>(b'f', 11);

/// An extent as the kernel tells it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Extent {
    /// First byte within the file.
    pub(super) logical: u64,
    /// First byte on the device of the file system.
    pub(super) physical: u64,
    /// Length in bytes.
    pub(super) bytes: u64,
    reserved: [u64; 2],
    /// See `flags`.
    pub(super) flags: u32,
    reserved_too: [u32; 3],
}

impl Extent {
    /// For tests.
    #[cfg(test)]
    pub(super) fn new(physical: u64, bytes: u64, flags: u32) -> Self {
        Self { physical, bytes, flags, ..Self::default() }
    }
}

/// Flags of an extent.
pub(super) mod flags {
    /// The file has no extent behind it.
    pub(crate) const LAST: u32 = 0x1;
    /// Where it lies is not known.
    pub(crate) const UNKNOWN: u32 = 0x2;
    /// It has no place yet.
    pub(crate) const DELALLOC: u32 = 0x4;
    /// Compressed, or encoded in another way.
    pub(crate) const ENCODED: u32 = 0x8;
    /// Encrypted by the file system.
    pub(crate) const DATA_ENCRYPTED: u32 = 0x80;
    /// Not in whole blocks.
    pub(crate) const NOT_ALIGNED: u32 = 0x100;
    /// Among metadata.
    pub(crate) const DATA_INLINE: u32 = 0x200;
    /// In a block with the tails of other files.
    pub(crate) const DATA_TAIL: u32 = 0x400;
    /// Allocated, but reads as zeroes.
    pub(crate) const UNWRITTEN: u32 = 0x800;
}

#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct Request {
    start: u64,
    bytes: u64,
    flags: u32,
    mapped: u32,
    room: u32,
    reserved: u32,
}

#[repr(C)]
struct Call {
    request: Request,
    extents: [Extent; EXTENTS_PER_CALL],
}

/// All extents of a file, in its order, after its dirty pages were written back.
pub(super) fn extents(file: impl AsFd) -> std::io::Result<Vec<Extent>> {
    let mut all: Vec<Extent> = Vec::new();
    let mut start = 0;
    loop {
        let request = Request {
            start,
            bytes: u64::MAX - start,
            flags: FLAG_SYNC,
            room: u32::try_from(EXTENTS_PER_CALL).expect("a small constant"),
            ..Request::default()
        };
        let mut call = Call { request, extents: [Extent::default(); EXTENTS_PER_CALL] };
        // SAFETY: `FIEMAP` is the number of this ioctl, which reads and writes a `struct fiemap` followed by at most
        // `fm_extent_count` extents; `Call` has their layout (`repr(C)`, no padding) and room for as many as `room` says.
        unsafe { ioctl(file.as_fd(), Updater::<FIEMAP, Call>::new(&mut call)) }?;
        let mapped = usize::try_from(call.request.mapped).unwrap_or(EXTENTS_PER_CALL);
        let told = call.extents.get(..mapped).unwrap_or(&call.extents);
        all.extend_from_slice(told);
        let Some(last) = told.last() else {
            return Ok(all);
        };
        let next = last.logical.saturating_add(last.bytes);
        if last.flags & flags::LAST != 0 || next <= start {
            return Ok(all);
        }
        start = next;
    }
}

//! The open files of an object: one through the page cache and, in direct mode, one past it.
//!
//! The engine emits operations of any place and length; direct I/O takes whole sectors only. So in direct mode
//! an object is open twice, and both views of its one inode stay the same by this:
//!
//! - D1 Reads go past the cache: one that is not aligned is widened to whole sectors. So do aligned writes. Writes
//!   of parts of sectors, and zeroes that have to be written, go through the cache. (What is left of an operation after a
//!   short result need not be aligned any more; it goes through the cache too.)
//! - D2 Writes past the cache and writes through it are never in flight at the same time on one object (`write_gates`).
//!   The kernel writes dirty pages of a range back and drops them before a direct write, and drops pages once more after
//!   it. A page that was made dirty in between can not be dropped, although it lies beside the bytes of the
//!   direct write: the kernel then reports an error at the next sync. Reads make no page dirty.
//! - D3 A direct read sees what was written through the cache: the kernel writes dirty pages of its range back first.
//! - D4 A sync covers both. It is made on the cached descriptor, which was open first and so is told of every failed
//!   write-back: `fdatasync` writes the inode's dirty pages back, commits its metadata (extents that direct writes
//!   have allocated or converted), and flushes the device's cache, where direct writes are too.
//!
//! Operations that overlap while in flight are ordered by the engine, not here.
//!
//! On ext4 and XFS that is how the kernel's iomap code works; it leaves a zeroed or punched range, which it waits
//! for direct I/O to change, to the inode's lock. btrfs has the same rules, and turns direct writes of files with
//! checksums into cached ones that it writes back before it reports them. tmpfs takes the flag since Linux 6.6 and has
//! nothing but its cache.

use std::fs::File;
use std::io;
use std::str::FromStr;

use rustix::fs::{Advice, AtFlags, StatxFlags, fadvise, statx};

use super::drop_behind::DropBehind;
use crate::io::Object;

/// How files are read and written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IoMode {
    /// Through the page cache of the system.
    #[default]
    Buffered,
    /// Past it, where place and length allow: homes, pools and journal segments.
    Direct,
}

/// A word that names no mode.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no way of I/O; known are buffered and direct")]
pub struct UnknownIoMode(String);

impl FromStr for IoMode {
    type Err = UnknownIoMode;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        match word {
            "buffered" => Ok(Self::Buffered),
            "direct" => Ok(Self::Direct),
            _ => Err(UnknownIoMode(word.to_owned())),
        }
    }
}

/// Alignment taken where the file system does not tell: no common one asks for more.
const ALIGNMENT_UNTOLD: u64 = 4096;

/// What direct I/O on a file has to be a multiple of, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Alignment {
    /// Place and length.
    pub(super) sector: u64,
    /// The address in memory.
    pub(super) memory: u64,
}

impl Alignment {
    /// What the file system tells of this file.
    ///
    /// # Errors
    /// It tells that it does no direct I/O, or cannot be asked.
    pub(super) fn of(file: &File) -> io::Result<Self> {
        let told = statx(file, "", AtFlags::EMPTY_PATH, StatxFlags::DIOALIGN)?;
        if told.stx_mask & StatxFlags::DIOALIGN.bits() == 0 {
            return Ok(Self { sector: ALIGNMENT_UNTOLD, memory: ALIGNMENT_UNTOLD });
        }
        if told.stx_dio_offset_align == 0 || told.stx_dio_mem_align == 0 {
            return Err(io::Error::from_raw_os_error(libc::EOPNOTSUPP));
        }
        Ok(Self {
            sector: u64::from(told.stx_dio_offset_align),
            memory: u64::from(told.stx_dio_mem_align),
        })
    }

    /// Whether these bytes of memory can go to or come from this place of the file.
    pub(super) fn fits(&self, offset: u64, memory: &[u8]) -> bool {
        self.fits_place(offset, memory.len()) && self.fits_memory(memory)
    }

    pub(super) fn fits_place(&self, offset: u64, bytes: usize) -> bool {
        offset.is_multiple_of(self.sector) && (bytes as u64).is_multiple_of(self.sector)
    }

    fn fits_memory(&self, memory: &[u8]) -> bool {
        (memory.as_ptr().addr() as u64).is_multiple_of(self.memory)
    }
}

/// A file open past the page cache.
#[derive(Debug)]
pub(super) struct DirectFile {
    pub(super) file: File,
    pub(super) alignment: Alignment,
}

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct OpenFiles {
    pub(super) cached: File,
    /// Of homes, pools and segments in direct mode.
    pub(super) direct: Option<DirectFile>,
    /// Of targets of copies.
    pub(super) behind: DropBehind,
}

impl OpenFiles {
    pub(super) fn new(cached: File, direct: Option<DirectFile>) -> Self {
        Self { cached, direct, behind: DropBehind::default() }
    }

    /// Has the page cache give up what it holds without need in direct mode.
    pub(super) fn drop_cache(&self) {
        if self.direct.is_some() {
            // It is only advice: what stays in the cache stays right (D3).
            let _ = fadvise(&self.cached, 0, None, Advice::DontNeed);
        }
    }
}

/// Whether direct mode covers an object: headers and checkpoints are small, or rarely written.
pub(super) fn is_direct(mode: IoMode, object: Object) -> bool {
    mode == IoMode::Direct
        && matches!(object, Object::Home(_) | Object::Pool(_) | Object::Segment(_))
}

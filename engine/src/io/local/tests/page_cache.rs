//! What the page cache holds of a file. Looking changes nothing: a read that must not wait would begin to read ahead, and find what
//! it has itself asked for if it is interrupted in between.
#![expect(unsafe_code, reason = "no library has mincore")]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::ptr;

use rustix::fs::{Advice, fadvise};
use rustix::param::page_size;
use tempfile::TempDir;

/// Whether the page cache holds the byte at `offset`.
pub(super) fn is_cached(file: &File, offset: u64) -> bool {
    let page = page_size();
    let begin = offset - offset % page as u64;
    assert!(begin < file.metadata().unwrap().len(), "no page at {offset}");
    let mut residency = [0u8];
    // SAFETY: a new map of one page at an address of the kernel's choice, which nothing reads or writes and which ends before
    // the call does; `mincore` sets one byte for one page.
    unsafe {
        let (protection, flags) = (libc::PROT_READ, libc::MAP_SHARED);
        let offset = libc::off_t::try_from(begin).unwrap();
        let map = libc::mmap(ptr::null_mut(), page, protection, flags, file.as_raw_fd(), offset);
        assert_ne!(map, libc::MAP_FAILED, "mapping: {}", io::Error::last_os_error());
        let result = libc::mincore(map, page, residency.as_mut_ptr());
        assert_eq!(result, 0, "asking what is cached: {}", io::Error::last_os_error());
        assert_eq!(libc::munmap(map, page), 0);
    }
    residency[0] & 1 == 1
}

/// Whether the file system of this directory has a cache that can be dropped; one in memory has none.
pub(super) fn has_a_cache(dir: &TempDir) -> bool {
    let path = dir.path().join("probe");
    std::fs::write(&path, "x").unwrap();
    let file = File::open(&path).unwrap();
    file.sync_data().unwrap();
    assert!(is_cached(&file, 0));
    fadvise(&file, 0, None, Advice::DontNeed).unwrap();
    !is_cached(&file, 0)
}

//! The directory of a store: which file is which object, and who may use it.
//!
//! ```text
//! DIR/lock                     held (flock) by the process that uses the store; its number inside
//! DIR/header                   Object::Header
//! DIR/checkpoint-0, -1         Object::Checkpoint
//! DIR/journal/segment-0000     Object::Segment, number in at least four digits
//! DIR/volumes/volume-00000001  Object::Home, number in at least eight digits
//! DIR/pools/pool-00000001      Object::Pool, number in at least eight digits
//! ```
//!
//! Any other file in these places is none of ours: it is neither listed nor touched.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, fallocate};

use super::helper::write_zeroes;
use super::open_files::Alignment;
use crate::io::{CreateSpace, Object};
use crate::units::{PoolId, VolumeId};

const LOCK: &str = "lock";
const FOLDERS: [&str; 3] = ["journal", "volumes", "pools"];

/// What a store is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Serving it. A directory that is not there is made.
    ReadWrite,
    /// Looking at it: nothing is made or written, and writes fail.
    ReadOnly,
}

/// Why a directory cannot be used as a store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenStoreError {
    /// Another process holds the lock.
    #[error("store {} is in use by {}; stop it, or choose another directory", path.display(), owner(*pid))]
    InUse {
        /// The store.
        path: PathBuf,
        /// The process that holds it, if it could be read.
        pid: Option<u32>,
    },
    /// The system refused.
    #[error("cannot open store {}: {action} failed: {source}", path.display())]
    System {
        /// The store.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// The system's error.
        source: io::Error,
    },
    /// The system refused a file of the store: it cannot be opened, or what was written to it cannot
    /// be brought to the disk.
    #[error(
        "cannot open store {}: {action} its file {file} failed: {source}; the kernel's log tells of \
         a failing disk; mend that, then open the store again",
        path.display()
    )]
    File {
        /// The store.
        path: PathBuf,
        /// The file, relative to the store.
        file: String,
        /// What was tried.
        action: &'static str,
        /// The system's error.
        source: io::Error,
    },
    /// Direct I/O was asked for and is not to be had.
    #[error(
        "cannot open store {}: no direct I/O in its folder {folder}, on {file_system}: {source}; use --io buffered, or \
         keep the store on a file system that has it, such as ext4, XFS or btrfs",
        path.display()
    )]
    NoDirectIo {
        /// The store.
        path: PathBuf,
        /// The folder, relative to the store.
        folder: &'static str,
        /// Kind and mount point of the file system.
        file_system: String,
        /// The system's error.
        source: io::Error,
    },
}

fn owner(pid: Option<u32>) -> String {
    pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
}

/// A locked store directory.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    access: Access,
    /// Holds the lock; none when a store without lock file is only looked at.
    lock: Option<File>,
}

impl Drop for Directory {
    /// Gives the lock back. Closing the file would not be enough: a child that this process is
    /// starting at that moment has a copy of the descriptor, and the lock with it, until its `exec`.
    fn drop(&mut self) {
        if let Some(lock) = &self.lock {
            // A lock that cannot be given back ends with the process; nothing else can be done.
            let _ = lock.unlock();
        }
    }
}

impl Directory {
    /// Locks the directory and, for writing, makes what is missing of it.
    pub(super) fn open(path: &Path, access: Access) -> Result<Self, OpenStoreError> {
        let failed =
            |action| move |source| OpenStoreError::System { path: path.to_owned(), action, source };
        if access == Access::ReadWrite {
            std::fs::create_dir_all(path).map_err(failed("making the directory"))?;
        }
        std::fs::read_dir(path).map_err(failed("reading the directory"))?;
        let lock = lock(path, access)?;
        if access == Access::ReadWrite {
            for folder in FOLDERS {
                std::fs::create_dir_all(path.join(folder)).map_err(failed("making a folder"))?;
            }
            sync_directory(path).map_err(failed("syncing the directory"))?;
            if let Some(parent) = path.canonicalize().ok().as_deref().and_then(Path::parent) {
                sync_directory(parent).map_err(failed("syncing the parent directory"))?;
            }
        }
        Ok(Self { path: path.to_owned(), access, lock })
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// What it was opened for.
    pub(super) fn access(&self) -> Access {
        self.access
    }

    /// Makes sure that every folder of data is on a file system with direct I/O: each may be one of its own.
    pub(super) fn check_direct(&self) -> Result<(), OpenStoreError> {
        for folder in FOLDERS {
            let full = self.path.join(folder);
            // A file without a name leaves nothing behind.
            let probe = OpenOptions::new()
                .read(true)
                .write(true)
                .custom_flags(libc::O_TMPFILE | libc::O_DIRECT)
                .open(&full);
            probe.and_then(|file| Alignment::of(&file)).map_err(|source| {
                let path = self.path.clone();
                OpenStoreError::NoDirectIo {
                    path,
                    folder,
                    file_system: file_system_of(&full),
                    source,
                }
            })?;
        }
        Ok(())
    }

    /// Opens the file of an object that exists, past the page cache.
    pub(super) fn open_direct_file(&self, object: Object) -> io::Result<File> {
        OpenOptions::new()
            .read(true)
            .write(self.access == Access::ReadWrite)
            .custom_flags(libc::O_DIRECT)
            .open(self.path.join(file_name(object)))
    }

    /// Opens the file of an object that exists.
    pub(super) fn open_file(&self, object: Object) -> io::Result<File> {
        OpenOptions::new()
            .read(true)
            .write(self.access == Access::ReadWrite)
            .open(self.path.join(file_name(object)))
    }

    /// Makes the file of an object, durably. Nothing is left of it when that fails.
    pub(super) fn create_file(
        &self,
        object: Object,
        bytes: u64,
        space: CreateSpace,
    ) -> io::Result<File> {
        let path = self.path.join(file_name(object));
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path)?;
        let filled = (|| {
            file.set_len(bytes)?;
            if space != CreateSpace::Sparse && bytes > 0 {
                fallocate(&file, FallocateFlags::empty(), 0, bytes)?;
            }
            if space == CreateSpace::Written {
                write_zeroes(&file, 0, bytes)?;
            }
            file.sync_all()?;
            sync_parent(&path)
        })();
        match filled {
            Ok(()) => Ok(file),
            Err(error) => {
                // The first error tells more than one of this clean-up would.
                let _ = std::fs::remove_file(&path);
                Err(error)
            }
        }
    }

    /// Makes the file of an object go away, durably.
    pub(super) fn remove_file(&self, object: Object) -> io::Result<()> {
        let path = self.path.join(file_name(object));
        std::fs::remove_file(&path)?;
        sync_parent(&path)
    }

    /// Length of an object's file in bytes.
    pub(super) fn length(&self, object: Object) -> io::Result<Option<u64>> {
        match std::fs::metadata(self.path.join(file_name(object))) {
            Ok(metadata) => Ok(Some(metadata.len())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Bytes that an object's file takes of the file system; 0 when it cannot be told.
    pub(super) fn allocated_bytes(&self, object: Object) -> u64 {
        // The system counts in units of 512 bytes, whatever the file system's block is.
        std::fs::metadata(self.path.join(file_name(object)))
            .map_or(0, |metadata| metadata.blocks() * 512)
    }

    /// Every object there is, ascending.
    pub(super) fn list(&self) -> io::Result<Vec<Object>> {
        let mut objects = Vec::new();
        for folder in std::iter::once("").chain(FOLDERS) {
            let entries = match std::fs::read_dir(self.path.join(folder)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                entries => entries?,
            };
            for entry in entries {
                let name = entry?.file_name();
                objects.extend(name.to_str().and_then(|name| object_named(folder, name)));
            }
        }
        objects.sort_unstable();
        Ok(objects)
    }
}

/// Takes the lock file and leaves the number of this process in it.
fn lock(path: &Path, access: Access) -> Result<Option<File>, OpenStoreError> {
    let failed =
        |action| move |source| OpenStoreError::System { path: path.to_owned(), action, source };
    let write = access == Access::ReadWrite;
    let opened = OpenOptions::new()
        .read(true)
        .write(write)
        .create(write)
        .truncate(false)
        .open(path.join(LOCK));
    let mut file = match opened {
        Err(error) if !write && error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(failed("opening the lock file"))?,
    };
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            let pid = file.read_to_string(&mut text).ok().and_then(|_| text.trim().parse().ok());
            return Err(OpenStoreError::InUse { path: path.to_owned(), pid });
        }
        Err(TryLockError::Error(error)) => return Err(failed("locking")(error)),
    }
    if write {
        file.set_len(0)
            .and_then(|()| writeln!(file, "{}", std::process::id()))
            .map_err(failed("writing the lock file"))?;
    }
    Ok(Some(file))
}

/// Kind and mount point of the file system that holds a folder, for people to read.
fn file_system_of(folder: &Path) -> String {
    let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    // "ID PARENT DEVICE ROOT MOUNT-POINT OPTIONS.. - KIND SOURCE ..": proc_pid_mountinfo(5). Of two mounts on the
    // same place the later one is seen.
    let found = mounts.lines().filter_map(|line| {
        let (left, right) = line.split_once(" - ")?;
        let (mount_point, kind) = (left.split(' ').nth(4)?, right.split(' ').next()?);
        folder.starts_with(mount_point).then_some((mount_point, kind))
    });
    found.max_by_key(|(mount_point, _)| mount_point.len()).map_or_else(
        || "an unknown file system".to_owned(),
        |(mount_point, kind)| format!("the {kind} file system at {mount_point}"),
    )
}

fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

fn sync_parent(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), sync_directory)
}

/// Name of an object's file, relative to the store.
pub(super) fn file_name(object: Object) -> String {
    match object {
        Object::Header => "header".to_owned(),
        Object::Checkpoint(slot) => format!("checkpoint-{slot}"),
        Object::Segment(slot) => format!("journal/segment-{slot:04}"),
        Object::Home(VolumeId(id)) => format!("volumes/volume-{id:08}"),
        Object::Pool(PoolId(id)) => format!("pools/pool-{id:08}"),
    }
}

/// The object whose file has this name in this folder.
fn object_named(folder: &str, name: &str) -> Option<Object> {
    let (kind, number) = name.rsplit_once('-').unwrap_or((name, ""));
    let object = match (folder, kind) {
        ("", "header") => Object::Header,
        ("", "checkpoint") => Object::Checkpoint(number.parse().ok()?),
        ("journal", "segment") => Object::Segment(number.parse().ok()?),
        ("volumes", "volume") => Object::Home(VolumeId(number.parse().ok()?)),
        ("pools", "pool") => Object::Pool(PoolId(number.parse().ok()?)),
        _ => return None,
    };
    // A number has many spellings ("1", "+1", "0001"); only ours names the object.
    let path = Path::new(folder).join(name);
    (Path::new(&file_name(object)) == path).then_some(object)
}

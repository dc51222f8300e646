//! Blocking access to the files of a store: what opening and the offline tools use.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use super::clone::Reflink;
use super::directory::{Access, Directory, OpenStoreError};
use super::failure;
use super::open_files::{Alignment, DirectFile, IoMode, OpenFiles, is_direct};
use crate::io::{CreateSpace, IoFailure, Object, Storage};

/// A store directory, locked for as long as this value (or the ring made of it) lives.
#[derive(Debug)]
pub struct LocalStorage {
    pub(super) directory: Arc<Directory>,
    /// Of the ring; the plain calls are always through the page cache.
    mode: IoMode,
    /// Of the ring.
    pub(super) reflink: Reflink,
    /// Files opened so far: opened once, closed when removed.
    files: BTreeMap<Object, Arc<OpenFiles>>,
}

impl LocalStorage {
    /// Locks the directory `path`; see `Access` for what is made of it. What is read from then on is
    /// what the disk has, whatever the page cache kept of an earlier process.
    ///
    /// # Errors
    /// It is in use by another process, the system refuses, or a file cannot be synced.
    pub fn open(path: &Path, access: Access) -> Result<Self, OpenStoreError> {
        let directory = Arc::new(Directory::open(path, access)?);
        directory.forget_cached()?;
        Ok(Self {
            directory,
            mode: IoMode::Buffered,
            reflink: Reflink::default(),
            files: BTreeMap::new(),
        })
    }

    /// Has the ring that is made of this work in `mode`; at first that is `Buffered`.
    ///
    /// # Errors
    /// A folder of the store is on a file system without direct I/O.
    pub fn set_mode(&mut self, mode: IoMode) -> Result<(), OpenStoreError> {
        if mode == IoMode::Direct {
            self.directory.check_direct()?;
        }
        self.mode = mode;
        // What is open was opened for the mode before.
        self.files.clear();
        Ok(())
    }

    /// Says whether copies made by the ring share blocks; at first they do where they can.
    pub fn set_reflink(&mut self, reflink: Reflink) {
        self.reflink = reflink;
    }

    /// Has the page cache give up what the plain calls have read, where the ring has no use for it.
    pub(super) fn drop_cache(&self) {
        for files in self.files.values() {
            files.drop_cache();
        }
    }

    /// The open files of an object.
    pub(super) fn files(&mut self, object: Object) -> io::Result<&Arc<OpenFiles>> {
        // Two look-ups, because the borrow of the first would outlive an early return.
        if !self.files.contains_key(&object) {
            let cached = self.directory.open_file(object)?;
            let files = self.complete(object, cached)?;
            self.files.insert(object, files);
        }
        Ok(&self.files[&object])
    }

    /// Remembers the file of an object that was just made. Where its second one cannot be had, both are opened
    /// when they are used.
    pub(super) fn insert(&mut self, object: Object, cached: File) {
        if let Ok(files) = self.complete(object, cached) {
            self.files.insert(object, files);
        }
    }

    /// Opens what the mode wants beside the cached file.
    fn complete(&self, object: Object, cached: File) -> io::Result<Arc<OpenFiles>> {
        let direct = if is_direct(self.mode, object) {
            let file = self.directory.open_direct_file(object)?;
            let alignment = Alignment::of(&file)?;
            Some(DirectFile { file, alignment })
        } else {
            None
        };
        Ok(Arc::new(OpenFiles { cached, direct }))
    }

    /// Gives up the files of an object that is about to go.
    pub(super) fn forget(&mut self, object: Object) -> Option<Arc<OpenFiles>> {
        self.files.remove(&object)
    }
}

impl Storage for LocalStorage {
    fn read(&mut self, object: Object, offset: u64, buffer: &mut [u8]) -> Result<(), IoFailure> {
        let file = &self.files(object).map_err(|error| failure(&error))?.cached;
        let mut done = 0;
        while done < buffer.len() {
            match file.read_at(&mut buffer[done..], offset + done as u64) {
                Ok(0) => buffer[done..].fill(0),
                Ok(bytes) => {
                    done += bytes;
                    continue;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(failure(&error)),
            }
            break;
        }
        Ok(())
    }

    fn write(&mut self, object: Object, offset: u64, data: &[u8]) -> Result<(), IoFailure> {
        let file = &self.files(object).map_err(|error| failure(&error))?.cached;
        file.write_all_at(data, offset).map_err(|error| failure(&error))
    }

    fn sync(&mut self, object: Object) -> Result<(), IoFailure> {
        let file = &self.files(object).map_err(|error| failure(&error))?.cached;
        file.sync_data().map_err(|error| failure(&error))
    }

    fn create(&mut self, object: Object, bytes: u64, space: CreateSpace) -> Result<(), IoFailure> {
        let file =
            self.directory.create_file(object, bytes, space).map_err(|error| failure(&error))?;
        self.insert(object, file);
        Ok(())
    }

    fn remove(&mut self, object: Object) -> Result<(), IoFailure> {
        self.forget(object);
        self.directory.remove_file(object).map_err(|error| failure(&error))
    }

    fn length(&mut self, object: Object) -> Result<Option<u64>, IoFailure> {
        self.directory.length(object).map_err(|error| failure(&error))
    }

    fn list(&mut self) -> Result<Vec<Object>, IoFailure> {
        self.directory.list().map_err(|error| failure(&error))
    }
}

//! Blocking access to the files of a store: what opening and the offline tools use.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use super::directory::{Access, Directory, OpenStoreError};
use super::failure;
use crate::io::{CreateSpace, IoFailure, Object, Storage};

/// A store directory, locked for as long as this value (or the ring made of it) lives.
#[derive(Debug)]
pub struct LocalStorage {
    pub(super) directory: Arc<Directory>,
    /// Files opened so far: opened once, closed when removed.
    files: BTreeMap<Object, Arc<File>>,
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
        Ok(Self { directory, files: BTreeMap::new() })
    }

    /// The open file of an object.
    pub(super) fn file(&mut self, object: Object) -> io::Result<&Arc<File>> {
        // Two look-ups, because the borrow of the first would outlive an early return.
        if !self.files.contains_key(&object) {
            let file = Arc::new(self.directory.open_file(object)?);
            self.files.insert(object, file);
        }
        Ok(&self.files[&object])
    }

    /// Remembers the file of an object that was just made.
    pub(super) fn insert(&mut self, object: Object, file: Arc<File>) {
        self.files.insert(object, file);
    }

    /// Gives up the file of an object that is about to go.
    pub(super) fn forget(&mut self, object: Object) -> Option<Arc<File>> {
        self.files.remove(&object)
    }
}

impl Storage for LocalStorage {
    fn read(&mut self, object: Object, offset: u64, buffer: &mut [u8]) -> Result<(), IoFailure> {
        let file = self.file(object).map_err(|error| failure(&error))?;
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
        let file = self.file(object).map_err(|error| failure(&error))?;
        file.write_all_at(data, offset).map_err(|error| failure(&error))
    }

    fn sync(&mut self, object: Object) -> Result<(), IoFailure> {
        let file = self.file(object).map_err(|error| failure(&error))?;
        file.sync_data().map_err(|error| failure(&error))
    }

    fn create(&mut self, object: Object, bytes: u64, space: CreateSpace) -> Result<(), IoFailure> {
        let file =
            self.directory.create_file(object, bytes, space).map_err(|error| failure(&error))?;
        self.insert(object, Arc::new(file));
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

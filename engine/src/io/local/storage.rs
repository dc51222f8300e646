//! Blocking access to the files of a store: what opening and the offline tools use. And what the rings of a store share.
//!
//! - T1 An object that is removed is forgotten for all rings at once, and none opens it again while it goes: no file
//!   without a name is written to, or kept open.
//! - T2 The gates of direct mode are those of the store, not of a ring (D2 of `open_files`).

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use super::clone::Reflink;
use super::directory::{Access, Directory, OpenStoreError};
use super::failure;
use super::file_work::FileWork;
use super::forgetting::{Forgetting, is_for_later};
use super::holes::data_ranges;
use super::open_files::{Alignment, DirectFile, IoMode, OpenFiles, is_direct};
use super::read_ahead::ReadAhead;
use super::write_gates::WriteGates;
use crate::io::{CreateSpace, IoFailure, Object, Storage, Stretch};
use crate::units::ByteRange;

/// Files opened so far: opened once, closed when removed.
type Files = BTreeMap<Object, Known>;

/// What is known of an object's files.
#[derive(Debug)]
enum Known {
    Open(Arc<OpenFiles>),
    /// They are being removed, and still have their name perhaps (T1).
    Going,
}

impl Known {
    fn files(&self) -> io::Result<Arc<OpenFiles>> {
        match self {
            Self::Open(files) => Ok(Arc::clone(files)),
            Self::Going => Err(io::Error::from_raw_os_error(libc::ENOENT)),
        }
    }
}

/// A store directory, locked for as long as this value (or a ring made of it) lives.
#[derive(Debug)]
pub struct LocalStorage {
    pub(super) directory: Arc<Directory>,
    /// Of the ring; the plain calls are always through the page cache.
    mode: IoMode,
    /// Of the ring.
    pub(super) reflink: Reflink,
    files: Arc<RwLock<Files>>,
    /// Of direct mode.
    pub(super) gates: Arc<Mutex<WriteGates<FileWork>>>,
    /// Of what the plain calls will read.
    ahead: Option<ReadAhead>,
    /// What the page cache kept of an earlier process.
    forgetting: Forgetting,
}

impl LocalStorage {
    /// Locks the directory `path`; see `Access` for what is made of it. What is read from then on is
    /// what the disk has, whatever the page cache kept of an earlier process.
    ///
    /// # Errors
    /// It is in use by another process, the system refuses, or a file cannot be synced; of a home or pool
    /// `finish_opening` tells that, before which recovery may have written to the journal.
    pub fn open(path: &Path, access: Access) -> Result<Self, OpenStoreError> {
        let directory = Arc::new(Directory::open(path, access)?);
        let forgetting = Forgetting::begin(&directory)?;
        Ok(Self {
            forgetting,
            directory,
            mode: IoMode::Buffered,
            reflink: Reflink::default(),
            files: Arc::default(),
            gates: Arc::default(),
            ahead: None,
        })
    }

    /// Waits until homes and pools are as the disk has them; `share` and rings do that, too.
    ///
    /// # Errors
    /// One of them cannot be brought to the disk.
    pub fn finish_opening(&mut self) -> Result<(), OpenStoreError> {
        self.forgetting.wait(&self.directory)
    }

    /// The same store for a further ring, of another thread.
    ///
    /// # Errors
    /// A home or pool cannot be brought to the disk.
    pub fn share(&mut self) -> Result<Self, OpenStoreError> {
        self.finish_opening()?;
        Ok(Self {
            forgetting: Forgetting::default(),
            directory: Arc::clone(&self.directory),
            mode: self.mode,
            reflink: self.reflink,
            files: Arc::clone(&self.files),
            gates: Arc::clone(&self.gates),
            ahead: None,
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
        self.change_files().clear();
        Ok(())
    }

    /// Says whether copies made by the ring share blocks; at first they do where they can.
    pub fn set_reflink(&mut self, reflink: Reflink) {
        self.reflink = reflink;
    }

    /// What was read ahead of an object is not to be used any more: it is about to change.
    fn changes(&mut self, object: Object) {
        self.ahead.take_if(|ahead| ahead.concerns(object));
    }

    /// The plain calls are over: the page cache gives up what they have read, where the ring has no use for it.
    ///
    /// # Errors
    /// A home or pool cannot be brought to the disk.
    pub(super) fn end_plain_calls(&mut self) -> Result<(), OpenStoreError> {
        self.finish_opening()?;
        self.ahead = None;
        for known in self.known_files().values() {
            if let Known::Open(files) = known {
                files.drop_cache();
            }
        }
        Ok(())
    }

    /// The open files of an object, for a plain call.
    fn files_for_plain_call(&mut self, object: Object) -> Result<Arc<OpenFiles>, IoFailure> {
        if is_for_later(object) {
            self.forgetting.wait_for_plain_call(&self.directory)?;
        }
        self.files(object).map_err(|error| failure(&error))
    }

    /// The open files of an object.
    pub(super) fn files(&self, object: Object) -> io::Result<Arc<OpenFiles>> {
        let known = self.known_files().get(&object).map(Known::files);
        if let Some(files) = known {
            return files;
        }
        // From looking again to the end, so that nobody removes it meanwhile (T1).
        let mut all = self.change_files();
        if let Some(known) = all.get(&object) {
            return known.files();
        }
        let cached = self.directory.open_file(object)?;
        let files = self.complete(object, cached)?;
        all.insert(object, Known::Open(Arc::clone(&files)));
        Ok(files)
    }

    /// To be looked at. The map is whole after each single change, so a panic elsewhere does not spoil it.
    fn known_files(&self) -> std::sync::RwLockReadGuard<'_, Files> {
        self.files.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// To be changed.
    fn change_files(&self) -> std::sync::RwLockWriteGuard<'_, Files> {
        self.files.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers the file of an object that was just made. Where its second one cannot be had, both are opened
    /// when they are used.
    pub(super) fn insert(&self, object: Object, cached: File) {
        if let Ok(files) = self.complete(object, cached) {
            self.change_files().insert(object, Known::Open(files));
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
        Ok(Arc::new(OpenFiles::new(cached, direct)))
    }

    /// Gives up the files of an object that is about to go; `gone` is to follow.
    pub(super) fn forget(&self, object: Object) -> Option<Arc<OpenFiles>> {
        match self.change_files().insert(object, Known::Going) {
            Some(Known::Open(files)) => Some(files),
            Some(Known::Going) | None => None,
        }
    }

    /// The object has lost its name, or keeps it for good: one of that name may be made.
    pub(super) fn gone(&self, object: Object) {
        self.change_files().remove(&object);
    }
}

impl Storage for LocalStorage {
    fn read(&mut self, object: Object, offset: u64, buffer: &mut [u8]) -> Result<(), IoFailure> {
        let mut done = self.ahead.as_mut().map_or(0, |ahead| ahead.read(object, offset, buffer));
        if done == buffer.len() {
            return Ok(());
        }
        let files = self.files_for_plain_call(object)?;
        while done < buffer.len() {
            match files.cached.read_at(&mut buffer[done..], offset + done as u64) {
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
        self.changes(object);
        let files = self.files_for_plain_call(object)?;
        files.cached.write_all_at(data, offset).map_err(|error| failure(&error))
    }

    fn sync(&mut self, object: Object) -> Result<(), IoFailure> {
        let files = self.files_for_plain_call(object)?;
        files.cached.sync_data().map_err(|error| failure(&error))
    }

    fn create(&mut self, object: Object, bytes: u64, space: CreateSpace) -> Result<(), IoFailure> {
        self.changes(object);
        let file =
            self.directory.create_file(object, bytes, space).map_err(|error| failure(&error))?;
        self.insert(object, file);
        Ok(())
    }

    fn remove(&mut self, object: Object) -> Result<(), IoFailure> {
        self.changes(object);
        self.forget(object);
        let removed = self.directory.remove_file(object);
        self.gone(object);
        removed.map_err(|error| failure(&error))
    }

    fn length(&mut self, object: Object) -> Result<Option<u64>, IoFailure> {
        self.directory.length(object).map_err(|error| failure(&error))
    }

    fn list(&mut self) -> Result<Vec<Object>, IoFailure> {
        self.directory.list().map_err(|error| failure(&error))
    }

    fn data(&mut self, Stretch { object, range }: Stretch) -> Result<Vec<ByteRange>, IoFailure> {
        let files = self.files_for_plain_call(object)?;
        data_ranges(&files.cached, range.start, range.bytes()).map_err(|error| failure(&error))
    }

    fn will_read(&mut self, stretches: &[Stretch]) {
        self.ahead = ReadAhead::begin(&self.directory, stretches);
    }
}

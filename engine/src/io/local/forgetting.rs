//! Having the page cache forget what an earlier process left in it, when a store is opened.
//!
//! Pages that a failed sync left behind are clean although they never reached the disk (rule O9); a process that begins anew
//! must not take them for it. Dirty pages, which a killed process leaves, cannot be dropped, so they are brought to the disk
//! before, but not by one who only looks.
//!
//! Dropping takes as long as there is much to drop, 0.1 s for each gigabyte, and homes and pools have nothing that the journal's
//! recovery asks for. So a thread does it for them, while the journal is read.
//!
//! Invariants
//! - F1 Whatever is read is what the disk has: no home or pool is read, written or synced, by a plain call or a ring, before all of
//!   them are forgotten (`wait`, `wait_for_plain_call`). They may be made and removed.
//! - F2 While one that still has its name cannot be brought to the disk, the store is not served, and the error names it.

use std::io;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};

use rustix::fs::{Advice, fadvise};

use super::directory::{Access, Directory, OpenStoreError, file_name};
use crate::io::{IoFailure, Object};

/// How far it has come.
#[derive(Debug, Default)]
pub(super) struct Forgetting {
    thread: Option<JoinHandle<Vec<Failed>>>,
    failed: Vec<Failed>,
}

/// An object that cannot be forgotten.
#[derive(Clone, Copy, Debug)]
struct Failed {
    object: Object,
    /// What was tried.
    action: &'static str,
    /// The system's error.
    errno: i32,
}

impl Failed {
    fn error(self, directory: &Directory) -> OpenStoreError {
        let Self { object, action, errno } = self;
        let source = io::Error::from_raw_os_error(errno);
        let (path, file) = (directory.path().to_owned(), file_name(object));
        OpenStoreError::File { path, file, action, source }
    }
}

impl Forgetting {
    /// Has every object forgotten that opening reads, and begins with homes and pools.
    pub(super) fn begin(directory: &Arc<Directory>) -> Result<Self, OpenStoreError> {
        let objects = directory.list().map_err(|source| OpenStoreError::System {
            path: directory.path().to_owned(),
            action: "listing its files",
            source,
        })?;
        let (later, now): (Vec<Object>, Vec<Object>) = match directory.access() {
            Access::ReadWrite => objects.into_iter().partition(|object| is_for_later(*object)),
            // Nobody waits for a command that looks.
            Access::ReadOnly => (Vec::new(), objects),
        };
        if let Some(failed) = forget_at_once(directory, &now).first() {
            return Err(failed.error(directory));
        }
        if later.is_empty() {
            return Ok(Self::default());
        }
        let (theirs, objects) = (Arc::clone(directory), later.clone());
        let thread = Builder::new().name("forgetting".to_owned());
        Ok(match thread.spawn(move || forget_all(&theirs, objects)) {
            Ok(thread) => Self { thread: Some(thread), failed: Vec::new() },
            Err(_) => Self { thread: None, failed: forget_all(directory, later) },
        })
    }

    /// Waits until everything is forgotten, before the store is served.
    ///
    /// # Errors
    /// Something cannot be (F2).
    pub(super) fn wait(&mut self, directory: &Directory) -> Result<(), OpenStoreError> {
        self.end(directory);
        self.failed.first().map_or(Ok(()), |failed| Err(failed.error(directory)))
    }

    /// The same before a plain call.
    ///
    /// # Errors
    /// The same.
    pub(super) fn wait_for_plain_call(&mut self, directory: &Directory) -> Result<(), IoFailure> {
        self.end(directory);
        self.failed.first().map_or(Ok(()), |failed| Err(IoFailure::from_errno(failed.errno)))
    }

    fn end(&mut self, directory: &Directory) {
        if let Some(thread) = self.thread.take() {
            self.failed = thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        }
        // What nothing named has been removed meanwhile.
        self.failed.retain(|failed| !matches!(directory.length(failed.object), Ok(None)));
    }
}

impl Drop for Forgetting {
    /// The thread holds the store's lock.
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            // The store is given up before it was used.
            let _ = thread.join();
        }
    }
}

/// True for objects that the journal's recovery does not read.
pub(super) fn is_for_later(object: Object) -> bool {
    matches!(object, Object::Home(_) | Object::Pool(_))
}

/// Shares the work out with a second thread, if there is one to be had, since everything waits for it. Neighbours are much
/// alike, so each takes every second one.
fn forget_at_once(directory: &Directory, objects: &[Object]) -> Vec<Failed> {
    let share = |first| -> Vec<Object> { objects.iter().skip(first).step_by(2).copied().collect() };
    std::thread::scope(|scope| {
        let theirs = Builder::new().spawn_scoped(scope, || forget_all(directory, share(1)));
        let mut failed = forget_all(directory, share(0));
        failed.extend(match theirs {
            Ok(thread) => thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            Err(_) => forget_all(directory, share(1)),
        });
        failed
    })
}

/// Has all of them forgotten that can be; gives the others.
fn forget_all(directory: &Directory, objects: Vec<Object>) -> Vec<Failed> {
    let forget = |object| {
        let (action, error) = forget(directory, object).err()?;
        Some(Failed { object, action, errno: error.raw_os_error().unwrap_or(libc::EIO) })
    };
    objects.into_iter().filter_map(forget).collect()
}

/// An error tells what was tried.
fn forget(directory: &Directory, object: Object) -> Result<(), (&'static str, io::Error)> {
    let file = match directory.open_file(object) {
        // Recovery removes what nothing names any more.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        opened => opened.map_err(|error| ("opening", error))?,
    };
    if directory.access() == Access::ReadWrite {
        file.sync_data().map_err(|error| ("syncing", error))?;
    }
    fadvise(&file, 0, None, Advice::DontNeed)
        .map_err(|error| ("dropping the page cache of", error.into()))
}

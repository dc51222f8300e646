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
//! - F1 Whatever is read is what the disk has: no home or pool is read or written, by a plain call or a ring, before all of them
//!   are forgotten (`wait`, `wait_for_plain_call`).
//! - F2 When one of them cannot be brought to the disk, the store is not served, and the error names it.

use std::io;
use std::sync::Arc;
use std::thread::{JoinHandle, ScopedJoinHandle};

use rustix::fs::{Advice, fadvise};

use super::directory::{Access, Directory, OpenStoreError, file_name};
use crate::io::{IoFailure, Object};

/// Threads that work while everything else waits.
const THREADS: usize = 2;

/// How far it has come.
#[derive(Debug, Default)]
pub(super) struct Forgetting {
    thread: Option<JoinHandle<Result<(), OpenStoreError>>>,
    failed: Option<OpenStoreError>,
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
        forget_at_once(directory, &now)?;
        if later.is_empty() {
            return Ok(Self::default());
        }
        let (theirs, objects) = (Arc::clone(directory), later.clone());
        let thread = std::thread::Builder::new().name("forgetting".to_owned());
        match thread.spawn(move || forget_all(&theirs, &objects)) {
            Ok(thread) => Ok(Self { thread: Some(thread), failed: None }),
            Err(_) => forget_all(directory, &later).map(|()| Self::default()),
        }
    }

    /// Waits until everything is forgotten, before the store is served.
    ///
    /// # Errors
    /// Something cannot be (F2).
    pub(super) fn wait(&mut self) -> Result<(), OpenStoreError> {
        self.end();
        self.failed.take().map_or(Ok(()), Err)
    }

    /// The same before a plain call.
    ///
    /// # Errors
    /// The same; `wait` tells it again.
    pub(super) fn wait_for_plain_call(&mut self) -> Result<(), IoFailure> {
        self.end();
        self.failed.as_ref().map_or(Ok(()), |error| Err(error.failure()))
    }

    fn end(&mut self) {
        if let Some(thread) = self.thread.take() {
            let ended = thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            self.failed = ended.err();
        }
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

/// Shares the work out, since somebody waits for it.
fn forget_at_once(directory: &Directory, objects: &[Object]) -> Result<(), OpenStoreError> {
    std::thread::scope(|scope| {
        // Neighbours are much alike, so each thread takes every so manieth.
        let share = |first| objects.iter().skip(first).step_by(THREADS).copied().collect();
        let forget = |share: Vec<_>| scope.spawn(move || forget_all(directory, &share));
        let threads: Vec<_> = (0..THREADS).map(share).map(forget).collect();
        let join = |thread: ScopedJoinHandle<'_, _>| {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        threads.into_iter().try_for_each(join)
    })
}

fn forget_all(directory: &Directory, objects: &[Object]) -> Result<(), OpenStoreError> {
    objects.iter().try_for_each(|object| {
        forget(directory, *object).map_err(|(action, source)| OpenStoreError::File {
            path: directory.path().to_owned(),
            file: file_name(*object),
            action,
            source,
        })
    })
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

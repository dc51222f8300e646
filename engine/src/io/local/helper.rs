//! The helper thread: system calls that may take long and have no ring operation of their own, or one that nobody waits for.
//!
//! - H1 Every task gives exactly one result, in the order of the tasks.
//! - H2 The eventfd is written after the result is queued.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;

use rustix::fs::{FallocateFlags, fallocate};

use super::clone::clone_range;
use super::directory::Directory;
use super::drop_behind::drop_cached;
use super::file_work::Copying;
use super::open_files::OpenFiles;
use crate::io::{CreateSpace, Object, OpId, ZeroSpace};
use crate::units::ByteRange;

/// Zeroes written at once.
const ZERO_CHUNK: usize = 1 << 20;

/// One thing to do.
#[derive(Debug)]
pub(super) enum Task {
    Create {
        object: Object,
        bytes: u64,
        space: CreateSpace,
    },
    /// `files` are closed after the name is gone: freeing the space of a large file takes long.
    Remove {
        object: Object,
        files: Option<Arc<OpenFiles>>,
    },
    /// Zeroes where the quick way is not supported.
    Zero {
        object: Object,
        files: Arc<OpenFiles>,
        offset: u64,
        bytes: u64,
        space: ZeroSpace,
    },
    /// A copy by the file system.
    Clone {
        object: Object,
        files: Arc<OpenFiles>,
        copying: Copying,
    },
}

impl Task {
    /// The object whose gate it has entered: zeroes are writes through the cache, and so are clones.
    fn entered(&self) -> Option<Object> {
        match self {
            Self::Zero { object, files, .. } | Self::Clone { object, files, .. } => {
                files.direct.is_some().then_some(*object)
            }
            Self::Create { .. } | Self::Remove { .. } => None,
        }
    }
}

/// What the thread is given.
#[derive(Debug)]
enum Job {
    Task(OpId, Task),
    /// Files that were removed before their turn are not kept open for it.
    DropCached(Weak<OpenFiles>, Vec<ByteRange>),
}

/// What a task has given.
#[derive(Debug)]
pub(super) enum Done {
    Nothing,
    /// The file of a new object.
    Made(Object, File),
    /// An object's file has lost its name, or could not.
    Removed(Object, io::Result<()>),
    /// The file system does not make this copy.
    NotCloned {
        why: io::Error,
        object: Object,
        files: Arc<OpenFiles>,
        copying: Copying,
    },
}

/// What came of it.
#[derive(Debug)]
pub(super) struct Finished {
    pub(super) id: OpId,
    /// The object whose gate (`write_gates`) the task had entered.
    pub(super) entered: Option<Object>,
    pub(super) result: io::Result<Done>,
}

/// The running thread. Dropping this waits for its last task.
#[derive(Debug)]
pub(super) struct Helper {
    /// Both are there until the drop.
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
    finished: Receiver<Finished>,
}

impl Helper {
    /// Starts the thread; `wake` is written after every task.
    pub(super) fn start(directory: Arc<Directory>, wake: File) -> io::Result<Self> {
        let (jobs, queue) = channel();
        let (results, finished) = channel();
        let thread = std::thread::Builder::new().name("store-helper".to_owned());
        let thread = thread.spawn(move || {
            for job in queue {
                let (id, task) = match job {
                    Job::Task(id, task) => (id, task),
                    Job::DropCached(files, ranges) => {
                        if let Some(files) = files.upgrade() {
                            drop_cached(&files.cached, &ranges);
                        }
                        continue;
                    }
                };
                let entered = task.entered();
                let result = run(&directory, task);
                // Nobody takes results, or is woken by them, when the ring is being dropped.
                let _ = results.send(Finished { id, entered, result });
                let _ = io::Write::write(&mut &wake, &1_u64.to_ne_bytes());
            }
        })?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread), finished })
    }

    /// Queues a task.
    pub(super) fn run(&self, id: OpId, task: Task) {
        self.queue(Job::Task(id, task));
    }

    /// Has bytes leave the page cache, sooner or later; nobody is told.
    pub(super) fn drop_cached(&self, files: &Arc<OpenFiles>, ranges: Vec<ByteRange>) {
        self.queue(Job::DropCached(Arc::downgrade(files), ranges));
    }

    fn queue(&self, job: Job) {
        let jobs = self.jobs.as_ref().expect("the queue is there until the drop");
        jobs.send(job).expect("the helper thread lives as long as its queue");
    }

    /// The next result, if there is one.
    pub(super) fn finished(&self) -> Option<Finished> {
        self.finished.try_recv().ok()
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was printed when it happened.
            let _ = thread.join();
        }
    }
}

fn run(directory: &Directory, task: Task) -> io::Result<Done> {
    match task {
        Task::Create { object, bytes, space } => {
            directory.create_file(object, bytes, space).map(|file| Done::Made(object, file))
        }
        Task::Remove { object, files } => {
            let removed = directory.remove_file(object);
            drop(files);
            Ok(Done::Removed(object, removed))
        }
        Task::Zero { files, offset, bytes, space, .. } => {
            zero(&files.cached, offset, bytes, space).map(|()| Done::Nothing)
        }
        Task::Clone { object, files, copying } => {
            let (from, to) = (&copying.from_files.cached, &files.cached);
            let Copying { from_offset, offset, bytes, .. } = copying;
            Ok(match clone_range(from, from_offset, to, offset, bytes) {
                Ok(()) => Done::Nothing,
                Err(why) => Done::NotCloned { why, object, files, copying },
            })
        }
    }
}

/// Zeroes by a hole that is filled again, or else by writing them.
pub(super) fn zero(file: &File, offset: u64, bytes: u64, space: ZeroSpace) -> io::Result<()> {
    let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    if fallocate(file, punch, offset, bytes).is_ok() {
        if space == ZeroSpace::Keep {
            fallocate(file, FallocateFlags::KEEP_SIZE, offset, bytes)?;
        }
        return Ok(());
    }
    write_zeroes(file, offset, bytes)
}

/// Zeroes, written.
pub(super) fn write_zeroes(file: &File, offset: u64, bytes: u64) -> io::Result<()> {
    let zeroes = vec![0; ZERO_CHUNK];
    let mut done = 0;
    while done < bytes {
        let chunk = (bytes - done).min(ZERO_CHUNK as u64);
        let length = usize::try_from(chunk).expect("a chunk fits the address space");
        file.write_all_at(&zeroes[..length], offset + done)?;
        done += chunk;
    }
    Ok(())
}

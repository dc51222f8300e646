//! Operations on files and sockets, performed by one `io_uring` of the thread that made it. A store may have several.
//!
//! - R1 What was submitted is in `in_flight` until its result was taken: memory that the kernel uses
//!   is neither freed nor moved, also when the ring is dropped.
//! - R2 Every operation, receive and send gives exactly one event; a send that ends at once gives it at once.
//! - R3 Nothing is left lying: the kernel is entered whenever it says that it has something to do for this ring.

#![expect(unsafe_code, reason = "submissions to io_uring point to memory that the kernel uses")]

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::Rc;
use std::sync::{Arc, MutexGuard, PoisonError};

use io_uring::types::{SubmitArgs, Timespec};
use io_uring::{IoUring, squeue};
use rustix::event::{EventfdFlags, eventfd};

use super::clone::Reflink;
use super::events::{Event, Wait};
use super::file_work::{Blocks, Copying, FileStep, FileWork};
use super::helper::{Done, Finished, Helper, Task};
use super::holes::data_ranges;
use super::in_flight::{Enough, InFlight, Next, Receive};
use super::in_place::{self, InPlace};
use super::sending::Sending;
use super::set_up::{RingError, set_up};
use super::storage::LocalStorage;
use super::write_gates::WriteGates;
use super::{clone, failure, lending};
use crate::io::{Action, Buffer, Completion, IoFailure, Object, Op, OpId, Outcome, Part};
use crate::units::ByteRange;

/// `IORING_ENTER_GETEVENTS`: have the kernel post completions without waiting for one.
const ENTER_GETEVENTS: u32 = 1;

/// The ring.
pub struct LocalRing {
    ring: IoUring,
    storage: LocalStorage,
    helper: Helper,
    eventfd: OwnedFd,
    in_flight: Vec<Option<InFlight>>,
    /// Free places of `in_flight`.
    free: Vec<usize>,
    /// Submissions that found the queue full.
    backlog: VecDeque<squeue::Entry>,
    /// Events that needed no ring, or have left it.
    ready: Vec<Event>,
    /// Results on their way from the completion queue, kept for its memory.
    results: Vec<(u64, i32)>,
    #[expect(clippy::vec_box, reason = "the kernel needs them where they are")]
    spare_sends: Vec<Box<Sending>>,
    in_place: InPlace,
    /// Copies may share blocks, and the file system has not yet said that it cannot (K1 of `clone`).
    clones: bool,
}

impl std::fmt::Debug for LocalRing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LocalRing({} in flight)", self.in_flight.len() - self.free.len())
    }
}

impl LocalRing {
    /// A ring for the calling thread, and for no other, on the files of `storage`.
    ///
    /// # Errors
    /// `io_uring` is switched off or too old, a thread or file cannot be had, or a home or pool cannot be brought to the disk.
    pub fn new(mut storage: LocalStorage) -> Result<Self, RingError> {
        let ring = set_up()?;
        storage.end_plain_calls()?;
        let eventfd = eventfd(0, EventfdFlags::CLOEXEC).map_err(|e| RingError::Setup(e.into()))?;
        let wake = eventfd.try_clone().map_err(RingError::Setup)?;
        let helper = Helper::start(Arc::clone(&storage.directory), File::from(wake))
            .map_err(RingError::Setup)?;
        let clones = storage.reflink == Reflink::Auto;
        let mut this = Self {
            ring,
            storage,
            helper,
            eventfd,
            in_flight: Vec::new(),
            free: Vec::new(),
            backlog: VecDeque::new(),
            ready: Vec::new(),
            results: Vec::new(),
            spare_sends: Vec::new(),
            in_place: InPlace::default(),
            clones,
        };
        this.push(InFlight::Wake(this.eventfd.as_raw_fd(), Box::new(0)));
        Ok(this)
    }

    /// An eventfd: eight bytes written to it, from any thread, give an `Event::Woken`.
    ///
    /// # Errors
    /// No file descriptor is left.
    pub fn waker(&self) -> io::Result<OwnedFd> {
        self.eventfd.try_clone()
    }

    /// Begins an operation of the engine.
    pub fn perform(&mut self, op: Op) {
        let Op { id, object, action } = op;
        match action {
            Action::Create { bytes, space } => {
                return self.helper.run(id, Task::Create { object, bytes, space });
            }
            Action::Remove => {
                let files = self.storage.forget(object);
                return self.helper.run(id, Task::Remove { object, files });
            }
            Action::Copy { offset, from, from_offset, bytes } => {
                let begun = self.begin_copy(id, (object, offset), (from, from_offset), bytes);
                return begun.unwrap_or_else(|error| self.complete(id, Err(failure(&error))));
            }
            _ => {}
        }
        let files = match self.storage.files(object) {
            Ok(files) => files,
            Err(error) => return self.complete(id, Err(failure(&error))),
        };
        let step = match action {
            Action::Read { offset, buffer } => FileStep::read(&files, offset, buffer),
            Action::Lend { offset, bytes } => {
                let range = ByteRange { start: offset, end: offset + bytes as u64 };
                if lending::may_lend(&files, range) {
                    return self.complete(id, Ok(Outcome::Lent));
                }
                FileStep::read(&files, offset, Buffer::scratch(bytes))
            }
            Action::Write { offset, data } => FileStep::write(&files, offset, data),
            Action::Sync => return self.begin(FileWork::sync(id, object, files)),
            Action::Zero { offset, bytes, space } => FileStep::Zero { offset, bytes, space },
            Action::Allocate { offset, bytes } => {
                FileStep::Allocate { offset, bytes, blocks: Blocks::Own }
            }
            Action::Map { offset, bytes } => {
                let ranges = data_ranges(&files.cached, offset, bytes);
                return self.complete(id, ranges.map(Outcome::Data).map_err(|e| failure(&e)));
            }
            Action::Create { .. } | Action::Remove | Action::Copy { .. } => {
                unreachable!("dealt with above")
            }
        };
        self.begin(FileWork::new(id, object, files, step));
    }

    /// Begins a copy: by the file system, unless it cannot.
    fn begin_copy(
        &mut self,
        id: OpId,
        (object, offset): (Object, u64),
        (from, from_offset): (Object, u64),
        bytes: u64,
    ) -> io::Result<()> {
        let from_files = self.storage.files(from)?;
        let files = self.storage.files(object)?;
        let copying = Copying { from, from_files, from_offset, offset, bytes };
        self.begin(if self.clones {
            FileWork::new(id, object, files, FileStep::Clone(copying))
        } else {
            FileWork::copy(id, object, files, copying)
        });
        Ok(())
    }

    /// Performs an operation on a file: in place, or submitted as soon as its gate lets it.
    fn begin(&mut self, work: FileWork) {
        let Some(work) = self.try_in_place(work) else {
            return;
        };
        let work = match work.way() {
            None => Some(work),
            Some(way) => self.gates().enter(work.object, way, work),
        };
        if let Some(work) = work {
            self.start(work);
        }
    }

    /// Does in place what is of that kind and was not begun, and gives back what is the ring's.
    fn try_in_place(&mut self, mut work: FileWork) -> Option<FileWork> {
        if work.files.direct.is_some() {
            return Some(work);
        }
        let result = match &mut work.step {
            FileStep::Read { offset, buffer, done: 0, .. } => {
                in_place::read(&work.files.cached, buffer, *offset)
            }
            FileStep::Write { offset, data, done: 0 } => {
                self.in_place.write(&work.files.cached, data, *offset)
            }
            _ => None,
        };
        let Some(result) = result else {
            return Some(work);
        };
        self.follow(work.advance(result));
        None
    }

    /// Submits what a submission that has ended kept waiting, whichever ring it came to.
    fn leave(&mut self, object: Object) {
        let work = self.gates().leave(object);
        for work in work {
            self.start(work);
        }
    }

    /// Of direct mode. A gate is whole after each single change, so a panic elsewhere does not spoil it.
    fn gates(&self) -> MutexGuard<'_, WriteGates<FileWork>> {
        self.storage.gates.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start(&mut self, work: FileWork) {
        match work {
            FileWork { id, object, files, step: FileStep::Clone(copying), .. } => {
                self.helper.run(id, Task::Clone { object, files, copying });
            }
            work => self.push(InFlight::File(work)),
        }
    }

    /// Receives what there is, at least one byte and at most what fits, into `buffer`.
    pub fn receive(&mut self, token: u64, socket: &Rc<OwnedFd>, mut buffer: Buffer) {
        if let Some(bytes) = in_place::receive(socket, &mut buffer) {
            return self.ready.push(Event::Received { token, buffer, result: Ok(bytes) });
        }
        let (socket, space) = (Rc::clone(socket), 0..buffer.len());
        self.push(InFlight::Receive(Receive {
            token,
            socket,
            buffer,
            space,
            received: 0,
            enough: Enough::Some,
        }));
    }

    /// Receives into the bytes `space` of `buffer` until all of them have arrived; fewer come only
    /// when the stream ends or fails, and perhaps when a signal arrives.
    ///
    /// # Panics
    /// When the buffer has no such bytes.
    pub fn receive_all(
        &mut self,
        token: u64,
        socket: &Rc<OwnedFd>,
        mut buffer: Buffer,
        mut space: Range<usize>,
    ) {
        // The end of the stream is left for the ring to find again.
        let received = in_place::receive(socket, &mut buffer[space.clone()]).unwrap_or(0);
        space.start += received;
        if received > 0 && space.is_empty() {
            return self.ready.push(Event::Received { token, buffer, result: Ok(received) });
        }
        let (socket, enough) = (Rc::clone(socket), Enough::All);
        self.push(InFlight::Receive(Receive { token, socket, buffer, space, received, enough }));
    }

    /// Bytes that an object takes of its file system; 0 when there is none of that name.
    pub fn allocated_bytes(&self, object: Object) -> u64 {
        self.storage.directory.allocated_bytes(object)
    }

    /// Sends all bytes of all `parts` in their order. When the socket takes them at once, or cannot, the event is returned, and
    /// none follows.
    #[must_use = "a send that has ended is told nowhere else"]
    pub fn send(
        &mut self,
        token: u64,
        socket: &Rc<OwnedFd>,
        parts: VecDeque<Part>,
    ) -> Option<Event> {
        let mut send = self.spare_sends.pop().unwrap_or_else(Sending::new);
        send.begin(token, Rc::clone(socket), parts);
        self.go_on(send)
    }

    /// Goes on with a send, in place as far as that goes.
    fn go_on(&mut self, mut send: Box<Sending>) -> Option<Event> {
        let ended = send.go_on(&self.storage);
        if ended.is_some() {
            self.spare_sends.push(send);
        } else {
            self.push(InFlight::Send(send));
        }
        ended
    }

    /// Gives the kernel what was begun since the last call and waits as `wait` says, but not while an
    /// event is ready. One system call, or none where there is nothing to give, to wait for or to be told, unless very
    /// much was begun.
    ///
    /// # Errors
    /// The ring is broken; interruptions and timeouts are none.
    pub fn enter(&mut self, wait: Wait) -> io::Result<()> {
        while !self.backlog.is_empty() {
            self.fill_queue();
            if !self.backlog.is_empty() {
                usable(self.ring.submit())?;
                // A kernel that takes nothing wants its completions read first.
                self.take_results();
            }
        }
        let wait = if self.ready.is_empty() { wait } else { Wait::No };
        let entered = match wait {
            Wait::No if !self.kernel_is_needed() => Ok(0),
            Wait::No => {
                let submitted = u32::try_from(self.ring.submission().len()).unwrap_or(u32::MAX);
                // SAFETY: no argument is passed, so none has to be valid; the queue's entries are
                // covered by R1.
                unsafe { self.ring.submitter().enter::<()>(submitted, 0, ENTER_GETEVENTS, None) }
            }
            Wait::AtMost(time) => {
                let time = Timespec::new().sec(time.as_secs()).nsec(time.subsec_nanos());
                self.ring.submitter().submit_with_args(1, &SubmitArgs::new().timespec(&time))
            }
            Wait::Forever => self.ring.submit_and_wait(1),
        };
        usable(entered)?;
        self.take_results();
        Ok(())
    }

    /// True when the kernel has to be entered for what was begun, or to be told what has ended (R3).
    fn kernel_is_needed(&mut self) -> bool {
        let queue = self.ring.submission();
        !queue.is_empty() || queue.taskrun() || queue.cq_overflow()
    }

    /// True when entering without waiting would, as far as can be seen without a system call, find an event.
    pub fn stirs(&mut self) -> bool {
        self.has_events() || self.kernel_is_needed() || !self.ring.completion().is_empty()
    }

    /// True when something has ended that was not reaped.
    pub fn has_events(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Appends what has ended.
    pub fn reap(&mut self, events: &mut Vec<Event>) {
        events.append(&mut self.ready);
    }

    fn complete(&mut self, id: OpId, result: Result<Outcome, IoFailure>) {
        self.ready.push(Event::Completed(Completion { id, result }));
    }

    /// Keeps `work` and queues its submission.
    fn push(&mut self, work: InFlight) {
        let index = self.free.pop().unwrap_or_else(|| {
            self.in_flight.push(None);
            self.in_flight.len() - 1
        });
        let work = self.in_flight[index].insert(work);
        self.backlog.push_back(work.submission().user_data(index as u64));
        self.fill_queue();
    }

    fn fill_queue(&mut self) {
        let mut queue = self.ring.submission();
        while let Some(entry) = self.backlog.front() {
            // SAFETY: R1: what the entry points to is owned by `in_flight` until its result is taken.
            if unsafe { queue.push(entry) }.is_err() {
                return;
            }
            self.backlog.pop_front();
        }
    }

    /// Takes all results there are and turns them into events.
    fn take_results(&mut self) {
        let mut results = std::mem::take(&mut self.results);
        results.extend(self.ring.completion().map(|entry| (entry.user_data(), entry.result())));
        for (index, result) in results.drain(..) {
            let index = usize::try_from(index).expect("user data is an index of `in_flight`");
            let work = self.in_flight[index].take().expect("a submission has one result");
            self.free.push(index);
            self.advance(work, result);
        }
        self.results = results;
    }

    fn advance(&mut self, work: InFlight, result: i32) {
        let entered = work.entered();
        let next = work.advance(result);
        // The helper goes on with it, and leaves the gate in the end.
        let leaves = !matches!(next, Next::Help(..));
        self.follow(next);
        if let Some(object) = entered.filter(|_| leaves) {
            self.leave(object);
        }
    }

    fn follow(&mut self, next: Next) {
        match next {
            Next::Ended(event) => self.ready.push(event),
            Next::Sent(event, send) => {
                self.ready.push(event);
                self.spare_sends.push(send);
            }
            Next::Again(InFlight::File(work)) => self.begin(work),
            Next::Again(InFlight::Send(send)) => {
                let ended = self.go_on(send);
                self.ready.extend(ended);
            }
            Next::Again(work) => self.push(work),
            Next::Help(id, task) => self.helper.run(id, task),
            Next::Synced(id, files, ranges) => {
                self.helper.drop_cached(&files, ranges);
                self.complete(id, Ok(Outcome::Done));
            }
            Next::Woken => {
                while let Some(finished) = self.helper.finished() {
                    self.take_finished(finished);
                }
                self.ready.push(Event::Woken);
                self.push(InFlight::Wake(self.eventfd.as_raw_fd(), Box::new(0)));
            }
        }
    }

    /// Takes a result of the helper.
    fn take_finished(&mut self, Finished { id, entered, result }: Finished) {
        match result {
            Ok(Done::NotCloned { why, object, files, copying }) => {
                self.clones &= !clone::is_unsupported(&why);
                self.begin(FileWork::copy(id, object, files, copying));
            }
            Ok(Done::Made(object, file)) => {
                self.storage.insert(object, file);
                self.complete(id, Ok(Outcome::Done));
            }
            Ok(Done::Removed(object, removed)) => {
                self.storage.gone(object);
                let removed = removed.map(|()| Outcome::Done);
                self.complete(id, removed.map_err(|error| failure(&error)));
            }
            Ok(Done::Nothing) => self.complete(id, Ok(Outcome::Done)),
            Err(error) => self.complete(id, Err(failure(&error))),
        }
        if let Some(object) = entered {
            self.leave(object);
        }
    }
}

impl Drop for LocalRing {
    fn drop(&mut self) {
        // R1: closing a ring only begins the end of what is in flight. The kernel may write to that
        // memory for a while, so it is never freed.
        std::mem::forget(std::mem::take(&mut self.in_flight));
    }
}

/// Turns results of entering the ring that need no more than another turn into success.
fn usable(entered: io::Result<usize>) -> io::Result<()> {
    match entered {
        Ok(_) => Ok(()),
        Err(error) => match error.raw_os_error() {
            Some(libc::ETIME | libc::EINTR | libc::EAGAIN | libc::EBUSY) => Ok(()),
            _ => Err(error),
        },
    }
}

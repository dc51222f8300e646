//! The engine's operations on files, while they are in the ring.
//!
//! A short result is continued, an interrupted one repeated (F2). Which of the object's files a submission is
//! made on is decided for each anew, by what is left to do (D1).

use std::os::fd::AsRawFd;
use std::sync::Arc;

use io_uring::types::{Fd, FsyncFlags};
use io_uring::{opcode, squeue};

use super::helper::Task;
use super::in_flight::{InFlight, Next, count, ended, is_transient};
use super::in_place::piece_bytes;
use super::open_files::OpenFiles;
use super::write_gates::Way;
use crate::io::{Buffer, IoFailure, Object, OpId, Outcome, ZeroSpace};
use crate::units::ByteRange;

/// An operation of the engine.
#[derive(Debug)]
pub(super) struct FileWork {
    pub(super) id: OpId,
    pub(super) object: Object,
    pub(super) files: Arc<OpenFiles>,
    pub(super) step: FileStep,
    /// Direct I/O was refused for what is left.
    pub(super) cached_only: bool,
    pub(super) then: Then,
}

/// What follows when the step is done.
#[derive(Debug)]
pub(super) enum Then {
    /// The operation has ended.
    End,
    /// What was read is written: a copy, made by reading and writing.
    Write(Box<WriteTo>),
    /// What was written is noted: its second half (`drop_behind`).
    Note,
    /// The page cache gives up what copies had written before this sync.
    Drop(Vec<ByteRange>),
}

/// Where the second half of a copy goes.
#[derive(Debug)]
pub(super) struct WriteTo {
    object: Object,
    files: Arc<OpenFiles>,
    offset: u64,
}

/// A copy from another file.
#[derive(Debug)]
pub(super) struct Copying {
    pub(super) from: Object,
    pub(super) from_files: Arc<OpenFiles>,
    pub(super) from_offset: u64,
    pub(super) offset: u64,
    pub(super) bytes: u64,
}

/// What is done to the file; `done` counts bytes.
#[derive(Debug)]
pub(super) enum FileStep {
    /// Into the buffer; when that is wider than what was asked for, `within` says which part that is.
    Read {
        offset: u64,
        buffer: Buffer,
        done: usize,
        within: Option<Within>,
    },
    Write {
        offset: u64,
        data: Buffer,
        done: usize,
    },
    Sync,
    Zero {
        offset: u64,
        bytes: u64,
        space: ZeroSpace,
    },
    Allocate {
        offset: u64,
        bytes: u64,
        blocks: Blocks,
    },
    /// A copy by the file system, which the helper has it make.
    Clone(Copying),
}

/// Which blocks `Allocate` asks for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Blocks {
    /// Blocks that are no other file's: a shared one is replaced when it is written, which takes space.
    Own,
    /// Any, where the file system knows no others.
    Any,
}

/// What was asked for, in a widened read.
#[derive(Debug)]
pub(super) struct Within {
    skip: usize,
    buffer: Buffer,
}

impl FileStep {
    /// A read into `buffer`, widened to whole sectors where direct I/O asks for that.
    pub(super) fn read(files: &OpenFiles, offset: u64, buffer: Buffer) -> Self {
        let Some(direct) = &files.direct else {
            return Self::Read { offset, buffer, done: 0, within: None };
        };
        if direct.alignment.fits(offset, &buffer) {
            return Self::Read { offset, buffer, done: 0, within: None };
        }
        let sector = direct.alignment.sector;
        let start = offset - offset % sector;
        let end = (offset + buffer.len() as u64).next_multiple_of(sector);
        let length = |bytes: u64| usize::try_from(bytes).expect("little more than a buffer");
        let within = Within { skip: length(offset - start), buffer };
        let wide = Buffer::scratch(length(end - start));
        Self::Read { offset: start, buffer: wide, done: 0, within: Some(within) }
    }

    /// A write of `data`, moved to other memory where direct I/O asks for that.
    pub(super) fn write(files: &OpenFiles, offset: u64, data: Buffer) -> Self {
        let needs_copy = files.direct.as_ref().is_some_and(|direct| {
            let alignment = direct.alignment;
            alignment.fits_place(offset, data.len()) && !alignment.fits(offset, &data)
        });
        let data = if needs_copy { data.clone() } else { data };
        Self::Write { offset, data, done: 0 }
    }
}

/// What follows from a whole read.
fn has_read(id: OpId, read: Buffer, within: Option<Within>, then: Then) -> Next {
    let data = match within {
        None => read,
        Some(Within { skip, mut buffer }) => {
            let bytes = buffer.len();
            buffer.copy_from_slice(&read[skip..skip + bytes]);
            buffer
        }
    };
    let Then::Write(to) = then else {
        return ended(id, Ok(Outcome::Buffer(data)));
    };
    let WriteTo { object, files, offset } = *to;
    let step = FileStep::write(&files, offset, data);
    let write = FileWork { then: Then::Note, ..FileWork::new(id, object, files, step) };
    Next::Again(InFlight::File(write))
}

impl FileWork {
    pub(super) fn new(id: OpId, object: Object, files: Arc<OpenFiles>, step: FileStep) -> Self {
        Self { id, object, files, step, cached_only: false, then: Then::End }
    }

    /// A sync of all that was written before.
    pub(super) fn sync(id: OpId, object: Object, files: Arc<OpenFiles>) -> Self {
        let then = Then::Drop(files.behind.take());
        Self { then, ..Self::new(id, object, files, FileStep::Sync) }
    }

    /// A copy onto `object` that is made by reading and writing.
    pub(super) fn copy(id: OpId, object: Object, files: Arc<OpenFiles>, copying: Copying) -> Self {
        let Copying { from, from_files, from_offset, offset, bytes } = copying;
        let length = usize::try_from(bytes).expect("a copy that is read and written fits memory");
        let step = FileStep::read(&from_files, from_offset, Buffer::scratch(length));
        let then = Then::Write(Box::new(WriteTo { object, files, offset }));
        Self { then, ..Self::new(id, from, from_files, step) }
    }

    /// Whether what is left goes past the page cache (D1).
    fn is_direct(&self) -> bool {
        let Some(direct) = self.files.direct.as_ref().filter(|_| !self.cached_only) else {
            return false;
        };
        match &self.step {
            FileStep::Read { offset, buffer: memory, done, .. }
            | FileStep::Write { offset, data: memory, done } => {
                direct.alignment.fits(*offset + *done as u64, &memory[*done..])
            }
            FileStep::Sync
            | FileStep::Zero { .. }
            | FileStep::Allocate { .. }
            | FileStep::Clone(_) => false,
        }
    }

    /// How what is left changes the file, where that has to be kept apart (D2).
    pub(super) fn way(&self) -> Option<Way> {
        self.files.direct.as_ref()?;
        match self.step {
            FileStep::Write { .. } if self.is_direct() => Some(Way::Direct),
            FileStep::Write { .. } | FileStep::Zero { .. } | FileStep::Clone(_) => {
                Some(Way::Cached)
            }
            FileStep::Read { .. } | FileStep::Sync | FileStep::Allocate { .. } => None,
        }
    }

    pub(super) fn submission(&mut self) -> squeue::Entry {
        let is_direct = self.is_direct();
        let file = match &self.files.direct {
            Some(direct) if is_direct => Fd(direct.file.as_raw_fd()),
            _ => Fd(self.files.cached.as_raw_fd()),
        };
        match &mut self.step {
            FileStep::Read { offset, buffer, done, .. } => {
                let rest = &mut buffer[*done..];
                opcode::Read::new(file, rest.as_mut_ptr(), count(rest.len()))
                    .offset(*offset + *done as u64)
                    .build()
            }
            FileStep::Write { offset, data, done } => {
                let at = *offset + *done as u64;
                let piece = if is_direct { usize::MAX } else { piece_bytes(at) };
                let rest = &data[*done..data.len().min(done.saturating_add(piece))];
                opcode::Write::new(file, rest.as_ptr(), count(rest.len())).offset(at).build()
            }
            FileStep::Sync => opcode::Fsync::new(file).flags(FsyncFlags::DATASYNC).build(),
            FileStep::Zero { offset, bytes, space } => {
                let mode = match space {
                    ZeroSpace::Release => libc::FALLOC_FL_PUNCH_HOLE,
                    ZeroSpace::Keep => libc::FALLOC_FL_ZERO_RANGE,
                };
                opcode::Fallocate::new(file, *bytes)
                    .offset(*offset)
                    .mode(mode | libc::FALLOC_FL_KEEP_SIZE)
                    .build()
            }
            FileStep::Allocate { offset, bytes, blocks } => {
                let mode = match blocks {
                    Blocks::Own => libc::FALLOC_FL_UNSHARE_RANGE,
                    Blocks::Any => 0,
                };
                opcode::Fallocate::new(file, *bytes).offset(*offset).mode(mode).build()
            }
            FileStep::Clone(_) => unreachable!("given to the helper"),
        }
    }

    pub(super) fn advance(mut self, result: i32) -> Next {
        if is_transient(result) {
            return Next::Again(InFlight::File(self));
        }
        if result == -libc::EINVAL && self.is_direct() {
            // The file system asks for more alignment than it has told; its cache takes everything.
            self.cached_only = true;
            return Next::Again(InFlight::File(self));
        }
        let Ok(bytes) = usize::try_from(result) else {
            return self.failed(result);
        };
        let Self { id, object, files, step, cached_only, then } = self;
        let step = match step {
            FileStep::Read { mut buffer, done, within, .. } if bytes == 0 => {
                buffer[done..].fill(0);
                return has_read(id, buffer, within, then);
            }
            FileStep::Read { offset, buffer, done, within } => {
                let done = done + bytes;
                if done == buffer.len() {
                    return has_read(id, buffer, within, then);
                }
                FileStep::Read { offset, buffer, done, within }
            }
            FileStep::Write { offset, data, done } => {
                let done = done + bytes;
                if done == data.len() {
                    if matches!(then, Then::Note) && files.direct.is_none() {
                        let range = ByteRange { start: offset, end: offset + done as u64 };
                        files.behind.note(range);
                    }
                    return ended(id, Ok(Outcome::Buffer(data)));
                }
                if bytes == 0 {
                    // No file system does this; trying again for ever would be worse.
                    return ended(id, Err(IoFailure::Io(libc::EIO)));
                }
                FileStep::Write { offset, data, done }
            }
            FileStep::Sync
            | FileStep::Zero { .. }
            | FileStep::Allocate { .. }
            | FileStep::Clone(_) => {
                return match then {
                    Then::Drop(ranges) if !ranges.is_empty() => Next::Synced(id, files, ranges),
                    _ => ended(id, Ok(Outcome::Done)),
                };
            }
        };
        Next::Again(InFlight::File(Self { id, object, files, step, cached_only, then }))
    }

    fn failed(self, result: i32) -> Next {
        let Self { id, object, files, step, .. } = self;
        match step {
            FileStep::Zero { offset, bytes, space } if result == -libc::EOPNOTSUPP => {
                Next::Help(id, Task::Zero { object, files, offset, bytes, space })
            }
            FileStep::Allocate { offset, bytes, blocks: Blocks::Own }
                if matches!(-result, libc::EOPNOTSUPP | libc::EINVAL) =>
            {
                let step = FileStep::Allocate { offset, bytes, blocks: Blocks::Any };
                Next::Again(InFlight::File(Self::new(id, object, files, step)))
            }
            _ => ended(id, Err(IoFailure::from_errno(-result))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::events::Event;
    use super::*;
    use crate::io::Completion;
    use crate::units::VolumeId;

    fn work(step: FileStep) -> InFlight {
        let cached = tempfile::tempfile().expect("a temporary file");
        let files = Arc::new(OpenFiles::new(cached, None));
        let object = Object::Home(VolumeId(1));
        InFlight::File(FileWork::new(OpId(1), object, files, step))
    }

    /// The work that goes on after a result.
    fn again(work: InFlight, result: i32) -> InFlight {
        match work.advance(result) {
            Next::Again(work) => work,
            _ => panic!("{result} should not end the work"),
        }
    }

    fn result(work: InFlight, result: i32) -> Result<Outcome, IoFailure> {
        match work.advance(result) {
            Next::Ended(Event::Completed(Completion { result, .. })) => result,
            _ => panic!("{result} should end the work"),
        }
    }

    #[test]
    fn a_short_write_is_continued_until_every_byte_is_written() {
        let data = Buffer::from(&b"abcdef"[..]);
        let whole = work(FileStep::Write { offset: 100, data, done: 0 });

        let rest = again(whole, 4);

        let InFlight::File(FileWork { step: FileStep::Write { offset: 100, done: 4, .. }, .. }) =
            &rest
        else {
            panic!("four bytes are written");
        };
        let rest = again(rest, -libc::EINTR);
        assert!(matches!(result(rest, 2), Ok(Outcome::Buffer(data)) if *data == *b"abcdef"));
    }

    #[test]
    fn a_short_read_is_continued_and_zero_filled_where_the_object_ends() {
        let buffer = Buffer::from(&b"abcdef"[..]);
        let whole = work(FileStep::Read { offset: 0, buffer, done: 0, within: None });

        let rest = again(again(whole, 3), -libc::EAGAIN);

        assert!(matches!(result(rest, 0), Ok(Outcome::Buffer(read)) if *read == *b"abc\0\0\0"));
    }

    #[test]
    fn a_write_that_makes_no_progress_fails_instead_of_going_round_for_ever() {
        let data = Buffer::from(&b"abc"[..]);
        let write = work(FileStep::Write { offset: 0, data, done: 0 });

        assert_eq!(result(write, 0).unwrap_err(), IoFailure::Io(libc::EIO));
    }

    #[test]
    fn a_failed_sync_is_told_and_not_repeated() {
        assert_eq!(result(work(FileStep::Sync), -libc::EIO).unwrap_err(), IoFailure::Io(libc::EIO));
    }

    #[test]
    fn space_is_asked_for_in_another_way_where_blocks_are_never_shared() {
        let own = FileStep::Allocate { offset: 0, bytes: 10, blocks: Blocks::Own };

        let rest = again(work(own), -libc::EOPNOTSUPP);

        let InFlight::File(FileWork {
            step: FileStep::Allocate { blocks: Blocks::Any, .. }, ..
        }) = &rest
        else {
            panic!("any blocks will do");
        };
        assert_eq!(result(rest, -libc::ENOSPC).unwrap_err(), IoFailure::NoSpace);
    }

    #[test]
    fn zeroing_that_the_file_system_cannot_do_goes_to_the_helper() {
        let zero = FileStep::Zero { offset: 0, bytes: 10, space: ZeroSpace::Keep };

        let next = work(zero).advance(-libc::EOPNOTSUPP);

        assert!(matches!(next, Next::Help(OpId(1), Task::Zero { offset: 0, bytes: 10, .. })));
    }
}

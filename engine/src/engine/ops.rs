//! Operations in flight: what each completion means.

use super::Engine;
use super::background::Turn;
use super::barrier::{BarrierId, HomeWrite, Host, Then};
use super::moves::Scattering;
use super::room::WaitingWrite;
use crate::io::{
    Action, Buffer, Completion, CreateSpace, IoFailure, Object, Op, OpId, Outcome, Stretch,
    ZeroSpace,
};
use crate::journal::WriteTicket;
use crate::lookup::Place;
use crate::request::{ReplyData, RequestError};
use crate::syncs::Syncs;
use crate::tickets::Ticket;
use crate::units::{ByteRange, VolumeId};

/// Longest piece that a transfer moves at once, in bytes.
pub(super) const TRANSFER_BYTES_MAX: u64 = 1 << 20;

/// Whether the backend may let the two homes of a copy share blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sharing {
    /// It may.
    Allowed,
    /// It would cost more than it saves.
    Unwise,
}

/// Why an operation is in flight.
#[derive(Debug)]
pub(super) enum Pending {
    /// A host's read that is one piece, which is at `place`: the buffer is the reply.
    Read { host: Host, range: ByteRange, place: Stretch, ticket: Ticket },
    /// One piece of a host's read.
    ReadPart { read: usize, at: usize },
    /// A host's write or zeroes straight home.
    Write { write: HomeWrite, ticket: Ticket },
    /// A write that a barrier waits for.
    Wrote { barrier: BarrierId, object: Object, ticket: Option<Ticket> },
    /// First half of a transfer: what is read is then written.
    Moving { to: (Object, u64), barrier: BarrierId, ticket: Ticket },
    /// One of the reads that are gathered into one write.
    Gather { gathering: usize, at: usize, ticket: Ticket },
    /// The one read that is scattered into several writes.
    Scatter { scattering: Scattering, ticket: Ticket },
    /// Space in the home for a write that is to be staged.
    Allocate(WaitingWrite),
    /// A batch of frames.
    Journal(WriteTicket),
    /// A sync of one segment.
    JournalSync,
    /// A sync of a home or pool.
    ObjectSync(Object),
    /// A new segment.
    Segment(u32, CreateSpace),
    /// The mark of a new segment that is full of zeroes.
    ReadyMark(u32),
    /// Anything else that a barrier waits for.
    Barrier(BarrierId),
    /// Where a home holds data, for a transfer that keeps holes.
    MapMove {
        from: (VolumeId, u64),
        to: (Object, u64),
        bytes: u64,
        sharing: Sharing,
        barrier: BarrierId,
        ticket: Ticket,
    },
    /// Where a home holds data, for a block status.
    Map { read: usize, at: usize, home: u64 },
    /// Nobody waits (removal of what is no longer named).
    Nobody,
}

/// The error that a host sees.
pub(super) fn host_error(failure: IoFailure) -> RequestError {
    match failure {
        IoFailure::NoSpace => RequestError::NoSpace,
        IoFailure::Io(_) => RequestError::Io,
    }
}

impl Engine {
    /// Emits an operation.
    pub(super) fn emit(&mut self, object: Object, action: Action, pending: Pending) {
        let op = self.op(object, action, pending, Turn::Now);
        self.ops.push(op);
    }

    pub(super) fn op(
        &mut self,
        object: Object,
        action: Action,
        pending: Pending,
        turn: Turn,
    ) -> Op {
        let key = self.pending.insert((pending, turn));
        Op { id: OpId(key as u64), object, action }
    }

    /// Takes a completion.
    pub(super) fn completed(&mut self, completion: Completion) {
        let Ok(key) = usize::try_from(completion.id.0) else {
            return;
        };
        let Some((pending, turn)) = self.pending.remove(key) else {
            return;
        };
        if turn == Turn::Background {
            self.background_ended();
        }
        match pending {
            Pending::Read { host, range, place, ticket } => {
                self.tickets.give_back(ticket);
                let result = completion.result.map_err(host_error).map(|outcome| match outcome {
                    Outcome::Buffer(buffer) => ReplyData::Data(buffer),
                    Outcome::Lent => ReplyData::Lent(place),
                    _ => ReplyData::Done,
                });
                self.reply_read(host, range, result);
            }
            Pending::ReadPart { read, at } => self.read_part(read, at, completion.result),
            Pending::Write { write, ticket } => {
                self.tickets.give_back(ticket);
                self.syncs.entry(write.object).or_default().wrote();
                self.wrote_home(write, completion.result.map(drop).map_err(host_error));
            }
            Pending::Wrote { barrier, object, ticket } => {
                if let Some(ticket) = ticket {
                    self.tickets.give_back(ticket);
                }
                self.syncs.entry(object).or_default().wrote();
                if matches!(completion.result, Err(IoFailure::NoSpace)) {
                    self.destager.set_full(object);
                }
                self.release(barrier, completion.result.map(drop).map_err(host_error));
            }
            Pending::Moving { to, barrier, ticket } => {
                self.tickets.give_back(ticket);
                self.moved(to, barrier, completion.result);
            }
            Pending::Gather { gathering, at, ticket } => {
                self.tickets.give_back(ticket);
                self.gather_part(gathering, at, completion.result);
            }
            Pending::Scatter { scattering, ticket } => {
                self.tickets.give_back(ticket);
                self.scatter(scattering, completion.result);
            }
            Pending::Allocate(write) => self.space_allocated(write, completion.result),
            Pending::Journal(ticket) => self.journal_written(ticket, completion.result),
            Pending::JournalSync => self.journal_synced(completion.result),
            Pending::ObjectSync(object) => self.object_synced(object, completion.result),
            Pending::Segment(slot, space) => self.segment_made(slot, space, completion.result),
            // A slot without its mark is only slower to open.
            Pending::ReadyMark(slot) => self.journal.slot_ready(slot),
            Pending::Barrier(barrier) => {
                self.release(barrier, completion.result.map(drop).map_err(host_error));
            }
            Pending::Map { read, at, home } => self.status_part(read, at, home, completion.result),
            Pending::MapMove { from, to, bytes, sharing, barrier, ticket } => {
                self.move_data(from, to, (bytes, sharing), barrier, completion.result);
                self.tickets.give_back(ticket);
            }
            Pending::Nobody => {}
        }
    }

    /// The object and offset of a place; none for zeroes.
    pub(super) fn object_of(&self, place: Place) -> Option<(Object, u64)> {
        match place {
            Place::Zeroes => None,
            Place::Home(volume, offset) => Some((Object::Home(volume), offset)),
            Place::Pool(pool, offset) => Some((Object::Pool(pool), offset)),
            Place::Journal(position) => self.journal.locate(position),
        }
    }

    /// What is to be moved has been read: it is written.
    fn moved(&mut self, to: (Object, u64), barrier: BarrierId, result: Result<Outcome, IoFailure>) {
        if let Ok(Outcome::Buffer(data)) = result {
            self.write_in_background(to, data, barrier);
        } else {
            // A copy that cannot read its source must not look like a full pool.
            self.release(barrier, Err(RequestError::Io));
        }
    }

    /// Moves `bytes` bytes from a place to an object; the barrier waits for it.
    pub(super) fn transfer(
        &mut self,
        from: Place,
        to: (Object, u64),
        bytes: u64,
        barrier: BarrierId,
    ) {
        debug_assert!(bytes <= TRANSFER_BYTES_MAX);
        let length = usize::try_from(bytes).expect("a transfer fits memory");
        self.hold(barrier);
        let Some((object, offset)) = self.object_of(from) else {
            let action = match to.0 {
                Object::Home(_) => Action::Zero { offset: to.1, bytes, space: ZeroSpace::Release },
                _ => Action::Write { offset: to.1, data: Buffer::zeroed(length) },
            };
            self.emit_in_background(
                to.0,
                action,
                Pending::Wrote { barrier, object: to.0, ticket: None },
            );
            return;
        };
        let ticket = self.tickets.take();
        let pending = Pending::Moving { to, barrier, ticket };
        self.read_in_background(object, offset, length, pending);
    }

    /// Moves bytes from a place to a home, and leaves holes where the place is a home with holes. From home to home the
    /// file system may share the blocks, as `sharing` says.
    pub(super) fn transfer_with_holes(
        &mut self,
        from: Place,
        to: (Object, u64),
        bytes: u64,
        sharing: Sharing,
        barrier: BarrierId,
    ) {
        if let Place::Home(volume, offset) = from {
            self.hold(barrier);
            let ticket = self.tickets.take();
            let from = (volume, offset);
            let map = Pending::MapMove { from, to, bytes, sharing, barrier, ticket };
            self.emit_in_background(Object::Home(volume), Action::Map { offset, bytes }, map);
        } else {
            self.transfer_in_pieces(from, to, bytes, barrier);
        }
    }

    fn transfer_in_pieces(
        &mut self,
        from: Place,
        to: (Object, u64),
        bytes: u64,
        barrier: BarrierId,
    ) {
        let mut done = 0;
        while done < bytes {
            let part = (bytes - done).min(TRANSFER_BYTES_MAX);
            self.transfer(from.advance(done), (to.0, to.1 + done), part, barrier);
            done += part;
        }
    }

    /// The second half: moves the data, releases the space of the holes.
    fn move_data(
        &mut self,
        (volume, offset): (VolumeId, u64),
        to: (Object, u64),
        (bytes, sharing): (u64, Sharing),
        barrier: BarrierId,
        result: Result<Outcome, IoFailure>,
    ) {
        let Ok(Outcome::Data(data)) = result else {
            // A copy that cannot read its source must not look like a full pool.
            self.release(barrier, Err(RequestError::Io));
            return;
        };
        let mut at = offset;
        let end = offset + bytes;
        for range in data.into_iter().chain([ByteRange { start: end, end }]) {
            let start = range.start.clamp(at, end);
            let there = |from: u64| (to.0, to.1 + (from - offset));
            if at < start {
                self.transfer_in_pieces(Place::Zeroes, there(at), start - at, barrier);
            }
            let stop = range.end.clamp(start, end);
            if start < stop {
                let bytes = stop - start;
                match sharing {
                    Sharing::Allowed => self.copy((volume, start), there(start), bytes, barrier),
                    Sharing::Unwise => {
                        let from = Place::Home(volume, start);
                        self.transfer_in_pieces(from, there(start), bytes, barrier);
                    }
                }
            }
            at = stop;
        }
        self.release(barrier, Ok(()));
    }

    /// Has the backend copy bytes of a home to another; the barrier waits for it.
    fn copy(
        &mut self,
        (volume, from_offset): (VolumeId, u64),
        to: (Object, u64),
        bytes: u64,
        barrier: BarrierId,
    ) {
        let from = Object::Home(volume);
        let mut done = 0;
        while done < bytes {
            let part = (bytes - done).min(TRANSFER_BYTES_MAX);
            let offset = to.1 + done;
            let action =
                Action::Copy { offset, from, from_offset: from_offset + done, bytes: part };
            let ticket = Some(self.tickets.take());
            self.hold(barrier);
            self.emit_in_background(to.0, action, Pending::Wrote { barrier, object: to.0, ticket });
            done += part;
        }
    }

    /// Removes an object that nothing names any more. Who waits until it is durable, as the FLUSH of a volume does that
    /// was once its target, need not wait: what it answers for lies elsewhere now.
    pub(super) fn remove_object(&mut self, object: Object) {
        for barrier in self.syncs.remove(&object).map_or_else(Vec::new, Syncs::end) {
            self.release(barrier, Ok(()));
        }
        self.emit(object, Action::Remove, Pending::Nobody);
    }

    /// A barrier that, when it opens, carries out `then` after everything in flight now has ended.
    pub(super) fn after_grace(&mut self, then: Then) {
        let barrier = self.barrier(then);
        self.join_grace(barrier);
        self.release(barrier, Ok(()));
    }
}

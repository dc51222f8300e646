//! Writes: straight home, or into the journal.
//!
//! Invariants
//! - W1 A write goes straight home only if nobody is owed any of its blocks, no live frame holds one,
//!   and on a target each is durably its own (`goes_home`). All blocks of a write go the same way.
//! - W2 The frames of one write follow each other without a record between them: no T0 splits it, but for a write of more
//!   than half a segment, which is carried out in slices so that there is always room for it (M4).
//! - W3 A frame is appended only after credits for all slots that it will need were taken; a copy
//!   that gets none has failed by a record before the frame (rule O7).
//! - W4 A staged write is visible, and answered, when its journal write and all before it have completed.
//! - W5 While a home or pool finds the file system full, a write is staged only when it will fit there (rule O9).

use super::Engine;
use super::barrier::{Finish, HomeWrite, Host, Then};
use super::ops::Pending;
use super::room::WaitingWrite;
use crate::io::{Action, Buffer, IoFailure, Object, Outcome, ZeroSpace};
use crate::limits;
use crate::lookup::{Piece, View};
use crate::request::{Durability, RequestAction, RequestError};
use crate::stage::{Content, Frame};
use crate::state::{Backing, Health, Record, Volume};
use crate::tickets::Ticket;
use crate::units::{BLOCK_BYTES, Block, ByteRange, Position, RelationshipId, Seq, VolumeId};

/// A change of a range: what trims, zeroes and data have in common once they are carried out.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) volume: VolumeId,
    pub(super) range: ByteRange,
    pub(super) bytes: NewBytes,
    pub(super) durability: Durability,
}

#[derive(Debug)]
pub(super) enum NewBytes {
    Data(Buffer),
    Zeroes(ZeroSpace),
    /// Advice: may be left undone.
    Trim,
}

impl Change {
    /// What it does to a part of its range.
    fn part(&self, range: ByteRange) -> NewBytes {
        let at = |byte: u64| usize::try_from(byte - self.range.start).expect("within the request");
        match &self.bytes {
            NewBytes::Data(data) => {
                NewBytes::Data(Buffer::from(&data[at(range.start)..at(range.end)]))
            }
            NewBytes::Zeroes(space) => NewBytes::Zeroes(*space),
            NewBytes::Trim => NewBytes::Trim,
        }
    }
}

/// A request too long to be staged at once; carried out in slices.
#[derive(Debug)]
pub(super) struct LongRequest {
    host: Host,
    change: Change,
    at: u64,
    slice_bytes: u64,
}

/// A frame whose journal write has not completed.
#[derive(Debug)]
pub(super) struct Unwritten {
    frame: Frame,
    end: Position,
    /// Of a write's last frame: who is told, and when.
    last: Option<(Finish, Durability, Ticket)>,
}

impl Unwritten {
    /// The frame's number.
    pub(super) fn seq(&self) -> Seq {
        self.frame.seq
    }
}

impl Engine {
    /// Carries out a write, zeroing or trim.
    pub(super) fn write(&mut self, host: Host, action: RequestAction) {
        let (range, bytes, durability) = match action {
            RequestAction::Write { offset, data, durability } => {
                let range = ByteRange { start: offset, end: offset + data.len() as u64 };
                (range, NewBytes::Data(data), durability)
            }
            RequestAction::WriteZeroes { range, space, durability } => {
                (range, NewBytes::Zeroes(space), durability)
            }
            RequestAction::Trim { range, durability } => (range, NewBytes::Trim, durability),
            RequestAction::Read { .. }
            | RequestAction::Flush
            | RequestAction::BlockStatus { .. } => {
                return;
            }
        };
        let change = Change { volume: host.volume, range, bytes, durability };
        let slice_bytes = self.slice_bytes_max(&change.bytes);
        if change.range.bytes() > slice_bytes && !self.is_plain(host.volume) {
            let at = change.range.start;
            let key = self.long.insert(LongRequest { host, change, at, slice_bytes });
            self.continue_long(key, Ok(()));
            return;
        }
        self.change(Finish::Host(host), change);
    }

    /// Carries out the next slice of a long request.
    pub(super) fn continue_long(&mut self, key: usize, result: Result<(), RequestError>) {
        let Some(long) = self.long.get_mut(key) else {
            return;
        };
        if result.is_err() || long.at == long.change.range.end {
            if let Some(long) = self.long.remove(key) {
                self.finish(Finish::Host(long.host), result);
            }
            return;
        }
        let start = long.at;
        let aligned = (start + long.slice_bytes) / BLOCK_BYTES * BLOCK_BYTES;
        long.at = aligned.min(long.change.range.end);
        let range = ByteRange { start, end: long.at };
        let bytes = long.change.part(range);
        let (volume, durability) = (long.change.volume, long.change.durability);
        let barrier = self.barrier(Then::Continue(key));
        self.change(Finish::Barrier(barrier), Change { volume, range, bytes, durability });
    }

    /// Length of what is staged at once.
    fn slice_bytes_max(&self, bytes: &NewBytes) -> u64 {
        match bytes {
            NewBytes::Data(_) => self.journal.segment_bytes() / 2,
            NewBytes::Zeroes(_) | NewBytes::Trim => limits::FRAME_ZERO_MAX,
        }
    }

    /// True when writes of the volume cannot concern anything but its home.
    fn is_plain(&self, id: VolumeId) -> bool {
        self.state.volumes.get(&id).is_some_and(|volume| {
            volume.is_simplex()
                && matches!(volume.backing, Backing::Home)
                && self.stage.is_empty(id)
        })
    }

    pub(super) fn change(&mut self, finish: Finish, mut change: Change) {
        if self.freezes.is_frozen(change.volume) {
            // A slice of a long request, begun before the freeze.
            self.freezes.park(change.volume, WaitingWrite { finish, change });
            return;
        }
        if let Err(error) = self.may_write(&change) {
            self.finish(finish, Err(error));
            return;
        }
        if matches!(change.bytes, NewBytes::Trim) {
            let start = change.range.start.next_multiple_of(BLOCK_BYTES);
            let end = change.range.end / BLOCK_BYTES * BLOCK_BYTES;
            if start >= end {
                self.finish(finish, Ok(()));
                return;
            }
            change.range = ByteRange { start, end };
        }
        if self.goes_home(change.volume, change.range) {
            self.write_home(finish, change);
            return;
        }
        let Some(volume) = self.state.volumes.get(&change.volume) else {
            return;
        };
        let is_target = !volume.as_target.is_empty();
        match (&change.bytes, &volume.backing) {
            (NewBytes::Trim, Backing::Thin(_)) if !is_target => self.trim_thin(finish, &change),
            (NewBytes::Trim, Backing::Home) if !is_target => self.finish(finish, Ok(())),
            (NewBytes::Zeroes(_), Backing::Thin(thin))
                if !is_target
                    && thin.slots.range(change.range.blocks()).next().is_none()
                    && !self.stage.touches(change.volume, change.range.blocks()) =>
            {
                self.finish(finish, Ok(()));
            }
            _ => self.stage_if_it_fits(finish, change),
        }
    }

    pub(super) fn may_write(&self, change: &Change) -> Result<(), RequestError> {
        if self.fail_stop.is_some() {
            return Err(RequestError::FailStop);
        }
        let volume =
            self.state.volumes.get(&change.volume).ok_or(RequestError::NoVolume(change.volume))?;
        // Asked for every write, and most volumes are nobody's target.
        if !volume.as_target.is_empty() {
            self.may_write_target(volume, change.range)?;
        }
        let pool_failed = volume
            .pool()
            .and_then(|pool| self.state.pools.get(&pool))
            .is_some_and(|pool| pool.failed);
        if pool_failed { Err(RequestError::Io) } else { Ok(()) }
    }

    fn may_write_target(&self, volume: &Volume, range: ByteRange) -> Result<(), RequestError> {
        for known in self.relationships_onto(volume, range) {
            if known.health != Health::Good {
                return Err(RequestError::Failed);
            }
            if known.inhibits_target() {
                return Err(RequestError::Inhibited);
            }
        }
        Ok(())
    }

    /// The one predicate of the write path (W1).
    fn goes_home(&self, id: VolumeId, range: ByteRange) -> bool {
        let Some(volume) = self.state.volumes.get(&id) else {
            return false;
        };
        let blocks = range.blocks();
        if let Backing::Thin(thin) = &volume.backing
            && !blocks.clone().all(|block| thin.owns(Block(block)))
        {
            return false;
        }
        if !volume.is_simplex() && self.copies_need_staging(id, volume, range) {
            return false;
        }
        // Last, since it searches all that is staged: most first writes under a copy are decided by now.
        !self.stage.touches(id, blocks) || breaks!(self, DirectWritePastLiveFrame)
    }

    /// True when a copy forbids that the write goes straight home: one is owed a block, the target does not durably have it
    /// for its own, or the change must be noted first.
    fn copies_need_staging(&self, id: VolumeId, volume: &Volume, range: ByteRange) -> bool {
        let mut chains = self.state.pools.values().filter_map(|pool| pool.chains.get(&id));
        if !chains.all(|chain| range.blocks().all(|block| chain.newest_keeps(Block(block)))) {
            return true;
        }
        let tracks = tracks_of(volume, range);
        let owed_to_copy = |ids: &[RelationshipId], tracks: std::ops::Range<u32>| {
            ids.iter()
                .filter_map(|id| self.state.relationships.get(id))
                .any(|relationship| tracks.clone().any(|track| relationship.holds_track(track)))
        };
        if volume
            .as_source
            .overlapping(tracks.clone())
            .any(|(tracks, ids)| owed_to_copy(ids, tracks))
        {
            return true;
        }
        let not_own = |ids: &[RelationshipId], tracks: std::ops::Range<u32>| {
            ids.iter().filter_map(|id| self.state.relationships.get(id)).any(|relationship| {
                tracks.clone().any(|track| relationship.target_reads_source(track))
            })
        };
        if volume.as_target.overlapping(tracks.clone()).any(|(tracks, ids)| not_own(ids, tracks)) {
            return true;
        }
        !self.changes_are_noted(volume, &tracks)
    }

    fn write_home(&mut self, finish: Finish, change: Change) {
        self.stats.direct_writes += 1;
        let mut pieces: Vec<Piece> = Vec::with_capacity(1);
        let view = View { state: &self.state, stage: &self.stage };
        if view.read(change.volume, change.range, &mut pieces).is_err() {
            self.finish(finish, Err(RequestError::Failed));
            return;
        }
        if let [piece] = pieces[..]
            && let Some((object, offset)) = self.object_of(piece.place)
        {
            let write = HomeWrite { finish, object, durability: change.durability };
            let ticket = self.tickets.take();
            let action = match change.bytes {
                NewBytes::Data(data) => Action::Write { offset, data },
                NewBytes::Zeroes(space) => {
                    Action::Zero { offset, bytes: change.range.bytes(), space }
                }
                NewBytes::Trim => {
                    let space = ZeroSpace::Release;
                    Action::Zero { offset, bytes: change.range.bytes(), space }
                }
            };
            self.emit(object, action, Pending::Write { write, ticket });
            return;
        }
        self.write_home_in_parts(finish, &change, pieces);
    }

    fn write_home_in_parts(&mut self, finish: Finish, change: &Change, pieces: Vec<Piece>) {
        let Some(object) =
            pieces.first().and_then(|piece| self.object_of(piece.place)).map(|(object, _)| object)
        else {
            self.finish(finish, Err(RequestError::Io));
            return;
        };
        let write = HomeWrite { finish, object, durability: change.durability };
        let barrier = self.barrier(Then::WroteHome(write));
        for piece in pieces {
            let Some((object, offset)) = self.object_of(piece.place) else {
                continue;
            };
            let bytes = piece.range.bytes();
            let action = match change.part(piece.range) {
                NewBytes::Data(data) => Action::Write { offset, data },
                NewBytes::Zeroes(space) => Action::Zero { offset, bytes, space },
                NewBytes::Trim => Action::Zero { offset, bytes, space: ZeroSpace::Release },
            };
            let ticket = Some(self.tickets.take());
            self.hold(barrier);
            self.emit(object, action, Pending::Wrote { barrier, object, ticket });
        }
        self.release(barrier, Ok(()));
    }

    /// A write is home: tells, after a sync if it was asked to be durable.
    pub(super) fn wrote_home(&mut self, write: HomeWrite, result: Result<(), RequestError>) {
        if result.is_ok() && write.durability == Durability::Durable {
            let barrier = self.barrier(Then::Finish(write.finish));
            self.join_object(barrier, write.object);
            self.release(barrier, Ok(()));
        } else {
            self.finish(write.finish, result);
        }
    }

    /// Gives back the slots of a thin volume that is no target. What is staged, or about to be, keeps
    /// its slot: a trim is advice.
    fn trim_thin(&mut self, finish: Finish, change: &Change) {
        let id = change.volume;
        let blocks = change.range.blocks();
        let mut frames = self.journaling.unwritten.iter().map(|next| &next.frame);
        let staged = self.stage.touches(id, blocks.clone())
            || frames.any(|frame| frame.volume == id && frame.range.overlaps(change.range));
        let backing = self.state.volumes.get_mut(&id).map(|volume| &mut volume.backing);
        let Some(Backing::Thin(thin)) = backing else {
            self.finish(finish, Ok(()));
            return;
        };
        let has_slots = thin.slots.range(blocks.clone()).next().is_some();
        // The reserve of the journal is for records that make room, not for advice.
        if staged || !has_slots || self.journal.room() == 0 {
            self.finish(finish, Ok(()));
            return;
        }
        thin.trimming.set(blocks.clone());
        let runs = vec![(blocks.start, blocks.end - blocks.start)];
        let barrier = self.barrier(Then::Finish(finish));
        self.append(Record::Trimmed { volume: id, runs }, Some(barrier));
    }

    /// Stages a change, after a look whether it will fit its home where that found the file system full (W5).
    fn stage_if_it_fits(&mut self, finish: Finish, change: Change) {
        let Some(volume) = self.state.volumes.get(&change.volume) else {
            return;
        };
        match (&volume.backing, &change.bytes) {
            (Backing::Home, NewBytes::Data(data))
                if self.destager.found_full(Object::Home(change.volume)) =>
            {
                let object = Object::Home(change.volume);
                let (offset, bytes) = (change.range.start, data.len() as u64);
                let write = WaitingWrite { finish, change };
                self.emit(object, Action::Allocate { offset, bytes }, Pending::Allocate(write));
            }
            (Backing::Thin(thin), bytes)
                if self.destager.found_full(Object::Pool(thin.pool))
                    && !change.range.blocks().all(|block| thin.slots.contains(Block(block))) =>
            {
                let is_advice = matches!(bytes, NewBytes::Trim);
                self.finish(finish, if is_advice { Ok(()) } else { Err(RequestError::NoSpace) });
            }
            _ => self.stage_or_wait(finish, change),
        }
    }

    /// The home has space for a write, or has none.
    pub(super) fn space_allocated(
        &mut self,
        WaitingWrite { finish, change }: WaitingWrite,
        result: Result<Outcome, IoFailure>,
    ) {
        // What was true when it began to wait may not be true any more.
        match result.map_err(|_| RequestError::NoSpace).and_then(|_| self.may_write(&change)) {
            Ok(()) => self.stage_or_wait(finish, change),
            Err(error) => self.finish(finish, Err(error)),
        }
    }

    pub(super) fn stage_change(&mut self, finish: Finish, change: Change) {
        if let Err(error) = self.take_own_credits(change.volume, change.range) {
            self.finish(finish, Err(error));
            return;
        }
        if !breaks!(self, FailedRecordAfterFrame) {
            self.take_preserve_credits(change.volume, change.range);
        }
        self.stats.staged_writes += 1;
        let ticket = self.tickets.take();
        let step = match change.bytes {
            NewBytes::Data(_) => self.journal.payload_max(),
            NewBytes::Zeroes(_) | NewBytes::Trim => limits::FRAME_ZERO_MAX,
        };
        let mut at = change.range.start;
        let mut last = Some((finish, change.durability, ticket));
        while at < change.range.end {
            let end = (at / step * step + step).min(change.range.end);
            let range = ByteRange { start: at, end };
            let (appended, content) = match &change.bytes {
                NewBytes::Data(data) => {
                    let from =
                        usize::try_from(at - change.range.start).expect("within the request");
                    let to = usize::try_from(end - change.range.start).expect("within the request");
                    let appended = self.journal.append_data(change.volume, at, &data[from..to]);
                    self.stats.staged_write_bytes += range.bytes();
                    (appended, Content::Journal(appended.payload))
                }
                NewBytes::Zeroes(_) | NewBytes::Trim => {
                    (self.journal.append_zeroes(change.volume, range), Content::Zeroes)
                }
            };
            let position = appended.payload.min(Position(appended.end.0 - 1));
            let frame =
                Frame { seq: appended.seq, volume: change.volume, range, position, content };
            self.note_change(change.volume, range, appended.end);
            let is_last = end == change.range.end;
            let last = if is_last { last.take() } else { None };
            self.journaling.unwritten_blocks += range.blocks().len() as u64;
            self.journaling.unwritten.push_back(Unwritten { frame, end: appended.end, last });
            at = end;
        }
        if breaks!(self, FailedRecordAfterFrame) {
            self.take_preserve_credits(change.volume, change.range);
        }
        self.journaling.appended(self.now);
        self.destager.host_wrote(self.now);
    }

    /// Frames whose journal write has completed become visible and are answered (W4).
    pub(super) fn frames_written(&mut self) {
        let written = self.journal.written();
        while self.journaling.unwritten.front().is_some_and(|next| next.end <= written) {
            let Some(next) = self.journaling.unwritten.pop_front() else {
                return;
            };
            self.journaling.unwritten_blocks -= next.frame.range.blocks().len() as u64;
            let keep =
                self.state.volumes.get(&next.frame.volume).map_or(next.frame.seq, |v| v.newest_t0);
            self.stage.insert(next.frame, keep);
            let Some((finish, durability, ticket)) = next.last else {
                continue;
            };
            self.tickets.give_back(ticket);
            match durability {
                Durability::Volatile => self.finish(finish, Ok(())),
                Durability::Durable => {
                    let barrier = self.barrier(Then::Finish(finish));
                    self.join_journal(barrier, next.end);
                    self.release(barrier, Ok(()));
                }
            }
        }
    }

    /// After a failed journal write: nobody is told that a frame was written.
    pub(super) fn fail_unwritten(&mut self) {
        self.journaling.unwritten_blocks = 0;
        for next in std::mem::take(&mut self.journaling.unwritten) {
            if let Some((finish, _, ticket)) = next.last {
                self.tickets.give_back(ticket);
                self.finish(finish, Err(RequestError::FailStop));
            }
        }
    }
}

/// Tracks of a volume that a range touches.
pub(super) fn tracks_of(volume: &Volume, range: ByteRange) -> std::ops::Range<u32> {
    let per_track = volume.geometry.track_blocks();
    let blocks = range.blocks();
    blocks.start / per_track..blocks.end.div_ceil(per_track)
}

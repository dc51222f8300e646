//! Requests of hosts: checks, gates, reads, block status, and long requests carried out in slices.
//!
//! Invariants
//! - H1 A request is counted in its volume's `in_flight` from here to its reply.
//! - H2 While a volume's gate is shut, its requests wait there in order; those in flight go on.
//! - H3 A reply names bytes instead of carrying them only when all of them are their own home: the same bytes of the same
//!   volume. What becomes of those until the client has them are writes, and moments, of these very bytes, which a read may
//!   meet on its way; or, where a copy onto them fails, what it leaves of them. The home of others would show a target what
//!   its source was given after the moment.

use super::Engine;
use super::barrier::{BarrierId, Finish, Host, Then};
use super::ops::{Pending, host_error};
use super::write::tracks_of;
use crate::io::{Action, Buffer, IoFailure, Outcome, Stretch};
use crate::limits;
use crate::lookup::{Piece, Place, View};
use crate::request::{
    Allocation, Reply, ReplyData, Request, RequestAction, RequestError, StatusExtent,
};
use crate::state::{Health, Relationship, Volume};
use crate::tickets::Ticket;
use crate::units::{ByteRange, VolumeId};

/// A host's read, or block status, that has several pieces.
#[derive(Debug)]
pub(super) struct ReadInParts {
    host: Host,
    range: ByteRange,
    gathered: Gathered,
    barrier: BarrierId,
    ticket: Ticket,
}

#[derive(Debug)]
enum Gathered {
    Data(Buffer),
    /// Ranges that may hold data and ranges that are zeroes though recorded; the rest is a hole.
    Status {
        data: Vec<ByteRange>,
        zeroes: Vec<ByteRange>,
    },
}

/// The bytes that a request speaks of; none for a flush.
fn range_of(action: &RequestAction) -> Option<ByteRange> {
    match action {
        RequestAction::Read { range }
        | RequestAction::Trim { range, .. }
        | RequestAction::WriteZeroes { range, .. }
        | RequestAction::BlockStatus { range } => Some(*range),
        RequestAction::Write { offset, data, .. } => ByteRange::new(*offset, data.len() as u64),
        RequestAction::Flush => Some(ByteRange { start: 0, end: 0 }),
    }
}

/// Whether a request makes sense for a volume of `size` bytes.
fn check(action: &RequestAction, size: u64) -> Result<(), RequestError> {
    let past = ByteRange { start: u64::MAX, end: u64::MAX };
    let range = range_of(action).unwrap_or(past);
    let writes = matches!(action, RequestAction::Write { .. } | RequestAction::WriteZeroes { .. });
    if range.start > range.end || range.end > size {
        return Err(if writes {
            RequestError::WritePastEnd { range, size }
        } else {
            RequestError::PastEnd { range, size }
        });
    }
    let carries_data = matches!(action, RequestAction::Read { .. } | RequestAction::Write { .. });
    if carries_data && range.bytes() > limits::REQUEST_BYTES_MAX {
        return Err(RequestError::TooLong(range.bytes()));
    }
    Ok(())
}

impl Engine {
    /// Checks a request and carries it out, or lets it wait at the volume's gate.
    pub(super) fn intake(&mut self, request: Request) {
        let checked = match self.state.volumes.get(&request.volume) {
            None => Err(RequestError::NoVolume(request.volume)),
            Some(volume) => check(&request.action, volume.geometry.size_bytes()),
        };
        if let Err(error) = checked {
            self.replies.push(Reply { id: request.id, result: Err(error) });
            return;
        }
        let runtime = self.runtimes.entry(request.volume).or_default();
        if let Some(gate) = &mut runtime.gate {
            gate.push(request);
            return;
        }
        let Some(request) = self.hold_if_frozen(request) else {
            return;
        };
        self.runtimes.entry(request.volume).or_default().in_flight += 1;
        self.perform(request);
    }

    /// Carries out a request that is counted in flight.
    pub(super) fn perform(&mut self, request: Request) {
        let timed =
            matches!(request.action, RequestAction::Read { .. } | RequestAction::Write { .. });
        let taken_us = timed.then_some(self.now.monotonic_us);
        let host = Host { id: request.id, volume: request.volume, taken_us };
        let empty = range_of(&request.action).is_none_or(ByteRange::is_empty);
        match request.action {
            RequestAction::Flush => self.flush(host),
            RequestAction::BlockStatus { range } if empty => {
                let _ = range;
                self.reply(host, Ok(ReplyData::Status(Vec::new())));
            }
            RequestAction::Read { .. } if empty => {
                self.reply(host, Ok(ReplyData::Data(Buffer::default())));
            }
            _ if empty => self.reply(host, Ok(ReplyData::Done)),
            RequestAction::Read { range } => self.read(host, range),
            RequestAction::BlockStatus { range } => self.status(host, range),
            action => self.write(host, action),
        }
    }

    /// Sends the one reply.
    pub(super) fn reply(&mut self, host: Host, result: Result<ReplyData, RequestError>) {
        if let Some(runtime) = self.runtimes.get_mut(&host.volume) {
            runtime.in_flight = runtime.in_flight.saturating_sub(1);
        }
        if let Some(taken_us) = host.taken_us {
            self.copier.host_answered(taken_us, self.now.monotonic_us);
        }
        self.replies.push(Reply { id: host.id, result });
    }

    /// Tells that a write or flush has ended.
    pub(super) fn finish(&mut self, finish: Finish, result: Result<(), RequestError>) {
        match finish {
            Finish::Host(host) => self.reply(host, result.map(|()| ReplyData::Done)),
            Finish::Barrier(barrier) => self.release(barrier, result),
        }
    }

    /// The volume's requests wait from now on, until everybody who shut the gate has opened it.
    pub(super) fn shut_gate(&mut self, volume: VolumeId) {
        let runtime = self.runtimes.entry(volume).or_default();
        runtime.gate.get_or_insert_default();
        runtime.gate_shut += 1;
    }

    /// The volume's requests go on, unless somebody else holds the gate shut.
    pub(super) fn open_gate(&mut self, volume: VolumeId) {
        let runtime = self.runtimes.entry(volume).or_default();
        runtime.gate_shut = runtime.gate_shut.saturating_sub(1);
        if runtime.gate_shut > 0 {
            return;
        }
        let waiting = runtime.gate.take();
        for request in waiting.into_iter().flatten() {
            self.intake(request);
        }
    }

    fn read(&mut self, host: Host, range: ByteRange) {
        let mut pieces = Vec::with_capacity(1);
        let view = View { state: &self.state, stage: &self.stage };
        if view.read(host.volume, range, &mut pieces).is_err() {
            let broken = breaks!(self, ServeFailedTarget);
            let zeroes =
                Buffer::zeroed(usize::try_from(range.bytes()).expect("requests are bounded"));
            let served =
                if broken { Ok(ReplyData::Data(zeroes)) } else { Err(RequestError::Failed) };
            self.reply(host, served);
            return;
        }
        self.copy_on_read(host.volume, range);
        let length = usize::try_from(range.bytes()).expect("requests are bounded");
        if let [piece] = pieces[..] {
            let Some((object, offset)) = self.object_of(piece.place) else {
                self.reply(host, Ok(ReplyData::Data(Buffer::zeroed(length))));
                return;
            };
            let ticket = self.tickets.take();
            let action = if self.may_be_lent(host.volume, piece) {
                Action::Lend { offset, bytes: length }
            } else {
                Action::Read { offset, buffer: Buffer::scratch(length) }
            };
            let place = ByteRange { start: offset, end: offset + range.bytes() };
            let place = Stretch { object, range: place };
            self.emit(object, action, Pending::Read { host, range, place, ticket });
            return;
        }
        let read = self.gather(host, range, Gathered::Data(Buffer::zeroed(length)));
        for piece in pieces {
            let Some((object, offset)) = self.object_of(piece.place) else {
                continue;
            };
            let at = usize::try_from(piece.range.start - range.start).expect("within the request");
            let part = usize::try_from(piece.range.bytes()).expect("within the request");
            self.hold_read(read);
            let action = Action::Read { offset, buffer: Buffer::scratch(part) };
            self.emit(object, action, Pending::ReadPart { read, at });
        }
        self.release_read(read, Ok(()));
    }

    /// Whether the reply to a read that is one piece may name the bytes (H3).
    fn may_be_lent(&self, volume: VolumeId, piece: Piece) -> bool {
        let is_own = piece.place == Place::Home(volume, piece.range.start)
            || (breaks!(self, LendBytesOfOthers) && matches!(piece.place, Place::Home(..)));
        is_own && (limits::LENT_BYTES_MIN..=limits::LENT_BYTES_MAX).contains(&piece.range.bytes())
    }

    /// Under the `xp7` profile a read of a full target lets the tracks be copied that it found on the source (row
    /// T2-01); it does not wait for that.
    fn copy_on_read(&mut self, id: VolumeId, range: ByteRange) {
        if !self.policy.copies_on_read() {
            return;
        }
        let Some(volume) = self.state.volumes.get(&id).filter(|known| !known.as_target.is_empty())
        else {
            return;
        };
        for (tracks, ids) in volume.as_target.overlapping(tracks_of(volume, range)) {
            for id in ids {
                let Some(known) = self.state.relationships.get(id) else { continue };
                for track in tracks.clone().filter(|&track| known.target_reads_source(track)) {
                    self.copier.want(*id, track - known.pair.target_track);
                }
            }
        }
    }

    fn gather(&mut self, host: Host, range: ByteRange, gathered: Gathered) -> usize {
        let ticket = self.tickets.take();
        let barrier = self.barrier(Then::Nothing);
        let read = self.reads.insert(ReadInParts { host, range, gathered, barrier, ticket });
        self.set_then(barrier, Then::Read(read));
        read
    }

    fn hold_read(&mut self, read: usize) {
        if let Some(barrier) = self.reads.get_mut(read).map(|read| read.barrier) {
            self.hold(barrier);
        }
    }

    fn release_read(&mut self, read: usize, result: Result<(), RequestError>) {
        if let Some(barrier) = self.reads.get_mut(read).map(|read| read.barrier) {
            self.release(barrier, result);
        }
    }

    /// Takes one piece of a read.
    pub(super) fn read_part(&mut self, read: usize, at: usize, result: Result<Outcome, IoFailure>) {
        let result = match (result, self.reads.get_mut(read).map(|read| &mut read.gathered)) {
            (Ok(Outcome::Buffer(part)), Some(Gathered::Data(whole))) => {
                whole[at..at + part.len()].copy_from_slice(&part);
                Ok(())
            }
            (Err(failure), _) => Err(host_error(failure)),
            (Ok(_), _) => Ok(()),
        };
        self.release_read(read, result);
    }

    /// Answers a read whose pieces are all there.
    pub(super) fn finish_read(&mut self, read: usize, result: Result<(), RequestError>) {
        let Some(read) = self.reads.remove(read) else {
            return;
        };
        self.tickets.give_back(read.ticket);
        let data = match read.gathered {
            Gathered::Data(buffer) => ReplyData::Data(buffer),
            Gathered::Status { data, zeroes } => {
                ReplyData::Status(status_extents(read.range, &data, &zeroes))
            }
        };
        self.reply_read(read.host, read.range, result.map(|()| data));
    }

    /// Sends what was read, unless its image has failed meanwhile: from then on the source's writes go straight
    /// home, and may have met the read there.
    pub(super) fn reply_read(
        &mut self,
        host: Host,
        range: ByteRange,
        result: Result<ReplyData, RequestError>,
    ) {
        let volume = self.state.volumes.get(&host.volume);
        let gone = volume.is_some_and(|volume| self.image_is_gone(volume, range))
            && !breaks!(self, ServeFailedTarget);
        self.reply(host, if gone { Err(RequestError::Failed) } else { result });
    }

    /// True when some of these bytes of a target belong to a relationship that has failed: nobody can read or write them.
    pub(super) fn image_is_gone(&self, volume: &Volume, range: ByteRange) -> bool {
        // Asked for every read, and most volumes are nobody's target.
        !volume.as_target.is_empty()
            && self.relationships_onto(volume, range).any(|known| known.health != Health::Good)
    }

    /// Relationships whose target some of these bytes are.
    pub(super) fn relationships_onto<'a>(
        &'a self,
        volume: &'a Volume,
        range: ByteRange,
    ) -> impl Iterator<Item = &'a Relationship> {
        volume
            .as_target
            .overlapping(tracks_of(volume, range))
            .flat_map(|(_, ids)| ids)
            .filter_map(|id| self.state.relationships.get(id))
    }

    fn status(&mut self, host: Host, range: ByteRange) {
        // Status of a long range is told for its beginning: clients ask again for the rest.
        let end = range.end.min(range.start.saturating_add(limits::STATUS_BYTES_MAX));
        let range = ByteRange { start: range.start, end };
        let mut pieces: Vec<Piece> = Vec::new();
        let view = View { state: &self.state, stage: &self.stage };
        if view.read(host.volume, range, &mut pieces).is_err() {
            self.reply(host, Err(RequestError::Failed));
            return;
        }
        let mut data = Vec::new();
        let mut zeroes = Vec::new();
        let mut homes = Vec::new();
        for piece in pieces {
            match piece.place {
                Place::Zeroes if self.stage.touches(host.volume, piece.range.blocks()) => {
                    zeroes.push(piece.range);
                }
                Place::Zeroes => {}
                Place::Home(..) => homes.push(piece),
                Place::Pool(..) | Place::Journal(_) => data.push(piece.range),
            }
        }
        let read = self.gather(host, range, Gathered::Status { data, zeroes });
        for piece in homes {
            let Some((object, offset)) = self.object_of(piece.place) else {
                continue;
            };
            let at = usize::try_from(piece.range.start - range.start).expect("within the request");
            self.hold_read(read);
            let action = Action::Map { offset, bytes: piece.range.bytes() };
            // `Map` answers in offsets of the object; `at` and the home offset differ for a target.
            self.emit(object, action, Pending::Map { read, at, home: offset });
        }
        self.release_read(read, Ok(()));
    }

    /// Takes the data ranges of one home.
    pub(super) fn status_part(
        &mut self,
        read: usize,
        at: usize,
        home: u64,
        result: Result<Outcome, IoFailure>,
    ) {
        let result = match (result, self.reads.get_mut(read)) {
            (Ok(Outcome::Data(found)), Some(read)) => {
                let base = read.range.start + at as u64;
                if let Gathered::Status { data, .. } = &mut read.gathered {
                    data.extend(found.into_iter().map(|range| ByteRange {
                        start: range.start - home + base,
                        end: range.end - home + base,
                    }));
                }
                Ok(())
            }
            (Err(failure), _) => Err(host_error(failure)),
            (Ok(_), _) => Ok(()),
        };
        self.release_read(read, result);
    }
}

/// Extents over the whole range: data where any range of `data` lies, zero where `zeroes` do, else holes.
fn status_extents(range: ByteRange, data: &[ByteRange], zeroes: &[ByteRange]) -> Vec<StatusExtent> {
    let mut marks: Vec<(ByteRange, Allocation)> = data
        .iter()
        .map(|&range| (range, Allocation::Data))
        .chain(zeroes.iter().map(|&range| (range, Allocation::Zero)))
        .collect();
    marks.sort_by_key(|(range, _)| range.start);
    let mut extents: Vec<StatusExtent> = Vec::new();
    let mut push = |bytes: u64, status: Allocation| match extents.last_mut() {
        _ if bytes == 0 => {}
        Some(last) if last.status == status => last.bytes += bytes,
        _ => extents.push(StatusExtent { bytes, status }),
    };
    let mut at = range.start;
    for (mark, status) in marks {
        let start = mark.start.clamp(at, range.end);
        let end = mark.end.clamp(start, range.end);
        push(start - at, Allocation::Hole);
        push(end - start, status);
        at = end;
    }
    push(range.end - at, Allocation::Hole);
    extents
}

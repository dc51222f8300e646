//! Moves: bytes on their way from a place to an object, joined where both sides are neighbours.
//!
//! Where only one side is, operations are saved on that side:
//! - what goes to neighbouring places is gathered: several reads, then one write (blocks preserved in new slots);
//! - what comes from neighbouring places is scattered: one read, then several writes (frames of the journal, whose headers
//!   lie in between).
//!
//! Invariants
//! - V1 The moves of one call do not overlap where they go to, so their writes may end in any order.
//! - V2 Nothing is written of a gathering of which a read failed; the barrier gets the error.
//! - V3 Every byte of a gathering is read or zeroed before it is written: its memory was used before.

use super::Engine;
use super::barrier::BarrierId;
use super::ops::{Pending, TRANSFER_BYTES_MAX};
use crate::io::{Buffer, IoFailure, Object, Outcome};
use crate::journal::FRAME_HEADER_BYTES;
use crate::lookup::{Piece, Place};
use crate::request::RequestError;
use crate::stage::Content;
use crate::units::{BLOCK_BYTES, Block, ByteRange, PoolId, Slot};

/// Bytes to be moved to an object.
#[derive(Clone, Copy, Debug)]
pub(super) struct Move {
    pub(super) from: Place,
    pub(super) to: (Object, u64),
    pub(super) bytes: u64,
}

/// Bytes that are gathered into one write, or scattered from one read, at most.
const JOINED_BYTES_MAX: u64 = 256 << 10;
/// Bytes of each part of these.
const PART_BYTES_MAX: u64 = 16 << 10;
/// Bytes between two frames' data that are read along: a header and the rest of a block.
const GAP_BYTES_MAX: u64 = FRAME_HEADER_BYTES + BLOCK_BYTES;

/// Several reads on their way into one write.
#[derive(Debug)]
pub(super) struct Gathering {
    to: (Object, u64),
    bytes: usize,
    /// Empty until the first read has ended: a batch has more gatherings than memory should be taken for at a time.
    data: Buffer,
    /// What no read fills: where in `data` it begins, and how long it is.
    zeroes: Vec<(usize, usize)>,
    reads_left: usize,
    failed: bool,
    barrier: BarrierId,
}

/// One read on its way into several writes: where in it each begins, and how long it is.
#[derive(Debug)]
pub(super) struct Scattering {
    parts: Vec<(usize, usize, (Object, u64))>,
    barrier: BarrierId,
}

impl Gathering {
    /// The memory of all its bytes.
    fn memory(&mut self) -> &mut [u8] {
        if self.data.is_empty() {
            self.data = Buffer::scratch(self.bytes);
        }
        &mut self.data
    }
}

impl Move {
    /// True for few bytes, whose copy in memory costs less than an operation. Zeroes of a home are none: they become holes.
    fn is_worth_joining(&self) -> bool {
        let hole = self.from == Place::Zeroes && matches!(self.to.0, Object::Home(_));
        self.bytes <= PART_BYTES_MAX && !hole
    }
}

impl Engine {
    /// Performs the moves; the barrier waits for them.
    pub(super) fn perform_moves(&mut self, moves: Vec<Move>, barrier: BarrierId) {
        let mut scattered: Vec<(Object, u64, Move)> = Vec::new();
        let mut moves = moves.into_iter().peekable();
        while let Some(first) = moves.next() {
            let mut group = vec![first];
            let mut bytes = first.bytes;
            while let Some(next) = moves.next_if(|next| {
                next.to == (first.to.0, first.to.1 + bytes)
                    && bytes + next.bytes <= JOINED_BYTES_MAX
                    && [&first, next].into_iter().all(Move::is_worth_joining)
            }) {
                bytes += next.bytes;
                group.push(next);
            }
            match (&group[..], self.object_of(first.from)) {
                ([_], Some((object @ Object::Segment(_), offset))) if first.is_worth_joining() => {
                    scattered.push((object, offset, first));
                }
                ([_], _) => self.transfer(first.from, first.to, first.bytes, barrier),
                _ => self.gather_moves(&group, bytes, barrier),
            }
        }
        scattered.sort_unstable_by_key(|(object, offset, _)| (*object, *offset));
        self.scatter_moves(&scattered, barrier);
    }

    /// Several reads, then one write of `bytes` bytes.
    fn gather_moves(&mut self, group: &[Move], bytes: u64, barrier: BarrierId) {
        let index = |bytes: u64| usize::try_from(bytes).expect("bounded by JOINED_BYTES_MAX");
        let to = group[0].to;
        let key = self.gatherings.insert(Gathering {
            to,
            bytes: index(bytes),
            data: Buffer::default(),
            zeroes: Vec::new(),
            // One more than there are reads, until all are on their way.
            reads_left: 1,
            failed: false,
            barrier,
        });
        self.hold(barrier);
        for moved in group {
            let (at, length) = (index(moved.to.1 - to.1), index(moved.bytes));
            let place = self.object_of(moved.from);
            if let Some(gathering) = self.gatherings.get_mut(key) {
                match place {
                    Some(_) => gathering.reads_left += 1,
                    None => gathering.zeroes.push((at, length)),
                }
            }
            let Some((object, offset)) = place else { continue };
            let ticket = self.tickets.take();
            let pending = Pending::Gather { gathering: key, at, ticket };
            self.read_in_background(object, offset, length, pending);
        }
        self.gathered(key);
    }

    /// A read of a gathering has ended.
    pub(super) fn gather_part(
        &mut self,
        key: usize,
        at: usize,
        result: Result<Outcome, IoFailure>,
    ) {
        if let Some(gathering) = self.gatherings.get_mut(key) {
            match result {
                Ok(Outcome::Buffer(part)) => {
                    gathering.memory()[at..at + part.len()].copy_from_slice(&part);
                }
                _ => gathering.failed = true,
            }
        }
        self.gathered(key);
    }

    /// One read less; after the last one the data is written (V2).
    fn gathered(&mut self, key: usize) {
        let Some(gathering) = self.gatherings.get_mut(key) else {
            return;
        };
        gathering.reads_left -= 1;
        if gathering.reads_left > 0 {
            return;
        }
        let Some(mut gathering) = self.gatherings.remove(key) else {
            return;
        };
        for (at, bytes) in std::mem::take(&mut gathering.zeroes) {
            gathering.memory()[at..at + bytes].fill(0);
        }
        let Gathering { to, data, failed, barrier, .. } = gathering;
        if failed {
            // A copy that cannot read its source must not look like a full pool.
            self.release(barrier, Err(RequestError::Io));
            return;
        }
        self.write_in_background(to, data, barrier);
    }

    /// Moves from segments of the journal, in the order in which they lie there.
    fn scatter_moves(&mut self, moves: &[(Object, u64, Move)], barrier: BarrierId) {
        let near = |(object, offset, moved): &(Object, u64, Move), next: &(Object, u64, Move)| {
            *object == next.0 && next.1 <= offset + moved.bytes + GAP_BYTES_MAX
        };
        let mut rest = moves;
        while let Some((object, start, first)) = rest.first() {
            let mut count = 1;
            let mut end = start + first.bytes;
            while let Some(next) = rest.get(count)
                && near(&rest[count - 1], next)
                && next.1 + next.2.bytes - start <= JOINED_BYTES_MAX
            {
                end = end.max(next.1 + next.2.bytes);
                count += 1;
            }
            let (group, others) = rest.split_at(count);
            rest = others;
            if count == 1 {
                self.transfer(first.from, first.to, first.bytes, barrier);
                continue;
            }
            let index = |bytes: u64| usize::try_from(bytes).expect("bounded by TRANSFER_BYTES_MAX");
            let parts = group
                .iter()
                .map(|(_, offset, moved)| (index(offset - start), index(moved.bytes), moved.to))
                .collect();
            self.hold(barrier);
            let ticket = self.tickets.take();
            let pending = Pending::Scatter { scattering: Scattering { parts, barrier }, ticket };
            self.read_in_background(*object, *start, index(end - start), pending);
        }
    }

    /// The one read of several moves has ended: each is written.
    pub(super) fn scatter(&mut self, scattering: Scattering, result: Result<Outcome, IoFailure>) {
        let Scattering { parts, barrier } = scattering;
        let Ok(Outcome::Buffer(data)) = result else {
            self.release(barrier, Err(RequestError::Io));
            return;
        };
        for (at, bytes, to) in parts {
            self.hold(barrier);
            self.write_in_background(to, Buffer::from(&data[at..at + bytes]), barrier);
        }
        self.release(barrier, Ok(()));
    }
}

/// Moves that fill a fresh slot with an image.
pub(super) fn slot_moves(
    pool: PoolId,
    slot: Slot,
    block: Block,
    pieces: &[Piece],
    moves: &mut Vec<Move>,
) {
    for piece in pieces {
        let to = slot.offset() + (piece.range.start - block.offset());
        let to = (Object::Pool(pool), to);
        push_move(moves, Move { from: piece.place, to, bytes: piece.range.bytes() });
    }
}

/// Appends a move, joined with the last one when both are neighbours on both sides.
pub(super) fn push_move(moves: &mut Vec<Move>, next: Move) {
    if let Some(last) = moves.last_mut()
        && last.to.0 == next.to.0
        && last.to.1 + last.bytes == next.to.1
        && last.from.advance(last.bytes) == next.from
        && last.bytes + next.bytes <= TRANSFER_BYTES_MAX
    {
        last.bytes += next.bytes;
        return;
    }
    moves.push(next);
}

/// Lays a version over the newer bytes gathered so far; versions come in ascending order.
pub(super) fn newest_bytes(pieces: &mut Vec<Piece>, block: Block, version: &crate::stage::Version) {
    let start = block.offset() + u64::from(version.start);
    let range = ByteRange { start, end: block.offset() + u64::from(version.end) };
    let place = match version.content {
        Content::Zeroes => Place::Zeroes,
        Content::Journal(position) => Place::Journal(position),
    };
    let mut kept = Vec::with_capacity(pieces.len() + 1);
    for piece in pieces.drain(..) {
        if !piece.range.overlaps(range) {
            kept.push(piece);
            continue;
        }
        if piece.range.start < range.start {
            let left = ByteRange { start: piece.range.start, end: range.start };
            kept.push(Piece { range: left, place: piece.place });
        }
        if range.end < piece.range.end {
            let place = piece.place.advance(range.end - piece.range.start);
            kept.push(Piece { range: ByteRange { start: range.end, end: piece.range.end }, place });
        }
    }
    kept.push(Piece { range, place });
    kept.sort_by_key(|piece| piece.range.start);
    *pieces = kept;
}

const _: () = assert!(BLOCK_BYTES <= TRANSFER_BYTES_MAX);

//! Moves: bytes on their way from a place to an object, joined where both sides are neighbours.

use super::Engine;
use super::barrier::BarrierId;
use super::ops::TRANSFER_BYTES_MAX;
use crate::io::Object;
use crate::lookup::{Piece, Place};
use crate::stage::Content;
use crate::units::{BLOCK_BYTES, Block, ByteRange, PoolId, Slot};

/// Bytes to be moved to an object.
#[derive(Clone, Copy, Debug)]
pub(super) struct Move {
    pub(super) from: Place,
    pub(super) to: (Object, u64),
    pub(super) bytes: u64,
}

impl Engine {
    /// Performs the moves; the barrier waits for them.
    pub(super) fn perform_moves(&mut self, moves: Vec<Move>, barrier: BarrierId) {
        for moved in moves {
            self.transfer(moved.from, moved.to, moved.bytes, barrier);
        }
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

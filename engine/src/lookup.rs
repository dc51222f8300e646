//! The one lookup that serves every read: image(volume, block, as of a moment).
//!
//! A block is a list of versions: its home (or slot), then the staged ones, ascending. What a copy still
//! needs and home has moved past is preserved in a pool or on a full target. The image as of q is
//! the newest version with a number below q, byte by byte, else the home.
//!
//! Invariant L1: the pieces of an image are ascending, do not overlap and fill the range asked for.

use std::ops::Range;

use crate::stage::{Content, Stage, Version};
use crate::state::{Backing, Health, State, Volume};
use crate::units::{Block, ByteRange, PoolId, Position, Seq, Slot, VolumeId};

/// As of when an image is wanted: versions with a lower number count.
pub const NOW: Seq = Seq(u64::MAX);

/// Some bytes of an image and where they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Which bytes of the volume asked for.
    pub range: ByteRange,
    /// Where they are.
    pub place: Place,
}

/// Where bytes are; each place names the first of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Nowhere: zeroes.
    Zeroes,
    /// In the home of a full volume.
    Home(VolumeId, u64),
    /// In a slot of a pool; offset within the pool.
    Pool(PoolId, u64),
    /// In the journal.
    Journal(Position),
}

/// The image is gone: the volume is the target of a failed relationship, or does not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageGone;

impl Place {
    fn of_slot(pool: PoolId, slot: Slot, within: u16) -> Self {
        Self::Pool(pool, slot.offset() + u64::from(within))
    }

    /// The place `bytes` further on.
    #[must_use]
    pub fn advance(self, bytes: u64) -> Self {
        match self {
            Self::Zeroes => Self::Zeroes,
            Self::Home(volume, offset) => Self::Home(volume, offset + bytes),
            Self::Pool(pool, offset) => Self::Pool(pool, offset + bytes),
            Self::Journal(position) => Self::Journal(Position(position.0 + bytes)),
        }
    }
}

/// Metadata and staged versions, seen together.
#[derive(Clone, Copy)]
pub struct View<'a> {
    /// Metadata.
    pub state: &'a State,
    /// Staged versions.
    pub stage: &'a Stage,
}

impl View<'_> {
    /// What a host reads of a volume, as pieces appended to `out`; neighbours in one place are joined.
    ///
    /// # Errors
    /// The image of some byte is gone.
    pub fn read(
        self,
        volume: VolumeId,
        range: ByteRange,
        out: &mut Vec<Piece>,
    ) -> Result<(), ImageGone> {
        let known = self.state.volumes.get(&volume).ok_or(ImageGone)?;
        let plain = matches!(known.backing, Backing::Home) && known.as_target.is_empty();
        if plain && !self.stage.touches(volume, range.blocks()) {
            out.push(Piece { range, place: Place::Home(volume, range.start) });
            return Ok(());
        }
        for number in range.blocks() {
            let block = Block(number);
            let within = range.within(block);
            self.block(volume, known, block, within, NOW, out)?;
        }
        Ok(())
    }

    /// Bytes `within` of a block of a volume as of `before`.
    ///
    /// # Errors
    /// The image is gone.
    pub fn image(
        self,
        volume: VolumeId,
        block: Block,
        within: Range<u16>,
        before: Seq,
        out: &mut Vec<Piece>,
    ) -> Result<(), ImageGone> {
        let known = self.state.volumes.get(&volume).ok_or(ImageGone)?;
        self.block(volume, known, block, within, before, out)
    }

    fn block(
        self,
        id: VolumeId,
        volume: &Volume,
        block: Block,
        within: Range<u16>,
        before: Seq,
        out: &mut Vec<Piece>,
    ) -> Result<(), ImageGone> {
        let mut pieces = Vec::with_capacity(2);
        self.base(id, volume, block, within.clone(), &mut pieces)?;
        overlay(&mut pieces, block, self.stage.versions_of(id, block), before, within);
        for piece in pieces {
            join(out, piece);
        }
        Ok(())
    }

    /// What lies below the staged versions of a block.
    fn base(
        self,
        id: VolumeId,
        volume: &Volume,
        block: Block,
        within: Range<u16>,
        out: &mut Vec<Piece>,
    ) -> Result<(), ImageGone> {
        let range = byte_range(block, &within);
        if let Backing::Thin(thin) = &volume.backing
            && let Some(slot) = thin.slots.get(block)
        {
            out.push(Piece { range, place: Place::of_slot(thin.pool, slot, within.start) });
            return Ok(());
        }
        let per_track = volume.geometry.track_blocks();
        let track = block.0 / per_track;
        let relationship = volume
            .as_target
            .at(track)
            .first()
            .and_then(|relationship| self.state.relationships.get(relationship));
        match (relationship, &volume.backing) {
            (Some(relationship), _) if relationship.health != Health::Good => Err(ImageGone),
            (Some(relationship), backing)
                if matches!(backing, Backing::Thin(_))
                    || relationship.target_block_reads_source(block, per_track) =>
            {
                let source_block = Block(
                    block.0 - relationship.pair.target_track * per_track
                        + relationship.pair.source_track * per_track,
                );
                let pair = (relationship.pair.source, relationship.t0, relationship.pool);
                self.source_image(pair, source_block, within, range.start, out)
            }
            (_, Backing::Home) => {
                out.push(Piece { range, place: Place::Home(id, range.start) });
                Ok(())
            }
            (_, Backing::Thin(_)) => {
                out.push(Piece { range, place: Place::Zeroes });
                Ok(())
            }
        }
    }

    /// The image of a source's block as of a T0, for reading through it; `target_start` is the first byte on the target.
    fn source_image(
        self,
        (source, t0, pool): (VolumeId, Seq, Option<PoolId>),
        block: Block,
        within: Range<u16>,
        target_start: u64,
        out: &mut Vec<Piece>,
    ) -> Result<(), ImageGone> {
        let mut pieces = Vec::with_capacity(1);
        self.as_of(source, t0, pool, block, within, &mut pieces)?;
        let source_start = pieces.first().map_or(0, |piece: &Piece| piece.range.start);
        for piece in pieces {
            let start = piece.range.start - source_start + target_start;
            let range = ByteRange { start, end: start + piece.range.bytes() };
            join(out, Piece { range, place: piece.place });
        }
        Ok(())
    }

    /// Bytes `within` of a source's block as of a T0: preserved in `pool`, or staged, or home.
    ///
    /// # Errors
    /// The source does not exist.
    pub fn as_of(
        self,
        source: VolumeId,
        t0: Seq,
        pool: Option<PoolId>,
        block: Block,
        within: Range<u16>,
        out: &mut Vec<Piece>,
    ) -> Result<(), ImageGone> {
        if let Some(id) = pool
            && let Some(slot) = self
                .state
                .pools
                .get(&id)
                .and_then(|pool| pool.chains.get(&source))
                .and_then(|chain| chain.lookup(block, t0))
        {
            let place = Place::of_slot(id, slot, within.start);
            out.push(Piece { range: byte_range(block, &within), place });
            return Ok(());
        }
        self.image(source, block, within, t0, out)
    }
}

fn byte_range(block: Block, within: &Range<u16>) -> ByteRange {
    ByteRange {
        start: block.offset() + u64::from(within.start),
        end: block.offset() + u64::from(within.end),
    }
}

/// Appends a piece, joined with the last one when both are neighbours in one place.
pub fn join(pieces: &mut Vec<Piece>, piece: Piece) {
    if let Some(last) = pieces.last_mut()
        && last.range.end == piece.range.start
        && last.place.advance(last.range.bytes()) == piece.place
    {
        last.range.end = piece.range.end;
        return;
    }
    pieces.push(piece);
}

/// Lays the versions older than `before` over the pieces of a block, oldest first.
fn overlay(
    pieces: &mut Vec<Piece>,
    block: Block,
    versions: &[Version],
    before: Seq,
    within: Range<u16>,
) {
    for version in versions.iter().filter(|version| version.seq < before) {
        let start = version.start.max(within.start);
        let end = version.end.min(within.end);
        if start >= end {
            continue;
        }
        let place = match version.content {
            Content::Zeroes => Place::Zeroes,
            Content::Journal(position) => {
                Place::Journal(Position(position.0 + u64::from(start - version.start)))
            }
        };
        replace(pieces, Piece { range: byte_range(block, &(start..end)), place });
    }
}

/// Replaces the bytes of `over` within the ascending pieces.
fn replace(pieces: &mut Vec<Piece>, over: Piece) {
    let old = std::mem::take(pieces);
    let mut placed = false;
    for piece in old {
        let before =
            ByteRange { start: piece.range.start, end: piece.range.end.min(over.range.start) };
        if before.start < before.end {
            pieces.push(Piece { range: before, place: piece.place });
        }
        if !placed && piece.range.end > over.range.start {
            pieces.push(over);
            placed = true;
        }
        let start = piece.range.start.max(over.range.end);
        if start < piece.range.end {
            let place = piece.place.advance(start - piece.range.start);
            pieces.push(Piece { range: ByteRange { start, end: piece.range.end }, place });
        }
    }
}

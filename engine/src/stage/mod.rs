//! Staged versions: writes that are in the journal and not yet (for sure) home.
//!
//! Invariants
//! - G1 Versions of a block are kept in ascending order of their number; a later one covers an earlier one
//!   byte by byte.
//! - G2 A version is here exactly while its frame is live: from the completion of its journal write to
//!   the durable record that releases it (rule O3), unless nothing can need it any more.
//! - G3 `queue` names every frame whose versions may be here, ascending: the destager's order of work.
//! - G4 A listing gives every version up to its number that was staged when it began, each once, whatever is staged or
//!   superseded meanwhile; only what a durable record released since may be missing.
//! - G5 A version that a later frame covers counts as staged until that frame is durable: a power cut may take the frame
//!   back, and a checkpoint that was begun before must still have the version.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use crate::state::Superseded;
use crate::units::{BLOCK_BYTES, Block, ByteRange, Position, Seq, VolumeId};
use crate::versions::Versions;
pub use crate::versions::{Content, Version};

/// A version with its place, as a checkpoint lists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Staged {
    /// The volume written to.
    pub volume: VolumeId,
    /// The block.
    pub block: Block,
    /// The version.
    pub version: Version,
}

impl Staged {
    /// True of every version that was ever staged: it has bytes, and they are of its block.
    pub fn is_within_its_block(&self) -> bool {
        let Version { start, end, .. } = self.version;
        start < end && u64::from(end) <= BLOCK_BYTES
    }

    /// As much of its frame as the version is.
    fn frame(&self) -> Frame {
        let Self { volume, block, version } = *self;
        let at = |within: u16| block.offset() + u64::from(within);
        let range = ByteRange { start: at(version.start), end: at(version.end) };
        let position = match version.content {
            Content::Journal(position) => position,
            Content::Zeroes => Position(0),
        };
        Frame { seq: version.seq, volume, range, position, content: version.content }
    }
}

/// A staged frame, in the order of the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Its number.
    pub seq: Seq,
    /// The volume written to.
    pub volume: VolumeId,
    /// The bytes written.
    pub range: ByteRange,
    /// A byte of the frame in the journal: its segment must stay while the frame is live.
    pub position: Position,
    /// Where the payload is.
    pub content: Content,
}

impl Frame {
    /// Where the frame's first byte within `block` is.
    fn content_of(&self, block: Block) -> Content {
        match self.content {
            Content::Zeroes => Content::Zeroes,
            Content::Journal(first) => {
                let within = u64::from(self.range.within(block).start);
                Content::Journal(Position(first.0 + block.offset() + within - self.range.start))
            }
        }
    }
}

/// All staged versions.
#[derive(Debug, Default)]
pub struct Stage {
    volumes: BTreeMap<VolumeId, BTreeMap<u32, Versions>>,
    queue: VecDeque<Frame>,
    versions: u64,
    bytes: u64,
    /// Versions that were dropped because a frame that is not durable covers them (G5), with its number, ascending.
    covered: VecDeque<(Seq, Staged)>,
    listing: Option<Listing>,
}

/// How far a listing has come (G4).
#[derive(Debug)]
struct Listing {
    /// Versions up to this number are listed.
    through: Seq,
    /// The first block that was not looked at.
    next: (VolumeId, u32),
    /// Versions of later blocks that went away before their turn.
    gone: Vec<Staged>,
}

/// Notes that a version goes away, if it is to be listed.
fn note(listing: &mut Option<Listing>, volume: VolumeId, number: u32, version: Version) {
    if let Some(listing) = listing
        && version.seq <= listing.through
        && (volume, number) >= listing.next
    {
        listing.gone.push(Staged { volume, block: Block(number), version });
    }
}

impl Stage {
    /// The versions that a checkpoint lists, in any order.
    pub fn restored(mut listed: Vec<Staged>) -> Self {
        let mut stage = Self::default();
        // Maps are built much faster of what is in their order than by inserting in that of the journal.
        listed.sort_by_key(|staged| (staged.volume, staged.block, staged.version.seq));
        for of_volume in listed.chunk_by(|a, b| a.volume == b.volume) {
            let of_blocks = of_volume.chunk_by(|a, b| a.block == b.block);
            let blocks = of_blocks.map(|of_block| {
                let mut versions = Versions::default();
                for staged in of_block {
                    versions.push(staged.version);
                }
                (of_block[0].block.0, versions)
            });
            stage.volumes.insert(of_volume[0].volume, blocks.collect());
        }
        listed.sort_unstable_by_key(|staged| (staged.version.seq, staged.volume, staged.block));
        stage.versions = listed.len() as u64;
        stage.queue = listed.iter().map(Staged::frame).collect();
        stage.bytes = stage.queue.iter().map(|frame| frame.range.bytes()).sum();
        stage
    }

    /// Number of versions.
    pub fn versions(&self) -> u64 {
        self.versions
    }

    /// Bytes of all versions.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The oldest frame that is not released.
    pub fn oldest(&self) -> Option<Frame> {
        self.queue.front().copied()
    }

    /// The newest frame that is not released.
    pub fn newest(&self) -> Option<Frame> {
        self.queue.back().copied()
    }

    /// Where the journal is needed from for what is staged; none when nothing staged is in it.
    pub fn first_in_journal(&self) -> Option<Position> {
        let in_journal = |frame: &&Frame| matches!(frame.content, Content::Journal(_));
        self.queue.iter().find(in_journal).map(|frame| frame.position)
    }

    /// Frames not released, oldest first.
    pub fn frames(&self) -> impl Iterator<Item = &Frame> {
        self.queue.iter()
    }

    /// All versions, by volume and block.
    pub fn all_versions(&self) -> impl Iterator<Item = (VolumeId, Block, &Version)> {
        self.volumes.iter().flat_map(|(&volume, blocks)| {
            blocks.iter().flat_map(move |(&block, versions)| {
                versions.as_slice().iter().map(move |version| (volume, Block(block), version))
            })
        })
    }

    /// True when the volume has no staged version.
    pub fn is_empty(&self, volume: VolumeId) -> bool {
        !self.volumes.contains_key(&volume)
    }

    /// Versions of a block, oldest first.
    pub fn versions_of(&self, volume: VolumeId, block: Block) -> &[Version] {
        self.volumes
            .get(&volume)
            .and_then(|blocks| blocks.get(&block.0))
            .map_or(&[], Versions::as_slice)
    }

    /// True when some block of the range has a staged version.
    pub fn touches(&self, volume: VolumeId, blocks: std::ops::Range<u32>) -> bool {
        self.volumes.get(&volume).is_some_and(|staged| match blocks.len() {
            // One search instead of the two of a range, and asked for every write.
            1 => staged.contains_key(&blocks.start),
            _ => staged.range(blocks).next().is_some(),
        })
    }

    /// The blocks of a range that have a staged version, ascending.
    pub fn staged_blocks(
        &self,
        volume: VolumeId,
        blocks: std::ops::Range<u32>,
    ) -> impl Iterator<Item = u32> + '_ {
        let staged = self.volumes.get(&volume).into_iter();
        staged.flat_map(move |staged| staged.range(blocks.clone()).map(|(&block, _)| block))
    }

    /// Takes a frame whose journal write has completed. Versions that it covers are dropped when they are
    /// younger than `keep_before`: no T0 of a relationship lies between them and the frame.
    pub fn insert(&mut self, frame: Frame, keep_before: Seq) {
        debug_assert!(self.queue.back().is_none_or(|last| last.seq <= frame.seq), "G3");
        self.queue.push_back(frame);
        let blocks = self.volumes.entry(frame.volume).or_default();
        for number in frame.range.blocks() {
            let block = Block(number);
            let within = frame.range.within(block);
            let content = frame.content_of(block);
            let version = Version { seq: frame.seq, start: within.start, end: within.end, content };
            let versions = blocks.entry(number).or_default();
            while let Some(last) = versions.as_slice().last() {
                let covered = version.start <= last.start && last.end <= version.end;
                if !covered || last.seq <= keep_before {
                    break;
                }
                self.bytes -= u64::from(last.end - last.start);
                self.versions -= 1;
                note(&mut self.listing, frame.volume, number, *last);
                let staged = Staged { volume: frame.volume, block, version: *last };
                self.covered.push_back((frame.seq, staged));
                versions.pop();
            }
            self.bytes += u64::from(version.end - version.start);
            self.versions += 1;
            versions.push(version);
        }
    }

    /// Frames up to this number are durable (G5).
    pub fn durable(&mut self, through: Seq) {
        while self.covered.pop_front_if(|(by, _)| *by <= through).is_some() {}
    }

    /// Begins to list the versions up to `through`, which is durable.
    pub fn begin_listing(&mut self, through: Seq) {
        let covered = self.covered.iter().map(|(_, staged)| *staged);
        let gone = covered.filter(|staged| staged.version.seq <= through).collect();
        self.listing = Some(Listing { through, next: (VolumeId(0), 0), gone });
    }

    /// The versions of the next blocks, of `blocks_max` at most, in no order that means anything; `None` when all were
    /// given, and when nothing is being listed.
    pub fn list_some(&mut self, blocks_max: usize) -> Option<Vec<Staged>> {
        let listing = self.listing.as_mut()?;
        let mut listed = Vec::new();
        let mut looked_at = 0;
        for (&volume, blocks) in self.volumes.range(listing.next.0..) {
            let from = if volume == listing.next.0 { listing.next.1 } else { 0 };
            for (&number, versions) in blocks.range(from..).take(blocks_max - looked_at) {
                let versions = versions.as_slice().iter();
                let wanted = versions.filter(|version| version.seq <= listing.through);
                let staged = |version| Staged { volume, block: Block(number), version };
                listed.extend(wanted.copied().map(staged));
                listing.next = (volume, number + 1);
                looked_at += 1;
            }
            if looked_at == blocks_max {
                return Some(listed);
            }
        }
        // Nothing that goes away from now on was left out.
        listing.next = (VolumeId(u32::MAX), u32::MAX);
        let rest = listing.gone.split_off(listing.gone.len().saturating_sub(blocks_max));
        listed.extend(rest);
        if listed.is_empty() {
            self.listing = None;
            return None;
        }
        Some(listed)
    }

    /// Gives a listing up.
    pub fn end_listing(&mut self) {
        self.listing = None;
    }

    /// The payload of frame `seq` lies at `payload` now.
    pub fn moved(&mut self, seq: Seq, payload: Position) {
        let at = self.queue.partition_point(|frame| frame.seq < seq);
        let Some(frame) = self.queue.get_mut(at).filter(|frame| frame.seq == seq) else {
            return;
        };
        (frame.position, frame.content) = (payload, Content::Journal(payload));
        let frame = *frame;
        let Some(blocks) = self.volumes.get_mut(&frame.volume) else {
            return;
        };
        for (&number, versions) in blocks.range_mut(frame.range.blocks()) {
            for version in versions.as_mut_slice().iter_mut().filter(|version| version.seq == seq) {
                version.content = frame.content_of(Block(number));
            }
        }
    }

    /// Drops the versions of volumes that do not exist.
    pub fn keep_volumes(&mut self, exists: impl Fn(VolumeId) -> bool) {
        let gone: Vec<VolumeId> =
            self.volumes.keys().copied().filter(|&volume| !exists(volume)).collect();
        for volume in gone {
            let range = ByteRange { start: 0, end: u64::from(u32::MAX) << 12 };
            self.supersede(&Superseded::all(volume, range, Seq(u64::MAX)));
        }
    }

    /// Drops versions that are void (rule O5). They stay in the queue
    /// until their turn comes to be released.
    pub fn supersede(&mut self, void: &Superseded) {
        let Some(blocks) = self.volumes.get_mut(&void.volume) else {
            return;
        };
        let numbers: Vec<u32> = blocks
            .range(void.range.blocks())
            .map(|(&number, _)| number)
            .filter(|&number| void.concerns(Block(number).offset()))
            .collect();
        for number in numbers {
            Self::drop_versions(
                blocks,
                number,
                |version| {
                    let gone = void.after < version.seq && version.seq < void.before;
                    if gone {
                        note(&mut self.listing, void.volume, number, *version);
                    }
                    gone
                },
                (&mut self.versions, &mut self.bytes),
            );
        }
        if blocks.is_empty() {
            self.volumes.remove(&void.volume);
        }
    }

    /// Drops all frames up to `through`: they are home, durably.
    pub fn release(&mut self, through: Seq) {
        self.covered.retain(|(_, staged)| staged.version.seq > through);
        while self.queue.front().is_some_and(|frame| frame.seq <= through) {
            let Some(frame) = self.queue.pop_front() else {
                break;
            };
            let Some(blocks) = self.volumes.get_mut(&frame.volume) else {
                continue;
            };
            for number in frame.range.blocks() {
                Self::drop_versions(
                    blocks,
                    number,
                    |version| version.seq <= through,
                    (&mut self.versions, &mut self.bytes),
                );
            }
            if blocks.is_empty() {
                self.volumes.remove(&frame.volume);
            }
        }
    }

    fn drop_versions(
        blocks: &mut BTreeMap<u32, Versions>,
        number: u32,
        mut drop: impl FnMut(&Version) -> bool,
        (count, bytes): (&mut u64, &mut u64),
    ) {
        let Entry::Occupied(mut versions) = blocks.entry(number) else {
            return;
        };
        versions.get_mut().retain(|version| {
            let gone = drop(version);
            if gone {
                *count -= 1;
                *bytes -= u64::from(version.end - version.start);
            }
            !gone
        });
        if versions.get().as_slice().is_empty() {
            versions.remove();
        }
    }
}

#[cfg(test)]
mod tests;

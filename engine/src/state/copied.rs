//! What of an extent its full target holds: whole tracks, and single blocks of other tracks.
//!
//! The track is what commands, limits and reports count. But a block that is overwritten on the source need not take its
//! whole track along: it is copied alone, and the rest of the track when there is time.
//!
//! Tracks and blocks are counted from the extent's start.
//!
//! Invariants
//! - H1 A block in `blocks` lies on a track that is not in `tracks`.
//! - H2 A track of which every block is in the set is in `tracks`, so it counts as copied.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::map::track_bitmap::{TrackBitmap, TrackBitmapError};

/// The copied tracks, and the copied blocks of others.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Copied {
    tracks: TrackBitmap,
    /// Kept apart by whoever writes the set down.
    #[serde(skip)]
    blocks: TrackBitmap,
}

impl From<TrackBitmap> for Copied {
    /// Whole tracks only.
    fn from(tracks: TrackBitmap) -> Self {
        Self { tracks, blocks: TrackBitmap::default() }
    }
}

impl Copied {
    /// The copied tracks.
    pub fn tracks(&self) -> &TrackBitmap {
        &self.tracks
    }

    /// The copied blocks of other tracks.
    pub fn blocks(&self) -> &TrackBitmap {
        &self.blocks
    }

    /// True when all of the track is copied.
    pub fn has_track(&self, track: u32) -> bool {
        self.tracks.contains(track)
    }

    /// True when the block is copied, alone or with its track.
    pub fn has_block(&self, block: u32, track_blocks: u32) -> bool {
        self.tracks.contains(block / track_blocks) || self.blocks.contains(block)
    }

    /// True when some blocks of the track are copied, but not all.
    pub fn has_part_of(&self, track: u32, track_blocks: u32) -> bool {
        self.blocks.count_within(blocks_of(track..track + 1, track_blocks)) > 0
    }

    /// The first track of `from..end` that is not copied.
    pub fn next_unset(&self, from: u32, end: u32) -> Option<u32> {
        self.tracks.next_unset(from, end)
    }

    /// The first track of `from..end` of which some blocks are copied, but not all.
    pub fn next_partial(&self, from: u32, end: u32, track_blocks: u32) -> Option<u32> {
        let run = self.blocks.set_runs(blocks_of(from..end, track_blocks)).next()?;
        Some(run.start / track_blocks)
    }

    /// Adds tracks.
    pub fn set_tracks(&mut self, tracks: Range<u32>, track_blocks: u32) {
        if !self.blocks.is_empty() {
            self.blocks.clear(blocks_of(tracks.clone(), track_blocks));
        }
        self.tracks.set(tracks);
    }

    /// Adds blocks; gives the tracks that are copied by that.
    pub fn set_blocks(&mut self, blocks: Range<u32>, track_blocks: u32) -> Vec<u32> {
        let mut completed = Vec::new();
        for track in blocks.start / track_blocks..blocks.end.div_ceil(track_blocks) {
            if self.tracks.contains(track) {
                continue;
            }
            let all = blocks_of(track..track + 1, track_blocks);
            self.blocks.set(blocks.start.max(all.start)..blocks.end.min(all.end));
            if self.blocks.contains_all(all.clone()) {
                self.blocks.clear(all);
                self.tracks.set(track..track + 1);
                completed.push(track);
            }
        }
        completed
    }

    /// Whole tracks only: blocks of others are forgotten.
    #[must_use]
    pub fn whole_tracks(&self) -> Self {
        self.tracks.clone().into()
    }

    /// What the source of an extent of so many tracks holds of the image that its target has, while `again` are the copied
    /// tracks that it lacks: what was never copied was never overwritten.
    #[must_use]
    pub fn complement(&self, again: &TrackBitmap, tracks: u32, track_blocks: u32) -> Self {
        let partial = self.partial_tracks(track_blocks);
        let mut there = Self::default();
        there.tracks.set(0..tracks);
        there.tracks.subtract(again);
        there.tracks.subtract(&partial);
        for run in partial.set_runs(0..tracks) {
            there.blocks.set(blocks_of(run, track_blocks));
        }
        there.blocks.subtract(&self.blocks);
        there.compact();
        there
    }

    /// Tracks of which some blocks are copied, but not all.
    pub fn partial_tracks(&self, track_blocks: u32) -> TrackBitmap {
        let mut partial = TrackBitmap::default();
        let mut last = 0..0;
        for blocks in self.blocks.set_runs(0..u32::MAX) {
            let tracks = blocks.start / track_blocks..blocks.end.div_ceil(track_blocks);
            if tracks.start > last.end {
                partial.set(std::mem::replace(&mut last, tracks));
            } else {
                last = last.start.min(tracks.start)..tracks.end;
            }
        }
        partial.set(last);
        partial
    }

    /// What is copied of some tracks, counted from the first of them.
    #[must_use]
    pub fn part(&self, tracks: Range<u32>, track_blocks: u32) -> Self {
        let blocks = self.blocks.part(blocks_of(tracks.clone(), track_blocks));
        Self { tracks: self.tracks.part(tracks), blocks }
    }

    /// Stores runs as runs: gives memory back after many scattered changes.
    pub fn compact(&mut self) {
        self.tracks.compact();
        self.blocks.compact();
    }

    /// Adds blocks that were kept apart.
    pub fn restore_blocks(&mut self, blocks: &TrackBitmap) {
        self.blocks.unite(blocks);
    }

    /// Checks a set that came from a disk: of an extent of so many tracks, and H1 and H2.
    ///
    /// # Errors
    /// It holds a track or block that does not exist, or a block twice.
    pub fn check(&self, tracks: u32, track_blocks: u32) -> Result<(), TrackBitmapError> {
        self.tracks.check_tracks(tracks)?;
        self.blocks.check_tracks(tracks.saturating_mul(track_blocks))?;
        let mut twice = self.partial_tracks(track_blocks);
        twice.intersect(&self.tracks);
        let whole_track = |blocks: Range<u32>| {
            blocks.start.next_multiple_of(track_blocks).saturating_add(track_blocks) <= blocks.end
        };
        if !twice.is_empty() || self.blocks.set_runs(0..u32::MAX).any(whole_track) {
            return Err(TrackBitmapError::Contradiction("a block counts twice"));
        }
        Ok(())
    }
}

/// The blocks of some tracks.
fn blocks_of(tracks: Range<u32>, track_blocks: u32) -> Range<u32> {
    tracks.start.saturating_mul(track_blocks)..tracks.end.saturating_mul(track_blocks)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Blocks of a track.
    const PER: u32 = 4;

    fn all(set: &TrackBitmap) -> Vec<u32> {
        set.set_runs(0..u32::MAX).flatten().collect()
    }

    fn copied(tracks: &[u32], blocks: &[u32]) -> Copied {
        let mut set = Copied::default();
        for &track in tracks {
            set.set_tracks(track..track + 1, PER);
        }
        for &block in blocks {
            set.set_blocks(block..block + 1, PER);
        }
        set
    }

    #[test]
    fn a_track_counts_as_copied_with_its_last_block() {
        let mut set = Copied::default();
        assert_eq!(set.set_blocks(5..7, PER), [0; 0]);
        assert!(set.has_block(5, PER) && !set.has_block(7, PER) && !set.has_track(1));
        assert!(set.has_part_of(1, PER) && !set.has_part_of(0, PER));
        assert_eq!(set.set_blocks(7..13, PER), [2]);
        assert_eq!(set.set_blocks(4..5, PER), [1]);
        assert_eq!((all(set.tracks()), all(set.blocks())), (vec![1, 2], vec![12]));
        assert_eq!((set.next_unset(0, 9), set.next_unset(1, 9)), (Some(0), Some(3)));
        assert_eq!((set.next_partial(0, 9, PER), set.next_partial(4, 9, PER)), (Some(3), None));
        set.check(4, PER).unwrap();
    }

    #[test]
    fn blocks_of_a_copied_track_are_not_kept() {
        let mut set = copied(&[], &[1, 9]);
        set.set_tracks(0..1, PER);
        assert_eq!(set.set_blocks(2..3, PER), [0; 0]);
        assert_eq!(set, copied(&[0], &[9]));
        assert_eq!(set.whole_tracks(), copied(&[0], &[]));
    }

    #[test]
    fn the_other_side_holds_what_was_never_copied_block_by_block() {
        let set = copied(&[0, 1], &[9, 10]);
        let mut again = TrackBitmap::default();
        again.set(1..2);
        let there = set.complement(&again, 4, PER);
        assert_eq!(there, copied(&[0, 3], &[8, 11]));
        there.check(4, PER).unwrap();
    }

    #[test]
    fn tracks_in_part_are_told_once_each() {
        let set = copied(&[], &[1, 2, 7, 8, 30, 31, 33]);
        assert_eq!(all(&set.partial_tracks(PER)), [0, 1, 2, 7, 8]);
        assert!(copied(&[3], &[]).partial_tracks(PER).is_empty());
    }

    #[test]
    fn a_part_begins_to_count_anew() {
        let set = copied(&[2, 5], &[4, 13, 25]);
        assert_eq!(set.part(1..4, PER), copied(&[1], &[0, 9]));
    }

    #[test]
    fn sets_that_contradict_themselves_are_refused() {
        let block = |block: u32| {
            let mut blocks = TrackBitmap::default();
            blocks.set(block..block + 1);
            blocks
        };
        let mut twice = copied(&[1], &[]);
        twice.restore_blocks(&block(5));
        assert!(matches!(twice.check(9, PER), Err(TrackBitmapError::Contradiction(_))));
        let mut whole = Copied::default();
        whole.blocks.set(4..8);
        assert!(matches!(whole.check(9, PER), Err(TrackBitmapError::Contradiction(_))));
        let mut beyond = Copied::default();
        beyond.restore_blocks(&block(36));
        assert!(matches!(beyond.check(9, PER), Err(TrackBitmapError::NoSuchTrack { .. })));
        assert!(copied(&[9], &[]).check(9, PER).is_err());
    }
}

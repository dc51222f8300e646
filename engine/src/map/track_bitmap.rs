//! A set of tracks: those copied, or changed, of a relationship.
//!
//! A compressed bitmap: a set that starts empty costs nothing, whatever the size of the volume.
//!
//! Invariants
//! - B1 Track `u32::MAX` is never in a set, so that an exclusive end always fits 32 bits.
//! - B2 Bytes from a disk become a set only after all of it was checked; later use cannot panic.
//! - B3 A clone costs nothing, whatever the size: the first change after it copies the set. Checkpoints write clones.

use std::iter;
use std::ops::Range;
use std::sync::Arc;

use roaring::RoaringBitmap;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Why bytes are not a set of tracks.
#[derive(Debug, Error)]
pub enum TrackBitmapError {
    /// The bytes are not a roaring bitmap in its portable format.
    #[error("not a bitmap of tracks: restore the store from a backup")]
    Format(#[source] std::io::Error),
    /// The bitmap's parts contradict each other.
    #[error("a bitmap of tracks contradicts itself ({0}): restore the store from a backup")]
    Contradiction(&'static str),
    /// More bytes than the bitmap has.
    #[error("{0} bytes follow a bitmap of tracks: restore the store from a backup")]
    Trailing(usize),
    /// A track that does not exist.
    #[error("track {track} in a bitmap of {tracks} tracks: restore the store from a backup")]
    NoSuchTrack {
        /// The largest track in the bitmap.
        track: u32,
        /// Number of tracks that exist.
        tracks: u32,
    },
}

/// A set of tracks.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Vec<u8>", into = "Vec<u8>")]
pub struct TrackBitmap {
    tracks: Arc<RoaringBitmap>,
}

impl TrackBitmap {
    /// The empty set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the tracks of `range`; returns how many were not in the set before.
    pub fn set(&mut self, range: Range<u32>) -> u64 {
        match range.len() {
            0 => 0,
            1 => u64::from(Arc::make_mut(&mut self.tracks).insert(range.start)),
            _ => Arc::make_mut(&mut self.tracks).insert_range(range),
        }
    }

    /// Takes the tracks of `range` away; returns how many were in the set before.
    pub fn clear(&mut self, range: Range<u32>) -> u64 {
        if range.is_empty() { 0 } else { Arc::make_mut(&mut self.tracks).remove_range(range) }
    }

    /// True when `track` is in the set.
    pub fn contains(&self, track: u32) -> bool {
        self.tracks.contains(track)
    }

    /// True when every track of `range` is in the set.
    pub fn contains_all(&self, range: Range<u32>) -> bool {
        range.is_empty() || self.tracks.contains_range(range)
    }

    /// Number of tracks in the set.
    pub fn count(&self) -> u64 {
        self.tracks.len()
    }

    /// Number of tracks of `range` in the set.
    pub fn count_within(&self, range: Range<u32>) -> u64 {
        if range.is_empty() { 0 } else { self.tracks.range_cardinality(range) }
    }

    /// True when no track is in the set.
    pub fn is_empty(&self) -> bool {
        self.tracks.is_empty()
    }

    /// The first track of `from..end` that is not in the set.
    pub fn next_unset(&self, from: u32, end: u32) -> Option<u32> {
        self.unset_runs(from..end, 1).next().map(|run| run.start)
    }

    /// The tracks of `range` that are in the set, as maximal runs, ascending.
    pub fn set_runs(&self, range: Range<u32>) -> impl Iterator<Item = Range<u32>> + '_ {
        let mut tracks = self.tracks.range(range.start..range.end.max(range.start));
        iter::from_fn(move || {
            let run = tracks.next_range()?;
            Some(*run.start()..run.end() + 1)
        })
    }

    /// The tracks of `range` that are not in the set, as runs of at most `tracks_max`, ascending.
    ///
    /// # Panics
    /// When `tracks_max` is 0.
    pub fn unset_runs(
        &self,
        range: Range<u32>,
        tracks_max: u32,
    ) -> impl Iterator<Item = Range<u32>> + '_ {
        assert!(tracks_max > 0, "runs of at most 0 tracks never cover anything");
        let end = range.end;
        let mut set_runs = self.set_runs(range.clone());
        // The part of the current run that was not given yet, and where the next one may start.
        let mut unset = range.start..range.start;
        let mut after = range.start;
        iter::from_fn(move || {
            while unset.is_empty() {
                if after >= end {
                    return None;
                }
                let set = set_runs.next().unwrap_or(end..end);
                unset = after..set.start;
                after = set.end;
            }
            let part = unset.start..unset.end.min(unset.start.saturating_add(tracks_max));
            unset.start = part.end;
            Some(part)
        })
    }

    /// Adds the tracks of `other`.
    pub fn unite(&mut self, other: &Self) {
        *Arc::make_mut(&mut self.tracks) |= &*other.tracks;
    }

    /// Number of tracks in this set or the other.
    pub fn united_count(&self, other: &Self) -> u64 {
        self.tracks.union_len(&other.tracks)
    }

    /// Takes the tracks of `other` away.
    pub fn subtract(&mut self, other: &Self) {
        *Arc::make_mut(&mut self.tracks) -= &*other.tracks;
    }

    /// Keeps only tracks that `other` has too.
    pub fn intersect(&mut self, other: &Self) {
        *Arc::make_mut(&mut self.tracks) &= &*other.tracks;
    }

    /// The tracks of `range`, counted from its start.
    #[must_use]
    pub fn part(&self, range: Range<u32>) -> Self {
        let mut part = Self::default();
        for run in self.set_runs(range.clone()) {
            part.set(run.start - range.start..run.end - range.start);
        }
        part
    }

    /// Takes the lowest tracks out, within a range of at most `tracks_max` from the first one on.
    #[must_use]
    pub fn split_first(&mut self, tracks_max: u32) -> Self {
        let Some(start) = self.tracks.min() else {
            return Self::default();
        };
        let range = start..start.saturating_add(tracks_max);
        let mut first = Self::default();
        for run in self.set_runs(range.clone()) {
            first.set(run);
        }
        self.clear(range);
        first
    }

    /// Stores runs as runs: gives memory back after many scattered changes.
    pub fn compact(&mut self) {
        Arc::make_mut(&mut self.tracks).optimize();
    }

    /// The set in roaring's portable format.
    pub fn encode(&self) -> Vec<u8> {
        self.clone().into()
    }

    /// The set of `tracks` tracks that `bytes` hold.
    ///
    /// # Errors
    /// When the bytes are anything else than what `encode` makes of a set of such tracks.
    pub fn decode(bytes: &[u8], tracks: u32) -> Result<Self, TrackBitmapError> {
        let mut rest = bytes;
        let set = RoaringBitmap::deserialize_from(&mut rest).map_err(TrackBitmapError::Format)?;
        if !rest.is_empty() {
            return Err(TrackBitmapError::Trailing(rest.len()));
        }
        set.internal_validate().map_err(TrackBitmapError::Contradiction)?;
        let set = Self { tracks: Arc::new(set) };
        set.check_tracks(tracks)?;
        Ok(set)
    }

    /// Checks that the set holds no other tracks than `0..tracks`: for a set that came through
    /// serde, which does not know how many there are.
    ///
    /// # Errors
    /// When it holds a track that does not exist.
    pub fn check_tracks(&self, tracks: u32) -> Result<(), TrackBitmapError> {
        match self.tracks.max() {
            Some(track) if track >= tracks => Err(TrackBitmapError::NoSuchTrack { track, tracks }),
            _ => Ok(()),
        }
    }

    /// Checks the invariants of this file.
    ///
    /// # Panics
    /// When one does not hold.
    #[cfg(any(test, feature = "sim"))]
    pub fn check_invariants(&self) {
        assert!(!self.contains(u32::MAX), "B1");
        self.tracks.internal_validate().expect("B2");
    }
}

impl From<TrackBitmap> for Vec<u8> {
    fn from(mut set: TrackBitmap) -> Self {
        set.compact();
        let mut bytes = Self::with_capacity(set.tracks.serialized_size());
        set.tracks.serialize_into(&mut bytes).expect("writing to memory does not fail");
        bytes
    }
}

impl TryFrom<Vec<u8>> for TrackBitmap {
    type Error = TrackBitmapError;

    fn try_from(bytes: Vec<u8>) -> Result<Self, Self::Error> {
        Self::decode(&bytes, u32::MAX)
    }
}

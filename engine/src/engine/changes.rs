//! Recorded changes: which tracks a host has changed since T0, for a refresh or reversal later.
//!
//! A staged write notes its tracks when its frame is appended, and replay notes them again from the frame. Writes
//! that go straight home leave no trace in the journal: they may do so only on tracks that are noted durably.
//!
//! Invariants
//! - N1 A track that was noted is in `undurable` until the frame that noted it is durable; then a crash cannot
//!   take the note back (R5).
//! - N2 A renewal forgets all notes of the relationship: what is in flight straight home at that moment was noted
//!   before, so it is among the tracks that the renewal copies.

use std::collections::{BTreeMap, VecDeque};

use super::Engine;
use crate::state::{Role, Volume};
use crate::units::{ByteRange, Position, RelationshipId, VolumeId};

/// A track that was noted: of which relationship and side, counted from the extent's start.
type Note = (RelationshipId, Role, u32);

/// Notes that are not durable yet.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// Where the frame ends that made the note.
    undurable: BTreeMap<Note, Position>,
    /// In the order of the journal.
    queue: VecDeque<(Position, Note)>,
}

impl Changes {
    /// Everything up to `durable` is durable (N1).
    pub(super) fn durable(&mut self, durable: Position) {
        while self.queue.front().is_some_and(|(end, _)| *end <= durable) {
            let Some((end, note)) = self.queue.pop_front() else {
                return;
            };
            // A renewal may have dropped the note, and a later frame made it again.
            if self.undurable.get(&note) == Some(&end) {
                self.undurable.remove(&note);
            }
        }
    }
}

impl Engine {
    /// Notes the tracks of a staged write, whose frame ends at `end`.
    pub(super) fn note_change(&mut self, volume: VolumeId, range: ByteRange, end: Position) {
        let changes = &mut self.changes;
        self.state.note_change(volume, range, |id, role, track| {
            changes.undurable.insert((id, role, track), end);
            changes.queue.push_back((end, (id, role, track)));
        });
    }

    /// True when a write of these tracks may go straight home as far as recorded changes are concerned.
    pub(super) fn changes_are_noted(&self, volume: &Volume, tracks: &std::ops::Range<u32>) -> bool {
        if volume.incremental == 0 {
            return true;
        }
        [(Role::Source, &volume.as_source), (Role::Target, &volume.as_target)].into_iter().all(
            |(role, cover)| {
                cover.overlapping(tracks.clone()).all(|(tracks, ids)| {
                    ids.iter().all(|&id| self.are_noted(id, role, tracks.clone()))
                })
            },
        )
    }

    fn are_noted(&self, id: RelationshipId, role: Role, tracks: std::ops::Range<u32>) -> bool {
        let Some(known) = self.state.relationships.get(&id) else {
            return true;
        };
        if !known.is_incremental() {
            return true;
        }
        let (first, changed) = match role {
            Role::Source => (known.pair.source_track, &known.source_changed),
            Role::Target => (known.pair.target_track, &known.target_changed),
        };
        let durable = |track: u32| {
            !self.changes.undurable.contains_key(&(id, role, track))
                || breaks!(self, DirectWriteBeforeChangeDurable)
        };
        (tracks.start - first..tracks.end - first)
            .all(|track| changed.contains(track) && durable(track))
    }
}

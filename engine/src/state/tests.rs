//! What a fast reverse restore makes void on its new target, where blocks were copied alone.

use super::{
    Direction, NewRelationship, Record, Recording, Renewal, RenewedTracks, Scope, State,
    TargetWrites,
};
use crate::admin::CopyMode;
use crate::geometry::{Geometry, VolumeType};
use crate::pace::Pace;
use crate::units::{Block, RelationshipId, Seq, VolumeId};

const ID: RelationshipId = RelationshipId(1);

/// A copy of a volume, as of number 3, of whose 16-block tracks the first is copied whole and block 20 alone.
fn state() -> State {
    let geometry = Geometry::new(VolumeType::Fb, Some(1 << 20), None).unwrap();
    let volume = |id: u32| Record::VolumeCreated {
        id: VolumeId(id),
        name: format!("volume{id}"),
        geometry,
        device: 0,
        pool: None,
    };
    let pair = NewRelationship {
        id: ID,
        source: VolumeId(1),
        target: VolumeId(2),
        source_track: 0,
        target_track: 0,
        tracks: geometry.tracks,
        mode: CopyMode::Nocopy,
        pace: Pace::default(),
        scope: Scope::Volume,
        recording: Recording::Off,
        target_writes: TargetWrites::Allowed,
    };
    let mut state = State::default();
    let records = [
        volume(1),
        volume(2),
        Record::Established { at: 1, relationships: vec![pair], renewed: vec![] },
        Record::Copied { id: ID, runs: vec![(0, 1)] },
        Record::CopiedBlocks { id: ID, runs: vec![(20, 1)] },
    ];
    for (seq, record) in (1..).zip(&records) {
        state.apply(Seq(seq), record);
    }
    state
}

#[test]
fn what_is_read_from_the_copy_is_void_and_what_the_new_target_has_is_kept_as_of_the_old_moment() {
    let mut state = state();
    let renewal = Renewal {
        id: ID,
        direction: Direction::Reversed,
        tracks: RenewedTracks::Copied,
        mode: CopyMode::Nocopy,
        recording: Recording::Off,
        target_writes: TargetWrites::Allowed,
    };
    let record = Record::Established { at: 2, relationships: vec![], renewed: vec![renewal] };
    let effects = state.apply(Seq(9), &record);

    // A version is void if one of the effects says so.
    let is_void = |block: u32, version: u64| {
        effects.superseded.iter().any(|void| {
            assert_eq!((void.volume, void.before), (VolumeId(1), Seq(9)));
            void.after < Seq(version) && void.concerns(Block(block).offset())
        })
    };
    for (block, before, after) in [
        // Of the track that was copied whole.
        (5, true, true),
        // The block that was copied alone, and its neighbours.
        (20, true, true),
        (19, false, true),
        (21, false, true),
        // Of a track that was never copied.
        (40, false, true),
    ] {
        assert_eq!(is_void(block, 2), before, "block {block}, a version of before the copy");
        assert_eq!(is_void(block, 7), after, "block {block}, a version of after it");
    }
    let copied = &state.relationships[&ID].copied;
    assert!(!copied.has_block(20, 16) && !copied.has_block(5, 16));
    assert!(copied.has_block(19, 16) && copied.has_block(40, 16));
}

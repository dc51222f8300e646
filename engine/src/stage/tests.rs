use super::*;

const VOLUME: VolumeId = VolumeId(1);

fn frame(seq: u64, start: u64, bytes: u64) -> Frame {
    let range = ByteRange::new(start, bytes).expect("a small range");
    let position = Position(seq << 20);
    Frame { seq: Seq(seq), volume: VOLUME, range, position, content: Content::Journal(position) }
}

#[test]
fn a_frame_over_two_blocks_gives_each_its_part_of_the_payload() {
    let mut stage = Stage::default();
    stage.insert(frame(1, 4000, 200), Seq(0));
    let first = stage.versions_of(VOLUME, Block(0))[0];
    assert_eq!(
        (first.start, first.end, first.content),
        (4000, 4096, Content::Journal(Position(1 << 20)))
    );
    let second = stage.versions_of(VOLUME, Block(1))[0];
    assert_eq!((second.start, second.end), (0, 104));
    assert_eq!(second.content, Content::Journal(Position((1 << 20) + 96)));
}

#[test]
fn a_covered_version_is_dropped_unless_a_copy_may_need_it() {
    let mut stage = Stage::default();
    stage.insert(frame(1, 0, 4096), Seq(0));
    stage.insert(frame(2, 0, 4096), Seq(0));
    assert_eq!(stage.versions_of(VOLUME, Block(0)).len(), 1);
    stage.insert(frame(3, 0, 4096), Seq(2));
    assert_eq!(stage.versions_of(VOLUME, Block(0)).len(), 2);
    assert_eq!(stage.bytes(), 8192);
}

#[test]
fn release_drops_frames_up_to_a_number_and_keeps_later_ones() {
    let mut stage = Stage::default();
    stage.insert(frame(1, 0, 4096), Seq(9));
    stage.insert(frame(2, 0, 512), Seq(9));
    stage.insert(frame(3, 4096, 512), Seq(9));
    stage.release(Seq(2));
    assert!(stage.versions_of(VOLUME, Block(0)).is_empty());
    assert_eq!(stage.versions_of(VOLUME, Block(1)).len(), 1);
    stage.release(Seq(3));
    assert!(stage.is_empty(VOLUME));
    assert_eq!((stage.versions(), stage.bytes()), (0, 0));
}

#[test]
fn a_frame_that_was_moved_is_read_from_its_new_place_and_the_others_are_not() {
    let mut stage = Stage::default();
    stage.insert(frame(1, 0, 8192), Seq(9));
    stage.insert(frame(2, 4000, 200), Seq(9));
    stage.moved(Seq(2), Position(77 << 20));
    let contents = |block| {
        let versions = stage.versions_of(VOLUME, Block(block)).iter();
        versions.map(|version| version.content).collect::<Vec<_>>()
    };
    let at = |position| Content::Journal(Position(position));
    assert_eq!(contents(0), [at(1 << 20), at(77 << 20)]);
    assert_eq!(contents(1), [at((1 << 20) + 4096), at((77 << 20) + 96)]);
    assert_eq!(stage.frames().last().unwrap().position, Position(77 << 20));
}

#[test]
fn a_listing_gives_each_version_once_whatever_happens_meanwhile() {
    for step in 1..5 {
        let mut stage = Stage::default();
        for block in 0..6 {
            stage.insert(frame(block + 1, block * 4096, 4096), Seq(0));
        }
        stage.insert(frame(7, 4096, 100), Seq(9));
        stage.begin_listing(Seq(7));
        let mut listed = stage.list_some(step).unwrap();
        // The first of these lie before and after the blocks that were looked at.
        stage.insert(frame(8, 0, 8192), Seq(0));
        let range = ByteRange { start: 4 * 4096, end: 6 * 4096 };
        stage.supersede(&Superseded::all(VOLUME, range, Seq(8)));
        stage.insert(frame(9, 5 * 4096, 4096), Seq(0));
        while let Some(more) = stage.list_some(step) {
            listed.extend(more);
        }
        let mut seqs: Vec<u64> = listed.iter().map(|staged| staged.version.seq.0).collect();
        seqs.sort_unstable();
        assert_eq!(seqs, [1, 2, 3, 4, 5, 6, 7], "{step} blocks at a time");
        assert_eq!(stage.list_some(1), None);
    }
}

#[test]
fn a_listing_has_what_only_a_frame_that_is_not_durable_covers() {
    let mut stage = Stage::default();
    stage.insert(frame(1, 0, 4096), Seq(0));
    stage.insert(frame(2, 4096, 4096), Seq(0));
    stage.insert(frame(3, 0, 4096), Seq(0));
    stage.durable(Seq(3));
    stage.insert(frame(4, 0, 4096), Seq(0));
    stage.begin_listing(Seq(3));
    let listed: Vec<u64> = std::iter::from_fn(|| stage.list_some(9))
        .flatten()
        .map(|staged| staged.version.seq.0)
        .collect();
    assert_eq!(listed, [2, 3], "frame 4 may be lost, frame 3 may not");
}

#[test]
fn superseded_versions_are_gone_and_their_release_harms_nothing() {
    let mut stage = Stage::default();
    stage.insert(frame(1, 0, 8192), Seq(0));
    let range = ByteRange { start: 0, end: 4096 };
    stage.supersede(&Superseded::all(VOLUME, range, Seq(5)));
    assert!(stage.versions_of(VOLUME, Block(0)).is_empty());
    assert_eq!(stage.versions_of(VOLUME, Block(1)).len(), 1);
    stage.release(Seq(1));
    assert_eq!(stage.versions(), 0);
}

#[test]
fn what_a_checkpoint_lists_is_restored_as_it_was_whatever_its_order() {
    let mut stage = Stage::default();
    for (seq, start, bytes) in [(1, 4096, 8192), (2, 0, 512), (3, 4096, 4096), (4, 512, 100)] {
        stage.insert(frame(seq, start, bytes), Seq(2));
    }
    let other = Frame { volume: VolumeId(2), ..frame(5, 8192, 4096) };
    stage.insert(other, Seq(5));
    let mut listed: Vec<Staged> = stage
        .all_versions()
        .map(|(volume, block, &version)| Staged { volume, block, version })
        .collect();
    listed.reverse();
    listed.swap(0, 2);

    let restored = Stage::restored(listed);

    let all = |stage: &Stage| -> Vec<_> {
        stage.all_versions().map(|(volume, block, &version)| (volume, block, version)).collect()
    };
    assert_eq!(all(&restored), all(&stage));
    assert_eq!((restored.versions(), restored.bytes()), (stage.versions(), stage.bytes()));
    let order: Vec<u64> = restored.frames().map(|frame| frame.seq.0).collect();
    assert_eq!(order, [1, 1, 2, 3, 4, 5], "one for each version");
    assert_eq!(restored.newest(), Some(other));
}

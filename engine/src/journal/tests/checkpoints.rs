//! Checkpoints: cut off anywhere, the one before stays in force; they wait for the journal; segments follow them.

use super::*;
use crate::io::Action;

#[test]
fn a_checkpoint_cut_off_at_any_operation_leaves_the_old_or_the_new_one() {
    let mut numbers = Numbers::new(4);
    for actions in 0..10 {
        for _ in 0..20 {
            let mut world = World::new();
            world.record(b"one");
            world.write_and_sync();
            world.checkpoint(b"older checkpoint");
            world.record(b"two");
            world.write_and_sync();
            world.checkpoint(b"newer checkpoint");
            world.record(b"three");
            world.write_and_sync();
            let before = world.expected.clone();
            let mark = world.journal().mark();
            let payload = vec![b'x'; 3000];
            let mut writer = world.store.checkpoints.begin(mark, mark.position);
            let mut pieces = payload.chunks(2000);
            for _ in 0..actions {
                if writer.wants_piece() {
                    let piece = pieces.next().unwrap().to_vec();
                    writer.supply(piece, pieces.len() == 0);
                }
                if let Some((object, action)) = writer.next_action(mark.position) {
                    perform(&mut world.disk, object, action);
                    writer.action_done();
                }
            }
            let committed = writer.is_committed();
            let again = world.cut(|_| numbers.fate());
            if again.store.checkpoint == payload {
                assert!(actions > 5, "the header is written last");
                assert_eq!(again.expected, []);
            } else {
                assert!(!committed);
                assert_eq!(again.store.checkpoint, b"newer checkpoint");
                assert_eq!(again.expected, before);
            }
        }
    }
}

#[test]
fn a_checkpoint_is_not_committed_before_the_journal_up_to_its_mark_is_durable() {
    let mut world = World::new();
    world.record(b"a record");
    world.write();
    let mark = world.journal().mark();
    let mut writer = world.store.checkpoints.begin(mark, mark.position);
    let durable = world.store.journal.durable();
    write_checkpoint(&mut world.disk, &mut writer, &[1; 10], durable);
    assert!(!writer.is_committed());
    world.sync();
    let next = writer.next_action(world.store.journal.durable());
    assert!(matches!(next, Some((_, Action::Write { offset: 0, .. }))), "{next:?}");
}

#[test]
fn a_long_checkpoint_is_written_in_slices() {
    let mut world = World::new();
    let mark = world.journal().mark();
    let payload = Numbers::new(9).bytes((2 << 20) + 5);
    let mut writer = world.store.checkpoints.begin(mark, mark.position);
    let mut pieces = payload.chunks(1 << 20);
    let mut written = Vec::new();
    loop {
        if writer.wants_piece() {
            assert!(writer.next_action(mark.position).is_none(), "nothing to write yet");
            let piece = pieces.next().unwrap().to_vec();
            writer.supply(piece, pieces.len() == 0);
        }
        let Some((object, action)) = writer.next_action(mark.position) else { break };
        assert!(writer.next_action(mark.position).is_none(), "one operation at a time");
        if let Action::Write { data, .. } = &action {
            written.push(data.len());
        }
        perform(&mut world.disk, object, action);
        writer.action_done();
    }
    assert_eq!(written, [1 << 20, 1 << 20, 5, 4096]);
    world.store.checkpoints.committed(&writer);
    assert_eq!(world.cut(|_| Fate::Lost).store.checkpoint, payload);
}

#[test]
fn an_abandoned_checkpoint_is_followed_by_one_that_counts() {
    let mut world = World::new();
    world.record(b"a record");
    world.write_and_sync();
    world.checkpoint(b"in force");
    let mark = world.journal().mark();
    let mut writer = world.store.checkpoints.begin(mark, mark.position);
    writer.supply(vec![1; 100], true);
    let (_, action) = writer.next_action(mark.position).unwrap();
    assert!(matches!(action, Action::Allocate { .. }), "space is taken first: {action:?}");
    drop(writer);
    world.checkpoint(b"the next one");
    assert_eq!(world.cut(|_| Fate::Lost).store.checkpoint, b"the next one");
}

#[test]
fn staged_writes_older_than_the_checkpoint_stay_readable_until_they_are_released() {
    let mut world = World::new();
    let old = world.data(0, &[6; 5000]);
    world.write_and_sync();
    for _ in 0..8 {
        world.data(0, &[7; 12_000]);
    }
    world.write_and_sync();
    let mark = world.journal().mark();
    let mut writer = world.store.checkpoints.begin(mark, old.payload);
    write_checkpoint(&mut world.disk, &mut writer, b"lists them", mark.position);
    let release = world.store.checkpoints.committed(&writer);
    assert_eq!(release, old.payload);
    world.journal().release_before(release);
    for _ in 0..3 {
        world = World::open(world.disk);
        let bytes = payload_at(&mut world.disk, &world.store.journal, old.payload, 5000);
        assert_eq!(bytes, [6; 5000]);
    }
    // The header of their segment may rot: the frames say themselves where they belong.
    let (object, _) = world.journal().locate(old.payload).unwrap();
    world.disk.flip(object, 30);
    world = World::open(world.disk);
    assert_eq!(world.journal().locate(old.payload).map(|(object, _)| object), Some(object));
    world.journal().release_before(mark.position);
    assert_eq!(world.journal().locate(old.payload), None);
}

#[test]
fn many_openings_without_a_checkpoint_do_not_pile_up_slots() {
    let mut world = World::new();
    world.record(b"a record");
    world.write_and_sync();
    for _ in 0..50 {
        world = World::open(world.disk);
    }
    let slots = world.disk.objects().iter().filter(|it| matches!(it, Object::Segment(_))).count();
    assert!(slots <= 6, "{slots} slots");
    assert_eq!(world.expected, [Expected::Record(b"a record".to_vec())]);
}

#[test]
fn a_checkpoint_whose_last_sync_failed_is_durable_once_recovery_has_built_on_it() {
    let mut world = World::new();
    world.record(b"a record");
    world.write_and_sync();
    let mark = world.journal().mark();
    let mut writer = world.store.checkpoints.begin(mark, mark.position);
    writer.supply(b"in the cache".to_vec(), true);
    let mut syncs = 0;
    while let Some((object, action)) = writer.next_action(mark.position) {
        let is_sync = matches!(action, Action::Sync);
        syncs += u32::from(is_sync);
        if is_sync && syncs == 2 {
            world.disk.syncs_fail = true;
            assert!(world.disk.sync(object).is_err());
            world.disk.syncs_fail = false;
            break;
        }
        perform(&mut world.disk, object, action);
        writer.action_done();
    }
    assert_eq!(syncs, 2, "payload, then header");
    // The server dies; what it wrote is in the page cache, counts as clean, and is not on the disk.
    let again = World::open(world.disk);
    assert_eq!(again.store.checkpoint, b"in the cache");
    assert_eq!(again.cut(|_| Fate::Lost).store.checkpoint, b"in the cache");
}

//! What the journal does when nothing goes wrong, and how its places move.

use super::*;
use crate::journal::{Presence, presence};

#[test]
fn a_new_store_opens_with_its_first_checkpoint_and_no_frames() {
    let mut disk = TestDisk::default();
    assert_eq!(presence(&mut disk).unwrap(), Presence::Empty);
    assert!(matches!(recover(&mut disk), Err(OpenError::Missing)));
    create(&mut disk, &parameters()).unwrap();
    assert_eq!(presence(&mut disk).unwrap(), Presence::Store);
    let store = recover(&mut disk).unwrap();
    assert_eq!(store.checkpoint, FIRST_CHECKPOINT);
    assert_eq!((store.checkpoint_seq, store.frames), (Seq(0), vec![]));
    assert_eq!(store.header.epoch, 1);
    assert_eq!(store.journal.next_seq(), Seq(1));
    assert_eq!(recover(&mut disk).unwrap().header.epoch, 2);
}

#[test]
fn frames_of_every_kind_are_there_after_a_restart() {
    let mut world = World::new();
    world.record(b"establish");
    world.data(4096, &[7; 5000]);
    world.zeroes(1 << 40, 4 << 20);
    world.watermark();
    world.data(1, b"x");
    world.write_and_sync();
    let expected = world.expected.clone();
    let again = world.cut(|_| Fate::Lost);
    assert_eq!(again.expected, expected);
}

#[test]
fn a_frame_is_durable_only_after_a_sync_that_began_after_it_was_written() {
    let mut world = World::new();
    let first = world.record(b"first");
    world.write();
    assert!(world.journal().durable() < first.end);
    let plan = world.journal().begin_sync().unwrap();
    assert_eq!(plan.covers, first.end);
    let second = world.record(b"second");
    world.write();
    assert_eq!(world.journal().begin_sync(), None, "one sync at a time");
    world.journal().sync_done();
    assert_eq!(world.journal().durable(), first.end);
    assert_eq!(world.journal().durable_seq(), first.seq);
    world.sync();
    assert_eq!(world.journal().durable(), second.end);
    assert_eq!(world.journal().durable_seq(), second.seq);
    assert_eq!(world.journal().unsynced_bytes(), 0);
    assert_eq!(world.journal().begin_sync(), None, "nothing is unsynced");
}

#[test]
fn writes_that_complete_out_of_order_count_only_as_far_as_there_is_no_gap() {
    let mut world = World::new();
    let mut writes = Vec::new();
    let ends: Vec<Position> = (0..3)
        .map(|_| {
            let appended = world.record(b"a record");
            world.store.journal.take_writes(&mut writes);
            appended.end
        })
        .collect();
    let before = world.journal().written();
    world.journal().write_done(writes[2].ticket);
    world.journal().write_done(writes[1].ticket);
    assert_eq!(world.journal().written(), before);
    assert_eq!(world.journal().begin_sync(), None);
    world.journal().write_done(writes[0].ticket);
    assert_eq!(world.journal().written(), ends[2]);
}

#[test]
fn a_sync_after_a_switch_of_segments_covers_both_segments() {
    let mut world = World::new();
    let start = world.journal().end();
    while world.journal().end().0 / u64::from(SEGMENT_BYTES) == start.0 / u64::from(SEGMENT_BYTES) {
        world.data(0, &[1; 4000]);
    }
    let mut writes = Vec::new();
    world.store.journal.take_writes(&mut writes);
    assert_eq!(writes.len(), 2, "one write per segment");
    for out in writes {
        world.disk.write(out.object, out.offset, &out.data).unwrap();
        world.journal().write_done(out.ticket);
    }
    let plan = world.journal().begin_sync().unwrap();
    assert_eq!(plan.objects.len(), 2);
    for object in plan.objects {
        world.disk.sync(object).unwrap();
    }
    world.journal().sync_done();
    let expected = world.expected.clone();
    assert_eq!(world.cut(|_| Fate::Lost).expected, expected);
}

#[test]
fn every_write_is_whole_blocks_that_no_earlier_write_touched() {
    let mut world = World::new();
    let mut end = None;
    for length in [1, 600, 3, 440, 448] {
        world.data(0, &vec![9; length]);
        let mut writes = Vec::new();
        world.store.journal.take_writes(&mut writes);
        for out in writes {
            assert_eq!(out.offset % 4096, 0);
            assert_eq!(out.data.len() % 4096, 0);
            assert!(end.is_none_or(|end| out.offset >= end));
            end = Some(out.offset + out.data.len() as u64);
            world.disk.write(out.object, out.offset, &out.data).unwrap();
            world.journal().write_done(out.ticket);
        }
    }
    world.sync();
    let expected = world.expected.clone();
    assert_eq!(world.cut(|_| Fate::Lost).expected, expected);
}

#[test]
fn what_room_promises_can_be_appended_without_another_slot() {
    for length in [1, 500, 4096, 12_288] {
        let mut world = World::new();
        let mut appended = 0;
        while world.journal().room() >= Journal::cost(length) {
            let before = world.journal().room();
            world.data(0, &vec![1; usize::try_from(length).unwrap()]);
            let after = world.journal().room();
            assert!(after + Journal::cost(length) >= before, "room fell from {before} to {after}");
            appended += 1;
            if appended % 3 == 0 {
                world.write_and_sync();
            }
        }
        assert!(world.journal().used_bytes() <= world.journal().capacity_bytes());
        assert!(world.journal().room_for_records() > u64::from(SEGMENT_BYTES) / 2);
        world.write_and_sync();
        let expected = world.expected.clone();
        assert_eq!(world.cut(|_| Fate::Lost).expected, expected);
    }
}

#[test]
fn a_journal_that_is_found_full_has_room_for_records_and_is_no_larger_when_it_was_emptied() {
    let mut world = World::new();
    let length = 4096;
    while world.journal().room() >= Journal::cost(length) {
        world.data(0, &[1; 4096]);
        world.write();
    }
    while world.journal().room_for_records() >= 2 * Journal::cost(length) {
        world.record(&[2; 4096]);
        world.write();
    }
    world.write_and_sync();
    for _ in 0..3 {
        world = world.cut(|_| Fate::Lost);
        // Host writes get at most what is left of the segment that the opening began.
        assert!(world.journal().room() < u64::from(SEGMENT_BYTES));
        assert!(world.journal().room_for_records() > u64::from(SEGMENT_BYTES));
    }
    world.checkpoint(&[3]);
    assert!(world.journal().room_for_records() <= world.journal().capacity_bytes());
    while world.journal().room_for_records() >= Journal::cost(length) {
        world.record(&[4; 4096]);
        world.write();
    }
    assert!(world.journal().used_bytes() <= world.journal().capacity_bytes());
}

#[test]
fn the_journal_wraps_around_its_slots_again_and_again() {
    let mut world = World::new();
    for round in 0_u8..40 {
        for _ in 0..10 {
            world.data(u64::from(round), &[round; 9000]);
            world.write_and_sync();
        }
        world.checkpoint(&[round]);
        world.record(&[round]);
        world.write_and_sync();
        if round % 7 == 0 {
            let expected = world.expected.clone();
            world = world.cut(|_| Fate::Lost);
            assert_eq!(world.expected, expected);
            assert_eq!(world.store.checkpoint, [round]);
        }
    }
    let slots = world.disk.objects().iter().filter(|it| matches!(it, Object::Segment(_))).count();
    assert!(slots <= CAPACITY as usize, "{slots} slots");
}

#[test]
fn a_watermark_is_due_once_after_frames_became_durable() {
    let mut world = World::new();
    assert!(!world.journal().watermark_due());
    world.record(b"a record");
    assert!(!world.journal().watermark_due(), "nothing is durable yet");
    world.write_and_sync();
    assert!(world.journal().watermark_due());
    world.watermark();
    assert!(!world.journal().watermark_due());
    world.write_and_sync();
    assert!(!world.journal().watermark_due());
}

#[test]
fn a_store_is_created_only_where_there_is_none_and_only_with_a_sane_layout() {
    let mut disk = new_disk();
    assert!(matches!(create(&mut disk, &parameters()), Err(OpenError::Exists)));
    for (segment_bytes, capacity_segments) in [(4096, 8), (65_537, 8), (65_536, 3), (u32::MAX, 8)] {
        let mut disk = TestDisk::default();
        let odd = CreateParameters { segment_bytes, capacity_segments, ..parameters() };
        assert!(matches!(create(&mut disk, &odd), Err(OpenError::Parameters(_))));
        assert_eq!(disk.calls, 0, "nothing was written");
    }
}

//! Rot: a flipped byte anywhere is either refused with its place or harmless, and never gives a wrong frame. A store that
//! is refused is not written to.

use super::*;
use crate::journal::create::read_header;
use crate::journal::segment::ready_mark;
use crate::journal::survey::Survey;
use crate::journal::{FrameFault, inspect};

/// A store with every kind of frame in two segments, then a watermark that says that all of it is synced.
fn synced_world() -> World {
    let mut world = World::new();
    world.record(b"the first record");
    world.data(0, &[1; 700]);
    world.write_and_sync();
    world.zeroes(4096, 4096);
    world.record(&[2; 100]);
    world.write_and_sync();
    for byte in 3..9 {
        world.data(0, &[byte; 12_000]);
        world.write_and_sync();
    }
    world.record(b"the last record");
    world.write_and_sync();
    world.watermark();
    world.write_and_sync();
    world
}

/// What opening a damaged store gave: none when it was refused, else its frames.
fn open_damaged(disk: &mut TestDisk, what: &str) -> Option<Vec<Expected>> {
    let calls = disk.calls;
    match recover(disk) {
        Ok(store) => {
            let journal = &store.journal;
            Some(store.frames.iter().map(|frame| content(disk, journal, frame)).collect())
        }
        Err(error) => {
            assert_eq!(disk.calls, calls, "{what}: refused, yet written to");
            let text = error.to_string();
            assert!(
                text.contains("Segment(") || text.contains("segment") || text.contains("slot"),
                "{what}: the place is not named: {text}"
            );
            None
        }
    }
}

#[test]
fn every_flipped_byte_of_the_synced_journal_is_refused_or_harmless() {
    let world = synced_world();
    let appended = &world.expected;
    let mut refused = 0;
    for object in world.disk.objects() {
        if !matches!(object, Object::Segment(_)) {
            continue;
        }
        for at in 0..world.disk.bytes(object).len() {
            // Payloads and unused slots are long and alike: every byte of headers and records, every 61st otherwise.
            let inside = at > 512
                && at % 61 != 0
                && world.disk.bytes(object)[at - 64..(at + 64).min(SEGMENT_BYTES as usize)]
                    .windows(2)
                    .all(|it| it[0] == it[1]);
            if inside {
                continue;
            }
            let mut disk = world.disk.clone();
            disk.flip(object, at);
            let what = format!("{object:?} byte {at}");
            let Some(found) = open_damaged(&mut disk, &what) else {
                refused += 1;
                continue;
            };
            // All that may be missing is the watermark, the only frame not known synced.
            assert!(found.len() + 1 >= appended.len(), "{what}: {} frames", found.len());
            assert_eq!(found, appended[..found.len()], "{what}");
        }
    }
    assert!(refused > 1100, "{refused} refused");
}

#[test]
fn a_ready_slot_is_one_with_the_mark_of_this_slot_and_no_frame_behind_it() {
    let mut disk = new_disk();
    let store = read_header(&mut disk).unwrap().newest().unwrap().0;
    for slot in [4, 5] {
        disk.create(Object::Segment(slot), SEGMENT_BYTES.into(), CreateSpace::Written).unwrap();
        let mark = ready_mark(store.uuid, store.secret, 4);
        disk.write(Object::Segment(slot), 0, &mark).unwrap();
    }

    assert_eq!(Survey::take(&mut disk, &store).unwrap().ready, [0, 1, 4]);

    disk.write(Object::Segment(4), 30_000, &[1]).unwrap();
    let survey = Survey::take(&mut disk, &store).unwrap();
    assert_eq!(survey.ready, [0, 1]);
    assert_eq!(survey.nameless.iter().map(|it| it.slot).collect::<Vec<_>>(), [4, 5]);
}

#[test]
fn a_lost_write_that_began_a_segment_is_told_by_the_frames_behind_it() {
    let mut world = World::new();
    while world.journal().end().0 < 2 * u64::from(SEGMENT_BYTES) {
        world.data(0, &[7; 9000]);
        world.write_and_sync();
    }
    for byte in 0..3 {
        world.data(0, &[byte; 4096]);
        world.write_and_sync();
    }
    let end = Position(world.journal().end().0 - 1);
    let Object::Segment(slot) = world.journal().locate(end).unwrap().0 else { unreachable!() };
    let mark = world.journal().ready_mark(slot);
    let mut disk = world.disk;
    disk.write(Object::Segment(slot), 0, &mark).unwrap();
    disk.sync(Object::Segment(slot)).unwrap();

    assert!(matches!(recover(&mut disk), Err(OpenError::JournalDamaged(_))));
}

#[test]
fn a_refusal_names_segment_offset_and_reason() {
    let mut world = World::new();
    let first = world.record(b"first");
    world.record(b"second");
    world.write_and_sync();
    world.watermark();
    world.write_and_sync();
    let (object, offset) = world.journal().locate(first.payload).unwrap();
    let mut disk = world.disk;
    disk.flip(object, usize::try_from(offset).unwrap());
    let OpenError::JournalDamaged(damage) = recover(&mut disk).unwrap_err() else {
        panic!("not refused for the journal");
    };
    assert_eq!(damage.object, Some(object));
    assert_eq!(damage.offset, offset - 64);
    assert_eq!(damage.fault, FrameFault::PayloadChecksum);
    assert!(damage.to_string().contains("known synced through position"), "{damage}");
}

#[test]
fn a_flipped_byte_past_the_last_sync_never_gives_a_wrong_frame() {
    let mut world = World::new();
    world.record(b"synced");
    world.write_and_sync();
    world.record(b"not synced, as far as anybody knows");
    world.data(3, &[4; 1000]);
    world.zeroes(0, 512);
    world.record(b"last");
    world.write();
    let slot = world.store.journal.locate(world.store.journal.durable()).unwrap().0;
    let mut lengths = std::collections::BTreeSet::new();
    for at in 4096..3 * 4096 {
        let mut disk = world.disk.clone();
        disk.flip(slot, at);
        if let Some(found) = open_damaged(&mut disk, &format!("byte {at}")) {
            assert_eq!(found, world.expected[..found.len()], "byte {at}");
            lengths.insert(found.len());
        }
    }
    // Later frames say that the first one was synced, so it is never given up.
    assert_eq!(lengths, (1..=5).collect());
}

#[test]
fn every_flipped_byte_of_the_headers_leaves_the_store_as_it_was_or_is_refused() {
    let world = synced_world();
    let appended = world.expected.clone();
    // The rest of each block is not looked at.
    for at in (0..520).chain(4096..4096 + 520) {
        let mut disk = world.disk.clone();
        disk.flip(Object::Header, at);
        let found = open_damaged(&mut disk, &format!("header byte {at}"));
        assert_eq!(found, Some(appended.clone()), "one copy of the header is enough");
        assert_eq!(
            recover(&mut disk).unwrap().header.epoch,
            3,
            "no opening's number is used twice"
        );
    }
    let mut disk = world.disk.clone();
    disk.flip(Object::Header, 20);
    disk.flip(Object::Header, 4096 + 20);
    assert!(matches!(recover(&mut disk), Err(OpenError::HeaderDamaged(_))));
}

#[test]
fn every_flipped_byte_of_the_only_checkpoint_is_refused() {
    let mut world = World::new();
    world.record(b"a record");
    world.write_and_sync();
    for at in (0..512).chain(4096..4096 + 512).chain(8192..8192 + FIRST_CHECKPOINT.len()) {
        let mut disk = world.disk.clone();
        disk.flip(Object::Checkpoint(0), at);
        let opened = open_damaged(&mut disk, &format!("checkpoint byte {at}"));
        // Recovery has written the second copy of the header.
        assert_eq!(opened.is_some(), at < 8192, "byte {at}");
    }
}

#[test]
fn a_damaged_newest_checkpoint_is_replaced_by_the_older_one_only_while_its_journal_is_complete() {
    for rounds in [1, 30] {
        let mut world = World::new();
        let mut all = Vec::new();
        world.record(b"before any checkpoint");
        world.write_and_sync();
        world.checkpoint(b"the older one");
        for _ in 0..7 {
            world.data(0, &[1; 9000]);
            world.write_and_sync();
        }
        all.extend(world.expected.clone());
        world.checkpoint(b"the newer one");
        for _ in 0..rounds {
            world.data(0, &[2; 12_000]);
            world.write_and_sync();
        }
        world.watermark();
        world.write_and_sync();
        all.extend(world.expected.clone());
        let newest = (0..2)
            .map(Object::Checkpoint)
            .find(|&it| world.disk.bytes(it)[8192..].starts_with(b"the newer one"))
            .unwrap();
        for at in [20, 8192] {
            let mut disk = world.disk.clone();
            disk.flip(newest, at);
            match recover(&mut disk) {
                Ok(store) => {
                    assert_eq!(rounds, 1, "its journal was overwritten");
                    assert_eq!(store.checkpoint, b"the older one");
                    assert_eq!(contents(&mut disk, &store), all);
                }
                Err(error) => {
                    assert_eq!(rounds, 30, "{error}");
                    assert!(matches!(error, OpenError::CheckpointLost { .. }), "{error}");
                }
            }
        }
    }
}

#[test]
fn a_store_of_another_version_is_refused_naming_both_versions() {
    let mut disk = new_disk();
    let mut block = disk.bytes(Object::Header)[..4096].to_vec();
    block[8] = 9;
    let sum = crc32c::crc32c(&block[..508]);
    block[508..512].copy_from_slice(&sum.to_le_bytes());
    disk.write(Object::Header, 0, &block).unwrap();
    let calls = disk.calls;
    let error = recover(&mut disk).unwrap_err();
    assert!(matches!(error, OpenError::Version { found: 9 }));
    let ours = format!("version {}", crate::store::FORMAT_VERSION);
    assert!(error.to_string().contains("version 9") && error.to_string().contains(&ours));
    assert_eq!(disk.calls, calls);
}

#[test]
fn an_inspection_writes_nothing_and_tells_what_recovery_would() {
    let mut world = synced_world();
    let calls = world.disk.calls;
    let inspection = inspect(&mut world.disk, |_, frames| all_data(frames)).unwrap();
    assert_eq!(inspection.frames.len(), world.expected.len());
    assert!(inspection.findings.is_empty(), "{:?}", inspection.findings);
    assert!(inspection.refusal.is_none());
    let payload = inspection.frames.iter().find_map(|frame| match frame.content {
        FrameContent::Data { payload, .. } => Some(payload),
        _ => None,
    });
    let (object, offset) = world.journal().locate(payload.unwrap()).unwrap();
    world.disk.flip(object, usize::try_from(offset).unwrap());
    let inspection = inspect(&mut world.disk, |_, frames| all_data(frames)).unwrap();
    let Some(OpenError::JournalDamaged(damage)) = inspection.refusal else { panic!("accepted") };
    assert_eq!((damage.offset, damage.fault), (offset - 64, FrameFault::PayloadChecksum));
    assert!(inspection.findings.is_empty(), "{:?}", inspection.findings);
    assert!(inspect(&mut world.disk, |_, _| Vec::new()).unwrap().refusal.is_none(), "not needed");
    world.disk.flip(object, usize::try_from(offset - 64).unwrap());
    let inspection = inspect(&mut world.disk, |_, _| Vec::new()).unwrap();
    assert!(matches!(inspection.refusal, Some(OpenError::JournalDamaged(_))));
    assert_eq!(world.disk.calls, calls);
}

#[test]
fn a_checkpoint_whose_segment_has_lost_its_header_is_refused_though_no_frame_follows() {
    let mut world = World::new();
    world.record(b"a record");
    world.write_and_sync();
    world.checkpoint(b"everything so far");
    let mark = world.journal().mark();
    let (object, _) = world.journal().locate(Position(mark.position.0 - 1)).unwrap();
    world.disk.flip(object, 25);
    let error = recover(&mut world.disk).unwrap_err();
    let OpenError::JournalDamaged(damage) = error else { panic!("{error}") };
    assert_eq!((damage.fault, damage.position), (FrameFault::NoSegment, mark.position));
}

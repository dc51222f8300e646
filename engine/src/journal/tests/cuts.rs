//! Power cuts: whatever becomes of unsynced sectors, what was synced is there, what is there is a prefix of what was
//! appended, and recovery may itself be cut off anywhere.

use super::*;

/// What was appended, of which the first `durable` frames must be there: some prefix is.
fn assert_prefix(found: &[Expected], appended: &[Expected], durable: usize, what: &str) {
    assert!(found.len() >= durable, "{what}: {} of {durable} durable frames", found.len());
    assert!(found.len() <= appended.len(), "{what}: more frames than were appended");
    assert_eq!(found, &appended[..found.len()], "{what}");
}

/// A world with two synced frames and three that are not, in two writes.
fn world_with_a_tail() -> (World, usize) {
    let mut world = World::new();
    world.record(b"synced");
    world.data(512, &[3; 700]);
    world.write_and_sync();
    let durable = world.expected.len();
    world.record(&[8; 500]);
    world.write();
    world.zeroes(4096, 8192);
    world.data(9, &[5; 900]);
    world.write();
    (world, durable)
}

#[test]
fn every_choice_of_lost_sectors_leaves_a_prefix_with_all_that_was_synced() {
    let (world, durable) = world_with_a_tail();
    // A fate for each sector with content, and one more that all zeroes behind them share.
    let mut fates = 0;
    let mut fate_of = Vec::new();
    for has_content in world.disk.pending_sectors() {
        fate_of.push(has_content.then_some(fates));
        fates += u32::from(has_content);
    }
    assert!((4..=7).contains(&fates) && fate_of.len() > 8, "{fate_of:?}");
    let mut lengths = std::collections::BTreeSet::new();
    for choice in 0..3_usize.pow(fates + 1) {
        let mut disk = world.disk.clone();
        disk.power_cut(|index| {
            [Fate::Lost, Fate::Kept, Fate::Garbage]
                [choice / 3_usize.pow(fate_of[index].unwrap_or(fates)) % 3]
        });
        let again = World::open(disk);
        assert_prefix(&again.expected, &world.expected, durable, &format!("choice {choice}"));
        lengths.insert(again.expected.len());
    }
    assert_eq!(lengths, (durable..=world.expected.len()).collect(), "every prefix occurs");
}

#[test]
fn recovery_that_dies_after_any_call_can_be_repeated_with_the_same_result() {
    let (mut world, _) = world_with_a_tail();
    // A tail that needs more than one fresh segment.
    for byte in 0..12 {
        world.data(0, &[byte; 12_000]);
    }
    world.write();
    let expected = world.expected.clone();
    let mut numbers = Numbers::new(1);
    let mut died = 0;
    // After the process has died the page cache is still there; then once more; then the power is cut.
    for first in 0.. {
        let mut disk = world.disk.clone();
        disk.dies_after = Some(disk.calls + first);
        if recover(&mut disk).is_ok() {
            break;
        }
        died += 1;
        for second in 0.. {
            let mut disk = disk.clone();
            disk.dies_after = Some(disk.calls + second);
            let done = recover(&mut disk).is_ok();
            for way in 0..3 {
                let mut disk = disk.clone();
                disk.dies_after = None;
                let mut reread = disk.clone();
                let store = recover(&mut reread).unwrap();
                assert_eq!(contents(&mut reread, &store), expected, "{first} {second}");
                disk.power_cut(|_| match way {
                    0 => Fate::Lost,
                    1 => Fate::Kept,
                    _ => numbers.fate(),
                });
                let store = recover(&mut disk).unwrap();
                let found = contents(&mut disk, &store);
                // Unsynced frames may go at the power cut, unless a recovery had accepted them.
                let least = if done { expected.len() } else { 2 };
                assert_prefix(&found, &expected, least, &format!("{first} {second} {way}"));
            }
            if done {
                break;
            }
        }
    }
    assert!(died > 6, "recovery makes {died} calls");
}

#[test]
fn frames_that_only_the_page_cache_holds_after_a_failed_sync_are_durable_once_accepted() {
    let (mut world, _) = world_with_a_tail();
    let expected = world.expected.clone();
    world.disk.syncs_fail = true;
    let plan = world.store.journal.begin_sync().unwrap();
    assert!(world.disk.sync(plan.objects[0]).is_err());
    // The pages count as clean now, the disk never got them; the server dies and starts again.
    world.disk.syncs_fail = false;
    assert_eq!(world.disk.pending_sectors(), []);
    let again = World::open(world.disk);
    assert_eq!(again.expected, expected);
    assert_eq!(again.cut(|_| Fate::Lost).expected, expected);
}

#[test]
fn a_failing_sync_in_recovery_refuses_and_the_next_recovery_is_right() {
    let (world, _) = world_with_a_tail();
    let mut disk = world.disk.clone();
    disk.syncs_fail = true;
    let error = recover(&mut disk).unwrap_err();
    assert!(matches!(error, OpenError::Storage { action: "sync", .. }), "{error}");
    disk.syncs_fail = false;
    let again = World::open(disk);
    assert_eq!(again.expected, world.expected);
    assert_eq!(again.cut(|_| Fate::Lost).expected, world.expected);
}

#[test]
fn frames_lost_at_one_crash_never_come_back_after_another() {
    let mut world = World::new();
    world.record(b"base");
    world.write_and_sync();
    let mut numbers = Numbers::new(2);
    for round in 0_u8..200 {
        // Same shapes every time, so that stale frames lie exactly where new ones go.
        let durable = world.expected.len();
        for index in 0..4 {
            world.data(index, &[round; 300]);
            if numbers.below(2) == 0 {
                world.write();
            }
        }
        world.write();
        let appended = world.expected.clone();
        world = world.cut(|_| numbers.fate());
        assert_prefix(&world.expected, &appended, durable, &format!("round {round}"));
        if round % 3 == 0 {
            world.checkpoint(&[round]);
        }
    }
}

#[test]
fn writes_that_overtake_each_other_across_segments_leave_a_prefix() {
    for seed in 0..60 {
        let mut numbers = Numbers::new(seed);
        let mut world = World::new();
        let mut writes = Vec::new();
        for _ in 0..30 {
            let bytes = numbers.below(12_000) + 1;
            let data = numbers.bytes(bytes);
            world.data(seed, &data);
            if numbers.below(3) > 0 {
                world.store.journal.take_writes(&mut writes);
            }
        }
        world.store.journal.take_writes(&mut writes);
        // Some complete, in any order; one sync; some more complete; then the power is cut.
        let mut order: Vec<_> = writes.into_iter().map(|out| (numbers.below(1000), out)).collect();
        order.sort_by_key(|(key, _)| *key);
        let half = order.len() / 2;
        for (index, (_, out)) in order.into_iter().enumerate() {
            if index == half {
                world.sync();
            }
            if numbers.below(8) > 0 {
                world.disk.write(out.object, out.offset, &out.data).unwrap();
                world.store.journal.write_done(out.ticket);
            }
        }
        let durable = usize::try_from(world.store.journal.durable_seq().0).unwrap();
        let appended = world.expected.clone();
        let again = world.cut(|_| numbers.fate());
        assert_prefix(&again.expected, &appended, durable, &format!("seed {seed}"));
    }
}

#[test]
fn random_histories_with_crashes_keep_what_was_synced() {
    for seed in 0..150 {
        let mut numbers = Numbers::new(1000 + seed);
        let mut world = World::new();
        let mut durable = 0;
        for step in 0..120 {
            match numbers.below(20) {
                0..=7 => {
                    let bytes = numbers.below(9000);
                    let data = numbers.bytes(bytes);
                    if world.journal().room() >= Journal::cost(bytes) {
                        world.data(step, &data);
                    }
                }
                8..=10 => drop(world.record(&step.to_le_bytes())),
                11 => drop(world.zeroes(step, 4096)),
                12 if world.journal().watermark_due() => drop(world.watermark()),
                13 | 14 => world.write(),
                15..=17 => {
                    world.write_and_sync();
                    durable = world.expected.len();
                }
                18 => {
                    world.write_and_sync();
                    world.checkpoint(&step.to_le_bytes());
                    durable = 0;
                }
                19 => {
                    let appended = world.expected.clone();
                    let checkpoint = world.store.checkpoint.clone();
                    drop(checkpoint);
                    world = world.cut(|_| numbers.fate());
                    assert_prefix(&world.expected, &appended, durable, &format!("{seed} {step}"));
                    durable = world.expected.len();
                }
                _ => {}
            }
        }
    }
}

#[test]
fn a_creation_cut_off_at_any_call_starts_over() {
    for dies_after in 0.. {
        let mut disk = TestDisk::default();
        disk.dies_after = Some(dies_after);
        let done = create(&mut disk, &parameters()).is_ok();
        let mut numbers = Numbers::new(dies_after);
        disk.power_cut(|_| if done { Fate::Lost } else { numbers.fate() });
        if !done {
            match create(&mut disk, &parameters()) {
                Ok(()) | Err(OpenError::Exists) => {}
                Err(error) => panic!("{dies_after}: {error}"),
            }
        }
        assert_eq!(recover(&mut disk).unwrap().checkpoint, FIRST_CHECKPOINT);
        if done {
            break;
        }
    }
}

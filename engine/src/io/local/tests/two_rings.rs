//! Several rings on one store, as several workers have them.

use super::*;

/// Two rings on a store with one volume of 4 MiB.
fn two_rings(dir: &TempDir, mode: IoMode) -> Option<[LocalRing; 2]> {
    let mut storage = storage(dir);
    storage.create(HOME, 4 * MIB as u64, CreateSpace::Sparse).unwrap();
    if let Err(refused) = storage.set_mode(mode) {
        println!("skipped: {refused}");
        return None;
    }
    Some([LocalRing::new(storage.share().unwrap()).unwrap(), LocalRing::new(storage).unwrap()])
}

/// Waits until `count` operations have ended, on whichever ring, and tells their results.
fn ended(rings: &mut [LocalRing; 2], count: usize) -> Vec<Result<Outcome, IoFailure>> {
    let (mut events, mut results) = (Vec::new(), Vec::new());
    while results.len() < count {
        for ring in rings.iter_mut() {
            ring.enter(Wait::No).unwrap();
            ring.reap(&mut events);
        }
        results.extend(events.drain(..).filter_map(|event| match event {
            Event::Completed(completion) => Some(completion.result),
            _ => None,
        }));
    }
    results
}

#[test]
fn what_one_ring_has_written_the_other_reads() {
    let dir = temporary();
    let [mut one, mut other] = two_rings(&dir, IoMode::Buffered).unwrap();

    for round in 0..100_u8 {
        write(&mut one, 4000, &[round; 200]);
        assert_eq!(read(&mut other, 4000, 200), [round; 200]);
        write(&mut other, 4000, &[round; 100]);
        assert_eq!(read(&mut one, 4099, 2), [round; 2]);
    }
}

#[test]
fn an_object_that_one_ring_removes_and_makes_anew_is_the_new_one_for_both() {
    let dir = temporary();
    let [mut one, mut other] = two_rings(&dir, IoMode::Buffered).unwrap();
    write(&mut one, 0, b"of the old file");
    write(&mut other, 4096, b"of the old file");

    perform(&mut one, HOME, Action::Remove).unwrap();
    let create = Action::Create { bytes: MIB as u64, space: CreateSpace::Sparse };
    perform(&mut one, HOME, create).unwrap();

    assert_eq!(read(&mut other, 4096, 5), [0; 5]);
    write(&mut other, 8192, b"of the new file");
    assert_eq!(read(&mut one, 8192, 15), b"of the new file");
    assert_eq!(std::fs::read(dir.path().join(file_name(HOME))).unwrap().len(), MIB);
}

#[test]
fn a_removed_object_gives_its_space_back_though_the_other_ring_had_it_open() {
    let dir = temporary();
    let [mut one, mut other] = two_rings(&dir, IoMode::Buffered).unwrap();
    write(&mut other, 0, &[1; 4096]);
    let path = dir.path().join(file_name(HOME));
    let open = || {
        let links = std::fs::read_dir("/proc/self/fd").unwrap();
        let targets = links.filter_map(|link| std::fs::read_link(link.ok()?.path()).ok());
        targets
            .filter(|target| target.to_string_lossy().starts_with(&*path.to_string_lossy()))
            .count()
    };
    assert_eq!(open(), 1, "both rings have the same file");

    perform(&mut one, HOME, Action::Remove).unwrap();

    assert_eq!(open(), 0);
}

#[test]
fn what_is_asked_of_an_object_that_goes_fails_and_opens_nothing() {
    let dir = temporary();
    let [mut one, mut other] = two_rings(&dir, IoMode::Buffered).unwrap();

    one.perform(Op { id: OpId(1), object: HOME, action: Action::Remove });
    // The file has its name until the helper has removed it.
    let refused = perform(&mut other, HOME, Action::Sync);

    assert_eq!(refused.unwrap_err(), IoFailure::Io(libc::ENOENT));
    assert!(matches!(
        events(&mut one, 1)[..],
        [Event::Completed(Completion { result: Ok(_), .. })]
    ));
    let create = Action::Create { bytes: MIB as u64, space: CreateSpace::Sparse };
    perform(&mut other, HOME, create).unwrap();
    write(&mut one, 0, b"of the new file");
    assert_eq!(read(&mut other, 0, 15), b"of the new file");
}

/// As for one ring (`direct`): who writes through the cache waits for direct writes, also for those of the other ring.
#[test]
fn in_direct_mode_writes_both_ways_of_two_rings_end_well_and_sync() {
    let dir = temporary();
    let Some(mut rings) = two_rings(&dir, IoMode::Direct) else { return };
    write(&mut rings[0], 0, &vec![9; 64 << 10]);
    let ranges = [(0, 512), (512, 100), (700, 200), (1024, 3072), (4096, 4096), (8200, 4000)];
    let mut expected = vec![9; 64 << 10];

    for round in 0..200_u8 {
        for (id, (offset, bytes)) in ranges.into_iter().enumerate() {
            let data = Buffer::from(&vec![round; bytes][..]);
            let action = Action::Write { offset: offset as u64, data };
            let ring = &mut rings[(id + usize::from(round)) % 2];
            ring.perform(Op { id: OpId(id as u64), object: HOME, action });
            expected[offset..offset + bytes].fill(round);
        }
        assert!(ended(&mut rings, ranges.len()).iter().all(Result::is_ok), "round {round}");
        perform(&mut rings[1], HOME, Action::Sync).unwrap();
    }

    assert!(read(&mut rings[0], 0, 64 << 10) == expected);
}

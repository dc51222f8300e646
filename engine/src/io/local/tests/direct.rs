//! Direct mode on a real file system: both ways to a file show the same, whatever is in flight beside.

use super::*;

/// A ring in direct mode on a store with one volume of 4 MiB; none where the file system does not have it.
pub(super) fn direct_ring(dir: &TempDir) -> Option<LocalRing> {
    let mut storage = storage(dir);
    storage.create(HOME, 4 * MIB as u64, CreateSpace::Sparse).unwrap();
    if let Err(refused) = storage.set_mode(IoMode::Direct) {
        println!("skipped: {refused}");
        return None;
    }
    Some(LocalRing::new(storage).unwrap())
}

fn home_file(dir: &TempDir) -> File {
    File::open(dir.path().join(file_name(HOME))).unwrap()
}

/// Bytes that differ from place to place and from `salt` to `salt`.
fn pattern(salt: u8, bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at: usize| at.to_le_bytes()[0] ^ at.to_le_bytes()[1] ^ salt).collect()
}

#[test]
fn aligned_reads_and_writes_leave_nothing_in_the_page_cache() {
    let dir = temporary();
    let Some(mut ring) = direct_ring(&dir) else { return };
    if !has_a_cache(&dir) {
        println!("skipped: {} is in memory", dir.path().display());
        return;
    }

    write(&mut ring, 4096, &pattern(1, 8192));
    assert!(read(&mut ring, 4096, 8192) == pattern(1, 8192));
    assert!(read(&mut ring, 5000, 3) == pattern(1, 8192)[904..907], "widened");

    assert!(!is_cached(&home_file(&dir), 4096));
}

#[test]
fn an_unaligned_write_is_seen_by_aligned_reads_and_survives_aligned_writes_beside_it() {
    let dir = temporary();
    let Some(mut ring) = direct_ring(&dir) else { return };
    let mut expected = pattern(1, 64 << 10);
    write(&mut ring, 0, &expected);

    for (offset, bytes) in
        [(1, 1_usize), (511, 2), (4000, 9000), (4096, 512), (8192, 4096), (70, 40_000)]
    {
        let data = pattern(bytes.to_le_bytes()[0] | 2, bytes);
        write(&mut ring, offset as u64, &data);
        expected[offset..offset + bytes].copy_from_slice(&data);
        assert!(read(&mut ring, 0, 64 << 10) == expected, "{bytes} bytes at {offset}");
    }

    perform(&mut ring, HOME, Action::Sync).unwrap();
    assert!(std::fs::read(dir.path().join(file_name(HOME))).unwrap()[..64 << 10] == expected);
}

/// A page that a write through the cache makes dirty while a direct write is under way beside those bytes cannot be
/// dropped: the next sync would fail.
#[test]
fn writes_both_ways_in_one_page_at_the_same_time_end_well_and_sync() {
    let dir = temporary();
    let Some(mut ring) = direct_ring(&dir) else { return };
    write(&mut ring, 0, &vec![9; 64 << 10]);
    let ranges = [(0, 512), (512, 100), (700, 200), (1024, 3072), (4096, 4096), (8200, 4000)];
    let mut expected = vec![9; 64 << 10];

    for round in 0..200_u8 {
        for (id, (offset, bytes)) in ranges.into_iter().enumerate() {
            let data = Buffer::from(&vec![round; bytes][..]);
            let action = Action::Write { offset: offset as u64, data };
            ring.perform(Op { id: OpId(id as u64), object: HOME, action });
            expected[offset..offset + bytes].fill(round);
        }
        for event in events(&mut ring, ranges.len()) {
            assert!(matches!(event, Event::Completed(Completion { result: Ok(_), .. })));
        }
        perform(&mut ring, HOME, Action::Sync).unwrap();
    }

    assert!(read(&mut ring, 0, 64 << 10) == expected);
}

#[test]
fn memory_that_is_not_aligned_is_no_obstacle() {
    let dir = temporary();
    let Some(mut ring) = direct_ring(&dir) else { return };
    let mut data = pattern(3, 8193);
    data.remove(0);
    data.shrink_to_fit();

    let action = Action::Write { offset: 0, data: Buffer::from_vec(data.clone()) };
    let outcome = perform(&mut ring, HOME, action).unwrap();

    assert!(matches!(outcome, Outcome::Buffer(buffer) if *buffer == *data));
    let action = Action::Read { offset: 0, buffer: Buffer::from_vec(vec![0xEE; 8192]) };
    let outcome = perform(&mut ring, HOME, action).unwrap();
    assert!(matches!(outcome, Outcome::Buffer(buffer) if *buffer == *data));
}

#[test]
fn a_read_past_the_end_gives_zeroes_also_when_the_length_is_no_whole_sector() {
    let dir = temporary();
    let Some(mut ring) = direct_ring(&dir) else { return };
    let pool = Object::Pool(PoolId(1));
    let create = Action::Create { bytes: 5000, space: CreateSpace::Preallocated };
    perform(&mut ring, pool, create).unwrap();
    let action = Action::Write { offset: 4090, data: Buffer::from(&[1; 910][..]) };
    perform(&mut ring, pool, action).unwrap();

    for (offset, bytes) in [(4096, 4096), (4990, 30), (6000, 10), (8192, 4096)] {
        let action = Action::Read { offset, buffer: Buffer::from_vec(vec![0xEE; bytes]) };
        let Outcome::Buffer(buffer) = perform(&mut ring, pool, action).unwrap() else {
            panic!("a read gives its buffer");
        };
        let there = usize::try_from(5000_u64.saturating_sub(offset)).unwrap().min(bytes);
        assert!(buffer[..there].iter().all(|byte| *byte == 1), "{bytes} bytes at {offset}");
        assert!(buffer[there..].iter().all(|byte| *byte == 0), "{bytes} bytes at {offset}");
    }
}

#[test]
fn zeroes_allocation_and_map_work_as_through_the_cache() {
    let dir = temporary();
    let Some(mut ring) = direct_ring(&dir) else { return };
    for space in [ZeroSpace::Release, ZeroSpace::Keep] {
        write(&mut ring, 0, &vec![7; 64 << 10]);
        perform(&mut ring, HOME, Action::Zero { offset: 4000, bytes: 8192, space }).unwrap();
        perform(&mut ring, HOME, Action::Sync).unwrap();
        let mut expected = vec![7; 64 << 10];
        expected[4000..4000 + 8192].fill(0);
        assert!(read(&mut ring, 0, 64 << 10) == expected, "{space:?}");
    }
    perform(&mut ring, HOME, Action::Allocate { offset: 0, bytes: MIB as u64 }).unwrap();
    write(&mut ring, 2 * MIB as u64, &[1; 4096]);

    let bytes = 2 * MIB as u64;
    let map = perform(&mut ring, HOME, Action::Map { offset: bytes, bytes }).unwrap();

    let data = ByteRange { start: 2 * MIB as u64, end: 2 * MIB as u64 + 4096 };
    assert!(matches!(map, Outcome::Data(ranges) if ranges == [data]));
}

#[test]
fn a_folder_without_direct_io_is_refused_naming_its_file_system_and_the_way_out() {
    let dir = temporary();
    std::os::unix::fs::symlink("/proc", dir.path().join("volumes")).unwrap();
    let mut storage = storage(&dir);

    let refused = storage.set_mode(IoMode::Direct).unwrap_err().to_string();

    // The folder before it is refused where the whole store has none.
    if refused.contains("volumes") {
        assert!(refused.contains("the proc file system at /proc"), "{refused}");
    }
    assert!(refused.contains("use --io buffered"), "{refused}");
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config::with_cases(24))]
    #[test]
    fn whatever_is_written_in_direct_mode_is_read_and_left_in_the_file(
        steps in proptest::collection::vec(
            (0_u64..600, 0_u64..2, 1_u64..200, 0_u64..2, 0_u8..5), 1..24)
    ) {
        let dir = temporary();
        let Some(mut ring) = direct_ring(&dir) else { return Ok(()) };
        let mut model = vec![0; 4 * MIB];
        for (sector, odd, sectors, odd_end, kind) in steps {
            // Half of the ends are on no sector.
            let (offset, bytes) = (sector * 512 + odd * 77, sectors * 512 - odd_end * 33);
            let range = usize::try_from(offset).unwrap()..usize::try_from(offset + bytes).unwrap();
            match kind {
                0..3 => {
                    let data = pattern(kind + 1, range.len());
                    write(&mut ring, offset, &data);
                    model[range].copy_from_slice(&data);
                }
                3 => {
                    let space = ZeroSpace::Release;
                    perform(&mut ring, HOME, Action::Zero { offset, bytes, space }).unwrap();
                    model[range].fill(0);
                }
                _ => proptest::prop_assert!(read(&mut ring, offset, range.len()) == model[range]),
            }
        }
        perform(&mut ring, HOME, Action::Sync).unwrap();
        drop(ring);
        let left = std::fs::read(dir.path().join(file_name(HOME))).unwrap();
        proptest::prop_assert!(left == model);
    }
}

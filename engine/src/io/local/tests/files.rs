//! Operations on files: by the ring, by plain calls, and that both do the same.

use std::io::Write;

use super::*;
use crate::io::local::helper::zero;

#[test]
fn a_created_object_reads_as_zeroes_and_cannot_be_created_again() {
    let dir = temporary();
    let mut ring = ring(&dir);
    let pool = Object::Pool(PoolId(3));
    let create = |space| Action::Create { bytes: 64 << 10, space };

    perform(&mut ring, pool, create(CreateSpace::Preallocated)).unwrap();

    let action = Action::Read { offset: 0, buffer: Buffer::from_vec(vec![1; 64 << 10]) };
    let outcome = perform(&mut ring, pool, action).unwrap();
    assert!(matches!(outcome, Outcome::Buffer(buffer) if buffer.iter().all(|byte| *byte == 0)));
    let again = perform(&mut ring, pool, create(CreateSpace::Sparse));
    assert_eq!(again.unwrap_err(), IoFailure::Io(libc::EEXIST));
}

#[test]
fn an_object_that_is_made_written_has_no_space_left_to_be_written_first() {
    let dir = temporary();
    let mut ring = ring(&dir);
    let segment = Object::Segment(3);
    let bytes = 2 * MIB as u64 + 4096;

    perform(&mut ring, segment, Action::Create { bytes, space: CreateSpace::Written }).unwrap();

    let file = File::open(dir.path().join(file_name(segment))).unwrap();
    assert_eq!(rustix::fs::seek(&file, rustix::fs::SeekFrom::Hole(0)).unwrap(), bytes);
}

#[test]
fn a_removed_object_is_gone_and_its_name_is_free() {
    let dir = temporary();
    let mut ring = ring(&dir);
    write(&mut ring, 0, b"old");

    perform(&mut ring, HOME, Action::Remove).unwrap();

    let action = Action::Read { offset: 0, buffer: Buffer::zeroed(4) };
    let missing = perform(&mut ring, HOME, action).unwrap_err();
    assert_eq!(missing, IoFailure::Io(libc::ENOENT));
    let action = Action::Create { bytes: 4096, space: CreateSpace::Sparse };
    perform(&mut ring, HOME, action).unwrap();
    assert_eq!(read(&mut ring, 0, 3), [0; 3]);
}

#[test]
fn a_create_that_finds_no_space_leaves_nothing_behind() {
    let dir = temporary();
    let mut ring = ring(&dir);
    let pool = Object::Pool(PoolId(9));

    // Larger than any file of ext4, XFS or btrfs may be, or than this disk.
    let action = Action::Create { bytes: 1 << 62, space: CreateSpace::Preallocated };
    let refused = perform(&mut ring, pool, action);

    assert_eq!(refused.unwrap_err(), IoFailure::NoSpace);
    assert!(!dir.path().join(file_name(pool)).exists());
}

#[test]
fn what_was_written_is_read_whatever_its_length_and_place() {
    let dir = temporary();
    let mut ring = ring(&dir);
    for (offset, bytes) in [(0, 1), (511, 4096), (MIB as u64, 1_500_000), (4_000_000, 4096)] {
        let data: Vec<u8> =
            (0..bytes).map(|at: usize| at.to_le_bytes()[0] ^ at.to_le_bytes()[1]).collect();

        write(&mut ring, offset, &data);

        assert!(read(&mut ring, offset, bytes) == data, "{bytes} bytes at {offset}");
    }
}

#[test]
fn a_read_past_the_end_gives_zeroes() {
    let dir = temporary();
    let mut ring = ring(&dir);
    write(&mut ring, 4 * MIB as u64 - 2, b"ab");

    assert_eq!(read(&mut ring, 4 * MIB as u64 - 2, 5), *b"ab\0\0\0");
    assert_eq!(read(&mut ring, 8 * MIB as u64, 3), [0; 3]);
}

#[test]
fn zeroes_replace_data_with_and_without_giving_space_back() {
    let dir = temporary();
    let mut ring = ring(&dir);
    for space in [ZeroSpace::Release, ZeroSpace::Keep] {
        write(&mut ring, 0, &vec![7; 64 << 10]);

        perform(&mut ring, HOME, Action::Zero { offset: 4096, bytes: 8192, space }).unwrap();
        perform(&mut ring, HOME, Action::Sync).unwrap();

        let mut expected = vec![7; 64 << 10];
        expected[4096..4096 + 8192].fill(0);
        assert!(read(&mut ring, 0, 64 << 10) == expected, "{space:?}");
    }
}

#[test]
fn the_slow_way_to_zeroes_gives_the_same() {
    let dir = temporary();
    let file = tempfile::tempfile_in(dir.path()).unwrap();
    for space in [ZeroSpace::Release, ZeroSpace::Keep] {
        (&file).write_all(&[7; 16 << 10]).unwrap();

        zero(&file, 1, 8192, space).unwrap();

        let mut bytes = [9; 8194];
        std::os::unix::fs::FileExt::read_exact_at(&file, &mut bytes, 0).unwrap();
        assert_eq!((bytes[0], bytes[8193]), (7, 7));
        assert_eq!(bytes[1..8193], [0; 8192]);
    }
}

#[test]
fn allocating_keeps_the_content() {
    let dir = temporary();
    let mut ring = ring(&dir);
    write(&mut ring, 4096, b"kept");

    perform(&mut ring, HOME, Action::Allocate { offset: 0, bytes: MIB as u64 }).unwrap();

    assert_eq!(read(&mut ring, 4096, 4), *b"kept");
    assert_eq!(read(&mut ring, 0, 4), [0; 4]);
}

#[test]
fn the_map_tells_data_from_holes() {
    let dir = temporary();
    let mut ring = ring(&dir);
    write(&mut ring, 0, &[1; 4096]);
    write(&mut ring, MIB as u64, &[1; 4096]);

    let map = |ring: &mut LocalRing, offset, bytes| match perform(
        ring,
        HOME,
        Action::Map { offset, bytes },
    )
    .unwrap()
    {
        Outcome::Data(ranges) => ranges,
        other => panic!("{other:?}"),
    };

    let first = ByteRange { start: 0, end: 4096 };
    let second = ByteRange { start: MIB as u64, end: MIB as u64 + 4096 };
    assert_eq!(map(&mut ring, 0, 4 * MIB as u64), [first, second]);
    assert_eq!(map(&mut ring, 100, 200), [ByteRange { start: 100, end: 300 }]);
    assert_eq!(map(&mut ring, 8192, 8192), []);
    assert_eq!(map(&mut ring, 64 * MIB as u64, 10), [], "past the end");
}

#[test]
fn full_file_system_quota_and_file_size_are_told_as_no_space() {
    for errno in [libc::ENOSPC, libc::EDQUOT, libc::EFBIG] {
        assert_eq!(IoFailure::from_errno(errno), IoFailure::NoSpace);
    }
    assert_eq!(IoFailure::from_errno(libc::EIO), IoFailure::Io(libc::EIO));
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config::with_cases(32))]
    #[test]
    fn the_ring_and_the_plain_calls_leave_the_same_bytes(
        steps in proptest::collection::vec((0_u64..300_000, 1_usize..300_000, 0_u8..5), 1..20)
    ) {
        let (one, two) = (temporary(), temporary());
        let mut ring = ring(&one);
        let mut plain = storage(&two);
        plain.create(HOME, 4 * MIB as u64, CreateSpace::Sparse).unwrap();

        for (offset, bytes, kind) in steps {
            match kind {
                0..3 => {
                    let data = vec![kind + 1; bytes];
                    write(&mut ring, offset, &data);
                    plain.write(HOME, offset, &data).unwrap();
                }
                3 => {
                    let (bytes, space) = (bytes as u64, ZeroSpace::Release);
                    perform(&mut ring, HOME, Action::Zero { offset, bytes, space }).unwrap();
                    plain.write(HOME, offset, &vec![0; usize::try_from(bytes).unwrap()]).unwrap();
                }
                _ => {
                    let mut buffer = vec![0xAA; bytes];
                    plain.read(HOME, offset, &mut buffer).unwrap();
                    proptest::prop_assert!(read(&mut ring, offset, bytes) == buffer);
                }
            }
        }

        drop(ring);
        let file = file_name(HOME);
        let left = std::fs::read(one.path().join(&file)).unwrap();
        let right = std::fs::read(two.path().join(&file)).unwrap();
        proptest::prop_assert!(left == right);
    }
}

//! The local store on a real file system: its directory, its ring, and that both do the same.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{IoSliceMut, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::rc::Rc;

use rustix::fs::{Advice, fadvise};
use rustix::io::{Errno, ReadWriteFlags, preadv2};
use tempfile::TempDir;

use super::directory::file_name;
use super::helper::zero;
use super::*;
use crate::io::{
    Action, Buffer, Completion, CreateSpace, IoFailure, Object, Op, OpId, Outcome, Storage,
    ZeroSpace,
};
use crate::units::{ByteRange, PoolId, VolumeId};

pub(super) const HOME: Object = Object::Home(VolumeId(1));
pub(super) const MIB: usize = 1 << 20;

pub(super) fn temporary() -> TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

pub(super) fn storage(dir: &TempDir) -> LocalStorage {
    LocalStorage::open(dir.path(), Access::ReadWrite).expect("a new directory is free")
}

/// A ring on a store with one volume of 4 MiB.
fn ring(dir: &TempDir) -> LocalRing {
    let mut storage = storage(dir);
    storage.create(HOME, 4 * MIB as u64, CreateSpace::Sparse).unwrap();
    LocalRing::new(storage).unwrap()
}

/// Waits for `count` events other than `Woken`.
pub(super) fn events(ring: &mut LocalRing, count: usize) -> Vec<Event> {
    let mut events = Vec::new();
    while events.len() < count {
        ring.enter(Wait::Forever).unwrap();
        ring.reap(&mut events);
        events.retain(|event| !matches!(event, Event::Woken));
    }
    events
}

/// Performs one operation and waits for its end.
pub(super) fn perform(
    ring: &mut LocalRing,
    object: Object,
    action: Action,
) -> Result<Outcome, IoFailure> {
    ring.perform(Op { id: OpId(77), object, action });
    match events(ring, 1).pop() {
        Some(Event::Completed(Completion { id: OpId(77), result })) => result,
        other => panic!("{other:?}"),
    }
}

pub(super) fn read(ring: &mut LocalRing, offset: u64, bytes: usize) -> Vec<u8> {
    let action = Action::Read { offset, buffer: Buffer::from_vec(vec![0xEE; bytes]) };
    match perform(ring, HOME, action).unwrap() {
        Outcome::Buffer(buffer) => buffer.into_vec(),
        other => panic!("{other:?}"),
    }
}

pub(super) fn write(ring: &mut LocalRing, offset: u64, data: &[u8]) {
    let outcome = perform(ring, HOME, Action::Write { offset, data: data.into() }).unwrap();
    assert!(matches!(outcome, Outcome::Buffer(buffer) if *buffer == *data));
}

#[test]
fn every_object_has_a_file_of_its_own_and_is_listed() {
    let dir = temporary();
    let mut storage = storage(&dir);
    let objects = [
        Object::Header,
        Object::Checkpoint(0),
        Object::Checkpoint(1),
        Object::Segment(0),
        Object::Segment(12_345),
        Object::Home(VolumeId(1)),
        Object::Pool(PoolId(4_000_000_000)),
    ];

    for (index, object) in objects.into_iter().enumerate() {
        storage.create(object, 100 + index as u64, CreateSpace::Preallocated).unwrap();
    }

    assert_eq!(storage.list().unwrap(), objects);
    for (index, object) in objects.into_iter().enumerate() {
        assert_eq!(storage.length(object).unwrap(), Some(100 + index as u64));
        assert!(dir.path().join(file_name(object)).is_file(), "{object:?}");
    }
}

#[test]
fn files_that_are_none_of_ours_are_not_listed() {
    let dir = temporary();
    let mut storage = storage(&dir);
    for name in ["control.sock", "checkpoint-", "checkpoint-256", "header-1", "journal/segment-1"] {
        std::fs::write(dir.path().join(name), "x").unwrap();
    }
    for name in ["volumes/volume-+0000001", "pools/volume-00000001", "volumes/volume-00000001~"] {
        std::fs::write(dir.path().join(name), "x").unwrap();
    }

    assert_eq!(storage.list().unwrap(), []);
}

#[test]
fn a_second_server_on_the_same_store_is_refused_naming_the_first() {
    let dir = temporary();
    let first = storage(&dir);

    let refused = LocalStorage::open(dir.path(), Access::ReadWrite).unwrap_err();

    let expected = format!("is in use by process {}", std::process::id());
    assert!(refused.to_string().contains(&expected), "{refused}");
    let looked = LocalStorage::open(dir.path(), Access::ReadOnly).unwrap_err();
    assert!(looked.to_string().contains(&expected), "{looked}");
    drop(first);
    storage(&dir);
}

#[test]
fn a_dropped_ring_gives_the_store_free() {
    let dir = temporary();
    let ring = ring(&dir);

    drop(ring);

    storage(&dir);
}

#[test]
fn looking_at_a_store_writes_nothing() {
    let dir = temporary();
    assert_eq!(
        LocalStorage::open(dir.path(), Access::ReadOnly).unwrap().list().unwrap(),
        [],
        "a directory that is no store yet"
    );
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    let missing = dir.path().join("missing");
    assert!(LocalStorage::open(&missing, Access::ReadOnly).is_err());

    storage(&dir).create(HOME, 8192, CreateSpace::Sparse).unwrap();
    let mut looking = LocalStorage::open(dir.path(), Access::ReadOnly).unwrap();

    assert!(looking.write(HOME, 0, b"x").is_err());
    looking.read(HOME, 0, &mut [0; 16]).unwrap();
}

/// Whether the page cache holds the byte at `offset`. Looking may make it do so a little later.
pub(super) fn is_cached(file: &File, offset: u64) -> bool {
    let mut byte = [0];
    let result = preadv2(file, &mut [IoSliceMut::new(&mut byte)], offset, ReadWriteFlags::NOWAIT);
    match result {
        Ok(count) => count == 1,
        Err(Errno::AGAIN) => false,
        // In memory nothing ever waits.
        Err(Errno::OPNOTSUPP) => true,
        Err(other) => panic!("reading what is cached: {other}"),
    }
}

/// Whether the file system of this directory has a cache that can be dropped; one in memory has none.
pub(super) fn has_a_cache(dir: &TempDir) -> bool {
    let path = dir.path().join("probe");
    std::fs::write(&path, "x").unwrap();
    let file = File::open(&path).unwrap();
    file.sync_data().unwrap();
    assert!(is_cached(&file, 0));
    fadvise(&file, 0, None, Advice::DontNeed).unwrap();
    !is_cached(&file, 0)
}

#[test]
fn an_opened_store_reads_what_the_disk_has_and_not_what_the_page_cache_kept() {
    let objects = [Object::Checkpoint(1), Object::Segment(3), HOME, Object::Pool(PoolId(2))];
    let dir = temporary();
    if !has_a_cache(&dir) {
        println!("{} is in memory: nothing can be seen here", dir.path().display());
        return;
    }
    for access in [Access::ReadWrite, Access::ReadOnly] {
        let mut before = storage(&dir);
        for object in objects {
            if before.length(object).unwrap().is_none() {
                before.create(object, MIB as u64, CreateSpace::Sparse).unwrap();
            }
            before.write(object, 8192, b"content").unwrap();
            // One who only looks leaves dirty pages alone.
            if access == Access::ReadOnly {
                before.sync(object).unwrap();
            }
        }
        drop(before);
        let file = |object| File::open(dir.path().join(file_name(object))).unwrap();
        assert!(objects.iter().all(|object| is_cached(&file(*object), 8192)));

        let mut after = LocalStorage::open(dir.path(), access).unwrap();

        for object in objects {
            assert!(!is_cached(&file(object), 8192), "{object:?} {access:?}");
            let mut content = [0; 7];
            after.read(object, 8192, &mut content).unwrap();
            assert_eq!(content, *b"content");
        }
    }
}

#[test]
fn a_store_with_a_file_that_cannot_be_used_is_refused_naming_it() {
    let dir = temporary();
    drop(storage(&dir));
    let file = file_name(HOME);
    std::fs::create_dir(dir.path().join(&file)).unwrap();

    let refused = LocalStorage::open(dir.path(), Access::ReadWrite).unwrap_err();

    assert!(refused.to_string().contains(&format!("opening its file {file} failed")), "{refused}");
}

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
fn more_operations_than_the_queue_holds_all_end() {
    let dir = temporary();
    let mut ring = ring(&dir);
    write(&mut ring, 0, &vec![5; 64 << 10]);

    for id in 0..5000 {
        let action = Action::Read { offset: id, buffer: Buffer::zeroed(10) };
        ring.perform(Op { id: OpId(id), object: HOME, action });
    }

    let mut ids: Vec<u64> = events(&mut ring, 5000)
        .into_iter()
        .map(|event| match event {
            Event::Completed(Completion { id, result: Ok(Outcome::Buffer(buffer)) }) => {
                assert_eq!(*buffer, [5; 10]);
                id.0
            }
            other => panic!("{other:?}"),
        })
        .collect();
    ids.sort_unstable();
    assert!(ids.into_iter().eq(0..5000));
}

#[test]
fn full_file_system_quota_and_file_size_are_told_as_no_space() {
    for errno in [libc::ENOSPC, libc::EDQUOT, libc::EFBIG] {
        assert_eq!(IoFailure::from_errno(errno), IoFailure::NoSpace);
    }
    assert_eq!(IoFailure::from_errno(libc::EIO), IoFailure::Io(libc::EIO));
}

#[test]
fn a_long_send_arrives_whole_and_in_order_through_a_short_pipe() {
    let dir = temporary();
    let mut ring = ring(&dir);
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let socket = Rc::new(OwnedFd::from(ours));
    let parts: VecDeque<Buffer> = (0..3000_u32)
        .map(|part| Buffer::from_vec(vec![part.to_le_bytes()[0]; (part as usize * 7) % 5000]))
        .collect();
    let expected: Vec<u8> = parts.iter().flat_map(|part| part.to_vec()).collect();
    let reader = std::thread::spawn(move || {
        let mut received = Vec::new();
        theirs.read_to_end(&mut received).unwrap();
        received
    });

    ring.send(5, &socket, parts);

    match events(&mut ring, 1).pop() {
        Some(Event::Sent { token: 5, parts, result }) => {
            assert_eq!(parts.len(), 3000);
            assert_eq!(result.unwrap(), expected.len());
        }
        other => panic!("{other:?}"),
    }
    drop(socket);
    assert!(reader.join().unwrap() == expected);
}

#[test]
fn a_receive_gives_what_there_is_and_tells_the_end() {
    let dir = temporary();
    let mut ring = ring(&dir);
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let socket = Rc::new(OwnedFd::from(ours));

    ring.receive(9, &socket, Buffer::from(&b"........"[..]));
    ring.enter(Wait::No).unwrap();
    theirs.write_all(b"ab").unwrap();

    let buffer = match events(&mut ring, 1).pop() {
        Some(Event::Received { token: 9, buffer, result: Ok(2) }) => buffer,
        other => panic!("{other:?}"),
    };
    assert_eq!(*buffer, *b"ab......");
    drop(theirs);
    ring.receive(9, &socket, buffer);
    let end = events(&mut ring, 1).pop();
    assert!(matches!(end, Some(Event::Received { result: Ok(0), .. })), "{end:?}");
}

#[test]
fn a_receive_of_all_fills_its_space_and_nothing_else_however_the_bytes_arrive() {
    let dir = temporary();
    let mut ring = ring(&dir);
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let socket = Rc::new(OwnedFd::from(ours));

    ring.receive_all(9, &socket, Buffer::from(&b"ab......"[..]), 2..6);
    for piece in [&b"c"[..], b"d", b"efgh"] {
        theirs.write_all(piece).unwrap();
        ring.enter(Wait::AtMost(std::time::Duration::from_millis(1))).unwrap();
    }

    let buffer = match events(&mut ring, 1).pop() {
        Some(Event::Received { token: 9, buffer, result: Ok(4) }) => buffer,
        other => panic!("{other:?}"),
    };
    assert_eq!(*buffer, *b"abcdef..");
    theirs.write_all(b"i").unwrap();
    drop(theirs);
    ring.receive_all(9, &socket, buffer, 0..8);
    let end = events(&mut ring, 1).pop();
    assert!(matches!(end, Some(Event::Received { result: Ok(3), .. })), "{end:?}");
}

#[test]
fn a_ring_is_dropped_safely_while_a_receive_is_in_flight() {
    let dir = temporary();
    let mut ring = ring(&dir);
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    ring.receive(1, &Rc::new(OwnedFd::from(ours)), Buffer::zeroed(16));
    ring.enter(Wait::No).unwrap();

    drop(ring);

    // Whether it is refused is the kernel's choice; that nobody writes to freed memory is ours.
    let _ = theirs.write_all(&[1; 16]);
}

#[test]
fn the_waker_ends_a_wait_from_another_thread_each_time() {
    let dir = temporary();
    let mut ring = ring(&dir);
    let waker = File::from(ring.waker().unwrap());
    for _ in 0..3 {
        let mut waker = waker.try_clone().unwrap();
        let thread = std::thread::spawn(move || waker.write_all(&1_u64.to_ne_bytes()).unwrap());

        let mut events = Vec::new();
        while events.is_empty() {
            ring.enter(Wait::Forever).unwrap();
            ring.reap(&mut events);
        }

        assert!(matches!(events[..], [Event::Woken]), "{events:?}");
        thread.join().unwrap();
    }
}

#[test]
fn a_wait_without_events_ends_when_its_time_has_passed() {
    let dir = temporary();
    let mut ring = ring(&dir);
    let mut events = Vec::new();

    ring.enter(Wait::AtMost(std::time::Duration::from_millis(1))).unwrap();

    ring.reap(&mut events);
    assert!(events.is_empty(), "{events:?}");
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

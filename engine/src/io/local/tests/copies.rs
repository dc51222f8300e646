//! Copies from one object to another, whoever makes them.

use super::*;

const OTHER: Object = Object::Home(VolumeId(2));

/// A ring on a store with two volumes of 4 MiB.
fn ring_with_two(dir: &TempDir, mode: IoMode) -> LocalRing {
    let mut storage = storage(dir);
    for object in [HOME, OTHER] {
        storage.create(object, 4 * MIB as u64, CreateSpace::Sparse).unwrap();
    }
    storage.set_mode(mode).unwrap();
    LocalRing::new(storage).unwrap()
}

fn copy(ring: &mut LocalRing, offset: u64, from_offset: u64, bytes: u64) {
    let action = Action::Copy { offset, from: HOME, from_offset, bytes };
    perform(ring, OTHER, action).expect("it is copied");
}

fn read_other(ring: &mut LocalRing, offset: u64, bytes: usize) -> Vec<u8> {
    match perform(ring, OTHER, Action::Read { offset, buffer: Buffer::zeroed(bytes) }).unwrap() {
        Outcome::Buffer(buffer) => buffer.into_vec(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_copy_gives_what_the_source_has_and_later_writes_of_the_source_do_not_change_it() {
    for mode in [IoMode::Buffered, IoMode::Direct] {
        let dir = temporary();
        let mut ring = ring_with_two(&dir, mode);
        write(&mut ring, 64 << 10, &vec![7; MIB]);

        copy(&mut ring, 128 << 10, 0, 2 * MIB as u64);
        write(&mut ring, 64 << 10, &vec![8; MIB]);

        let mut expected = vec![0; 128 << 10];
        expected.resize(192 << 10, 0);
        expected.resize((192 << 10) + MIB, 7);
        expected.resize(4 * MIB, 0);
        assert!(read_other(&mut ring, 0, 4 * MIB) == expected, "{mode:?}");
    }
}

#[test]
fn a_copy_that_no_file_system_shares_is_read_and_written() {
    let dir = temporary();
    let mut ring = ring_with_two(&dir, IoMode::Buffered);
    write(&mut ring, 0, &(0..100_u8).collect::<Vec<_>>());

    // Of a part of a block, and then of another one: the second is not even tried.
    copy(&mut ring, 3, 10, 50);
    copy(&mut ring, 1000, 20, 5);

    assert_eq!(read_other(&mut ring, 0, 3), [0; 3]);
    assert_eq!(read_other(&mut ring, 3, 50), (10..60).collect::<Vec<u8>>());
    assert_eq!(read_other(&mut ring, 1000, 6), [20, 21, 22, 23, 24, 0]);
}

#[test]
fn a_copy_of_an_object_that_is_not_there_fails_and_changes_nothing() {
    let dir = temporary();
    let mut ring = ring_with_two(&dir, IoMode::Buffered);
    let from = Object::Home(VolumeId(3));

    let copied =
        perform(&mut ring, OTHER, Action::Copy { offset: 0, from, from_offset: 0, bytes: 4096 });

    assert!(matches!(copied, Err(IoFailure::Io(_))), "{copied:?}");
    assert_eq!(read_other(&mut ring, 0, 4096), [0; 4096]);
}

#[test]
fn what_a_copy_wrote_leaves_the_page_cache_when_it_is_synced_and_what_a_host_wrote_stays() {
    let dir = temporary();
    if !has_a_cache(&dir) {
        println!("skipped: {} is in memory", dir.path().display());
        return;
    }
    let mut ring = ring_with_two(&dir, IoMode::Buffered);
    write(&mut ring, 0, &vec![7; MIB]);
    perform(&mut ring, HOME, Action::Sync).unwrap();
    copy(&mut ring, MIB as u64, 0, MIB as u64);
    let data = Buffer::from(&[9; 8192][..]);
    perform(&mut ring, OTHER, Action::Write { offset: 3 * MIB as u64, data }).unwrap();
    let other = File::open(dir.path().join(file_name(OTHER))).unwrap();

    perform(&mut ring, OTHER, Action::Sync).unwrap();

    // The helper does one thing after the other.
    perform(&mut ring, Object::Pool(PoolId(9)), Action::Remove).unwrap_err();
    // Where the file system shares blocks nothing was written.
    assert!(!is_cached(&other, MIB as u64) && !is_cached(&other, 2 * MIB as u64 - 1));
    assert!(is_cached(&other, 3 * MIB as u64), "a host's");
    assert!(is_cached(&File::open(dir.path().join(file_name(HOME))).unwrap(), 0), "the source");
    assert!(read_other(&mut ring, MIB as u64, MIB) == vec![7; MIB]);
    write(&mut ring, 0, &vec![8; MIB]);
    perform(&mut ring, OTHER, Action::Sync).unwrap();
    assert!(read_other(&mut ring, MIB as u64, MIB) == vec![7; MIB]);
}

//! The directory: names, locks, and what opening does.

use super::*;

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
        // What a ring of its own would wait for, too.
        after.share().unwrap();

        for object in objects {
            assert!(!is_cached(&file(object), 8192), "{object:?} {access:?}");
            let mut content = [0; 7];
            after.read(object, 8192, &mut content).unwrap();
            assert_eq!(content, *b"content");
        }
    }
}

/// A store with a folder where a home should be.
fn with_unusable_home() -> TempDir {
    let dir = temporary();
    drop(storage(&dir));
    std::fs::create_dir(dir.path().join(file_name(HOME))).unwrap();
    dir
}

#[test]
fn a_store_with_a_file_that_cannot_be_used_is_refused_naming_it() {
    let dir = with_unusable_home();
    let file = file_name(HOME);

    let opened = LocalStorage::open(dir.path(), Access::ReadWrite);
    let refused = opened.and_then(|mut storage| storage.share()).unwrap_err();

    assert!(refused.to_string().contains(&format!("opening its file {file} failed")), "{refused}");
}

#[test]
fn a_home_that_cannot_be_used_fails_plain_calls_and_still_no_ring_is_made() {
    let dir = with_unusable_home();
    let mut storage = storage(&dir);

    let failed = [storage.read(HOME, 0, &mut [0; 16]), storage.sync(Object::Pool(PoolId(2)))];
    assert!(storage.share().is_err());

    assert_eq!(failed, [Err(IoFailure::Io(libc::EISDIR)); 2]);
    assert!(matches!(LocalRing::new(storage), Err(RingError::Store(OpenStoreError::File { .. }))));
}

#[test]
fn what_recovery_removes_does_not_keep_a_store_from_being_served() {
    let dir = with_unusable_home();
    let mut storage = storage(&dir);
    assert!(storage.finish_opening().is_err() && storage.finish_opening().is_err());

    std::fs::remove_dir(dir.path().join(file_name(HOME))).unwrap();

    storage.finish_opening().unwrap();
}

#[test]
fn a_store_that_is_given_up_at_once_can_be_opened_at_once() {
    let dir = temporary();
    let mut before = storage(&dir);
    before.create(HOME, MIB as u64, CreateSpace::Sparse).unwrap();
    drop(before);

    // The thread that forgets what is cached of the home holds the lock as well.
    for _ in 0..20 {
        drop(storage(&dir));
    }
}

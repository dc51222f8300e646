//! The local store on a real file system.

mod copies;
mod direct;
mod files;
mod lending;
mod page_cache;
mod read_ahead;
mod ring;
mod store;
mod two_rings;

use std::fs::File;

use tempfile::TempDir;

use self::page_cache::{has_a_cache, is_cached};
use super::directory::file_name;
use super::*;
use crate::io::{
    Action, Buffer, Completion, CreateSpace, IoFailure, Object, Op, OpId, Outcome, Part, Storage,
    Stretch, ZeroSpace,
};
use crate::units::{ByteRange, PoolId, VolumeId};

const HOME: Object = Object::Home(VolumeId(1));
const MIB: usize = 1 << 20;

fn temporary() -> TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

fn storage(dir: &TempDir) -> LocalStorage {
    LocalStorage::open(dir.path(), Access::ReadWrite).expect("a new directory is free")
}

/// A ring on a store with one volume of 4 MiB.
fn ring(dir: &TempDir) -> LocalRing {
    let mut storage = storage(dir);
    storage.create(HOME, 4 * MIB as u64, CreateSpace::Sparse).unwrap();
    LocalRing::new(storage).unwrap()
}

/// Waits for `count` events other than `Woken`.
fn events(ring: &mut LocalRing, count: usize) -> Vec<Event> {
    let mut events = Vec::new();
    while events.len() < count {
        ring.enter(Wait::Forever).unwrap();
        ring.reap(&mut events);
        events.retain(|event| !matches!(event, Event::Woken));
    }
    events
}

/// Performs one operation and waits for its end.
fn perform(ring: &mut LocalRing, object: Object, action: Action) -> Result<Outcome, IoFailure> {
    ring.perform(Op { id: OpId(77), object, action });
    match events(ring, 1).pop() {
        Some(Event::Completed(Completion { id: OpId(77), result })) => result,
        other => panic!("{other:?}"),
    }
}

fn read(ring: &mut LocalRing, offset: u64, bytes: usize) -> Vec<u8> {
    let action = Action::Read { offset, buffer: Buffer::from_vec(vec![0xEE; bytes]) };
    match perform(ring, HOME, action).unwrap() {
        Outcome::Buffer(buffer) => buffer.into_vec(),
        other => panic!("{other:?}"),
    }
}

fn write(ring: &mut LocalRing, offset: u64, data: &[u8]) {
    let outcome = perform(ring, HOME, Action::Write { offset, data: data.into() }).unwrap();
    assert!(matches!(outcome, Outcome::Buffer(buffer) if *buffer == *data));
}

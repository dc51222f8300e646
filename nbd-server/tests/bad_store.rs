//! Stores that no server may open: refused at start, the place named, and not a byte written.

#[path = "common/commands.rs"]
mod commands;
#[path = "common/process.rs"]
mod process;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use flashtrack_engine::io::local::{Access, LocalStorage};
use flashtrack_engine::journal::{FRAME_HEADER_BYTES, FrameContent, Inspection, inspect};
use flashtrack_engine::state::Record;
use flashtrack_engine::store::FORMAT_VERSION;

use crate::process::{STORE, Server, refused_start};

const LENGTH: usize = 1 << 20;
const SIZE: u64 = LENGTH as u64;

/// Every file of the store, but the lock, which tells who looked last.
fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut folders = vec![folder.join(STORE)];
    while let Some(folder) = folders.pop() {
        for entry in folder.read_dir().expect("a readable folder") {
            let path = entry.expect("a readable folder").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.file_name().is_some_and(|name| name != "lock") {
                files.insert(path.clone(), std::fs::read(path).expect("a readable file"));
            }
        }
    }
    files
}

/// A server refuses the store with exit code 1, names all `words`, and writes nothing.
fn assert_refused(folder: &Path, words: &[&str]) {
    let before = contents(folder);
    let (code, text) = refused_start(folder);
    let line = text.lines().last().unwrap_or_default();
    assert_eq!(code, Some(1), "{text}");
    for word in words {
        assert!(line.contains(word), "no {word:?} in: {line}");
    }
    let after = contents(folder);
    let changed = after.iter().find(|(path, content)| before.get(*path) != Some(content));
    assert_eq!(changed.map(|(path, _)| path), None, "written by a refused start");
    assert_eq!(before.len(), after.len(), "a file has gone");
}

/// A store that was killed with a source, a thin copy of it, and staged writes in its journal, the first
/// of them known synced.
fn killed_store(folder: &Path) -> Inspection {
    let server = Server::start(folder);
    server.command(&commands::pool("pool", SIZE));
    server.command(&commands::full("source", SIZE));
    server.command(&commands::thin("target", SIZE, "pool"));
    server.command(&commands::nocopy("source", "target"));
    let mut client = server.connect("source");
    for block in 0..64_u8 {
        client.seek(SeekFrom::Start(u64::from(block) * 4096)).expect("within the volume");
        client.write_all(&[block | 0x80; 4096]).expect("it is written");
        client.flush().expect("it is flushed");
    }
    server.end_by_kill();
    look_at(folder)
}

fn look_at(folder: &Path) -> Inspection {
    let store = folder.join(STORE);
    let mut storage = LocalStorage::open(&store, Access::ReadOnly).expect("nobody uses it");
    inspect(&mut storage, |_, _| Vec::new()).expect("it is a store")
}

/// Turns one bit of a file over, and says what there was.
fn flip(path: &Path, offset: u64) {
    let file = File::options().read(true).write(true).open(path).expect("it is there");
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).expect("within the file");
    file.write_all_at(&[byte[0] ^ 0x10], offset).expect("it is written");
}

#[test]
fn a_flipped_byte_in_the_synced_journal_is_refused_with_its_place() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let found = killed_store(folder.path());
    let segment_bytes = u64::from(found.header.segment_bytes);
    let released = found.frames.iter().filter_map(|frame| match &frame.content {
        FrameContent::Record(bytes) => match Record::decode(bytes) {
            Ok(Record::Released { through }) => Some(through),
            _ => None,
        },
        _ => None,
    });
    let released = released.max().unwrap_or_default();
    // The first staged write that is not home yet: those after it say that it was synced.
    let payload = found.frames.iter().find_map(|frame| match frame.content {
        FrameContent::Data { payload, .. } if frame.seq > released => Some(payload),
        _ => None,
    });
    let payload = payload.expect("the journal still holds staged writes");
    assert!(payload < found.synced_through, "it is known synced");
    let number = payload.0 / segment_bytes;
    let segment = found.segments.iter().find(|segment| segment.number == number);
    let slot = segment.expect("the segment of a frame").slot;
    let frame = payload.0 % segment_bytes - FRAME_HEADER_BYTES;
    let path = folder.path().join(STORE).join(format!("journal/segment-{slot:04}"));
    let segment = format!("segment {number} ");
    let offset = format!("offset {frame}");

    // In the frame's header, and in the data itself.
    for (at, part) in [(20, "header"), (FRAME_HEADER_BYTES + 1000, "payload")] {
        flip(&path, frame + at);
        let reason = format!("checksum of the frame's {part}");
        assert_refused(folder.path(), &["store", &segment, &offset, &reason, "backup"]);
        flip(&path, frame + at);
    }
    let server = Server::start(folder.path());
    assert_eq!(server.image("target"), vec![0; LENGTH], "as it was before");
}

#[test]
fn a_flipped_byte_in_the_checkpoints_is_refused_with_its_place() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let found = killed_store(folder.path());
    let store = folder.path().join(STORE);
    // The payload begins behind both copies of the header.
    let payload = 2 * 4096;
    let newest = store.join(format!("checkpoint-{}", found.checkpoint.slot));
    let other = store.join(format!("checkpoint-{}", 1 - found.checkpoint.slot));
    flip(&newest, payload);
    if other.exists() {
        flip(&other, payload);
    }

    assert_refused(folder.path(), &["checkpoint", &format!("slot {}", found.checkpoint.slot)]);
}

#[test]
fn a_store_of_another_version_is_refused_naming_both_versions() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    killed_store(folder.path());
    let header =
        File::options().read(true).write(true).open(folder.path().join(STORE).join("header"));
    let header = header.expect("it is there");
    for copy in [0, 4096] {
        let mut sector = [0; 512];
        header.read_exact_at(&mut sector, copy).expect("two copies");
        if sector == [0; 512] {
            continue;
        }
        sector[8..12].copy_from_slice(&9_u32.to_le_bytes());
        let sum = crc32c::crc32c(&sector[..508]);
        sector[508..].copy_from_slice(&sum.to_le_bytes());
        header.write_all_at(&sector, copy).expect("it is written");
    }

    let ours = format!("version {FORMAT_VERSION}");
    assert_refused(folder.path(), &["version 9", &ours, "release"]);
}

#[test]
fn a_flipped_byte_in_the_only_copies_of_the_header_is_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    killed_store(folder.path());
    let header = folder.path().join(STORE).join("header");
    flip(&header, 30);
    flip(&header, 4096 + 30);

    assert_refused(folder.path(), &["header", "checksum", "backup"]);
}

#[test]
fn a_volume_that_is_missing_or_of_another_size_is_refused_by_its_name() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    killed_store(folder.path());
    let volumes = folder.path().join(STORE).join("volumes");
    let mut homes = volumes.read_dir().expect("a folder");
    let home = homes.next().expect("the source").expect("a readable folder").path();
    let length = |bytes| {
        let file = File::options().write(true).open(&home).expect("it is there");
        file.set_len(bytes).expect("a length");
    };

    length(SIZE - 4096);
    assert_refused(folder.path(), &["Home", "1044480", "1048576"]);
    length(SIZE);
    std::fs::rename(&home, folder.path().join("elsewhere")).expect("it moves");
    assert_refused(folder.path(), &["Home", "1048576"]);
}

#[test]
fn a_store_in_use_is_refused_naming_the_process_that_uses_it() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let server = Server::start(folder.path());
    server.command(&commands::full("source", SIZE));

    let (code, text) = refused_start(folder.path());

    assert_eq!(code, Some(1), "{text}");
    let line = text.lines().last().unwrap_or_default();
    assert!(line.contains(&format!("in use by process {}", server.id())), "{line}");
    assert_eq!(server.image("source"), vec![0; LENGTH], "the first server goes on");
}

//! `flashtrack store check` and `store dump`: what they say of stores in order, damaged and in use, and that they
//! write nothing.

mod store;

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use flashtrack_engine::io::local::{Access, LocalStorage};
use flashtrack_engine::journal::{FRAME_HEADER_BYTES, FrameContent, inspect};
use serde_json::Value;
use tempfile::TempDir;

use crate::store::SIZE;

fn made() -> TempDir {
    let folder = TempDir::new().expect("a temporary directory");
    store::make(folder.path());
    folder
}

/// Runs a verb of `store` on the store, and sees to it that no file of it changes.
fn run(store: &Path, words: &[&str]) -> Output {
    let before = contents(store);
    let output = Command::new(env!("CARGO_BIN_EXE_flashtrack"))
        .arg("store")
        .args(words)
        .arg("--store")
        .arg(store)
        .stdin(Stdio::null())
        .output()
        .expect("the binary runs");
    assert!(contents(store) == before, "{words:?} has changed the store");
    output
}

fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in folder.read_dir().into_iter().flatten() {
        let path = entry.expect("a readable folder").path();
        if path.is_dir() {
            files.extend(contents(&path));
        } else {
            files.insert(path.clone(), std::fs::read(&path).expect("a readable file"));
        }
    }
    files
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("text")
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("text")
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// The file and offset of the first staged write's frame header.
fn first_staged_frame(store: &Path) -> (PathBuf, u64) {
    let mut storage = LocalStorage::open(store, Access::ReadOnly).expect("nobody uses it");
    let found = inspect(&mut storage, |_, _| Vec::new()).expect("a store");
    let mut payloads = found.frames.iter().filter_map(|frame| match frame.content {
        FrameContent::Data { payload, .. } => Some(payload.0),
        _ => None,
    });
    let payload = payloads.next_back().expect("a staged write");
    let segment_bytes = u64::from(found.header.segment_bytes);
    let number = payload / segment_bytes;
    let segment = found.segments.iter().find(|segment| segment.number == number);
    let slot = segment.expect("the segment of a frame").slot;
    let path = store.join(format!("journal/segment-{slot:04}"));
    (path, payload % segment_bytes - FRAME_HEADER_BYTES)
}

fn flip(path: &Path, offset: u64) {
    let file = File::options().read(true).write(true).open(path).expect("it is there");
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).expect("within the file");
    file.write_all_at(&[byte[0] ^ 1], offset).expect("it is written");
}

#[test]
fn a_store_in_order_is_told_to_be_so() {
    let store = made();
    let output = run(store.path(), &["check"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(stdout(&output), "the store is in order\n");
    let verdict = json(&run(store.path(), &["check", "--json"]));
    assert_eq!(verdict["in_order"], true, "{verdict}");
    assert_eq!(verdict["refusal"], Value::Null, "{verdict}");
}

#[test]
fn an_object_of_nobody_is_a_finding_and_no_reason_to_refuse() {
    let store = made();
    std::fs::write(store.path().join("volumes/volume-00000099"), "x").expect("a file");

    let output = run(store.path(), &["check"]);

    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let text = stdout(&output);
    assert!(text.contains("Home(VolumeId(99)) belongs to nothing"), "{text}");
    assert!(text.contains("the store is in order; the next opening"), "{text}");
}

#[test]
fn a_damaged_journal_is_told_with_its_place_by_check_and_dump() {
    let store = made();
    let (path, frame) = first_staged_frame(store.path());
    // Of the data first, then of the frame's header too.
    for (at, reason) in [(FRAME_HEADER_BYTES + 100, "payload"), (20, "header")] {
        flip(&path, frame + at);
        assert_told(store.path(), &path, frame, reason);
    }
}

fn assert_told(store: &Path, path: &Path, frame: u64, reason: &str) {
    let slot = path.to_string_lossy().trim_start_matches(|c| c != '-').len();
    assert_eq!(slot, 5, "{}", path.display());

    for words in [&["check"][..], &["dump"], &["check", "--json"], &["dump", "--json"]] {
        let output = run(store, words);
        let error = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{words:?}: {error}");
        assert!(error.contains(&format!("the checksum of the frame's {reason}")), "{error}");
        assert!(error.contains("journal segment 1 (Segment("), "{words:?}: {error}");
        assert!(error.contains(&format!("offset {frame}")), "{words:?}: {error}");
    }
    let dump = json(&run(store, &["dump", "--json"]));
    assert_eq!(dump["metadata"], Value::Null, "{dump}");
    assert!(dump["refusal"].as_str().is_some_and(|text| text.contains("checksum")), "{dump}");
}

#[test]
fn a_dump_tells_what_is_there_and_is_the_same_each_time() {
    let store = made();
    let output = run(store.path(), &["dump", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let dump = json(&output);

    assert_eq!(dump["header"]["uuid"].as_str().map(str::len), Some(32), "{dump}");
    assert_eq!(dump["header"]["epoch"], 1);
    let metadata = &dump["metadata"];
    assert_eq!(metadata["volumes"].as_array().map(Vec::len), Some(4), "{metadata}");
    assert_eq!(metadata["volumes"][0]["size_bytes"], SIZE);
    assert_eq!(metadata["relationships"][0]["target"], "monday");
    assert_eq!(metadata["relationships"][0]["tracks_left"], 16);
    assert_eq!(metadata["relationships"][0]["established_at"], 1_700_000_000);
    let preserved = |at: usize| &metadata["intervals"][at]["preserved"];
    assert_eq!((preserved(0), preserved(1)), (&8.into(), &0.into()), "{metadata}");
    assert_eq!(metadata["pools"][0]["used"], 8);
    assert_eq!(metadata["staged_bytes"], 4 * 4096);
    assert_eq!(metadata["ended"][0]["target"], "clone");
    assert_eq!(metadata["ended"][0]["reason"], "completed");
    assert_eq!(dump["journal"]["frames"]["data"], 12, "{dump}");

    let text = stdout(&run(store.path(), &["dump"]));
    for words in
        ["uuid", "checkpoint:", "known synced through", "monday", "16.00 KiB (16384 bytes)"]
    {
        assert!(text.contains(words), "no {words:?} in {text}");
    }
    assert_eq!(stdout(&run(store.path(), &["dump"])), text);
    assert_eq!(json(&run(store.path(), &["dump", "--json"])), dump);
}

#[test]
fn a_store_in_use_and_a_place_without_a_store_are_refused() {
    let store = made();
    let held = LocalStorage::open(store.path(), Access::ReadWrite).expect("nobody uses it");
    for verb in ["check", "dump"] {
        let output = run(store.path(), &[verb]);
        assert_eq!(output.status.code(), Some(1), "{verb}");
        let owner = format!("in use by process {}", std::process::id());
        assert!(stderr(&output).contains(&owner), "{}", stderr(&output));
        assert_eq!(stdout(&output), "");
    }
    drop(held);

    let empty = TempDir::new().expect("a temporary directory");
    for verb in ["check", "dump"] {
        let output = run(empty.path(), &[verb]);
        assert_eq!(output.status.code(), Some(1), "{verb}");
        assert!(stderr(&output).contains("there is no store here"), "{}", stderr(&output));
        let output = run(&empty.path().join("nowhere"), &[verb]);
        assert_eq!(output.status.code(), Some(1), "{verb}");
        assert!(stderr(&output).contains("nowhere"), "{}", stderr(&output));
    }
}

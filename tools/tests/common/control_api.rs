//! The control API as a fake server speaks it: one request and its answer over HTTP, and reports in its form.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;

use serde_json::{Value, json};

/// Takes the one command of a connection and sends the HTTP status and body that `answer` gives for it.
pub(crate) fn answer_one(stream: UnixStream, answer: impl FnOnce(Value) -> (u16, Value)) {
    let mut reader = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).expect("a header line");
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().expect("a length");
        }
        if line.trim().is_empty() {
            break;
        }
    }
    let mut request = vec![0; length];
    reader.read_exact(&mut request).expect("a body");
    let (status, body) = answer(serde_json::from_slice(&request).expect("a JSON command"));
    let body = body.to_string();
    write!(reader.get_mut(), "HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n{body}", body.len())
        .expect("the answer is taken");
}

/// A generic volume of one track, online.
pub(crate) fn volume(name: &str) -> Value {
    json!({
        "id": 1, "name": name, "device": "0A00", "type": "fb", "size_bytes": 65536, "track_bytes": 65536,
        "tracks": 1, "thin": false, "pool": null, "allocated_bytes": 4096, "status": "online",
        "connections": 2, "source_relationships": 1, "target_relationships": 0, "relationships_max": 65534,
        "frozen_seconds_left": null
    })
}

/// A relationship over whole volumes of 16 tracks, of which none is copied.
pub(crate) fn copy(id: u32, source: &str, target: &str) -> Value {
    json!({
        "id": id, "source": source, "target": target, "source_track": 0, "target_track": 0, "tracks": 16,
        "mode": "copy", "state": "f-copy", "incremental": false, "whole": true, "write_inhibited": false,
        "changed_tracks": 0, "space_efficient": false, "tracks_left": 16, "established_at": 1_700_000_000,
        "durable": true, "ended": null
    })
}

/// The same report with other fields.
pub(crate) fn with(mut report: Value, fields: &Value) -> Value {
    for (name, value) in fields.as_object().expect("fields are an object") {
        report[name] = value.clone();
    }
    report
}

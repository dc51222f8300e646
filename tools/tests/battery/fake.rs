//! A fake server, which answers each command with the next canned answer and keeps what it was asked, and reports.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::thread::JoinHandle;

use serde_json::{Value, json};
use tempfile::TempDir;

pub(crate) struct FakeServer {
    directory: TempDir,
    thread: JoinHandle<Vec<Value>>,
}

impl FakeServer {
    /// Answers as many requests as there are answers: an HTTP status and a body each.
    pub(crate) fn answering(answers: Vec<(u16, Value)>) -> Self {
        let directory = TempDir::new().expect("a temporary directory");
        let listener = UnixListener::bind(directory.path().join("control.sock")).expect("a socket");
        let thread = std::thread::spawn(move || {
            answers
                .into_iter()
                .map(|(status, body)| answer_one(&listener, status, &body.to_string()))
                .collect()
        });
        Self { directory, thread }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.path().join("control.sock")
    }

    pub(crate) fn run(&self, words: &[&str]) -> Output {
        flashtrack()
            .arg("--control")
            .arg(self.socket())
            .args(words)
            .output()
            .expect("the binary runs")
    }

    /// The commands that were asked, in order.
    pub(crate) fn asked(self) -> Vec<Value> {
        self.thread.join().expect("the fake server ends")
    }
}

pub(crate) fn answer_one(listener: &UnixListener, status: u16, body: &str) -> Value {
    let (stream, _) = listener.accept().expect("a connection");
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
    write!(reader.get_mut(), "HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n{body}", body.len())
        .expect("the answer is taken");
    serde_json::from_slice(&request).expect("a JSON command")
}

pub(crate) fn flashtrack() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_flashtrack"));
    command.env_remove("FLASHTRACK_CONTROL").stdin(Stdio::null());
    command
}

pub(crate) fn run(words: &[&str]) -> Output {
    flashtrack().args(words).output().expect("the binary runs")
}

pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("text")
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("text")
}

pub(crate) fn volume(name: &str, size_bytes: u64) -> Value {
    json!({
        "id": 1, "name": name, "device": "0A00", "type": "fb", "size_bytes": size_bytes, "track_bytes": 65536,
        "tracks": size_bytes / 65536, "thin": false, "pool": null, "allocated_bytes": 4096, "status": "online",
        "connections": 2, "source_relationships": 1, "target_relationships": 0, "relationships_max": 65534,
        "frozen_seconds_left": null
    })
}

pub(crate) fn copy(id: u32, state: &str, tracks_left: u32, ended: Option<&str>) -> Value {
    json!({
        "id": id, "source": "data", "target": "clone", "source_track": 0, "target_track": 0, "tracks": 16,
        "mode": "copy", "state": state, "incremental": false, "whole": true, "write_inhibited": false,
        "changed_tracks": 0, "space_efficient": false, "tracks_left": tracks_left,
        "established_at": 1_700_000_000, "durable": true, "ended": ended
    })
}

pub(crate) fn copies(reports: &[Value]) -> (u16, Value) {
    (200, json!({ "copies": reports }))
}

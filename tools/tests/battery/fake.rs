//! A fake server, which answers each command with the next canned answer and keeps what it was asked, and reports.

use std::os::unix::net::UnixListener;
use std::process::Output;
use std::thread::JoinHandle;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::control_api::{self, answer_one, with};
use crate::program::{flashtrack, flashtrack_at};

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
            answers.into_iter().map(|answer| answer_with(&listener, answer)).collect()
        });
        Self { directory, thread }
    }

    pub(crate) fn run(&self, words: &[&str]) -> Output {
        let control = self.directory.path().join("control.sock");
        flashtrack_at(&control).args(words).output().expect("the binary runs")
    }

    /// The commands that were asked, in order.
    pub(crate) fn asked(self) -> Vec<Value> {
        self.thread.join().expect("the fake server ends")
    }
}

/// Takes one command and answers it.
fn answer_with(listener: &UnixListener, answer: (u16, Value)) -> Value {
    let (stream, _) = listener.accept().expect("a connection");
    let mut asked = Value::Null;
    answer_one(stream, |command| {
        asked = command;
        answer
    });
    asked
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
    let size = json!({"size_bytes": size_bytes, "tracks": size_bytes / 65536});
    with(control_api::volume(name), &size)
}

pub(crate) fn copy(id: u32, state: &str, tracks_left: u32, ended: Option<&str>) -> Value {
    let fields = json!({"state": state, "tracks_left": tracks_left, "ended": ended});
    with(control_api::copy(id, "data", "clone"), &fields)
}

pub(crate) fn copies(reports: &[Value]) -> (u16, Value) {
    (200, json!({ "copies": reports }))
}

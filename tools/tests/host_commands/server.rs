//! A `flashtrackd` with four small volumes, their data, and the host commands against it.
//!
//! The binary is the one beside `flashtrack`, which `cargo test --workspace` has built; when only this package is
//! tested and there is none, it is built first.

use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use nbd::client::{NbdClient, handshake};
use serde_json::Value;
use tempfile::TempDir;

use super::fake::Run;

/// Bytes of a track of a 3390.
const TRACK_BYTES: u64 = 49_152;
/// Longer than any request takes.
const PATIENCE: Duration = Duration::from_mins(1);

/// A running server with volumes SORCEV 0A00, TRGVOL 0A01, THIRD 0A02 and FOURTH 0B00, 20 cylinders each.
pub(crate) struct Server {
    child: Child,
    directory: TempDir,
}

fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        let beside = Path::new(env!("CARGO_BIN_EXE_flashtrack")).with_file_name("flashtrackd");
        if !beside.exists() {
            let mut cargo = Command::new(env!("CARGO"));
            cargo.args(["build", "--package=flashtrack-nbd-server", "--bin=flashtrackd"]);
            if !cfg!(debug_assertions) {
                cargo.arg("--release");
            }
            assert!(
                cargo.status().is_ok_and(|status| status.success()),
                "flashtrackd can be built"
            );
        }
        beside
    })
}

impl Server {
    pub(crate) fn start(profile: &str) -> Self {
        let directory = TempDir::new().expect("a temporary directory");
        let mut child = Command::new(binary())
            .current_dir(directory.path())
            .args(["--store", "store", "--control", "control", "--unix", "nbd", "--listen", "none"])
            .args(["--metrics", "none", "--journal-size", "64M", "--profile", profile])
            .env_remove("NOTIFY_SOCKET")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("flashtrackd runs");
        let stdout = child.stdout.take().expect("standard output is a pipe");
        let ready =
            BufReader::new(stdout).lines().map_while(Result::ok).any(|line| line == "ready");
        let server = Self { child, directory };
        assert!(ready, "flashtrackd gets ready");
        for (name, device) in
            [("SORCEV", "0A00"), ("TRGVOL", "0A01"), ("THIRD", "0A02"), ("FOURTH", "0B00")]
        {
            let words = ["--type", "3390-a", "--cylinders", "20", "--device", device];
            server.run(&[&["volume", "create", name], &words[..]].concat(), "").ends(0, &[]);
        }
        server
    }

    /// Runs `flashtrack` with these words; `input` is its standard input.
    pub(crate) fn run(&self, words: &[&str], input: &str) -> Run {
        Run::of_flashtrack(&self.directory.path().join("control"), words, input)
    }

    #[track_caller]
    pub(crate) fn tso(&self, command: &str) -> Run {
        self.run(&["tso", command], "")
    }

    #[track_caller]
    pub(crate) fn dss(&self, deck: &str) -> Run {
        self.run(&["dss", "-"], deck)
    }

    #[track_caller]
    pub(crate) fn ickdsf(&self, deck: &str) -> Run {
        self.run(&["ickdsf", "-"], deck)
    }

    /// Sends a command to the control API.
    pub(crate) fn command(&self, command: &Value) {
        let mut stream =
            UnixStream::connect(self.directory.path().join("control")).expect("it listens");
        let body = command.to_string();
        let head = format!("POST /v1/command HTTP/1.0\r\nContent-Length: {}\r\n\r\n", body.len());
        stream.write_all((head + &body).as_bytes()).expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        assert!(answer.contains(" 200 "), "{command}: {answer}");
    }

    /// The relationships that live: source, target, first source and target track, number of tracks.
    pub(crate) fn relationships(&self) -> Vec<(String, String, u64, u64, u64)> {
        let mut rows: Vec<_> = self
            .copies()
            .iter()
            .map(|copy| {
                let text = |field: &str| copy[field].as_str().expect("a name").to_owned();
                let number = |field: &str| copy[field].as_u64().expect("a number");
                let tracks = (number("source_track"), number("target_track"), number("tracks"));
                (text("source"), text("target"), tracks.0, tracks.1, tracks.2)
            })
            .collect();
        rows.sort();
        rows
    }

    /// The reports of the relationships that live.
    pub(crate) fn copies(&self) -> Vec<Value> {
        let run = self.run(&["copy", "list", "--json"], "");
        let mut copies: Vec<Value> = serde_json::from_str(&run.stdout).expect("JSON");
        copies.retain(|copy| copy["ended"].is_null());
        copies
    }

    /// Waits until the background copies onto the volume are complete.
    pub(crate) fn wait_for(&self, target: &str) {
        self.run(&["copy", "wait", "--target", target, "--timeout", "60s"], "").ends(0, &[]);
    }

    fn connect(&self, volume: &str) -> NbdClient<UnixStream> {
        let mut stream =
            UnixStream::connect(self.directory.path().join("nbd")).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time-out can be set");
        let export = handshake(&mut stream, volume.as_bytes()).expect("the volume is served");
        NbdClient::new(stream, &export)
    }

    /// Fills tracks with a byte.
    pub(crate) fn fill(&self, volume: &str, tracks: std::ops::Range<u64>, byte: u8) {
        let mut client = self.connect(volume);
        let data = vec![byte; usize::try_from(TRACK_BYTES).expect("it fits")];
        for track in tracks {
            client.seek(SeekFrom::Start(track * TRACK_BYTES)).expect("any place can be sought");
            client.write_all(&data).expect("the track can be written");
        }
    }

    /// The byte that a track is filled with.
    #[track_caller]
    pub(crate) fn byte(&self, volume: &str, track: u64) -> u8 {
        let mut client = self.connect(volume);
        let mut data = vec![0; usize::try_from(TRACK_BYTES).expect("it fits")];
        client.seek(SeekFrom::Start(track * TRACK_BYTES)).expect("any place can be sought");
        client.read_exact(&mut data).expect("the track can be read");
        assert!(data.iter().all(|byte| *byte == data[0]), "track {track} of {volume} is mixed");
        data[0]
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // A failed test must not leave the server behind; both fail when it has gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

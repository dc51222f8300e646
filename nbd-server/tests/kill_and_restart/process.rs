//! The server's process: started, killed, asked; and clients of its exports.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command as Program, Stdio};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use flashtrack_engine::admin::{Command, Refusal, Report};
use nbd::client::{NbdClient, handshake};

use crate::history::{BLOCK_BYTES, BLOCKS};

/// A connection to an export.
pub(crate) type Client = NbdClient<UnixStream>;

/// Requests, recovery and draining take less, or something hangs.
const PATIENCE: Duration = Duration::from_mins(1);

/// A running `flashtrackd`.
pub(crate) struct Server {
    child: Mutex<Child>,
    folder: PathBuf,
}

impl Server {
    /// Starts it on the store in `folder` and waits until it serves.
    pub(crate) fn start(folder: &Path) -> Self {
        let log = folder.join("log");
        let errors = File::options().create(true).append(true).open(&log);
        let mut child = Program::new(env!("CARGO_BIN_EXE_flashtrackd"))
            .current_dir(folder)
            .args(["--store", "store", "--journal-size", "64M"])
            .args([
                "--control",
                "control",
                "--unix",
                "nbd",
                "--listen",
                "none",
                "--metrics",
                "none",
            ])
            .env_remove("NOTIFY_SOCKET")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(errors.expect("the log can be written"))
            .spawn()
            .expect("flashtrackd was built with this test");
        let stdout = child.stdout.take().expect("the standard output was asked for as a pipe");
        let said: Vec<String> = BufReader::new(stdout)
            .lines()
            .map_while(Result::ok)
            .take_while(|line| line != "ready")
            .collect();
        let server = Self { child: Mutex::new(child), folder: folder.to_owned() };
        let running = server.child.lock().expect("a lock of this thread").try_wait();
        if !matches!(running, Ok(None)) || said.is_empty() {
            let log = std::fs::read_to_string(&log).unwrap_or_default();
            panic!("flashtrackd did not get ready, {running:?}: {said:?}\n{log}");
        }
        server
    }

    /// SIGKILL, at once.
    pub(crate) fn kill(&self) {
        self.child.lock().expect("no holder panics").kill().expect("flashtrackd runs");
    }

    /// The server that is started after this one, which was killed, has gone.
    pub(crate) fn killed(self) -> Self {
        self.wait();
        Self::start(&self.folder)
    }

    /// The server that is started after this one has drained on SIGTERM and exited with 0.
    pub(crate) fn stopped(self) -> Self {
        let id = self.child.lock().expect("no holder panics").id().to_string();
        let mut kill = Program::new("sh");
        let asked = kill.args(["-c", "kill -TERM \"$1\"", "sh", &id]).status();
        assert!(asked.is_ok_and(|status| status.success()), "flashtrackd can be asked to end");
        assert_eq!(self.wait(), Some(0), "exit code after SIGTERM");
        Self::start(&self.folder)
    }

    fn wait(&self) -> Option<i32> {
        let asked = Instant::now();
        while asked.elapsed() < PATIENCE {
            let ended = self.child.lock().expect("no holder panics").try_wait();
            if let Some(status) = ended.expect("it is a child of this process") {
                return status.code();
            }
            thread::sleep(Duration::from_millis(5));
        }
        panic!("flashtrackd is still there after {PATIENCE:?}");
    }

    /// Has a command carried out.
    pub(crate) fn command(&self, command: &Command) -> Report {
        let body = serde_json::to_string(command).expect("commands have a JSON form");
        let (status, answer) = self.post("/v1/command", &body);
        if status == 200 {
            return serde_json::from_str(&answer).expect("reports have a JSON form");
        }
        let refusal: Result<Refusal, _> = serde_json::from_str(&answer);
        panic!("{command:?}: {status} {refusal:?}");
    }

    fn post(&self, path: &str, body: &str) -> (u16, String) {
        let mut stream = self.socket("control");
        write!(
            stream,
            "POST {path} HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .expect("the control socket takes a request");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("the control socket answers");
        let (head, body) = answer.split_once("\r\n\r\n").expect("an HTTP answer");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        (status.expect("an HTTP status"), body.to_owned())
    }

    /// A new connection to the export of `volume`.
    pub(crate) fn connect(&self, volume: &str) -> Client {
        let mut stream = self.socket("nbd");
        let export = handshake(&mut stream, volume.as_bytes()).expect("the export is served");
        NbdClient::new(stream, &export)
    }

    /// The whole content of `volume`.
    pub(crate) fn image(&self, volume: &str) -> Vec<u8> {
        let mut image = vec![0; BLOCKS * BLOCK_BYTES];
        let mut client = self.connect(volume);
        for part in image.chunks_mut(1 << 20) {
            client.read_exact(part).expect("the volume can be read");
        }
        image
    }

    fn socket(&self, name: &str) -> UnixStream {
        let stream = UnixStream::connect(self.folder.join(name)).expect("the server listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time-out can be set");
        stream
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // A failed test must not leave the server behind; both fail when it has gone already.
        let mut child = self.child.lock().expect("no holder panics");
        let _ = child.kill();
        let _ = child.wait();
    }
}

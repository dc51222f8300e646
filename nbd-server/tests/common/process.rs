//! The server's process: started, killed, asked; and clients of its exports.

#![allow(dead_code, reason = "each test uses its part of the module")]

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

/// A connection to an export.
pub(crate) type Client = NbdClient<UnixStream>;

/// Requests, recovery and draining take less, or something hangs.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);
/// Name of the store within the folder of a test.
pub(crate) const STORE: &str = "store";

/// A running `flashtrackd`.
pub(crate) struct Server {
    child: Mutex<Child>,
    folder: PathBuf,
    /// Given again when it is started again.
    options: Vec<String>,
}

fn flashtrackd(folder: &Path) -> Program {
    let mut program = Program::new(env!("CARGO_BIN_EXE_flashtrackd"));
    program
        .current_dir(folder)
        .args(["--store", STORE, "--control", "control", "--unix", "nbd"])
        .args(["--listen", "none", "--metrics", "none"])
        .env_remove("NOTIFY_SOCKET")
        .stdin(Stdio::null());
    program
}

/// Starts a server that cannot: gives its exit code and what it says.
pub(crate) fn refused_start(folder: &Path) -> (Option<i32>, String) {
    let output = flashtrackd(folder).output().expect("flashtrackd was built with this test");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

impl Server {
    /// Starts it on the store in `folder`, a new one with a small journal, and waits until it serves.
    pub(crate) fn start(folder: &Path) -> Self {
        Self::start_with(folder, &["--journal-size", "64M"])
    }

    /// The same with other options.
    pub(crate) fn start_with(folder: &Path, options: &[&str]) -> Self {
        let log = folder.join("log");
        let errors = File::options().create(true).append(true).open(&log);
        let mut child = flashtrackd(folder)
            .args(options)
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
        let options = options.iter().map(|option| (*option).to_owned()).collect();
        let server = Self { child: Mutex::new(child), folder: folder.to_owned(), options };
        let running = server.child.lock().expect("a lock of this thread").try_wait();
        if !matches!(running, Ok(None)) || said.is_empty() {
            let log = std::fs::read_to_string(&log).unwrap_or_default();
            panic!("flashtrackd did not get ready, {running:?}: {said:?}\n{log}");
        }
        server
    }

    /// Number of the process.
    pub(crate) fn id(&self) -> u32 {
        self.child.lock().expect("no holder panics").id()
    }

    /// SIGKILL, at once.
    pub(crate) fn kill(&self) {
        self.child.lock().expect("no holder panics").kill().expect("flashtrackd runs");
    }

    /// SIGKILL, and none is started in its place.
    pub(crate) fn end_by_kill(self) {
        self.kill();
        self.wait();
    }

    /// The server that is started after this one, which was killed, has gone.
    pub(crate) fn killed(self) -> Self {
        self.wait();
        Self::start_again(&self.folder, &self.options)
    }

    /// The server that is started after this one has drained on SIGTERM and exited with 0.
    pub(crate) fn stopped(self) -> Self {
        let (folder, options) = (self.folder.clone(), self.options.clone());
        self.end();
        Self::start_again(&folder, &options)
    }

    fn start_again(folder: &Path, options: &[String]) -> Self {
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        Self::start_with(folder, &options)
    }

    /// SIGTERM, and none is started in its place: it drains and exits with 0.
    pub(crate) fn end(self) {
        let id = self.id().to_string();
        let mut kill = Program::new("sh");
        let asked = kill.args(["-c", "kill -TERM \"$1\"", "sh", &id]).status();
        assert!(asked.is_ok_and(|status| status.success()), "flashtrackd can be asked to end");
        assert_eq!(self.wait(), Some(0), "exit code after SIGTERM");
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
        match self.try_command(command) {
            Ok(report) => report,
            Err(refusal) => panic!("{command:?}: {refusal:?}"),
        }
    }

    /// Has a command carried out, or refused.
    pub(crate) fn try_command(&self, command: &Command) -> Result<Report, Refusal> {
        let body = serde_json::to_string(command).expect("commands have a JSON form");
        let (status, answer) = self.post("/v1/command", &body);
        if status == 200 {
            return Ok(serde_json::from_str(&answer).expect("reports have a JSON form"));
        }
        Err(serde_json::from_str(&answer).expect("refusals have a JSON form"))
    }

    /// Sends a body to a path of the control API; gives the HTTP status and the answer.
    pub(crate) fn post(&self, path: &str, body: &str) -> (u16, String) {
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
        let show = self.command(&Command::VolumeShow { name: volume.to_owned() });
        let Report::Volumes(volumes) = show else { panic!("no volume: {show:?}") };
        let bytes = usize::try_from(volumes[0].size_bytes).expect("it fits memory");
        let mut image = vec![0; bytes];
        let mut client = self.connect(volume);
        for part in image.chunks_mut(1 << 20) {
            client.read_exact(part).expect("the volume can be read");
        }
        image
    }

    /// A new connection to the socket of that name, `control` or `nbd`.
    pub(crate) fn socket(&self, name: &str) -> UnixStream {
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

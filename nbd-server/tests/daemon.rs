//! The process `flashtrackd`: how it starts, what it prints, how it ends.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

fn flashtrackd(store: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_flashtrackd"));
    command
        .arg("--store")
        .arg(store)
        .args(["--journal-size", "64M"])
        .stdin(Stdio::null())
        .env_remove("NOTIFY_SOCKET");
    command
}

/// A server on free ports, ended with the test.
struct Daemon {
    process: Child,
    _stdout: BufReader<ChildStdout>,
    /// What it printed before `ready`.
    addresses: Vec<String>,
}

impl Daemon {
    fn start(command: &mut Command) -> Self {
        let mut process = command
            .args(["--listen", "127.0.0.1:0", "--metrics", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("the server starts");
        let mut stdout = BufReader::new(process.stdout.take().expect("it is piped"));
        let mut addresses = Vec::new();
        loop {
            let mut line = String::new();
            let length = stdout.read_line(&mut line).expect("text");
            assert!(length > 0, "it ended before it was ready: {addresses:?}");
            match line.trim_end() {
                "ready" => break,
                address => addresses.push(address.to_owned()),
            }
        }
        Self { process, _stdout: stdout, addresses }
    }

    fn address(&self, what: &str) -> &str {
        let found = self.addresses.iter().find_map(|line| line.strip_prefix(what));
        found.unwrap_or_else(|| panic!("no {what} among {:?}", self.addresses)).trim()
    }

    fn signal(&self, signal: Signal) {
        let id = Pid::from_child(&self.process);
        kill_process(id, signal).expect("it runs");
    }

    fn exit_code(mut self) -> Option<i32> {
        self.process.wait().expect("it ends").code()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It has ended already in most tests.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn store() -> TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

fn refused(command: &mut Command) -> (Option<i32>, String) {
    let Output { status, stderr, .. } = command.output().expect("it runs");
    (status.code(), String::from_utf8(stderr).expect("text"))
}

fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("it listens");
    write!(stream, "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        .expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

#[test]
fn it_prints_where_it_serves_and_ends_with_0_after_sigterm_and_sigint() {
    for signal in [Signal::TERM, Signal::INT] {
        let store = store();
        let nbd = store.path().join("nbd.sock");
        let daemon = Daemon::start(flashtrackd(store.path()).arg("--unix").arg(&nbd));

        let control = PathBuf::from(daemon.address("control "));
        assert_eq!(control, store.path().join("control.sock"));
        assert_eq!(daemon.address("nbd unix "), nbd.to_str().expect("text"));
        assert!(!daemon.address("nbd tcp ").ends_with(":0"), "{:?}", daemon.addresses);
        TcpStream::connect(daemon.address("nbd tcp ")).expect("NBD listens");
        UnixStream::connect(&control).expect("the control API listens");

        daemon.signal(signal);
        assert_eq!(daemon.exit_code(), Some(0));
        assert!(!control.exists() && !nbd.exists(), "a socket is left");
    }
}

#[test]
fn sockets_have_the_modes_that_were_asked_for() {
    let mode = |path: &Path| path.metadata().expect("it exists").permissions().mode() & 0o777;
    let store = store();
    let (nbd, control) = (store.path().join("nbd.sock"), store.path().join("control.sock"));

    let daemon = Daemon::start(flashtrackd(store.path()).arg("--unix").arg(&nbd));
    assert_eq!((mode(&nbd), mode(&control)), (0o660, 0o600));
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.exit_code(), Some(0));

    let _daemon = Daemon::start(flashtrackd(store.path()).arg("--unix").arg(&nbd).args([
        "--unix-mode",
        "0666",
        "--control-mode",
        "0660",
    ]));
    assert_eq!((mode(&nbd), mode(&control)), (0o666, 0o660));
}

#[test]
fn metrics_are_under_their_path_and_no_other() {
    let store = store();
    let daemon = Daemon::start(&mut flashtrackd(store.path()));
    let url = daemon.address("metrics ");
    let address = url.strip_prefix("http://").and_then(|rest| rest.strip_suffix("/metrics"));
    let address = address.expect("a URL");

    let metrics = get(address, "/metrics");
    assert!(metrics.starts_with("HTTP/1.1 200"), "{metrics}");
    assert!(metrics.contains("content-type: text/plain; version=0.0.4"), "{metrics}");
    assert!(metrics.contains("flashtrack_build_info{"), "{metrics}");
    assert!(get(address, "/healthz").starts_with("HTTP/1.1 200"));
    assert!(get(address, "/").starts_with("HTTP/1.1 404"));
}

#[test]
fn a_socket_left_by_a_crash_is_replaced_and_one_in_use_is_not() {
    let store = store();
    let control = store.path().join("control.sock");
    drop(UnixListener::bind(&control).expect("a socket that nobody answers on"));
    let _daemon = Daemon::start(&mut flashtrackd(store.path()));

    let other = tempfile::tempdir().expect("a temporary directory");
    let (code, error) = refused(
        flashtrackd(other.path())
            .args(["--listen", "127.0.0.1:0", "--metrics", "none", "--control"])
            .arg(&control),
    );

    assert_eq!(code, Some(1));
    assert!(error.lines().last().is_some_and(|line| line.contains("answers on")), "{error}");
}

#[test]
fn an_address_in_use_is_named_with_the_option_that_changes_it() {
    let store = store();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("it has one").to_string();

    let (code, error) = refused(flashtrackd(store.path()).args(["--listen", &address]));

    assert_eq!(code, Some(1));
    let line = error.lines().last().unwrap_or_default();
    assert!(line.contains(&address) && line.contains("--listen"), "{error}");
    assert!(line.contains("in use"), "{error}");
}

#[test]
fn a_configuration_file_is_read_and_what_is_wrong_in_it_is_told_with_its_line() {
    let store = store();
    let file = store.path().join("flashtrackd.toml");
    let log = store.path().join("log");
    let text = format!("log-target = \"file:{}\"\nlog-level = \"info\"\n", log.display());
    std::fs::write(&file, &text).expect("a file");

    let daemon = Daemon::start(flashtrackd(store.path()).arg("--config").arg(&file));
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.exit_code(), Some(0));
    let log = std::fs::read_to_string(log).expect("a log");
    assert!(log.contains("serving nbd tcp") && log.contains("SIGTERM"), "{log}");

    std::fs::write(&file, text + "\nport = 3\n").expect("a file");
    let (code, error) = refused(flashtrackd(store.path()).arg("--config").arg(&file));
    assert_eq!(code, Some(2));
    assert!(error.contains("flashtrackd.toml:4: ") && error.contains("port"), "{error}");
}

#[test]
fn bad_usage_exits_with_2_and_help_and_version_with_0() {
    let run = |words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_flashtrackd"));
        command.args(words).output().expect("it runs")
    };

    assert_eq!(run(&[]).status.code(), Some(2));
    assert_eq!(run(&["--store", "/x", "--journal-size", "0"]).status.code(), Some(2));
    assert_eq!(run(&["--help"]).status.code(), Some(0));
    let version = run(&["--version"]);
    assert_eq!(version.status.code(), Some(0));
    let text = format!("flashtrackd {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(String::from_utf8_lossy(&version.stdout), text);
}

#[test]
fn a_drain_of_an_idle_store_is_answered() {
    let store = store();
    let daemon = Daemon::start(&mut flashtrackd(store.path()));
    let mut stream = UnixStream::connect(daemon.address("control ")).expect("it listens");
    stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout");

    let body = r#"{"store_drain": {}}"#;
    let head = "POST /v1/command HTTP/1.1\r\nhost: x\r\nconnection: close";
    write!(stream, "{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len()).expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer in time");

    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("\"done\""), "{answer}");
}

#[test]
fn systemd_is_told_when_it_is_ready_and_when_it_stops() {
    let store = store();
    let path = store.path().join("notify");
    let socket = std::os::unix::net::UnixDatagram::bind(&path).expect("a socket");
    let daemon = Daemon::start(flashtrackd(store.path()).env("NOTIFY_SOCKET", &path));
    let next = || {
        let mut message = [0; 256];
        let length = socket.recv(&mut message).expect("a message");
        String::from_utf8_lossy(&message[..length]).trim().to_owned()
    };

    assert_eq!(next(), "READY=1");
    daemon.signal(Signal::TERM);
    assert_eq!(next(), "STOPPING=1");
    assert_eq!(daemon.exit_code(), Some(0));
}

//! The server's process on a store of its own, and commands in their JSON form.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::export::Export;
use crate::{PATIENCE, eventually};

/// A server on that file system; its sockets are elsewhere.
pub(crate) struct Server {
    process: Child,
    sockets: TempDir,
}

impl Server {
    pub(crate) fn start(store: &Path, journal: &str) -> Self {
        let sockets = tempfile::tempdir().unwrap();
        let mut process = Command::new(env!("CARGO_BIN_EXE_flashtrackd"))
            .arg("--store")
            .arg(store)
            .arg("--unix")
            .arg(sockets.path().join("nbd"))
            .arg("--control")
            .arg(sockets.path().join("control"))
            .args(["--journal-size", journal, "--listen", "none", "--metrics", "none"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let ready = lines.map_while(Result::ok).any(|line| line == "ready");
        assert!(ready, "the server ended before it was ready");
        Self { process, sockets }
    }

    /// Carries out a command; a refusal comes back as it is.
    pub(crate) fn command(&self, name: &str, arguments: Value) -> Value {
        let body = json!({ name: arguments }).to_string();
        let mut stream = UnixStream::connect(self.sockets.path().join("control")).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let head = "POST /v1/command HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: ";
        write!(stream, "{head}{}\r\n\r\n{body}", body.len()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
    }

    pub(crate) fn volume(&self, name: &str, bytes: u64, pool: Option<&str>) -> Export {
        let made =
            self.command("volume_create", json!({"name": name, "size_bytes": bytes, "thin": pool}));
        assert_eq!(made["volumes"][0]["name"], name, "{made}");
        self.export(name)
    }

    pub(crate) fn export(&self, name: &str) -> Export {
        Export::open(&self.sockets.path().join("nbd"), name)
    }

    pub(crate) fn pool(&self, bytes: u64) {
        let made = self.command("pool_create", json!({"name": "pool", "capacity_bytes": bytes}));
        assert_eq!(made["pools"][0]["name"], "pool", "{made}");
    }

    /// Establishes a copy into a thin target, or into a full one in that mode.
    pub(crate) fn establish(&self, source: &str, target: &str, full: Option<&str>) {
        let pairs = json!([{"source": source, "target": target}]);
        let mode = full.unwrap_or("nocopy");
        let wish = json!({"pairs": pairs, "mode": mode, "space_efficient": full.is_none()});
        let made = self.command("copy_establish", wish);
        assert_eq!(made["copies"][0]["target"], target, "{made}");
    }

    pub(crate) fn state_of_copy(&self, target: &str) -> Value {
        self.command("copy_show", json!({"target": target}))["copies"][0]["state"].take()
    }

    pub(crate) fn drain(&self) {
        assert_eq!(self.command("store_drain", json!({})), json!("done"));
    }

    pub(crate) fn store(&self) -> Value {
        let store = self.command("store_status", json!({}))["store"].take();
        assert_eq!(store["fail_stop"], Value::Null);
        store
    }

    pub(crate) fn kill(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    pub(crate) fn terminate(mut self) {
        kill_process(Pid::from_child(&self.process), Signal::TERM).unwrap();
        let ended = eventually(|| self.process.try_wait().unwrap());
        assert_eq!(ended.code(), Some(0));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It has ended already in most tests.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

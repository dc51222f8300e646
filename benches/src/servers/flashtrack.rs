//! `flashtrackd` of the release build on a store of its own, and the commands that the measurements give it.

use std::fs;
use std::ops::Range;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{Folders, Process};
use crate::control::Control;
use crate::error::{BenchError, Outcome};
use crate::fio::{self, Target};
use crate::options::Options;

/// The volume that hosts write to.
pub const PLAIN: &str = "plain";

/// A running `flashtrackd`.
#[derive(Debug)]
pub struct Flashtrack {
    process: Process,
    socket: PathBuf,
    store: PathBuf,
    control: Control,
    /// From the start of the process to its `ready`.
    pub ready_after: Duration,
}

/// Whether a full target is filled in the background.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Yes.
    Copy,
    /// No: data is kept only as the source changes.
    Nocopy,
}

impl Flashtrack {
    /// Starts it on the store of `folders`, which is made when there is none.
    ///
    /// # Errors
    /// It does not get ready.
    pub fn start(options: &Options, folders: &Folders) -> Outcome<Self> {
        let socket = folders.sockets.join("flashtrack.sock");
        let control = folders.sockets.join("control.sock");
        let store = folders.files.join("store");
        let log = folders.files.join("flashtrackd.log");
        let mut command = Command::new(options.programs.join("flashtrackd"));
        command
            .arg("--store")
            .arg(&store)
            .args(["--listen", "none", "--metrics", "none", "--log-level", "warn"])
            .arg(format!("--journal-size={}", options.journal_mebibytes << 20))
            .arg("--unix")
            .arg(&socket)
            .arg("--control")
            .arg(&control)
            .args(&options.server_option);
        let begin = Instant::now();
        let ready = || fs::read_to_string(&log).is_ok_and(|said| said.lines().any(is_ready));
        let process = Process::start(command, &log, None)?.wait("flashtrackd", &log, ready)?;
        let ready_after = begin.elapsed();
        Ok(Self { process, socket, store, control: Control::new(&control), ready_after })
    }

    /// Starts it with the volume [`PLAIN`] of `bytes` bytes, filled and drained.
    ///
    /// # Errors
    /// It does not get ready, or refuses something.
    pub fn with_plain(options: &Options, folders: &Folders, bytes: u64) -> Outcome<Self> {
        let server = Self::start(options, folders)?;
        server.create_volume(PLAIN, bytes)?;
        fio::fill(&server.target(PLAIN), bytes)?;
        server.drain()?;
        Ok(server)
    }

    /// The export of a volume.
    pub fn target(&self, volume: &str) -> Target {
        Target::Export(format!("nbd+unix:///{volume}?socket={}", self.socket.display()))
    }

    /// Makes a full volume.
    ///
    /// # Errors
    /// It is refused.
    pub fn create_volume(&self, name: &str, bytes: u64) -> Outcome {
        self.ask(json!({"volume_create": {"name": name, "size_bytes": bytes}})).map(drop)
    }

    /// Makes a pool, and so many thin volumes in it: `thin0`, `thin1` and so on.
    ///
    /// # Errors
    /// It is refused.
    pub fn create_thin(&self, volumes: usize, bytes: u64, pool_bytes: u64) -> Outcome {
        self.ask(json!({"pool_create": {"name": "pool", "capacity_bytes": pool_bytes}}))?;
        self.add_thin(0..volumes, bytes)
    }

    /// Makes the thin volumes of these numbers in the pool that there is.
    ///
    /// # Errors
    /// It is refused.
    pub fn add_thin(&self, numbers: Range<usize>, bytes: u64) -> Outcome {
        for name in numbers.map(thin_name) {
            self.ask(
                json!({"volume_create": {"name": name, "size_bytes": bytes, "thin": "pool"}}),
            )?;
        }
        Ok(())
    }

    /// Copies [`PLAIN`] onto the first so many thin volumes, without a background copy.
    ///
    /// # Errors
    /// It is refused.
    pub fn establish_thin(&self, copies: usize) -> Outcome {
        for name in (0..copies).map(thin_name) {
            self.establish(&[(PLAIN.to_owned(), name)], Mode::Nocopy)?;
        }
        Ok(())
    }

    /// Copies sources onto targets at one moment.
    ///
    /// # Errors
    /// It is refused.
    pub fn establish(&self, pairs: &[(String, String)], mode: Mode) -> Outcome {
        let mode = if mode == Mode::Copy { "copy" } else { "nocopy" };
        let pairs: Vec<Value> = pairs
            .iter()
            .map(|(source, target)| json!({"source": source, "target": target}))
            .collect();
        let space_efficient = mode == "nocopy";
        self.ask(json!({"copy_establish": {
            "pairs": pairs, "mode": mode, "space_efficient": space_efficient,
        }}))
        .map(drop)
    }

    /// Ends all copies of a source and waits until everything staged is at its final place.
    ///
    /// # Errors
    /// It is refused.
    pub fn withdraw(&self, source: &str) -> Outcome {
        self.end_copies(source)?;
        self.drain()
    }

    /// Ends all copies of a source.
    ///
    /// # Errors
    /// It is refused.
    pub fn end_copies(&self, source: &str) -> Outcome {
        self.ask(json!({"copy_withdraw": {"source": source}})).map(drop)
    }

    /// Waits until everything staged is at its final place.
    ///
    /// # Errors
    /// It is refused.
    pub fn drain(&self) -> Outcome {
        self.ask(json!({"store_drain": {}})).map(drop)
    }

    /// Tracks that the copy onto `target` has left; 0 when it is complete.
    ///
    /// # Errors
    /// There never was such a copy.
    pub fn tracks_left(&self, target: &str) -> Outcome<u64> {
        let report = self.ask(json!({"copy_show": {"target": target}}))?;
        let copies = report.get("copies").and_then(Value::as_array);
        let left = copies.into_iter().flatten().map(|copy| copy.get("tracks_left")?.as_u64());
        left.sum::<Option<u64>>()
            .ok_or_else(|| BenchError::Unexpected(format!("no tracks_left in the report {report}")))
    }

    /// Waits until the background copy onto `target` is complete.
    ///
    /// # Errors
    /// There never was such a copy.
    pub fn wait_for_copy(&self, target: &str) -> Outcome {
        while self.tracks_left(target)? > 0 {
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    /// Journal bytes in use, as a share of what the journal may hold.
    ///
    /// # Errors
    /// The server does not answer.
    pub fn journal_use(&self) -> Outcome<f64> {
        let report = self.ask(json!({"store_status": {}}))?;
        let number = |name: &str| report.pointer(&format!("/store/{name}"))?.as_f64();
        match (number("journal_used_bytes"), number("journal_capacity_bytes")) {
            (Some(used), Some(capacity)) => Ok(used / capacity),
            _ => Err(BenchError::Unexpected(format!("no journal in the report {report}"))),
        }
    }

    /// Removes a volume that has no copies.
    ///
    /// # Errors
    /// It is refused.
    pub fn delete_volume(&self, name: &str) -> Outcome {
        self.ask(json!({"volume_delete": {"name": name}})).map(drop)
    }

    /// The file of the first volume, [`PLAIN`]: for what works on the file itself.
    ///
    /// # Errors
    /// There is none.
    pub fn home_file(&self) -> Outcome<PathBuf> {
        let folder = self.store.join("volumes");
        let entries = fs::read_dir(&folder).map_err(BenchError::file(&folder))?;
        let first = entries.flatten().map(|entry| entry.path()).min();
        first.ok_or_else(|| BenchError::Unexpected(format!("no file in {}", folder.display())))
    }

    /// Memory that the process has resident, in mebibytes.
    ///
    /// # Errors
    /// The kernel does not tell.
    pub fn resident_mebibytes(&self) -> Outcome<f64> {
        let path = PathBuf::from(format!("/proc/{}/status", self.process.child.id()));
        let status = fs::read_to_string(&path).map_err(BenchError::file(&path))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|rest| rest.trim().trim_end_matches(" kB").parse::<f64>().ok());
        let missing = || BenchError::Unexpected(format!("no VmRSS in {}", path.display()));
        Ok(kib.ok_or_else(missing)? / 1024.0)
    }

    fn ask(&self, command: Value) -> Outcome<Value> {
        self.control.command(&command)
    }
}

fn is_ready(line: &str) -> bool {
    line == "ready"
}

/// Name of the thin volume of that number.
pub fn thin_name(number: usize) -> String {
    format!("thin{number}")
}

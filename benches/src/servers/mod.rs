//! The servers that take turns: Flashtrack, the peers that Debian installs, and the bare loop.
//!
//! A server is a process of its own with one Unix socket, and it is ended, by its handle, when its value is dropped.

pub mod flashtrack;
pub mod peers;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::error::{BenchError, Outcome};
use crate::process;

/// Starting takes less, or something is wrong.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where a run keeps its files.
#[derive(Debug)]
pub struct Folders {
    /// Files of volumes: on the file system that is measured.
    pub files: PathBuf,
    /// Sockets: the path of one has room for 107 characters only.
    pub sockets: PathBuf,
}

/// A process that runs until it is dropped.
#[derive(Debug)]
struct Process {
    child: Child,
    /// Of a server that goes into the background: the file with the id of its process.
    daemon: Option<PathBuf>,
}

impl Process {
    /// Starts `command`; what it says goes into `log`.
    fn start(mut command: Command, log: &Path, daemon: Option<PathBuf>) -> Outcome<Self> {
        let said = File::create(log).map_err(BenchError::file(log))?;
        let errors = said.try_clone().map_err(BenchError::file(log))?;
        command.stdin(Stdio::null()).stdout(said).stderr(errors);
        let child = command.spawn().map_err(|source| process::start(&command, source))?;
        Ok(Self { child, daemon })
    }

    /// Waits until `ready` says so.
    fn wait(mut self, name: &str, log: &Path, ready: impl Fn() -> bool) -> Outcome<Self> {
        let begin = Instant::now();
        while !ready() {
            let ended = self.daemon.is_none() && !matches!(self.child.try_wait(), Ok(None));
            if ended || begin.elapsed() > PATIENCE {
                let seconds = begin.elapsed().as_secs();
                let server = name.to_owned();
                let said = fs::read_to_string(log).unwrap_or_default();
                return Err(BenchError::NotReady { server, seconds, said });
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(self)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Each step fails only when the process has ended.
        let id = self.daemon.as_ref().and_then(|path| fs::read_to_string(path).ok());
        let id = id.and_then(|text| text.trim().parse().ok()).and_then(Pid::from_raw);
        if let Some(id) = id {
            let _ = kill_process(id, Signal::TERM);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A sparse file of `bytes` bytes.
pub(crate) fn sparse_file(path: &Path, bytes: u64) -> Outcome {
    File::create(path).and_then(|file| file.set_len(bytes)).map_err(BenchError::file(path))
}

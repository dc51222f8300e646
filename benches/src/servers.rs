//! The servers that take turns: Flashtrack and the peers that Debian installs.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A server that runs until it is dropped.
#[derive(Debug)]
pub struct Server {
    /// Name in the tables.
    pub name: &'static str,
    /// URI of its one volume.
    pub uri: String,
    child: Child,
    control: Option<PathBuf>,
    programs: PathBuf,
}

impl Drop for Server {
    fn drop(&mut self) {
        // Only what this value started is ended, by its handle.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What could not be done, with the reason.
pub type Failure = Box<dyn std::error::Error>;

impl Server {
    /// `flashtrackd` from the folder `programs`, with a volume `plain` of `bytes` bytes, filled.
    ///
    /// # Errors
    /// It does not start or refuses a command.
    pub fn flashtrack(programs: &Path, folder: &Path, bytes: u64) -> Result<Self, Failure> {
        let socket = folder.join("flashtrack.sock");
        let control = folder.join("control.sock");
        let mut child = Command::new(programs.join("flashtrackd"))
            .arg("--store")
            .arg(folder.join("store"))
            .args(["--listen", "127.0.0.1:0", "--metrics", "127.0.0.1:0", "--log-level", "warn"])
            .arg("--unix")
            .arg(&socket)
            .arg("--control")
            .arg(&control)
            .stdout(Stdio::piped())
            .spawn()?;
        let output = child.stdout.take().ok_or("flashtrackd has no output")?;
        let ready =
            BufReader::new(output).lines().map_while(Result::ok).any(|line| line == "ready");
        let uri = format!("nbd+unix:///plain?socket={}", socket.display());
        let programs = programs.to_owned();
        let server = Self { name: "flashtrack", uri, child, control: Some(control), programs };
        if !ready {
            return Err("flashtrackd did not become ready".into());
        }
        server.command(&["volume", "create", "plain", "--size", &bytes.to_string()])?;
        fill(&server.uri, bytes)?;
        Ok(server)
    }

    /// nbdkit with its file plugin.
    ///
    /// # Errors
    /// It does not start.
    pub fn nbdkit(folder: &Path, bytes: u64) -> Result<Self, Failure> {
        let socket = folder.join("nbdkit.sock");
        let file = sparse_file(&folder.join("nbdkit.raw"), bytes)?;
        let mut command = Command::new("nbdkit");
        command.args(["-f", "-U"]).arg(&socket).arg("file").arg(format!("file={}", file.display()));
        Self::peer("nbdkit file", command, &socket, bytes)
    }

    /// qemu-nbd with io_uring.
    ///
    /// # Errors
    /// It does not start.
    pub fn qemu(folder: &Path, bytes: u64) -> Result<Self, Failure> {
        let socket = folder.join("qemu.sock");
        let file = sparse_file(&folder.join("qemu.raw"), bytes)?;
        let mut command = Command::new("qemu-nbd");
        command
            .args(["-t", "-e", "16", "-f", "raw", "--aio=io_uring", "--cache=writeback", "-k"])
            .arg(&socket)
            .arg(file);
        Self::peer("qemu-nbd", command, &socket, bytes)
    }

    fn peer(
        name: &'static str,
        mut command: Command,
        socket: &Path,
        bytes: u64,
    ) -> Result<Self, Failure> {
        let child = command.stdout(Stdio::null()).spawn()?;
        let uri = format!("nbd+unix:///?socket={}", socket.display());
        let server = Self { name, uri, child, control: None, programs: PathBuf::new() };
        let until = Instant::now() + Duration::from_secs(10);
        while !socket.exists() {
            if Instant::now() > until {
                return Err(format!("{name} did not start").into());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        fill(&server.uri, bytes)?;
        Ok(server)
    }

    /// Runs `flashtrack` with these words.
    ///
    /// # Errors
    /// It cannot be run, or the command is refused.
    pub fn command(&self, words: &[&str]) -> Result<String, Failure> {
        let control = self.control.as_ref().ok_or("only flashtrack takes commands")?;
        let output = Command::new(self.programs.join("flashtrack"))
            .arg("--control")
            .arg(control)
            .args(words)
            .output()?;
        if !output.status.success() {
            let reason = String::from_utf8_lossy(&output.stderr).into_owned();
            return Err(format!("flashtrack {}: {reason}", words.join(" ")).into());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

fn sparse_file(path: &Path, bytes: u64) -> Result<PathBuf, Failure> {
    std::fs::File::create(path)?.set_len(bytes)?;
    Ok(path.to_owned())
}

/// Writes the whole volume once, so that every server works on allocated, cached data.
fn fill(uri: &str, bytes: u64) -> Result<(), Failure> {
    let status = Command::new("fio")
        .args(["--name=fill", "--ioengine=nbd", "--rw=write", "--bs=1m", "--iodepth=4"])
        .arg(format!("--uri={uri}"))
        .arg(format!("--size={bytes}"))
        .stdout(Stdio::null())
        .status()?;
    if status.success() { Ok(()) } else { Err("filling a volume failed".into()) }
}

//! A server of this build on a store of its own, and the command line that speaks to it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::error::{Outcome, TaskError};
use crate::http;
use crate::namespace;
use crate::process;

/// Starting and stopping take less, or something hangs.
const PATIENCE: Duration = Duration::from_secs(30);

const CONTROL: &str = "control.sock";

/// Builds both programs with optimisation.
pub(crate) fn build() -> Outcome {
    process::visible(Command::new("cargo").args([
        "build",
        "--release",
        "--package=flashtrack-nbd-server",
        "--package=flashtrack-tools",
    ]))
}

/// A running `flashtrackd`.
pub(crate) struct Server {
    child: Child,
    nbd: SocketAddr,
    metrics: SocketAddr,
    folder: PathBuf,
    command_line: PathBuf,
}

impl Server {
    /// Starts the release build in `folder`, on its store there, listening for NBD on a free port of
    /// `address`, with more `options`.
    ///
    /// # Errors
    /// It does not say that it is ready: with what it said.
    pub(crate) fn start(folder: &Path, address: &str, options: &[&str]) -> Outcome<Self> {
        let programs = namespace::target_folder()?.join("release");
        let log = folder.join("flashtrackd.log");
        let errors = fs::File::create(&log).map_err(TaskError::file(&log))?;
        let mut command = Command::new(programs.join("flashtrackd"));
        // Relative to the folder: the path of a Unix socket has room for 107 characters only.
        command
            .current_dir(folder)
            .args(["--store", "store", "--control", CONTROL])
            .args(["--listen", &format!("{address}:0")])
            .args(["--metrics", "127.0.0.1:0"])
            .args(options);
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(errors)
            .spawn()
            .map_err(|source| process::start(&command, source))?;
        let said = said_until_ready(&mut child);
        let address = |name: &str| address_in(&said, name);
        let (Some(nbd), Some(metrics)) = (address("nbd tcp"), address("metrics")) else {
            end(&mut child);
            return Err(TaskError::Failed {
                command: process::shown(&command),
                status: "not ready, or without the addresses it listens at".to_owned(),
                output: format!("{said}\n{}", fs::read_to_string(&log).unwrap_or_default()),
            });
        };
        let (folder, command_line) = (folder.to_owned(), programs.join("flashtrack"));
        Ok(Self { child, nbd, metrics, folder, command_line })
    }

    /// Address of the NBD export list.
    pub(crate) fn nbd(&self) -> SocketAddr {
        self.nbd
    }

    /// The export of `volume` as other programs name it.
    pub(crate) fn uri(&self, volume: &str) -> String {
        format!("nbd://{}/{volume}", self.nbd)
    }

    /// The command line with `words`, to be run in the reader's sight.
    pub(crate) fn command_line(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.command_line);
        command.current_dir(&self.folder).args(["--control", CONTROL]).args(words);
        command
    }

    /// Runs the command line with `--json` and gives its answer.
    ///
    /// # Errors
    /// The command is refused, or its answer is no JSON.
    pub(crate) fn flashtrack(&self, words: &[&str]) -> Outcome<Value> {
        let output = process::output(self.command_line(&["--json"]).args(words))?;
        serde_json::from_str(&output).map_err(|error| {
            let words = words.join(" ");
            TaskError::Unexpected(format!("`flashtrack --json {words}`: {error} in {output:?}"))
        })
    }

    /// Address of the metrics.
    pub(crate) fn metrics(&self) -> SocketAddr {
        self.metrics
    }

    /// What Prometheus would read now.
    pub(crate) fn scrape(&self) -> Outcome<String> {
        http::get(self.metrics, "/metrics")
    }

    /// Most memory that the server ever had resident, in bytes.
    pub(crate) fn peak_memory(&self) -> Outcome<u64> {
        let path = PathBuf::from(format!("/proc/{}/status", self.child.id()));
        let status = fs::read_to_string(&path).map_err(TaskError::file(&path))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|rest| rest.trim().trim_end_matches(" kB").parse::<u64>().ok());
        let missing = || TaskError::Unexpected(format!("no VmHWM in {}", path.display()));
        Ok(kib.ok_or_else(missing)? * 1024)
    }

    /// Asks the server to drain and end, and gives its exit code.
    ///
    /// # Errors
    /// It is still there after half a minute.
    pub(crate) fn stop(mut self) -> Outcome<Option<i32>> {
        kill_process(Pid::from_child(&self.child), Signal::TERM)
            .map_err(|error| TaskError::Unexpected(format!("cannot stop flashtrackd: {error}")))?;
        let what = "draining flashtrackd";
        process::ended_within(&mut self.child, PATIENCE.as_secs(), what).map(|status| status.code())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

/// Ends a server that may have ended already.
fn end(child: &mut Child) {
    // Both fail only when it is gone.
    let _ = child.kill();
    let _ = child.wait();
}

/// The lines up to `ready`, or up to the end of patience.
fn said_until_ready(child: &mut Child) -> String {
    let stdout = child.stdout.take().expect("the standard output was asked for as a pipe");
    let (sender, lines) = channel();
    // Goes on reading after `ready`, so that the server never writes to a closed pipe.
    thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            let _ = sender.send(line);
        }
    });
    let mut said = String::new();
    while let Ok(line) = lines.recv_timeout(PATIENCE) {
        if line.trim() == "ready" {
            break;
        }
        said.push_str(&line);
        said.push('\n');
    }
    said
}

/// The address in the first line of `said` that begins with `name`, such as `nbd tcp 127.0.0.1:10809`.
fn address_in(said: &str, name: &str) -> Option<SocketAddr> {
    let rest = said.lines().find_map(|line| line.strip_prefix(name))?.trim();
    rest.trim_start_matches("http://").trim_end_matches("/metrics").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::address_in;

    #[test]
    fn addresses_are_found_in_what_the_server_says() {
        let said = "nbd tcp 10.0.0.1:10809\nmetrics http://127.0.0.1:9810/metrics\n";

        assert_eq!(address_in(said, "nbd tcp"), "10.0.0.1:10809".parse().ok());
        assert_eq!(address_in(said, "metrics"), "127.0.0.1:9810".parse().ok());
        assert_eq!(address_in(said, "control"), None);
    }
}

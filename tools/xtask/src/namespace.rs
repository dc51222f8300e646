//! A world of its own for a run with a kernel: network, process ids and mounts.
//!
//! 1. Everything the run starts lives in namespaces made by `unshare`; when the run ends, however it
//!    ends, the kernel ends all its processes and takes the tap device and the mounts away.
//! 2. The run's folder is removed by the process outside, unless it is to be kept.
//! 3. No root is needed: an ordinary user becomes root of a user namespace.

use std::env;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::error::{Outcome, TaskError};
use crate::process;

/// What becomes of the run's folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Afterwards {
    /// It goes, with the store in it.
    Remove,
    /// It stays for a look.
    Keep,
}

/// What the run shares with the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Network {
    /// The host's: its nbd driver knows no other.
    Shared,
    /// Its own, where a tap device harms nobody.
    Own,
}

/// Folder that holds Cargo's profiles, found from where this program lies.
pub(crate) fn target_folder() -> Outcome<PathBuf> {
    let program = env::current_exe().map_err(TaskError::file(Path::new("/proc/self/exe")))?;
    let folder = program.parent().and_then(Path::parent).map(Path::to_owned);
    folder.ok_or_else(|| TaskError::Unexpected(format!("{} has no folder", program.display())))
}

/// Runs this program again with `words` and a new folder in namespaces of its own, and waits.
///
/// # Errors
/// The run failed (it has said why itself), was interrupted, or namespaces are not to be had.
pub(crate) fn run(words: &[&str], network: Network, afterwards: Afterwards) -> Outcome {
    let folder = target_folder()?.join(format!("xtask/run-{}", std::process::id()));
    fs::create_dir_all(&folder).map_err(TaskError::file(&folder))?;
    let result = run_in(&folder, words, network);
    match afterwards {
        Afterwards::Keep => println!("Kept: {}", folder.display()),
        Afterwards::Remove => fs::remove_dir_all(&folder).map_err(TaskError::file(&folder))?,
    }
    result
}

fn run_in(folder: &Path, words: &[&str], network: Network) -> Outcome {
    let mut probe = unshare(network);
    process::output(probe.arg("true")).map_err(|error| TaskError::Missing {
        missing: "namespaces for the run".to_owned(),
        help: format!("Run as root, outside of a restricted container ({error})"),
    })?;
    let program = env::current_exe().map_err(TaskError::file(Path::new("/proc/self/exe")))?;
    let mut command = unshare(network);
    // A process group of its own: the terminal's interrupt reaches only this process, which ends it.
    command.arg(program).args(words).arg("--inside").arg(folder).stdin(Stdio::null());
    command.process_group(0);
    let mut child = command.spawn().map_err(|source| process::start(&command, source))?;
    let status = wait_or_interrupt(&mut child)?;
    if status.success() { Ok(()) } else { Err(TaskError::Reported) }
}

fn unshare(network: Network) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--pid", "--fork", "--kill-child", "--mount-proc"]);
    if network == Network::Own {
        command.arg("--net");
    }
    if !rustix::process::geteuid().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    command
}

fn wait_or_interrupt(child: &mut Child) -> Outcome<ExitStatus> {
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&interrupted))
            .map_err(TaskError::file(Path::new("signal handler")))?;
    }
    let failed = |source| TaskError::Start { program: "unshare".to_owned(), source };
    loop {
        if let Some(status) = child.try_wait().map_err(failed)? {
            return Ok(status);
        }
        if interrupted.load(Ordering::Relaxed) {
            // unshare dies, and with it (--kill-child) the first process of the namespace and all others.
            child.kill().and_then(|()| child.wait()).map_err(failed)?;
            return Err(TaskError::Interrupted);
        }
        thread::sleep(Duration::from_millis(50));
    }
}

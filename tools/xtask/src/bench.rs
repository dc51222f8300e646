//! `cargo xtask bench`: installs the peers, builds with optimisation and hands over to the program `bench`.
//!
//! What is measured in a guest kernel (see `guest`) is not that program's: it needs the kernel's shell.
//!
//! nbd-server is unpacked below `target`, not installed: Debian's package would start a server at NBD's own port.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::{Outcome, TaskError};
use crate::guest;
use crate::namespace;
use crate::process;
use crate::server;
use crate::setup;

const NBD_SERVER: &str = "nbd-server";

/// Options of `cargo xtask bench`.
#[derive(clap::Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Options {
    /// peers, direct, copies, establish, recovery or guest, and their options; --help shows them
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
    words: Vec<String>,
}

/// Measures, and says where the results are.
///
/// # Errors
/// Something cannot be installed or built, or a measurement fails.
pub(crate) fn run(options: &Options) -> Outcome {
    if let [first, rest @ ..] = options.words.as_slice()
        && first == guest::NAME
    {
        return guest::run(rest);
    }
    setup::packages(setup::BENCH)?;
    let target = namespace::target_folder()?;
    let unpacked = target.join("bench").join("peers").join("programs");
    let nbd_server = nbd_server(&unpacked)?;
    server::build()?;
    process::visible(Command::new("cargo").args([
        "build",
        "--release",
        "--package=flashtrack-benches",
        "--bin=bench",
    ]))?;
    let programs = target.join("release");
    let mut command = Command::new(programs.join("bench"));
    command.args(&options.words);
    let said =
        |option: &str| options.words.iter().any(|word| word.split('=').next() == Some(option));
    let defaults = [
        ("--programs", programs),
        ("--nbd-server", nbd_server),
        ("--output", target.join("bench")),
    ];
    // What asks for help is given nothing that it might not know.
    if !["--help", "-h", "help"].into_iter().any(said) {
        for (option, path) in defaults.iter().filter(|(option, _)| !said(option)) {
            command.arg(option).arg(path);
        }
    }
    process::visible(&mut command)
}

/// The program nbd-server, unpacked from its package below `folder` when it is not there yet.
fn nbd_server(folder: &Path) -> Outcome<PathBuf> {
    if setup::installed(NBD_SERVER) {
        return Ok(PathBuf::from(NBD_SERVER));
    }
    let program = folder.join("bin").join(NBD_SERVER);
    if program.exists() {
        return Ok(program);
    }
    println!("Unpacking the Debian package {NBD_SERVER} into {}", folder.display());
    fs::create_dir_all(folder).map_err(TaskError::file(folder))?;
    let mut download = Command::new("apt-get");
    process::visible(download.current_dir(folder).args(["download", "-q", NBD_SERVER]))?;
    let entries = fs::read_dir(folder).map_err(TaskError::file(folder))?;
    let package = entries
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|ending| ending == "deb"))
        .ok_or_else(|| TaskError::Unexpected(format!("no package in {}", folder.display())))?;
    process::output(Command::new("dpkg-deb").arg("--extract").arg(&package).arg(folder))?;
    if program.exists() {
        return Ok(program);
    }
    Err(TaskError::Unexpected(format!("{} is not in {}", program.display(), package.display())))
}

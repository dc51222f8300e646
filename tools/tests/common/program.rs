//! The binary `flashtrack`: it reads no standard input and knows no server, unless it is told.

use std::path::Path;
use std::process::{Command, Stdio};

pub(crate) fn flashtrack() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_flashtrack"));
    command.env_remove("FLASHTRACK_CONTROL").stdin(Stdio::null());
    command
}

/// For the server with that control socket.
pub(crate) fn flashtrack_at(control: &Path) -> Command {
    let mut command = flashtrack();
    command.arg("--control").arg(control);
    command
}

//! Completion scripts and manual pages, made from the definition of the command line.

use std::path::Path;

use clap::CommandFactory;
use clap_complete::Shell;

use crate::cli::Cli;
use crate::failure::Failure;
use crate::output::write_text;

/// Writes the completion script to standard output.
pub(crate) fn completions(shell: Shell) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "flashtrack", &mut script);
    write_text(String::from_utf8_lossy(&script).trim_end())
}

/// Writes one page for each command into `directory`.
pub(crate) fn manual(directory: &Path) -> Result<(), Failure> {
    std::fs::create_dir_all(directory)
        .and_then(|()| clap_mangen::generate_to(Cli::command(), directory))
        .map_err(|source| Failure::Output {
            what: format!("manual pages into {}", directory.display()),
            source,
        })
}

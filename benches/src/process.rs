//! Programs that are run to their end, with their output in the error when they fail.

use std::process::{Command, Output, Stdio};

use crate::error::{BenchError, Outcome};

/// Runs `command` and gives what it printed on its standard output.
///
/// # Errors
/// It cannot be started, or ends with another status than 0: then with all that it printed.
pub fn output(command: &mut Command) -> Outcome<Vec<u8>> {
    let output = command.stdin(Stdio::null()).output().map_err(|source| start(command, source))?;
    checked(command, output)
}

/// The standard output of a `command` that has ended.
///
/// # Errors
/// It ended with another status than 0.
pub fn checked(command: &Command, output: Output) -> Outcome<Vec<u8>> {
    if output.status.success() {
        return Ok(output.stdout);
    }
    // fio prints whole tables besides its reason.
    let told = if output.stderr.is_empty() { output.stdout } else { output.stderr };
    Err(BenchError::Failed {
        command: shown(command),
        status: output.status.to_string(),
        output: String::from_utf8_lossy(&told).trim().to_owned(),
    })
}

/// Says that `command` could not be started.
pub fn start(command: &Command, source: std::io::Error) -> BenchError {
    BenchError::Start { program: command.get_program().to_string_lossy().into_owned(), source }
}

/// The command as a person would type it.
fn shown(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy().into_owned()];
    words.extend(command.get_args().map(|word| word.to_string_lossy().into_owned()));
    words.join(" ")
}

//! Running programs: quietly with their output in the error, or in the developer's sight.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::error::{Outcome, TaskError};

/// A program of the administrator's, which Debian keeps off an ordinary user's path.
pub(crate) fn system(program: &str) -> Command {
    let mut command = Command::new(program);
    command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    command
}

/// The command as a person would type it.
pub(crate) fn shown(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy().into_owned()];
    words.extend(command.get_args().map(|word| word.to_string_lossy().into_owned()));
    words.join(" ")
}

/// Runs `command` and gives what it printed on its standard output.
///
/// # Errors
/// It cannot be started, or ends with another status than 0: then with all that it printed.
pub(crate) fn output(command: &mut Command) -> Outcome<String> {
    let result = command.stdin(Stdio::null()).output().map_err(|source| start(command, source))?;
    let printed = String::from_utf8_lossy(&result.stdout).into_owned();
    if result.status.success() {
        return Ok(printed);
    }
    let output = printed + &String::from_utf8_lossy(&result.stderr);
    Err(TaskError::Failed { command: shown(command), status: result.status.to_string(), output })
}

/// Runs `command` with its output going where this program's goes.
///
/// # Errors
/// It cannot be started, or ends with another status than 0.
pub(crate) fn visible(command: &mut Command) -> Outcome {
    let status = command.stdin(Stdio::null()).status().map_err(|source| start(command, source))?;
    if status.success() { Ok(()) } else { Err(failed(command, status)) }
}

/// Runs `command`, repeats each line of its standard output and gives it to `look` as well.
///
/// # Errors
/// It cannot be started, or ends with another status than 0.
pub(crate) fn watched(command: &mut Command, mut look: impl FnMut(&str)) -> Outcome {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|source| start(command, source))?;
    let stdout = child.stdout.take().expect("the standard output was asked for as a pipe");
    for line in BufReader::new(stdout).lines().map_while(Result::ok) {
        println!("{line}");
        look(&line);
    }
    let status = child.wait().map_err(|source| start(command, source))?;
    if status.success() { Ok(()) } else { Err(failed(command, status)) }
}

/// Waits for `child` to end, and gives how it did.
///
/// # Errors
/// It is still there after so many `seconds`: `what` says what it should have done.
pub(crate) fn ended_within(child: &mut Child, seconds: u64, what: &str) -> Outcome<ExitStatus> {
    let asked = Instant::now();
    while asked.elapsed() < Duration::from_secs(seconds) {
        if let Ok(Some(status)) = child.try_wait() {
            return Ok(status);
        }
        thread::sleep(Duration::from_millis(10));
    }
    Err(TaskError::Late { what: what.to_owned(), seconds, output: String::new() })
}

/// Says that `command` could not be started.
pub(crate) fn start(command: &Command, source: std::io::Error) -> TaskError {
    TaskError::Start { program: command.get_program().to_string_lossy().into_owned(), source }
}

fn failed(command: &Command, status: ExitStatus) -> TaskError {
    TaskError::Failed { command: shown(command), status: status.to_string(), output: String::new() }
}

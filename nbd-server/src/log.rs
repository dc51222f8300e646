//! The log: one line for each event, on standard error or in a file.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::fs::OpenOptions;
use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Mutex;

use tracing_subscriber::EnvFilter;

/// Where the log goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum LogTarget {
    /// Standard error: under systemd, the journal.
    #[default]
    Stderr,
    /// A file, appended to.
    File(PathBuf),
}

impl FromStr for LogTarget {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once(':') {
            None if text == "stderr" => Ok(Self::Stderr),
            Some(("file", path)) if !path.is_empty() => Ok(Self::File(path.into())),
            _ => Err(format!("`{text}` is no log target; write stderr or file:PATH")),
        }
    }
}

/// What is logged: a level (`error`, `warn`, `info`, `debug`, `trace`), or levels for parts of the
/// server such as `info,flashtrack_nbd_server::worker=debug`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLevel(String);

impl Default for LogLevel {
    fn default() -> Self {
        Self("info".to_owned())
    }
}

impl FromStr for LogLevel {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
        // A bare word that is no level would be taken as the name of a part and log everything of it.
        let known = text.contains('=') || LEVELS.contains(&text);
        match EnvFilter::try_new(text) {
            Ok(_) if known => Ok(Self(text.to_owned())),
            _ => Err(format!("`{text}` is no log level; write error, warn, info, debug or trace")),
        }
    }
}

/// Starts logging for the whole process, panics included.
///
/// # Errors
/// The log file cannot be opened.
pub fn start(level: &LogLevel, target: &LogTarget) -> io::Result<()> {
    let builder = tracing_subscriber::fmt().with_env_filter(EnvFilter::new(&level.0));
    match target {
        LogTarget::Stderr => {
            let builder = builder.with_writer(io::stderr).with_ansi(io::stderr().is_terminal());
            // The journal of systemd has its own time stamps.
            if std::env::var_os("JOURNAL_STREAM").is_some() {
                builder.without_time().init();
            } else {
                builder.init();
            }
        }
        LogTarget::File(path) => {
            let file = OpenOptions::new().create(true).append(true).open(path)?;
            builder.with_writer(Mutex::new(file)).with_ansi(false).init();
        }
    }
    std::panic::set_hook(Box::new(|panic| {
        let trace = Backtrace::capture();
        if trace.status() == BacktraceStatus::Captured {
            tracing::error!("{panic}\n{trace}");
        } else {
            tracing::error!("{panic}");
        }
    }));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_standard_error_or_a_named_file() {
        assert_eq!("stderr".parse(), Ok(LogTarget::Stderr));
        assert_eq!("file:/var/log/f".parse(), Ok(LogTarget::File("/var/log/f".into())));
        for nonsense in ["", "syslog", "file:", "file"] {
            assert!(nonsense.parse::<LogTarget>().is_err(), "{nonsense:?} was taken");
        }
    }

    #[test]
    fn levels_are_words_or_directives() {
        for good in ["info", "trace", "off", "info,flashtrack_nbd_server::worker=debug"] {
            assert!(good.parse::<LogLevel>().is_ok(), "{good:?} was refused");
        }
        for nonsense in ["", "loud", "info=loud"] {
            assert!(nonsense.parse::<LogLevel>().is_err(), "{nonsense:?} was taken");
        }
    }
}

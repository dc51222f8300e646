//! Commands to `flashtrackd` on its control socket (see `nbd-server/docs/control_api.md`), without a process for each: one
//! that is timed takes what the server takes.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::error::{BenchError, Outcome};

/// A control socket.
#[derive(Debug)]
pub struct Control {
    socket: PathBuf,
}

impl Control {
    /// The control socket at this path.
    pub fn new(socket: &Path) -> Self {
        Self { socket: socket.to_owned() }
    }

    /// Carries out a command and gives its report.
    ///
    /// # Errors
    /// It is refused, or the server cannot be asked.
    pub fn command(&self, command: &Value) -> Outcome<Value> {
        let body = command.to_string();
        let answer = self.exchange(&body).map_err(BenchError::file(&self.socket))?;
        let (head, report) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        let status = head.lines().next().unwrap_or_default();
        if status.split(' ').nth(1) != Some("200") {
            let (status, answer) = (status.to_owned(), report.to_owned());
            return Err(BenchError::Refused { command: body, status, answer });
        }
        let unreadable = |error| {
            BenchError::Unexpected(format!("flashtrackd answers {command} by {report}: {error}"))
        };
        serde_json::from_str(report).map_err(unreadable)
    }

    fn exchange(&self, body: &str) -> io::Result<String> {
        let mut stream = UnixStream::connect(&self.socket)?;
        let bytes = body.len();
        write!(
            stream,
            "POST /v1/command HTTP/1.1\r\nHost: flashtrack\r\nConnection: close\r\n\
             Content-Length: {bytes}\r\n\r\n{body}"
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }
}

//! One plain HTTP GET, for metrics and Prometheus' answers.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

use crate::error::{Outcome, TaskError};

const PATIENCE: Duration = Duration::from_secs(10);

/// The body at `path` of the server at `address`.
///
/// # Errors
/// Nobody answers, or not with status 200.
pub(crate) fn get(address: SocketAddr, path: &str) -> Outcome<String> {
    let url = format!("http://{address}{path}");
    let mut answer = String::new();
    TcpStream::connect(address)
        .and_then(|mut stream| {
            stream.set_read_timeout(Some(PATIENCE))?;
            // Version 1.0: the body ends with the connection, never in chunks.
            write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n")?;
            stream.read_to_string(&mut answer)
        })
        .map_err(TaskError::file(&PathBuf::from(&url)))?;
    match answer.split_once("\r\n\r\n") {
        Some((head, body)) if head.split(' ').nth(1) == Some("200") => Ok(body.to_owned()),
        _ => Err(TaskError::Unexpected(format!("{url} answers {:?}", answer.lines().next()))),
    }
}

//! Client of the control API: one HTTP request over the server's Unix socket.

use std::path::PathBuf;

use bytes::Bytes;
use flashtrack_engine::admin::{Command, Refusal, Report};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

use crate::failure::Failure;

/// Speaks to one server.
#[derive(Debug)]
pub(crate) struct Client {
    /// Its control socket.
    pub(crate) path: PathBuf,
}

impl Client {
    /// Has the server carry out `command`.
    ///
    /// # Errors
    /// The server cannot be reached, or it refuses.
    pub(crate) async fn command(&self, command: &Command) -> Result<Report, Failure> {
        let stream = UnixStream::connect(&self.path)
            .await
            .map_err(|source| Failure::Unreachable { path: self.path.clone(), source })?;
        let (status, body) = exchange(stream, command).await.map_err(Failure::Interrupted)?;
        let unknown = || Failure::Answer { path: self.path.clone(), status: status.as_u16() };
        if status == StatusCode::OK {
            return serde_json::from_slice(&body).map_err(|_| unknown());
        }
        let refusal: Refusal = serde_json::from_slice(&body).map_err(|_| unknown())?;
        Err(Failure::Refused(refusal))
    }

    /// The answer is of another kind than the command calls for.
    pub(crate) fn unexpected(&self) -> Failure {
        Failure::Answer { path: self.path.clone(), status: StatusCode::OK.as_u16() }
    }
}

async fn exchange(
    stream: UnixStream,
    command: &Command,
) -> Result<(StatusCode, Bytes), hyper::Error> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let body = serde_json::to_vec(command).expect("a command is valid JSON");
    let request = Request::post("/v1/command")
        .header(hyper::header::HOST, "flashtrackd")
        .header(hyper::header::CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(body)))
        .expect("a constant path and constant headers are a valid request");
    let answer = sender.send_request(request).await?;
    let status = answer.status();
    let body = answer.into_body().collect().await?.to_bytes();
    connection.abort();
    Ok((status, body))
}

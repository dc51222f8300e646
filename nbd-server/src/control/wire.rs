//! HTTP requests to commands, results to HTTP responses.
//!
//! Every error has the JSON form of a `Refusal`, also those that no engine has seen.

use std::time::Duration;

use bytes::Bytes;
use flashtrack_engine::admin::{Command, Refusal, RefusalKind};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Body;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use serde::Serialize;

use super::Administrator;

/// Longest body of a request. An establish with every extent it may have is far below.
const BODY_BYTES_MAX: usize = 1 << 20;
/// Time that a client has to send the body.
const BODY_TIME: Duration = Duration::from_secs(10);

/// Number of the API in the paths.
const API_VERSION: u32 = 1;

/// Answers one request.
pub(super) async fn respond<A, B>(request: Request<B>, administrator: A) -> Response<Full<Bytes>>
where
    A: Administrator,
    B: Body<Data: Send, Error: std::error::Error + Send + Sync + 'static> + Send,
{
    match (request.method(), request.uri().path()) {
        (&Method::POST, "/v1/command") => match read_command(request).await {
            Ok(command) => carry_out(command, &administrator).await,
            Err((status, refusal)) => json(status, &refusal),
        },
        (&Method::GET, "/v1/version") => json(StatusCode::OK, &About::default()),
        (&Method::GET, "/healthz") => match super::health(&administrator).await {
            Ok(()) => json(StatusCode::OK, &Health { status: "ok", reason: None }),
            Err(reason) => json(
                StatusCode::SERVICE_UNAVAILABLE,
                &Health { status: "failing", reason: Some(reason) },
            ),
        },
        (_, "/v1/command") => wrong_method("POST"),
        (_, "/v1/version" | "/healthz") => wrong_method("GET"),
        (_, path) => json(
            StatusCode::NOT_FOUND,
            &Refusal {
                kind: RefusalKind::NotFound,
                message: format!("there is no {path} in the control API"),
                help: Some("POST /v1/command, GET /v1/version or GET /healthz".to_owned()),
            },
        ),
    }
}

#[derive(Serialize)]
struct About {
    name: &'static str,
    version: &'static str,
    api: u32,
}

impl Default for About {
    fn default() -> Self {
        Self { name: "flashtrackd", version: env!("CARGO_PKG_VERSION"), api: API_VERSION }
    }
}

#[derive(Serialize)]
struct Health {
    status: &'static str,
    reason: Option<String>,
}

async fn read_command<B>(request: Request<B>) -> Result<Command, (StatusCode, Refusal)>
where
    B: Body<Data: Send, Error: std::error::Error + Send + Sync + 'static> + Send,
{
    let body = Limited::new(request.into_body(), BODY_BYTES_MAX).collect();
    let body = match tokio::time::timeout(BODY_TIME, body).await {
        Err(_) => {
            let message = format!("the body did not arrive within {} s", BODY_TIME.as_secs());
            return Err((StatusCode::REQUEST_TIMEOUT, invalid(message)));
        }
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            let message = format!("the body is longer than {BODY_BYTES_MAX} bytes");
            return Err((StatusCode::PAYLOAD_TOO_LARGE, invalid(message)));
        }
        Ok(Err(error)) => {
            let message = format!("the body cannot be read: {error}");
            return Err((StatusCode::BAD_REQUEST, invalid(message)));
        }
        Ok(Ok(body)) => body.to_bytes(),
    };
    serde_json::from_slice(&body).map_err(|error| {
        let message = format!("the body is no command: {error}");
        (StatusCode::BAD_REQUEST, invalid(message))
    })
}

fn invalid(message: String) -> Refusal {
    Refusal {
        kind: RefusalKind::Invalid,
        message,
        help: Some("see the commands in nbd-server/docs/control_api.md".to_owned()),
    }
}

async fn carry_out<A: Administrator>(command: Command, administrator: &A) -> Response<Full<Bytes>> {
    tracing::debug!(?command, "command");
    match administrator.command(command).await {
        Ok(report) => json(StatusCode::OK, &report),
        Err(refusal) => {
            tracing::info!(kind = ?refusal.kind, %refusal, "command refused");
            json(status_of(refusal.kind), &refusal)
        }
    }
}

fn status_of(kind: RefusalKind) -> StatusCode {
    match kind {
        RefusalKind::Invalid => StatusCode::BAD_REQUEST,
        RefusalKind::NotFound => StatusCode::NOT_FOUND,
        RefusalKind::Exists
        | RefusalKind::Busy
        | RefusalKind::DeviceType
        | RefusalKind::Size
        | RefusalKind::Overlap
        | RefusalKind::TargetRelated
        | RefusalKind::SourceRelated
        | RefusalKind::TooManyCopies
        | RefusalKind::VolumeRelationships
        | RefusalKind::SecondIncremental
        | RefusalKind::Online
        | RefusalKind::Incomplete
        | RefusalKind::Direction
        | RefusalKind::SpaceEfficient => StatusCode::CONFLICT,
        RefusalKind::Unsupported => StatusCode::NOT_IMPLEMENTED,
        RefusalKind::NoResources => StatusCode::INSUFFICIENT_STORAGE,
        RefusalKind::FailStop | RefusalKind::Shutdown => StatusCode::SERVICE_UNAVAILABLE,
    }
}

fn wrong_method(allowed: &'static str) -> Response<Full<Bytes>> {
    let refusal = Refusal {
        kind: RefusalKind::Invalid,
        message: "the path is known, but not with this method".to_owned(),
        help: Some(format!("use {allowed}")),
    };
    let mut response = json(StatusCode::METHOD_NOT_ALLOWED, &refusal);
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    response
}

fn json<T: Serialize>(status: StatusCode, value: &T) -> Response<Full<Bytes>> {
    let mut body = serde_json::to_vec(value).expect("reports and refusals are valid JSON");
    body.push(b'\n');
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

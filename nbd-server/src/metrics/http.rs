//! The metrics endpoint: `GET /metrics` and `GET /healthz` over TCP.

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::observe::observe;
use super::render::render;
use crate::control::Counted;

/// Type of Prometheus' text format.
const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Serves until `stop` turns true.
pub async fn serve<C: Counted>(listener: TcpListener, worker: C, stop: watch::Receiver<bool>) {
    let handler = move |request| respond(request, worker.clone());
    crate::http::serve(listener, handler, stop).await;
}

async fn respond<C: Counted>(request: Request<Incoming>, worker: C) -> Response<Full<Bytes>> {
    match (request.method(), request.uri().path()) {
        (&Method::GET, "/metrics") => match observe(&worker).await {
            Ok(observation) => text(StatusCode::OK, render(&observation)),
            Err(refusal) => text(StatusCode::SERVICE_UNAVAILABLE, format!("{refusal}\n")),
        },
        (&Method::GET, "/healthz") => match crate::control::health(&worker).await {
            Ok(()) => text(StatusCode::OK, "ok\n".to_owned()),
            Err(reason) => text(StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
        },
        (_, "/metrics" | "/healthz") => {
            text(StatusCode::METHOD_NOT_ALLOWED, "only GET is answered here\n".to_owned())
        }
        _ => text(StatusCode::NOT_FOUND, "here are /metrics and /healthz\n".to_owned()),
    }
}

fn text(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(TEXT_FORMAT));
    response
}

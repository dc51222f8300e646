//! Requests in the engine: whose they are, and what is counted when they are answered.

use flashtrack_engine::request::{RequestAction, RequestId};
use slab::Slab;

use super::shared::WorkerId;
use super::stats::RequestKind;
use crate::session::SessionRequestId;

/// A request between session and engine.
#[derive(Clone, Copy, Debug)]
pub(super) struct InEngine {
    /// Place of its connection.
    pub(super) connection: usize,
    /// Its name in the connection's session.
    pub(super) token: SessionRequestId,
    pub(super) kind: RequestKind,
    /// Bytes that it is about; 0 where none are moved or changed.
    pub(super) bytes: u64,
    pub(super) received_us: u64,
}

/// All of one worker.
#[derive(Debug)]
pub(super) struct Requests {
    worker: WorkerId,
    requests: Slab<InEngine>,
}

impl Requests {
    pub(super) fn new(worker: WorkerId) -> Self {
        Self { worker, requests: Slab::new() }
    }

    /// Gives the request its id.
    pub(super) fn insert(&mut self, request: InEngine) -> RequestId {
        RequestId(self.worker.name(self.requests.insert(request) as u64))
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.requests.len()
    }

    /// Gives the id back; none when it names no request of this worker.
    pub(super) fn remove(&mut self, id: RequestId) -> Option<InEngine> {
        let number = usize::try_from(self.worker.number(id.0)?).ok()?;
        self.requests.try_remove(number)
    }
}

/// How a request is counted: its kind and the bytes it is about.
pub(super) fn measure(action: &RequestAction) -> (RequestKind, u64) {
    match action {
        RequestAction::Read { range } => (RequestKind::Read, range.bytes()),
        RequestAction::Write { data, .. } => (RequestKind::Write, data.len() as u64),
        RequestAction::Flush => (RequestKind::Flush, 0),
        RequestAction::Trim { range, .. } => (RequestKind::Trim, range.bytes()),
        RequestAction::WriteZeroes { range, .. } => (RequestKind::WriteZeroes, range.bytes()),
        RequestAction::BlockStatus { .. } => (RequestKind::BlockStatus, 0),
    }
}

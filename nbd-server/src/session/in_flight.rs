//! Requests whose reply is outstanding, found by their token without searching.

use super::SessionRequestId;
use crate::protocol::request::Answer;

/// What is remembered of a request until its reply.
#[derive(Debug)]
pub(super) struct Request {
    /// Goes into the reply.
    pub(super) cookie: u64,
    /// What the reply has to tell.
    pub(super) answer: Answer,
    /// What it counts for in the limit of bytes.
    pub(super) bytes: usize,
}

/// The table. As long as the most requests that were ever under way at once.
#[derive(Debug, Default)]
pub(super) struct InFlight {
    places: Vec<Option<Request>>,
    free: Vec<SessionRequestId>,
    bytes: usize,
}

impl InFlight {
    pub(super) fn requests(&self) -> usize {
        self.places.len() - self.free.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn insert(&mut self, request: Request) -> SessionRequestId {
        self.bytes += request.bytes;
        if let Some(token) = self.free.pop() {
            self.places[token.0 as usize] = Some(request);
            return token;
        }
        let place = u32::try_from(self.places.len()).expect("the limit of requests fits 32 bits");
        self.places.push(Some(request));
        SessionRequestId(place)
    }

    /// Takes a request out; its token may be given to another one.
    ///
    /// # Panics
    /// When no such request is under way: a second reply would put the client out of step.
    pub(super) fn remove(&mut self, token: SessionRequestId) -> Request {
        let place = self.places.get_mut(token.0 as usize);
        let request = place.and_then(Option::take).expect("each request is answered once");
        self.free.push(token);
        self.bytes -= request.bytes;
        request
    }
}

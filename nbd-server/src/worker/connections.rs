//! The worker's part that deals with connections: taking, receiving, sending, ending.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use flashtrack_engine::io::{Buffer, Part};
use flashtrack_engine::request::{ReplyData, RequestError};
use flashtrack_engine::units::VolumeId;

use super::connection::{Connection, PAYLOAD_DIRECT_MIN, Receiving, Stage};
use super::machine::Machine;
use super::mailbox::Socket;
use super::shared::Connected;
use super::socket;
use super::turn::Worker;
use crate::session::{CloseReason, Event, Payload, Session, SessionLimits, SessionRequestId};

/// How long a client may take to close its side after everything was sent to it.
const LINGER_TIME: Duration = Duration::from_secs(2);

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

impl<M: Machine> Worker<M> {
    /// Takes a connection in, or closes it when there are too many.
    pub(super) fn add_connection(&mut self, socket: Socket, peer: String) {
        let socket = if self.shared.served() >= self.options.connections_max {
            tracing::warn!(peer, limit = self.options.connections_max, "too many connections");
            None
        } else {
            let prepared = socket::prepare(socket).inspect_err(|error| {
                tracing::warn!(peer, %error, "cannot set the options of a connection");
            });
            prepared.ok()
        };
        let Some(socket) = socket else {
            self.stats.connections_refused += 1;
            return self.inbox.connection_gone();
        };
        if self.handshakes() >= self.options.handshakes_max.div_ceil(self.options.workers.get()) {
            self.end_oldest_handshake();
        }
        let limits = SessionLimits {
            requests_max: self.options.requests_max,
            bytes_max: self.options.held_bytes_max,
            ..SessionLimits::default()
        };
        self.stats.connections_accepted += 1;
        let deadline_us = self.now_us.saturating_add(micros(self.options.handshake_time));
        let mut connection = Connection::new(socket, peer, Session::new(limits), self.now_us);
        connection.deadline_us = Some(deadline_us);
        self.next_deadline_us = self.next_deadline_us.min(deadline_us);
        let place = self.connections.insert(connection);
        self.list(place);
    }

    /// Connections whose handshake is not finished.
    pub(super) fn handshakes(&self) -> usize {
        self.connections.iter().filter(|(_, connection)| connection.is_in_handshake()).count()
    }

    fn end_oldest_handshake(&mut self) {
        let oldest = self
            .connections
            .iter()
            .filter(|(_, connection)| connection.is_in_handshake())
            .min_by_key(|(_, connection)| connection.accepted_us)
            .map(|(place, _)| place);
        if let Some(place) = oldest {
            let peer = &self.connections[place].peer;
            tracing::warn!(peer, "closed in the handshake to make room for another connection");
            self.end(place);
        }
    }

    /// Has the connection looked at before the turn ends.
    fn list(&mut self, place: usize) {
        let connection = &mut self.connections[place];
        if !connection.is_listed {
            connection.is_listed = true;
            self.listed.push(place);
        }
    }

    fn end(&mut self, place: usize) {
        self.connections[place].end();
        self.list(place);
    }

    /// Takes the result of a receive.
    pub(super) fn received(&mut self, token: u64, buffer: Buffer, result: io::Result<usize>) {
        let place = place(token);
        self.list(place);
        let connection = &mut self.connections[place];
        let receiving = std::mem::replace(&mut connection.receiving, Receiving::Idle);
        let bytes = match result {
            Ok(bytes) if bytes > 0 => bytes,
            Ok(_) => return connection.end(),
            Err(error) => {
                tracing::debug!(peer = connection.peer, %error, "connection lost");
                return connection.end();
            }
        };
        connection.received_bytes += bytes as u64;
        self.stats.received_bytes += bytes as u64;
        match (&mut connection.stage, receiving) {
            (Stage::Serving(session), Receiving::Messages) => {
                session.receive(&buffer[..bytes], &*self.shared, &mut self.session_events);
                connection.buffer = Some(buffer);
            }
            (Stage::Serving(session), Receiving::Payload { filled }) => {
                let payload = Payload { buffer, filled: filled + bytes };
                session.return_payload(payload, &mut self.session_events);
            }
            (Stage::Lingering, Receiving::Messages) => connection.buffer = Some(buffer),
            (Stage::Lingering | Stage::Ended, _) => {}
            (Stage::Serving(_), Receiving::Idle) => unreachable!("received without a receive"),
        }
        self.act(place);
    }

    /// Takes the result of a send.
    pub(super) fn sent(
        &mut self,
        token: u64,
        mut parts: VecDeque<Part>,
        result: io::Result<usize>,
    ) {
        let place = place(token);
        self.list(place);
        let connection = &mut self.connections[place];
        connection.is_sending = false;
        match (&mut connection.stage, result) {
            (Stage::Serving(session), Ok(bytes)) => {
                connection.sent_bytes += bytes as u64;
                self.stats.sent_bytes += bytes as u64;
                for part in parts.drain(..) {
                    session.recycle(part);
                }
                connection.outgoing = parts;
            }
            (Stage::Serving(_), Err(error)) => {
                tracing::debug!(peer = connection.peer, %error, "connection lost");
                connection.end();
            }
            (Stage::Lingering | Stage::Ended, _) => {}
        }
    }

    /// Takes the engine's reply to a request (C3).
    pub(super) fn replied(
        &mut self,
        place: usize,
        token: SessionRequestId,
        result: Result<ReplyData, RequestError>,
    ) {
        let connection = &mut self.connections[place];
        connection.in_flight -= 1;
        if let Stage::Serving(session) = &mut connection.stage {
            session.reply(token, result);
        }
        self.list(place);
    }

    /// Acts on what a session has found in its input.
    fn act(&mut self, place: usize) {
        let mut events = std::mem::take(&mut self.session_events);
        for event in events.drain(..) {
            match event {
                Event::ExportChosen(volume) => self.serve(place, volume),
                Event::Request { token, volume, action } => {
                    self.submit(place, token, volume, action);
                }
                Event::Closing(reason) => self.log_end(place, &reason),
            }
        }
        self.session_events = events;
    }

    /// The handshake is over.
    fn serve(&mut self, place: usize, id: VolumeId) {
        let Some(Connected { name, served }) = self.shared.connect(id) else {
            let peer = &self.connections[place].peer;
            tracing::warn!(peer, "the volume was deleted while the connection chose it");
            return self.end(place);
        };
        let volume = self.volume_place(id, name);
        let connection = &mut self.connections[place];
        connection.volume = Some(volume);
        connection.deadline_us = None;
        let stats = &mut self.stats.volumes[volume];
        stats.connections += 1;
        tracing::info!(peer = connection.peer, volume = stats.name, "connected");
        if served > self.options.connections_max {
            // Its handshake began when there was still room.
            let peer = &self.connections[place].peer;
            tracing::warn!(peer, limit = self.options.connections_max, "too many connections");
            self.stats.connections_refused += 1;
            self.end(place);
        }
    }

    fn log_end(&self, place: usize, reason: &CloseReason) {
        let peer = &self.connections[place].peer;
        match reason {
            CloseReason::Disconnect | CloseReason::Abort => {
                tracing::debug!(peer, ?reason, "the client ends its session");
            }
            CloseReason::Violation(violation) => {
                tracing::warn!(peer, %violation, "the client broke the protocol");
            }
        }
    }

    /// Receives, sends and ends, on every connection that something happened to.
    pub(super) fn settle_connections(&mut self) {
        while let Some(place) = self.listed.pop() {
            self.connections[place].is_listed = false;
            self.resume(place);
            self.send(place);
            self.receive(place);
            // A send that ended at once has listed it again.
            if self.connections[place].is_gone() && !self.connections[place].is_listed {
                self.forget(place);
            }
        }
    }

    /// Takes up input that the limits held back.
    fn resume(&mut self, place: usize) {
        let connection = &mut self.connections[place];
        if let Stage::Serving(session) = &mut connection.stage
            && session.can_resume()
        {
            session.receive(&[], &*self.shared, &mut self.session_events);
            self.act(place);
        }
    }

    fn send(&mut self, place: usize) {
        let connection = &mut self.connections[place];
        let Stage::Serving(session) = &mut connection.stage else {
            return;
        };
        if connection.is_sending {
            return;
        }
        if session.has_output() {
            let mut parts = std::mem::take(&mut connection.outgoing);
            session.take_output(&mut parts);
            connection.is_sending = true;
            let ended = self.ring.send(place as u64, &connection.socket, parts);
            if let Some(sent) = ended {
                self.take(sent);
            }
        } else if session.is_finished() {
            let until_us = self.now_us.saturating_add(micros(LINGER_TIME));
            connection.linger(until_us);
            self.next_deadline_us = self.next_deadline_us.min(until_us);
        }
    }

    fn receive(&mut self, place: usize) {
        let connection = &mut self.connections[place];
        if !matches!(connection.receiving, Receiving::Idle) {
            return;
        }
        match &mut connection.stage {
            Stage::Ended => return,
            Stage::Lingering => {}
            Stage::Serving(session) => {
                if !session.wants_input() {
                    return;
                }
                if session.payload_missing() >= PAYLOAD_DIRECT_MIN
                    && let Some(Payload { buffer, filled }) = session.take_payload()
                {
                    connection.receiving = Receiving::Payload { filled };
                    let all = filled..buffer.len();
                    self.ring.receive_all(place as u64, &connection.socket, buffer, all);
                    return;
                }
            }
        }
        let buffer =
            connection.buffer.take().expect("the buffer is here while nothing is received");
        connection.receiving = Receiving::Messages;
        self.ring.receive(place as u64, &connection.socket, buffer);
    }

    /// Ends connections whose handshake, or whose end, takes too long.
    pub(super) fn end_overdue_connections(&mut self) {
        if self.now_us < self.next_deadline_us {
            return;
        }
        let now_us = self.now_us;
        let overdue: Vec<usize> = self
            .connections
            .iter()
            .filter(|(_, connection)| connection.deadline_us.is_some_and(|at| at <= now_us))
            .map(|(place, _)| place)
            .collect();
        for place in overdue {
            let connection = &self.connections[place];
            if connection.is_in_handshake() {
                tracing::warn!(peer = connection.peer, "the handshake took too long");
            }
            self.end(place);
        }
        let deadlines = self.connections.iter().filter_map(|(_, one)| one.deadline_us);
        self.next_deadline_us = deadlines.min().unwrap_or(u64::MAX);
    }

    /// Frees the place of a connection that is gone.
    fn forget(&mut self, place: usize) {
        let connection = self.connections.remove(place);
        self.inbox.connection_gone();
        if let Some(volume) = connection.volume {
            let stats = &mut self.stats.volumes[volume];
            stats.connections -= 1;
            self.shared.disconnect(stats.id);
            tracing::info!(peer = connection.peer, volume = stats.name, "disconnected");
        }
    }

    /// Has every session answer new requests with the error that says so, and end.
    pub(super) fn tell_sessions_of_shutdown(&mut self) {
        let places: Vec<usize> = self.connections.iter().map(|(place, _)| place).collect();
        for place in places {
            if let Stage::Serving(session) = &mut self.connections[place].stage {
                session.begin_shutdown();
            }
            self.list(place);
        }
    }
}

/// The place of the connection that a receive or send was begun for.
fn place(token: u64) -> usize {
    usize::try_from(token).expect("tokens are places of connections")
}

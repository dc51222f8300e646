//! The loop of one worker. One turn: enter the ring once, hand what has ended to engine and sessions, perform what
//! the engine wants, then receive and send.
//!
//! - W1 Nothing in a turn blocks but entering the ring, and that only when nothing is left to do; and waiting for the
//!   engine while another worker has it (S1 of `shared`).
//! - W2 All replies of a turn to one connection leave in one send.
//! - W3 After a shutdown was asked for, every request in the engine is still answered.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use flashtrack_engine::admin::{Answer, CommandId, Refusal, Report};
use flashtrack_engine::io::Object;
use flashtrack_engine::io::local::{Event, LocalRing, Wait};
use flashtrack_engine::request::{Reply, Request, RequestAction};
use flashtrack_engine::units::VolumeId;
use slab::Slab;
use tokio::sync::oneshot;

use super::clock::Clock;
use super::connection::Connection;
use super::machine::Machine;
use super::mailbox::{ConnectionReport, Inbox, Message, Snapshot};
use super::polling::Polling;
use super::requests::{InEngine, Requests, measure};
use super::shared::{Given, Shared, Taken, WorkerId};
use super::stats::{VolumeStats, WorkerStats};
use super::sync_times::SyncTimes;
use super::{WorkerError, WorkerOptions};
use crate::session::SessionRequestId;

/// Rounds in which operations that end at once may lead to further ones before sockets have a turn.
const ROUNDS_MAX: usize = 4;
/// No further round begins when a turn has lasted so long: a destage batch has more than a turn can do.
const ROUNDS_US: u64 = 500;
/// How long a shutdown waits for clients that do not take their replies.
const SHUTDOWN_TIME: Duration = Duration::from_secs(5);

type AnswerSender = oneshot::Sender<Result<Report, Refusal>>;

/// The worker's state. `connections.rs` holds the part of it that deals with sessions.
pub(super) struct Worker<M> {
    pub(super) options: WorkerOptions,
    pub(super) ring: LocalRing,
    id: WorkerId,
    pub(super) shared: Arc<Shared<M>>,
    /// What happened since the last exchange with the machine.
    given: Given,
    /// What the machine said since the turn before.
    taken: Taken,
    pub(super) clock: Clock,
    /// The time of this turn.
    pub(super) now_us: u64,
    pub(super) inbox: Inbox,
    pub(super) connections: Slab<Connection>,
    /// Places of connections to be looked at before the turn ends.
    pub(super) listed: Vec<usize>,
    /// The earliest deadline of a connection, or earlier.
    pub(super) next_deadline_us: u64,
    pub(super) requests: Requests,
    commands: BTreeMap<u64, AnswerSender>,
    next_command: u64,
    pub(super) stats: WorkerStats,
    sync_times: SyncTimes,
    /// Places of volumes in `stats`.
    pub(super) volumes: BTreeMap<VolumeId, usize>,
    /// The engine was given something since its operations were last taken: no waiting.
    unsettled: bool,
    polling: Polling,
    /// When a shutdown that was asked for stops waiting for clients.
    shutdown_until_us: Option<u64>,
    // Kept for their memory.
    events: Vec<Event>,
    pub(super) session_events: Vec<crate::session::Event>,
}

impl<M: Machine> Worker<M> {
    pub(super) fn new(
        options: WorkerOptions,
        clock: Clock,
        ring: LocalRing,
        (id, shared): (WorkerId, Arc<Shared<M>>),
        inbox: Inbox,
    ) -> Self {
        Self {
            options,
            ring,
            id,
            shared,
            given: Given::default(),
            taken: Taken::default(),
            now_us: clock.now_us(),
            clock,
            inbox,
            connections: Slab::new(),
            listed: Vec::new(),
            next_deadline_us: u64::MAX,
            requests: Requests::new(id),
            commands: BTreeMap::new(),
            next_command: 0,
            stats: WorkerStats::default(),
            sync_times: SyncTimes::default(),
            volumes: BTreeMap::new(),
            unsettled: true,
            polling: Polling::default(),
            shutdown_until_us: None,
            events: Vec::new(),
            session_events: Vec::new(),
        }
    }

    /// Turns until a shutdown is complete.
    pub(super) fn run(mut self) -> Result<(), WorkerError> {
        while !self.has_ended() {
            let wait = self.wait();
            if !self.look(wait).map_err(WorkerError::Ring)? {
                self.ring.enter(wait).map_err(WorkerError::Ring)?;
            }
            self.turn();
        }
        Ok(())
    }

    /// Looks for events for a short while instead of sleeping; true when there are some.
    fn look(&mut self, wait: Wait) -> Result<bool, std::io::Error> {
        if matches!(wait, Wait::No) || self.connections.is_empty() || !self.polling.begin() {
            return Ok(false);
        }
        let Some(_looking) = self.shared.begin_look() else {
            return Ok(false);
        };
        let look_us = Polling::look_us(self.requests.len(), self.options.io);
        let most_us = match wait {
            Wait::AtMost(time) => u64::try_from(time.as_micros()).unwrap_or(u64::MAX),
            Wait::No | Wait::Forever => u64::MAX,
        };
        let until_us = self.clock.now_us() + look_us.min(most_us);
        loop {
            if self.ring.stirs() {
                self.ring.enter(Wait::No)?;
            }
            let found = self.ring.has_events();
            if found || self.clock.now_us() >= until_us {
                self.polling.end(found);
                return Ok(found);
            }
        }
    }

    fn turn(&mut self) {
        self.now_us = self.clock.now_us();
        self.take_events();
        self.perform();
        self.deliver_replies();
        self.deliver_answers();
        self.end_overdue_connections();
        self.settle_connections();
    }

    /// How long entering the ring may take.
    fn wait(&self) -> Wait {
        if self.unsettled {
            return Wait::No;
        }
        // Once clients are not waited for any more, only the engine's completions are.
        let clients_until = self.shutdown_until_us.filter(|until_us| *until_us > self.now_us);
        let deadline = [self.taken.deadline_us, clients_until]
            .into_iter()
            .flatten()
            .fold(self.next_deadline_us, u64::min);
        match deadline {
            u64::MAX => Wait::Forever,
            deadline => match deadline.saturating_sub(self.clock.now_us()) {
                0 => Wait::No,
                left => Wait::AtMost(Duration::from_micros(left)),
            },
        }
    }

    fn take_events(&mut self) {
        let mut events = std::mem::take(&mut self.events);
        self.ring.reap(&mut events);
        for event in events.drain(..) {
            self.take(event);
        }
        self.events = events;
    }

    /// Takes one event of the ring.
    pub(super) fn take(&mut self, event: Event) {
        match event {
            Event::Completed(completion) => {
                let now_us = || self.clock.now_us();
                self.sync_times.end(&completion, now_us, &mut self.stats.syncs);
                self.given.completions.push(completion);
            }
            Event::Received { token, buffer, result } => self.received(token, buffer, result),
            Event::Sent { token, parts, result } => self.sent(token, parts, result),
            Event::Woken => self.take_messages(),
        }
    }

    /// Performs what the engine wants, and what follows from operations that end at once.
    fn perform(&mut self) {
        let moment = self.clock.moment();
        self.unsettled = false;
        for _ in 0..ROUNDS_MAX {
            self.shared.exchange(self.id, moment, &mut self.given, &mut self.taken);
            if self.taken.ops.is_empty() {
                return;
            }
            for op in self.taken.ops.drain(..) {
                self.sync_times.begin(&op, self.now_us);
                self.ring.perform(op);
            }
            self.take_events();
            if self.clock.now_us() - self.now_us > ROUNDS_US {
                break;
            }
        }
        self.unsettled = true;
    }

    /// Gives a session's request to the engine.
    pub(super) fn submit(
        &mut self,
        connection: usize,
        token: SessionRequestId,
        volume: VolumeId,
        action: RequestAction,
    ) {
        let (kind, bytes) = measure(&action);
        let received_us = self.now_us;
        let id = self.requests.insert(InEngine { connection, token, kind, bytes, received_us });
        self.connections[connection].in_flight += 1;
        self.given.requests.push(Request { id, volume, action });
        self.unsettled = true;
    }

    fn deliver_replies(&mut self) {
        let mut replies = std::mem::take(&mut self.taken.replies);
        if !replies.is_empty() {
            let now_us = self.clock.now_us();
            for Reply { id, result } in replies.drain(..) {
                let request = self.requests.remove(id).expect("every request has one reply (I18)");
                let latency_us = now_us.saturating_sub(request.received_us);
                let bytes = result.is_ok().then_some(request.bytes);
                let volume = self.connections[request.connection].volume;
                let volume = volume.expect("requests follow the choice of a volume");
                self.stats.volumes[volume].kind(request.kind).record(latency_us, bytes);
                self.replied(request.connection, request.token, result);
            }
        }
        self.taken.replies = replies;
    }

    fn deliver_answers(&mut self) {
        let mut answers = std::mem::take(&mut self.taken.answers);
        for Answer { id, mut result } in answers.drain(..) {
            if let Ok(Report::Volumes(volumes)) = &mut result {
                for volume in volumes.iter_mut().filter(|volume| !volume.thin) {
                    let home = Object::Home(VolumeId(volume.id));
                    volume.allocated_bytes = self.ring.allocated_bytes(home);
                }
            }
            if let Some(sender) = self.commands.remove(&id.0) {
                // Whoever asked may have gone.
                let _ = sender.send(result);
            }
        }
        self.taken.answers = answers;
    }

    fn take_messages(&mut self) {
        while let Ok(message) = self.inbox.messages.try_recv() {
            match message {
                Message::AddConnection { socket, peer } => {
                    if self.is_shutting_down() {
                        self.stats.connections_refused += 1;
                        self.inbox.connection_gone();
                    } else {
                        self.add_connection(socket, peer);
                    }
                }
                Message::Command { command, answer } => {
                    let id = self.id.name(self.next_command);
                    self.next_command += 1;
                    self.commands.insert(id, answer);
                    self.given.commands.push((CommandId(id), command));
                    self.unsettled = true;
                }
                Message::Snapshot { answer } => {
                    let _ = answer.send(Box::new(self.snapshot()));
                }
                Message::Shutdown => self.begin_shutdown(),
            }
        }
    }

    fn snapshot(&self) -> Snapshot {
        let mut stats = self.stats.clone();
        stats.connections = self.connections.len() as u64;
        stats.handshakes = self.handshakes() as u64;
        let report = |connection: &Connection| ConnectionReport {
            peer: connection.peer.clone(),
            volume: connection.volume.map(|at| self.stats.volumes[at].name.clone()),
            requests_in_flight: connection.in_flight,
            received_bytes: connection.received_bytes,
            sent_bytes: connection.sent_bytes,
            age_us: self.now_us - connection.accepted_us,
        };
        let connections = self.connections.iter().map(|(_, one)| report(one)).collect();
        Snapshot { stats, connections }
    }

    pub(super) fn is_shutting_down(&self) -> bool {
        self.shutdown_until_us.is_some()
    }

    fn begin_shutdown(&mut self) {
        if self.is_shutting_down() {
            return;
        }
        let time = u64::try_from(SHUTDOWN_TIME.as_micros()).unwrap_or(u64::MAX);
        self.shutdown_until_us = Some(self.now_us.saturating_add(time));
        self.shared.begin_shutdown();
        self.tell_sessions_of_shutdown();
        self.unsettled = true;
    }

    /// True when a shutdown is complete, or waits for nothing but clients and has waited long enough.
    fn has_ended(&self) -> bool {
        let Some(until_us) = self.shutdown_until_us else {
            return false;
        };
        self.taken.is_shut_down && (self.connections.is_empty() || until_us <= self.now_us)
    }

    /// The place of a volume in the statistics.
    pub(super) fn volume_place(&mut self, id: VolumeId, name: String) -> usize {
        *self.volumes.entry(id).or_insert_with(|| {
            self.stats.volumes.push(VolumeStats::new(id, name));
            self.stats.volumes.len() - 1
        })
    }
}

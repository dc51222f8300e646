//! The server without sockets, threads and clocks: real sessions and a real engine on a simulated disk.
//!
//! The glue follows the worker's turn (`worker::turn`, `worker::connections`): what it does with
//! receives, sends and replies is done here with pipes, one small step at a time.

use std::collections::{BTreeMap, VecDeque};

use flashtrack_engine::admin::Answer;
use flashtrack_engine::io::{Buffer, Op, Part, Stretch};
use flashtrack_engine::request::{
    Reply, ReplyData, Request, RequestAction, RequestError, RequestId,
};
use flashtrack_engine::sim::disk::SimDisk;
use flashtrack_engine::sim::prng::Prng;
use flashtrack_engine::units::{Moment, VolumeId};
use flashtrack_engine::{Engine, OpenError, OpenOptions, VolumeInfo};
use flashtrack_nbd_server::session::{
    Event, ExportInfo, Exports, Session, SessionLimits, SessionRequestId,
};
use slab::Slab;

use crate::pipe::Pipe;

/// The glue does something wrong, to see whether the run notices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Breakage {
    /// A reply now and then has the cookie of no request.
    WrongCookie,
    /// A read now and then gets the data of another read.
    DataOfAnother,
    /// FLUSH is answered at once.
    FlushNotWaitedFor,
    /// What a cut has taken away arrives all the same.
    BytesAfterTheCut,
    /// A reply now and then is forgotten.
    ReplyForgotten,
}

/// What the server did that the world has to know.
#[derive(Debug)]
pub(crate) enum Happening {
    /// A session handed a request, in words and with a write's data, to the engine.
    Taken { client: u64, token: SessionRequestId, action: String, data: Vec<u8> },
    /// The engine answered it.
    Answered { client: u64, token: SessionRequestId, result: Result<(), RequestError> },
    /// Nothing of the connection is left.
    Gone { client: u64 },
}

/// How far a connection is from its end.
#[derive(Debug)]
enum Stage {
    Serving(Box<Session>),
    /// All is sent; what still arrives is dropped until the client closes, too.
    Lingering,
    Ended,
}

/// One connection; see `worker::connection`.
#[derive(Debug)]
pub(crate) struct Connection {
    client: u64,
    stage: Stage,
    /// Requests in the engine.
    in_flight: u32,
    volume: Option<VolumeId>,
    /// From the client.
    pub(crate) input: Pipe,
    /// To the client.
    pub(crate) output: Pipe,
}

/// A request between session and engine.
#[derive(Clone, Copy, Debug)]
struct InEngine {
    connection: usize,
    token: SessionRequestId,
}

/// See the module's documentation.
pub(crate) struct Server {
    pub(crate) engine: Engine,
    pub(crate) disk: SimDisk,
    pub(crate) now: Moment,
    pub(crate) connections: Slab<Connection>,
    requests: Slab<InEngine>,
    prng: Prng,
    breakage: Option<Breakage>,
    /// Data of the last read of each length, for a breakage.
    older: BTreeMap<usize, Buffer>,
    happenings: Vec<Happening>,
    ops: Vec<Op>,
    replies: Vec<Reply>,
}

/// Volumes as exports.
struct Volumes<'a>(&'a Engine);

impl Exports for Volumes<'_> {
    fn find(&self, name: &str) -> Option<ExportInfo> {
        let VolumeInfo { id, name, size_bytes, .. } = self.0.volume(name)?;
        let description = String::new();
        Some(ExportInfo { volume: id, name, description, size_bytes, preferred_block_bytes: 4096 })
    }

    fn names(&self) -> Vec<String> {
        self.0.volumes().into_iter().map(|volume| volume.name).collect()
    }
}

impl Server {
    pub(crate) fn open(
        mut disk: SimDisk,
        options: &OpenOptions,
        prng: Prng,
        breakage: Option<Breakage>,
    ) -> Result<Self, OpenError> {
        let now = Moment { monotonic_us: 1_000_000, unix_seconds: 1_800_000_000 };
        let engine = Engine::open(&mut disk, options, now)?;
        Ok(Self {
            engine,
            disk,
            now,
            connections: Slab::new(),
            requests: Slab::new(),
            prng,
            breakage,
            older: BTreeMap::new(),
            happenings: Vec::new(),
            ops: Vec::new(),
            replies: Vec::new(),
        })
    }

    /// Opens the store again; the disk says what is left of it.
    pub(crate) fn reopen(&mut self, options: &OpenOptions) -> Result<(), OpenError> {
        self.connections.clear();
        self.requests.clear();
        self.older.clear();
        self.happenings.clear();
        self.engine = Engine::open(&mut self.disk, options, self.now)?;
        Ok(())
    }

    /// Takes a connection in; gives its place.
    pub(crate) fn accept(&mut self, client: u64, limits: SessionLimits) -> usize {
        let stage = Stage::Serving(Box::new(Session::new(limits)));
        let (input, output) = (Pipe::default(), Pipe::default());
        self.connections.insert(Connection {
            client,
            stage,
            in_flight: 0,
            volume: None,
            input,
            output,
        })
    }

    /// The client is gone: of what it has on its way only `count` bytes arrive. Gives the number of
    /// bytes that will have arrived in all.
    pub(crate) fn cut(&mut self, place: usize, count: usize) -> u64 {
        let connection = &mut self.connections[place];
        connection.output.break_off();
        let on_the_way = connection.input.len();
        if self.breakage == Some(Breakage::BytesAfterTheCut) {
            let all = connection.input.cut(on_the_way);
            return all - on_the_way.saturating_sub(count) as u64;
        }
        connection.input.cut(count)
    }

    /// Up to `count` bytes of a client arrive, or the end of its stream.
    pub(crate) fn receive(&mut self, place: usize, count: usize) {
        let connection = &mut self.connections[place];
        let mut events = Vec::new();
        match &mut connection.stage {
            Stage::Serving(session) => {
                if !session.wants_input() {
                    return;
                }
                if connection.input.has_ended() {
                    connection.stage = Stage::Ended;
                    return;
                }
                if self.prng.once_in(2)
                    && let Some(mut payload) = session.take_payload()
                {
                    let missing = &mut payload.buffer[payload.filled..];
                    let bytes = connection.input.take(count.min(missing.len()));
                    missing[..bytes.len()].copy_from_slice(&bytes);
                    payload.filled += bytes.len();
                    session.return_payload(payload, &mut events);
                } else {
                    let bytes = connection.input.take(count);
                    session.receive(&bytes, &Volumes(&self.engine), &mut events);
                }
            }
            Stage::Lingering => {
                connection.input.take(count);
                if connection.input.has_ended() {
                    connection.stage = Stage::Ended;
                }
            }
            Stage::Ended => {}
        }
        self.act(place, events);
    }

    /// Something happens on the disk, or time passes where nothing is in flight there.
    pub(crate) fn advance(&mut self) {
        if self.disk.in_flight() > 0 {
            if let Some(completion) = self.disk.advance() {
                self.engine.complete(completion);
            }
            self.now.monotonic_us += self.prng.below(50);
        } else {
            // Deadlines come now and then only, so that what waits for one is seen waiting.
            self.now.monotonic_us += 1 + self.prng.below(50);
            if self.prng.once_in(32) {
                let due = self.engine.next_deadline_us().unwrap_or(0);
                self.now.monotonic_us = self.now.monotonic_us.max(due);
            }
        }
    }

    /// The rest of a turn: operations, replies, answers, connections.
    pub(crate) fn turn(&mut self, answers: &mut Vec<Answer>) -> Vec<Happening> {
        self.engine.tick(self.now);
        self.engine.take_ops(&mut self.ops);
        for op in self.ops.drain(..) {
            self.disk.submit(op);
        }
        self.deliver_replies();
        self.engine.take_answers(answers);
        let places: Vec<usize> = self.connections.iter().map(|(place, _)| place).collect();
        for place in places {
            self.settle(place);
        }
        std::mem::take(&mut self.happenings)
    }

    /// Tells engine and sessions that the server goes down.
    pub(crate) fn begin_shutdown(&mut self) {
        self.engine.begin_shutdown();
        for (_, connection) in &mut self.connections {
            if let Stage::Serving(session) = &mut connection.stage {
                session.begin_shutdown();
            }
        }
    }

    /// Acts on what a session has found in its input.
    fn act(&mut self, place: usize, events: Vec<Event>) {
        for event in events {
            match event {
                Event::ExportChosen(volume) => {
                    self.connections[place].volume = Some(volume);
                    self.count_connections(volume);
                }
                Event::Request { token, volume, action } => {
                    self.submit(place, token, volume, action);
                }
                Event::Closing(_) => {}
            }
        }
    }

    fn submit(
        &mut self,
        place: usize,
        token: SessionRequestId,
        volume: VolumeId,
        action: RequestAction,
    ) {
        let data = match &action {
            RequestAction::Write { data, .. } => data.to_vec(),
            _ => Vec::new(),
        };
        let connection = &mut self.connections[place];
        connection.in_flight += 1;
        let (client, words) = (connection.client, format!("{action:?}"));
        self.happenings.push(Happening::Taken { client, token, action: words, data });
        let id = RequestId(self.requests.insert(InEngine { connection: place, token }) as u64);
        if self.breakage == Some(Breakage::FlushNotWaitedFor)
            && matches!(action, RequestAction::Flush)
        {
            self.replies.push(Reply { id, result: Ok(ReplyData::Done) });
        } else {
            self.engine.submit(Request { id, volume, action });
        }
    }

    fn deliver_replies(&mut self) {
        let mut replies = std::mem::take(&mut self.replies);
        self.engine.take_replies(&mut replies);
        for Reply { id, mut result } in replies.drain(..) {
            let id = usize::try_from(id.0).expect("ids are places of requests");
            if self.breakage == Some(Breakage::ReplyForgotten) && self.prng.once_in(64) {
                continue;
            }
            let InEngine { connection, token } =
                self.requests.try_remove(id).expect("every request has one reply (I18)");
            if self.breakage == Some(Breakage::DataOfAnother)
                && let Ok(ReplyData::Data(data)) = &mut result
            {
                let own = data.clone();
                if let Some(other) = self.older.insert(own.len(), own) {
                    *data = other;
                }
            }
            let connection = &mut self.connections[connection];
            connection.in_flight -= 1;
            let outcome = result.as_ref().map(|_| ()).map_err(|error| *error);
            let client = connection.client;
            self.happenings.push(Happening::Answered { client, token, result: outcome });
            if let Stage::Serving(session) = &mut connection.stage {
                session.reply(token, result);
            }
        }
        self.replies = replies;
    }

    /// Takes up held input, sends, and ends.
    fn settle(&mut self, place: usize) {
        let mut events = Vec::new();
        let connection = &mut self.connections[place];
        if let Stage::Serving(session) = &mut connection.stage {
            if session.can_resume() {
                session.receive(&[], &Volumes(&self.engine), &mut events);
            }
            // One send at a time: the next begins when the last was delivered.
            if connection.output.len() == 0 {
                if session.has_output() {
                    let mut parts = VecDeque::new();
                    session.take_output(&mut parts);
                    if self.breakage == Some(Breakage::WrongCookie)
                        && let Some(Part::Bytes(first)) = parts.front_mut()
                        && is_reply(first)
                        && self.prng.once_in(16)
                        && let Some(cookie) = first.get_mut(8..16)
                    {
                        cookie[0] ^= 1;
                    }
                    for part in parts {
                        match &part {
                            Part::Bytes(buffer) => {
                                connection.output.put(buffer);
                            }
                            Part::Lent(Stretch { object, range }) => {
                                let bytes = self.disk.content(*object, range.start, range.bytes());
                                connection.output.put(&bytes);
                            }
                        }
                        session.recycle(part);
                    }
                } else if session.is_finished() {
                    connection.stage = Stage::Lingering;
                    connection.output.close();
                }
            }
        }
        self.act(place, events);
        let connection = &self.connections[place];
        if matches!(connection.stage, Stage::Ended) && connection.in_flight == 0 {
            let gone = self.connections.remove(place);
            self.happenings.push(Happening::Gone { client: gone.client });
            if let Some(volume) = gone.volume {
                self.count_connections(volume);
            }
        }
    }

    /// Tells the engine how many connections serve a volume.
    fn count_connections(&mut self, volume: VolumeId) {
        let count = self.connections.iter().filter(|(_, one)| one.volume == Some(volume)).count();
        self.engine.set_connections(volume, u32::try_from(count).expect("a few connections"));
    }
}

/// True when a part of the output begins with a reply of transmission, simple or structured: a client that has just asked
/// for its export may still wait for one of an option.
fn is_reply(part: &[u8]) -> bool {
    part.starts_with(&0x6744_6698_u32.to_be_bytes())
        || part.starts_with(&0x668E_33EF_u32.to_be_bytes())
}

//! One run: clients, an administrator, the server and its disk, everything from one seed.
//!
//! The seed draws a plan; then, round after round, clients connect, work, vanish and come back while
//! copies are established and withdrawn; each round ends by a kill, a power cut or a shutdown, after
//! which new clients read everything before work goes on.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hash, Hasher};

use flashtrack_engine::OpenOptions;
use flashtrack_engine::admin::{
    Answer, Command, CommandId, CopyMode, CopySelector, EstablishSpec, PairSpec, RefusalKind,
    Report, VolumeSpec,
};
use flashtrack_engine::geometry::VolumeType;
use flashtrack_engine::io::ZeroSpace;
use flashtrack_engine::sim::disk::{Pace, SimDisk};
use flashtrack_engine::sim::model::View;
use flashtrack_engine::sim::mutation::Mutation;
use flashtrack_engine::sim::pattern;
use flashtrack_engine::sim::prng::Prng;
use flashtrack_engine::sim::workload::Ask;
use flashtrack_engine::units::ByteRange;
use flashtrack_nbd_server::protocol::constants as nbd;
use flashtrack_nbd_server::session::SessionLimits;

use crate::client::{Client, Progress, Sent, State};
use crate::server::{Breakage, Happening, Server};
use crate::truth::{Copy, Truth};
use crate::wire::{Heard, Style, Wire};

/// Volumes of every run: the source of all copies, a full target and a thin one.
const NAMES: [&str; 3] = ["source", "full", "thin"];
/// Turns within which everything in flight must end once nothing new comes (I21).
const TURNS_TO_QUIET: u32 = 200_000;
/// Turns that a flush is waited for.
const TURNS_TO_FLUSH: u32 = 5000;
/// Events that the report of a failure tells.
const EVENTS_KEPT: usize = 60;
/// How much an audit reads at once.
const AUDIT_BYTES: u64 = 32 << 10;

/// What is broken on purpose.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Config {
    pub(crate) mutation: Option<Mutation>,
    pub(crate) breakage: Option<Breakage>,
}

/// What a run that broke no promise has to tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Summary {
    /// Equal for runs in which the same happened (I22).
    pub(crate) trace: u64,
    /// Replies that clients heard.
    pub(crate) replies: u64,
    /// Connections that clients made.
    pub(crate) connections: u64,
    /// Connections cut in mid-work.
    pub(crate) cuts: u64,
    /// Images taken.
    pub(crate) copies: u64,
    /// Times that the store was opened again.
    pub(crate) openings: u64,
    /// Bytes compared.
    pub(crate) compared: u64,
}

/// What a seed decides before the run.
#[derive(Clone, Debug)]
struct Plan {
    rounds: u64,
    actions: u64,
    clients: usize,
    depth: usize,
    bytes: u64,
    /// Turns after each action, on average.
    turns: u64,
    limits: SessionLimits,
    /// Of requests: read, write, flush, trim, zeroes, status.
    weights: [u32; 6],
}

/// A command that is in flight.
#[derive(Clone, Copy, Debug)]
enum Commanded {
    Establish {
        copy: Copy,
        must: bool,
    },
    Withdraw {
        target: u32,
        number: u32,
    },
    /// The answer is kept for the world.
    Inspect,
}

/// One run.
pub(crate) struct World {
    plan: Plan,
    options: OpenOptions,
    server: Server,
    truth: Truth,
    clients: BTreeMap<u64, Client>,
    next_client: u64,
    prng: Prng,
    commanded: Option<Commanded>,
    /// A command that the end of the server cut short.
    interrupted: Option<Commanded>,
    report: Option<Report>,
    /// Flushes that clients heard of.
    flushes: u64,
    answers: Vec<Answer>,
    summary: Summary,
    trace: DefaultHasher,
    events: VecDeque<String>,
}

/// Runs one seed.
///
/// # Errors
/// The first promise that was broken, with what led to it.
pub(crate) fn run(seed: u64, config: Config) -> Result<Summary, String> {
    let mut world = World::new(seed, config)?;
    if let Err(message) = world.play() {
        let mut text = String::new();
        for event in &world.events {
            let _ = writeln!(text, "  {event}");
        }
        return Err(format!("{text}seed {seed}: {message}"));
    }
    world.server.disk.trace().hash(&mut world.trace);
    let trace = world.trace.finish();
    Ok(Summary { trace, compared: world.truth.compared, ..world.summary })
}

impl Plan {
    fn draw(prng: &mut Prng) -> Self {
        let mut weights = [30, 50, 10, 4, 6, 4];
        for weight in &mut weights {
            *weight *= [0, 1, 1, 2][prng.index(4)];
        }
        weights[1] = weights[1].max(30);
        weights[2] = weights[2].max(5);
        let tight = prng.once_in(3);
        Self {
            rounds: prng.between(2, 4),
            actions: prng.between(40, 120),
            clients: usize::try_from(prng.between(2, 8)).unwrap_or(2),
            depth: usize::try_from(prng.between(1, 16)).unwrap_or(1),
            bytes: prng.between(1, 6) << 16,
            turns: [4, 16, 40][prng.index(3)],
            limits: SessionLimits {
                requests_max: if tight { 1 + prng.index(4) } else { 1024 },
                bytes_max: if tight { 1 + prng.index(40_000) } else { 64 << 20 },
                ..SessionLimits::default()
            },
            weights,
        }
    }
}

impl World {
    fn new(seed: u64, config: Config) -> Result<Self, String> {
        let prng = Prng::new(seed);
        let plan = Plan::draw(&mut prng.actor("plan"));
        let segment_bytes = 256 << 10;
        let options = OpenOptions {
            create: true,
            journal_bytes: u64::from(segment_bytes) * 10,
            segment_bytes,
            entropy: [7; 32],
            mutation: config.mutation,
        };
        let disk = SimDisk::new(prng.actor("disk"), Pace::Shuffled);
        let server = Server::open(disk, &options, prng.actor("server"), config.breakage);
        Ok(Self {
            plan,
            options: OpenOptions { create: false, ..options },
            server: server.map_err(|error| format!("a new store does not open: {error}"))?,
            truth: Truth::default(),
            clients: BTreeMap::new(),
            next_client: 0,
            prng: prng.actor("world"),
            commanded: None,
            interrupted: None,
            report: None,
            flushes: 0,
            answers: Vec::new(),
            summary: Summary::default(),
            trace: DefaultHasher::new(),
            events: VecDeque::new(),
        })
    }

    fn play(&mut self) -> Result<(), String> {
        self.prepare()?;
        for _ in 0..self.plan.rounds {
            for _ in 0..self.plan.actions {
                self.act();
                for _ in 0..self.prng.below(2 * self.plan.turns) {
                    self.turn()?;
                }
            }
            match self.prng.below(4) {
                0 => self.crash(false)?,
                1 => self.shut_down()?,
                2 => self.crash(true)?,
                _ => {
                    self.hear_a_flush()?;
                    self.crash(true)?;
                }
            }
        }
        self.audit(None)?;
        self.shut_down()
    }

    /// Goes on until the moment at which some client hears of a flush, if that comes soon.
    fn hear_a_flush(&mut self) -> Result<(), String> {
        let clients: Vec<u64> = self.clients.keys().copied().collect();
        for id in clients {
            self.ask(id, Ask::Flush, None);
        }
        let before = self.flushes;
        for _ in 0..TURNS_TO_FLUSH {
            if self.flushes > before {
                break;
            }
            self.turn()?;
        }
        Ok(())
    }

    fn prepare(&mut self) -> Result<(), String> {
        self.inspect(Command::PoolCreate { name: "pool".to_owned(), capacity_bytes: 256 << 20 })?;
        for name in NAMES {
            let thin = (name == "thin").then(|| "pool".to_owned());
            let is_thin = thin.is_some();
            let made = self.inspect(Command::VolumeCreate(VolumeSpec {
                name: name.to_owned(),
                size_bytes: Some(self.plan.bytes),
                cylinders: None,
                volume_type: VolumeType::Fb,
                device: None,
                thin,
            }))?;
            let Report::Volumes(volumes) = made else {
                return Err(format!("{made:?} for a new volume"));
            };
            self.truth.create(volumes[0].id, volumes[0].size_bytes, is_thin);
        }
        Ok(())
    }

    /// Somebody does something.
    fn act(&mut self) {
        let alive: Vec<u64> = self
            .clients
            .iter()
            .filter(|(_, one)| one.state != State::Dead)
            .map(|(id, _)| *id)
            .collect();
        if alive.len() < 2 {
            return self.connect_any();
        }
        let id = alive[self.prng.index(alive.len())];
        match self.prng.below(40) {
            0..2 if alive.len() < self.plan.clients => self.connect_any(),
            2 => self.cut(id),
            3 => self.disconnect(id),
            4..7 if self.commanded.is_none() => self.command(),
            _ => {
                for _ in 0..self.prng.between(1, 3) {
                    self.ask_any(id);
                }
            }
        }
    }

    fn connect_any(&mut self) {
        let names = [NAMES[0], NAMES[0], NAMES[1], NAMES[2]];
        let name = names[self.prng.index(names.len())];
        self.connect(name);
    }

    /// A new client of that volume.
    fn connect(&mut self, name: &str) -> u64 {
        self.next_client += 1;
        let id = self.next_client;
        let style = Style::draw(&mut self.prng);
        let (wire, bytes) = Wire::new(style, name);
        let place = self.server.accept(id, self.plan.limits);
        self.server.connections[place].input.put(&bytes);
        let volume = self.number(name);
        self.clients.insert(id, Client::new(volume, place, style, wire));
        self.summary.connections += 1;
        self.note(|| format!("client {id} connects to {name}: {style:?}"));
        id
    }

    fn number(&self, name: &str) -> u32 {
        self.server.engine.volume(name).map_or(u32::MAX, |volume| volume.id.0)
    }

    /// The client says that it leaves.
    fn disconnect(&mut self, id: u64) {
        let Some(client) = self.clients.get_mut(&id).filter(|one| one.state == State::Serving)
        else {
            return;
        };
        client.state = State::Leaving;
        self.server.connections[client.place].input.put(&Wire::disconnect());
        self.note(|| format!("client {id} disconnects"));
    }

    /// The connection breaks at any byte.
    fn cut(&mut self, id: u64) {
        let Some(client) = self.clients.get_mut(&id) else {
            return;
        };
        let on_the_way = self.server.connections[client.place].input.len();
        let arriving = if self.prng.once_in(2) { 0 } else { self.prng.index(on_the_way + 1) };
        let total = self.server.cut(client.place, arriving);
        for sent in client.die(total) {
            end_unheard(&mut self.truth, &sent);
        }
        self.summary.cuts += 1;
        self.note(|| format!("client {id} is cut after {total} bytes"));
    }

    /// A client that may send asks something at random.
    fn ask_any(&mut self, id: u64) {
        let Some(client) = self.clients.get(&id) else {
            return;
        };
        if client.waiting.len() >= self.plan.depth {
            return;
        }
        let (context, size) = (client.style.context, self.plan.bytes);
        let range = self.range(size);
        let durable = self.prng.once_in(8);
        let space = if self.prng.once_in(2) { ZeroSpace::Release } else { ZeroSpace::Keep };
        let ask = match self.prng.weighted(&self.plan.weights) {
            1 => Ask::Write(range, durable),
            2 => Ask::Flush,
            3 => Ask::Trim(range, durable),
            4 => Ask::Zeroes(range, space, durable),
            5 if context => Ask::Status(range),
            _ => Ask::Read(range),
        };
        self.ask(id, ask, None);
    }

    /// A place and a length, crowded so that requests meet; a few pass the end.
    fn range(&mut self, size: u64) -> ByteRange {
        let bytes = match self.prng.below(8) {
            0..4 => 4096,
            4 => 512 * self.prng.between(1, 8),
            5 => self.prng.between(1, 5000),
            6 => 4096 * self.prng.between(1, 8),
            _ => self.prng.between(1, 40_000),
        };
        let unit = [4096, 4096, 512, 1][self.prng.index(4)];
        let spread = if self.prng.once_in(2) { 64 << 10 } else { size };
        let start = self.prng.below(spread) / unit * unit;
        let past_end = self.prng.once_in(100);
        let start = if past_end { start } else { start.min(size - bytes) };
        ByteRange { start, end: start + bytes }
    }

    fn ask(&mut self, id: u64, ask: Ask, settle: Option<View>) {
        let client = self.clients.get_mut(&id);
        let Some(client) = client.filter(|client| client.state == State::Serving) else {
            return;
        };
        let mut asked = self.truth.begin(client.volume, ask, settle);
        let mut cookie = self.prng.next_u64();
        while client.waiting.contains_key(&cookie) {
            cookie = self.prng.next_u64();
        }
        let mut flags = 0;
        if self.prng.once_in(4) {
            flags = match ask {
                Ask::Read(_) if client.style.structured => nbd::CMD_FLAG_DF,
                Ask::Read(_) | Ask::Flush => nbd::CMD_FLAG_FUA,
                Ask::Status(_) => nbd::CMD_FLAG_REQ_ONE,
                _ => 0,
            };
        }
        asked.one_extent = matches!(ask, Ask::Status(_)) && flags != 0;
        let mut data = Vec::new();
        if let Ask::Write(range, _) = ask {
            data.resize(usize::try_from(range.bytes()).unwrap_or(0), 0);
            pattern::fill(asked.number, range.start, &mut data);
        }
        let bytes = client.wire.request(cookie, ask, flags, &data);
        let ends_at = self.server.connections[client.place].input.put(&bytes);
        client.sent(cookie, asked, ends_at);
        let number = asked.number;
        self.note(|| format!("client {id} sends {cookie:x}: {ask:?}, number {number}"));
    }

    /// The administrator establishes or withdraws.
    fn command(&mut self) {
        let name = NAMES[1 + self.prng.index(2)];
        let target = self.number(name);
        let copy = self.prng.once_in(2);
        let mode = if copy && name == "full" { CopyMode::Copy } else { CopyMode::Nocopy };
        let must = self.truth.is_free(target);
        if must || self.prng.once_in(3) {
            let source = self.number(NAMES[0]);
            let copy = self.truth.begin_establish(source, target, mode);
            let spec = EstablishSpec {
                pairs: vec![PairSpec {
                    source: NAMES[0].to_owned(),
                    target: name.to_owned(),
                    extents: Vec::new(),
                }],
                mode,
                space_efficient: name == "thin",
            };
            self.send(Commanded::Establish { copy, must }, Command::CopyEstablish(spec));
        } else {
            let number = self.truth.begin_withdraw(target);
            let selector = CopySelector::Target(name.to_owned());
            self.send(Commanded::Withdraw { target, number }, Command::CopyWithdraw(selector));
        }
    }

    fn send(&mut self, commanded: Commanded, command: Command) {
        self.note(|| format!("command {command:?}"));
        self.commanded = Some(commanded);
        self.server.engine.command(CommandId(1), command);
    }

    /// Asks for a report and waits for it.
    fn inspect(&mut self, command: Command) -> Result<Report, String> {
        self.send(Commanded::Inspect, command);
        self.until(|world| world.commanded.is_none())?;
        self.report.take().ok_or_else(|| "no report".to_owned())
    }

    /// One small step of somebody, and what follows from it.
    fn turn(&mut self) -> Result<(), String> {
        let places: Vec<usize> = self.server.connections.iter().map(|(place, _)| place).collect();
        let place = self.prng.pick(&places).copied();
        match (self.prng.below(8), place) {
            (0..3, _) | (_, None) => self.server.advance(),
            (3..6, Some(place)) => {
                let count = self.piece();
                self.server.receive(place, count);
            }
            (_, Some(place)) => {
                self.follow_script(place);
                self.deliver(place)?;
            }
        }
        self.carry()
    }

    /// How many bytes arrive at once.
    fn piece(&mut self) -> usize {
        match self.prng.below(8) {
            0 => 1 + self.prng.index(40),
            1..5 => 1 + self.prng.index(6000),
            _ => 256 << 10,
        }
    }

    fn follow_script(&mut self, place: usize) {
        let client = self.clients.iter_mut().find(|(_, client)| client.place == place);
        if let Some((id, client)) = client
            && client.state == State::Serving
            && client.waiting.len() < 8
            && let Some((ask, settle)) = client.script.pop_front()
        {
            let id = *id;
            self.ask(id, ask, settle);
        }
    }

    /// Bytes arrive at a client, or the end of its stream.
    fn deliver(&mut self, place: usize) -> Result<(), String> {
        let count = self.piece();
        let connection = &mut self.server.connections[place];
        let (bytes, ended) = (connection.output.take(count), connection.output.has_ended());
        let client = self.clients.iter_mut().find(|(_, client)| client.place == place);
        let Some((id, client)) = client.filter(|(_, client)| client.state != State::Dead) else {
            return Ok(());
        };
        let id = *id;
        let heard = client.wire.receive(&bytes).map_err(|error| format!("client {id}: {error}"))?;
        for heard in heard {
            self.heard(id, heard)?;
        }
        if ended { self.stream_ended(id) } else { Ok(()) }
    }

    fn heard(&mut self, id: u64, heard: Heard) -> Result<(), String> {
        let Some(client) = self.clients.get_mut(&id) else {
            return Ok(());
        };
        match heard {
            Heard::Chosen(size) => {
                client.state = State::Serving;
                if size != self.plan.bytes {
                    return Err(format!("an export of {size} bytes"));
                }
            }
            Heard::Refused if self.truth.shutting_down => {}
            Heard::Refused => return Err("a handshake was refused".to_owned()),
            Heard::Reply(cookie, outcome) => {
                let sent = client.waiting.remove(&cookie);
                let sent = sent.ok_or_else(|| format!("{cookie:x} is no cookie (I18)"))?;
                let answered = matches!(sent.progress, Progress::Answered(_));
                if !answered && !sent.asked.past_end && !self.truth.shutting_down {
                    return Err(format!("{sent:?} was replied to before it was answered"));
                }
                self.summary.replies += 1;
                self.flushes += u64::from(matches!(sent.asked.ask, Ask::Flush));
                let heard = self.truth.heard(&sent.asked, &outcome);
                let ok = heard.is_ok();
                self.note(|| format!("client {id} hears {cookie:x}, as promised: {ok}"));
                heard.map_err(|error| format!("client {id}, {cookie:x}: {error}"))?;
            }
        }
        Ok(())
    }

    /// The server closed: after `DISC` everything was answered; else it must be shutting down.
    fn stream_ended(&mut self, id: u64) -> Result<(), String> {
        let Some(client) = self.clients.get_mut(&id) else {
            return Ok(());
        };
        let left = client.state == State::Leaving;
        if !left && !self.truth.shutting_down {
            return Err(format!("the server closed the connection of client {id}"));
        }
        let arrived = |sent: &&Sent| sent.progress != Progress::Sent;
        let owed = |sent: &&Sent| !self.truth.shutting_down || arrived(sent);
        if let Some(sent) = client.waiting.values().find(owed) {
            return Err(format!("client {id} waits for a reply in vain (I18): {sent:?}"));
        }
        self.server.cut(client.place, 0);
        for sent in client.die(0) {
            end_unheard(&mut self.truth, &sent);
        }
        self.note(|| format!("client {id} sees the end"));
        Ok(())
    }

    /// Carries what the server gave to where it belongs.
    fn carry(&mut self) -> Result<(), String> {
        let mut answers = std::mem::take(&mut self.answers);
        let happenings = self.server.turn(&mut answers);
        if let Some(violation) = self.server.disk.violations().first() {
            return Err(violation.clone());
        }
        for happening in happenings {
            self.happened(happening)?;
        }
        for answer in answers.drain(..) {
            self.answered(answer)?;
        }
        self.answers = answers;
        Ok(())
    }

    fn happened(&mut self, happening: Happening) -> Result<(), String> {
        match happening {
            Happening::Taken { client: id, token, action, data } => {
                self.note(|| format!("client {id}: {token:?} is {action}"));
                let Some(client) = self.clients.get_mut(&id) else {
                    return Err(format!("{action} of nobody"));
                };
                client.taken(token, &action, &data)?;
            }
            Happening::Answered { client: id, token, result } => {
                self.note(|| format!("client {id}: {token:?} ends with {result:?}"));
                let client = self.clients.get_mut(&id);
                let client = client.ok_or_else(|| format!("{token:?} of nobody"))?;
                if let Some(sent) = client.answered(token, result)? {
                    end_unheard(&mut self.truth, &sent);
                }
            }
            Happening::Gone { client: id } => {
                let client = self.clients.remove(&id);
                self.note(|| format!("client {id} is gone"));
                // What the session still held back never reaches the engine.
                for sent in client.map(|client| client.waiting).unwrap_or_default().values() {
                    end_unheard(&mut self.truth, sent);
                }
            }
        }
        Ok(())
    }

    fn answered(&mut self, answer: Answer) -> Result<(), String> {
        self.note(|| format!("answer {answer:?}"));
        let commanded = self.commanded.take().ok_or("a command was answered twice")?;
        let report = match answer.result {
            Ok(report) => report,
            Err(refusal) if refusal.kind == RefusalKind::Shutdown && self.truth.shutting_down => {
                self.interrupted = Some(commanded);
                return Ok(());
            }
            Err(refusal) => {
                let Commanded::Establish { copy, must: false } = commanded else {
                    return Err(format!("{commanded:?} was refused: {refusal}"));
                };
                self.truth.not_established(copy);
                return Ok(());
            }
        };
        match (commanded, report) {
            (Commanded::Inspect, report) => self.report = Some(report),
            (Commanded::Establish { copy, .. }, Report::Copies(copies)) => {
                let id = copies.first().ok_or("an establish that made nothing")?.id;
                self.truth.established(copy, id);
                self.summary.copies += 1;
            }
            (Commanded::Withdraw { target, number }, Report::Copies(copies)) => {
                self.truth.withdrawn(target, number, &copies)?;
            }
            (commanded, report) => return Err(format!("{report:?} answers {commanded:?}")),
        }
        Ok(())
    }

    /// The process or the machine dies; everything is opened again and read.
    fn crash(&mut self, power_cut: bool) -> Result<(), String> {
        self.note(|| format!("crash, power cut: {power_cut}"));
        for (_, client) in std::mem::take(&mut self.clients) {
            for sent in client.waiting.values().filter(|sent| sent.progress != Progress::Taken) {
                end_unheard(&mut self.truth, sent);
            }
        }
        self.interrupted = self.commanded.take();
        let view = self.reopen(power_cut)?;
        self.audit(Some(view))
    }

    /// The server goes down in order: everything is durable, and stays so.
    fn shut_down(&mut self) -> Result<(), String> {
        self.note(|| "shutdown".to_owned());
        self.truth.shutting_down = true;
        self.server.begin_shutdown();
        self.until(|world| {
            world.server.engine.is_shut_down() && world.server.connections.is_empty()
        })?;
        self.truth.shutting_down = false;
        if self.server.disk.in_flight() > 0 || self.commanded.is_some() {
            return Err("shut down with work in flight".to_owned());
        }
        let since = self.truth.model.begin_read();
        let volumes: Vec<u32> = self.truth.sizes.keys().copied().collect();
        for volume in volumes {
            self.truth.model.flushed(volume, since);
        }
        let power_cut = self.prng.once_in(2);
        self.reopen(power_cut)?;
        self.audit(None)
    }

    /// Opens the store again and learns which relationships there are.
    fn reopen(&mut self, power_cut: bool) -> Result<View, String> {
        self.truth.model.crash();
        if power_cut {
            self.server.disk.cut_power();
        } else {
            self.server.disk.kill();
        }
        let opened = self.server.reopen(&self.options);
        opened.map_err(|error| format!("the store does not open: {error}"))?;
        self.summary.openings += 1;
        let (mut establishing, mut withdrawing) = (None, None);
        match self.interrupted.take() {
            Some(Commanded::Establish { copy, .. }) => establishing = Some(copy),
            Some(Commanded::Withdraw { target, number }) => withdrawing = Some((target, number)),
            Some(Commanded::Inspect) | None => {}
        }
        let Report::Copies(copies) = self.inspect(Command::CopyList { volume: None })? else {
            return Err("no list of relationships".to_owned());
        };
        self.truth.reconcile(&copies, establishing, withdrawing)?;
        let since = self.truth.model.begin_read();
        self.truth.model.end_read(since);
        Ok(if power_cut { View::AfterPowerCut } else { View::Live(since) })
    }

    /// New clients read every volume; with a view, what they get becomes the truth.
    fn audit(&mut self, settle: Option<View>) -> Result<(), String> {
        for name in NAMES {
            let id = self.connect(name);
            let size = self.plan.bytes;
            let Some(client) = self.clients.get_mut(&id) else {
                continue;
            };
            for start in (0..size).step_by(usize::try_from(AUDIT_BYTES).unwrap_or(1)) {
                let range = ByteRange { start, end: size.min(start + AUDIT_BYTES) };
                client.script.push_back((Ask::Read(range), settle));
            }
        }
        self.quiet()
    }

    /// Waits for all requests and scripts of clients, and for the command.
    fn quiet(&mut self) -> Result<(), String> {
        self.until(|world| {
            world.commanded.is_none()
                && world
                    .clients
                    .values()
                    .all(|client| client.waiting.is_empty() && client.script.is_empty())
        })
    }

    fn until(&mut self, done: impl Fn(&Self) -> bool) -> Result<(), String> {
        for _ in 0..TURNS_TO_QUIET {
            self.carry()?;
            if done(self) {
                return Ok(());
            }
            self.turn()?;
        }
        let waiting: Vec<&Sent> =
            self.clients.values().flat_map(|client| client.waiting.values()).collect();
        Err(format!("nothing moves (I21): {waiting:?} and {:?} wait", self.commanded))
    }

    /// Keeps an event for the trace and for the report of a failure.
    fn note(&mut self, event: impl FnOnce() -> String) {
        let event = event();
        event.hash(&mut self.trace);
        if self.events.len() == EVENTS_KEPT {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }
}

/// Tells the truth of a request whose reply nobody hears.
fn end_unheard(truth: &mut Truth, sent: &Sent) {
    match sent.progress {
        Progress::Answered(result) => truth.unheard(&sent.asked, result),
        Progress::Sent | Progress::Taken => truth.never_arrived(&sent.asked),
    }
}

/// A panic of session or engine is a failure, too: it shows what led to it.
impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for event in &self.events {
                eprintln!("  {event}");
            }
        }
    }
}

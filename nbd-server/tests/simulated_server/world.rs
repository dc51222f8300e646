//! One run: clients, an administrator, the server and its disk, everything from one seed.
//!
//! The seed draws a plan; then, round after round, clients connect, work, vanish and come back while
//! copies are established and withdrawn; each round ends by a kill, a power cut or a shutdown, after
//! which new clients read everything before work goes on.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hash, Hasher};

use flashtrack_engine::OpenOptions;
use flashtrack_engine::admin::{Answer, Command, Report, VolumeSpec};
use flashtrack_engine::geometry::VolumeType;
use flashtrack_engine::policy::Policy;
use flashtrack_engine::sim::disk::{Pace, SimDisk};
use flashtrack_engine::sim::mutation::Mutation;
use flashtrack_engine::sim::prng::Prng;
use flashtrack_engine::sim::workload::Ask;
use flashtrack_nbd_server::session::SessionLimits;

use crate::client::{Client, Sent, State};
use crate::server::{Breakage, Server};
use crate::truth::{Relationship, Truth};

/// Volumes of every run: the source of all copies, a full target and a thin one.
pub(crate) const NAMES: [&str; 3] = ["source", "full", "thin"];
/// Turns within which everything in flight must end once nothing new comes (I21).
const TURNS_TO_QUIET: u32 = 200_000;
/// Turns that a flush is waited for.
const TURNS_TO_FLUSH: u32 = 5000;
/// Events that the report of a failure tells.
const EVENTS_KEPT: usize = 60;

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
pub(crate) struct Plan {
    pub(crate) rounds: u64,
    pub(crate) actions: u64,
    pub(crate) clients: usize,
    pub(crate) depth: usize,
    pub(crate) bytes: u64,
    /// Turns after each action, on average.
    pub(crate) turns: u64,
    pub(crate) limits: SessionLimits,
    /// Of requests: read, write, flush, trim, zeroes, status.
    pub(crate) weights: [u32; 6],
}

/// A command that is in flight.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Commanded {
    Establish {
        copy: Relationship,
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
    pub(crate) plan: Plan,
    pub(crate) options: OpenOptions,
    pub(crate) server: Server,
    pub(crate) truth: Truth,
    pub(crate) clients: BTreeMap<u64, Client>,
    pub(crate) next_client: u64,
    pub(crate) prng: Prng,
    pub(crate) commanded: Option<Commanded>,
    /// A command that the end of the server cut short.
    pub(crate) interrupted: Option<Commanded>,
    pub(crate) report: Option<Report>,
    /// Flushes that clients heard of.
    pub(crate) flushes: u64,
    pub(crate) answers: Vec<Answer>,
    pub(crate) summary: Summary,
    pub(crate) trace: DefaultHasher,
    pub(crate) events: VecDeque<String>,
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
            policy: Policy::default(),
            segment_bytes,
            entropy: [7; 32],
            mutation: config.mutation,
        };
        let mut disk = SimDisk::new(prng.actor("disk"), Pace::Shuffled);
        if prng.actor("lending").once_in(2) {
            disk.lend();
        }
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

    /// Asks for a report and waits for it.
    pub(crate) fn inspect(&mut self, command: Command) -> Result<Report, String> {
        self.send(Commanded::Inspect, command);
        self.until(|world| world.commanded.is_none())?;
        self.report.take().ok_or_else(|| "no report".to_owned())
    }

    /// One small step of somebody, and what follows from it.
    pub(crate) fn turn(&mut self) -> Result<(), String> {
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
    pub(crate) fn piece(&mut self) -> usize {
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

    /// Waits for all requests and scripts of clients, and for the command.
    pub(crate) fn quiet(&mut self) -> Result<(), String> {
        self.until(|world| {
            world.commanded.is_none()
                && world
                    .clients
                    .values()
                    .all(|client| client.waiting.is_empty() && client.script.is_empty())
        })
    }

    pub(crate) fn until(&mut self, done: impl Fn(&Self) -> bool) -> Result<(), String> {
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
    pub(crate) fn note(&mut self, event: impl FnOnce() -> String) {
        let event = event();
        event.hash(&mut self.trace);
        if self.events.len() == EVENTS_KEPT {
            self.events.pop_front();
        }
        self.events.push_back(event);
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

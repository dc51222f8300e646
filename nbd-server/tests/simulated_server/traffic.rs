//! What clients and the administrator do: connect, ask, leave, vanish, establish, withdraw.

use flashtrack_engine::admin::{
    Command, CommandId, CopyMode, CopySelector, EstablishSpec, PairSpec,
};
use flashtrack_engine::io::ZeroSpace;
use flashtrack_engine::sim::model::View;
use flashtrack_engine::sim::pattern;
use flashtrack_engine::sim::workload::Ask;
use flashtrack_engine::units::ByteRange;
use flashtrack_nbd_server::protocol::constants as nbd;

use crate::client::{Client, State};
use crate::hearing::end_unheard;
use crate::wire::{Style, Wire};
use crate::world::{Commanded, NAMES, World};

impl World {
    /// Somebody does something.
    pub(crate) fn act(&mut self) {
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
    pub(crate) fn connect(&mut self, name: &str) -> u64 {
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
    pub(crate) fn ask_any(&mut self, id: u64) {
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

    pub(crate) fn ask(&mut self, id: u64, ask: Ask, settle: Option<View>) {
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
                ..EstablishSpec::default()
            };
            self.send(Commanded::Establish { copy, must }, Command::CopyEstablish(spec));
        } else {
            let number = self.truth.begin_withdraw(target);
            let selector = CopySelector::Target(name.to_owned());
            self.send(
                Commanded::Withdraw { target, number },
                Command::CopyWithdraw(selector.into()),
            );
        }
    }

    pub(crate) fn send(&mut self, commanded: Commanded, command: Command) {
        self.note(|| format!("command {command:?}"));
        self.commanded = Some(commanded);
        self.server.engine.command(CommandId(1), command);
    }

    pub(crate) fn number(&self, name: &str) -> u32 {
        self.server.engine.volume(name).map_or(u32::MAX, |volume| volume.id.0)
    }
}

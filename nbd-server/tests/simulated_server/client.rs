//! One client: what it has sent, and how far each request has come.

use std::collections::{BTreeMap, VecDeque};

use flashtrack_engine::io::Buffer;
use flashtrack_engine::request::{Durability, RequestAction, RequestError};
use flashtrack_engine::sim::model::View;
use flashtrack_engine::sim::pattern;
use flashtrack_engine::sim::workload::Ask;
use flashtrack_nbd_server::session::SessionRequestId;

use crate::truth::Asked;
use crate::wire::{Style, Wire};

/// How a client stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Handshake,
    Serving,
    /// It said `DISC` and waits for what is outstanding.
    Leaving,
    /// It hears nothing any more; the server may not know yet.
    Dead,
}

/// How far a request has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// Its bytes are on their way, or wait in the session.
    Sent,
    /// The engine has it.
    Taken,
    /// The engine has answered.
    Answered(Result<(), RequestError>),
}

/// A request without a reply.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sent {
    pub(crate) asked: Asked,
    pub(crate) progress: Progress,
    /// Number of bytes of the stream up to its end.
    ends_at: u64,
}

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) volume: u32,
    /// Of its connection.
    pub(crate) place: usize,
    pub(crate) style: Style,
    pub(crate) wire: Wire,
    pub(crate) state: State,
    /// Requests without a reply, by cookie.
    pub(crate) waiting: BTreeMap<u64, Sent>,
    /// Cookies of those that the engine will get, in the order in which they were sent.
    order: VecDeque<u64>,
    tokens: BTreeMap<SessionRequestId, u64>,
    /// Reads that it makes before anything else.
    pub(crate) script: VecDeque<(Ask, Option<View>)>,
}

impl Client {
    pub(crate) fn new(volume: u32, place: usize, style: Style, wire: Wire) -> Self {
        Self {
            volume,
            place,
            style,
            wire,
            state: State::Handshake,
            waiting: BTreeMap::new(),
            order: VecDeque::new(),
            tokens: BTreeMap::new(),
            script: VecDeque::new(),
        }
    }

    /// A request is sent; it ends at this byte of the stream.
    pub(crate) fn sent(&mut self, cookie: u64, asked: Asked, ends_at: u64) {
        self.waiting.insert(cookie, Sent { asked, progress: Progress::Sent, ends_at });
        if !asked.past_end {
            self.order.push_back(cookie);
        }
    }

    /// A session took a request: it must be the next one, as it was sent.
    pub(crate) fn taken(
        &mut self,
        token: SessionRequestId,
        action: &str,
        data: &[u8],
    ) -> Result<(), String> {
        let cookie = self.order.pop_front();
        let sent = cookie.and_then(|cookie| self.waiting.get_mut(&cookie));
        let (Some(cookie), Some(sent)) = (cookie, sent) else {
            return Err(format!("{action} was taken, whose bytes had not all arrived (I19)"));
        };
        let wanted = in_words(sent.asked.ask, data.len());
        if action != wanted {
            return Err(format!("{action} was taken and {wanted} sent"));
        }
        if let Ask::Write(range, _) = sent.asked.ask
            && !pattern::matches(sent.asked.number, range.start, data)
        {
            return Err(format!("{action} carries {}", pattern::describe(range.start, data)));
        }
        sent.progress = Progress::Taken;
        if self.tokens.insert(token, cookie).is_some() {
            return Err(format!("{token:?} names two requests"));
        }
        Ok(())
    }

    /// The engine answered. When nobody hears it any more, the request is given back.
    pub(crate) fn answered(
        &mut self,
        token: SessionRequestId,
        result: Result<(), RequestError>,
    ) -> Result<Option<Sent>, String> {
        let cookie = self.tokens.remove(&token);
        let cookie = cookie.ok_or_else(|| format!("{token:?} was answered and not asked"))?;
        let sent = self.waiting.get_mut(&cookie);
        let sent = sent.ok_or_else(|| format!("{cookie:x} was heard before it was answered"))?;
        sent.progress = Progress::Answered(result);
        Ok(if self.state == State::Dead { self.waiting.remove(&cookie) } else { None })
    }

    /// The client dies; of its stream the first `arriving` bytes arrive. Gives the requests that
    /// have ended by that: those that never arrive in full and those that were answered unheard.
    pub(crate) fn die(&mut self, arriving: u64) -> Vec<Sent> {
        self.state = State::Dead;
        self.script.clear();
        let ended = |sent: &Sent| match sent.progress {
            Progress::Sent => sent.asked.past_end || sent.ends_at > arriving,
            Progress::Taken => false,
            Progress::Answered(_) => true,
        };
        let cookies: Vec<u64> = self
            .waiting
            .iter()
            .filter(|(_, sent)| ended(sent))
            .map(|(cookie, _)| *cookie)
            .collect();
        self.order.retain(|cookie| !cookies.contains(cookie));
        cookies.iter().filter_map(|cookie| self.waiting.remove(cookie)).collect()
    }
}

/// The request as the engine should be told it; a write's data has so many bytes.
fn in_words(ask: Ask, bytes: usize) -> String {
    let durability = |durable| if durable { Durability::Durable } else { Durability::Volatile };
    let action = match ask {
        Ask::Read(range) => RequestAction::Read { range },
        Ask::Write(range, durable) => RequestAction::Write {
            offset: range.start,
            data: Buffer::zeroed(bytes),
            durability: durability(durable),
        },
        Ask::Flush => RequestAction::Flush,
        Ask::Trim(range, durable) => RequestAction::Trim { range, durability: durability(durable) },
        Ask::Zeroes(range, space, durable) => {
            RequestAction::WriteZeroes { range, space, durability: durability(durable) }
        }
        Ask::Status(range) => RequestAction::BlockStatus { range },
    };
    format!("{action:?}")
}

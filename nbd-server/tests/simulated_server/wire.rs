//! The client's side of the protocol: what it sends, and how it understands what it gets.
//!
//! Written apart from the server's codec; only the numbers of the document are shared.

use std::collections::{BTreeMap, VecDeque};

use flashtrack_engine::io::ZeroSpace;
use flashtrack_engine::sim::prng::Prng;
use flashtrack_engine::sim::workload::Ask;
use flashtrack_engine::units::ByteRange;
use flashtrack_nbd_server::protocol::constants as nbd;

/// How a client negotiates.
#[expect(clippy::struct_excessive_bools, reason = "each is a choice of its own")]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Style {
    /// `GO`, else `EXPORT_NAME`.
    pub(crate) go: bool,
    /// Structured replies.
    pub(crate) structured: bool,
    /// With base:allocation; needs structured replies.
    pub(crate) context: bool,
    no_zeroes: bool,
    /// Lists and asks before it chooses.
    curious: bool,
}

impl Style {
    pub(crate) fn draw(prng: &mut Prng) -> Self {
        let structured = !prng.once_in(3);
        Self {
            go: !prng.once_in(3),
            structured,
            context: structured && prng.once_in(2),
            no_zeroes: prng.once_in(2),
            curious: prng.once_in(4),
        }
    }
}

/// The next thing that the server has to say in the handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    Greeting,
    /// Replies to this option, up to its acknowledgement.
    Option(u32),
    /// The answer to `EXPORT_NAME`: size, flags and so many zeroes.
    Export(usize),
}

/// What came of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Done,
    Data(Vec<u8>),
    /// Lengths and states.
    Status(Vec<(u32, u32)>),
    /// An error value of the protocol.
    Failed(u32),
}

/// What the client has understood.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// The handshake is over; size of the export in bytes.
    Chosen(u64),
    /// The one reply to a request.
    Reply(u64, Outcome),
    /// The server is going down and refuses an option.
    Refused,
}

/// The client's end of a connection.
#[derive(Debug)]
pub(crate) struct Wire {
    style: Style,
    expected: VecDeque<Expected>,
    /// As the server told it.
    size: Option<u64>,
    received: Vec<u8>,
    /// Of each read under way its range; of all else nothing.
    reads: BTreeMap<u64, Option<ByteRange>>,
    /// Parts of a structured reply that have come, by cookie.
    parts: BTreeMap<u64, Parts>,
}

#[derive(Debug, Default)]
struct Parts {
    data: Vec<u8>,
    filled: usize,
    status: Option<Vec<(u32, u32)>>,
    error: Option<u32>,
}

impl Wire {
    /// A client of the export `name`, and the first bytes that it sends.
    pub(crate) fn new(style: Style, name: &str) -> (Self, Vec<u8>) {
        let mut expected = VecDeque::from([Expected::Greeting]);
        let flags = if style.no_zeroes { nbd::FLAG_C_NO_ZEROES } else { 0 };
        let mut out = (nbd::FLAG_C_FIXED_NEWSTYLE | flags).to_be_bytes().to_vec();
        let mut ask = |option: u32, data: &[u8]| {
            out.extend(nbd::OPTION_MAGIC.to_be_bytes());
            out.extend(option.to_be_bytes());
            put_string(&mut out, data);
            expected.push_back(Expected::Option(option));
        };
        let mut named = Vec::new();
        put_string(&mut named, name.as_bytes());
        let query =
            [&named[..], &1_u16.to_be_bytes(), &nbd::INFO_BLOCK_SIZE.to_be_bytes()].concat();
        if style.curious {
            ask(nbd::OPT_LIST, &[]);
            ask(nbd::OPT_INFO, &query);
        }
        if style.structured {
            ask(nbd::OPT_STRUCTURED_REPLY, &[]);
        }
        if style.context {
            let mut contexts = [&named[..], &1_u32.to_be_bytes()].concat();
            put_string(&mut contexts, b"base:allocation");
            ask(nbd::OPT_SET_META_CONTEXT, &contexts);
        }
        if style.go {
            ask(nbd::OPT_GO, &query);
        } else {
            ask(nbd::OPT_EXPORT_NAME, name.as_bytes());
            let zeroes = if style.no_zeroes { 0 } else { nbd::EXPORT_NAME_ZEROES };
            expected.pop_back();
            expected.push_back(Expected::Export(zeroes));
        }
        let (reads, parts) = (BTreeMap::new(), BTreeMap::new());
        (Self { style, expected, size: None, received: Vec::new(), reads, parts }, out)
    }

    /// The bytes of a request; `data` is a write's payload.
    pub(crate) fn request(
        &mut self,
        cookie: u64,
        ask: Ask,
        extra_flags: u16,
        data: &[u8],
    ) -> Vec<u8> {
        let (command, range, flags) = match ask {
            Ask::Read(range) => (nbd::CMD_READ, range, 0),
            Ask::Write(range, durable) => (nbd::CMD_WRITE, range, fua(durable)),
            Ask::Flush => (nbd::CMD_FLUSH, ByteRange { start: 0, end: 0 }, 0),
            Ask::Trim(range, durable) => (nbd::CMD_TRIM, range, fua(durable)),
            Ask::Zeroes(range, space, durable) => {
                let keep = if space == ZeroSpace::Keep { nbd::CMD_FLAG_NO_HOLE } else { 0 };
                (nbd::CMD_WRITE_ZEROES, range, keep | fua(durable))
            }
            Ask::Status(range) => (nbd::CMD_BLOCK_STATUS, range, 0),
        };
        let read = matches!(ask, Ask::Read(_)).then_some(range);
        self.reads.insert(cookie, read);
        let bytes = u32::try_from(range.bytes()).expect("requests are short");
        header(flags | extra_flags, command, cookie, range.start, bytes, data)
    }

    /// The bytes that end the session.
    pub(crate) fn disconnect() -> Vec<u8> {
        header(0, nbd::CMD_DISC, 0, 0, 0, &[])
    }

    /// Takes bytes from the server.
    pub(crate) fn receive(&mut self, bytes: &[u8]) -> Result<Vec<Heard>, String> {
        self.received.extend_from_slice(bytes);
        let mut heard = Vec::new();
        loop {
            let received = std::mem::take(&mut self.received);
            let mut reader = Fields(&received);
            let step = match self.expected.front().copied() {
                Some(expected) => self.handshake(expected, &mut reader),
                None if self.style.structured => self.chunk(&mut reader),
                None => self.simple(&mut reader),
            };
            // Nothing when the message is not complete.
            let Some(told) = step.transpose()? else {
                self.received = received;
                return Ok(heard);
            };
            self.received = reader.0.to_vec();
            heard.extend(told);
        }
    }

    fn handshake(&mut self, expected: Expected, reader: &mut Fields<'_>) -> Step {
        let result = match expected {
            Expected::Greeting => {
                let (first, second) = (reader.u64()?, reader.u64()?);
                let flags = reader.u16()?;
                self.expected.pop_front();
                let right = first == nbd::INIT_MAGIC && second == nbd::OPTION_MAGIC && flags == 3;
                if right { Ok(None) } else { Err(format!("a greeting of {first:x} {second:x}")) }
            }
            Expected::Export(zeroes) => {
                let (size, flags) = (reader.u64()?, reader.u16()?);
                let zeroes = reader.bytes(u32::try_from(zeroes).ok()?)?;
                self.expected.pop_front();
                if zeroes.iter().any(|byte| *byte != 0) {
                    return Some(Err("zeroes that are none follow the export".to_owned()));
                }
                check_flags(flags).map(|()| Some(Heard::Chosen(size)))
            }
            Expected::Option(option) => return self.option_reply(option, reader),
        };
        Some(result)
    }

    fn option_reply(&mut self, option: u32, reader: &mut Fields<'_>) -> Step {
        let (magic, of, kind) = (reader.u64()?, reader.u32()?, reader.u32()?);
        let length = reader.u32()?;
        let data = reader.bytes(length)?;
        if (magic, of) != (nbd::OPTION_REPLY_MAGIC, option) {
            return Some(Err(format!("{magic:x} for option {of} replies to option {option}")));
        }
        Some(match kind {
            nbd::REP_ACK => {
                self.expected.pop_front();
                let chosen = self.size.filter(|_| option == nbd::OPT_GO);
                Ok(chosen.map(Heard::Chosen))
            }
            nbd::REP_INFO => self.learn(data).map(|()| None),
            nbd::REP_SERVER | nbd::REP_META_CONTEXT => Ok(None),
            nbd::REP_ERR_SHUTDOWN => {
                self.expected.pop_front();
                Ok(Some(Heard::Refused))
            }
            other => Err(format!("option {option} was refused with {other:#x}")),
        })
    }

    fn learn(&mut self, information: &[u8]) -> Result<(), String> {
        let mut reader = Fields(information);
        if reader.u16() == Some(nbd::INFO_EXPORT) {
            self.size = reader.u64();
            check_flags(reader.u16().unwrap_or(0))?;
        }
        Ok(())
    }

    fn simple(&mut self, reader: &mut Fields<'_>) -> Step {
        let (magic, error, cookie) = (reader.u32()?, reader.u32()?, reader.u64()?);
        if magic != nbd::SIMPLE_REPLY_MAGIC {
            return Some(Err(format!("a simple reply begins with {magic:08x}")));
        }
        let Some(read) = self.reads.get(&cookie).copied() else {
            return Some(Err(format!("a reply has the cookie {cookie:x} of no request (I18)")));
        };
        let outcome = match (error, read) {
            (0, Some(range)) => {
                Outcome::Data(reader.bytes(u32::try_from(range.bytes()).ok()?)?.to_vec())
            }
            (0, None) => Outcome::Done,
            (error, _) => Outcome::Failed(error),
        };
        self.reads.remove(&cookie);
        Some(Ok(Some(Heard::Reply(cookie, outcome))))
    }

    fn chunk(&mut self, reader: &mut Fields<'_>) -> Step {
        let (magic, flags, kind) = (reader.u32()?, reader.u16()?, reader.u16()?);
        let (cookie, length) = (reader.u64()?, reader.u32()?);
        if magic != nbd::STRUCTURED_REPLY_MAGIC {
            return Some(Err(format!("a chunk begins with {magic:08x}")));
        }
        let payload = reader.bytes(length)?;
        let Some(read) = self.reads.get(&cookie).copied() else {
            return Some(Err(format!("a chunk has the cookie {cookie:x} of no request (I18)")));
        };
        let parts = self.parts.entry(cookie).or_default();
        if let Err(error) = parts.add(kind, payload, read) {
            return Some(Err(error));
        }
        if flags & nbd::REPLY_FLAG_DONE == 0 {
            return Some(Ok(None));
        }
        self.reads.remove(&cookie);
        let parts = self.parts.remove(&cookie).unwrap_or_default();
        Some(parts.finish(read).map(|outcome| Some(Heard::Reply(cookie, outcome))))
    }
}

/// What one message told; nothing when it is not complete.
type Step = Option<Result<Option<Heard>, String>>;

impl Parts {
    fn add(&mut self, kind: u16, payload: &[u8], read: Option<ByteRange>) -> Result<(), String> {
        let mut reader = Fields(payload);
        match (kind, read) {
            (nbd::REPLY_TYPE_NONE, _) => {}
            (nbd::REPLY_TYPE_OFFSET_DATA, Some(range)) => {
                let offset = reader.u64().unwrap_or(u64::MAX);
                let data = reader.0;
                let place = offset.checked_sub(range.start).and_then(|at| usize::try_from(at).ok());
                self.data.resize(usize::try_from(range.bytes()).unwrap_or(0), 0);
                let into = place.and_then(|at| self.data.get_mut(at..)?.get_mut(..data.len()));
                into.ok_or_else(|| format!("data at {offset} for a read of {range:?}"))?
                    .copy_from_slice(data);
                self.filled += data.len();
            }
            (nbd::REPLY_TYPE_BLOCK_STATUS, None) => {
                let id = reader.u32();
                let mut extents = Vec::new();
                while let (Some(bytes), Some(state)) = (reader.u32(), reader.u32()) {
                    extents.push((bytes, state));
                }
                if id != Some(1) || self.status.replace(extents).is_some() {
                    return Err(format!("block status of context {id:?}, or twice"));
                }
            }
            (nbd::REPLY_TYPE_ERROR, _) => self.error = reader.u32(),
            (kind, read) => return Err(format!("a chunk of type {kind} for {read:?}")),
        }
        Ok(())
    }

    fn finish(self, read: Option<ByteRange>) -> Result<Outcome, String> {
        if let Some(error) = self.error {
            return Ok(Outcome::Failed(error));
        }
        match (read, self.status) {
            (Some(range), None) if self.filled as u64 == range.bytes() => {
                Ok(Outcome::Data(self.data))
            }
            (None, Some(extents)) => Ok(Outcome::Status(extents)),
            (None, None) => Ok(Outcome::Done),
            (read, status) => Err(format!("{} bytes and {status:?} for {read:?}", self.filled)),
        }
    }
}

fn check_flags(flags: u16) -> Result<(), String> {
    let needed = nbd::FLAG_HAS_FLAGS
        | nbd::FLAG_SEND_FLUSH
        | nbd::FLAG_SEND_FUA
        | nbd::FLAG_SEND_TRIM
        | nbd::FLAG_SEND_WRITE_ZEROES
        | nbd::FLAG_CAN_MULTI_CONN;
    if flags & needed == needed { Ok(()) } else { Err(format!("export flags {flags:#x}")) }
}

fn fua(durable: bool) -> u16 {
    if durable { nbd::CMD_FLAG_FUA } else { 0 }
}

fn header(flags: u16, command: u16, cookie: u64, offset: u64, bytes: u32, data: &[u8]) -> Vec<u8> {
    let mut out = nbd::REQUEST_MAGIC.to_be_bytes().to_vec();
    out.extend(flags.to_be_bytes());
    out.extend(command.to_be_bytes());
    out.extend(cookie.to_be_bytes());
    out.extend(offset.to_be_bytes());
    out.extend(bytes.to_be_bytes());
    out.extend(data);
    out
}

/// Length, then the bytes.
fn put_string(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend(u32::try_from(bytes.len()).expect("names are short").to_be_bytes());
    out.extend(bytes);
}

/// Received bytes, read field by field; nothing is read past the end.
#[derive(Clone, Copy)]
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn bytes(&mut self, count: u32) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(usize::try_from(count).ok()?)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*taken)
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }
}

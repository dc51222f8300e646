//! One client's connection without a socket: bytes in, events and bytes out.
//!
//! The owner of the socket hands received bytes to [`Session::receive`], carries out the events,
//! gives results back by [`Session::reply`], and sends what [`Session::take_output`] gives, in that
//! order and one send at a time. Handshake and transmission are one session, so a connection can be
//! moved between owners at any moment.
//!
//! What always holds
//! - S1 Every request gets exactly one reply, unless the connection closes before (I18).
//! - S2 How the input is cut into pieces changes neither events nor output.
//! - S3 Memory is bounded by the limits: input is left unread (`wants_input` is false) and what was
//!   received already is held while too many requests, or too many bytes of requests and unsent
//!   replies, are under way. One request, or one option, may pass the bound.
//! - S4 After `DISC` or a violation no input is looked at any more. What is outstanding is finished
//!   and answered; then `is_finished` says that the connection can be closed.
//!
//! When the client is gone, its outstanding requests still end in [`Session::reply`]; what waits to be
//! sent is dropped with the session.
//!
//! A large payload can be received straight into the buffer of its request: between two receives,
//! [`Session::take_payload`] gives the buffer out and [`Session::return_payload`] takes it back.

mod held;
mod in_flight;
mod negotiate;
mod output;
mod transmit;

use std::collections::VecDeque;

use flashtrack_engine::io::{Buffer, Part};
use flashtrack_engine::request::{ReplyData, RequestAction, RequestError};
use flashtrack_engine::units::VolumeId;

use crate::protocol::Violation;

use held::Held;
use negotiate::{HandshakeEnd, Negotiation};
use output::Output;
use transmit::Transmission;

/// Bounds of one session.
#[derive(Clone, Copy, Debug)]
pub struct SessionLimits {
    /// Options of one handshake; the next one closes the connection.
    pub options_max: u32,
    /// Data of one option, in bytes; longer data is skipped and the option refused.
    pub option_bytes_max: u32,
    /// Unsent option replies, in bytes, at which no further option is looked at.
    pub option_reply_bytes_max: usize,
    /// Length of one read or write, in bytes; longer ones are refused. The document forbids less
    /// than 32 MiB.
    pub payload_bytes_max: u32,
    /// Requests under way at which no further one is looked at.
    pub requests_max: usize,
    /// Bytes of requests under way and of unsent replies at which no further request is looked at.
    pub bytes_max: usize,
}

impl Default for SessionLimits {
    fn default() -> Self {
        Self {
            options_max: 1000,
            option_bytes_max: 64 << 10,
            option_reply_bytes_max: 64 << 10,
            payload_bytes_max: 64 << 20,
            // The Linux kernel has 128 under way on each connection.
            requests_max: 1024,
            bytes_max: 64 << 20,
        }
    }
}

/// An export as the handshake tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportInfo {
    /// The volume behind it.
    pub volume: VolumeId,
    /// Canonical name.
    pub name: String,
    /// A text for people; may be empty.
    pub description: String,
    /// Size in bytes.
    pub size_bytes: u64,
    /// Preferred block in bytes: a power of two, at least 512.
    pub preferred_block_bytes: u32,
}

/// What can be connected to.
pub trait Exports {
    /// The export of that name; the empty name asks for a default export.
    fn find(&self, name: &str) -> Option<ExportInfo>;
    /// Names of all exports, in the order in which they are listed.
    fn names(&self) -> Vec<String>;
}

/// Names a request of one session until its reply; small numbers, used again afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionRequestId(pub u32);

/// What the owner of the session has to act upon.
#[derive(Debug)]
pub enum Event {
    /// The handshake is over: the connection serves this volume from now on.
    ExportChosen(VolumeId),
    /// Carry this out and give the result to [`Session::reply`].
    Request {
        /// Comes back with the result.
        token: SessionRequestId,
        /// The volume that was chosen.
        volume: VolumeId,
        /// What is asked, checked against the volume's size at the handshake.
        action: RequestAction,
    },
    /// No input is taken any more; the last event. See [`Session::is_finished`].
    Closing(CloseReason),
}

/// Why a session takes no more input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// The client said `DISC`.
    Disconnect,
    /// The client said `ABORT`.
    Abort,
    /// The client broke the protocol.
    Violation(Violation),
}

impl From<Violation> for CloseReason {
    fn from(violation: Violation) -> Self {
        Self::Violation(violation)
    }
}

/// Where a session stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Options are exchanged; time for it should be limited.
    Handshake,
    /// Requests are served.
    Transmission,
    /// No input is taken any more.
    Closing,
}

/// A payload under way: receive into `buffer[filled..]` and add to `filled`.
#[derive(Debug)]
pub struct Payload {
    /// As long as the whole payload.
    pub buffer: Buffer,
    /// Bytes that have arrived.
    pub filled: usize,
}

/// One client's connection. See the module's documentation.
#[derive(Debug)]
pub struct Session {
    limits: SessionLimits,
    state: State,
    held: Held,
    output: Output,
    /// Held input waits for the limits, not for more bytes.
    stalled: bool,
    closing: bool,
    shutting_down: bool,
}

#[derive(Debug)]
enum State {
    Negotiating(Negotiation),
    Transmitting(Transmission),
}

/// What became of the message at the beginning of the input.
enum Step {
    /// So many bytes are dealt with.
    Consumed(usize),
    /// Nothing is dealt with: the message needs this many bytes in all.
    More(usize),
    /// Nothing is dealt with until the limits allow it.
    Stalled,
}

/// What both phases work with.
struct Context<'a> {
    limits: &'a SessionLimits,
    output: &'a mut Output,
    shutting_down: bool,
}

impl Session {
    /// A session whose output begins with the server's greeting.
    pub fn new(limits: SessionLimits) -> Self {
        let mut output = Output::default();
        negotiate::put_greeting(output.small());
        Self {
            limits,
            state: State::Negotiating(Negotiation::default()),
            held: Held::default(),
            output,
            stalled: false,
            closing: false,
            shutting_down: false,
        }
    }

    /// Takes received bytes, cut in any way; events are appended in order. Without bytes it takes
    /// up again what the limits held back (see [`Session::can_resume`]).
    ///
    /// # Panics
    /// When a payload that was given out has not come back.
    pub fn receive(&mut self, mut bytes: &[u8], exports: &dyn Exports, events: &mut Vec<Event>) {
        self.stalled = false;
        // A message that began in earlier bytes is completed with no more of the new ones than it
        // needs, so that the bulk of them is not copied.
        while !self.held.is_empty() {
            let mut held = std::mem::take(&mut self.held);
            let mut waits = false;
            match self.step(held.bytes(), exports, events) {
                Step::Consumed(count) => held.consume(count),
                Step::More(total) => {
                    let missing = total - held.bytes().len();
                    let (taken, rest) = bytes.split_at(missing.min(bytes.len()));
                    held.extend(taken);
                    bytes = rest;
                    waits = taken.is_empty();
                }
                Step::Stalled => {
                    held.extend(bytes);
                    self.stalled = true;
                    waits = true;
                }
            }
            self.held = held;
            if waits {
                return;
            }
        }
        while !bytes.is_empty() {
            match self.step(bytes, exports, events) {
                Step::Consumed(count) => bytes = &bytes[count..],
                Step::More(_) => return self.held.extend(bytes),
                Step::Stalled => {
                    self.stalled = true;
                    return self.held.extend(bytes);
                }
            }
        }
    }

    fn step(&mut self, input: &[u8], exports: &dyn Exports, events: &mut Vec<Event>) -> Step {
        if self.closing {
            return Step::Consumed(input.len());
        }
        let mut context = Context {
            limits: &self.limits,
            output: &mut self.output,
            shutting_down: self.shutting_down,
        };
        let reason = match &mut self.state {
            State::Negotiating(negotiation) => match negotiation.step(input, exports, &mut context)
            {
                Ok(step) => return step,
                Err(HandshakeEnd::Chosen(consumed, agreed)) => {
                    self.state = State::Transmitting(Transmission::new(agreed));
                    events.push(Event::ExportChosen(agreed.volume));
                    return Step::Consumed(consumed);
                }
                Err(HandshakeEnd::Close(reason)) => reason,
            },
            State::Transmitting(transmission) => {
                match transmission.step(input, &mut context, events) {
                    Ok(step) => return step,
                    Err(reason) => reason,
                }
            }
        };
        self.closing = true;
        events.push(Event::Closing(reason));
        Step::Consumed(input.len())
    }

    /// Encodes the one reply to a request.
    ///
    /// # Panics
    /// When no such request is under way, or the data is not what it asked for: a broken invariant
    /// of the caller, and no reply could keep the client in step.
    pub fn reply(&mut self, token: SessionRequestId, result: Result<ReplyData, RequestError>) {
        let State::Transmitting(transmission) = &mut self.state else {
            panic!("{token:?} is answered during the handshake");
        };
        transmission.reply(token, result, &mut self.output);
    }

    /// Bytes still missing of the payload under way; 0 when there is none.
    pub fn payload_missing(&self) -> usize {
        match &self.state {
            State::Transmitting(transmission) if !self.closing => transmission.payload_missing(),
            _ => 0,
        }
    }

    /// Gives out the buffer of the payload under way, so that its rest can be received straight into
    /// it. Nothing may be received in another way until it came back.
    pub fn take_payload(&mut self) -> Option<Payload> {
        match &mut self.state {
            State::Transmitting(transmission) if !self.closing => transmission.take_payload(),
            _ => None,
        }
    }

    /// Takes a payload back, complete or not; a complete one becomes a request.
    ///
    /// # Panics
    /// When no payload was given out, or another one.
    pub fn return_payload(&mut self, payload: Payload, events: &mut Vec<Event>) {
        let State::Transmitting(transmission) = &mut self.state else {
            panic!("a payload is returned during the handshake");
        };
        let mut context = Context {
            limits: &self.limits,
            output: &mut self.output,
            shutting_down: self.shutting_down,
        };
        transmission.return_payload(payload, &mut context, events);
    }

    /// Moves what is to be sent to the end of `out`. To be called when everything taken before was
    /// sent, so that unsent replies count against the limits.
    pub fn take_output(&mut self, out: &mut VecDeque<Part>) {
        self.output.take(out);
    }

    /// Gives what was sent back, so that its memory is used for coming headers.
    pub fn recycle(&mut self, sent: Part) {
        self.output.recycle(sent);
    }

    /// Whether something is to be sent.
    pub fn has_output(&self) -> bool {
        self.output.bytes() > 0
    }

    /// Whether more should be received now.
    pub fn wants_input(&self) -> bool {
        !self.closing && !self.stalled && (self.is_within_payload() || self.is_within_limits())
    }

    /// Whether input that the limits held back can be taken up: call [`Session::receive`] without
    /// bytes. Becomes true by replies and by taking output.
    pub fn can_resume(&self) -> bool {
        self.stalled && self.is_within_limits()
    }

    fn is_within_payload(&self) -> bool {
        matches!(&self.state, State::Transmitting(transmission) if transmission.is_within_payload())
    }

    fn is_within_limits(&self) -> bool {
        match &self.state {
            State::Negotiating(_) => self.output.bytes() < self.limits.option_reply_bytes_max,
            State::Transmitting(transmission) => {
                transmission.is_within_limits(&self.limits, &self.output)
            }
        }
    }

    /// From now on requests and options get the error that says so.
    pub fn begin_shutdown(&mut self) {
        self.shutting_down = true;
    }

    /// Whether nothing is owed to the client and nothing will be: it has ended the session, or the
    /// server is shutting down. When also everything taken from the output was sent, the connection
    /// can be closed without cutting a reply.
    pub fn is_finished(&self) -> bool {
        (self.closing || self.shutting_down) && self.requests_in_flight() == 0 && !self.has_output()
    }

    /// Requests whose reply is outstanding.
    pub fn requests_in_flight(&self) -> usize {
        match &self.state {
            State::Negotiating(_) => 0,
            State::Transmitting(transmission) => transmission.requests_in_flight(),
        }
    }

    /// Where the session stands.
    pub fn phase(&self) -> Phase {
        match &self.state {
            _ if self.closing => Phase::Closing,
            State::Negotiating(_) => Phase::Handshake,
            State::Transmitting(_) => Phase::Transmission,
        }
    }

    /// The volume that the client has chosen.
    pub fn volume(&self) -> Option<VolumeId> {
        match &self.state {
            State::Negotiating(_) => None,
            State::Transmitting(transmission) => Some(transmission.volume()),
        }
    }
}

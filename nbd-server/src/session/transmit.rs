//! The transmission phase: requests in, replies out in any order.
//!
//! - X1 A request is refused, or answered at once, or is in the table until its one reply.
//! - X2 The payload of a write is consumed whatever becomes of the write; a refused one is not stored.
//! - X3 A read's data goes out behind its own header, under its own cookie.

use flashtrack_engine::io::{Buffer, Stretch};
use flashtrack_engine::limits;
use flashtrack_engine::request::{
    Durability, ReplyData, RequestAction, RequestError, StatusExtent,
};
use flashtrack_engine::units::VolumeId;

use super::in_flight::{InFlight, Request};
use super::output::Output;
use super::{CloseReason, Context, Event, Payload, SessionLimits, SessionRequestId, Step};
use crate::protocol::constants::PAYLOAD_BYTES_ADVERTISED;
use crate::protocol::errno::ErrorValue;
use crate::protocol::reply::{self, ChunkPlace};
use crate::protocol::request::{
    Agreed, Answer, Command, ExtentCount, Refusal, ReplyStyle, RequestHeader,
};
use crate::protocol::status;

/// Bytes of an extent that waits for its reply.
const STATUS_EXTENT_BYTES: usize = size_of::<StatusExtent>();

// One chunk carries what is lent.
const _: () = assert!(limits::LENT_BYTES_MAX <= PAYLOAD_BYTES_ADVERTISED as u64);

/// The state of a connection that serves a volume.
#[derive(Debug)]
pub(super) struct Transmission {
    agreed: Agreed,
    in_flight: InFlight,
    input: Input,
}

/// What the next byte of input is.
#[derive(Debug)]
enum Input {
    /// The first of a header.
    Header,
    /// One of a write's payload.
    Payload(Write, Payload),
    /// One of a payload whose buffer is given out.
    PayloadGivenOut(Write),
    /// One of a refused write's payload.
    Skip { cookie: u64, refusal: Refusal, left: usize },
}

/// A write whose payload is under way.
#[derive(Clone, Copy, Debug)]
struct Write {
    cookie: u64,
    offset: u64,
    durability: Durability,
}

impl Transmission {
    pub(super) fn new(agreed: Agreed) -> Self {
        Self { agreed, in_flight: InFlight::default(), input: Input::Header }
    }

    pub(super) fn volume(&self) -> VolumeId {
        self.agreed.volume
    }

    pub(super) fn requests_in_flight(&self) -> usize {
        self.in_flight.requests()
    }

    pub(super) fn is_within_limits(&self, limits: &SessionLimits, output: &Output) -> bool {
        self.in_flight.requests() < limits.requests_max
            && self.in_flight.bytes() + output.bytes() < limits.bytes_max
    }

    pub(super) fn is_within_payload(&self) -> bool {
        !matches!(self.input, Input::Header)
    }

    pub(super) fn payload_missing(&self) -> usize {
        match &self.input {
            Input::Payload(_, payload) => payload.buffer.len() - payload.filled,
            _ => 0,
        }
    }

    pub(super) fn take_payload(&mut self) -> Option<Payload> {
        match std::mem::replace(&mut self.input, Input::Header) {
            Input::Payload(write, payload) => {
                self.input = Input::PayloadGivenOut(write);
                Some(payload)
            }
            other => {
                self.input = other;
                None
            }
        }
    }

    pub(super) fn return_payload(
        &mut self,
        payload: Payload,
        context: &mut Context<'_>,
        events: &mut Vec<Event>,
    ) {
        let Input::PayloadGivenOut(write) = self.input else {
            panic!("a payload is returned that was not given out");
        };
        self.take_in(write, payload, context, events);
    }

    /// Deals with the message at the beginning of `input`, which is not empty.
    pub(super) fn step(
        &mut self,
        input: &[u8],
        context: &mut Context<'_>,
        events: &mut Vec<Event>,
    ) -> Result<Step, CloseReason> {
        match std::mem::replace(&mut self.input, Input::Header) {
            Input::Header => self.step_header(input, context, events),
            Input::Payload(write, mut payload) => {
                let missing = &mut payload.buffer[payload.filled..];
                let count = missing.len().min(input.len());
                missing[..count].copy_from_slice(&input[..count]);
                payload.filled += count;
                self.take_in(write, payload, context, events);
                Ok(Step::Consumed(count))
            }
            Input::PayloadGivenOut(write) => {
                panic!("bytes are received while the payload of {write:?} is given out")
            }
            Input::Skip { cookie, refusal, left } => {
                let count = left.min(input.len());
                if count == left {
                    self.refuse(cookie, refusal, context.output);
                } else {
                    self.input = Input::Skip { cookie, refusal, left: left - count };
                }
                Ok(Step::Consumed(count))
            }
        }
    }

    fn take_in(
        &mut self,
        write: Write,
        payload: Payload,
        context: &mut Context<'_>,
        events: &mut Vec<Event>,
    ) {
        if payload.filled < payload.buffer.len() {
            self.input = Input::Payload(write, payload);
        } else {
            self.input = Input::Header;
            self.start_write(write, payload.buffer, context, events);
        }
    }

    fn step_header(
        &mut self,
        input: &[u8],
        context: &mut Context<'_>,
        events: &mut Vec<Event>,
    ) -> Result<Step, CloseReason> {
        if !self.is_within_limits(context.limits, context.output) {
            return Ok(Step::Stalled);
        }
        let Some(header) = RequestHeader::decode(input)? else {
            return Ok(Step::More(RequestHeader::BYTES));
        };
        let cookie = header.cookie;
        let (after, payload_bytes) = (&input[RequestHeader::BYTES..], header.payload_bytes());
        let command = match header.check(&self.agreed, context.limits.payload_bytes_max) {
            Ok(Command::Disconnect) => return Err(CloseReason::Disconnect),
            Ok(_) if context.shutting_down => Err(Refusal::Request(RequestError::Shutdown)),
            other => other,
        };
        let mut consumed = RequestHeader::BYTES;
        match command {
            Ok(Command::Disconnect | Command::Nothing) => self.put_done(cookie, context.output),
            Ok(Command::Write { offset, durability }) => {
                let write = Write { cookie, offset, durability };
                consumed += self.begin_write(write, payload_bytes as usize, after, context, events);
            }
            Ok(Command::Complete(action, answer)) => {
                let bytes = answer_bytes(&answer);
                self.start(Request { cookie, answer, bytes }, action, events);
            }
            Err(refusal) if payload_bytes == 0 => self.refuse(cookie, refusal, context.output),
            Err(refusal) => {
                self.input = Input::Skip { cookie, refusal, left: payload_bytes as usize };
            }
        }
        Ok(Step::Consumed(consumed))
    }

    /// Takes what has arrived of a payload; tells how many bytes that was.
    fn begin_write(
        &mut self,
        write: Write,
        payload_bytes: usize,
        arrived: &[u8],
        context: &mut Context<'_>,
        events: &mut Vec<Event>,
    ) -> usize {
        if let Some(data) = arrived.get(..payload_bytes) {
            self.start_write(write, Buffer::from(data), context, events);
            return payload_bytes;
        }
        let mut buffer = Buffer::scratch(payload_bytes);
        buffer[..arrived.len()].copy_from_slice(arrived);
        self.input = Input::Payload(write, Payload { buffer, filled: arrived.len() });
        arrived.len()
    }

    fn start_write(
        &mut self,
        write: Write,
        data: Buffer,
        context: &mut Context<'_>,
        events: &mut Vec<Event>,
    ) {
        if context.shutting_down {
            return self.refuse(write.cookie, RequestError::Shutdown.into(), context.output);
        }
        let request = Request { cookie: write.cookie, answer: Answer::Done, bytes: data.len() };
        let Write { offset, durability, .. } = write;
        self.start(request, RequestAction::Write { offset, data, durability }, events);
    }

    fn start(&mut self, request: Request, action: RequestAction, events: &mut Vec<Event>) {
        let token = self.in_flight.insert(request);
        events.push(Event::Request { token, volume: self.agreed.volume, action });
    }

    /// Encodes the reply to a request of the table.
    pub(super) fn reply(
        &mut self,
        token: SessionRequestId,
        result: Result<ReplyData, RequestError>,
        output: &mut Output,
    ) {
        let Request { cookie, answer, .. } = self.in_flight.remove(token);
        match (result, answer) {
            (Ok(ReplyData::Done), Answer::Done) => self.put_done(cookie, output),
            (Ok(ReplyData::Data(data)), Answer::Data { offset, bytes }) => {
                assert_eq!(data.len(), bytes as usize, "data of a read of {bytes} bytes");
                self.put_data(cookie, offset, data, output);
            }
            (Ok(ReplyData::Lent(stretch)), Answer::Data { offset, bytes }) => {
                assert_eq!(stretch.range.bytes(), u64::from(bytes), "lent for a read of {bytes}");
                self.put_lent(cookie, offset, stretch, output);
            }
            (Ok(ReplyData::Status(told)), Answer::Status { bytes, extents }) => {
                status::put_status(output.small(), cookie, bytes, &told, extents);
            }
            (Err(error), _) => self.refuse(cookie, error.into(), output),
            (Ok(data), answer) => unreachable!("{answer:?} was asked for and {data:?} given"),
        }
    }

    fn put_done(&self, cookie: u64, output: &mut Output) {
        match self.agreed.replies {
            ReplyStyle::Simple => reply::put_simple(output.small(), cookie, None),
            ReplyStyle::Structured => reply::put_none(output.small(), cookie),
        }
    }

    fn put_data(&self, cookie: u64, offset: u64, data: Buffer, output: &mut Output) {
        if self.agreed.replies == ReplyStyle::Simple {
            reply::put_simple(output.small(), cookie, None);
            return output.data(data);
        }
        let (mut offset, mut rest) = (offset, data);
        // The document: no chunk carries more than the advertised maximum.
        while rest.len() > PAYLOAD_BYTES_ADVERTISED as usize {
            let mut first = rest.into_vec();
            rest = Buffer::from_vec(first.split_off(PAYLOAD_BYTES_ADVERTISED as usize));
            let place = ChunkPlace::Within;
            reply::put_data_header(output.small(), place, cookie, offset, first.len());
            output.data(Buffer::from_vec(first));
            offset += u64::from(PAYLOAD_BYTES_ADVERTISED);
        }
        reply::put_data_header(output.small(), ChunkPlace::Last, cookie, offset, rest.len());
        output.data(rest);
    }

    /// What is lent is shorter than a chunk may be.
    fn put_lent(&self, cookie: u64, offset: u64, stretch: Stretch, output: &mut Output) {
        match self.agreed.replies {
            ReplyStyle::Simple => reply::put_simple(output.small(), cookie, None),
            ReplyStyle::Structured => {
                let bytes =
                    usize::try_from(stretch.range.bytes()).expect("what is lent is bounded");
                reply::put_data_header(output.small(), ChunkPlace::Last, cookie, offset, bytes);
            }
        }
        output.lent(stretch);
    }

    fn refuse(&self, cookie: u64, refusal: Refusal, output: &mut Output) {
        let value = ErrorValue::from(refusal);
        match self.agreed.replies {
            ReplyStyle::Simple => reply::put_simple(output.small(), cookie, Some(value)),
            ReplyStyle::Structured => {
                reply::put_error(output.small(), cookie, value, &refusal.to_string());
            }
        }
    }
}

/// Bytes that a reply may grow to, near enough to limit them.
fn answer_bytes(answer: &Answer) -> usize {
    match answer {
        Answer::Done => 0,
        Answer::Data { bytes, .. } => *bytes as usize,
        Answer::Status { extents: ExtentCount::One, .. } => STATUS_EXTENT_BYTES,
        // At worst each block differs from the one before.
        Answer::Status { bytes, .. } => (bytes / 4096 + 1) as usize * STATUS_EXTENT_BYTES,
    }
}

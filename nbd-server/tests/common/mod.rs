//! Conversations between a client and a session as tables of lines.
//!
//! Bytes are written as words: hexadecimal digits are bytes, `'text'` is its ASCII bytes (without
//! blanks), `00*124` is a byte repeated, and the magic numbers have names:
//! `init`, `opt`, `rep`, `req`, `simple`, `chunk`.

#![allow(dead_code, reason = "each test uses its part of the module")]

use std::collections::VecDeque;
use std::fmt::Write;

use flashtrack_engine::io::{Buffer, Part};
use flashtrack_engine::request::{
    Allocation, ReplyData, RequestAction, RequestError, StatusExtent,
};
use flashtrack_engine::units::VolumeId;
use flashtrack_nbd_server::session::{
    Event, ExportInfo, Exports, Session, SessionLimits, SessionRequestId,
};

/// One line of a conversation.
#[derive(Clone, Copy)]
pub(crate) enum Line<'a> {
    /// The client sends these bytes.
    C(&'a str),
    /// The server has sent these bytes next.
    S(&'a str),
    /// The session has asked for this next (see `describe`).
    Asks(&'a str),
    /// The request with this token is done.
    Done(u32),
    /// The read with this token gives these bytes.
    Data(u32, &'a str),
    /// The block status with this token gives these extents.
    Status(u32, &'a [(u64, Allocation)]),
    /// The request with this token fails.
    Fails(u32, RequestError),
    /// The server begins to shut down.
    Shutdown,
    /// The session is finished.
    Finished,
    /// The session is not finished.
    Unfinished,
}

/// The exports of all tests: `vol` (volume 7, 1 MiB, also the default) and `big` (volume 8, 8 TiB,
/// without a description).
pub(crate) struct TestExports;

impl Exports for TestExports {
    fn find(&self, name: &str) -> Option<ExportInfo> {
        match name {
            "vol" | "" => Some(ExportInfo {
                volume: VolumeId(7),
                name: "vol".into(),
                description: "test".into(),
                size_bytes: 1 << 20,
                preferred_block_bytes: 4096,
            }),
            "big" => Some(ExportInfo {
                volume: VolumeId(8),
                name: "big".into(),
                description: String::new(),
                size_bytes: 8 << 40,
                preferred_block_bytes: 4096,
            }),
            _ => None,
        }
    }

    fn names(&self) -> Vec<String> {
        vec!["big".into(), "vol".into()]
    }
}

/// The bytes that words stand for.
pub(crate) fn bytes(words: &str) -> Vec<u8> {
    words.split_whitespace().flat_map(word).collect()
}

fn word(word: &str) -> Vec<u8> {
    let hex = match word {
        "init" => "4e42444d41474943",
        "opt" => "49484156454f5054",
        "rep" => "0003e889045565a9",
        "req" => "25609513",
        "simple" => "67446698",
        "chunk" => "668e33ef",
        other => other,
    };
    if let Some(text) = hex.strip_prefix('\'') {
        return text.trim_end_matches('\'').as_bytes().to_vec();
    }
    let (hex, count) = match hex.split_once('*') {
        Some((hex, count)) => (hex, count.parse().unwrap()),
        None => (hex, 1),
    };
    assert!(hex.len().is_multiple_of(2), "odd number of digits in {word}");
    let digits = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    let once: Vec<u8> = (0..hex.len()).step_by(2).map(digits).collect();
    once.repeat(count)
}

/// An event in words: `0 read 4096..8192`, `chosen 7`, `closing Disconnect`.
pub(crate) fn describe(event: &Event) -> String {
    match event {
        Event::ExportChosen(volume) => format!("chosen {volume}"),
        Event::Closing(reason) => format!("closing {reason:?}"),
        Event::Request { token, action, .. } => format!("{} {}", token.0, describe_action(action)),
    }
}

fn describe_action(action: &RequestAction) -> String {
    match action {
        RequestAction::Read { range } => format!("read {}..{}", range.start, range.end),
        RequestAction::Write { offset, data, durability } => {
            format!("write {offset} {:02x?} {durability:?}", &data[..data.len().min(4)])
        }
        RequestAction::Flush => "flush".into(),
        RequestAction::Trim { range, durability } => {
            format!("trim {}..{} {durability:?}", range.start, range.end)
        }
        RequestAction::WriteZeroes { range, space, durability } => {
            format!("zero {}..{} {space:?} {durability:?}", range.start, range.end)
        }
        RequestAction::BlockStatus { range } => format!("status {}..{}", range.start, range.end),
    }
}

/// Everything that waits to be sent.
pub(crate) fn sent(session: &mut Session) -> Vec<u8> {
    let mut pieces = VecDeque::new();
    session.take_output(&mut pieces);
    pieces.into_iter().flat_map(|piece| in_memory(piece).into_vec()).collect()
}

/// The bytes of a part that carries them.
pub(crate) fn in_memory(part: Part) -> Buffer {
    match part {
        Part::Bytes(buffer) => buffer,
        Part::Lent(stretch) => panic!("{stretch:?} is in no memory"),
    }
}

/// Holds a conversation and compares each line; nothing may be left over before the client speaks
/// again, nor at the end.
pub(crate) fn converse(lines: &[Line<'_>]) -> Session {
    converse_with(SessionLimits::default(), lines)
}

/// The same with other limits.
pub(crate) fn converse_with(limits: SessionLimits, lines: &[Line<'_>]) -> Session {
    let mut session = Session::new(limits);
    let mut events = VecDeque::new();
    let mut output = Vec::new();
    for (number, line) in lines.iter().enumerate() {
        output.extend(sent(&mut session));
        match line {
            Line::C(words) => {
                assert!(output.is_empty(), "line {number}: not expected: {}", hex(&output));
                let mut new = Vec::new();
                session.receive(&bytes(words), &TestExports, &mut new);
                events.extend(new);
            }
            Line::S(words) => {
                let wanted = bytes(words);
                let got = output.drain(..wanted.len().min(output.len())).collect::<Vec<_>>();
                assert_eq!(hex(&got), hex(&wanted), "line {number}: {words}");
            }
            Line::Asks(words) => {
                let event = events.pop_front().as_ref().map(describe);
                assert_eq!(event.as_deref(), Some(*words), "line {number}");
            }
            Line::Done(token) => session.reply(SessionRequestId(*token), Ok(ReplyData::Done)),
            Line::Data(token, words) => {
                let data = Buffer::from_vec(bytes(words));
                session.reply(SessionRequestId(*token), Ok(ReplyData::Data(data)));
            }
            Line::Status(token, extents) => {
                let extent = |&(bytes, status): &_| StatusExtent { bytes, status };
                let extents = extents.iter().map(extent).collect();
                session.reply(SessionRequestId(*token), Ok(ReplyData::Status(extents)));
            }
            Line::Fails(token, error) => session.reply(SessionRequestId(*token), Err(*error)),
            Line::Shutdown => session.begin_shutdown(),
            Line::Finished => assert!(session.is_finished(), "line {number}: not finished"),
            Line::Unfinished => assert!(!session.is_finished(), "line {number}: finished"),
        }
    }
    output.extend(sent(&mut session));
    assert!(output.is_empty(), "left over: {}", hex(&output));
    assert!(events.is_empty(), "left over: {events:?}");
    session
}

/// Bytes as hexadecimal digits, for messages.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut digits, byte| {
        write!(digits, "{byte:02x}").unwrap();
        digits
    })
}

/// A client's request.
pub(crate) fn request(flags: u16, command: u16, cookie: u64, offset: u64, length: u32) -> Vec<u8> {
    let mut out = bytes("req");
    out.extend(flags.to_be_bytes());
    out.extend(command.to_be_bytes());
    out.extend(cookie.to_be_bytes());
    out.extend(offset.to_be_bytes());
    out.extend(length.to_be_bytes());
    out
}

/// A client's option.
pub(crate) fn option(option: u32, data: &[u8]) -> Vec<u8> {
    let mut out = bytes("opt");
    out.extend(option.to_be_bytes());
    out.extend(u32::try_from(data.len()).unwrap().to_be_bytes());
    out.extend(data);
    out
}

/// Client flags and a `GO` for `vol`, with structured replies and base:allocation.
pub(crate) fn structured_handshake() -> Vec<u8> {
    bytes(
        "00000003
         opt 00000008 00000000
         opt 0000000a 0000001e 00000003 'vol' 00000001 0000000f 'base:allocation'
         opt 00000007 00000009 00000003 'vol' 0000",
    )
}

//! Input in any pieces, replies in any order, and input that is no protocol at all.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::collections::BTreeMap;

use common::{TestExports, bytes, describe, hex, option, request, sent, structured_handshake};
use flashtrack_engine::io::Buffer;
use flashtrack_engine::request::{
    Allocation, ReplyData, RequestAction, RequestError, StatusExtent,
};
use flashtrack_nbd_server::protocol::reader::Reader;
use flashtrack_nbd_server::session::{Event, Phase, Session, SessionLimits, SessionRequestId};
use proptest::prelude::*;

/// The byte that every volume of these tests holds at `offset`.
fn content(offset: u64) -> u8 {
    (offset % 251).to_le_bytes()[0]
}

/// What a volume that never fails answers.
fn answer(action: &RequestAction) -> ReplyData {
    match action {
        RequestAction::Read { range } => {
            ReplyData::Data(Buffer::from_vec((range.start..range.end).map(content).collect()))
        }
        RequestAction::BlockStatus { range } => {
            ReplyData::Status(vec![StatusExtent { bytes: range.bytes(), status: Allocation::Data }])
        }
        _ => ReplyData::Done,
    }
}

/// Client flags and options that are served and refused.
fn options() -> Vec<u8> {
    let mut input = bytes("00000003");
    input.extend(option(3, &[]));
    input.extend(option(0x77, &[9; 100]));
    input.extend(option(6, &bytes("00000003 'vol' 0002 0003 0001")));
    input.extend(option(7, &bytes("00000009 'vol' 0002 0003 0001")));
    input
}

/// The option that ends the handshake, then requests that are carried out, refused and skipped, and
/// the end.
fn requests() -> Vec<u8> {
    let mut input = structured_handshake().split_off(4);
    input.extend(request(0, 0, 1, 4096, 600));
    input.extend(request(0, 1, 2, 0, 700));
    input.extend([5; 700]);
    input.extend(request(0x80, 1, 3, 0, 300));
    input.extend([6; 300]);
    input.extend(request(1, 3, 4, 0, 0));
    input.extend(request(0, 7, 5, 0, 8192));
    input.extend(request(0, 4, 6, 1 << 20, 1));
    input.extend(request(0, 0, 7, 0, 0));
    input.extend(request(0, 2, 8, 0, 0));
    input.extend([0xee; 50]);
    input
}

/// All of it, with an option between that is skipped because it is too long.
fn whole_session() -> Vec<u8> {
    [options(), option(9, &vec![0; 66_000]), requests()].concat()
}

/// Events and output of a session that receives these pieces; replies come at the end, in order.
fn run(pieces: &[&[u8]]) -> (Vec<String>, String) {
    let mut session = Session::new(SessionLimits::default());
    let mut events = Vec::new();
    for piece in pieces {
        session.receive(piece, &TestExports, &mut events);
    }
    finish(session, &events)
}

fn finish(mut session: Session, events: &[Event]) -> (Vec<String>, String) {
    let mut output = sent(&mut session);
    for event in events {
        if let Event::Request { token, action, .. } = event {
            session.reply(*token, Ok(answer(action)));
        }
    }
    output.extend(sent(&mut session));
    assert!(session.is_finished());
    (events.iter().map(describe).collect(), hex(&output))
}

/// Cuts `input` at these places.
fn cut(input: &[u8], mut places: Vec<usize>) -> Vec<&[u8]> {
    places.sort_unstable();
    let mut pieces = Vec::new();
    let mut from = 0;
    for place in places {
        pieces.push(&input[from..place]);
        from = place;
    }
    pieces.push(&input[from..]);
    pieces
}

#[test]
fn one_cut_anywhere_changes_nothing() {
    let input = whole_session();
    let whole = run(&[&input]);
    assert_eq!(whole.0.len(), 6, "{:?}", whole.0);

    // Within the long run of skipped data every place is like the next.
    let skipped = options().len() + 100..options().len() + 66_000;
    for place in (0..input.len()).filter(|place| !skipped.contains(place)) {
        let (first, second) = input.split_at(place);
        assert_eq!(run(&[first, second]), whole, "cut at {place}");
    }
}

#[test]
fn single_bytes_change_nothing() {
    let input = whole_session();
    let pieces: Vec<&[u8]> = input.chunks(1).collect();
    assert_eq!(run(&pieces), run(&[&input]));
}

#[test]
fn payloads_received_straight_into_requests_change_nothing() {
    let input = whole_session();
    for step in [1, 3, 100, 1000] {
        let mut session = Session::new(SessionLimits::default());
        let mut events = Vec::new();
        let mut rest = &input[..];
        while !rest.is_empty() {
            let taken = if let Some(mut payload) = session.take_payload() {
                let count = step.min(payload.buffer.len() - payload.filled).min(rest.len());
                let end = payload.filled + count;
                payload.buffer[payload.filled..end].copy_from_slice(&rest[..count]);
                payload.filled = end;
                session.return_payload(payload, &mut events);
                count
            } else {
                let count = step.min(rest.len());
                session.receive(&rest[..count], &TestExports, &mut events);
                count
            };
            rest = &rest[taken..];
        }
        assert_eq!(finish(session, &events), run(&[&input]), "step {step}");
    }
}

/// A request of the kinds that a client may send, legal or not.
fn any_request() -> impl Strategy<Value = (u16, u16, u64, u32)> {
    let flags = prop_oneof![6 => Just(0_u16), 1 => Just(1), 1 => any::<u16>()];
    let command = prop_oneof![8 => 0..2_u16, 4 => 3..8_u16, 1 => 8..20_u16];
    let offset = prop_oneof![8 => 0..(1_u64 << 20), 1 => any::<u64>()];
    let length = prop_oneof![1 => Just(0_u32), 8 => 1..40_000_u32];
    (flags, command, offset, length)
}

/// Takes a stream of structured replies apart: per cookie, how many replies were completed; the data
/// of reads is compared with what the volume holds.
fn count_replies(output: &[u8]) -> BTreeMap<u64, u32> {
    let mut replies = BTreeMap::new();
    let mut reader = Reader::new(output);
    while !reader.is_at_end() {
        assert_eq!(reader.u32(), Some(0x668e_33ef), "not in step");
        let (flags, kind) = (reader.u16().unwrap(), reader.u16().unwrap());
        let (cookie, length) = (reader.u64().unwrap(), reader.u32().unwrap());
        let mut payload = Reader::new(reader.bytes(length).expect("a chunk is cut off"));
        if kind == 1 {
            let offset = payload.u64().unwrap();
            let data = payload.bytes(length - 8).unwrap();
            let holds = (offset..).map(content).take(data.len());
            assert!(data.iter().copied().eq(holds), "wrong data at {offset}");
        }
        *replies.entry(cookie).or_default() += u32::from(flags & 1);
    }
    replies
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_cuts_change_nothing(places in prop::collection::vec(0..67_000_usize, 0..40)) {
        let input = whole_session();
        let places = places.into_iter().filter(|place| *place < input.len()).collect();
        prop_assert_eq!(run(&cut(&input, places)), run(&[&input]));
    }

    /// I18: whatever the order of completion, and however tight the limits are.
    #[test]
    fn every_request_gets_exactly_one_reply_with_its_own_data(
        requests in prop::collection::vec(any_request(), 1..60),
        requests_max in 1..20_usize,
        bytes_max in 1..200_000_usize,
        choices in prop::collection::vec(any::<prop::sample::Index>(), 1..50),
    ) {
        let mut input = structured_handshake();
        for (cookie, &(flags, command, offset, length)) in requests.iter().enumerate() {
            input.extend(request(flags, command, cookie as u64, offset, length));
            if command == 1 {
                input.resize(input.len() + length as usize, 0x25);
            }
        }
        let limits = SessionLimits { requests_max, bytes_max, ..SessionLimits::default() };
        let mut session = Session::new(limits);
        let mut output = Vec::new();
        let mut open: Vec<(SessionRequestId, ReplyData)> = Vec::new();
        let mut rest = &input[..];
        let mut choices = choices.iter().cycle();

        loop {
            let mut events = Vec::new();
            if session.can_resume() {
                session.receive(&[], &TestExports, &mut events);
            } else if session.wants_input() && !rest.is_empty() {
                let count = (choices.next().unwrap().index(5000) + 1).min(rest.len());
                session.receive(&rest[..count], &TestExports, &mut events);
                rest = &rest[count..];
            } else if open.is_empty() && !session.has_output() {
                break;
            } else if !open.is_empty() {
                let (token, data) = open.swap_remove(choices.next().unwrap().index(open.len()));
                session.reply(token, Ok(data));
            } else {
                output.extend(sent(&mut session));
            }
            for event in events {
                if let Event::Request { token, action, .. } = event {
                    open.push((token, answer(&action)));
                }
            }
            prop_assert!(open.len() <= requests_max);
            prop_assert_eq!(session.requests_in_flight(), open.len());
        }

        prop_assert!(rest.is_empty(), "input was never taken");
        let start = output.windows(4).position(|at| at == bytes("chunk")).unwrap_or(output.len());
        let replies = count_replies(&output[start..]);
        prop_assert_eq!(replies.len(), requests.len());
        prop_assert!(replies.values().all(|&count| count == 1), "{:?}", replies);
    }
}

/// A small generator of its own: the same seed gives the same run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit as u64).unwrap()
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[0]
    }
}

/// Changes, removes, doubles or inserts something.
fn mutate(input: &mut Vec<u8>, random: &mut Random) {
    if input.is_empty() {
        return;
    }
    let place = random.below(input.len());
    let end = (place + random.below(40) + 1).min(input.len());
    match random.below(5) {
        0 => input[place] = random.byte(),
        1 => input[place] ^= 1 << random.below(8),
        2 => drop(input.drain(place..end)),
        3 => {
            let copy = input[place..end].to_vec();
            input.splice(place..place, copy);
        }
        _ => {
            let extreme = [0x00, 0x7f, 0x80, 0xff][random.below(4)];
            input[place..end].fill(extreme);
        }
    }
}

/// Serves whatever `input` asks for, some of it failing, and checks the bounds on the way.
fn survive(input: &[u8], random: &mut Random) {
    let limits = SessionLimits {
        payload_bytes_max: 32 << 20,
        requests_max: 8,
        bytes_max: 1 << 20,
        ..SessionLimits::default()
    };
    let mut session = Session::new(limits);
    let mut open = Vec::new();
    let mut rest = input;
    loop {
        let mut events = Vec::new();
        if session.can_resume() {
            session.receive(&[], &TestExports, &mut events);
        } else if session.wants_input() && !rest.is_empty() {
            let count = (random.below(2000) + 1).min(rest.len());
            session.receive(&rest[..count], &TestExports, &mut events);
            rest = &rest[count..];
        } else if open.is_empty() && !session.has_output() {
            break;
        }
        for event in events {
            if let Event::Request { token, action, .. } = event {
                if let RequestAction::Write { data, .. } = &action {
                    assert!(data.len() <= 32 << 20);
                }
                open.push((token, action));
            }
        }
        assert!(open.len() <= 8);
        let unsent = sent(&mut session).len();
        assert!(unsent <= (33 << 20), "{unsent} bytes were collected");
        while !open.is_empty() && random.below(4) > 0 {
            let (token, action) = open.swap_remove(random.below(open.len()));
            let fails = random.below(5) == 0;
            let result = if fails { Err(RequestError::NoSpace) } else { Ok(answer(&action)) };
            session.reply(token, result);
        }
    }
    assert_eq!(session.requests_in_flight(), 0);
    assert!(rest.is_empty() || session.phase() == Phase::Closing);
}

#[test]
fn mutated_sessions_never_panic_nor_pass_a_limit() {
    let valid = whole_session();
    // Without the long option mutations hit what is parsed.
    let short = [options(), requests()].concat();
    for seed in 0..3000 {
        let mut random = Random(seed);
        let mut input = match random.below(3) {
            0 => valid.clone(),
            1 => short.clone(),
            _ => [bytes("00000003"), requests()].concat(),
        };
        for _ in 0..=random.below(12) {
            mutate(&mut input, &mut random);
        }
        survive(&input, &mut random);
    }
}

#[test]
fn random_bytes_behind_a_valid_beginning_never_panic() {
    for seed in 0..3000 {
        let mut random = Random(seed);
        let mut input = match random.below(4) {
            0 => Vec::new(),
            1 => bytes("00000003"),
            2 => structured_handshake(),
            _ => [bytes("00000003"), bytes("opt 000000"), vec![random.byte()]].concat(),
        };
        for _ in 0..random.below(20) {
            match random.below(3) {
                0 => input.extend((0..random.below(200)).map(|_| random.byte())),
                1 => {
                    let data: Vec<u8> =
                        (0..random.below(100)).map(|_| random.byte() & 15).collect();
                    input.extend(option(u32::from(random.byte() % 14), &data));
                }
                _ => {
                    let (flags, command) = (u16::from(random.byte() % 8), random.next() % 9);
                    let (offset, length) = (random.next() >> random.below(64), random.next() >> 44);
                    let command = u16::try_from(command).unwrap();
                    let length = u32::try_from(length).unwrap();
                    input.extend(request(flags, command, random.next(), offset, length));
                }
            }
        }
        survive(&input, &mut random);
    }
}

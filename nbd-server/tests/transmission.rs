//! The transmission phase, byte for byte. The notation is explained in `common`.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::collections::VecDeque;

use common::Line::{Asks, C, Data, Done, Fails, Finished, S, Shutdown, Status, Unfinished};
use common::{
    Line, TestExports, bytes, converse, hex, in_memory, request, sent, structured_handshake,
};
use flashtrack_engine::io::{Buffer, Object, Part, Stretch};
use flashtrack_engine::request::{Allocation, ReplyData, RequestAction, RequestError};
use flashtrack_engine::units::{ByteRange, VolumeId};
use flashtrack_nbd_server::session::{
    CloseReason, Event, Phase, Session, SessionLimits, SessionRequestId,
};

/// A session of `vol` as the Linux kernel has it: simple replies.
fn simple(lines: &[Line<'_>]) -> Session {
    let mut all = vec![
        S("init opt 0003"),
        C("00000003 opt 00000001 00000003 'vol'"),
        Asks("chosen 7"),
        S("0000000000100000 016d"),
    ];
    all.extend(lines.iter().copied());
    converse(&all)
}

/// A session of `vol` with structured replies and base:allocation.
fn structured(lines: &[Line<'_>]) -> Session {
    let handshake = hex(&structured_handshake());
    let mut all = vec![
        S("init opt 0003"),
        C(&handshake),
        Asks("chosen 7"),
        S("rep 00000008 00000001 00000000"),
        S("rep 0000000a 00000004 00000013  00000001 'base:allocation'"),
        S("rep 0000000a 00000001 00000000"),
        S("rep 00000007 00000003 0000000c  0000 0000000000100000 01ed"),
        S("rep 00000007 00000001 00000000"),
    ];
    all.extend(lines.iter().copied());
    converse(&all)
}

/// A session after the handshake, with its greeting taken.
fn open(limits: SessionLimits, handshake: &[u8]) -> Session {
    let mut session = Session::new(limits);
    session.receive(handshake, &TestExports, &mut Vec::new());
    assert_eq!(session.phase(), Phase::Transmission);
    sent(&mut session);
    session
}

/// As the Linux kernel connects.
fn open_simple() -> Session {
    let handshake = bytes("00000003 opt 00000001 00000003 'vol'");
    open(SessionLimits::default(), &handshake)
}

fn open_structured() -> Session {
    open(SessionLimits::default(), &structured_handshake())
}

fn receive(session: &mut Session, input: &[u8]) -> Vec<Event> {
    let mut events = Vec::new();
    session.receive(input, &TestExports, &mut events);
    events
}

/// Error value and text of a structured reply that is one error chunk.
fn structured_error(output: &[u8]) -> (u32, String) {
    assert_eq!(hex(&output[..8]), "668e33ef00018001", "no error chunk: {}", hex(output));
    let value = u32::from_be_bytes(output[20..24].try_into().unwrap());
    let length = usize::from(u16::from_be_bytes(output[24..26].try_into().unwrap()));
    assert_eq!(output.len(), 26 + length);
    (value, String::from_utf8(output[26..].to_vec()).unwrap())
}

#[test]
fn the_kernel_reads_writes_and_flushes_with_simple_replies_in_any_order() {
    simple(&[
        C("req 0000 0000 00000000000000a1 0000000000001000 00000004"),
        Asks("0 read 4096..4100"),
        C("req 0000 0001 00000000000000a2 0000000000000200 00000004 'data'"),
        Asks("1 write 512 [64, 61, 74, 61] Volatile"),
        C("req 0000 0003 00000000000000a3 0000000000000000 00000000"),
        Asks("2 flush"),
        Done(2),
        S("simple 00000000 00000000000000a3"),
        Done(1),
        Data(0, "'abcd'"),
        S("simple 00000000 00000000000000a2"),
        S("simple 00000000 00000000000000a1 'abcd'"),
        Unfinished,
        C("req 0000 0002 00000000000000a4 0000000000000000 00000000"),
        Asks("closing Disconnect"),
        Finished,
    ]);
}

#[test]
fn structured_replies_carry_data_status_and_errors() {
    structured(&[
        C("req 0000 0000 00000000000000a1 0000000000001000 00000004"),
        Asks("0 read 4096..4100"),
        C("req 0004 0000 00000000000000a2 0000000000000000 00000004"),
        Asks("1 read 0..4"),
        Data(1, "'wxyz'"),
        S("chunk 0001 0001 00000000000000a2 0000000c  0000000000000000 'wxyz'"),
        Data(0, "'abcd'"),
        S("chunk 0001 0001 00000000000000a1 0000000c  0000000000001000 'abcd'"),
        C("req 0001 0001 00000000000000a3 0000000000000000 00000001 ff"),
        Asks("0 write 0 [ff] Durable"),
        Done(0),
        S("chunk 0001 0000 00000000000000a3 00000000"),
        C("req 0000 0007 00000000000000a4 0000000000000000 00003000"),
        Asks("0 status 0..12288"),
        Status(0, &[(8192, Allocation::Data), (2048, Allocation::Hole), (2048, Allocation::Zero)]),
        S("chunk 0001 0005 00000000000000a4 0000001c  00000001"),
        S("00002000 00000000  00000800 00000003  00000800 00000002"),
        C("req 0000 0000 00000000000000a5 0000000000000000 00000001"),
        Asks("0 read 0..1"),
        Fails(0, RequestError::Io),
        S("chunk 0001 8001 00000000000000a5 00000018  00000005 0012"),
        S("'input/output' 20 'error'"),
    ]);
}

#[test]
fn block_status_of_one_extent_tells_no_more_than_was_asked() {
    structured(&[
        C("req 0008 0007 00000000000000a1 0000000000000000 00001000"),
        Asks("0 status 0..4096"),
        Status(0, &[(1024, Allocation::Hole), (3072, Allocation::Data)]),
        S("chunk 0001 0005 00000000000000a1 0000000c  00000001  00000400 00000003"),
        C("req 0009 0007 00000000000000a1 0000000000000000 00000200"),
        Asks("0 status 0..512"),
        Status(0, &[(8192, Allocation::Zero)]),
        S("chunk 0001 0005 00000000000000a1 0000000c  00000001  00000200 00000002"),
    ]);
}

#[test]
fn fua_is_accepted_on_every_command_and_no_hole_keeps_the_space() {
    simple(&[
        C("req 0001 0004 0000000000000001 0000000000000000 00001000"),
        Asks("0 trim 0..4096 Durable"),
        C("req 0000 0004 0000000000000002 0000000000000000 00001000"),
        Asks("1 trim 0..4096 Volatile"),
        C("req 0003 0006 0000000000000003 0000000000000000 00001000"),
        Asks("2 zero 0..4096 Keep Durable"),
        C("req 0000 0006 0000000000000004 0000000000000000 00001000"),
        Asks("3 zero 0..4096 Release Volatile"),
        C("req 0001 0003 0000000000000005 0000000000000000 00000000"),
        Asks("4 flush"),
        C("req 0001 0000 0000000000000006 0000000000000000 00000001"),
        Asks("5 read 0..1"),
        C("req 0001 0002 0000000000000007 0000000000000000 00000000"),
        Asks("closing Disconnect"),
    ]);
}

#[test]
fn refused_requests_get_their_error_and_the_session_goes_on() {
    const END: u64 = 1 << 20;
    const MISSING: u64 = u64::MAX;
    // command, flags, offset, length, error value
    let cases: &[(u16, u16, u64, u32, u32)] = &[
        // Past the end: 28 for what writes data, 22 for the others; sums may not wrap.
        (0, 0, END, 1, 22),
        (0, 0, END - 1, 2, 22),
        (0, 0, MISSING, 1, 22),
        (0, 0, MISSING, u32::MAX, 22),
        (0, 0, END + 1, 0, 22),
        (1, 0, END, 1, 28),
        (1, 0, END - 1, 2, 28),
        (1, 1, MISSING, 3, 28),
        (1, 0, END + 1, 0, 28),
        (6, 0, END - 1, 2, 28),
        (6, 0, MISSING, u32::MAX, 28),
        (4, 0, END - 1, 2, 22),
        (4, 0, MISSING, u32::MAX, 22),
        (7, 0, END - 1, 2, 22),
        (7, 0, END, 1, 22),
        // Flags that are unknown, not offered, or not for this command.
        (0, 2, 0, 1, 22),
        (0, 8, 0, 1, 22),
        (0, 0x8000, 0, 1, 22),
        (1, 4, 0, 3, 22),
        (1, 32, 0, 3, 22),
        (3, 2, 0, 0, 22),
        (4, 2, 0, 1, 22),
        (6, 16, 0, 1, 22),
        (6, 4, 0, 1, 22),
        (7, 2, 0, 1, 22),
        // Commands that are unknown or not offered.
        (5, 0, 0, 1, 22),
        (8, 0, 0, 0, 22),
        (0xffff, 0, 0, 7, 22),
        // Reserved fields and lengths that have no answer.
        (3, 0, 1, 0, 22),
        (3, 0, 0, 1, 22),
        (7, 0, 0, 0, 22),
    ];
    for &(command, flags, offset, length, value) in cases {
        let mut input = request(flags, command, 0xaa, offset, length);
        if command == 1 {
            // A payload that looks like a request must not be served.
            input.extend(vec![0x25; length as usize]);
        }
        let name = format!("command {command} flags {flags} at {offset}, {length} bytes");

        let mut session = open_structured();
        let events = receive(&mut session, &[&input[..], &request(0, 3, 0xbb, 0, 0)].concat());
        let [Event::Request { token, action: RequestAction::Flush, .. }] = events[..] else {
            panic!("{name}: {events:?}");
        };
        let output = sent(&mut session);
        assert_eq!(structured_error(&output).0, value, "{name}");
        session.reply(token, Ok(ReplyData::Done));
        assert_eq!(hex(&sent(&mut session)), "668e33ef0001000000000000000000bb00000000");

        let mut session = open(SessionLimits::default(), &bytes("00000003 opt 00000001 00000000"));
        let events = receive(&mut session, &input);
        assert!(events.is_empty(), "{name}: {events:?}");
        let wanted = format!("67446698{value:08x}00000000000000aa");
        assert_eq!(hex(&sent(&mut session)), wanted, "{name}");
    }
}

#[test]
fn without_structured_replies_df_and_block_status_are_refused() {
    simple(&[
        C("req 0004 0000 00000000000000a1 0000000000000000 00000004"),
        S("simple 00000016 00000000000000a1"),
        C("req 0000 0007 00000000000000a2 0000000000000000 00001000"),
        S("simple 00000016 00000000000000a2"),
    ]);
}

#[test]
fn a_length_of_zero_succeeds_and_reaches_nobody() {
    structured(&[
        C("req 0000 0000 0000000000000001 0000000000100000 00000000"),
        S("chunk 0001 0000 0000000000000001 00000000"),
        C("req 0001 0001 0000000000000002 0000000000000000 00000000"),
        S("chunk 0001 0000 0000000000000002 00000000"),
        C("req 0000 0004 0000000000000003 0000000000000000 00000000"),
        S("chunk 0001 0000 0000000000000003 00000000"),
        C("req 0002 0006 0000000000000004 0000000000000000 00000000"),
        S("chunk 0001 0000 0000000000000004 00000000"),
    ]);
    simple(&[
        C("req 0000 0000 0000000000000001 0000000000100000 00000000"),
        S("simple 00000000 0000000000000001"),
    ]);
}

#[test]
fn requests_without_payload_may_be_four_gigabytes_long() {
    let handshake = bytes(
        "00000003 opt 00000008 00000000
         opt 0000000a 0000001e 00000003 'big' 00000001 0000000f 'base:allocation'
         opt 00000007 00000009 00000003 'big' 0000",
    );
    let mut session = open(SessionLimits::default(), &handshake);
    for (command, words) in [
        (4, "trim 4096..4294971391 Volatile"),
        (6, "zero 4096..4294971391 Release Volatile"),
        (7, "status 4096..4294971391"),
    ] {
        let events = receive(&mut session, &request(0, command, 1, 4096, u32::MAX));
        let [Event::Request { volume: VolumeId(8), .. }] = &events[..] else {
            panic!("{events:?}");
        };
        assert_eq!(common::describe(&events[0]).split_once(' ').unwrap().1, words);
    }
}

#[test]
fn reads_longer_than_a_chunk_are_split_and_too_long_ones_are_refused() {
    const MIB: u32 = 1 << 20;
    let handshake = bytes("00000003 opt 00000008 00000000 opt 00000001 00000003 'big'");
    let mut session = open(SessionLimits::default(), &handshake);

    receive(&mut session, &request(0, 0, 1, 0, 64 * MIB));
    let data = Buffer::zeroed(64 << 20);
    session.reply(SessionRequestId(0), Ok(ReplyData::Data(data)));
    let mut pieces = VecDeque::new();
    session.take_output(&mut pieces);
    let pieces: Vec<Buffer> = pieces.into_iter().map(in_memory).collect();
    let headers: Vec<_> = pieces.iter().filter(|piece| piece.len() < 100).map(|p| hex(p)).collect();
    assert_eq!(
        headers,
        [
            "668e33ef00000001000000000000000102000008 0000000000000000".replace(' ', ""),
            "668e33ef00010001000000000000000102000008 0000000002000000".replace(' ', ""),
        ]
    );
    assert_eq!(pieces.iter().map(|piece| piece.len()).sum::<usize>(), (64 << 20) + 56);

    assert!(receive(&mut session, &request(0, 0, 2, 0, 64 * MIB + 1)).is_empty());
    assert_eq!(structured_error(&sent(&mut session)).0, 22);
    assert!(receive(&mut session, &request(4, 0, 3, 0, 32 * MIB + 1)).is_empty());
    assert_eq!(structured_error(&sent(&mut session)).0, 75);
    assert_eq!(receive(&mut session, &request(4, 0, 4, 0, 32 * MIB)).len(), 1);
}

#[test]
fn the_payload_of_a_write_that_is_too_long_is_consumed_and_refused() {
    let mut session =
        open(SessionLimits::default(), &bytes("00000003 opt 00000001 00000003 'big'"));
    let length = (64 << 20) + 1_u32;

    assert!(receive(&mut session, &request(0, 1, 1, 0, length)).is_empty());
    assert_eq!(session.payload_missing(), 0);
    let mut left = length as usize;
    let piece = vec![0; 1 << 20];
    while left > 0 {
        let count = left.min(piece.len());
        assert!(!session.has_output());
        assert!(receive(&mut session, &piece[..count]).is_empty());
        left -= count;
    }

    assert_eq!(hex(&sent(&mut session)), "67446698000000160000000000000001");
    assert_eq!(receive(&mut session, &request(0, 3, 2, 0, 0)).len(), 1);
}

#[test]
fn every_error_of_the_engine_has_its_value() {
    let range = ByteRange { start: 0, end: 1 };
    let errors = [
        (RequestError::NoVolume(VolumeId(7)), 5),
        (RequestError::PastEnd { range, size: 0 }, 22),
        (RequestError::WritePastEnd { range, size: 0 }, 28),
        (RequestError::TooLong(1), 22),
        (RequestError::NoSpace, 28),
        (RequestError::Io, 5),
        (RequestError::Failed, 5),
        (RequestError::FailStop, 5),
        (RequestError::Shutdown, 108),
    ];
    for (error, value) in errors {
        let mut session = open_structured();
        receive(&mut session, &request(0, 0, 1, 0, 1));
        session.reply(SessionRequestId(0), Err(error));
        assert_eq!(structured_error(&sent(&mut session)), (value, error.to_string()));
    }
}

#[test]
fn disconnect_waits_for_what_is_outstanding_and_ignores_what_follows() {
    simple(&[
        C("req 0000 0000 00000000000000a1 0000000000000000 00000002"),
        Asks("0 read 0..2"),
        C("req 0000 0001 00000000000000a2 0000000000000000 00000001 00
           req 0000 0002 00000000000000a3 0000000000000000 00000000
           req 0000 0003 00000000000000a4 0000000000000000 00000000"),
        Asks("1 write 0 [00] Volatile"),
        Asks("closing Disconnect"),
        Unfinished,
        C("'garbage'"),
        Done(1),
        Unfinished,
        S("simple 00000000 00000000000000a2"),
        Data(0, "0102"),
        S("simple 00000000 00000000000000a1 0102"),
        Finished,
    ]);
}

#[test]
fn a_client_out_of_step_is_answered_what_it_asked_before_and_closed() {
    let mut session = open_structured();
    let events = receive(&mut session, &[&request(0, 3, 1, 0, 0)[..], &[0; 28]].concat());

    let [Event::Request { token, .. }, Event::Closing(CloseReason::Violation(_))] = events[..]
    else {
        panic!("{events:?}");
    };
    assert!(!session.wants_input() && !session.is_finished());
    session.reply(token, Ok(ReplyData::Done));
    assert_eq!(sent(&mut session).len(), 20);
    assert!(session.is_finished());
}

#[test]
fn at_shutdown_later_requests_are_refused_and_earlier_ones_finish() {
    simple(&[
        C("req 0000 0000 00000000000000a1 0000000000000000 00000002"),
        Asks("0 read 0..2"),
        C("req 0000 0001 00000000000000a2 0000000000000000 00000002 01"),
        Shutdown,
        Unfinished,
        // The rest of a payload, then new requests.
        C("02"),
        S("simple 0000006c 00000000000000a2"),
        C("req 0000 0003 00000000000000a3 0000000000000000 00000000"),
        S("simple 0000006c 00000000000000a3"),
        C("req 0000 0001 00000000000000a4 0000000000000000 00000002 0102"),
        S("simple 0000006c 00000000000000a4"),
        Data(0, "0102"),
        S("simple 00000000 00000000000000a1 0102"),
        Finished,
    ]);
}

#[test]
fn input_waits_at_the_limit_of_requests_and_goes_on_with_a_reply() {
    let limits = SessionLimits { requests_max: 2, ..SessionLimits::default() };
    let mut session = open(limits, &structured_handshake());
    let flushes: Vec<u8> = (1..=5).flat_map(|cookie| request(0, 3, cookie, 0, 0)).collect();

    let mut begun = receive(&mut session, &flushes).len();

    while begun < 5 {
        assert_eq!(session.requests_in_flight(), 2);
        assert!(!session.wants_input() && !session.can_resume());
        session.reply(SessionRequestId(1), Ok(ReplyData::Done));
        assert!(session.can_resume());
        let events = receive(&mut session, &[]);
        let [Event::Request { token: SessionRequestId(1), .. }] = events[..] else {
            panic!("{events:?}");
        };
        begun += 1;
    }
    session.reply(SessionRequestId(0), Ok(ReplyData::Done));
    assert!(session.wants_input() || session.can_resume());
}

#[test]
fn input_waits_while_bytes_asked_for_or_unsent_pass_the_limit() {
    let limits = SessionLimits { bytes_max: 100_000, ..SessionLimits::default() };
    let mut session = open(limits, &structured_handshake());
    let reads: Vec<u8> = (1..=9).flat_map(|cookie| request(0, 0, cookie, 0, 60_000)).collect();

    assert_eq!(receive(&mut session, &reads).len(), 2);
    assert!(!session.wants_input());

    // Unsent replies count like the requests that they answer.
    for token in [0, 1] {
        session.reply(SessionRequestId(token), Ok(ReplyData::Data(Buffer::zeroed(60_000))));
        assert!(!session.can_resume());
    }
    sent(&mut session);
    assert!(session.can_resume());
    assert_eq!(receive(&mut session, &[]).len(), 2);
}

#[test]
fn a_payload_can_be_received_straight_into_its_request() {
    let mut session = open_structured();
    let mut input = request(0, 1, 1, 4096, 100_000);
    input.extend([1; 1000]);
    assert!(receive(&mut session, &input).is_empty());
    assert_eq!(session.payload_missing(), 99_000);
    assert!(session.wants_input());

    let mut events = Vec::new();
    let mut payload = session.take_payload().unwrap();
    let address = payload.buffer.as_ptr();
    assert_eq!((payload.buffer.len(), payload.filled), (100_000, 1000));
    assert!(session.take_payload().is_none());
    payload.buffer[1000..60_000].fill(2);
    payload.filled = 60_000;
    session.return_payload(payload, &mut events);
    assert!(events.is_empty());
    assert_eq!(session.payload_missing(), 40_000);
    let mut payload = session.take_payload().unwrap();
    payload.buffer[60_000..].fill(3);
    payload.filled = 100_000;
    session.return_payload(payload, &mut events);

    let Some(Event::Request { action: RequestAction::Write { offset, data, .. }, .. }) =
        events.pop()
    else {
        panic!("no write");
    };
    assert_eq!((offset, data.len(), data.as_ptr()), (4096, 100_000, address));
    assert_eq!((data[999], data[1000], data[59_999], data[60_000]), (1, 2, 2, 3));
    assert_eq!(receive(&mut session, &request(0, 3, 2, 0, 0)).len(), 1);
}

#[test]
fn large_read_data_is_sent_without_being_copied() {
    let mut session = open_structured();
    receive(&mut session, &request(0, 0, 1, 0, 128 << 10));
    let data = Buffer::zeroed(128 << 10);
    let address = data.as_ptr();

    session.reply(SessionRequestId(0), Ok(ReplyData::Data(data)));
    let mut pieces = VecDeque::new();
    session.take_output(&mut pieces);

    assert_eq!(pieces.len(), 2);
    assert_eq!(pieces[0].len(), 28);
    assert_eq!(in_memory(pieces.pop_back().unwrap()).as_ptr(), address);
}

#[test]
fn data_that_is_lent_goes_out_behind_the_header_of_its_read() {
    let range = ByteRange { start: 65_536, end: 196_608 };
    let stretch = Stretch { object: Object::Home(VolumeId(3)), range };
    for (mut session, header) in [
        (open_structured(), "668e33ef 0001 0001 0000000000000001 00020008 0000000000010000"),
        (open_simple(), "67446698 00000000 0000000000000001"),
    ] {
        receive(&mut session, &request(0, 0, 1, 65_536, 128 << 10));

        session.reply(SessionRequestId(0), Ok(ReplyData::Lent(stretch)));
        let mut pieces = VecDeque::new();
        session.take_output(&mut pieces);

        assert_eq!(pieces.len(), 2);
        assert!(matches!(pieces.pop_back(), Some(Part::Lent(lent)) if lent == stretch));
        let sent = in_memory(pieces.pop_back().unwrap());
        assert_eq!(hex(&sent), header.replace(' ', ""));
    }
}

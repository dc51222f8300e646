//! Handshakes, byte for byte. The notation is explained in `common`.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use common::Line::{Asks, C, Finished, S, Shutdown, Unfinished};
use common::{TestExports, bytes, converse, converse_with, hex, option, sent};
use flashtrack_nbd_server::protocol::Violation;
use flashtrack_nbd_server::session::{CloseReason, Event, Phase, Session, SessionLimits};

const GREETING: &str = "init opt 0003";

/// Text of an error reply, with its length in front.
fn text(text: &str) -> String {
    format!("{:08x} {}", text.len(), hex(text.as_bytes()))
}

/// Runs `input` after the client flags; gives the session, its output after the greeting, and the
/// reason of its end, if any.
fn after_flags(input: &[u8]) -> (Session, Vec<u8>, Option<CloseReason>) {
    let mut session = Session::new(SessionLimits::default());
    let mut events = Vec::new();
    session.receive(&bytes("00000003"), &TestExports, &mut events);
    sent(&mut session);
    session.receive(input, &TestExports, &mut events);
    let output = sent(&mut session);
    let reason = events.into_iter().find_map(|event| match event {
        Event::Closing(reason) => Some(reason),
        _ => None,
    });
    (session, output, reason)
}

/// Reply types in an output of option replies.
fn reply_types(mut output: &[u8]) -> Vec<u32> {
    let mut types = Vec::new();
    while !output.is_empty() {
        assert_eq!(&output[..8], bytes("rep"));
        let field = |at: usize| u32::from_be_bytes(output[at..at + 4].try_into().unwrap());
        types.push(field(12));
        let length = usize::try_from(field(16)).unwrap();
        output = &output[20 + length..];
    }
    types
}

#[test]
fn nbd_client_goes_without_asking_for_information() {
    converse(&[
        S(GREETING),
        C("00000003"),
        C("opt 00000007 00000009  00000003 'vol' 0000"),
        Asks("chosen 7"),
        S("rep 00000007 00000003 0000000c  0000 0000000000100000 016d"),
        S("rep 00000007 00000001 00000000"),
        Unfinished,
    ]);
}

#[test]
fn export_name_is_answered_with_zeroes_unless_the_client_declines_them() {
    converse(&[
        S(GREETING),
        C("00000001"),
        C("opt 00000001 00000003 'vol'"),
        Asks("chosen 7"),
        S("0000000000100000 016d 00*124"),
    ]);
    converse(&[
        S(GREETING),
        C("00000003"),
        C("opt 00000001 00000003 'big'"),
        Asks("chosen 8"),
        S("0000080000000000 016d"),
    ]);
}

#[test]
fn export_name_works_for_a_client_that_does_not_know_fixed_newstyle() {
    converse(&[
        S(GREETING),
        C("00000000"),
        C("opt 00000001 00000000"),
        Asks("chosen 7"),
        S("0000000000100000 016d 00*124"),
    ]);
}

#[test]
fn libnbd_agrees_on_structured_replies_a_context_and_all_information() {
    converse(&[
        S(GREETING),
        C("00000003"),
        // Extended headers first, as libnbd since 1.18 and qemu since 8.2 do.
        C("opt 0000000b 00000000"),
        S(&format!("rep 0000000b 80000001 {}", text("option 11 is not supported"))),
        C("opt 00000008 00000000"),
        S("rep 00000008 00000001 00000000"),
        C("opt 0000000a 0000001e  00000003 'vol' 00000001 0000000f 'base:allocation'"),
        S("rep 0000000a 00000004 00000013  00000001 'base:allocation'"),
        S("rep 0000000a 00000001 00000000"),
        C("opt 00000007 0000000f  00000003 'vol' 0003 0003 0001 0002"),
        Asks("chosen 7"),
        S("rep 00000007 00000003 0000000c  0000 0000000000100000 01ed"),
        S("rep 00000007 00000003 0000000e  0003 00000001 00001000 02000000"),
        S("rep 00000007 00000003 00000005  0001 'vol'"),
        S("rep 00000007 00000003 00000006  0002 'test'"),
        S("rep 00000007 00000001 00000000"),
    ]);
}

#[test]
fn info_tells_what_go_tells_and_stays_in_the_handshake() {
    let session = converse(&[
        S(GREETING),
        C("00000003"),
        // Unknown information (99) is ignored, asked twice is told once, no description is no reply.
        C("opt 00000006 00000013  00000003 'big' 0005 0003 0003 0063 0002 0000"),
        S("rep 00000006 00000003 0000000c  0000 0000080000000000 016d"),
        S("rep 00000006 00000003 0000000e  0003 00000001 00001000 02000000"),
        S("rep 00000006 00000001 00000000"),
        C("opt 00000006 00000006  00000000 0000"),
        S("rep 00000006 00000003 0000000c  0000 0000000000100000 016d"),
        S("rep 00000006 00000001 00000000"),
    ]);
    assert_eq!(session.phase(), Phase::Handshake);
}

#[test]
fn list_names_every_export_and_refuses_data() {
    converse(&[
        S(GREETING),
        C("00000003"),
        C("opt 00000003 00000000"),
        S("rep 00000003 00000002 00000007  00000003 'big'"),
        S("rep 00000003 00000002 00000007  00000003 'vol'"),
        S("rep 00000003 00000001 00000000"),
        C("opt 00000003 00000002 0102"),
        S("rep 00000003 80000003"),
        S(&text("the lengths within option 3 do not add up to its 2 bytes")),
        C("opt 00000002 00000000"),
        Asks("closing Abort"),
        S("rep 00000002 00000001 00000000"),
        Finished,
    ]);
}

#[test]
fn abort_is_acknowledged_whatever_data_it_announces() {
    converse(&[
        S(GREETING),
        C("00000003"),
        C("opt 00000002 ffffffff 0102"),
        Asks("closing Abort"),
        S("rep 00000002 00000001 00000000"),
        Finished,
    ]);
}

#[test]
fn tls_and_unknown_options_are_unsupported_and_their_data_is_skipped() {
    converse(&[
        S(GREETING),
        C("00000003"),
        C("opt 00000005 00000000"),
        S(&format!("rep 00000005 80000001 {}", text("option 5 is not supported"))),
        // An option hidden in another's data is not served.
        C("opt 00001234 00000010  opt 00000003 00000000"),
        S(&format!("rep 00001234 80000001 {}", text("option 4660 is not supported"))),
    ]);
}

#[test]
fn an_unknown_export_is_named_in_the_error_and_the_handshake_goes_on() {
    converse(&[
        S(GREETING),
        C("00000003"),
        C("opt 00000007 0000000a  00000004 6e6f0a6e 0000"),
        S("rep 00000007 80000006"),
        S(&text("export \"no\\nn\" is not available; list the exports to see which are")),
        C("opt 00000003 00000000"),
        S("rep 00000003 00000002 00000007  00000003 'big'"),
        S("rep 00000003 00000002 00000007  00000003 'vol'"),
        S("rep 00000003 00000001 00000000"),
    ]);
}

#[test]
fn lengths_that_contradict_each_other_are_invalid_and_keep_the_client_in_step() {
    let malformed: &[(u32, &str)] = &[
        (6, ""),
        (6, "00000003"),
        (6, "00000004 'vol' 0000"),
        (6, "ffffffff 'vol' 0000"),
        (6, "00000003 'vol' 0001"),
        (6, "00000003 'vol' 0000 00"),
        (7, "00000003 'vol' ffff 0003"),
        (8, "00"),
        (9, "00000003 'vol'"),
        (9, "00000003 'vol' 00000001"),
        (9, "00000003 'vol' 00000000 opt 00000002 00000000"),
        (10, "00000003 'vol' ffffffff 00000000"),
        (10, "00000003 'vol' 00000001 00000010 'base:allocation'"),
        (10, "00000003 'vol' 00000001 0000000f 'base:allocation' 00"),
        (7, "00000004 'vol' 00 0000"),
        (7, "00000002 c328 0000"),
        (6, "00001001 61*4097 0000"),
        (6, "0000ea60 61*60000 0000"),
    ];
    for (number, data) in malformed {
        let mut input = option(8, &[]);
        input.extend(option(*number, &bytes(data)));
        input.extend(option(3, &[]));

        let (session, output, _) = after_flags(&input);

        assert_eq!(reply_types(&output), [1, 0x8000_0003, 2, 2, 1], "option {number}: {data}");
        assert_eq!(session.phase(), Phase::Handshake);
    }
}

#[test]
fn an_option_that_is_too_long_is_skipped_without_being_stored() {
    let mut input = option(7, &vec![0; (64 << 10) + 1]);
    input.extend(option(77, &vec![0; 100 << 10]));
    input.extend(option(3, &[]));

    let (_, output, _) = after_flags(&input);

    assert_eq!(reply_types(&output), [0x8000_0009, 0x8000_0009, 2, 2, 1]);
}

#[test]
fn what_cannot_be_answered_closes_the_connection() {
    let cases: &[(&str, &str)] = &[
        ("00000003 '12345678' 00000003 00000000", "OptionMagic"),
        ("00000007", "ClientFlags(7)"),
        ("80000003", "ClientFlags(2147483651)"),
        ("00000003 opt 00000001 00000004 'nope'", "ExportName(UnknownExport"),
        ("00000003 opt 00000001 00000004 'vol' 00", "ExportName(String(4)"),
        ("00000003 opt 00000001 00001001 61*4097", "ExportName(String(4097)"),
        ("00000003 opt 00000001 ffffffff", "ExportName(TooBig"),
    ];
    for (input, violation) in cases {
        let mut session = Session::new(SessionLimits::default());
        let mut events = Vec::new();
        session.receive(&bytes(input), &TestExports, &mut events);

        let [Event::Closing(CloseReason::Violation(reason))] = &events[..] else {
            panic!("{input}: {events:?}");
        };
        assert!(format!("{reason:?}").starts_with(violation), "{input}: {reason:?}");
        assert_eq!(sent(&mut session), bytes(GREETING));
        assert!(session.is_finished());
        assert!(!session.wants_input());
    }
}

#[test]
fn contexts_are_listed_by_wildcard_and_told_once() {
    let found = "rep 00000009 00000004 00000013  00000000 'base:allocation'";
    let done = "rep 00000009 00000001 00000000";
    converse(&[
        S(GREETING),
        C("00000003"),
        C("opt 00000008 00000000"),
        S("rep 00000008 00000001 00000000"),
        C("opt 00000009 0000000b  00000003 'vol' 00000000"),
        S(found),
        S(done),
        C(
            "opt 00000009 00000027  00000003 'vol' 00000002 00000005 'base:' 0000000f 'base:allocation'",
        ),
        S(found),
        S(done),
        C("opt 00000009 00000014  00000003 'vol' 00000001 00000005 'qemu:'"),
        S(done),
        C("opt 00000009 0000000c  00000004 'nope' 00000000"),
        S("rep 00000009 80000006"),
        S(&text("export \"nope\" is not available; list the exports to see which are")),
    ]);
}

#[test]
fn a_context_set_twice_is_told_once_and_wildcards_choose_nothing() {
    let done = "rep 0000000a 00000001 00000000";
    converse(&[
        S(GREETING),
        C("00000003"),
        C("opt 00000008 00000000"),
        S("rep 00000008 00000001 00000000"),
        C("opt 0000000a 00000031  00000003 'vol' 00000002
           0000000f 'base:allocation' 0000000f 'base:allocation'"),
        S("rep 0000000a 00000004 00000013  00000001 'base:allocation'"),
        S(done),
        C("opt 0000000a 00000014  00000003 'vol' 00000001 00000005 'base:'"),
        S(done),
        C("opt 0000000a 0000000b  00000003 'vol' 00000000"),
        S(done),
    ]);
}

#[test]
fn contexts_before_structured_replies_are_invalid() {
    let (_, output, _) = after_flags(&option(9, &bytes("00000003 'vol' 00000000")));
    assert_eq!(reply_types(&output), [0x8000_0003]);
    let (_, output, _) = after_flags(&option(10, &bytes("00000003 'vol' 00000000")));
    assert_eq!(reply_types(&output), [0x8000_0003]);
}

/// Whether a block status of `vol` is accepted after these `SET_META_CONTEXT`s.
fn status_works_after(sets: &[&str]) -> bool {
    let mut input = option(8, &[]);
    for set in sets {
        input.extend(option(10, &bytes(set)));
    }
    input.extend(option(7, &bytes("00000003 'vol' 0000")));
    let (mut session, _, _) = after_flags(&input);
    let mut events = Vec::new();
    session.receive(&common::request(0, 7, 1, 0, 512), &TestExports, &mut events);
    !events.is_empty()
}

#[test]
fn a_context_holds_for_its_export_until_the_next_set_even_a_failing_one() {
    let chosen = "00000003 'vol' 00000001 0000000f 'base:allocation'";
    assert!(status_works_after(&[chosen]));
    assert!(!status_works_after(&[]));
    assert!(!status_works_after(&["00000003 'big' 00000001 0000000f 'base:allocation'"]));
    assert!(!status_works_after(&[chosen, "00000003 'vol' 00000000"]));
    assert!(!status_works_after(&[chosen, "00000004 'nope' 00000000"]));
    assert!(!status_works_after(&[chosen, "00000003 'vol' 00000009"]));
    assert!(!status_works_after(&[chosen, "00*70000"]));
}

#[test]
fn the_option_after_the_last_allowed_one_closes_the_connection() {
    let unknown = option(99, &[]).repeat(1000);
    let (session, _, reason) = after_flags(&unknown);
    assert_eq!((session.phase(), reason), (Phase::Handshake, None));

    let limits = SessionLimits { options_max: 3, ..SessionLimits::default() };
    let mut session = Session::new(limits);
    let mut events = Vec::new();
    let input = [bytes("00000003"), option(99, &[]).repeat(4)].concat();
    session.receive(&input, &TestExports, &mut events);
    let [Event::Closing(CloseReason::Violation(Violation::TooManyOptions(3)))] = &events[..] else {
        panic!("{events:?}");
    };
}

#[test]
fn options_wait_while_their_replies_are_not_taken() {
    let limits = SessionLimits { option_reply_bytes_max: 100, ..SessionLimits::default() };
    let mut session = Session::new(limits);
    let mut events = Vec::new();
    sent(&mut session);

    let input = [bytes("00000003"), option(3, &[]).repeat(10)].concat();
    session.receive(&input, &TestExports, &mut events);

    // Two lists of 74 bytes pass the limit; the rest waits for room.
    assert!(!session.wants_input() && !session.can_resume());
    let mut total = 0;
    for _ in 0..5 {
        assert_eq!(sent(&mut session).len(), 2 * 74);
        total += 2;
        assert_eq!(session.can_resume(), total < 10);
        session.receive(&[], &TestExports, &mut events);
    }
    assert!(session.wants_input());
}

#[test]
fn at_shutdown_options_are_refused_but_abort_is_acknowledged() {
    converse_with(
        SessionLimits::default(),
        &[
            S(GREETING),
            C("00000003"),
            Shutdown,
            C("opt 00000007 00000009  00000003 'vol' 0000"),
            S(&format!("rep 00000007 80000007 {}", text("the server is shutting down"))),
            C("opt 00000002 00000000"),
            Asks("closing Abort"),
            S("rep 00000002 00000001 00000000"),
            Finished,
        ],
    );
}

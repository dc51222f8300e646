//! The ring: its queue, streams, waits and wakes.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::rc::Rc;

use super::*;

#[test]
fn more_operations_than_the_queue_holds_all_end() {
    let dir = temporary();
    let mut ring = ring(&dir);
    write(&mut ring, 0, &vec![5; 64 << 10]);

    for id in 0..5000 {
        let action = Action::Read { offset: id, buffer: Buffer::zeroed(10) };
        ring.perform(Op { id: OpId(id), object: HOME, action });
    }

    let mut ids: Vec<u64> = events(&mut ring, 5000)
        .into_iter()
        .map(|event| match event {
            Event::Completed(Completion { id, result: Ok(Outcome::Buffer(buffer)) }) => {
                assert_eq!(*buffer, [5; 10]);
                id.0
            }
            other => panic!("{other:?}"),
        })
        .collect();
    ids.sort_unstable();
    assert!(ids.into_iter().eq(0..5000));
}

#[test]
fn a_long_send_arrives_whole_and_in_order_through_a_short_pipe() {
    let dir = temporary();
    let mut ring = ring(&dir);
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let socket = Rc::new(OwnedFd::from(ours));
    let parts: Vec<Buffer> = (0..3000_u32)
        .map(|part| Buffer::from_vec(vec![part.to_le_bytes()[0]; (part as usize * 7) % 5000]))
        .collect();
    let expected: Vec<u8> = parts.iter().flat_map(|part| part.to_vec()).collect();
    let parts = parts.into_iter().map(Part::Bytes).collect();
    let reader = std::thread::spawn(move || {
        let mut received = Vec::new();
        theirs.read_to_end(&mut received).unwrap();
        received
    });

    assert!(ring.send(5, &socket, parts).is_none(), "it is longer than the pipe");

    match events(&mut ring, 1).pop() {
        Some(Event::Sent { token: 5, parts, result }) => {
            assert_eq!(parts.len(), 3000);
            assert_eq!(result.unwrap(), expected.len());
        }
        other => panic!("{other:?}"),
    }
    drop(socket);
    assert!(reader.join().unwrap() == expected);
}

#[test]
fn a_short_send_ends_at_once_and_a_receive_of_what_has_arrived_needs_no_kernel() {
    let dir = temporary();
    let mut ring = ring(&dir);
    let (ours, theirs) = UnixStream::pair().unwrap();
    let (ours, theirs) = (Rc::new(OwnedFd::from(ours)), Rc::new(OwnedFd::from(theirs)));
    let parts = ["ab", "", "c"].map(|part| Part::Bytes(Buffer::from(part.as_bytes())));

    let sent = ring.send(5, &ours, VecDeque::from(parts));

    let Some(Event::Sent { token: 5, parts, result: Ok(3) }) = &sent else { panic!("{sent:?}") };
    assert_eq!(parts.len(), 3);
    ring.receive(9, &theirs, Buffer::zeroed(8));
    assert!(ring.has_events());
    let received = events(&mut ring, 1).pop();
    let Some(Event::Received { token: 9, buffer, result: Ok(3) }) = &received else {
        panic!("{received:?}")
    };
    assert_eq!(buffer[..3], *b"abc");
}

#[test]
fn what_is_not_in_place_stirs_the_ring_when_it_ends() {
    let dir = temporary();
    let mut ring = ring(&dir);
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    ring.receive(9, &Rc::new(OwnedFd::from(ours)), Buffer::zeroed(8));
    ring.enter(Wait::No).unwrap();
    assert!(!ring.stirs(), "nothing has arrived");

    theirs.write_all(b"ab").unwrap();

    assert!(ring.stirs());
    ring.enter(Wait::No).unwrap();
    assert!(ring.has_events());
}

#[test]
fn a_receive_gives_what_there_is_and_tells_the_end() {
    let dir = temporary();
    let mut ring = ring(&dir);
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let socket = Rc::new(OwnedFd::from(ours));

    ring.receive(9, &socket, Buffer::from(&b"........"[..]));
    ring.enter(Wait::No).unwrap();
    theirs.write_all(b"ab").unwrap();

    let buffer = match events(&mut ring, 1).pop() {
        Some(Event::Received { token: 9, buffer, result: Ok(2) }) => buffer,
        other => panic!("{other:?}"),
    };
    assert_eq!(*buffer, *b"ab......");
    drop(theirs);
    ring.receive(9, &socket, buffer);
    let end = events(&mut ring, 1).pop();
    assert!(matches!(end, Some(Event::Received { result: Ok(0), .. })), "{end:?}");
}

#[test]
fn a_receive_of_all_fills_its_space_and_nothing_else_however_the_bytes_arrive() {
    let dir = temporary();
    let mut ring = ring(&dir);
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let socket = Rc::new(OwnedFd::from(ours));

    ring.receive_all(9, &socket, Buffer::from(&b"ab......"[..]), 2..6);
    for piece in [&b"c"[..], b"d", b"efgh"] {
        theirs.write_all(piece).unwrap();
        ring.enter(Wait::AtMost(std::time::Duration::from_millis(1))).unwrap();
    }

    let buffer = match events(&mut ring, 1).pop() {
        Some(Event::Received { token: 9, buffer, result: Ok(4) }) => buffer,
        other => panic!("{other:?}"),
    };
    assert_eq!(*buffer, *b"abcdef..");
    theirs.write_all(b"i").unwrap();
    drop(theirs);
    ring.receive_all(9, &socket, buffer, 0..8);
    let end = events(&mut ring, 1).pop();
    assert!(matches!(end, Some(Event::Received { result: Ok(3), .. })), "{end:?}");
}

#[test]
fn a_ring_is_dropped_safely_while_a_receive_is_in_flight() {
    let dir = temporary();
    let mut ring = ring(&dir);
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    ring.receive(1, &Rc::new(OwnedFd::from(ours)), Buffer::zeroed(16));
    ring.enter(Wait::No).unwrap();

    drop(ring);

    // Whether it is refused is the kernel's choice; that nobody writes to freed memory is ours.
    let _ = theirs.write_all(&[1; 16]);
}

#[test]
fn the_waker_ends_a_wait_from_another_thread_each_time() {
    let dir = temporary();
    let mut ring = ring(&dir);
    let waker = File::from(ring.waker().unwrap());
    for _ in 0..3 {
        let mut waker = waker.try_clone().unwrap();
        let thread = std::thread::spawn(move || waker.write_all(&1_u64.to_ne_bytes()).unwrap());

        let mut events = Vec::new();
        while events.is_empty() {
            ring.enter(Wait::Forever).unwrap();
            ring.reap(&mut events);
        }

        assert!(matches!(events[..], [Event::Woken]), "{events:?}");
        thread.join().unwrap();
    }
}

#[test]
fn a_wait_without_events_ends_when_its_time_has_passed() {
    let dir = temporary();
    let mut ring = ring(&dir);
    let mut events = Vec::new();

    ring.enter(Wait::AtMost(std::time::Duration::from_millis(1))).unwrap();

    ring.reap(&mut events);
    assert!(events.is_empty(), "{events:?}");
}

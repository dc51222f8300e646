//! Reads that are sent from the page cache.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::rc::Rc;

use rustix::fs::{Advice, fadvise};

use super::*;

/// Bytes that differ from those near them.
fn content() -> Vec<u8> {
    (0..4 * MIB).map(|at| (at / 509).to_le_bytes()[0] ^ at.to_le_bytes()[0]).collect()
}

fn lend(ring: &mut LocalRing, offset: u64, bytes: usize) -> Outcome {
    perform(ring, HOME, Action::Lend { offset, bytes }).expect("it can be read")
}

fn lent(start: usize, bytes: usize) -> Part {
    let range = ByteRange { start: start as u64, end: (start + bytes) as u64 };
    Part::Lent(Stretch { object: HOME, range })
}

/// Has the system forget what it has cached of the home.
fn evict(dir: &TempDir) {
    let home = File::open(dir.path().join(file_name(HOME))).unwrap();
    home.sync_all().unwrap();
    fadvise(&home, 0, None, Advice::DontNeed).unwrap();
}

/// False, with a reason, where the file system keeps all in memory or the kernel does not tell what is cached.
fn lends(ring: &mut LocalRing) -> bool {
    let lends = matches!(lend(ring, 0, 64 << 10), Outcome::Lent);
    if !lends {
        println!("skipped: nothing is lent here, the kernel is older than 6.5, or this is a tmpfs");
    }
    lends
}

/// How the send of these parts ends.
fn end_of(ring: &mut LocalRing, socket: &Rc<OwnedFd>, parts: Vec<Part>) -> io::Result<usize> {
    let ended = ring.send(5, socket, VecDeque::from(parts));
    sent(ended.or_else(|| events(ring, 1).pop()))
}

fn sent(event: Option<Event>) -> io::Result<usize> {
    match event {
        Some(Event::Sent { token: 5, result, .. }) => result,
        other => panic!("{other:?}"),
    }
}

/// A ring whose home has `content`, and a socket with its other end.
fn connected(dir: &TempDir) -> (LocalRing, Rc<OwnedFd>, UnixStream) {
    let mut ring = ring(dir);
    write(&mut ring, 0, &content());
    let (ours, theirs) = UnixStream::pair().unwrap();
    (ring, Rc::new(OwnedFd::from(ours)), theirs)
}

/// What a reader gets of these parts, through `ours`.
fn send_to(
    ring: &mut LocalRing,
    ours: OwnedFd,
    mut theirs: impl Read + Send + 'static,
    parts: Vec<Part>,
) -> Vec<u8> {
    let total: usize = parts.iter().map(Part::len).sum();
    let reader = std::thread::spawn(move || {
        let mut received = Vec::new();
        // In small steps, so that the sender has to wait more than once.
        let mut buffer = vec![0; 10_000];
        while let Ok(bytes @ 1..) = theirs.read(&mut buffer) {
            received.extend_from_slice(&buffer[..bytes]);
        }
        received
    });
    let socket = Rc::new(ours);
    assert_eq!(end_of(ring, &socket, parts).unwrap(), total);
    drop(socket);
    reader.join().unwrap()
}

/// Headers, lent bytes of odd places and lengths, and data in memory, with what a reader should get.
fn replies(content: &[u8]) -> (Vec<Part>, Vec<u8>) {
    let (mut parts, mut expected) = (Vec::new(), Vec::new());
    for number in 0..40 {
        let header = [number; 28];
        expected.extend_from_slice(&header);
        parts.push(Part::Bytes(Buffer::from(&header[..])));
        let (start, bytes) = (usize::from(number) * 70_001, 131_072 - usize::from(number) * 513);
        expected.extend_from_slice(&content[start..start + bytes]);
        parts.push(if number % 5 == 4 {
            Part::Bytes(Buffer::from(&content[start..start + bytes]))
        } else {
            lent(start, bytes)
        });
    }
    (parts, expected)
}

#[test]
fn what_is_cached_is_lent_and_arrives_in_its_place_through_a_short_pipe() {
    let dir = temporary();
    let mut ring = ring(&dir);
    let content = content();
    write(&mut ring, 0, &content);
    lends(&mut ring);

    let (parts, expected) = replies(&content);
    let (ours, theirs) = UnixStream::pair().unwrap();
    assert!(send_to(&mut ring, ours.into(), theirs, parts) == expected);

    let (parts, expected) = replies(&content);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let theirs = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (ours, _) = listener.accept().unwrap();
    assert!(send_to(&mut ring, ours.into(), theirs, parts) == expected);
}

#[test]
fn what_has_left_the_cache_is_read_before_it_is_sent() {
    let dir = temporary();
    let mut ring = ring(&dir);
    let content = content();
    write(&mut ring, 0, &content);
    let lends = lends(&mut ring);

    evict(&dir);
    if lends {
        assert!(
            matches!(lend(&mut ring, 0, 64 << 10), Outcome::Buffer(data) if *data == content[..64 << 10])
        );
        evict(&dir);
    }

    let (parts, expected) = replies(&content);
    let (ours, theirs) = UnixStream::pair().unwrap();
    assert!(send_to(&mut ring, ours.into(), theirs, parts) == expected);
}

#[test]
fn a_stretch_of_which_one_page_is_missing_is_not_lent() {
    let dir = temporary();
    let mut ring = ring(&dir);
    write(&mut ring, 0, &content());
    if !lends(&mut ring) {
        return;
    }
    evict(&dir);
    let home = File::open(dir.path().join(file_name(HOME))).unwrap();
    // No more than is asked for.
    fadvise(&home, 0, None, Advice::Random).unwrap();
    let mut page = [0; 4096];
    for at in (0..16).filter(|at| *at != 7) {
        std::os::unix::fs::FileExt::read_exact_at(&home, &mut page, at * 4096).unwrap();
    }

    assert!(matches!(lend(&mut ring, 0, 7 * 4096), Outcome::Lent));
    assert!(matches!(lend(&mut ring, 8 * 4096, 8 * 4096), Outcome::Lent));
    assert!(matches!(lend(&mut ring, 0, 16 * 4096), Outcome::Buffer(_)));
}

#[test]
fn a_client_that_has_gone_and_a_home_that_has_gone_end_the_send() {
    let dir = temporary();
    let (mut ring, socket, theirs) = connected(&dir);
    let mut errno = |part| end_of(&mut ring, &socket, vec![part]).unwrap_err().raw_os_error();

    let range = ByteRange { start: 0, end: 65_536 };
    let nowhere = Part::Lent(Stretch { object: Object::Home(VolumeId(99)), range });
    assert_eq!(errno(nowhere), Some(libc::ENOENT));

    drop(theirs);
    assert_eq!(errno(lent(0, 65_536)), Some(libc::EPIPE));
}

#[test]
fn a_client_that_leaves_while_it_is_waited_for_ends_the_send_and_the_socket_waits_again() {
    let dir = temporary();
    let (mut ring, socket, theirs) = connected(&dir);
    let parts = (0..3).map(|number| lent(number * MIB, MIB)).collect();

    assert!(ring.send(5, &socket, parts).is_none(), "it is longer than the pipe");

    let flags = rustix::fs::fcntl_getfl(&socket).unwrap();
    assert!(!flags.contains(rustix::fs::OFlags::NONBLOCK));
    ring.enter(Wait::No).unwrap();
    assert!(!ring.has_events());
    drop(theirs);
    let error = sent(events(&mut ring, 1).pop()).unwrap_err();
    let known = [libc::EPIPE, libc::ECONNRESET];
    assert!(error.raw_os_error().is_some_and(|errno| known.contains(&errno)), "{error}");
}

#[test]
fn nothing_is_lent_in_direct_mode() {
    let dir = temporary();
    let Some(mut ring) = direct::direct_ring(&dir) else {
        return;
    };
    let content = content();
    write(&mut ring, 0, &content);

    let read = lend(&mut ring, 0, 64 << 10);

    assert!(matches!(read, Outcome::Buffer(data) if *data == content[..64 << 10]));
}

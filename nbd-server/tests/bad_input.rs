//! Bad input to a real server: every line gets one clear error, changes nothing, and the server lives.

#[path = "common/commands.rs"]
mod commands;
#[path = "common/process.rs"]
mod process;

use std::io::{Read, Write};
use std::net::Shutdown;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use flashtrack_engine::admin::{
    Command, CopyMode, CopyReport, CopySelector, EstablishSpec, ExtentSpec, PairSpec, PoolReport,
    RefusalKind, VolumeReport, VolumeSpec,
};
use flashtrack_engine::units::RelationshipId;
use nbd::client::{NbdClient, handshake};

use crate::process::{PATIENCE, Server};

const SIZE: u64 = 1 << 20;

/// Everything that a refused command could have changed.
type Everything = (Vec<PoolReport>, Vec<VolumeReport>, Vec<CopyReport>);

fn everything(server: &Server) -> Everything {
    (commands::pools(server), commands::volumes(server), commands::copies(server))
}

/// A pool, a source with sixteen thin copies, volumes `small`, `spare` and `thin` without relationships.
fn server(folder: &Path) -> Server {
    let server = Server::start(folder);
    server.command(&commands::pool("pool", 64 << 20));
    let source = VolumeSpec { device: Some(0x0A00), ..commands::spec("source", SIZE, None) };
    server.command(&Command::VolumeCreate(source));
    server.command(&commands::full("small", SIZE / 2));
    server.command(&commands::full("spare", SIZE));
    server.command(&commands::thin("thin", SIZE, "pool"));
    for number in 0..16 {
        let target = format!("copy{number}");
        server.command(&commands::thin(&target, SIZE, "pool"));
        server.command(&commands::nocopy("source", &target));
    }
    server
}

/// Refused with that kind and a message with those words, and nothing has changed.
fn assert_refused(server: &Server, command: &Command, kind: RefusalKind, words: &[&str]) {
    let before = everything(server);
    let refusal = server.try_command(command).expect_err("it is bad");
    assert_eq!(refusal.kind, kind, "{command:?}: {refusal:?}");
    for word in words {
        assert!(refusal.message.contains(word), "no {word:?} in {refusal:?}");
    }
    assert_eq!(everything(server), before, "{command:?} changed something");
}

#[test]
fn a_bad_volume_or_pool_is_refused_and_changes_nothing() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let server = server(folder.path());
    let refused = |command: Command, kind, words: &[&str]| {
        assert_refused(&server, &command, kind, words);
    };
    let named = |name: &str| name.to_owned();
    let with_device = VolumeSpec { device: Some(0x0A00), ..commands::spec("another", SIZE, None) };

    refused(commands::full("zero", 0), RefusalKind::Invalid, &["zero", "0 bytes"]);
    refused(
        commands::full("huge", 1 << 63),
        RefusalKind::Invalid,
        &["9223372036854775808 bytes", "15 TiB"],
    );
    refused(commands::full("source", SIZE), RefusalKind::Exists, &["`source`", "exists"]);
    refused(Command::VolumeCreate(with_device), RefusalKind::Exists, &["0A00", "taken"]);
    refused(commands::thin("lost", SIZE, "nowhere"), RefusalKind::NotFound, &["pool `nowhere`"]);
    refused(commands::full("a/../b", SIZE), RefusalKind::Invalid, &["`a/../b`"]);
    refused(commands::full("", SIZE), RefusalKind::Invalid, &["``"]);
    refused(commands::full(&"x".repeat(129), SIZE), RefusalKind::Invalid, &["cannot name"]);
    refused(commands::pool("pool", SIZE), RefusalKind::Exists, &["`pool`", "exists"]);
    refused(commands::pool("tiny", 4095), RefusalKind::Invalid, &["4095 bytes"]);
    refused(commands::pool("huge", 1 << 63), RefusalKind::Invalid, &["9223372036854775808"]);
    for name in ["source", "copy3"] {
        let delete = Command::VolumeDelete { name: named(name) };
        refused(delete, RefusalKind::Busy, &[name, "relationship"]);
    }
    let unknown = [
        Command::VolumeDelete { name: named("nobody") },
        Command::VolumeShow { name: named("nobody") },
    ];
    for command in unknown {
        refused(command, RefusalKind::NotFound, &["volume `nobody` does not exist"]);
    }
    refused(Command::PoolDelete { name: named("pool") }, RefusalKind::Busy, &["`pool`"]);
    for command in [
        Command::PoolDelete { name: named("nowhere") },
        Command::PoolShow { name: named("nowhere") },
    ] {
        refused(command, RefusalKind::NotFound, &["pool `nowhere` does not exist"]);
    }
}

#[test]
fn a_bad_establish_or_withdraw_is_refused_and_changes_nothing() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let server = server(folder.path());
    let refused = |command: Command, kind, words: &[&str]| {
        assert_refused(&server, &command, kind, words);
    };
    let extent = |source_track, tracks| {
        let extents = vec![ExtentSpec { source_track, target_track: 0, tracks }];
        let pair = PairSpec { source: "small".to_owned(), target: "spare".to_owned(), extents };
        let mode = CopyMode::Copy;
        Command::CopyEstablish(EstablishSpec {
            pairs: vec![pair],
            mode,
            ..EstablishSpec::default()
        })
    };

    refused(commands::nocopy("nobody", "thin"), RefusalKind::NotFound, &["volume `nobody`"]);
    refused(commands::nocopy("spare", "nobody"), RefusalKind::NotFound, &["volume `nobody`"]);
    let too_small = commands::copy("spare", "small", CopyMode::Copy, false);
    refused(too_small, RefusalKind::Size, &["`small`", "16 tracks", "8"]);
    refused(commands::nocopy("source", "thin"), RefusalKind::TooManyCopies, &["17", "16"]);
    let background = commands::copy("spare", "thin", CopyMode::Copy, true);
    refused(background, RefusalKind::SpaceEfficient, &["`thin`", "background copy"]);
    let not_agreed = commands::copy("spare", "thin", CopyMode::Nocopy, false);
    refused(not_agreed, RefusalKind::SpaceEfficient, &["`thin`"]);
    let itself = commands::copy("spare", "spare", CopyMode::Copy, false);
    refused(itself, RefusalKind::Overlap, &["`spare`"]);
    refused(commands::nocopy("spare", "copy3"), RefusalKind::TargetRelated, &["`copy3`", "target"]);
    refused(extent(0, 0), RefusalKind::Invalid, &["0 tracks"]);
    refused(extent(4, 5), RefusalKind::Invalid, &["`small`", "8 tracks"]);
    refused(extent(u32::MAX, 2), RefusalKind::Invalid, &["`small`"]);
    let unknown = Command::CopyWithdraw(CopySelector::Id(RelationshipId(4711)).into());
    refused(unknown, RefusalKind::NotFound, &["4711"]);
    refused(commands::withdraw("nobody"), RefusalKind::NotFound, &["volume `nobody`"]);
}

#[test]
fn a_connected_volume_is_not_deleted_until_its_client_has_gone() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let server = server(folder.path());
    let client = server.connect("spare");
    let delete = Command::VolumeDelete { name: "spare".to_owned() };
    assert_refused(&server, &delete, RefusalKind::Busy, &["`spare`", "connect"]);
    drop(client);

    let left = Instant::now();
    while server.try_command(&delete).is_err() {
        assert!(left.elapsed() < PATIENCE, "the client has left long ago");
        thread::sleep(Duration::from_millis(5));
    }
    let known = commands::volumes(&server).iter().any(|volume| volume.name == "spare");
    assert!(!known, "it is deleted");
}

const READ: u16 = 0;
const WRITE: u16 = 1;
const TRIM: u16 = 4;

/// The error value that a request gets, by a client that lets it pass.
fn error_of(server: &Server, command: u16, offset: u64, payload: &[u8], bytes: u32) -> u32 {
    let mut stream = server.socket("nbd");
    let export = handshake(&mut stream, b"spare").expect("the export is served");
    assert_eq!(export.size, SIZE);
    let mut request = 0x2560_9513_u32.to_be_bytes().to_vec();
    request.extend([0, 0]);
    request.extend(command.to_be_bytes());
    request.extend(7_u64.to_be_bytes());
    request.extend(offset.to_be_bytes());
    request.extend(bytes.to_be_bytes());
    request.extend(payload);
    stream.write_all(&request).expect("it is taken");
    let mut reply = [0; 16];
    stream.read_exact(&mut reply).expect("an answer");
    assert_eq!(reply[..4], 0x6744_6698_u32.to_be_bytes(), "a simple reply");
    assert_eq!(reply[8..], 7_u64.to_be_bytes(), "to this request");
    // The connection goes on after the error.
    let mut block = vec![1; 4096];
    NbdClient::new(stream, &export).read_exact(&mut block).expect("it goes on");
    u32::from_be_bytes(reply[4..8].try_into().expect("four bytes"))
}

#[test]
fn a_request_past_the_end_gets_the_protocols_error_and_the_connection_goes_on() {
    const EINVAL: u32 = 22;
    const ENOSPC: u32 = 28;
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let server = server(folder.path());
    let before = server.image("spare");
    let block = [0xEE; 4096];

    for offset in [SIZE - 4095, SIZE, 1 << 63, u64::MAX - 4095, u64::MAX] {
        assert_eq!(error_of(&server, READ, offset, &[], 4096), EINVAL, "read at {offset}");
        assert_eq!(error_of(&server, WRITE, offset, &block, 4096), ENOSPC, "write at {offset}");
        assert_eq!(error_of(&server, TRIM, offset, &[], 4096), EINVAL, "trim at {offset}");
    }

    assert_eq!(server.image("spare"), before);
}

#[test]
fn an_unknown_export_and_clients_that_send_garbage_lose_their_connection_and_no_more() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let server = server(folder.path());
    let mut bystander = server.connect("source");
    let before = (commands::pools(&server), commands::copies(&server), server.image("source"));

    let unknown = handshake(server.socket("nbd"), b"nobody");
    assert!(unknown.is_err(), "an export that nobody made");
    let http = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n".repeat(100);
    let noise: Vec<u8> =
        (0..200_000_u32).flat_map(|at| (at.wrapping_mul(2_654_435_761)).to_be_bytes()).collect();
    for garbage in [&http[..], &noise, &[0xFF; 5000], &[0; 5000]] {
        for socket in ["nbd", "control"] {
            let mut stream = server.socket(socket);
            send_all_it_takes(&mut stream, garbage);
        }
        // After a handshake in order, in the place of a request.
        let mut stream = server.socket("nbd");
        handshake(&mut stream, b"source").expect("the export is served");
        send_all_it_takes(&mut stream, garbage);
    }

    let mut block = [0; 4096];
    bystander.read_exact(&mut block).expect("another connection is served");
    let after = (commands::pools(&server), commands::copies(&server), server.image("source"));
    assert_eq!(after, before);
}

/// Sends until the server has enough of it, then waits until it has closed the connection.
fn send_all_it_takes(stream: &mut std::os::unix::net::UnixStream, garbage: &[u8]) {
    // Where it closes depends on the garbage: both may fail.
    let _ = stream.write_all(garbage);
    let _ = stream.shutdown(Shutdown::Write);
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
            panic!("the server keeps a client that sent garbage and has left")
        }
        _ => {}
    }
}

#[test]
fn control_requests_that_are_no_commands_are_refused_as_such() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let server = server(folder.path());
    let before = everything(&server);
    let nested = "[".repeat(100_000);
    let bodies =
        ["", "{", "null", "{\"volume_destroy\": {}}", "{\"pool_create\": {\"name\": 3}}", &nested];
    for body in bodies {
        let (status, answer) = server.post("/v1/command", body);
        assert_eq!(status, 400, "{answer}");
        assert!(answer.contains("\"invalid\""), "{answer}");
    }
    assert_eq!(everything(&server), before);
}

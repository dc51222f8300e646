//! `flashtrack dump` and `restore` against a whole server: images, pipes, damage, resumption, dumps since others.

#[path = "../common/flashtrackd.rs"]
mod flashtrackd;
#[path = "../common/program.rs"]
mod program;
mod server;
mod since;

use std::io::Write;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};

use server::Server;

const MIB: usize = 1 << 20;
const SIZE: usize = 16 * MIB;
const TRACK: usize = 65_536;

/// Bytes that do not compress.
pub(crate) fn noise(bytes: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let next = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.to_be_bytes()[0]
    };
    std::iter::repeat_with(next).take(bytes).collect()
}

/// A server with `data`, holes and zeroes in it, and its copy `snap`; and the image of the copy.
pub(crate) fn server() -> (Server, Vec<u8>) {
    let server = Server::start();
    for name in ["data", "snap", "other"] {
        server.volume(name, SIZE as u64);
    }
    server.write("data", 70_000, &noise(3 * MIB, 1));
    server.write("data", 6 * MIB as u64, &vec![0; MIB]);
    server.write("data", 9 * MIB as u64 + 1, b"short");
    server.write("data", SIZE as u64 - 1, b"!");
    server.copy("data", "snap");
    let image = server.content("snap", SIZE);
    server.write("data", MIB as u64, &noise(2 * MIB, 2));
    server.write("data", 12 * MIB as u64, &noise(MIB, 3));
    (server, image)
}

#[test]
fn a_copy_that_is_dumped_while_its_source_changes_is_restored_as_it_was() {
    let (server, image) = server();
    server.volume("larger", SIZE as u64 + 128 * 1024);
    server.write("larger", SIZE as u64, b"what was there before");

    let done = AtomicBool::new(false);
    let dumped = std::thread::scope(|scope| {
        scope.spawn(|| {
            // From the end, where the dump comes last.
            for (round, track) in (0..SIZE / TRACK).rev().cycle().enumerate() {
                if done.load(Ordering::Relaxed) {
                    break;
                }
                server.write("data", (track * TRACK) as u64, &noise(TRACK, round as u64));
            }
        });
        let dumped = server.done(&["dump", "snap", &server.text("d")]);
        done.store(true, Ordering::Relaxed);
        dumped
    });
    let restored = server.done(&["restore", &server.text("d"), "larger"]);

    let stored = std::fs::metadata(server.path("d")).expect("the dump").len();
    assert_eq!(dumped["stored_bytes"], stored);
    assert!(stored < 4 * MIB as u64, "holes and zeroes are in the dump: {stored} bytes");
    assert_eq!(restored["dumps"][0], dumped["id"]);
    let mut expected = image;
    expected.resize(SIZE + 128 * 1024, 0);
    assert!(server.content("larger", expected.len()) == expected);
    let volumes = server.done(&["volume", "show", "larger"]);
    assert!(volumes["allocated_bytes"].as_u64().expect("a number") < 5 * MIB as u64, "{volumes}");
}

#[test]
fn a_dump_goes_through_pipes() {
    let (server, image) = server();

    let dump = server.run(&["dump", "snap", "-"]);
    assert_eq!(dump.status.code(), Some(0), "{}", String::from_utf8_lossy(&dump.stderr));
    let mut restore = server
        .process(&["restore", "-", "other"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    restore.stdin.take().expect("a pipe").write_all(&dump.stdout).expect("it reads everything");
    let output = restore.wait_with_output().expect("it ends");

    assert_eq!(output.status.code(), Some(0));
    assert!(server.content("other", SIZE) == image);
}

#[test]
fn a_damaged_dump_is_refused_and_the_volume_keeps_what_it_holds() {
    let (server, _) = server();
    server.write("other", 0, &noise(SIZE, 4));
    let before = server.content("other", SIZE);
    server.done(&["dump", "snap", &server.text("d")]);
    let whole = std::fs::read(server.path("d")).expect("the dump");

    let mut damaged: Vec<Vec<u8>> = (0..40)
        .map(|part| {
            let mut dump = whole.clone();
            dump[whole.len() * part / 40 + part] ^= 0x10;
            dump
        })
        .collect();
    damaged.push(whole[..whole.len() - 1].to_vec());
    damaged.push(whole[..whole.len() / 2].to_vec());
    for (number, dump) in damaged.iter().enumerate() {
        std::fs::write(server.path("damaged"), dump).expect("it is written");
        let error = server.refused(&["restore", &server.text("damaged"), "other"]);
        assert_eq!(error["kind"], "damaged", "dump {number}: {error}");
        let mut piped = server.process(&["restore", "-", "other"]);
        let file = std::fs::File::open(server.path("damaged")).expect("it is there");
        assert_eq!(piped.stdin(file).output().expect("it runs").status.code(), Some(1), "{number}");
    }

    assert!(server.content("other", SIZE) == before);
}

#[test]
fn the_relationships_end_when_the_dump_is_whole() {
    let (server, _) = server();

    let usage = server.run(&["dump", "snap", "-", "--withdraw"]);
    assert_eq!(usage.status.code(), Some(2));
    let dumped = server.done(&["dump", "snap", &server.text("d"), "--withdraw"]);

    assert_eq!(dumped["withdrawn"].as_array().map(Vec::len), Some(1));
    let copies = server.done(&["copy", "list"]);
    assert_eq!(copies, serde_json::json!([]));
}

#[test]
fn an_interrupted_dump_goes_on_while_the_copy_is_the_same() {
    let (server, image) = server();
    let (d, path) = (server.text("d"), server.path("d"));
    server.done(&["dump", "snap", &d]);
    let whole = std::fs::read(&path).expect("the dump");
    assert_eq!(server.refused(&["dump", "snap", &d])["kind"], "exists");
    assert_eq!(server.refused(&["dump", "snap", &d, "--resume"])["kind"], "complete");

    for cut in [whole.len() - 1, whole.len() * 2 / 3, whole.len() / 3, 600] {
        let mut torn = whole[..cut].to_vec();
        // As after a crash of the machine: the file is longer than what was written.
        torn.resize(cut + 5000, 0);
        std::fs::write(&path, &torn).expect("it is written");
        server.done(&["dump", "snap", &d, "--resume"]);
        server.done(&["restore", &d, "other"]);
        assert!(server.content("other", SIZE) == image, "cut at {cut}");
    }

    std::fs::write(&path, &whole[..whole.len() / 2]).expect("it is written");
    server.done(&["copy", "withdraw", "--target", "snap"]);
    server.copy("data", "snap");
    let error = server.refused(&["dump", "snap", &d, "--resume"]);
    assert_eq!(error["kind"], "not_resumable", "{error}");
    let kept = std::fs::metadata(&path).expect("the dump").len();
    assert_eq!(kept, whole.len() as u64 / 2, "a refusal has changed the file");
}

#[test]
fn a_volume_that_is_in_use_or_too_small_is_not_overwritten() {
    let (server, image) = server();
    server.done(&["dump", "snap", &server.text("d")]);
    server.volume("small", SIZE as u64 - 65_536);

    let small = server.refused(&["restore", &server.text("d"), "small", "--force"]);
    assert_eq!(small["kind"], "size", "{small}");
    let related = server.refused(&["restore", &server.text("d"), "data"]);
    assert_eq!(related["kind"], "busy", "{related}");
    let missing = server.refused(&["restore", &server.text("d"), "nowhere"]);
    assert_eq!(missing["kind"], "not_found", "{missing}");

    server.done(&["restore", &server.text("d"), "data", "--force"]);
    assert!(server.content("data", SIZE) == image);
    assert!(server.content("snap", SIZE) == image, "the copy keeps its image");
}

#[test]
fn an_image_that_changed_its_moment_meanwhile_is_not_a_dump() {
    let (server, _) = server();
    let mut asked = 0;
    server.tell_changes(move |report, _| {
        asked += 1;
        let moment = report.moment + u64::from(asked > 1);
        flashtrack_engine::admin::ChangesReport { moment, ..report }
    });

    let error = server.refused(&["dump", "snap", &server.text("d")]);

    assert_eq!(error["kind"], "image_lost", "{error}");
    let error = server.refused(&["restore", &server.text("d"), "other"]);
    assert_eq!(error["kind"], "damaged", "{error}");
}

#[test]
fn an_nbd_server_that_is_not_there_is_named() {
    let (server, _) = server();

    let error =
        server.refused(&["dump", "snap", &server.text("d"), "--nbd", "unix:/nonexistent/nbd"]);

    assert_eq!(error["kind"], "unreachable", "{error}");
    assert!(error["message"].as_str().is_some_and(|text| text.contains("/nonexistent/nbd")));
    assert!(!server.path("d").exists(), "a dump that was never begun has left a file");
}

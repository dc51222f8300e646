//! The binary `flashtrack` as scripts and people meet it: help, usage, exit codes, JSON, tables.

#[path = "../common/control_api.rs"]
mod control_api;
mod copies;
mod fake;
#[path = "../common/program.rs"]
mod program;

use std::os::unix::net::UnixListener;

use serde_json::{Value, json};
use tempfile::TempDir;

use fake::{FakeServer, run, stderr, stdout, volume};
use program::{flashtrack, flashtrack_at};

const VERBS: [&[&str]; 33] = [
    &[],
    &["pool"],
    &["pool", "create"],
    &["pool", "list"],
    &["pool", "show"],
    &["pool", "delete"],
    &["volume", "create"],
    &["volume", "list"],
    &["volume", "show"],
    &["volume", "delete"],
    &["copy", "establish"],
    &["copy", "refresh"],
    &["copy", "reverse"],
    &["copy", "fast-reverse"],
    &["copy", "convert"],
    &["copy", "list"],
    &["copy", "wait"],
    &["copy", "withdraw"],
    &["dataset", "define"],
    &["dataset", "import"],
    &["dataset", "list"],
    &["dataset", "show"],
    &["dataset", "copy"],
    &["dataset", "delete"],
    &["thaw"],
    &["dump"],
    &["restore"],
    &["store", "status"],
    &["store", "drain"],
    &["store", "check"],
    &["store", "dump"],
    &["completions"],
    &["man"],
];

#[test]
fn every_verb_has_help_and_every_leaf_an_example() {
    for verb in VERBS {
        let output = run(&[verb, &["--help"]].concat());

        let help = stdout(&output);
        assert_eq!(output.status.code(), Some(0), "{verb:?}");
        assert!(help.contains("Usage: flashtrack"), "{verb:?}: {help}");
        let leaf = verb != ["pool"];
        assert!(!leaf || help.contains("Example"), "{verb:?} has no example: {help}");
        assert_eq!(stderr(&output), "", "{verb:?}");
    }
}

#[test]
fn bad_usage_exits_with_2_and_names_what_is_wrong() {
    for (words, named) in [
        (vec!["pool", "create", "p0"], "--capacity"),
        (vec!["pool", "create", "p0", "--capacity", "10X"], "powers of 1024"),
        (vec!["pool", "create", "p0", "--capacity", "17179869184G"], "2^64"),
        (vec!["volume", "create", "v", "--size", "1G", "--type", "ext4"], "3390-3"),
        (vec!["volume", "create", "v", "--size", "1G", "--cylinders", "1"], "--cylinders"),
        (vec!["volume", "create", "v", "--size", "1G", "--device", "12345"], "hexadecimal"),
        (vec!["copy", "establish", "data"], "TARGET"),
        (vec!["copy", "establish", "a", "b", "--extent", "1:2"], "SRC:TGT:COUNT"),
        (vec!["copy", "wait"], "--target"),
        (vec!["copy", "wait", "1", "--target", "t"], "--target"),
        (vec!["copy", "wait", "1", "--timeout", "60"], "unit"),
        (vec!["copy", "withdraw"], "--target"),
        (vec!["copy", "withdraw", "1", "--source", "s"], "--source"),
        (vec!["copy", "establish", "a", "b", "--pair", "c"], "SOURCE:TARGET"),
        (vec!["copy", "establish", "a", "b", "--target-writable"], "--incremental"),
        (vec!["copy", "refresh", "a"], "TARGET"),
        (vec!["copy", "refresh", "a", "b", "--last", "--target-writable"], "--target-writable"),
        (vec!["thaw", "A"], "hexadecimal"),
        (vec!["dump", "v"], "FILE"),
        (vec!["dump", "v", "f", "--nbd", "here"], "unix:PATH"),
        (vec!["restore", "f"], "VOLUME"),
        (vec!["dataset", "define", "d"], "VOLUME:FIRST:COUNT"),
        (vec!["dataset", "define", "d", "v:0"], "VOLUME:FIRST:COUNT"),
        (vec!["dataset", "import", "d", "--file", "f"], "--volume"),
        (vec!["dataset", "copy", "d"], "--onto"),
        (vec!["dataset", "copy", "d", "v", "--onto", "e"], "--onto"),
        (vec!["frobnicate"], "frobnicate"),
        (vec!["pool", "list", "--frobnicate"], "--frobnicate"),
    ] {
        let output = run(&words);

        let error = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{words:?}: {error}");
        assert!(error.contains(named), "{words:?} does not say {named}: {error}");
        assert_eq!(stdout(&output), "", "{words:?}");
    }
}

#[test]
fn without_a_server_it_says_how_to_name_the_control_socket() {
    let directory = TempDir::new().expect("a temporary directory");
    let missing = directory.path().join("no.sock");

    let output = flashtrack()
        .args(["volume", "list"])
        .env("FLASHTRACK_CONTROL", &missing)
        .output()
        .expect("the binary runs");

    let error = stderr(&output);
    assert_eq!(output.status.code(), Some(1));
    assert!(error.contains("no.sock"), "{error}");
    assert!(error.contains("--control"), "{error}");
}

#[test]
fn errors_are_json_in_json_mode() {
    let unreachable = run(&["--json", "--control", "/nonexistent/c.sock", "pool", "list"]);
    let error: Value = serde_json::from_slice(&unreachable.stderr).expect("JSON");
    assert_eq!(unreachable.status.code(), Some(1));
    assert_eq!(error["kind"], "unreachable");
    assert!(error["help"].as_str().expect("help").contains("--control"));

    let usage = run(&["pool", "create", "--json"]);
    let error: Value = serde_json::from_slice(&usage.stderr).expect("JSON");
    assert_eq!(usage.status.code(), Some(2));
    assert_eq!(error["kind"], "usage");
}

#[test]
fn a_refusal_exits_with_1_and_tells_message_and_help() {
    let refusal = json!({
        "kind": "not_found", "message": "pool p9 does not exist", "help": "see `flashtrack pool list`"
    });
    let server = FakeServer::answering(vec![(404, refusal.clone()), (404, refusal.clone())]);

    let text = server.run(&["pool", "show", "p9"]);
    assert_eq!(text.status.code(), Some(1));
    assert!(stderr(&text).contains("pool p9 does not exist"));
    assert!(stderr(&text).contains("flashtrack pool list"));

    let json = server.run(&["pool", "show", "p9", "--json"]);
    assert_eq!(json.status.code(), Some(1));
    let told: Value = serde_json::from_slice(&json.stderr).expect("JSON");
    assert_eq!(told, refusal);
    assert_eq!(server.asked()[0], json!({"pool_show": {"name": "p9"}}));
}

#[test]
fn nonsense_that_fits_64_bits_is_left_to_the_server() {
    let refusal = json!({"kind": "invalid", "message": "too large", "help": null});
    let server = FakeServer::answering(vec![(400, refusal.clone()), (400, refusal)]);

    for (size, bytes) in [("0", 0), ("9223372036854775808", 1_u64 << 63)] {
        let output = server.run(&["volume", "create", "v", "--size", size]);
        assert_eq!(output.status.code(), Some(1), "{bytes}");
    }

    let asked = server.asked();
    assert_eq!(asked[0]["volume_create"]["size_bytes"], 0);
    assert_eq!(asked[1]["volume_create"]["size_bytes"], 1_u64 << 63);
}

#[test]
fn volume_create_sends_every_option_and_says_when_the_size_was_rounded() {
    let report = json!({"volumes": [volume("v", 131_072)]});
    let server = FakeServer::answering(vec![(200, report.clone()), (200, report)]);

    let rounded = server
        .run(&["volume", "create", "v", "--size", "65537", "--device", "0a00", "--thin", "p0"]);
    assert!(stdout(&rounded).contains("rounded up from 65537 bytes"), "{}", stdout(&rounded));
    let exact = server.run(&["volume", "create", "v", "--size", "128K"]);
    assert!(!stdout(&exact).contains("rounded"), "{}", stdout(&exact));

    assert_eq!(
        server.asked()[0],
        json!({"volume_create": {
            "name": "v", "size_bytes": 65537, "cylinders": null, "volume_type": "fb", "device": 0x0A00, "thin": "p0"
        }})
    );
}

#[test]
fn lists_are_aligned_tables_without_colour_off_a_terminal_or_json_arrays() {
    let report = json!({"volumes": [volume("a", 65_536), volume("longer-name", 131_072)]});
    let server = FakeServer::answering(vec![(200, report.clone()), (200, report.clone())]);

    let text = stdout(&server.run(&["volume", "list"]));
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 3, "{text}");
    assert_eq!(lines[0].find("DEVICE"), lines[2].find("0A00"), "{text}");
    assert!(!text.contains('\u{1b}'), "colour off a terminal: {text:?}");

    let json: Value =
        serde_json::from_slice(&server.run(&["volume", "list", "--json"]).stdout).expect("JSON");
    assert_eq!(json, report["volumes"]);
}

#[test]
fn one_object_is_a_json_object_and_what_has_no_report_an_empty_one() {
    let server = FakeServer::answering(vec![
        (200, json!({"volumes": [volume("a", 65_536)]})),
        (200, json!("done")),
    ]);

    let shown: Value =
        serde_json::from_slice(&server.run(&["volume", "show", "a", "--json"]).stdout)
            .expect("JSON");
    assert_eq!(shown, volume("a", 65_536));
    let deleted: Value =
        serde_json::from_slice(&server.run(&["volume", "delete", "a", "--json"]).stdout)
            .expect("JSON");
    assert_eq!(deleted, json!({}));
}

#[test]
fn a_frozen_volume_shows_how_long_its_writes_are_held() {
    let mut frozen = volume("a", 65_536);
    frozen["frozen_seconds_left"] = json!(87);
    let server = FakeServer::answering(vec![(200, json!({"volumes": [frozen]}))]);

    let text = stdout(&server.run(&["volume", "list"]));

    assert!(text.contains("online, frozen for 87 s more") && text.contains("65534"), "{text}");
}

#[test]
fn an_answer_of_something_else_than_flashtrackd_is_told_as_such() {
    let server = FakeServer::answering(vec![(200, json!({"hello": 1})), (500, json!("broken"))]);

    for _ in 0..2 {
        let output = server.run(&["volume", "list"]);
        assert_eq!(output.status.code(), Some(1));
        assert!(stderr(&output).contains("control API"), "{}", stderr(&output));
    }
}

#[test]
fn a_connection_that_ends_in_mid_command_leaves_the_outcome_open() {
    let directory = TempDir::new().expect("a temporary directory");
    let socket = directory.path().join("control.sock");
    let listener = UnixListener::bind(&socket).expect("a socket");
    let server = std::thread::spawn(move || drop(listener.accept()));

    let output =
        flashtrack_at(&socket).args(["pool", "delete", "p0"]).output().expect("the binary runs");

    server.join().expect("it has closed the connection");
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("before it answered"), "{}", stderr(&output));
    assert!(stderr(&output).contains("was carried out"), "{}", stderr(&output));
}

#[test]
fn completions_and_manual_pages_cover_the_verbs() {
    for shell in ["bash", "zsh", "fish"] {
        let script = stdout(&run(&["completions", shell]));
        assert!(script.contains("space-efficient"), "{shell}");
    }
    let directory = TempDir::new().expect("a temporary directory");
    let output = run(&["man", directory.path().to_str().expect("text")]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    for page in ["flashtrack.1", "flashtrack-copy-establish.1", "flashtrack-pool-create.1"] {
        assert!(directory.path().join(page).exists(), "{page} is missing");
    }
}

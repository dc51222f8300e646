//! Dumps that hold only what may differ from an earlier one.

use flashtrack_engine::admin::{ChangesReport, TrackRun};
use serde_json::json;

use crate::server::Server;
use crate::{SIZE, TRACK, noise, server};

/// Runs of tracks that relationships are said to have recorded, two in an answer.
fn recorded(server: &Server, runs: &'static [(u32, u32)]) {
    server.tell_changes(move |report, from| {
        let rest = runs.iter().filter(|(first, _)| *first >= from);
        let told: Vec<TrackRun> =
            rest.clone().take(2).map(|&(first, count)| TrackRun { first, count }).collect();
        let next_track = rest.clone().nth(2).map(|(first, _)| *first);
        ChangesReport { recorded: true, runs: told, next_track, ..report }
    });
}

#[test]
fn a_dump_since_another_has_only_what_changed_and_is_restored_with_it() {
    let (server, _) = server();
    server.volume("snap2", SIZE as u64);
    server.done(&["dump", "snap", &server.text("monday")]);
    // The tracks that `server` has changed since the copy, and one that did not change really.
    recorded(&server, &[(16, 32), (100, 1), (192, 15), (207, 1)]);
    server.copy("data", "snap2");
    let image = server.content("snap2", SIZE);
    server.write("data", 0, &noise(TRACK, 9));

    let dumped =
        server.done(&["dump", "snap2", &server.text("tuesday"), "--since", &server.text("monday")]);
    let told = (dumped["data_bytes"].as_u64(), dumped["zero_bytes"].as_u64());
    assert_eq!(told.0.zip(told.1).map(|(data, zero)| data + zero), Some(49 * TRACK as u64));

    let (monday, tuesday) = (server.text("monday"), server.text("tuesday"));
    let alone = server.refused(&["restore", &tuesday, "other"]);
    assert_eq!(alone["kind"], "wrong_base", "{alone}");
    let turned = server.refused(&["restore", &monday, "other", "--base", &tuesday]);
    assert_eq!(turned["kind"], "wrong_base", "{turned}");
    let restored = server.done(&["restore", &tuesday, "other", "--base", &monday]);
    assert_eq!(restored["dumps"][1], dumped["id"]);
    assert!(server.content("other", SIZE) == image);
}

#[test]
fn an_incremental_copy_records_what_a_later_copy_of_its_source_differs_by() {
    let (server, _) = server();
    server.volume("anchor", SIZE as u64);
    server.volume("snap2", SIZE as u64);
    let (monday, tuesday) = (server.text("monday"), server.text("tuesday"));
    server.done(&["copy", "establish", "data", "anchor", "--incremental"]);
    server.done(&["copy", "wait", "--target", "anchor"]);
    server.write("anchor", 3 * TRACK as u64, b"written to the target before the dump");
    server.done(&["dump", "anchor", &monday]);
    server.write("data", 5 * TRACK as u64 - 1, b"two tracks");
    server.write("anchor", 30 * TRACK as u64, b"written to the target after the dump");

    server.copy("data", "snap2");
    let image = server.content("snap2", SIZE);
    server.write("data", 0, &noise(TRACK, 9));
    let dumped = server.done(&["dump", "snap2", &tuesday, "--since", &monday]);
    let changed = SIZE as u64 - dumped["unchanged_bytes"].as_u64().expect("a number");
    // Two on the source, two on the target, and the one that changed after the copy.
    assert_eq!(changed, 5 * TRACK as u64, "{dumped}");
    server.done(&["restore", &tuesday, "other", "--base", &monday]);
    assert!(server.content("other", SIZE) == image);

    server.done(&["copy", "refresh", "data", "anchor"]);
    let error = server.refused(&["dump", "snap2", &server.text("d"), "--since", &monday]);
    assert_eq!(error["kind"], "changes_unknown", "{error}");
}

#[test]
fn where_the_changes_are_not_known_no_dump_adds_to_another() {
    let (server, _) = server();
    server.volume("snap2", SIZE as u64);
    let (monday, tuesday) = (server.text("monday"), server.text("tuesday"));
    server.done(&["dump", "snap", &monday]);
    let since = |volume| {
        let error = server.refused(&["dump", volume, &tuesday, "--since", &monday]);
        assert!(!server.path("tuesday").exists(), "a refusal has made a file");
        (error["kind"].clone(), error["message"].as_str().unwrap_or_default().to_owned())
    };

    // Nothing is recorded.
    let (kind, why) = since("snap");
    assert_eq!(kind, json!("changes_unknown"));
    assert!(why.contains("not incremental"), "{why}");
    // Not a copy, or not of the same source.
    recorded(&server, &[]);
    assert!(since("data").1.contains("0 relationships"));
    server.copy("other", "snap2");
    assert!(since("snap2").1.contains("copy of data, not of other"));
    // Refreshed since.
    server.tell_changes(|report, _| ChangesReport {
        recorded: true,
        moment: report.moment + 1,
        ..report
    });
    assert!(since("snap").1.contains("was refreshed"));
}

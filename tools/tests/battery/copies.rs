//! Verbs that are about relationships, datasets and freezes.

use serde_json::{Value, json};

use crate::fake::{FakeServer, copies, copy, stderr, stdout};

/// The one command that `words` send.
fn asked_by(words: &[&str]) -> Value {
    let server = FakeServer::answering(vec![copies(&[copy(7, "f-copy", 16, None)])]);
    let output = server.run(words);
    assert_eq!(output.status.code(), Some(0), "{words:?}: {}", stderr(&output));
    server.asked().remove(0)
}

#[test]
fn establish_sends_mode_opt_in_extents_and_further_pairs() {
    let mut words =
        vec!["copy", "establish", "data", "clone", "--pair", "wal:wal-copy", "--nocopy"];
    words.extend(["--space-efficient", "--extent", "0:16:8", "--extent", "100:0:4"]);
    words.extend(["--incremental", "--target-writable", "--freeze", "--refuse-online"]);

    assert_eq!(
        asked_by(&words),
        json!({"copy_establish": {
            "pairs": [{"source": "data", "target": "clone", "extents": [
                {"source_track": 0, "target_track": 16, "tracks": 8},
                {"source_track": 100, "target_track": 0, "tracks": 4},
            ]}, {"source": "wal", "target": "wal-copy", "extents": []}],
            "mode": "nocopy", "space_efficient": true, "incremental": "target_writable", "action": "establish",
            "freeze": "hold_writes", "online_target": "refused"
        }})
    );
}

#[test]
fn refreshes_and_reversals_name_their_pairs_in_the_new_direction() {
    for (words, action, incremental) in [
        (&["refresh", "a", "b"][..], "refresh", "yes"),
        (&["refresh", "a", "b", "--last"], "refresh", "last"),
        (&["reverse", "a", "b", "--target-writable"], "reverse", "target_writable"),
        (&["fast-reverse", "a", "b"], "fast_reverse", "no"),
        (&["fast-reverse", "a", "b", "--incremental"], "fast_reverse", "yes"),
        (&["fast-reverse", "a", "b", "--last"], "fast_reverse", "last"),
    ] {
        let asked = asked_by(&[&["copy"], words, &["--pair", "c:d", "--nocopy"]].concat());

        let spec = &asked["copy_establish"];
        assert_eq!((&spec["action"], &spec["incremental"]), (&json!(action), &json!(incremental)));
        assert_eq!(spec["mode"], "nocopy");
        let whole = |source, target| json!({"source": source, "target": target, "extents": []});
        assert_eq!(spec["pairs"], json!([whole("a", "b"), whole("c", "d")]), "{words:?}");
    }
}

#[test]
fn a_withdraw_names_an_id_or_either_volume_or_both() {
    for (words, sent) in [
        (
            &["7"][..],
            json!({"id": 7, "source": null, "target": null, "extents": [], "ddsw": false}),
        ),
        (
            &["--source", "s", "--target", "t", "--ddsw", "--extent", "0:16:8"],
            json!({"id": null, "source": "s", "target": "t", "ddsw": true,
                "extents": [{"source_track": 0, "target_track": 16, "tracks": 8}]}),
        ),
    ] {
        let asked = asked_by(&[&["copy", "withdraw"], words].concat());
        assert_eq!(asked, json!({ "copy_withdraw": sent }));
    }
}

#[test]
fn an_incremental_copy_shows_what_changed_and_ends_a_wait_when_it_is_complete() {
    let mut report = copy(7, "complete", 0, None);
    report["incremental"] = json!(true);
    report["write_inhibited"] = json!(true);
    report["changed_tracks"] = json!(5);
    let server = FakeServer::answering(vec![copies(&[report, copy(8, "f-copy", 16, None)])]);

    let text = stdout(&server.run(&["copy", "list"]));
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[1].contains("yes, target read-only        5     0"), "{text}");
    assert!(lines[2].contains("-                            -    16"), "{text}");

    let mut complete = copy(7, "f-copy", 0, None);
    complete["incremental"] = json!(true);
    let server = FakeServer::answering(vec![copies(&[complete])]);
    assert_eq!(server.run(&["copy", "wait", "7"]).status.code(), Some(0));
}

#[test]
fn a_thaw_whose_verification_fails_exits_with_1_and_says_so() {
    let thawed =
        |consistent| (200, json!({"thawed": {"volumes": ["a", "b"], "consistent": consistent}}));
    let server =
        FakeServer::answering(vec![thawed(Value::Null), thawed(json!(true)), thawed(json!(false))]);

    let plain = server.run(&["thaw", "0a"]);
    assert_eq!(stdout(&plain), "control unit 0A thawed: writes go on to a, b\n");
    let held = server.run(&["thaw", "0A", "--verify", "a"]);
    assert!(stdout(&held).contains("is consistent"), "{}", stdout(&held));
    let late = server.run(&["thaw", "0A", "--verify", "a"]);
    assert_eq!(late.status.code(), Some(1));
    assert!(stderr(&late).contains("volume a was not frozen any more"), "{}", stderr(&late));

    let asked = server.asked();
    assert_eq!(asked[0], json!({"thaw": {"cu": 10, "verify": null}}));
    assert_eq!(asked[1], json!({"thaw": {"cu": 10, "verify": "a"}}));
}

#[test]
fn datasets_are_defined_listed_shown_copied_and_deleted() {
    let dataset = json!({"name": "d", "tracks": 24, "extents": [
        {"volume": "v", "first_track": 0, "tracks": 16}, {"volume": null, "first_track": 9, "tracks": 8}
    ]});
    let report = (200, json!({ "datasets": [dataset] }));
    let server = FakeServer::answering(vec![
        report.clone(),
        report.clone(),
        report,
        copies(&[copy(7, "f-copy", 16, None)]),
        (200, json!("done")),
    ]);

    let defined = server.run(&["dataset", "define", "d", "v:0:16", "w:9:8", "--json"]);
    let told: Value = serde_json::from_slice(&defined.stdout).expect("JSON");
    assert_eq!(told, dataset);
    let listed = stdout(&server.run(&["dataset", "list"]));
    assert!(listed.contains("v, (deleted)"), "{listed}");
    let shown = stdout(&server.run(&["dataset", "show", "d"]));
    assert!(shown.starts_with("dataset d: 24 tracks\nVOLUME"), "{shown}");
    server.run(&["dataset", "copy", "d", "x", "y", "--nocopy", "--freeze"]);
    server.run(&["dataset", "delete", "d"]);

    let asked = server.asked();
    assert_eq!(
        asked[0],
        json!({"dataset_define": {"name": "d", "extents": [
            {"volume": "v", "first_track": 0, "tracks": 16}, {"volume": "w", "first_track": 9, "tracks": 8}
        ]}})
    );
    assert_eq!(asked[1], json!({"dataset_list": {}}));
    assert_eq!(
        asked[3],
        json!({"dataset_copy": {
            "name": "d", "targets": ["x", "y"], "onto": null, "mode": "nocopy", "freeze": "hold_writes"
        }})
    );
    assert_eq!(asked[4], json!({"dataset_delete": {"name": "d"}}));
}

#[test]
fn waiting_polls_until_the_copy_is_complete() {
    let server = FakeServer::answering(vec![
        copies(&[copy(7, "f-copy", 16, None)]),
        copies(&[copy(7, "f-copy", 4, None)]),
        copies(&[copy(7, "complete", 0, Some("completed"))]),
    ]);

    let output = server.run(&["copy", "wait", "--target", "clone", "--json"]);

    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let reports: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(reports[0]["ended"], "completed");
    let asked = server.asked();
    assert_eq!(asked[0], json!({"copy_show": {"target": "clone"}}));
    assert_eq!(asked[2], json!({"copy_show": {"id": 7}}));
}

#[test]
fn waiting_for_one_that_has_completed_returns_0_and_for_others_1() {
    for (report, code) in [
        (copy(7, "complete", 0, Some("completed")), 0),
        (copy(7, "f-copy", 3, Some("withdrawn")), 1),
        (copy(7, "failed", 3, None), 1),
        (copy(7, "suspended", 3, None), 1),
    ] {
        let server = FakeServer::answering(vec![copies(std::slice::from_ref(&report))]);
        let output = server.run(&["copy", "wait", "7"]);
        assert_eq!(output.status.code(), Some(code), "{report}: {}", stderr(&output));
    }
}

#[test]
fn waiting_longer_than_the_timeout_exits_with_3() {
    let server = FakeServer::answering(vec![copies(&[copy(7, "f-copy", 16, None)])]);

    let output = server.run(&["copy", "wait", "7", "--timeout", "0s"]);

    assert_eq!(output.status.code(), Some(3));
    assert!(stderr(&output).contains("16 tracks are left"), "{}", stderr(&output));
}

#[test]
fn withdrawing_nothing_by_name_is_no_error() {
    let server = FakeServer::answering(vec![copies(&[])]);

    let output = server.run(&["copy", "withdraw", "--target", "clone"]);

    assert_eq!(output.status.code(), Some(0));
    assert_eq!(stdout(&output), "nothing to withdraw\n");
    assert_eq!(server.asked()[0]["copy_withdraw"]["target"], "clone");
}

//! TSO commands: what they ask of the server, and what they say.

use serde_json::{Value, json};

use super::fake::{Server, World, copy, copy_with, refusal, thawed};
use crate::run::Run;

fn tso(server: &Server, command: &str) -> Run {
    server.run(&["tso", command], "")
}

fn establish(fields: &Value) -> Value {
    let mut spec = json!({
        "pairs": [{"source": "SORCEV", "target": "TRGVOL", "extents": []}],
        "mode": "copy", "space_efficient": false, "incremental": "no", "action": "establish", "freeze": "no",
        "online_target": "refused"
    });
    for (name, value) in fields.as_object().expect("fields are an object") {
        spec[name] = value.clone();
    }
    json!({ "copy_establish": spec })
}

fn extents(list: &Value) -> Value {
    json!({"pairs": [{"source": "SORCEV", "target": "TRGVOL", "extents": list}]})
}

#[test]
fn every_keyword_of_fcestabl_reaches_the_server() {
    let server = Server::of(World::new("xp7"));
    for (keywords, fields) in [
        ("", json!({})),
        ("MODE(COPY) ONLINTGT(NO) INCREMENTAL(NO) SETGTOK(NO)", json!({})),
        ("TGTPPRIM(NO) PRESMIR(NO) REMOTE(NO) OPENDVCS(NO) TGTUCB(YES) SUBCHSET(0)", json!({})),
        ("MODE(NOCOPY) ONLINTGT(YES)", json!({"mode": "nocopy", "online_target": "allowed"})),
        ("MODE(NOCOPY) SETGTOK(YES)", json!({"mode": "nocopy", "space_efficient": true})),
        ("INCREMENTAL(YES)", json!({"incremental": "yes"})),
        ("incremental(ytw)", json!({"incremental": "target_writable"})),
        ("ACTION(FREEZE)", json!({"freeze": "hold_writes"})),
        ("ACTION(FRR)", json!({"action": "fast_reverse"})),
        (
            "EXTENTS(00000000 0000000E, 00020000 00020000)",
            extents(&json!([
                {"source_track": 0, "target_track": 0, "tracks": 15},
                {"source_track": 30, "target_track": 30, "tracks": 1},
            ])),
        ),
        (
            "XXTNTLST(00000000 0000000E 00000010 0000001E)",
            extents(&json!([{"source_track": 0, "target_track": 15, "tracks": 15}])),
        ),
    ] {
        tso(&server, &format!("FCESTABL SDEVN(0A00) TDEVN(0a01) {keywords}")).ends(
            0,
            &["ANTF0001I FCESTABL COMMAND COMPLETED FOR DEVICE 0A00. COMPLETION CODE: 00"],
        );
        assert_eq!(server.asked(), [establish(&fields)], "{keywords}");
    }
}

#[test]
fn t1_11_xtntlst_copies_to_another_place() {
    let server = Server::of(World::new("xp7"));

    tso(&server, "FCESTABL SDEVN(0A00) TDEVN(0A01) XTNTLST(00000000 0000000E 01000000 0100000E)")
        .ends(0, &[]);

    let moved = json!([{"source_track": 0, "target_track": 3840, "tracks": 15}]);
    assert_eq!(server.asked(), [establish(&extents(&moved))]);
}

#[test]
fn nocopy2copy_starts_the_background_copy_of_the_source() {
    let mut world = World::new("xp7");
    world.answers.push_back((200, json!({"copies": [copy(1, "SORCEV", "TRGVOL")]})));
    let server = Server::of(world);

    tso(&server, "FCESTABL SDEVN(0A00) TDEVN(0A01) MODE(NOCOPY2COPY)")
        .ends(0, &["1 RELATIONSHIP SWITCHED TO COPY"]);

    assert_eq!(server.asked(), [json!({"copy_convert": {"source": "SORCEV"}})]);
}

#[test]
fn keywords_of_mirrors_and_other_addressing_are_refused_by_name() {
    let server = Server::of(World::new("xp7"));
    let both = "SDEVN(0A00) TDEVN(0A01)";
    for (command, named) in [
        (format!("FCESTABL {both} TGTPPRIM(YES)"), "TGTPPRIM(YES)"),
        (format!("FCESTABL {both} PRESERVEMIRROR(REQUIRED)"), "PRESERVEMIRROR(REQUIRED)"),
        (format!("FCESTABL {both} PRESMIR(PREF)"), "PRESMIR(PREF)"),
        (format!("FCESTABL {both} REMOTE(YES)"), "REMOTE(YES)"),
        (format!("FCESTABL {both} MODE(ASYNC)"), "MODE(ASYNC)"),
        (format!("FCESTABL {both} SUBCHSET(1)"), "SUBCHSET(1)"),
        (format!("FCESTABL {both} SETGTOK(SWI)"), "SETGTOK(SWI)"),
        (
            "FCESTABL DEVN(042A) SOURCE(18432 12 08) TARGET(18432 14 10) SSID(1418)".to_owned(),
            "SSID(1418)",
        ),
        ("FCESTABL SDEVN(0A00) TGTUCB(NO)".to_owned(), "TGTUCB(NO)"),
        ("FCWITHDR DEVN(0A00) ACTION(COMMIT)".to_owned(), "ACTION(COMMIT)"),
        ("FCQUERY DEVN(0A00) QRYDVC(0A01)".to_owned(), "QRYDVC(0A01)"),
    ] {
        tso(&server, &command)
            .ends(1, &["ANTF9002E", named, "is not served", "condition code is 8"]);
    }
    assert_eq!(server.asked(), [] as [Value; 0]);
}

#[test]
fn what_makes_no_sense_is_malformed_at_its_place() {
    let server = Server::of(World::new("xp7"));
    for (command, place) in [
        ("FCESTABL SDEVN(0A00)", "TDEVN is missing"),
        ("FCESTABL SDEVN(0A00) SDEVN(0A01) TDEVN(0A02)", "column 22: SDEVN is given twice"),
        ("FCESTABL SDEVN(0A00) TDEVN(0A01) MODE(FAST)", "column 39: MODE takes COPY"),
        ("FCESTABL SDEVN TDEVN(0A01)", "column 10: SDEVN: a value"),
        ("FCESTABL SDEVN(0A00) TDEVN(0A01) EXTENTS(00000000)", "column 42: extents are pairs"),
        (
            "FCESTABL SDEVN(0A00) TDEVN(0A01) EXTENTS(00000000 00000001) XTNTLST(00000000)",
            "column 61: EXTENTS and XTNTLST exclude each other",
        ),
        ("FCQUERY DEVN(0A00) SHOWRELS(ALL) UNFORMAT", "column 34: SHOWRELS and UNFORMAT"),
        ("FCQUERY DEVN(0A00) STARTADDR(00000000)", "column 30: STARTADDR goes with"),
        ("FCBREAK", "column 1: there is no TSO command FCBREAK"),
    ] {
        tso(&server, command).ends(2, &[place]);
    }
    assert_eq!(server.asked(), [] as [Value; 0]);
}

#[test]
fn a_refusal_is_told_with_its_reason_code_and_advice() {
    let mut world = World::new("xp7");
    world.answers.push_back(refusal("target_related", "volume `TRGVOL` is a target already"));
    let server = Server::of(world);

    tso(&server, "FCESTABL SDEVN(0A00) TDEVN(0A01)").ends(
        1,
        &[
            "ANTF9001E volume `TRGVOL` is a target already. REASON CODE 11",
            "do otherwise",
            "code is 8",
        ],
    );
    assert_eq!(server.asked().len(), 1, "TSO withdraws nothing of its own accord");
    tso(&server, "FCESTABL SDEVN(0A00) TDEVN(0F00)")
        .ends(1, &["no volume has the device number 0F00"]);
    assert_eq!(server.asked(), [] as [Value; 0]);
}

#[test]
fn t1_12_13_14_the_seven_combinations_of_fcwithdr_reach_the_server() {
    let server = Server::of(World::new("xp7"));
    let list = "XTNTLST(00000000 0000000E 00010000 0001000E)";
    let extents = json!([{"source_track": 0, "target_track": 15, "tracks": 15}]);
    for (keywords, source, target, extents, ddsw) in [
        ("TDEVN(0A01)".to_owned(), None, Some("TRGVOL"), json!([]), false),
        (format!("TDEVN(0A01) DDSW(NO) {list}"), None, Some("TRGVOL"), extents.clone(), false),
        ("SDEVN(0A00) TDEVN(0A01)".to_owned(), Some("SORCEV"), Some("TRGVOL"), json!([]), false),
        (
            format!("SDEVN(0A00) TDEVN(0A01) {list}"),
            Some("SORCEV"),
            Some("TRGVOL"),
            extents.clone(),
            false,
        ),
        ("SDEVN(0A00) DDSW(YES)".to_owned(), Some("SORCEV"), None, json!([]), true),
        ("SDEVN(0A00) TDEVN(0F0F) DDSW(YES)".to_owned(), Some("SORCEV"), None, json!([]), true),
        (format!("SDEVN(0A00) DDSW(YES) {list}"), Some("SORCEV"), None, extents.clone(), true),
    ] {
        tso(&server, &format!("FCWITHDR {keywords}"))
            .ends(0, &["0 RELATIONSHIPS", "FCWITHDR COMMAND COMPLETED"]);
        let spec = json!({
            "id": null, "source": source, "target": target, "extents": extents, "ddsw": ddsw
        });
        assert_eq!(server.asked(), [json!({ "copy_withdraw": spec })], "{keywords}");
    }
    tso(&server, "FCWITHDR DEVN(0B01) ACTION(THAW)").ends(0, &["LSS 0B THAWED: SORCEV"]);
    assert_eq!(server.asked(), [json!({"thaw": {"cu": 0x0B, "verify": null}})]);
}

#[test]
fn every_other_combination_of_fcwithdr_is_refused() {
    let server = Server::of(World::new("xp7"));
    for keywords in [
        "",
        "SDEVN(0A00)",
        "SDEVN(0A00) DDSW(NO)",
        "SDEVN(0A00) XTNTLST(00000000 0000000E 00010000 0001000E)",
        "TDEVN(0A01) DDSW(YES)",
        "DDSW(YES)",
        "DEVN(0A00)",
        "DEVN(0A00) TDEVN(0A01)",
        "DEVN(0A00) SDEVN(0A00) ACTION(THAW)",
        "DEVN(0A00) DDSW(NO) ACTION(THAW)",
        "TDEVN(0A01) XTNTLST(00000000 0000000E 00010000 0001000D)",
    ] {
        tso(&server, &format!("FCWITHDR {keywords}")).ends(1, &["ANTF9001E", "code is 8"]);
    }
    assert_eq!(server.asked(), [] as [Value; 0]);
}

#[test]
fn a_thaw_of_a_control_unit_without_frozen_volumes_is_no_error() {
    let mut world = World::new("xp7");
    world.answers.push_back((200, thawed(&[], None)));
    let server = Server::of(world);

    tso(&server, "FCWITHDR DEVN(0A01) ACTION(THAW)").ends(0, &["NO VOLUME OF LSS 0A WAS FROZEN"]);
}

#[test]
fn t1_15_fcquery_counts_relationships_in_both_roles() {
    let server = Server::of(World::new("xp7"));

    let run = tso(&server, "FCQUERY DEVN(0A00)");

    run.ends(0, &["ANTF0420I FCQUERY Formatted"]);
    let lines: Vec<Vec<&str>> =
        run.stdout.lines().map(|line| line.split_whitespace().collect()).collect();
    let header = lines.iter().position(|words| words.first() == Some(&"DEVN")).expect("a header");
    let field = |name: &str| {
        let position = lines[header].iter().position(|word| *word == name).expect("a column");
        lines[header + 1][position]
    };
    for (name, value) in [
        ("DEVN", "0A00"),
        ("SSID", "000A"),
        ("LSS", "0A"),
        ("CCA", "00"),
        ("CU", "2107"),
        ("SERIAL", "0123456789AB"),
        ("ACT", "3"),
        ("MAX", "65534"),
        ("SE", "NO"),
        ("SEQNUM", "00000000"),
    ] {
        assert_eq!(field(name), value, "{name} in {}", run.stdout);
    }
    tso(&server, "FCQUERY DEVN(0B01)").ends(0, &[" YES 00000000"]);
}

#[test]
fn fcquery_unformat_has_a_line_of_the_volume_and_one_of_its_partner() {
    let mut world = World::new("xp7");
    world.copies = [vec![copy(1, "SORCEV", "TRGVOL")]].into();
    let server = Server::of(world);

    tso(&server, "FCQUERY DEVN(0A00) UNFORMAT").ends(
        0,
        &[
            "ANTF0091I 0A00,000A,0A,00,2107,0123456789AB,FC..050%\n",
            "\n0A01,000A,0A,01,2107,0123456789AB,FC..050%\n",
        ],
    );
    tso(&server, "FCQUERY DEVN(0B00) UNFORMAT(YES)").ends(0, &["0123456789AB,SIMPLEX."]);
}

#[test]
fn fcquery_showrels_lists_relationships_from_a_track_on() {
    let mut world = World::new("xp7");
    let extent = |id: u32, track: u32| {
        let fields = json!({
            "source_track": track, "target_track": 0, "tracks": 15, "whole": false, "tracks_left": 15,
            "mode": "nocopy"
        });
        copy_with(id, "SORCEV", "TRGVOL", &fields)
    };
    let ended = copy_with(4, "SORCEV", "OTHER", &json!({"ended": "completed"}));
    world.copies = [vec![extent(1, 0), extent(2, 30), extent(3, 60), ended]].into();
    let server = Server::of(world);

    let all = tso(&server, "FCQUERY DEVN(0A00) SHOWRELS(ALL)");
    all.ends(0, &["SHOWN 3", "00020000", "NOCOPY", "F-COPY", "SOURCE  0A01"]);
    let one = tso(&server, "FCQUERY DEVN(0A00) SHOWRELS(1) STARTADDR(00010000)");
    one.ends(0, &["SHOWN 1", "00020000"]);
    assert!(!one.stdout.contains("00040000"), "{}", one.stdout);
    tso(&server, "FCQUERY DEVN(0A00) SHOWRELS(NO)").ends(0, &["FCQUERY Formatted"]);
}

//! DFSMSdss statements: what they ask of the server, and what they say.

use serde_json::{Value, json};

use super::fake::{Server, World, copy, copy_with, refusal, thawed};
use crate::run::Run;

fn dss(server: &Server, deck: &str) -> Run {
    server.deck("dss", deck)
}

const FULL: &str = "COPY FULL INDYNAM(SORCEV) OUTDYNAM(TRGVOL)";

fn establish(fields: &Value) -> Value {
    let mut spec = json!({
        "pairs": [{"source": "SORCEV", "target": "TRGVOL", "extents": []}],
        "mode": "copy", "space_efficient": false, "incremental": "no", "action": "establish", "freeze": "no",
        "online_target": "allowed"
    });
    for (name, value) in fields.as_object().expect("fields are an object") {
        spec[name] = value.clone();
    }
    json!({ "copy_establish": spec })
}

fn withdraw_id(id: u32) -> Value {
    json!({"copy_withdraw": {"id": id, "source": null, "target": null, "extents": [], "ddsw": false}})
}

#[test]
fn every_flashcopy_keyword_reaches_the_server() {
    let server = Server::of(World::new("xp7"));
    for (keywords, fields) in [
        (
            "COPYVOLID FASTREPLICATION(PREFERRED) FCFULLVOLUMERELATION ADMINISTRATOR PURGE",
            json!({}),
        ),
        ("FCNOCOPY FR(REQ)", json!({"mode": "nocopy"})),
        ("FCNOCOPY FCSETGTOK(FAILRELATION)", json!({"mode": "nocopy", "space_efficient": true})),
        ("FCINCREMENTAL", json!({"incremental": "yes"})),
        ("FCINCREMENTAL FCINCRVERIFY(REVERSE)", json!({"incremental": "yes", "action": "reverse"})),
        ("FCINCRLAST", json!({"incremental": "last"})),
        ("FCFASTREVERSERESTORE", json!({"action": "fast_reverse"})),
        ("FCCGFREEZE", json!({"freeze": "hold_writes"})),
    ] {
        dss(&server, &format!("{FULL} -\n {keywords}\n")).ends(0, &["ADR806I"]);
        assert_eq!(server.asked(), [establish(&fields)], "{keywords}");
    }
}

#[test]
fn volumes_are_named_in_any_case_and_a_missing_one_is_named() {
    let server = Server::of(World::new("xp7"));

    dss(&server, "copy full indynam(sorcev,3390) outdynam(thin) fcnocopy fcsetgtok(failrel)")
        .ends(0, &[]);
    assert_eq!(server.asked()[0]["copy_establish"]["pairs"][0]["target"], "Thin");
    dss(&server, "COPY FULL INDYNAM(SORCEV) OUTDYNAM(NOVOL)")
        .ends(1, &["NOT COPIED: volume NOVOL does not exist"]);
}

#[test]
fn what_is_said_about_the_label_is_told() {
    let server = Server::of(World::new("xp7"));

    dss(&server, FULL).ends(0, &["COPYVOLID WAS NOT SPECIFIED"]);
    dss(&server, &format!("{FULL} DUMPCONDITIONING"))
        .ends(0, &["ADR994I DUMPCONDITIONING: VOLUME TRGVOL KEEPS ITS NAME"]);
    dss(&server, &format!("{FULL} COPYVOLID DUMPCONDITIONING"))
        .ends(2, &["COPYVOLID and DUMPCONDITIONING exclude each other"]);
}

#[test]
fn t1_10_the_same_copy_again_withdraws_the_older_relationship_and_makes_a_new_one() {
    let mut world = World::new("xp7");
    world.copies = [vec![copy(7, "SORCEV", "TRGVOL")]].into();
    world.answers.push_back(refusal("target_related", "volume `TRGVOL` is a target already"));
    let server = Server::of(world);

    dss(&server, FULL).ends(0, &["ADR995I EARLIER RELATIONSHIP 7", "ADR806I"]);

    let again = establish(&json!({}));
    assert_eq!(server.asked(), [again.clone(), withdraw_id(7), again]);
}

#[test]
fn t1_10_an_incremental_relationship_is_not_ended_in_passing() {
    let mut world = World::new("xp7");
    world.copies = [vec![copy_with(7, "OTHER", "TRGVOL", &json!({"incremental": true}))]].into();
    world.answers.push_back(refusal("target_related", "volume `TRGVOL` is a target already"));
    let server = Server::of(world);

    dss(&server, FULL).ends(1, &["incremental relationship 7 from OTHER, which is kept"]);

    assert_eq!(server.asked().len(), 1, "nothing is withdrawn");
}

#[test]
fn another_refusal_withdraws_nothing_and_is_explained_as_asked() {
    let mut world = World::new("xp7");
    for _ in 0..4 {
        world.answers.push_back(refusal("too_many_copies", "volume `SORCEV` has 16 copies"));
    }
    let server = Server::of(world);

    let plain = dss(&server, FULL);
    plain
        .ends(1, &["ADR992E NOT COPIED: volume `SORCEV` has 16 copies. REASON CODE 13", "ADR993I"]);
    assert!(!plain.stdout.contains("ADR918I"), "{plain:?}");
    dss(&server, &format!("{FULL} FASTREPLICATION(REQUIRED)"))
        .ends(1, &["ADR938E", "RETURN CODE 0008"]);
    dss(&server, &format!("{FULL} DEBUG(FRMSG(MINIMAL))"))
        .ends(1, &["ADR918I FAST REPLICATION COULD NOT BE USED, RETURN CODE 13\n"]);
    dss(&server, &format!("{FULL} DEBUG(FRMSG(DETAILED))"))
        .ends(1, &["RETURN CODE 13 (TooManyCopies)", "do otherwise"]);
    assert!(server.asked().iter().all(|command| command["copy_establish"].is_object()));
}

#[test]
fn fcwait_asks_until_the_earlier_copy_is_complete_before_it_is_reversed() {
    let reversed = |left: u32| {
        vec![copy_with(7, "TRGVOL", "SORCEV", &json!({"incremental": true, "tracks_left": left}))]
    };
    let mut world = World::new("xp7");
    world.copies = [reversed(5), reversed(1), reversed(0)].into();
    let server = Server::of(world);
    dss(&server, &format!("{FULL} FCINCREMENTAL FCWAIT(0,5)")).ends(0, &[]);
    assert_eq!(server.asked(), [establish(&json!({"incremental": "yes"}))]);

    let mut world = World::new("xp7");
    world.copies = [reversed(5)].into();
    let server = Server::of(world);
    dss(&server, &format!("{FULL} FCINCREMENTAL FCWAIT(0,3)"))
        .ends(1, &["relationship 7 from TRGVOL to SORCEV has 5 tracks left after FCWAIT(0,3)"]);
    dss(&server, &format!("{FULL} FCINCREMENTAL FCINCRVERIFY(NOREVERSE)"))
        .ends(1, &["FCINCRVERIFY(NOREVERSE)", "would reverse it"]);
    assert_eq!(server.asked(), [] as [Value; 0]);
}

#[test]
fn copy_tracks_is_one_extent_perhaps_elsewhere() {
    let server = Server::of(World::new("xp7"));

    dss(&server, "COPY TRACKS(1,0,2,14) INDYNAM(SORCEV) OUTDYNAM(TRGVOL) OUTTRACKADDRESS(100,0)")
        .ends(0, &["30 TRACKS OF VOLUME SORCEV"]);

    let extent = json!([{"source_track": 15, "target_track": 1500, "tracks": 30}]);
    let pairs = json!([{"source": "SORCEV", "target": "TRGVOL", "extents": extent}]);
    assert_eq!(server.asked(), [establish(&json!({ "pairs": pairs }))]);
}

#[test]
fn fcnocopytocopy_makes_no_copy() {
    let mut world = World::new("xp7");
    world.answers.push_back((200, json!({"copies": [copy(1, "SORCEV", "TRGVOL")]})));
    let server = Server::of(world);

    dss(&server, &format!("{FULL} FCNOCOPYTOCOPY")).ends(0, &["1 RELATIONSHIP OF VOLUME SORCEV"]);
    assert_eq!(server.asked(), [json!({"copy_convert": {"source": "SORCEV"}})]);
    dss(&server, &format!("{FULL} FCNOCOPYTOCOPY FCNOCOPY")).ends(2, &["makes no copy"]);
}

#[test]
fn what_is_not_served_is_refused_by_name_and_the_next_statement_runs() {
    let server = Server::of(World::new("xp7"));
    for (keywords, named) in [
        ("FASTREPLICATION(NONE)", "FASTREPLICATION(NONE)"),
        ("FCTOPPRCPRIMARY", "FCTOPPRCPRIMARY"),
        ("FCTOPPRCP(PRESMIRREQ)", "FCTOPPRCP(PRESMIRREQ)"),
        ("DELETE", "DELETE"),
    ] {
        let deck = format!("{FULL} {keywords}\nCGCREATED ACCESSVOLUME(SORCEV)\n");
        dss(&server, &deck).ends(1, &["ADR990E", named, "is not served", "LSS 0A THAWED"]);
        assert_eq!(server.asked(), [json!({"thaw": {"cu": 0x0A, "verify": null}})]);
    }
}

#[test]
fn combinations_that_make_no_sense_are_malformed() {
    let server = Server::of(World::new("xp7"));
    for (deck, says) in [
        (format!("{FULL} FCSETGTOK(FAILRELATION)"), "FCSETGTOK needs FCNOCOPY"),
        (format!("{FULL} FCINCREMENTAL FCINCREMENTALLAST"), "exclude each other"),
        (format!("{FULL} FCINCRVERIFY(REVERSE)"), "needs FCINCREMENTAL"),
        (format!("{FULL} FR(REQUIRED) CONCURRENT"), "exclude each other"),
        (format!("{FULL} FCWAIT(256,1)"), "no number from 0 to 255"),
        ("COPY FULL INDYNAM(SORCEV)".to_owned(), "OUTDYNAM(volume), exactly one is missing"),
        ("COPY INDYNAM(SORCEV) OUTDYNAM(TRGVOL)".to_owned(), "FULL, TRACKS or DATASET is missing"),
        ("COPY FULL INDYNAM(SORCEV,OTHER) OUTDYNAM(TRGVOL)".to_owned(), "INDYNAM((VOL1),(VOL2))"),
        ("COPY FULL INDDNAME(NODD) OUTDYNAM(TRGVOL)".to_owned(), "no DD card NODD"),
        ("COPY TRACKS(0,0,0,15) INDYNAM(A) OUTDYNAM(B)".to_owned(), "no number from 0 to 14"),
        (
            "COPY TRACKS(0,0,0,1) INDYNAM(A) OUTDYNAM(B) FCINCREMENTAL".to_owned(),
            "FCINCREMENTAL goes with COPY FULL only",
        ),
        ("COPY DATASET(INCLUDE(A.B))".to_owned(), "OUTDYNAM(volume) or RENAME"),
        ("DEFRAG DYNAM(A)".to_owned(), "DEFRAG is not served"),
        ("CGCREATED".to_owned(), "ACCESSVOLUME(volume,...) is missing"),
    ] {
        dss(&server, &deck).ends(2, &[says]);
    }
    assert_eq!(server.asked(), [] as [Value; 0]);
}

#[test]
fn a_consistency_group_is_frozen_thawed_and_verified() {
    let mut world = World::new("xp7");
    world.answers.extend([
        (200, json!({"copies": []})),
        (200, json!({"copies": []})),
        (200, thawed(&["SORCEV"], Some(true))),
        (200, thawed(&["OTHER"], None)),
    ]);
    let server = Server::of(world);

    dss(
        &server,
        "PARALLEL\nCOPY FULL INDYNAM(SORCEV) OUTDYNAM(TRGVOL) FCCGFREEZE FCNOCOPY\n\
         COPY FULL INDYNAM(OTHER) OUTDYNAM(THIN) FCCGFREEZE FCNOCOPY FCSETGTOK(FAILRELATION)\nSERIAL\n\
         CGCREATED ACCESSVOLUME(SORCEV,TRGVOL,OTHER) FCCGVERIFY(SORCEV)\n",
    )
    .ends(0, &["ADR997I LSS 0A THAWED: SORCEV", "ADR998I VOLUME SORCEV WAS STILL FROZEN"]);

    let asked = server.asked();
    assert_eq!(asked.len(), 4);
    assert!(
        asked[..2].iter().all(|one| one["copy_establish"]["freeze"] == "hold_writes"),
        "{asked:?}"
    );
    assert_eq!(asked[2], json!({"thaw": {"cu": 0x0A, "verify": "SORCEV"}}));
    assert_eq!(asked[3], json!({"thaw": {"cu": 0x0B, "verify": null}}));
}

#[test]
fn a_group_that_was_not_frozen_any_more_is_told_and_thawed_nevertheless() {
    let mut world = World::new("xp7");
    world.answers.push_back((200, thawed(&[], Some(false))));
    let server = Server::of(world);

    dss(&server, "CGCREATED ACCESSVOLUME(SORCEV,NOVOL) FCCGVERIFY(SORCEV)")
        .ends(1, &["ADR998E VOLUME SORCEV WAS NO LONGER FROZEN", "volume NOVOL does not exist"]);

    assert_eq!(server.asked().len(), 1);
}

fn with_dataset(profile: &'static str) -> World {
    let extent = json!({"volume": "SORCEV", "first_track": 100, "tracks": 50});
    let mut world = World::new(profile);
    world.datasets = vec![
        json!({"name": "PAY.ROLL", "extents": [extent], "tracks": 50}),
        json!({"name": "pay.copy", "tracks": 50, "extents": [
            {"volume": "OTHER", "first_track": 0, "tracks": 50}
        ]}),
    ];
    world
}

fn dataset_copy(targets: &[&str], onto: Option<&str>) -> Value {
    json!({"dataset_copy": {
        "name": "PAY.ROLL", "targets": targets, "onto": onto, "mode": "copy", "freeze": "no"
    }})
}

const DATASET: &str = "COPY DATASET(INCLUDE(pay.roll)) OUTDYNAM(TRGVOL)";

#[test]
fn t1_09_copy_dataset_copies_the_extents_of_the_dataset_only() {
    let server = Server::of(with_dataset("xp7"));

    dss(&server, DATASET).ends(0, &["ADR806I DATASET PAY.ROLL COPIED TO TRGVOL"]);
    assert_eq!(server.asked(), [dataset_copy(&["TRGVOL"], None)]);

    let renamed =
        "COPY DATASET(INCLUDE(PAY.ROLL)) RENAMEU((PAY.ROLL,PAY.COPY)) REPLACEUNCONDITIONAL";
    dss(&server, renamed).ends(0, &["ONTO DATASET pay.copy"]);
    assert_eq!(server.asked(), [dataset_copy(&[], Some("pay.copy"))]);

    dss(&server, "COPY DATASET(INCLUDE(NO.SUCH)) OUTDYNAM(TRGVOL)")
        .ends(1, &["dataset NO.SUCH does not exist"]);
    dss(&server, "COPY DATASET(INCLUDE(PAY.**)) OUTDYNAM(TRGVOL)")
        .ends(1, &["INCLUDE(PAY.**) is not served"]);
}

/// A copy of the dataset onto TRGVOL, which is in a relationship already.
fn onto_related(profile: &'static str, related: Value) -> (Run, Vec<Value>) {
    let mut world = with_dataset(profile);
    world.copies = [vec![related]].into();
    world.answers.push_back(refusal("target_related", "volume `TRGVOL` is related already"));
    let server = Server::of(world);
    let run = dss(&server, DATASET);
    (run, server.asked())
}

#[test]
fn t2_16_xp7_a_volume_relationship_of_the_target_volume_is_withdrawn_first() {
    for related in [copy(7, "OTHER", "TRGVOL"), copy(7, "TRGVOL", "OTHER")] {
        let (run, asked) = onto_related("xp7", related);

        run.ends(0, &["ADR995I EARLIER RELATIONSHIP 7", "ADR806I"]);
        let copied = dataset_copy(&["TRGVOL"], None);
        assert_eq!(asked, [copied.clone(), withdraw_id(7), copied]);
    }
}

#[test]
fn t2_16_xp7_a_relationship_of_extents_that_is_covered_in_part_stays_and_nothing_is_copied() {
    let (run, asked) =
        onto_related("xp7", copy_with(7, "OTHER", "TRGVOL", &json!({"whole": false})));

    run.ends(
        1,
        &["relationship 7 from OTHER to TRGVOL was made with extents", "it is not withdrawn"],
    );
    assert_eq!(asked, [dataset_copy(&["TRGVOL"], None)]);
}

#[test]
fn t2_16_ibm_only_the_overlapped_part_is_withdrawn() {
    let (run, asked) = onto_related("ibm", copy(7, "OTHER", "TRGVOL"));

    run.ends(0, &["ADR995I 50 TRACKS OF EARLIER RELATIONSHIP 7"]);
    let part = json!([{"source_track": 100, "target_track": 100, "tracks": 50}]);
    let withdraw = json!({"copy_withdraw": {
        "id": null, "source": "OTHER", "target": "TRGVOL", "extents": part, "ddsw": false
    }});
    assert_eq!(asked[1], withdraw);
}

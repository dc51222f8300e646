//! ICKDSF statements: what they ask of the server, and what they say.

use serde_json::{Value, json};

use super::fake::{Server, World, copy, copy_with, refusal};
use crate::run::Run;

fn ickdsf(server: &Server, deck: &str) -> Run {
    server.deck("ickdsf", deck)
}

const ESTABLISH: &str = "FLASHCPY ESTABLISH UNITADDRESS(0A00) TARGETVOL(0A,01,0A01)";

#[test]
fn t1_16_volume_functions_are_served() {
    let server = Server::of(World::new("xp7"));
    let establish = |mode: &str, fields: [(&str, Value); 1]| {
        let mut spec = json!({
            "pairs": [{"source": "SORCEV", "target": "TRGVOL", "extents": []}],
            "mode": mode, "space_efficient": false, "incremental": "no", "action": "establish", "freeze": "no",
            "online_target": "refused"
        });
        for (name, value) in fields {
            spec[name] = value;
        }
        json!({ "copy_establish": spec })
    };
    let withdraw = |target: Option<&str>, ddsw: bool| {
        json!({"copy_withdraw": {
            "id": null, "source": "SORCEV", "target": target, "extents": [], "ddsw": ddsw
        }})
    };
    for (statement, asked) in [
        (ESTABLISH.to_owned(), establish("copy", [("freeze", json!("no"))])),
        (
            format!("{ESTABLISH} MODE(NOCOPY) SPACEEFFICIENTTARGET(YES)"),
            establish("nocopy", [("space_efficient", json!(true))]),
        ),
        (
            format!("{ESTABLISH} ONLINTGT(YES) TGTOKASPPRCPRIM(NO)"),
            establish("copy", [("online_target", json!("allowed"))]),
        ),
        (format!("{ESTABLISH} CHRCD(YES)"), establish("copy", [("incremental", json!("yes"))])),
        (
            format!("{ESTABLISH} FASTREVERSERESTORE(YES)"),
            establish("copy", [("action", json!("fast_reverse"))]),
        ),
        (format!("{ESTABLISH} FREEZE"), establish("copy", [("freeze", json!("hold_writes"))])),
        (format!("{ESTABLISH} MODE(NOCOPYTOCOPY)"), json!({"copy_convert": {"source": "SORCEV"}})),
        (
            "FLASHCPY WITHDRAW UNITADDRESS(0A00) TARGETVOL(0A,01)".to_owned(),
            withdraw(Some("TRGVOL"), false),
        ),
        ("FLASHCPY WITHDRAW DDSW(YES) UNITADDRESS(0A00)".to_owned(), withdraw(None, true)),
        (
            "FLASHCPY THAW UNITADDRESS(0B01)".to_owned(),
            json!({"thaw": {"cu": 0x0B, "verify": null}}),
        ),
    ] {
        ickdsf(&server, &statement)
            .ends(0, &["ICK00001I FUNCTION COMPLETED, HIGHEST CONDITION CODE WAS 0", "ICK00002I"]);
        assert_eq!(server.asked(), [asked], "{statement}");
    }
}

#[test]
fn t1_16_dataset_functions_and_mirrors_are_refused_by_name() {
    let server = Server::of(World::new("xp7"));
    for (keywords, named) in [
        ("EXTENTS(00000000 0000000E)", "EXTENTS"),
        ("DATASET(PAY.ROLL)", "DATASET(PAY.ROLL)"),
        ("TGTOKASPPRCPRIM(YES)", "TGTOKASPPRCPRIM(YES)"),
        ("PRESERVEMIRROR(REQUIRED)", "PRESERVEMIRROR(REQUIRED)"),
    ] {
        ickdsf(&server, &format!("{ESTABLISH} {keywords}"))
            .ends(1, &["ICK39001I", named, "is not served", "CONDITION CODE IS 12"]);
    }
    ickdsf(&server, "PPRCOPY ESTPAIR").ends(2, &["PPRCOPY is not served"]);
    assert_eq!(server.asked(), [] as [Value; 0]);
}

#[test]
fn a_refusal_ends_with_condition_code_12_and_exit_code_1() {
    let mut world = World::new("xp7");
    world.answers.push_back(refusal("target_related", "volume `TRGVOL` is a target already"));
    let server = Server::of(world);

    ickdsf(&server, ESTABLISH)
        .ends(1, &["REASON CODE 11", "ICK30003I", "MAXIMUM CONDITION CODE WAS 12"]);
}

#[test]
fn query_relations_shows_bce_bcp_and_the_tracks_yet_to_be_copied() {
    let mut world = World::new("xp7");
    let done = json!({"state": "complete", "tracks_left": 0, "incremental": true});
    world.copies = [vec![
        copy(1, "SORCEV", "TRGVOL"),
        copy_with(2, "SORCEV", "OTHER", &json!({"mode": "nocopy", "tracks_left": 50084})),
        copy_with(3, "SORCEV", "Thin", &done),
    ]]
    .into();
    let server = Server::of(world);

    let run = ickdsf(&server, "FLASHCPY QUERY RELATIONS UNITADDRESS(0A00)");

    run.ends(0, &["#TRACKS YET TO BE COPIED"]);
    let row = |target: &str| {
        let line = run.stdout.lines().find(|line| line.contains(target)).expect("a row");
        let words: Vec<&str> = line.split_whitespace().collect();
        (words[6].to_owned(), words[7].to_owned(), words.last().map(ToString::to_string))
    };
    let told =
        |bce: &str, bcp: &str, left: &str| (bce.to_owned(), bcp.to_owned(), Some(left.to_owned()));
    assert_eq!(row(" 0A01 "), told("T", "T", "25042"));
    assert_eq!(row(" 0B00 "), told("F", "F", "50084"));
    assert_eq!(row(" 0B01 "), told("T", "F", "0"));
    ickdsf(&server, "FLASHCPY QUERY RELATIONS UNITADDRESS(0A01)")
        .ends(0, &["FLASHCOPY RELATIONS OF"]);
}

#[test]
fn t2_15_xp7_removefcpy_ends_abnormally_and_relationships_remain() {
    let server = Server::of(World::new("xp7"));

    ickdsf(&server, "CONTROL REMOVEFCPY UNITADDRESS(0A00)")
        .ends(1, &["not supported by profile xp7", "CONDITION CODE IS 12"]);

    assert_eq!(server.asked(), [] as [Value; 0]);
}

#[test]
fn t2_15_ibm_removefcpy_ends_normally_and_relationships_remain() {
    let mut world = World::new("ibm");
    world.copies = [vec![copy(1, "SORCEV", "TRGVOL")]].into();
    let server = Server::of(world);

    ickdsf(&server, "CONTROL REMOVEFCPY UNITADDRESS(0A00)")
        .ends(0, &["1 RELATIONSHIP OF DEVICE 0A00 NOT DELETED", "CONDITION CODE WAS 0"]);

    assert_eq!(server.asked(), [] as [Value; 0]);
}

#[test]
fn t2_14_init_of_a_related_volume_is_refused_under_xp7_and_taken_under_ibm() {
    for (profile, code, says) in
        [("xp7", 1, "volume TRGVOL is in relationship 1"), ("ibm", 0, "ICK39007I")]
    {
        let mut world = World::new(profile);
        world.copies = [vec![copy(1, "SORCEV", "TRGVOL")]].into();
        let server = Server::of(world);

        ickdsf(&server, "INIT UNITADDRESS(0A01) VERIFY(TRGVOL) PURGE").ends(code, &[says]);
        assert_eq!(server.asked(), [] as [Value; 0]);
    }
}

#[test]
fn init_says_that_it_writes_nothing_and_verifies_the_serial() {
    let server = Server::of(World::new("xp7"));

    ickdsf(&server, "INIT UNITADDRESS(0A01) NOVERIFY").ends(0, &["HAS NO LABEL", "CODE WAS 4"]);
    ickdsf(&server, "INIT UNITADDRESS(0A01) VERIFY(WRONG)")
        .ends(1, &["device 0A01 is volume TRGVOL, not WRONG"]);
    ickdsf(&server, "INIT UNITADDRESS(0A01) NOVERIFY VOLID(NEWVOL)").ends(1, &["NEWVOL"]);
    assert_eq!(server.asked(), [] as [Value; 0]);
}

#[test]
fn devices_are_named_by_dd_card_too_and_targets_by_lss_and_cca() {
    let server = Server::of(World::new("xp7"));
    let deck = |card: &str| {
        format!("//A EXEC PGM=ICKDSF\n//D DD {card}\n//SYSIN DD *\n FLASHCPY THAW DDNAME(D)\n")
    };

    ickdsf(&server, &deck("UNIT=0B00")).ends(0, &[]);
    ickdsf(&server, &deck("UNIT=3390,VOL=SER=SORCEV")).ends(0, &[]);
    let asked = server.asked();
    assert_eq!((&asked[0]["thaw"]["cu"], &asked[1]["thaw"]["cu"]), (&json!(0x0B), &json!(0x0A)));
    for (target, says) in [
        ("TARGETVOL(0A,01,0A02)", "LSS 0A and CCA 01 are device 0A01, not 0A02"),
        ("TARGETVOL(A,1)", "two hexadecimal digits each"),
        ("", "TARGETVOL(lss,cca,device) is missing"),
    ] {
        let statement = format!("FLASHCPY ESTABLISH UNITADDRESS(0A00) {target}");
        ickdsf(&server, &statement).ends(2, &[says]);
    }
    ickdsf(&server, "FLASHCPY QUERY RELATIONS").ends(2, &["UNITADDRESS(device) or DDNAME"]);
}

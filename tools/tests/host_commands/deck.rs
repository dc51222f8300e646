//! Decks: job control, condition codes, syntax errors, JSON.

use serde_json::{Value, json};

use super::fake::{Server, World, copy, refusal};

/// As the white paper prints it, with its blank lines.
const SAMPLE_JOB: &str = "//COPYFULL JOB \n\n//* \n\n//INSTIMG EXEC PGM=ADRDSSU \n\n//SYSPRINT DD SYSOUT=* \n\n\
    //SYSUDUMP DD SYSOUT=V,OUTLIM=3000 \n\n//SYSIN DD * \n\n\
    COPY FULL INDYNAM (SORCEV) OUTDYNAM (TRGVOL) COPYVOLID \n\n/* \n";

fn full_copy(source: &str, target: &str) -> Value {
    json!({"copy_establish": {
        "pairs": [{"source": source, "target": target, "extents": []}],
        "mode": "copy", "space_efficient": false, "incremental": "no", "action": "establish", "freeze": "no",
        "online_target": "allowed"
    }})
}

#[test]
fn t1_09_the_sample_job_of_the_paper_runs_as_printed_and_makes_one_whole_volume_relationship() {
    let server = Server::of(World::new("xp7"));

    let run = server.deck("dss", SAMPLE_JOB);

    run.ends(0, &["ADR806I VOLUME SORCEV COPIED TO TRGVOL", "ADR013I", "RETURN CODE IS 0000"]);
    assert_eq!(server.asked(), [full_copy("SORCEV", "TRGVOL")]);
}

#[test]
fn a_line_after_the_data_is_told_as_not_read() {
    let server = Server::of(World::new("xp7"));
    let page = format!("{SAMPLE_JOB}\nPYVOLID option is necessary for SMS managed volumes. \n");

    let run = server.deck("dss", &page);

    run.ends(0, &["IEF990W LINE 17", "HIGHEST RETURN CODE IS 0004"]);
    assert_eq!(server.asked().len(), 1);
}

#[test]
fn a_deck_may_be_a_file_and_one_that_cannot_be_read_is_named() {
    let server = Server::of(World::new("xp7"));
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), SAMPLE_JOB).expect("it is written");

    server.run(&["dss", file.path().to_str().expect("text")], "").ends(0, &["ADR806I"]);
    server.run(&["dss", "/nonexistent/deck"], "").ends(1, &["cannot read /nonexistent/deck"]);
}

#[test]
fn a_syntax_error_names_line_and_column_and_nothing_of_the_deck_is_done() {
    let server = Server::of(World::new("xp7"));
    let deck = "COPY FULL INDYNAM(SORCEV) OUTDYNAM(TRGVOL)\nCOPY FULL INDYNAM(SORCEV) -\n  OUTDYNAM(TRGVOL)\n\
                COPY FULL INDYNAM(SORCEV) OUTDYNAM(TRGVOL) FCNOCOPI\n";

    server.deck("dss", deck).ends(
        2,
        &["line 4, column 44", "COPY has no keyword FCNOCOPI", "FCNOCOPY", "code 12: nothing was"],
    );
    server
        .run(&["tso", "FCQUERY DEVN(0A00"], "")
        .ends(2, &["line 1, column 18", "`)` is expected"]);
    server.run(&["tso", "FCQUERY DEVN(0A0G)"], "").ends(2, &["column 14", "no device number"]);
    server.deck("ickdsf", "//A EXEC PGM=IEFBR14\n").ends(2, &["line 1, column 14", "IEFBR14"]);

    assert_eq!(server.asked(), [] as [Value; 0]);
}

#[test]
fn json_is_an_array_of_statements_with_messages_and_codes() {
    let mut world = World::new("xp7");
    world.answers.push_back((200, json!({"copies": [copy(1, "SORCEV", "TRGVOL")]})));
    world.answers.push_back(refusal("too_many_copies", "volume `SORCEV` has 16 copies"));
    let server = Server::of(world);
    let deck = "COPY FULL INDYNAM(SORCEV) OUTDYNAM(TRGVOL) COPYVOLID\n\n\
                COPY FULL INDYNAM(SORCEV) OUTDYNAM(OTHER) COPYVOLID\n";

    let run = server.run(&["dss", "-", "--json"], deck);

    let told: Value = serde_json::from_str(&run.stdout).expect("JSON");
    assert_eq!(run.code, 1, "{run:?}");
    assert_eq!((&told[0]["code"], &told[1]["code"]), (&json!(0), &json!(8)));
    assert_eq!(told[1]["line"], 3);
    assert_eq!(told[1]["statement"], "COPY FULL INDYNAM(SORCEV) OUTDYNAM(OTHER) COPYVOLID");
    assert_eq!(told[1]["messages"][0]["id"], "ADR992E");
    assert_eq!(told[1]["messages"][0]["reason_code"], 13);
    let error: Value = serde_json::from_str(&run.stderr).expect("JSON");
    assert_eq!(error["kind"], "host_command");
}

#[test]
fn a_malformed_text_is_told_in_json_with_code_12() {
    let server = Server::of(World::new("xp7"));

    let run = server.run(&["tso", "--json", "FCQUERY DEVN(0A00) FOO"], "");

    let told: Value = serde_json::from_str(&run.stdout).expect("JSON");
    assert_eq!((run.code, &told[0]["code"]), (2, &json!(12)));
    let error: Value = serde_json::from_str(&run.stderr).expect("JSON");
    assert_eq!(error["kind"], "malformed");
    assert!(error["message"].as_str().expect("text").contains("line 1, column 20"), "{error}");
}

#[test]
fn steps_of_other_utilities_run_too_and_the_highest_code_counts() {
    let server = Server::of(World::new("ibm"));
    let deck = "//J JOB\n//A EXEC PGM=IKJEFT01\n//SYSTSIN DD *\n FCQUERY DEVN(0A00)\n\
                //B EXEC PGM=ADRDSSU\n//IN DD UNIT=3390,VOL=SER=SORCEV\n//OUT DD UNIT=/0A01\n//SYSIN DD *\n\
                 COPY FULL INDDNAME(IN) -\n   OUTDDNAME(OUT) COPYVOLID\n/*\n\
                //C EXEC PGM=ICKDSF\n//D DD UNIT=0A00\n//SYSIN DD *\n INIT DDNAME(D) NOVERIFY\n";

    let run = server.deck("dss", deck);

    run.ends(0, &["FCQUERY Formatted", "ADR806I", "ICK39007I", "MAXIMUM CONDITION CODE WAS 4"]);
    assert_eq!(server.asked(), [full_copy("SORCEV", "TRGVOL")]);
}

#[test]
fn without_a_server_what_was_done_so_far_is_told() {
    let directory = tempfile::TempDir::new().expect("a directory");
    let socket = directory.path().join("none");
    let server = Server::of(World::new("xp7"));

    let words = ["--control", socket.to_str().expect("text"), "tso", "FCQUERY DEVN(0A00)"];
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_flashtrack"))
        .args(words)
        .output()
        .expect("the binary runs");

    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("cannot reach the server"));
    drop(server);
}

#[test]
fn the_help_of_each_front_end_has_examples_and_its_exit_codes() {
    let server = Server::of(World::new("xp7"));
    for utility in ["tso", "dss", "ickdsf"] {
        server
            .run(&[utility, "--help"], "")
            .ends(0, &["Example", "Exit codes", "host_commands.md"]);
    }
}

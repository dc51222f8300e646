//! The rows of FlashCopy's tables that are about host commands, from the command to the tracks on a target.
//!
//! `engine/docs/semantics.md` maps each id to its tests. What every keyword asks of the server is in `host_commands`.

#[path = "../common/flashtrackd.rs"]
mod flashtrackd;
#[path = "../common/program.rs"]
mod program;
#[path = "../common/run.rs"]
mod run;
mod server;

use flashtrack_engine::admin::{Command, DatasetExtent, Profile};

use crate::run::Run;
use crate::server::Server;

const BOTH: [Profile; 2] = [Profile::Xp7, Profile::Ibm];
const COPY_FULL: &str = "COPY FULL INDYNAM(SORCEV) OUTDYNAM(TRGVOL) COPYVOLID";

/// Volumes `SORCEV` (0A00), `TRGVOL` (0A01) and `OTHER` (0B00) of eight tracks, full of `A`, `x` and `U`.
fn volumes(profile: Profile) -> Server {
    let server = Server::start(profile);
    server.volume("SORCEV", 0x0A00, "AAAAAAAA");
    server.volume("TRGVOL", 0x0A01, "xxxxxxxx");
    server.volume("OTHER", 0x0B00, "UUUUUUUU");
    server
}

fn dataset(server: &Server, name: &str, volume: &str, first_track: u32, tracks: u32) {
    let extents = vec![DatasetExtent { volume: volume.to_owned(), first_track, tracks }];
    server.command(Command::DatasetDefine { name: name.to_owned(), extents });
}

/// A relationship as `Server::extents` gives it.
fn extent(
    source: &str,
    source_track: u32,
    target: &str,
    target_track: u32,
    tracks: u32,
) -> (String, u32, String, u32, u32) {
    (source.to_owned(), source_track, target.to_owned(), target_track, tracks)
}

#[test]
fn t1_09_copy_full_makes_one_whole_relationship_and_copy_dataset_only_its_extents() {
    for profile in BOTH {
        let server = volumes(profile);
        server.dss(&format!("{COPY_FULL} FCNOCOPY")).ends(0, &["ADR806I"]);
        assert_eq!(server.extents(), [extent("SORCEV", 0, "TRGVOL", 0, 8)]);
        assert!(server.live()[0].whole);

        let server = volumes(profile);
        dataset(&server, "PAY.ROLL", "SORCEV", 2, 3);
        let copy = "COPY DATASET(INCLUDE(PAY.ROLL)) OUTDYNAM(TRGVOL) FCNOCOPY";
        server.dss(copy).ends(0, &["ADR806I"]);
        assert_eq!(server.extents(), [extent("SORCEV", 2, "TRGVOL", 2, 3)]);
        server.write("SORCEV", 0, "BBBBBBBB");
        assert_eq!(server.read("TRGVOL"), "xxAAAxxx");
    }
}

#[test]
fn t1_09_the_sample_job_runs_as_printed() {
    for profile in BOTH {
        let server = volumes(profile);
        let job = "//COPYFULL JOB\n//*\n//INSTIMG EXEC PGM=ADRDSSU\n//SYSPRINT DD SYSOUT=*\n\
                   //SYSUDUMP DD SYSOUT=V,OUTLIM=3000\n//SYSIN DD *\n\
                   COPY FULL INDYNAM (SORCEV) OUTDYNAM (TRGVOL) COPYVOLID\n/*\n";
        server.dss(job).ends(0, &["ADR806I"]);
        server.until_simplex();
        assert_eq!(server.read("TRGVOL"), "AAAAAAAA");
    }
}

#[test]
fn t1_10_the_same_copy_again_takes_a_new_moment_without_an_error() {
    for profile in BOTH {
        for keyword in ["", "FCNOCOPY"] {
            let server = volumes(profile);
            server.dss(&format!("{COPY_FULL} {keyword}")).ends(0, &["ADR806I"]);
            server.write("SORCEV", 0, "BB");
            server.dss(&format!("{COPY_FULL} {keyword}")).ends(0, &["ADR806I"]);
            server.write("SORCEV", 0, "CCCC");
            assert_eq!(server.read("TRGVOL"), "BBAAAAAA", "{keyword}, {}", server.name());
            assert!(server.live().len() <= 1, "the older one is gone: {:?}", server.live());
            // From TSO it is refused (D6).
            if keyword == "FCNOCOPY" {
                server.tso("FCESTABL SDEVN(0A00) TDEVN(0A01) ONLINTGT(YES)").ends(1, &["TRGVOL"]);
            }
        }
    }
}

#[test]
fn t1_11_fcestabl_with_xtntlst_copies_to_another_place() {
    for profile in BOTH {
        let server = volumes(profile);
        server.write("SORCEV", 0, "ABCDEFGH");
        let list = "XTNTLST(00000001 00000003 00000004 00000006)";
        server
            .tso(&format!("FCESTABL SDEVN(0A00) TDEVN(0A01) ONLINTGT(YES) {list}"))
            .ends(0, &["ANTF0001I"]);
        server.until_simplex();
        assert_eq!(server.read("TRGVOL"), "xxxxBCDx");
    }
}

#[test]
fn t1_12_fcwithdr_with_ddsw_ends_copies_from_the_device_when_they_are_complete() {
    for profile in BOTH {
        let server = volumes(profile);
        server.dss(&format!("{COPY_FULL} FCNOCOPY")).ends(0, &[]);
        server.tso("FCWITHDR SDEVN(0A00) DDSW(YES)").ends(0, &["ANTF0001I"]);
        server.until_simplex();
        server.write("SORCEV", 0, "BBBBBBBB");
        assert_eq!(server.read("TRGVOL"), "AAAAAAAA");
    }
}

#[test]
fn t1_14_fcwithdr_with_xtntlst_withdraws_what_the_target_ranges_name() {
    for profile in BOTH {
        let server = volumes(profile);
        let list =
            "XTNTLST(00000000 00000001 00000004 00000005 00000002 00000003 00000000 00000001)";
        server
            .tso(&format!("FCESTABL SDEVN(0A00) TDEVN(0A01) MODE(NOCOPY) ONLINTGT(YES) {list}"))
            .ends(0, &[]);
        let named = "XTNTLST(00000000 00000001 00000004 00000005)";
        server.tso(&format!("FCWITHDR TDEVN(0A01) {named}")).ends(0, &["ANTF0001I"]);
        assert_eq!(server.extents(), [extent("SORCEV", 2, "TRGVOL", 0, 2)]);
    }
}

#[test]
fn t1_15_fcquery_shows_active_and_most_relationships() {
    for (profile, most) in [(Profile::Xp7, "65534"), (Profile::Ibm, "67")] {
        let server = volumes(profile);
        server.dss(&format!("{COPY_FULL} FCNOCOPY")).ends(0, &[]);
        for device in ["0A00", "0A01"] {
            let said = server.tso(&format!("FCQUERY DEVN({device})"));
            said.ends(0, &["ANTF0420I", most]);
            let line = said.stdout.lines().find(|line| line.trim_start().starts_with(device));
            let words: Vec<&str> = line.expect("a line of values").split_whitespace().collect();
            assert_eq!(words[6..8], ["1", most], "{}", said.stdout);
        }
    }
}

#[test]
fn t1_16_ickdsf_serves_whole_volumes_and_refuses_datasets() {
    for profile in BOTH {
        let server = volumes(profile);
        let establish = "FLASHCPY ESTABLISH UNITADDRESS(0A00) TARGETVOL(0A,01,0A01) MODE(NOCOPY) \
                         ONLINTGT(YES)";
        server.ickdsf(&format!("{establish} DATASET(PAY.ROLL)")).ends(1, &["DATASET"]);
        assert_eq!(server.live(), []);
        server.ickdsf(establish).ends(0, &["ICK00001I"]);
        assert_eq!(server.extents(), [extent("SORCEV", 0, "TRGVOL", 0, 8)]);
        let query = server.ickdsf("FLASHCPY QUERY RELATIONS UNITADDRESS(0A00)");
        query.ends(0, &["BCE", "BCP", "#TRACKS YET TO BE COPIED"]);
        server
            .ickdsf("FLASHCPY WITHDRAW UNITADDRESS(0A00) TARGETVOL(0A,01)")
            .ends(0, &["ICK00001I"]);
        assert_eq!(server.live(), []);
    }
}

#[test]
fn t2_13_fcwithdr_of_the_middle_splits_the_rest_under_ibm() {
    for (profile, left) in [
        (Profile::Xp7, vec![extent("SORCEV", 0, "TRGVOL", 0, 8)]),
        (
            Profile::Ibm,
            vec![extent("SORCEV", 0, "TRGVOL", 0, 3), extent("SORCEV", 5, "TRGVOL", 5, 3)],
        ),
    ] {
        let server = volumes(profile);
        server.dss(&format!("{COPY_FULL} FCNOCOPY")).ends(0, &[]);
        server
            .tso("FCWITHDR TDEVN(0A01) XTNTLST(00000003 00000004 00000003 00000004)")
            .ends(0, &["ANTF0001I"]);
        assert_eq!(server.extents(), left, "under {}", server.name());
    }
}

#[test]
fn t2_15_removefcpy_ends_abnormally_under_xp7_and_removes_nothing_under_both() {
    for (profile, code) in [(Profile::Xp7, 1), (Profile::Ibm, 0)] {
        let server = volumes(profile);
        server.dss(&format!("{COPY_FULL} FCNOCOPY")).ends(0, &[]);
        server.ickdsf("CONTROL REMOVEFCPY UNITADDRESS(0A00)").ends(code, &[]);
        assert_eq!(server.extents(), [extent("SORCEV", 0, "TRGVOL", 0, 8)]);
    }
}

/// Copies tracks 2 and 3 of `OTHER`, a dataset, to the same places of another volume.
fn copy_dataset(server: &Server, target: &str) -> Run {
    dataset(server, "DATA", "OTHER", 2, 2);
    server.dss(&format!("COPY DATASET(INCLUDE(DATA)) OUTDYNAM({target}) FCNOCOPY"))
}

#[test]
fn t2_16_a_dataset_onto_the_source_of_a_volume_relationship() {
    let new = extent("OTHER", 2, "SORCEV", 2, 2);
    for (profile, left) in [
        (Profile::Xp7, vec![new.clone()]),
        (
            Profile::Ibm,
            vec![
                new.clone(),
                extent("SORCEV", 0, "TRGVOL", 0, 2),
                extent("SORCEV", 4, "TRGVOL", 4, 4),
            ],
        ),
    ] {
        let server = volumes(profile);
        server.dss(&format!("{COPY_FULL} FCNOCOPY")).ends(0, &[]);
        copy_dataset(&server, "SORCEV").ends(0, &["ADR806I"]);
        assert_eq!(server.extents(), left, "under {}", server.name());
        assert_eq!(server.read("SORCEV"), "AAUUAAAA");
    }
}

#[test]
fn t2_16_b_a_dataset_onto_the_target_of_a_volume_relationship() {
    let new = extent("OTHER", 2, "TRGVOL", 2, 2);
    for (profile, left, image) in [
        (Profile::Xp7, vec![new.clone()], "xxUUxxxx"),
        (
            Profile::Ibm,
            vec![
                new.clone(),
                extent("SORCEV", 0, "TRGVOL", 0, 2),
                extent("SORCEV", 4, "TRGVOL", 4, 4),
            ],
            "AAUUAAAA",
        ),
    ] {
        let server = volumes(profile);
        server.dss(&format!("{COPY_FULL} FCNOCOPY")).ends(0, &[]);
        copy_dataset(&server, "TRGVOL").ends(0, &["ADR806I"]);
        assert_eq!(server.extents(), left, "under {}", server.name());
        assert_eq!(server.read("TRGVOL"), image);
    }
}

#[test]
fn t2_16_c_a_dataset_onto_a_part_of_a_relationship_made_with_extents() {
    for profile in BOTH {
        let server = volumes(profile);
        let list = "XTNTLST(00000000 00000003 00000001 00000004)";
        server
            .tso(&format!("FCESTABL SDEVN(0A00) TDEVN(0A01) MODE(NOCOPY) ONLINTGT(YES) {list}"))
            .ends(0, &[]);
        let said = copy_dataset(&server, "TRGVOL");
        if profile == Profile::Xp7 {
            said.ends(1, &["relationship"]);
            assert_eq!(server.extents(), [extent("SORCEV", 0, "TRGVOL", 1, 4)]);
            assert_eq!(server.read("TRGVOL"), "xAAAAxxx");
        } else {
            said.ends(0, &["ADR806I"]);
            let new = extent("OTHER", 2, "TRGVOL", 2, 2);
            let (one, two) =
                (extent("SORCEV", 0, "TRGVOL", 1, 1), extent("SORCEV", 3, "TRGVOL", 4, 1));
            assert_eq!(server.extents(), [new, one, two]);
            assert_eq!(server.read("TRGVOL"), "xAUUAxxx");
        }
    }
}

#[test]
fn g_10_cgcreated_thaws_a_group_and_verifies_it() {
    for profile in BOTH {
        let server = volumes(profile);
        server.dss(&format!("{COPY_FULL} FCNOCOPY FCCGFREEZE")).ends(0, &[]);
        assert!(server.shown("SORCEV").frozen_seconds_left.is_some());
        let thaw = "CGCREATED ACCESSVOLUME(SORCEV) FCCGVERIFY(SORCEV)";
        server.dss(thaw).ends(0, &[]);
        assert_eq!(server.shown("SORCEV").frozen_seconds_left, None);
        // It was not frozen any more.
        server.dss(thaw).ends(1, &[]);
    }
}

//! Rows of the white paper's tables about host commands, carried out, each under the profiles that it speaks of.

use flashtrack_engine::admin::Profile::{self, Ibm, Xp7};
use flashtrack_engine::admin::{Command, DatasetExtent};

use super::server::Server;

const PROFILES: [Profile; 2] = [Xp7, Ibm];
const COPY_FULL: &str = "COPY FULL INDYNAM(SORCEV) OUTDYNAM(TRGVOL) COPYVOLID";
/// Tracks 0 to 299 of SORCEV onto TRGVOL, made with extents.
const ALL_BY_EXTENTS: &str =
    "FCESTABL SDEVN(0A00) TDEVN(0A01) MODE(NOCOPY) EXTENTS(00000000 0013000E)";

fn relationship(
    source: &str,
    target: &str,
    tracks: (u64, u64, u64),
) -> (String, String, u64, u64, u64) {
    (source.to_owned(), target.to_owned(), tracks.0, tracks.1, tracks.2)
}

/// PAYROLL is tracks 100 to 149 of SORCEV.
fn define_payroll(server: &Server) {
    let extents = vec![DatasetExtent { volume: "SORCEV".to_owned(), first_track: 100, tracks: 50 }];
    server.command(Command::DatasetDefine { name: "PAYROLL".to_owned(), extents });
}

const COPY_PAYROLL: &str = "COPY DATASET(INCLUDE(PAYROLL)) OUTDYNAM(TRGVOL) FCNOCOPY";

#[test]
fn t1_09_copy_full_relates_the_whole_volume_and_copy_dataset_only_its_extents() {
    for profile in PROFILES {
        let server = Server::start(profile);
        server.fill("SORCEV", 0..300, 1);
        server.dss(&format!("{COPY_FULL} FCNOCOPY")).ends(0, &["ADR806I"]);
        server.fill("SORCEV", 0..300, 2);

        assert_eq!(server.relationships(), [relationship("SORCEV", "TRGVOL", (0, 0, 300))]);
        assert_eq!((server.byte("TRGVOL", 0), server.byte("TRGVOL", 299)), (1, 1));

        let server = Server::start(profile);
        define_payroll(&server);
        server.fill("SORCEV", 99..151, 1);
        server.fill("TRGVOL", 99..151, 9);
        server.dss(COPY_PAYROLL).ends(0, &["ADR806I"]);

        assert_eq!(server.relationships(), [relationship("SORCEV", "TRGVOL", (100, 100, 50))]);
        let target = [99, 100, 149, 150].map(|track| server.byte("TRGVOL", track));
        assert_eq!(target, [9, 1, 1, 9], "{profile:?}");
    }
}

#[test]
fn t1_10_the_same_copy_again_replaces_the_relationship_and_its_moment() {
    for profile in PROFILES {
        let server = Server::start(profile);
        server.fill("SORCEV", 0..2, 1);
        server.dss(&format!("{COPY_FULL} FCNOCOPY")).ends(0, &[]);
        server.fill("SORCEV", 0..1, 2);

        server.dss(&format!("{COPY_FULL} FCNOCOPY")).ends(0, &["ADR995I", "ADR806I", "IS 0000"]);
        server.fill("SORCEV", 0..2, 3);

        assert_eq!(server.relationships().len(), 1);
        assert_eq!((server.byte("TRGVOL", 0), server.byte("TRGVOL", 1)), (2, 1), "{profile:?}");
        server
            .tso("FCESTABL SDEVN(0A00) TDEVN(0A01) MODE(NOCOPY) ONLINTGT(YES)")
            .ends(1, &["REASON CODE 11"]);
    }
}

#[test]
fn t1_11_fcestabl_xtntlst_copies_to_exactly_the_other_place() {
    for profile in PROFILES {
        let server = Server::start(profile);
        server.fill("SORCEV", 0..15, 1);
        server.fill("TRGVOL", 29..46, 9);

        server
            .tso("FCESTABL SDEVN(0A00) TDEVN(0A01) ONLINTGT(YES) XTNTLST(00000000 0000000E 00020000 0002000E)")
            .ends(0, &["ANTF0001I"]);
        server.wait_for("TRGVOL");

        let target = [29, 30, 44, 45].map(|track| server.byte("TRGVOL", track));
        assert_eq!(target, [9, 1, 1, 9], "{profile:?}");
    }
}

#[test]
fn t1_12_ddsw_yes_lets_sources_copy_first_and_ends_targets_at_once() {
    for profile in PROFILES {
        let server = Server::start(profile);
        server.fill("SORCEV", 0..300, 1);
        // SORCEV is a source without background copy, and elsewhere a target.
        server
            .tso("FCESTABL SDEVN(0A00) TDEVN(0A01) MODE(NOCOPY) EXTENTS(00000000 0009000E)")
            .ends(0, &[]);
        server
            .tso("FCESTABL SDEVN(0A02) TDEVN(0A00) MODE(NOCOPY) ONLINTGT(YES) EXTENTS(00100000 0013000E)")
            .ends(0, &[]);

        server.tso("FCWITHDR SDEVN(0A00) DDSW(YES)").ends(0, &["1 RELATIONSHIP WITHDRAWN, 1 WHEN"]);
        server.wait_for("TRGVOL");

        assert_eq!(server.relationships(), []);
        server.fill("SORCEV", 0..150, 2);
        assert_eq!((server.byte("TRGVOL", 0), server.byte("TRGVOL", 149)), (1, 1), "{profile:?}");
    }
}

#[test]
fn t1_13_ddsw_no_ends_what_is_onto_the_volume_and_leaves_what_is_from_it() {
    for profile in PROFILES {
        let server = Server::start(profile);
        server
            .tso("FCESTABL SDEVN(0A00) TDEVN(0A01) MODE(NOCOPY) EXTENTS(00000000 0000000E)")
            .ends(0, &[]);
        server
            .tso("FCESTABL SDEVN(0A01) TDEVN(0A02) MODE(NOCOPY) EXTENTS(00010000 0001000E)")
            .ends(0, &[]);

        server.tso("FCWITHDR TDEVN(0A01)").ends(0, &["1 RELATIONSHIP WITHDRAWN\n"]);

        assert_eq!(server.relationships(), [relationship("TRGVOL", "THIRD", (15, 15, 15))]);
        server.tso("FCWITHDR TDEVN(0A01)").ends(0, &["0 RELATIONSHIPS WITHDRAWN"]);
    }
}

#[test]
fn t1_14_xtntlst_selects_by_ranges_at_different_places() {
    for profile in PROFILES {
        let server = Server::start(profile);
        let first = "XTNTLST(00000000 0000000E 00020000 0002000E)";
        let second = "XTNTLST(00010000 0001000E 00040000 0004000E)";
        for list in [first, second] {
            server
                .tso(&format!("FCESTABL SDEVN(0A00) TDEVN(0A01) MODE(NOCOPY) {list}"))
                .ends(0, &[]);
        }

        server
            .tso(&format!("FCWITHDR TDEVN(0A01) {first}"))
            .ends(0, &["1 RELATIONSHIP WITHDRAWN\n"]);
        assert_eq!(server.relationships(), [relationship("SORCEV", "TRGVOL", (15, 60, 15))]);
        server.tso(&format!("FCWITHDR SDEVN(0A00) DDSW(YES) {second}")).ends(0, &[]);
        server.wait_for("TRGVOL");
        assert_eq!(server.relationships(), []);
    }
}

#[test]
fn t1_15_act_counts_both_roles_and_moves_with_establish_and_withdraw() {
    for (profile, most) in [(Xp7, " 65534 "), (Ibm, "    67 ")] {
        let server = Server::start(profile);
        let active = |count: u32| format!(" {count:>5}{most}");
        server.tso("FCQUERY DEVN(0A00)").ends(0, &[&active(0)]);
        server
            .tso("FCESTABL SDEVN(0A00) TDEVN(0A01) MODE(NOCOPY) EXTENTS(00000000 0000000E)")
            .ends(0, &[]);
        server
            .tso("FCESTABL SDEVN(0A02) TDEVN(0A00) MODE(NOCOPY) EXTENTS(00010000 0001000E)")
            .ends(0, &[]);
        server.tso("FCQUERY DEVN(0A00)").ends(0, &[&active(2)]);
        server.tso("FCWITHDR TDEVN(0A00)").ends(0, &[]);
        server.tso("FCQUERY DEVN(0A00)").ends(0, &[&active(1)]);
    }
}

#[test]
fn t1_16_ickdsf_copies_volumes_shows_and_ends_relationships() {
    for profile in PROFILES {
        let server = Server::start(profile);
        server.fill("SORCEV", 0..1, 1);

        server
            .ickdsf("FLASHCPY ESTABLISH UNITADDRESS(0A00) TARGETVOL(0A,01,0A01) MODE(NOCOPY)")
            .ends(0, &["CONDITION CODE WAS 0"]);
        server.fill("SORCEV", 0..1, 2);
        assert_eq!(server.byte("TRGVOL", 0), 1);

        server
            .ickdsf("FLASHCPY QUERY RELATIONS UNITADDRESS(0A01)")
            .ends(0, &["#TRACKS YET TO BE COPIED"]);
        server.ickdsf("FLASHCPY WITHDRAW UNITADDRESS(0A00) DDSW(YES)").ends(0, &["1 WHEN"]);
        server.wait_for("TRGVOL");
        assert_eq!(server.relationships(), []);
        server.ickdsf("FLASHCPY ESTABLISH UNITADDRESS(0A00) DATASET(PAYROLL)").ends(1, &["is 12"]);
    }
}

/// What is left of tracks 0 to 299 after a list that covers tracks 0 to 14, then one in the middle, 30 to 44.
fn parts(profile: Profile, withdraw: &str) -> Vec<(u64, u64)> {
    let server = Server::start(profile);
    server.tso(ALL_BY_EXTENTS).ends(0, &[]);
    let listed =
        |range: &str| server.tso(&format!("{withdraw} XTNTLST({range} {range})")).ends(0, &[]);
    listed("00000000 0000000E");
    listed("00020000 0002000E");
    let ended_at_once = |copy: &serde_json::Value| copy["mode"] == "nocopy";
    let left = server.copies();
    let left = left.iter().filter(|copy| ended_at_once(copy));
    let mut left: Vec<(u64, u64)> = left
        .map(|copy| {
            (
                copy["target_track"].as_u64().expect("a track"),
                copy["tracks"].as_u64().expect("tracks"),
            )
        })
        .collect();
    left.sort_unstable();
    left
}

#[test]
fn t2_12_t2_13_xp7_a_list_that_covers_a_part_withdraws_nothing() {
    assert_eq!(parts(Xp7, "FCWITHDR TDEVN(0A01)"), [(0, 300)]);
    assert_eq!(parts(Xp7, "FCWITHDR SDEVN(0A00) DDSW(YES)"), [(0, 300)]);
}

#[test]
fn t2_12_t2_13_ibm_a_list_that_covers_a_part_withdraws_it_and_splits_the_rest() {
    assert_eq!(parts(Ibm, "FCWITHDR TDEVN(0A01)"), [(15, 15), (45, 255)]);
    assert_eq!(parts(Ibm, "FCWITHDR SDEVN(0A00) DDSW(YES)"), [(15, 15), (45, 255)]);
}

#[test]
fn t2_14_space_whose_relationship_was_covered_in_part_can_be_used_anew_under_ibm_only() {
    for (profile, code) in [(Xp7, 1), (Ibm, 0)] {
        let server = Server::start(profile);
        server.tso(ALL_BY_EXTENTS).ends(0, &[]);
        let list = "00020000 0002000E 00020000 0002000E";
        server.tso(&format!("FCWITHDR TDEVN(0A01) XTNTLST({list})")).ends(0, &[]);

        let anew = format!("FCESTABL SDEVN(0A02) TDEVN(0A01) MODE(NOCOPY) XTNTLST({list})");
        server.tso(&anew).ends(code, &[]);
        server.ickdsf("INIT UNITADDRESS(0A01) VERIFY(TRGVOL)").ends(code, &[]);

        server.tso("FCWITHDR TDEVN(0A01)").ends(0, &[]);
        server.tso(&anew).ends(0, &[]);
    }
}

#[test]
fn t2_15_control_removefcpy_removes_nothing_and_ends_as_the_profile_says() {
    for (profile, code) in [(Xp7, 1), (Ibm, 0)] {
        let server = Server::start(profile);
        server.tso(ALL_BY_EXTENTS).ends(0, &[]);

        server.ickdsf("CONTROL REMOVEFCPY UNITADDRESS(0A00)").ends(code, &[]);

        assert_eq!(server.relationships().len(), 1, "{profile:?}");
    }
}

#[test]
fn t2_16_xp7_a_dataset_onto_a_related_volume_withdraws_the_volume_relationship_whole() {
    for volumes in ["SDEVN(0A02) TDEVN(0A01)", "SDEVN(0A01) TDEVN(0A02)"] {
        let server = Server::start(Xp7);
        define_payroll(&server);
        server.tso(&format!("FCESTABL {volumes} MODE(NOCOPY)")).ends(0, &[]);

        server.dss(COPY_PAYROLL).ends(0, &["ADR995I", "ADR806I"]);

        assert_eq!(server.relationships(), [relationship("SORCEV", "TRGVOL", (100, 100, 50))]);
    }
}

#[test]
fn t2_16_xp7_a_relationship_made_with_extents_and_covered_in_part_stays() {
    let server = Server::start(Xp7);
    define_payroll(&server);
    server
        .tso("FCESTABL SDEVN(0A02) TDEVN(0A01) MODE(NOCOPY) EXTENTS(00000000 0013000E)")
        .ends(0, &[]);

    server.dss(COPY_PAYROLL).ends(1, &["it is not withdrawn"]);

    assert_eq!(server.relationships(), [relationship("THIRD", "TRGVOL", (0, 0, 300))]);
}

#[test]
fn t2_16_ibm_a_dataset_onto_a_related_volume_withdraws_the_overlapped_part_only() {
    for (volumes, source, target) in [
        ("SDEVN(0A02) TDEVN(0A01)", "THIRD", "TRGVOL"),
        ("SDEVN(0A01) TDEVN(0A02)", "TRGVOL", "THIRD"),
    ] {
        let server = Server::start(Ibm);
        define_payroll(&server);
        server.tso(&format!("FCESTABL {volumes} MODE(NOCOPY)")).ends(0, &[]);

        server.dss(COPY_PAYROLL).ends(0, &["ADR995I 50 TRACKS", "ADR806I"]);

        let mut left = vec![
            relationship("SORCEV", "TRGVOL", (100, 100, 50)),
            relationship(source, target, (0, 0, 100)),
            relationship(source, target, (150, 150, 150)),
        ];
        left.sort();
        assert_eq!(server.relationships(), left);
    }
}

#[test]
fn a_consistency_group_by_deck_holds_until_it_is_thawed() {
    for profile in PROFILES {
        let server = Server::start(profile);
        let deck = "PARALLEL\nCOPY FULL INDYNAM(SORCEV) OUTDYNAM(TRGVOL) FCNOCOPY FCCGFREEZE COPYVOLID\n\
                    COPY FULL INDYNAM(THIRD) OUTDYNAM(FOURTH) FCNOCOPY FCCGFREEZE COPYVOLID\nSERIAL\n\
                    CGCREATED ACCESSVOLUME(SORCEV) FCCGVERIFY(SORCEV)\n";
        server.dss(deck).ends(0, &["LSS 0A THAWED: SORCEV, THIRD", "ADR998I"]);
        server.dss("CGCREATED ACCESSVOLUME(SORCEV) FCCGVERIFY(SORCEV)").ends(1, &["ADR998E"]);
    }
}

#[test]
fn a_copy_is_dumped_and_withdrawn_and_the_dump_restored() {
    let server = Server::start(Xp7);
    server.fill("SORCEV", 0..300, 1);
    let file = server.path("sorcev.ftd").display().to_string();
    let job = format!(
        "//BACKUP JOB\n//DUMP EXEC PGM=ADRDSSU\n//TAPE DD PATH='{file}'\n//SYSIN DD *\n{COPY_FULL} FCNOCOPY\n\
          DUMP FULL INDYNAM(TRGVOL) OUTDDNAME(TAPE) FCWITHDRAW COMPRESS\n/*\n"
    );

    server.dss(&job).ends(0, &["ADR980I VOLUME TRGVOL DUMPED", "ADR981I 1 RELATIONSHIPS"]);
    assert_eq!(server.relationships(), []);

    server.dss(&job).ends(1, &["ADR984E", "exists already"]);
    server
        .dss(&format!("RESTORE FULL INDDNAME('{file}') OUTDYNAM(FOURTH) PURGE"))
        .ends(0, &["ADR983I VOLUME FOURTH RESTORED"]);
    assert_eq!((server.byte("FOURTH", 0), server.byte("FOURTH", 299)), (1, 1));
}

#[test]
fn fcwithdraw_after_the_dump_of_a_volume_that_is_a_target_in_part_keeps_the_relationship() {
    let server = Server::start(Xp7);
    let file = server.path("part.ftd").display().to_string();
    server
        .tso("FCESTABL SDEVN(0A00) TDEVN(0A01) MODE(NOCOPY) EXTENTS(00000000 0000000E)")
        .ends(0, &[]);

    server
        .dss(&format!("DUMP FULL INDYNAM(TRGVOL) OUTDDNAME('{file}') FCWITHDRAW"))
        .ends(0, &["ADR982W", "RETURN CODE 0004"]);

    assert_eq!(server.relationships().len(), 1);
    server
        .dss("DUMP FULL INDYNAM(TRGVOL) OUTDDNAME(TAPE)")
        .ends(2, &["no DD card TAPE names a file"]);
    server
        .dss("DUMP DATASET(INCLUDE(A)) OUTDDNAME('/x')")
        .ends(1, &["DATASET(INCLUDE(A)) is not served"]);
}

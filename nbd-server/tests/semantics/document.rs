//! The table of `engine/docs/semantics.md` and these tests name the same things.

use std::collections::BTreeSet;

const DOCUMENT: &str = include_str!("../../../engine/docs/semantics.md");
/// Every file with tests of an id; a file that is missing here has its tests missed.
const FILES: [&str; 9] = [
    include_str!("table1.rs"),
    include_str!("table2.rs"),
    include_str!("table2_withdraw.rs"),
    include_str!("statements.rs"),
    include_str!("incremental.rs"),
    include_str!("groups.rs"),
    include_str!("refusals.rs"),
    include_str!("../metadata_limits.rs"),
    include_str!("../../../tools/tests/semantics/main.rs"),
];

/// Names of all tests, as the sources have them.
fn tests() -> BTreeSet<&'static str> {
    let of_file = |file: &'static str| {
        file.split("#[test]\n").skip(1).map(|rest| {
            let name = rest.lines().find_map(|line| line.trim().strip_prefix("fn "));
            let name = name.and_then(|line| line.split_once('('));
            name.expect("a function follows").0
        })
    };
    FILES.into_iter().flat_map(of_file).collect()
}

/// The rows of the document's tables: id, and names of tests.
fn rows() -> Vec<(&'static str, Vec<&'static str>)> {
    let row = |line: &'static str| {
        let id = line.strip_prefix("| ")?.split(" |").next()?;
        let (letters, number) = id.split_once('-')?;
        let is_id = letters.len() <= 2 && number.len() == 2 && number.parse::<u8>().is_ok();
        let words = line.split('`').skip(1).step_by(2);
        let prefix = format!("{}_", id.to_lowercase().replace('-', "_"));
        is_id.then(|| (id, words.filter(|word| word.starts_with(&prefix)).collect()))
    };
    DOCUMENT.lines().filter_map(row).collect()
}

#[test]
fn every_test_is_in_the_document_and_every_id_has_its_tests() {
    let rows = rows();
    let named: BTreeSet<&str> = rows.iter().flat_map(|(_, names)| names.iter().copied()).collect();
    let tests = tests();
    let unknown: Vec<_> = named.difference(&tests).collect();
    let unnamed: Vec<_> = tests.difference(&named).collect();
    assert!(unknown.is_empty(), "in the document, but no tests: {unknown:#?}");
    assert!(unnamed.is_empty(), "tests, but not in the document: {unnamed:#?}");
    for (id, names) in &rows {
        assert!(!names.is_empty(), "{id} has no test named after it");
    }
    let ids: BTreeSet<&str> = rows.iter().map(|&(id, _)| id).collect();
    assert_eq!(ids.len(), rows.len(), "an id stands twice");
}

#[test]
fn every_row_of_the_tables_and_every_statement_is_in_the_document() {
    let ids: BTreeSet<&str> = rows().iter().map(|&(id, _)| id).collect();
    let table1 = (1..=16).filter(|number| ![7, 8].contains(number)).map(|number| (1, number));
    let table2 = (1..=16).filter(|number| ![5, 8, 9, 10, 11].contains(number));
    let rows = table1.chain(table2.map(|number| (2, number)));
    let rows = rows.map(|(table, number)| format!("T{table}-{number:02}"));
    let statements = (1..=13).map(|number| format!("S-{number:02}"));
    let missing: Vec<String> =
        rows.chain(statements).filter(|id| !ids.contains(id.as_str())).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

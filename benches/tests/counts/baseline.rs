//! The committed counts: read, written, and compared figure by figure.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

/// Where they are, from the root of the workspace.
pub(crate) const PATH: &str = "benches/baseline/counts.toml";
/// The same from this package, wherever the test is run.
const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/baseline/counts.toml");

/// Of how many requests the figures are.
pub(crate) const REQUESTS: &str = "requests";
/// Depends on what the optimiser leaves out: compared in the profile of the tests only.
pub(crate) const ALLOCATIONS: &str = "allocations";

const HEAD: &str = "\
# What requests cost, in exact counts on the simulated disk: the sum over so many `requests`.
# Figures that are not named are 0. `drained`: what follows behind the answers, until everything is at its place.
# Written by: FLASHTRACK_COUNTS=write cargo test -p flashtrack-benches --test counts
";

/// Figures by name.
pub(crate) type Figures = BTreeMap<String, u64>;
/// Figures by workload.
pub(crate) type Baseline = BTreeMap<String, Figures>;

/// The committed counts.
pub(crate) fn read() -> Baseline {
    let text = fs::read_to_string(FILE).unwrap_or_else(|error| panic!("{PATH}: {error}"));
    toml::from_str(&text).unwrap_or_else(|error| panic!("{PATH}: {error}"))
}

/// Makes these the committed counts.
pub(crate) fn write(counts: &Baseline) {
    let text = toml::to_string(counts).expect("maps of numbers can be written");
    let written = fs::write(FILE, format!("{HEAD}\n{text}"));
    written.unwrap_or_else(|error| panic!("{PATH}: {error}"));
}

/// Every figure that rose or fell, as a sentence.
pub(crate) fn differences(expected: &Baseline, measured: &Baseline) -> Vec<String> {
    let names: BTreeSet<&String> = expected.keys().chain(measured.keys()).collect();
    let mut found: Vec<String> = Vec::new();
    for name in names {
        match (expected.get(name), measured.get(name)) {
            (Some(expected), Some(measured)) => {
                let moved = compare(expected, measured);
                found.extend(moved.iter().map(|figure| format!("{name}: {figure}")));
            }
            (None, _) => found.push(format!("{name}: new, not in the baseline")),
            (_, None) => found.push(format!("{name}: in the baseline, but not measured any more")),
        }
    }
    found
}

fn compare(expected: &Figures, measured: &Figures) -> Vec<String> {
    let requests = measured.get(REQUESTS).copied().unwrap_or(1);
    let figures: BTreeSet<&String> = expected.keys().chain(measured.keys()).collect();
    let comparable = |figure: &&String| cfg!(debug_assertions) || *figure != ALLOCATIONS;
    let moved = figures.into_iter().filter(comparable).filter_map(|figure| {
        let of = |figures: &Figures| figures.get(figure).copied().unwrap_or(0);
        let (before, now) = (of(expected), of(measured));
        let moved = match now.cmp(&before) {
            std::cmp::Ordering::Equal => return None,
            std::cmp::Ordering::Greater => "rose",
            std::cmp::Ordering::Less => "fell",
        };
        Some(format!(
            "{figure} {moved} from {before} to {now} for {requests} requests ({} -> {} each)",
            each(before, requests),
            each(now, requests)
        ))
    });
    moved.collect()
}

/// Three digits behind the point.
fn each(sum: u64, requests: u64) -> String {
    let thousandths = sum * 1000 / requests.max(1);
    format!("{}.{:03}", thousandths / 1000, thousandths % 1000)
}

#[test]
fn a_difference_says_which_figure_rose_or_fell_and_by_how_much() {
    let counts = |allocations, syncs| {
        let figures = [(REQUESTS, 4), ("home writes", allocations), ("journal syncs", syncs)];
        let figures = figures.map(|(name, count)| (name.to_owned(), count));
        Baseline::from([("write".to_owned(), Figures::from(figures))])
    };
    assert_eq!(
        differences(&counts(8, 2), &counts(10, 1)),
        [
            "write: home writes rose from 8 to 10 for 4 requests (2.000 -> 2.500 each)",
            "write: journal syncs fell from 2 to 1 for 4 requests (0.500 -> 0.250 each)",
        ]
    );
    assert_eq!(
        differences(&Baseline::default(), &counts(1, 1)),
        ["write: new, not in the baseline"]
    );
}

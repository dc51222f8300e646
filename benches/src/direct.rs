//! Direct mode: Flashtrack past the page cache, beside fio on a file with `O_DIRECT` and no server in between.

use std::time::Duration;

use crate::error::Outcome;
use crate::fio::{self, Amount, Flush, Target, Workload};
use crate::options::Options;
use crate::report::{Comparison, Goal, Report, Row, Side, Unit};
use crate::rounds::alternate;
use crate::servers::flashtrack::{Flashtrack, PLAIN};
use crate::servers::sparse_file;

const MEBIBYTES: u64 = 1024;
/// What `flashtrackd` is told.
const OPTION: &str = "--io=direct";

/// Runs every workload on both.
///
/// # Errors
/// The server does not start, a run fails, or the file system has no direct I/O.
pub fn run(options: &Options) -> Outcome<Report> {
    let bytes = options.bytes(MEBIBYTES);
    let mut options = options.clone();
    options.server_option.push(OPTION.to_owned());
    let title = "Direct mode beside the raw file";
    let mut report = Report::new("direct", title, &options, MEBIBYTES);
    let temporary = options.folders()?;
    let folders = &temporary.folders;
    let server = Flashtrack::with_plain(&options, folders, bytes)?;
    let raw = folders.files.join("raw");
    sparse_file(&raw, bytes)?;
    let targets = [server.target(PLAIN), Target::DirectFile(raw)];
    fio::fill(&targets[1], bytes)?;
    for (name, pattern) in [
        ("4 KiB random read, depth 32, direct", "randread"),
        ("4 KiB random write, depth 32, direct", "randwrite"),
    ] {
        if !options.wants(name) {
            continue;
        }
        let amount = Amount::For(Duration::from_millis(options.milliseconds));
        let workload = Workload {
            name,
            pattern,
            block: "4k",
            depth: 32,
            jobs: 1,
            flush: Flush::Never,
            amount,
        };
        let results = alternate(options.rounds, targets.len(), |side| {
            fio::run(&workload, &targets[side], bytes)
        })?;
        let named = ["flashtrack", "raw file"].into_iter().zip(results);
        let sides =
            named.map(|(name, runs)| Side::of_runs(name, runs, |run| run.per_second)).collect();
        let goal = Some(Goal::AtLeastTimes(0.8));
        report.add(Row {
            workload: name.to_owned(),
            unit: Unit::PerSecond,
            sides,
            comparisons: vec![Comparison { ours: 0, theirs: Some(1), goal }],
        });
    }
    Ok(report)
}

//! Reads of a thin target, of which one block in sixteen was preserved and the others are read from the source, beside
//! reads of the source.

use std::time::Duration;

use super::Bed;
use crate::error::Outcome;
use crate::fio::{self, Amount, Flush, Workload};
use crate::report::{Comparison, Goal, Report, Row, Side, Unit};
use crate::rounds::alternate;
use crate::servers::flashtrack::PLAIN;

/// Measures them.
pub(super) fn run(bed: &Bed<'_>, report: &mut Report) -> Outcome {
    let name = "4 KiB random read, depth 32, thin target";
    if !bed.options.wants(name) {
        return Ok(());
    }
    let server = &bed.server;
    let read = Workload {
        name,
        pattern: "randread",
        block: "4k",
        depth: 32,
        jobs: 1,
        flush: Flush::Never,
        amount: Amount::For(Duration::from_millis(bed.options.milliseconds)),
    };
    let first_writes =
        Workload { pattern: "write:60k", amount: Amount::Bytes(bed.bytes / 16), ..read };
    server.establish_thin(1)?;
    fio::run(&first_writes, &server.target(PLAIN), bed.bytes)?;
    server.drain()?;
    let targets = [server.target(PLAIN), server.target("thin0")];
    let results = alternate(bed.options.rounds, targets.len(), |side| {
        fio::run(&read, &targets[side], bed.bytes)
    })?;
    server.withdraw(PLAIN)?;
    let named = ["source", "thin target"].into_iter().zip(results);
    let sides = named.map(|(name, runs)| Side::of_runs(name, runs, |run| run.per_second)).collect();
    let goal = Some(Goal::AtLeastTimes(0.85));
    report.add(Row {
        workload: name.to_owned(),
        unit: Unit::PerSecond,
        sides,
        comparisons: vec![Comparison { ours: 1, theirs: Some(0), goal }],
    });
    Ok(())
}

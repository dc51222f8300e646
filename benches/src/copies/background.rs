//! Background copies: how fast they are beside `cp`, and what a host notices of them.

use std::fs::{self, File};
use std::process::Command;
use std::time::{Duration, Instant};

use super::{Bed, FULL};
use crate::error::{BenchError, Outcome};
use crate::fio::{self, Amount, Flush, Measured, Workload};
use crate::process;
use crate::report::{Comparison, Goal, Report, Row, Side, Unit};
use crate::rounds::alternate;
use crate::servers::flashtrack::{Mode, PLAIN};

/// Measures both.
pub(super) fn run(bed: &Bed<'_>, report: &mut Report) -> Outcome {
    let idle = "background copy, no host";
    if bed.options.wants(idle) {
        report.add(beside_cp(bed, idle)?);
    }
    let busy = "host's p99, depth 8, 4 KiB random, half reads";
    if bed.options.wants(busy) {
        let (row, note) = beside_a_host(bed, busy)?;
        report.add(row);
        report.notes.extend(note);
    }
    Ok(())
}

/// A copy of the whole volume beside `cp` of its file, which syncs nothing, and beside `cp` and a sync.
fn beside_cp(bed: &Bed<'_>, name: &str) -> Outcome<Row> {
    let per_second = |begin: Instant| bed.mebibytes() / begin.elapsed().as_secs_f64();
    let results = alternate(bed.options.rounds, 3, |side| {
        if side > 0 {
            let begin = Instant::now();
            let copy = cp(bed)?;
            if side > 1 {
                File::open(&copy)
                    .and_then(|file| file.sync_all())
                    .map_err(BenchError::file(&copy))?;
            }
            let speed = per_second(begin);
            fs::remove_file(&copy).map_err(BenchError::file(&copy))?;
            return Ok(speed);
        }
        bed.make_full()?;
        let begin = Instant::now();
        bed.server.establish(&Bed::full_pair(), Mode::Copy)?;
        bed.server.wait_for_copy(FULL)?;
        let speed = per_second(begin);
        bed.remove_full()?;
        Ok(speed)
    })?;
    let named = ["background copy", "cp", "cp and sync"].into_iter().zip(results);
    let sides = named.map(|(name, values)| Side::of_values(name, values)).collect();
    let goal = Some(Goal::AtLeastTimes(0.9));
    let comparisons = vec![
        Comparison { ours: 0, theirs: Some(1), goal },
        Comparison { ours: 0, theirs: Some(2), goal: None },
    ];
    Ok(Row { workload: name.to_owned(), unit: Unit::MebibytesPerSecond, sides, comparisons })
}

/// Copies the file of the host's volume; gives the copy's path.
fn cp(bed: &Bed<'_>) -> Outcome<std::path::PathBuf> {
    let copy = bed.folders.files.join("cp.raw");
    let mut command = Command::new("cp");
    command.arg("--reflink=never").arg(bed.server.home_file()?).arg(&copy);
    process::output(&mut command)?;
    Ok(copy)
}

/// The same host's work without and with a copy running; a note when the copy ended before the host.
fn beside_a_host(bed: &Bed<'_>, name: &str) -> Outcome<(Row, Option<String>)> {
    let host = Workload {
        name: "host",
        pattern: "randrw",
        block: "4k",
        depth: 8,
        jobs: 1,
        flush: Flush::Never,
        amount: Amount::For(Duration::from_millis(bed.options.milliseconds)),
    };
    let mut ended_early = 0;
    let results: Vec<Vec<Measured>> = alternate(bed.options.rounds, 2, |side| {
        let target = bed.server.target(PLAIN);
        if side == 0 {
            let measured = fio::run(&host, &target, bed.bytes)?;
            bed.server.drain()?;
            return Ok(measured);
        }
        bed.make_full()?;
        bed.server.establish(&Bed::full_pair(), Mode::Copy)?;
        let measured = fio::run(&host, &target, bed.bytes)?;
        ended_early += u32::from(bed.server.tracks_left(FULL)? == 0);
        bed.remove_full()?;
        Ok(measured)
    })?;
    let named = ["no copy", "background copy"].into_iter().zip(results);
    let sides = named.map(|(name, runs)| Side::of_runs(name, runs, |run| run.p99_us)).collect();
    let goal = Some(Goal::AtMostTimes(2.0));
    let comparisons = vec![Comparison { ours: 1, theirs: Some(0), goal }];
    let row = Row { workload: name.to_owned(), unit: Unit::Microseconds, sides, comparisons };
    let note = (ended_early > 0).then(|| {
        format!(
            "In {ended_early} of {} rounds the background copy ended before the host did: take \
             --milliseconds down or --mebibytes up.",
            bed.options.rounds
        )
    });
    Ok((row, note))
}

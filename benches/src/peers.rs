//! Plain NBD I/O: Flashtrack beside every peer and the bare loop, all in every round.

use std::time::Duration;

use crate::error::Outcome;
use crate::fio::{self, Amount, Flush, Measured, Target, Workload};
use crate::options::Options;
use crate::report::{Comparison, Goal, Report, Row, Side, Unit};
use crate::rounds::alternate;
use crate::servers::flashtrack::{Flashtrack, PLAIN};
use crate::servers::peers::{self, Kind};

const MEBIBYTES: u64 = 1024;

/// A workload, and what is to be reached.
struct Measurement {
    workload: Workload,
    unit: Unit,
    /// Against the best of which peers.
    peers: BestOf,
    /// How many times the best of them.
    against_peer: f64,
    /// How many times the bare loop, where that is asked for.
    against_floor: Option<f64>,
}

/// Which peers are compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BestOf {
    All,
    FileBacked,
}

/// Index of ourselves among the sides.
const OURS: usize = 0;

/// Runs every workload on every server.
///
/// # Errors
/// A server does not start, or a run fails.
pub fn run(options: &Options) -> Outcome<Report> {
    let bytes = options.bytes(MEBIBYTES);
    let mut report = Report::new("peers", "Plain NBD I/O beside the peers", options, MEBIBYTES);
    let temporary = options.folders()?;
    let folders = &temporary.folders;
    let ours = Flashtrack::with_plain(options, folders, bytes)?;
    let peers = peers::start_all(folders, &options.nbd_server, bytes)?;
    let mut sides = vec![("flashtrack", Kind::File, ours.target(PLAIN))];
    sides.extend(peers.iter().map(|peer| (peer.name, peer.kind, peer.target.clone())));
    let time = Duration::from_millis(options.milliseconds);
    for measurement in measurements(time) {
        if options.wants(measurement.workload.name) {
            report.add(measure(&measurement, options.rounds, &sides, bytes)?);
        }
    }
    report.notes.push(
        "`bare loop` is no peer but the floor: a file in memory, mapped, without any other work. \
         What it reaches is what client and socket cost. nbdkit's memory plugin keeps nothing; \
         nbd-server keeps one process for each connection."
            .to_owned(),
    );
    Ok(report)
}

fn measurements(time: Duration) -> Vec<Measurement> {
    let measurement = |name, pattern, block, depth, jobs, against_peer| {
        let amount = Amount::For(time);
        let workload = Workload { name, pattern, block, depth, jobs, flush: Flush::Never, amount };
        let unit = if block == "4k" { Unit::PerSecond } else { Unit::MebibytesPerSecond };
        Measurement { workload, unit, peers: BestOf::All, against_peer, against_floor: None }
    };
    let read_at_32 = Measurement {
        against_floor: Some(0.9),
        ..measurement("4 KiB random read, depth 32", "randread", "4k", 32, 1, 1.0)
    };
    let write_at_32 = Measurement {
        peers: BestOf::FileBacked,
        ..measurement("4 KiB random write, depth 32", "randwrite", "4k", 32, 1, 2.0)
    };
    vec![
        read_at_32,
        measurement("4 KiB random read, 4 x 16", "randread", "4k", 16, 4, 1.5),
        write_at_32,
        measurement("4 KiB random read, depth 1", "randread", "4k", 1, 1, 1.2),
        measurement("4 KiB random write, depth 1", "randwrite", "4k", 1, 1, 1.2),
        measurement("128 KiB sequential read, depth 16", "read", "128k", 16, 1, 1.1),
        measurement("128 KiB sequential write, depth 16", "write", "128k", 16, 1, 1.1),
    ]
}

fn measure(
    measurement: &Measurement,
    rounds: usize,
    servers: &[(&str, Kind, Target)],
    bytes: u64,
) -> Outcome<Row> {
    let workload = &measurement.workload;
    let results = alternate(rounds, servers.len(), |side| {
        let (_, _, target) = &servers[side];
        fio::run(workload, target, bytes)
    })?;
    let unit = measurement.unit;
    let value = |measured: &Measured| match unit {
        Unit::MebibytesPerSecond => measured.per_second * f64::from(128 << 10) / f64::from(1 << 20),
        _ => measured.per_second,
    };
    let named = servers.iter().zip(results);
    let sides: Vec<Side> =
        named.map(|((name, ..), runs)| Side::of_runs(name, runs, value)).collect();
    let kinds: Vec<Kind> = servers.iter().map(|(_, kind, _)| *kind).collect();
    let comparisons = comparisons(measurement, &kinds, &sides);
    Ok(Row { workload: workload.name.to_owned(), unit, sides, comparisons })
}

/// With the best peer of this run, and with the bare loop.
fn comparisons(measurement: &Measurement, kinds: &[Kind], sides: &[Side]) -> Vec<Comparison> {
    let allowed = |side: &usize| match measurement.peers {
        BestOf::All => kinds[*side] != Kind::Floor,
        BestOf::FileBacked => kinds[*side] == Kind::File,
    };
    let by_median =
        |left: &usize, right: &usize| sides[*left].median().total_cmp(&sides[*right].median());
    let best = (OURS + 1..sides.len()).filter(allowed).max_by(by_median);
    let floor = kinds.iter().position(|kind| *kind == Kind::Floor);
    let against = |theirs, goal: Option<f64>| Comparison {
        ours: OURS,
        theirs: Some(theirs),
        goal: goal.map(Goal::AtLeastTimes),
    };
    let best = best.map(|best| against(best, Some(measurement.against_peer)));
    let floor = floor.map(|floor| against(floor, measurement.against_floor));
    best.into_iter().chain(floor).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_are_compared_with_the_best_peer_that_keeps_them_in_a_file() {
        let kinds = [Kind::File, Kind::Floor, Kind::File, Kind::Memory, Kind::File];
        let sides: Vec<Side> =
            [50.0, 90.0, 20.0, 80.0, 30.0].map(|value| Side::of_values("side", vec![value])).into();
        let all = measurements(Duration::ZERO);
        let theirs = |name: &str| -> Vec<Option<usize>> {
            let found = all.iter().find(|measurement| measurement.workload.name == name);
            let compared = comparisons(found.expect("it is measured"), &kinds, &sides);
            compared.iter().map(|comparison| comparison.theirs).collect()
        };
        assert_eq!(theirs("4 KiB random write, depth 32"), [Some(4), Some(1)]);
        assert_eq!(theirs("4 KiB random read, depth 32"), [Some(3), Some(1)]);
    }
}

//! What runs gave, as rows of a report: writes per second, and the share of the plain ones that is kept under a copy.

use flashtrack_benches::fio::{Measured, measured};
use flashtrack_benches::report::{Comparison, Goal, Row, Side, Unit};

use super::contender::CONTENDERS;
use crate::error::{Outcome, TaskError};

/// Below the tables.
pub(super) const NOTE: &str = "`share kept` is what a run under a copy reaches of the plain run of the same round; \
    fio's fsync is in both. `drained`: the same until flashtrackd has brought everything staged to its \
    final place; dm-thin and dm-snapshot stage nothing. On nbd, their disk is a plain volume of the same \
    server; on ubd, a file beside its store, without NBD in between.";

/// What one run gave.
pub(super) struct Run {
    /// Until fio's fsync had returned.
    pub(super) measured: Measured,
    /// Writes per second until everything was at its final place.
    drained: f64,
}

impl Run {
    /// From what fio printed, and the seconds that it took to bring everything to its final place afterwards.
    pub(super) fn read(printed: &str, draining: f64) -> Outcome<Self> {
        let unexpected = || TaskError::Unexpected(format!("fio gave no result in {printed:?}"));
        let measured = measured(printed.as_bytes()).ok_or_else(unexpected)?;
        let drained = measured.operations / (measured.run_us / 1e6 + draining);
        Ok(Self { measured, drained })
    }
}

/// A row of the writes without a copy, one under a copy, and two of the share that was kept. The results are, for each
/// contender, its plain runs and then those under a copy.
pub(super) fn rows(results: &[Vec<Run>]) -> Vec<Row> {
    let named = || CONTENDERS.iter().map(|contender| contender.name).zip(results.chunks(2));
    let writes = |workload: &str, under_copy: usize| Row {
        workload: workload.to_owned(),
        unit: Unit::PerSecond,
        sides: named()
            .map(|(name, pair)| {
                let runs = pair[under_copy].iter().map(|run| run.measured).collect();
                Side::of_runs(name, runs, |run| run.per_second)
            })
            .collect(),
        comparisons: against_peers(None).filter(|_| under_copy == 1).collect(),
    };
    let shares = |workload: &str, value: fn(&Run) -> f64| Row {
        workload: workload.to_owned(),
        unit: Unit::Share,
        sides: named()
            .map(|(name, pair)| Side::of_values(name, shares(&pair[0], &pair[1], value)))
            .collect(),
        comparisons: (0..CONTENDERS.len())
            .map(|side| Comparison { ours: side, theirs: None, goal: None })
            .chain(against_peers(Some(Goal::AtLeastTimes(1.0))))
            .collect(),
    };
    vec![
        writes("first writes, plain", 0),
        writes("first writes under a copy", 1),
        shares("share kept", |run| run.measured.per_second),
        shares("share kept, drained", |run| run.drained),
    ]
}

/// Flashtrack beside each of the others.
fn against_peers(goal: Option<Goal>) -> impl Iterator<Item = Comparison> {
    (1..CONTENDERS.len()).map(move |peer| Comparison { ours: 0, theirs: Some(peer), goal })
}

/// What is kept of the plain runs under a copy, round by round.
fn shares(plain: &[Run], under_copy: &[Run], value: fn(&Run) -> f64) -> Vec<f64> {
    plain.iter().zip(under_copy).map(|(plain, copied)| value(copied) / value(plain)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guest::TURNS;

    const PRINTED: &str = r#"note: a line before
        {"jobs": [{
            "read": {"iops": 0.0, "total_ios": 0, "runtime": 0},
            "write": {"iops": 4000.0, "total_ios": 8000, "runtime": 2000}
        }]}"#;

    #[test]
    fn what_is_drained_afterwards_takes_its_time_from_the_writes() {
        let run = Run::read(PRINTED, 2.0).expect("fio's form");

        assert!((run.measured.per_second - 4000.0).abs() < f64::EPSILON);
        assert!((run.drained - 2000.0).abs() < f64::EPSILON);
        assert!(Run::read("fio: out of memory", 0.0).is_err());
    }

    #[test]
    fn a_share_is_that_of_the_same_round() {
        let run = |drained| Run { measured: Measured::default(), drained };
        let plain = [run(100.0), run(200.0)];
        let under_copy = [run(50.0), run(150.0)];

        assert_eq!(shares(&plain, &under_copy, |run| run.drained), [0.5, 0.75]);
    }

    #[test]
    fn flashtrack_is_compared_with_every_peer() {
        let runs = || vec![Run::read(PRINTED, 0.0).expect("fio's form")];
        let results: Vec<Vec<Run>> = (0..TURNS).map(|_| runs()).collect();

        let rows = rows(&results);

        let against: Vec<_> =
            rows[2].comparisons.iter().filter_map(|comparison| comparison.theirs).collect();
        assert_eq!(against, [1, 2, 3, 4]);
        assert_eq!(rows[2].sides[3].name, "dm-thin on ubd");
        assert_eq!(rows[2].sides[3].values, [1.0]);
    }
}

//! First writes after an establish: one 4 KiB write per 64 KiB, so that each finds a track of which nothing was preserved.

use std::time::Instant;

use super::{Bed, THIN_MAX};
use crate::error::Outcome;
use crate::fio::{self, Amount, Flush, Measured, Workload};
use crate::report::{Comparison, Goal, Report, Row, Side, Unit};
use crate::rounds::alternate;
use crate::servers::flashtrack::{Mode, PLAIN};

/// One write in so many bytes.
const STRIDE: u64 = 64 << 10;
const BLOCK: u64 = 4 << 10;

/// What stands beside the plain writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Copies {
    None,
    Thin(usize),
    /// One full target that is filled only as the source changes.
    Full,
}

/// How far the time is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Until {
    /// The writes are answered.
    Answered,
    /// They are flushed, and everything staged is at its final place.
    Drained,
    /// Each write is answered and flushed before the next.
    EachFlushed,
}

/// Measures all of them.
pub(super) fn run(bed: &Bed<'_>, report: &mut Report) -> Outcome {
    let at_least = |share| Some(Goal::AtLeastTimes(share));
    let (thin1, thin16) = (Copies::Thin(1), Copies::Thin(THIN_MAX));
    let staged = "first writes, depth 32, staged";
    measure(
        bed,
        report,
        staged,
        Until::Answered,
        &[(thin1, at_least(0.95)), (thin16, at_least(0.9))],
    )?;
    let drained = "first writes, depth 32, flushed and drained";
    let full = (Copies::Full, at_least(0.5));
    measure(bed, report, drained, Until::Drained, &[(thin1, None), (thin16, at_least(0.6)), full])?;
    let slower = Some(Goal::AtMostTimes(1.3));
    let flushed = "first write and FLUSH, depth 1";
    measure(bed, report, flushed, Until::EachFlushed, &[(thin1, slower), (thin16, slower)])
}

fn measure(
    bed: &Bed<'_>,
    report: &mut Report,
    name: &str,
    until: Until,
    beside: &[(Copies, Option<Goal>)],
) -> Outcome {
    if !bed.options.wants(name) {
        return Ok(());
    }
    let mut copies = vec![Copies::None];
    copies.extend(beside.iter().map(|(copies, _)| *copies));
    // What is used for the first time, pages and segments of the journal, is slow once for everybody.
    for &copies in &copies {
        once(bed, copies, until)?;
    }
    let results =
        alternate(bed.options.rounds, copies.len(), |side| once(bed, copies[side], until))?;
    let (unit, value): (_, fn(&Measured) -> f64) = match until {
        Until::EachFlushed => (Unit::Microseconds, |run| 1e6 / run.per_second),
        _ => (Unit::PerSecond, |run| run.per_second),
    };
    let named = copies.iter().zip(results);
    let sides = named.map(|(copies, runs)| Side::of_runs(&copies.name(), runs, value)).collect();
    let comparisons = beside
        .iter()
        .enumerate()
        .map(|(index, (_, goal))| Comparison { ours: index + 1, theirs: Some(0), goal: *goal })
        .collect();
    report.add(Row { workload: name.to_owned(), unit, sides, comparisons });
    Ok(())
}

/// One run, with the copies made before and ended after it.
fn once(bed: &Bed<'_>, copies: Copies, until: Until) -> Outcome<Measured> {
    let server = &bed.server;
    // Else an establish would sync what the side before has left unflushed, beside the writes that are measured.
    fio::flush(&server.target(PLAIN))?;
    match copies {
        Copies::None => {}
        Copies::Thin(count) => server.establish_thin(count)?,
        Copies::Full => {
            bed.make_full()?;
            server.establish(&Bed::full_pair(), Mode::Nocopy)?;
        }
    }
    let each_flushed = until == Until::EachFlushed;
    // With a FLUSH after each write a part of the volume is enough.
    let reach = if each_flushed { bed.bytes / 16 } else { bed.bytes };
    let workload = Workload {
        name: "first writes",
        pattern: "write:60k",
        block: "4k",
        depth: if each_flushed { 1 } else { 32 },
        jobs: 1,
        flush: match until {
            Until::Answered => Flush::Never,
            Until::Drained => Flush::AtEnd,
            Until::EachFlushed => Flush::EachWrite,
        },
        amount: Amount::Bytes(reach / STRIDE * BLOCK),
    };
    let mut measured = fio::run(&workload, &server.target(PLAIN), reach)?;
    if until == Until::Drained {
        let begin = Instant::now();
        server.drain()?;
        measured.run_us += begin.elapsed().as_secs_f64() * 1e6;
        measured.per_second = measured.operations / measured.run_us * 1e6;
    }
    if copies == Copies::Full {
        bed.remove_full()?;
    } else {
        server.withdraw(PLAIN)?;
    }
    Ok(measured)
}

impl Copies {
    fn name(self) -> String {
        match self {
            Self::None => "no copy".to_owned(),
            Self::Thin(1) => "1 thin target".to_owned(),
            Self::Thin(count) => format!("{count} thin targets"),
            Self::Full => "full NOCOPY target".to_owned(),
        }
    }
}

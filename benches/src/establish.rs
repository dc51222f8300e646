//! Establishing under full write load: how long a command takes from request to answer, and what the host notices.
//!
//! The host writes to a volume of 15 TiB, and that is copied alone, or with 63 others at the same moment.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::error::{BenchError, Outcome};
use crate::fio::{self, Amount, Flush, Measured, Workload};
use crate::options::Options;
use crate::report::{Comparison, Goal, Report, Row, Side, Unit};
use crate::rounds::alternate;
use crate::servers::flashtrack::{Flashtrack, Mode, PLAIN, thin_name};

/// Of the part of the large volume that is written to.
const MEBIBYTES: u64 = 1024;
/// The largest volume there is.
const LARGE_BYTES: u64 = 15 << 40;
const SMALL_BYTES: u64 = 64 << 20;
const POOL_BYTES: u64 = 8 << 30;
/// Copies of one command.
const MANY: usize = 64;
/// An establish, its withdrawals and the pause after them take at least so long, and so much more for each of its pairs,
/// which are withdrawn one by one.
const INTERVAL: Duration = Duration::from_millis(50);
const INTERVAL_PER_PAIR: Duration = Duration::from_millis(3);
/// fio has begun to write after so long.
const LEAD: Duration = Duration::from_millis(500);

/// Settings of this run.
#[derive(Clone, Debug, clap::Args)]
pub struct Settings {
    /// Copies established in each round
    #[arg(long, default_value_t = 100)]
    pub times: u32,
}

/// A latency of the host, in milliseconds, and its name.
type Figure = (&'static str, fn(&Measured) -> f64);

/// What one round gave.
struct Round {
    host: Measured,
    /// Milliseconds of each establish.
    answers: Vec<f64>,
    /// Milliseconds of a sync of one block on the same file system, right after each.
    syncs: Vec<f64>,
}

/// Measures both.
///
/// # Errors
/// The server does not start, or a run fails.
pub fn run(options: &Options, settings: &Settings) -> Outcome<Report> {
    let bytes = options.bytes(MEBIBYTES);
    let title = "Establishing under full write load";
    let mut report = Report::new("establish", title, options, MEBIBYTES);
    report.settings.push(format!("- {} establishes in each round", settings.times));
    let temporary = options.folders()?;
    let folders = &temporary.folders;
    let server = Flashtrack::start(options, folders)?;
    server.create_volume(PLAIN, LARGE_BYTES)?;
    fio::fill(&server.target(PLAIN), bytes)?;
    let small = |number: usize| format!("small{number}");
    for number in 1..MANY {
        server.create_volume(&small(number), SMALL_BYTES)?;
    }
    server.create_thin(1, LARGE_BYTES, POOL_BYTES)?;
    server.add_thin(1..MANY, SMALL_BYTES)?;
    let one = vec![(PLAIN.to_owned(), thin_name(0))];
    let more = (1..MANY).map(|number| (small(number), thin_name(number)));
    let many: Vec<(String, String)> = one.iter().cloned().chain(more).collect();
    let scratch = folders.files.join("sync.raw");
    let mut late = 0;
    for (name, pairs) in [("15 TiB", &one), ("64 volumes", &many)] {
        if options.wants(name) {
            let bed = Bed { options, settings, server: &server, bytes, scratch: &scratch };
            late += bed.measure(name, pairs, &mut report)?;
        }
    }
    if late > 0 {
        report.notes.push(format!("{late} establishes were asked for after the host had ended."));
    }
    report.notes.push(
        "An establish ends with one sync of the journal. `sync` is a write of 4 KiB and its \
         fdatasync on the same file system, right after each establish, under the same load."
            .to_owned(),
    );
    Ok(report)
}

/// What happens during a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Load {
    /// The host writes.
    Alone,
    /// And copies are established.
    WithCopies,
}

struct Bed<'a> {
    options: &'a Options,
    settings: &'a Settings,
    server: &'a Flashtrack,
    bytes: u64,
    scratch: &'a Path,
}

impl Bed<'_> {
    /// Adds the rows of copies of these pairs; gives how many establishes came too late.
    fn measure(
        &self,
        name: &str,
        pairs: &[(String, String)],
        report: &mut Report,
    ) -> Outcome<usize> {
        let mut rounds = alternate(self.options.rounds, 2, |side| {
            self.round(pairs, if side == 0 { Load::Alone } else { Load::WithCopies })
        })?;
        let with = rounds.pop().unwrap_or_default();
        let without = rounds.pop().unwrap_or_default();
        let flat = |values: fn(&Round) -> &Vec<f64>| -> Vec<f64> {
            with.iter().flat_map(values).copied().collect()
        };
        let answers = Side::of_values("establish", flat(|round| &round.answers));
        let syncs = Side::of_values("sync", flat(|round| &round.syncs));
        let asked = self.settings.times as usize * self.options.rounds;
        let late = asked.saturating_sub(answers.values.len());
        report.add(Row {
            workload: format!("establish of {name}"),
            unit: Unit::Milliseconds,
            sides: vec![answers, syncs],
            comparisons: vec![
                Comparison { ours: 0, theirs: None, goal: Some(Goal::AtMost(5.0)) },
                Comparison { ours: 0, theirs: Some(1), goal: Some(Goal::AtMostAbove(1.0)) },
            ],
        });
        let figures: [Figure; 2] =
            [("p99.9", |host| host.p999_us / 1e3), ("slowest", |host| host.max_us / 1e3)];
        for (figure, value) in figures {
            let side = |name: &str, rounds: &[Round]| {
                Side::of_runs(name, rounds.iter().map(|round| round.host).collect(), value)
            };
            report.add(Row {
                workload: format!("host's {figure}, establish of {name}"),
                unit: Unit::Milliseconds,
                sides: vec![side("without", &without), side("with", &with)],
                comparisons: vec![Comparison {
                    ours: 1,
                    theirs: Some(0),
                    goal: Some(Goal::AtMostAbove(10.0)),
                }],
            });
        }
        Ok(late)
    }

    /// The host writes as fast as it can; meanwhile the pairs are established again and again, or not.
    fn round(&self, pairs: &[(String, String)], what: Load) -> Outcome<Round> {
        let interval = INTERVAL + INTERVAL_PER_PAIR * u32::try_from(pairs.len()).unwrap_or(1);
        let time = interval * self.settings.times + 2 * LEAD;
        let load = Workload {
            name: "load",
            pattern: "randwrite",
            block: "4k",
            depth: 32,
            jobs: 1,
            flush: Flush::Never,
            amount: Amount::For(time.max(Duration::from_millis(self.options.milliseconds))),
        };
        let mut host = fio::start(&load, &self.server.target(PLAIN), self.bytes)?;
        let (mut answers, mut syncs) = (Vec::new(), Vec::new());
        if what == Load::WithCopies {
            std::thread::sleep(LEAD);
            let mut scratch = File::create(self.scratch).map_err(BenchError::file(self.scratch))?;
            for _ in 0..self.settings.times {
                let next = Instant::now() + interval;
                let answer = milliseconds(|| self.server.establish(pairs, Mode::Nocopy))?;
                let sync = milliseconds(|| {
                    let done = scratch.write_all(&[0; 4096]).and_then(|()| scratch.sync_data());
                    done.map_err(BenchError::file(self.scratch))
                })?;
                for (source, _) in pairs {
                    self.server.end_copies(source)?;
                }
                if host.has_ended() {
                    break;
                }
                answers.push(answer);
                syncs.push(sync);
                std::thread::sleep(next.saturating_duration_since(Instant::now()));
            }
        }
        let host = host.finish()?;
        self.server.drain()?;
        Ok(Round { host, answers, syncs })
    }
}

/// How long something took.
fn milliseconds(work: impl FnOnce() -> Outcome) -> Outcome<f64> {
    let begin = Instant::now();
    work()?;
    Ok(begin.elapsed().as_secs_f64() * 1e3)
}

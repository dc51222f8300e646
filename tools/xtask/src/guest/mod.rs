//! `cargo xtask bench guest`: what first writes under a copy keep of plain ones, of Flashtrack and of the copies that Linux
//! itself makes, in one guest kernel.
//!
//! The guest is user-mode Linux, which has one processor. Each contender has ext4 with one file, laid out fully, and fio
//! writes one block of 4 KiB in each chunk of 64 KiB of it, at random, past the page cache, 32 at a time, and an fsync at the
//! end: plain, and under a copy taken right before. Then a copy's blocks are read in the guest: they must be the old ones.
//!
//! dm-thin and dm-snapshot take part twice, since no one disk of theirs is the same as Flashtrack's:
//! 1. on NBD: a plain volume of the same server, attached in the same way. Transport and store are the same, and only who
//!    copies differs.
//! 2. on ubd: a file beside the server's store, on the guest's own block driver. Nothing is between them and the disk, as
//!    with LVM on a local one; their plain writes are others than Flashtrack's.

mod contender;
mod order;

use std::fmt;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Parser;
use flashtrack_benches::fio::{Measured, measured};
use flashtrack_benches::machine::Machine;
use flashtrack_benches::report::{Comparison, Goal, Report, Row, Side, Unit};
use flashtrack_benches::rounds::alternate;

use self::contender::{Bed, CONTENDERS, Contender};
use self::order::Order;
use crate::error::{Outcome, TaskError};
use crate::kernel::{Driver, Kernel};
use crate::kernel_run;
use crate::namespace;
use crate::report as story;
use crate::server::Server;
use crate::setup;

/// Name of this measurement and of the folder of its results.
pub(crate) const NAME: &str = "guest";
/// Runs in a round: each contender's, plain and under a copy.
const TURNS: usize = 2 * CONTENDERS.len();
/// Writes, per second, that even a busy machine does.
const SLOWEST_WRITES: u64 = 200;
/// What the rest of a script takes, such as starting fio.
const SCRIPT_SECONDS: u64 = 60;

/// Below the tables.
const NOTE: &str = "`share kept` is what a run under a copy reaches of the plain run of the same round; \
    fio's fsync is in both. `drained`: the same until flashtrackd has brought everything staged to its \
    final place; dm-thin and dm-snapshot stage nothing. On nbd, their disk is a plain volume of the same \
    server; on ubd, a file beside its store, without NBD in between.";

/// First writes under a copy in a guest kernel, beside dm-thin and dm-snapshot.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask bench guest")]
struct Options {
    /// Rounds; all take turns within each, plain and under a copy
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// Mebibytes of the file that is written to: sixteen writes in each
    #[arg(long, default_value_t = 512, value_parser = clap::value_parser!(u64).range(16..=16384))]
    mebibytes: u64,
    /// A further option of flashtrackd, such as --server-option=--io=direct; may be given several times
    #[arg(long, value_name = "OPTION", allow_hyphen_values = true)]
    server_option: Vec<String>,
    /// Folder for the results, in a folder of their own [default: target/bench]
    #[arg(long)]
    output: Option<PathBuf>,
    /// Keep the run's folder afterwards: the store, the disks and the logs
    #[arg(long)]
    keep: bool,
    /// Folder of the run, when it is already in its namespaces
    #[arg(long, hide = true)]
    inside: Option<PathBuf>,
}

/// Installs, builds, and measures in namespaces of its own.
///
/// # Errors
/// Something cannot be installed or built, the guest or the server does not start, a run fails, or a copy is wrong.
pub(crate) fn run(words: &[String]) -> Outcome {
    let program = ["cargo xtask bench guest".to_owned()];
    let options = Options::parse_from(program.iter().chain(words));
    if let Some(folder) = &options.inside {
        return Measurement::new(&options, folder)?.run(&options);
    }
    setup::packages(setup::GUEST)?;
    let task: Vec<&str> =
        ["bench", NAME].into_iter().chain(words.iter().map(String::as_str)).collect();
    kernel_run::enter(Driver::Uml, &task, options.keep)
}

/// The word of four bytes of which a run writes nothing else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Pattern(u32);

impl fmt::Display for Pattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:#010x}", self.0)
    }
}

/// What one run gave.
struct Run {
    measured: Measured,
    /// Writes per second until everything is at its final place.
    drained: f64,
}

struct Measurement {
    story: story::Report,
    bed: Bed,
    folder: PathBuf,
    mebibytes: u64,
    /// What each contender's file was last written with.
    patterns: [Pattern; CONTENDERS.len()],
    /// The last of them.
    pattern: Pattern,
    /// Runs so far.
    runs: usize,
}

impl Measurement {
    /// Boots the guest with its disks and starts the server.
    fn new(options: &Options, folder: &Path) -> Outcome<Self> {
        let story = story::Report::new();
        story.step("Booting the guest, starting flashtrackd on an empty store");
        // Room for the file system's own.
        let volume_mebibytes = options.mebibytes + options.mebibytes / 8 + 64;
        let mut disks = Vec::new();
        for contender in CONTENDERS.iter().filter(|contender| contender.has_file()) {
            let disk = folder.join(format!("{}.disk", contender.place));
            let bytes = contender.disk_mebibytes(volume_mebibytes) << 20;
            File::create(&disk)
                .and_then(|file| file.set_len(bytes))
                .map_err(TaskError::file(&disk))?;
            disks.push(disk);
        }
        let library = folder.join("guest.sh");
        fs::write(&library, include_str!("guest.sh")).map_err(TaskError::file(&library))?;
        let mut kernel = Kernel::with_disks(Driver::Uml, folder, &disks)?;
        kernel.allow(SCRIPT_SECONDS + (options.mebibytes << 4) / SLOWEST_WRITES);
        let server_options: Vec<&str> = options.server_option.iter().map(String::as_str).collect();
        let server = Server::start(folder, Driver::Uml.server_address(), &server_options)?;
        Ok(Self {
            story,
            bed: Bed { kernel, server, library, volume_mebibytes },
            folder: folder.to_owned(),
            mebibytes: options.mebibytes,
            patterns: [Pattern::default(); CONTENDERS.len()],
            pattern: Pattern::default(),
            runs: 0,
        })
    }

    fn run(mut self, options: &Options) -> Outcome {
        let output = match &options.output {
            Some(output) => output.clone(),
            None => namespace::target_folder()?.join("bench"),
        };
        let mut report = Report {
            name: NAME,
            title: "First writes in a guest kernel",
            machine: Machine::here(&self.folder),
            settings: self.settings(options)?,
            rows: Vec::new(),
            notes: vec![NOTE.to_owned()],
        };
        self.story.step("Each contender gets ext4 and a file with all its blocks");
        self.bed.shell("load dm-thin-pool; load dm-snapshot")?;
        for side in 0..CONTENDERS.len() {
            self.lay_out(side)?;
        }
        self.bed.drain()?;
        self.story.step("A round that does not count: files on the host grow only now");
        self.rounds(1)?;
        let rounds = options.rounds as usize;
        self.story.step(&format!("{rounds} rounds"));
        let results = self.rounds(rounds)?;
        self.stop()?;
        for row in rows(&results) {
            report.add(row);
        }
        report.write(&output)?;
        Ok(())
    }

    /// What a reader of the results has to know, as lines of Markdown.
    fn settings(&mut self, options: &Options) -> Outcome<Vec<String>> {
        let facts = self.bed.kernel.script(
            "echo \"Linux $(uname -r), cores: $(nproc), MiB of memory: $(($(awk '/MemTotal/ {print $2}' /proc/meminfo) / 1024))\"",
        )?;
        let mut lines = vec![
            format!("- guest: user-mode Linux, {}", facts.trim()),
            format!(
                "- {} rounds after one that does not count; a file of {} MiB on ext4, {} writes in each run, \
                 fio with libaio, direct, depth 32",
                options.rounds,
                options.mebibytes,
                options.mebibytes << 4
            ),
            "- NBD over a tap device, two connections; dm-thin with chunks of 64 KiB, dm-snapshot of 4 KiB, persistent"
                .to_owned(),
        ];
        if !options.server_option.is_empty() {
            lines.push(format!("- flashtrackd {}", options.server_option.join(" ")));
        }
        Ok(lines)
    }

    fn lay_out(&mut self, side: usize) -> Outcome {
        let contender = &CONTENDERS[side];
        let device = contender.make(&mut self.bed)?;
        let (pattern, mebibytes) = (self.next_pattern(side), self.mebibytes);
        let call = format!("lay_out {} {device} {mebibytes} {pattern}", contender.place);
        self.bed.shell(&call).map(drop)
    }

    /// So many rounds: for each contender what it did plain, then what it did under a copy.
    fn rounds(&mut self, rounds: usize) -> Outcome<Vec<Vec<Run>>> {
        alternate(rounds, TURNS, |turn| self.once(turn / 2, turn % 2 == 1))
    }

    /// One run of a contender, with a copy that is taken before and ended after it, or without.
    fn once(&mut self, side: usize, with_copy: bool) -> Outcome<Run> {
        let contender = &CONTENDERS[side];
        // In a round all write in the same order; another round has another file, since a guest may keep what it
        // has read of one.
        let round = self.runs / TURNS;
        self.runs += 1;
        let order = Order::random(self.mebibytes, round);
        let trace = self.folder.join(format!("order-{round}"));
        if !trace.exists() {
            fs::write(&trace, order.trace("load")).map_err(TaskError::file(&trace))?;
        }
        if with_copy {
            contender.take(&mut self.bed)?;
        }
        let before = self.patterns[side];
        let now = self.next_pattern(side);
        let call = format!("first_writes {} '{}' {now}", contender.place, trace.display());
        let printed = self.bed.shell(&call)?;
        let asked = Instant::now();
        if contender.stages() {
            self.bed.drain()?;
        }
        let draining = asked.elapsed().as_secs_f64();
        let run = Run::read(&printed, if contender.stages() { draining } else { 0.0 })?;
        let how = if with_copy { "under a copy" } else { "plain" };
        println!("           {}, {how}: {:.0}/s", contender.name, run.measured.per_second);
        if with_copy {
            let expected = (before, now);
            self.look_at_copy(contender, &order, expected)?;
            contender.end(&mut self.bed)?;
        }
        Ok(run)
    }

    /// The blocks that were written first and last are the old ones in the copy and the new ones in the volume.
    fn look_at_copy(
        &mut self,
        contender: &Contender,
        order: &Order,
        (before, now): (Pattern, Pattern),
    ) -> Outcome {
        let device = contender.open(&mut self.bed)?;
        let numbers: Vec<String> = order.ends().iter().map(ToString::to_string).collect();
        let (place, numbers) = (contender.place, numbers.join(" "));
        let found = self.bed.shell(&format!("look {place} {device} {numbers}"))?;
        let line = |pattern: Pattern| format!("{:08x} {0:08x}", pattern.0);
        let expected = [line(before), line(now)];
        if found.lines().map(str::trim).eq(expected.iter()) {
            return Ok(());
        }
        Err(TaskError::Check(format!(
            "in blocks {numbers} of its file the copy of {} has {before}, and its volume {now}: found {found:?}",
            contender.name
        )))
    }

    /// What the contender's file is written with from now on: no two runs write the same.
    fn next_pattern(&mut self, side: usize) -> Pattern {
        self.pattern = Pattern(self.pattern.0 + 1);
        self.patterns[side] = self.pattern;
        self.pattern
    }

    /// Ends guest and server.
    fn stop(self) -> Outcome {
        let Bed { kernel, server, .. } = self.bed;
        kernel.stop()?;
        let code = server.stop()?;
        if code == Some(0) {
            return Ok(());
        }
        Err(TaskError::Check(format!(
            "flashtrackd drains and exits with 0; it ended with {code:?}"
        )))
    }
}

impl Run {
    /// From what fio printed, and the seconds that it took to bring everything to its final place afterwards.
    fn read(printed: &str, draining: f64) -> Outcome<Self> {
        let unexpected = || TaskError::Unexpected(format!("fio gave no result in {printed:?}"));
        let measured = measured(printed.as_bytes()).ok_or_else(unexpected)?;
        let drained = measured.operations / (measured.run_us / 1e6 + draining);
        Ok(Self { measured, drained })
    }
}

/// A row of the writes without a copy, one under a copy, and two of the share that was kept.
fn rows(results: &[Vec<Run>]) -> Vec<Row> {
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
        comparisons: Vec::new(),
    };
    let shares = |workload: &str, value: fn(&Run) -> f64| Row {
        workload: workload.to_owned(),
        unit: Unit::Share,
        sides: named()
            .map(|(name, pair)| Side::of_values(name, shares(&pair[0], &pair[1], value)))
            .collect(),
        comparisons: (0..CONTENDERS.len())
            .map(|side| Comparison { ours: side, theirs: None, goal: None })
            .chain((1..CONTENDERS.len()).map(|peer| Comparison {
                ours: 0,
                theirs: Some(peer),
                goal: Some(Goal::AtLeastTimes(1.0)),
            }))
            .collect(),
    };
    vec![
        writes("first writes, plain", 0),
        writes("first writes under a copy", 1),
        shares("share kept", |run| run.measured.per_second),
        shares("share kept, drained", |run| run.drained),
    ]
}

/// What is kept of the plain runs under a copy, round by round.
fn shares(plain: &[Run], under_copy: &[Run], value: fn(&Run) -> f64) -> Vec<f64> {
    plain.iter().zip(under_copy).map(|(plain, copied)| value(copied) / value(plain)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

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

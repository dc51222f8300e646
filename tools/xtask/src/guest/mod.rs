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
mod results;

use std::fmt;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use clap::Parser;
use flashtrack_benches::machine::Machine;
use flashtrack_benches::report::Report;
use flashtrack_benches::rounds::alternate;

use self::contender::{Bed, CONTENDERS, Contender};
use self::order::Order;
use self::results::Run;
use crate::error::{Outcome, TaskError};
use crate::kernel::{Driver, Kernel};
use crate::kernel_run;
use crate::namespace;
use crate::process;
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
            notes: vec![results::NOTE.to_owned()],
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
        for row in results::rows(&results) {
            report.add(row);
        }
        report.write(&output)?;
        Ok(())
    }

    /// What a reader of the results has to know, as lines of Markdown.
    fn settings(&mut self, options: &Options) -> Outcome<Vec<String>> {
        let release = self.bed.kernel.release()?;
        let cores = self.bed.shell("nproc")?;
        let memory = self.bed.shell("free -m | awk '/^Mem/ {print $2}'")?;
        let mut lines = vec![
            format!("- guest: user-mode Linux {release}, cores: {cores}, {memory} MiB of memory"),
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
        // What another has left to the host to write would be waited for in this one's fsync.
        process::output(Command::new("sync").arg("-f").arg(&self.folder))?;
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

//! PostgreSQL on two volumes, copied at one moment under load: the copy recovers and holds what it must.
//!
//! Of each copy of data and WAL it is checked that
//! 1. a second PostgreSQL starts on it, and had WAL to replay;
//! 2. pgbench's balances agree: accounts, branches, tellers and history sum up to the same;
//! 3. every commit that was acknowledged before the establish is in it, and none made after it;
//! 4. writes that go to the two volumes in turn, each after the one before is durable, end in both at
//!    the same turn: the copies are of one moment;
//! 5. `pg_amcheck` finds every table and index sound, each index against its table, each page by its
//!    checksum.

use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{Duration, Instant};

use crate::error::{Outcome, TaskError};
use crate::kernel::{Driver, Kernel};
use crate::kernel_run::KernelRun;
use crate::report::{Report, milliseconds};
use crate::server::Server;
use crate::setup;

/// Options of `cargo xtask postgres`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// How many copies are made and checked
    #[arg(long, default_value_t = ROUNDS)]
    rounds: u32,
    /// Begin no round that would end later than this after the start of the run; two are made anyway
    #[arg(long, value_name = "SECONDS")]
    within: Option<u64>,
    #[command(flatten)]
    run: KernelRun,
}

impl Options {
    /// All rounds, or as many as end within `seconds`.
    pub(crate) fn within(seconds: u64) -> Self {
        Self { rounds: ROUNDS, within: Some(seconds), run: KernelRun::default() }
    }
}

/// Rounds of a whole run.
const ROUNDS: u32 = 20;
/// Rounds that are made however long they take: one of each kind.
const ROUNDS_MIN: u32 = 2;
const DATA_SIZE: &str = "512M";
const WAL_SIZE: &str = "128M";
/// Room for what both sources change while their thin copies live, and for what recovery writes.
const POOL_SIZE: &str = "1G";
/// Scale of pgbench, 100,000 accounts each: more than the server's buffers hold.
const SCALE: u32 = 2;
/// Commits of the ledger's client that separate two rounds.
const COMMITS_BETWEEN: u32 = 100;
/// The functions that the kernel's shell runs.
const SHELL: &str = include_str!("postgres.sh");

/// Installs, builds, and runs the rounds in namespaces of their own.
pub(crate) fn run(options: &Options) -> Outcome {
    if let Some((driver, folder)) = options.run.inside() {
        return Run::new(driver, folder)?.run(options);
    }
    setup::postgres()?;
    let rounds = options.rounds.to_string();
    let within = options.within.map(|seconds| seconds.to_string());
    let mut words = vec!["postgres", "--rounds", &rounds];
    if let Some(seconds) = &within {
        words.extend(["--within", seconds]);
    }
    options.run.enter(&words)
}

/// Which volumes a round copies onto.
#[derive(Clone, Copy)]
enum Targets {
    /// Thin ones, with what they need preserved in the pool.
    Thin,
    /// Full ones, with a background copy under way while PostgreSQL recovers on them.
    Full,
}

impl Targets {
    fn of_round(number: u32) -> Self {
        if number % 2 == 1 { Self::Thin } else { Self::Full }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Thin => "thin",
            Self::Full => "full",
        }
    }

    /// The one command that copies both volumes at one moment.
    fn establish(self) -> &'static [&'static str] {
        match self {
            Self::Thin => &[
                "copy",
                "establish",
                "data",
                "data-thin",
                "--nocopy",
                "--space-efficient",
                "--pair",
                "wal:wal-thin",
            ],
            Self::Full => &["copy", "establish", "data", "data-full", "--pair", "wal:wal-full"],
        }
    }
}

/// What PostgreSQL says of a copy.
struct Content {
    accounts: i64,
    branches: i64,
    tellers: i64,
    history: i64,
    transactions: u64,
    entries: u64,
    last_entry: u64,
    wal_mark: u64,
    data_mark: u64,
}

impl Content {
    /// Reads what the shell's `sums` printed: numbers between bars, in the order of the fields.
    fn read(printed: &str) -> Outcome<Self> {
        let unexpected = || TaskError::Unexpected(format!("not nine sums: {printed:?}"));
        let fields: Vec<&str> = printed.trim().split('|').collect();
        let [
            accounts,
            branches,
            tellers,
            history,
            transactions,
            entries,
            last_entry,
            wal_mark,
            data_mark,
        ] = fields.as_slice()
        else {
            return Err(unexpected());
        };
        let signed = |text: &str| i64::from_str(text).map_err(|_| unexpected());
        let count = |text: &str| u64::from_str(text).map_err(|_| unexpected());
        Ok(Self {
            accounts: signed(accounts)?,
            branches: signed(branches)?,
            tellers: signed(tellers)?,
            history: signed(history)?,
            transactions: count(transactions)?,
            entries: count(entries)?,
            last_entry: count(last_entry)?,
            wal_mark: count(wal_mark)?,
            data_mark: count(data_mark)?,
        })
    }

    /// What is wrong with it as an image of a moment when the ledger's client had seen between
    /// `before` and `after` commits acknowledged.
    fn fault(&self, before: u64, after: u64) -> Option<String> {
        let Self { accounts, branches, tellers, history, entries, last_entry, .. } = self;
        let Self { wal_mark, data_mark, .. } = self;
        if wal_mark.checked_sub(*data_mark).is_none_or(|ahead| ahead > 1) {
            return Some(format!(
                "the volumes are of two moments: mark {wal_mark} is on that of the WAL and mark \
                 {data_mark} on that of the data, which is written next"
            ));
        }
        if [branches, tellers, history].iter().any(|sum| *sum != accounts) {
            return Some(format!(
                "the sums of balances differ: accounts {accounts}, branches {branches}, \
                 tellers {tellers}, history {history}"
            ));
        }
        if entries != last_entry {
            return Some(format!("the ledger has {entries} entries, and its last is {last_entry}"));
        }
        if *entries < before {
            return Some(format!(
                "commit {before} was acknowledged before the establish, and the copy ends at {entries}"
            ));
        }
        // One commit may be durable and not yet acknowledged.
        (*entries > after + 1).then(|| {
            format!(
                "after the establish {after} commits were acknowledged, and the copy has {entries}"
            )
        })
    }
}

/// What was measured, a value for each round.
#[derive(Default)]
struct Times {
    establish: Vec<Duration>,
    recovery: Vec<Duration>,
    round: Vec<Duration>,
}

struct Run {
    report: Report,
    kernel: Kernel,
    server: Server,
    library: PathBuf,
    started: Instant,
    transactions: u64,
    times: Times,
}

impl Run {
    fn new(driver: Driver, folder: &Path) -> Outcome<Self> {
        let (report, started) = (Report::new(), Instant::now());
        report.step("Booting the kernel, starting flashtrackd on an empty store");
        let library = folder.join("postgres.sh");
        fs::write(&library, SHELL).map_err(TaskError::file(&library))?;
        let mut kernel = Kernel::start(driver, folder)?;
        let server = Server::start(folder, driver.server_address(), &[])?;
        println!("           Linux {} ({})", kernel.release()?, kernel.describe());
        let times = Times::default();
        Ok(Self { report, kernel, server, library, started, transactions: 0, times })
    }

    fn run(mut self, options: &Options) -> Outcome {
        self.make_volumes()?;
        self.start_postgres()?;
        let mut done = 0;
        while done < options.rounds {
            if let Some(seconds) = options.within.filter(|_| done >= ROUNDS_MIN)
                && self.next_round_ends_after(seconds)
            {
                println!(
                    "           {done} of {} rounds: one more would not end within {seconds} s of \
                     the start; all are made by: cargo xtask postgres",
                    options.rounds
                );
                break;
            }
            done += 1;
            self.round(done)?;
        }
        self.finish()
    }

    fn make_volumes(&mut self) -> Outcome {
        self.report.step("Volumes for data and WAL, and thin and full targets for both");
        self.command(&["pool", "create", "pool0", "--capacity", POOL_SIZE])?;
        for (name, size) in [("data", DATA_SIZE), ("wal", WAL_SIZE)] {
            let [thin, full] = [Targets::Thin, Targets::Full].map(|kind| target(name, kind));
            self.command(&["volume", "create", name, "--size", size])?;
            self.command(&["volume", "create", &thin, "--size", size, "--thin", "pool0"])?;
            self.command(&["volume", "create", &full, "--size", size])?;
        }
        Ok(())
    }

    fn start_postgres(&mut self) -> Outcome {
        self.report.step("PostgreSQL with its data on one volume and its WAL on the other");
        self.attach("data", 0)?;
        self.attach("wal", 1)?;
        let (data, wal) = self.devices(0);
        self.shell(&format!(
            "make_places; make_file_system {data} data; make_file_system {wal} wal"
        ))?;
        self.shell("make_cluster")?;
        let version = self.shell("postgres --version")?;
        println!("           {}", version.trim());
        self.shell(&format!("fill {SCALE}"))?;
        self.report.step(
            "pgbench writes from now on with four clients, beside it the ledger and the marks",
        );
        self.shell("start_load").map(drop)
    }

    /// Copies both volumes once, and checks the copy.
    fn round(&mut self, number: u32) -> Outcome {
        let started = Instant::now();
        let targets = Targets::of_round(number);
        let before = self.acknowledged(&format!("wait_for_load {COMMITS_BETWEEN}"))?;
        let asked = Instant::now();
        self.command(targets.establish())?;
        let establish = asked.elapsed();
        let after = self.acknowledged("")?;
        let (data, wal) = self.devices(2);
        self.attach(&target("data", targets), 2)?;
        self.attach(&target("wal", targets), 3)?;
        self.shell(&format!("mount_copy {data} {wal}"))?;
        let asked = Instant::now();
        self.shell("recover_copy")?;
        let recovery = asked.elapsed();
        let content = Content::read(&self.shell("sums $COPY -copy")?)?;
        let fault = content.fault(before, after).or_else(|| {
            (content.transactions <= self.transactions)
                .then(|| format!("no transaction since the last round: {}", self.transactions))
        });
        if let Some(fault) = fault {
            println!("{}", self.shell("cat /mnt/data-copy.log")?);
            return self
                .report
                .check(&format!("round {number} ({}): {fault}", targets.name()), false);
        }
        self.shell("check_structure $COPY")?;
        self.shell(&format!("drop_copy {data} {wal}"))?;
        self.command(&["copy", "withdraw", "--source", "data"])?;
        self.command(&["copy", "withdraw", "--source", "wal"])?;
        let line = format!(
            "round {number:2} ({}): establish {}, recovery {}, {} transactions more, \
             acknowledged {before} <= {} <= {} + 1",
            targets.name(),
            milliseconds(establish),
            seconds(recovery),
            content.transactions - self.transactions,
            content.entries,
            after
        );
        self.transactions = content.transactions;
        self.times.establish.push(establish);
        self.times.recovery.push(recovery);
        self.times.round.push(started.elapsed());
        self.report.check(&line, true)
    }

    fn finish(mut self) -> Outcome {
        self.report.step("The primary, last: its own sums and structure; then everything stops");
        self.shell("load_goes_on; stop_load")?;
        let content = Content::read(&self.shell("sums $PRIMARY")?)?;
        let acknowledged = self.acknowledged("")?;
        let fault = content.fault(acknowledged, acknowledged);
        let sound = fault.as_deref().unwrap_or("the primary holds what it acknowledged");
        self.report.check(sound, fault.is_none())?;
        self.shell("check_structure $PRIMARY")?;
        let (data, wal) = self.devices(0);
        self.shell(&format!("stop_primary; nbd-client -d {data}; nbd-client -d {wal}"))?;
        self.kernel.stop()?;
        let code = self.server.stop()?;
        self.report.check("flashtrackd drains and exits with 0", code == Some(0))?;
        let times = self.times;
        self.report.measure("rounds", times.round.len().to_string());
        self.report.measure("transactions of pgbench", content.transactions.to_string());
        self.report.measure(
            "establish of both, command line included",
            spread(times.establish, milliseconds),
        );
        self.report.measure("start and recovery of the copy", spread(times.recovery, seconds));
        self.report.measure("a round", spread(times.round, seconds));
        self.report.summary();
        Ok(())
    }

    /// True when a round as long as the longest so far would end later than `seconds` after the start.
    fn next_round_ends_after(&self, seconds: u64) -> bool {
        let longest = self.times.round.iter().max().copied().unwrap_or_default();
        self.started.elapsed() + longest > Duration::from_secs(seconds)
    }

    /// The last number that the ledger's client has seen acknowledged, after `first` has run.
    fn acknowledged(&mut self, first: &str) -> Outcome<u64> {
        let printed = self.shell(&format!("{first}\nacknowledged"))?;
        let unexpected = || TaskError::Unexpected(format!("no number of a commit: {printed:?}"));
        printed.trim().parse().map_err(|_| unexpected())
    }

    /// Runs `call` where the functions of the library are known.
    fn shell(&mut self, call: &str) -> Outcome<String> {
        self.kernel.script(&format!(". '{}'\n{call}", self.library.display()))
    }

    fn command(&self, words: &[&str]) -> Outcome {
        self.server.flashtrack(words).map(drop)
    }

    /// Two devices, the `first` one and the next.
    fn devices(&self, first: usize) -> (String, String) {
        (self.kernel.device(first).to_owned(), self.kernel.device(first + 1).to_owned())
    }

    /// Attaches the export to the `n`th device with two connections.
    fn attach(&mut self, volume: &str, n: usize) -> Outcome {
        self.kernel.attach(self.server.nbd(), volume, n)
    }
}

fn target(source: &str, kind: Targets) -> String {
    format!("{source}-{}", kind.name())
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

/// Median and maximum of some times.
fn spread(mut times: Vec<Duration>, shown: fn(Duration) -> String) -> String {
    times.sort_unstable();
    match (times.get(times.len() / 2), times.last()) {
        (Some(median), Some(most)) => {
            format!("median {}, at most {}", shown(*median), shown(*most))
        }
        _ => "none".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::Content;

    fn content(printed: &str) -> Content {
        Content::read(printed).expect("nine numbers")
    }

    #[test]
    fn a_copy_with_equal_sums_and_the_acknowledged_commits_has_no_fault() {
        let copy = content("-40|-40|-40|-40|9|7|7|5|4\n");

        assert_eq!(copy.fault(7, 7), None);
        assert_eq!(copy.fault(6, 6), None, "one commit may be durable before it is acknowledged");
        assert_eq!(copy.fault(2, 30), None);
    }

    #[test]
    fn each_fault_of_a_copy_is_named_with_its_numbers() {
        for (printed, before, after, said) in [
            ("-40|-40|-41|-40|9|7|7|5|5", 7, 7, "tellers -41"),
            ("-40|-40|-40|0|9|7|7|5|5", 7, 7, "history 0"),
            ("0|0|0|0|0|6|7|5|5", 6, 7, "6 entries, and its last is 7"),
            ("0|0|0|0|0|6|6|5|5", 7, 8, "the copy ends at 6"),
            ("0|0|0|0|0|9|9|5|5", 6, 7, "the copy has 9"),
            ("0|0|0|0|0|7|7|5|3", 7, 7, "mark 3 on that of the data"),
            ("0|0|0|0|0|7|7|5|6", 7, 7, "mark 6 on that of the data"),
        ] {
            let fault = content(printed).fault(before, after).expect("it is faulty");
            assert!(fault.contains(said), "{printed}: {fault}");
        }
        assert!(Content::read("1|2|3").is_err());
    }
}

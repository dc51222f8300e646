//! `cargo xtask test`: every check there is, in the order in which they fail fastest.
//!
//! The last line says how many tests ran, as `N passed, N failed`: those that `cargo test` counts, and
//! each step that failed without a failed test counts as one.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::demo;
use crate::error::{Outcome, TaskError};
use crate::kernel::Driver;
use crate::monitoring;
use crate::postgres;
use crate::process;
use crate::report;
use crate::setup;
use crate::tally::Tally;
use crate::tidy;

/// Seeds that gate a change, and how many a quick look takes.
const SEEDS: u32 = 2000;
const SEEDS_QUICK: u32 = 50;
/// Seeds of the server in the simulator.
const SERVER_SEEDS: u32 = 1000;
/// How often the server is killed under load.
const KILLS: u32 = 16;
/// How long the copies of PostgreSQL may take: on a machine that is busy, fewer are made.
const POSTGRES_SECONDS: u64 = 180;

/// Options of `cargo xtask test`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Leave out the kernel runs, the kill loop and most seeds
    #[arg(long)]
    quick: bool,
    /// Run only this step
    #[arg(long, value_name = "NAME", conflicts_with = "quick")]
    step: Option<String>,
}

struct Step {
    name: &'static str,
    action: fn(&mut Tally) -> Outcome,
}

const ALWAYS: &[Step] = &[
    Step { name: "tidy", action: |_| tidy::run() },
    Step { name: "format", action: |_| cargo(&["fmt", "--all", "--check"]) },
    Step { name: "clippy", action: |_| clippy() },
    Step { name: "documentation", action: |_| documentation() },
    Step { name: "tests", action: tests },
];
const QUICK: &[Step] = &[Step { name: "simulator", action: |tally| simulator(SEEDS_QUICK, tally) }];
const FULL: &[Step] = &[
    Step { name: "monitoring", action: |_| monitoring::run() },
    Step { name: "simulator", action: |tally| simulator(SEEDS, tally) },
    Step { name: "server simulator", action: server_simulator },
    Step { name: "kill -9", action: kills },
    Step { name: "kernel run", action: |_| demo::run(&demo::Options::default()) },
    Step {
        name: "postgres",
        action: |_| postgres::run(&postgres::Options::within(POSTGRES_SECONDS)),
    },
];

/// Installs what is needed and runs all steps, also those after one that fails.
///
/// # Errors
/// A step failed; it has been printed.
pub(crate) fn run(options: &Options) -> Outcome {
    let steps = chosen(options)?;
    install(options)?;
    let mut tally = Tally::default();
    let mut table: Vec<(&str, bool, Duration)> = Vec::new();
    for step in steps {
        println!("\n{}", report::strong(&format!("== {}", step.name)));
        let started = Instant::now();
        let failed_before = tally.failed;
        let outcome = (step.action)(&mut tally);
        if let Err(error) = &outcome {
            println!("{} {}: {error}", report::bad("FAILED"), step.name);
            if tally.failed == failed_before {
                tally.failed += 1;
            }
        }
        table.push((step.name, outcome.is_ok(), started.elapsed()));
    }
    print_table(&table);
    if options.quick {
        println!("Left out (--quick): kernel run, postgres, kill -9, all but {SEEDS_QUICK} seeds");
    }
    if let Some(step) = &options.step {
        println!("Left out (--step): all but {step}");
    }
    if tally.ignored > 0 {
        println!("Ignored tests: {}", tally.ignored);
    }
    println!("{} passed, {} failed", tally.passed, tally.failed);
    if table.iter().all(|(_, passed, _)| *passed) { Ok(()) } else { Err(TaskError::Reported) }
}

/// The steps that `options` ask for.
fn chosen(options: &Options) -> Outcome<Vec<&'static Step>> {
    let more = if options.quick { QUICK } else { FULL };
    let mut steps: Vec<&Step> = ALWAYS.iter().chain(more).collect();
    let Some(only) = &options.step else { return Ok(steps) };
    let names: Vec<&str> = steps.iter().map(|step| step.name).collect();
    let unknown = format!("no step `{only}`; there are: {}", names.join(", "));
    steps.retain(|step| step.name == only);
    if steps.is_empty() { Err(TaskError::Unexpected(unknown)) } else { Ok(steps) }
}

fn install(options: &Options) -> Outcome {
    setup::rust_components()?;
    setup::packages(setup::TESTS)?;
    if !options.quick {
        setup::packages(setup::KERNEL_RUN)?;
        setup::postgres()?;
        if Driver::available() == Driver::Uml {
            setup::packages(setup::USER_MODE_LINUX)?;
        }
    }
    Ok(())
}

fn print_table(table: &[(&str, bool, Duration)]) {
    println!("\n{}", report::strong("Steps"));
    for (name, passed, time) in table {
        let mark = if *passed { report::good("ok    ") } else { report::bad("FAILED") };
        println!("  {mark}  {name:<16} {:>6.1} s", time.as_secs_f64());
    }
}

fn cargo(words: &[&str]) -> Outcome {
    process::visible(Command::new("cargo").args(words))
}

fn clippy() -> Outcome {
    let scope = ["clippy", "--workspace", "--all-targets", "--all-features", "--", "-Dwarnings"];
    cargo(&scope)
}

fn documentation() -> Outcome {
    let mut command = Command::new("cargo");
    command.args(["doc", "--workspace", "--no-deps", "--all-features", "--quiet"]);
    process::visible(command.env("RUSTDOCFLAGS", "-Dwarnings"))
}

fn tests(tally: &mut Tally) -> Outcome {
    counted(
        Command::new("cargo").args(["test", "--workspace", "--all-features", "--no-fail-fast"]),
        tally,
    )
}

fn simulator(seeds: u32, tally: &mut Tally) -> Outcome {
    println!("{seeds} fixed seeds (FLASHTRACK_SIM_SEEDS={seeds})");
    let mut command = Command::new("cargo");
    command.args(["test", "--release", "--package=flashtrack-engine", "--features=sim"]);
    command.args(["--test=simulation"]).env("FLASHTRACK_SIM_SEEDS", seeds.to_string());
    counted(&mut command, tally)
}

fn server_simulator(tally: &mut Tally) -> Outcome {
    println!("{SERVER_SEEDS} fixed seeds (FLASHTRACK_SIM_SEEDS={SERVER_SEEDS})");
    let mut command = Command::new("cargo");
    // The same profile, packages and features as in `tests`: nothing is built anew.
    command.args([
        "test",
        "--workspace",
        "--all-features",
        "--test=simulated_server",
        "every_promise",
    ]);
    counted(command.env("FLASHTRACK_SIM_SEEDS", SERVER_SEEDS.to_string()), tally)
}

fn kills(tally: &mut Tally) -> Outcome {
    println!("{KILLS} kills under load (FLASHTRACK_KILLS={KILLS})");
    let mut command = Command::new("cargo");
    // The same profile, packages and features as in `tests`: nothing is built anew.
    command.args(["test", "--workspace", "--all-features", "--test=kill_and_restart"]);
    counted(command.env("FLASHTRACK_KILLS", KILLS.to_string()), tally)
}

fn counted(command: &mut Command, tally: &mut Tally) -> Outcome {
    process::watched(command, |line| tally.add_line(line))
}

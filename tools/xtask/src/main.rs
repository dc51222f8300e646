//! Developer tasks: `cargo xtask setup`, `demo`, `postgres`, `bench` and `test`.
//!
//! Each task installs what it needs or says what is missing and fails; none skips anything silently.

mod bench;
mod demo;
mod error;
mod files;
mod guest;
mod http;
mod kernel;
mod kernel_run;
mod monitoring;
mod namespace;
mod postgres;
mod process;
mod report;
mod server;
mod setup;
mod tally;
mod test;
mod tidy;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::error::TaskError;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Developer tasks of Flashtrack")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Install the Debian packages and Rust components that the other tasks use
    Setup,
    /// Copy a volume while a real Linux kernel writes to it, and show that the copy is right
    Demo(demo::Options),
    /// Copy PostgreSQL's two volumes under load, and show that the copies recover and lose nothing
    Postgres(postgres::Options),
    /// Measure side by side with the peers: peers, direct, copies, establish, recovery, guest
    Bench(bench::Options),
    /// Run every check: what README and continuous integration call
    Test(test::Options),
    /// Check the sources' shape: lengths, characters, words, what the engine may use
    Tidy,
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().task {
        Task::Setup => setup::everything(),
        Task::Demo(options) => demo::run(&options),
        Task::Postgres(options) => postgres::run(&options),
        Task::Bench(options) => bench::run(&options),
        Task::Test(options) => test::run(&options),
        Task::Tidy => tidy::run(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(TaskError::Reported) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{} {error}", report::bad("error:"));
            ExitCode::FAILURE
        }
    }
}

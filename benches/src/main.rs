//! `cargo xtask bench peers`, `direct`, `copies`, `establish`, `recovery`: side-by-side runs. See `benches/README.md`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use flashtrack_benches::error::Outcome;
use flashtrack_benches::options::Options;
use flashtrack_benches::report::Report;
use flashtrack_benches::{bare_loop, copies, direct, establish, peers, recovery};

/// Measures Flashtrack side by side with its peers and with itself without copies.
#[derive(Debug, Parser)]
#[command(
    name = "cargo xtask bench",
    after_help = "And `guest`: first writes in a guest kernel, beside dm-thin and dm-snapshot; see \
        `cargo xtask bench guest --help`"
)]
struct Arguments {
    #[command(subcommand)]
    run: Run,
}

#[derive(Debug, Subcommand)]
enum Run {
    /// Plain NBD I/O beside every peer and the bare loop
    Peers(Options),
    /// Direct mode beside fio on a raw file with `O_DIRECT`
    Direct(Options),
    /// What copies cost: first writes, reads of a target, FLUSH, background copies
    Copies(Options),
    /// Establishing 15 TiB and 64 volumes under full write load
    Establish {
        #[command(flatten)]
        options: Options,
        #[command(flatten)]
        settings: establish::Settings,
    },
    /// Opening after a crash with a full journal; memory of an idle server
    Recovery(Options),
    /// Serve a file, mapped into memory, by the least that an NBD server can do
    BareLoop {
        /// The file
        #[arg(long)]
        file: PathBuf,
        /// The Unix socket
        #[arg(long)]
        socket: PathBuf,
    },
}

fn main() -> ExitCode {
    match run(Arguments::parse().run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(run: Run) -> Outcome {
    let measured = |options: &Options, report: Outcome<Report>| {
        report.and_then(|report| report.write(&options.output)).map(drop)
    };
    match run {
        Run::Peers(options) => measured(&options, peers::run(&options)),
        Run::Direct(options) => measured(&options, direct::run(&options)),
        Run::Copies(options) => measured(&options, copies::run(&options)),
        Run::Establish { options, settings } => {
            measured(&options, establish::run(&options, &settings))
        }
        Run::Recovery(options) => measured(&options, recovery::run(&options)),
        Run::BareLoop { file, socket } => bare_loop::serve(&file, &socket),
    }
}

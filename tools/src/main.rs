//! `flashtrack`, the command line of administrators.
//!
//! Read `cli` for what can be said, `native` for what a server is asked to do about it, `host` for the commands of
//! mainframes, `dump` for images of volumes, which it reads and writes by `nbd`, `import` for the tracks of a file,
//! `offline` for looks at a store without a server, `failure` for what can go wrong.

mod cli;
mod client;
mod dump;
mod failure;
mod generate;
mod host;
mod import;
mod native;
mod nbd;
mod offline;
mod output;
mod values;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Noun};
use crate::client::Client;
use crate::failure::Failure;
use crate::output::Output;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let json = cli.json;
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let code = failure.exit_code();
            failure.tell(json);
            code
        }
    }
}

/// Help and version are no errors; bad usage is told in JSON too when `--json` is among the words.
fn usage(error: &clap::Error) -> ExitCode {
    let json = std::env::args_os().any(|word| word == "--json");
    if error.use_stderr() && json {
        let failure = Failure::Usage(error.to_string().trim().to_owned());
        let code = failure.exit_code();
        failure.tell(json);
        return code;
    }
    // A reader that has left misses nothing.
    let _ = error.print();
    ExitCode::from(if error.use_stderr() { 2 } else { 0 })
}

fn run(cli: Cli) -> Result<(), Failure> {
    let client = Client { path: cli.control };
    let output = if cli.json { Output::Json } else { Output::Text };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| Failure::Unreachable { path: client.path.clone(), source })?;
    runtime.block_on(async {
        match cli.noun {
            Noun::Pool(verb) => native::pool::run(verb, &client, output).await,
            Noun::Volume(verb) => native::volume::run(verb, &client, output).await,
            Noun::Copy(verb) => native::copy::run(verb, &client, output).await,
            Noun::Dataset(verb) => native::dataset::run(verb, &client, output).await,
            Noun::Dump(options) => native::dump::dump(options, &client, output).await,
            Noun::Restore(options) => native::dump::restore(options, &client, output).await,
            Noun::Thaw { cu, verify } => native::thaw::run(cu, verify, &client, output).await,
            Noun::Store(verb) => native::store::run(verb, &client, output).await,
            Noun::Tso { command } => host::tso(&command, &client, output).await,
            Noun::Dss(deck) => host::deck(&deck, host::Program::Dss, &client, output).await,
            Noun::Ickdsf(deck) => host::deck(&deck, host::Program::Ickdsf, &client, output).await,
            Noun::Completions { shell } => generate::completions(shell),
            Noun::Man { directory } => generate::manual(&directory),
        }
    })
}

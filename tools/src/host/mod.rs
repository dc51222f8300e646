//! Host commands: TSO, DFSMSdss and ICKDSF statements, carried out through the control API (semantics 1 and 2).
//!
//! A text goes through `deck` (steps and statements), the `grammar` of statements, one `compile` for each utility
//! (keywords to a command), and is then carried out statement by statement.
//!
//! Invariants
//! - H1 A text with a malformed statement is not carried out at all.
//! - H2 A refused statement changes nothing, and those after it are carried out, as the real utilities do.
//! - H3 What the server says about a refusal is told whole: the object, the numbers and the reason code.

mod control;
mod deck;
mod dss;
#[cfg(test)]
mod example;
mod extents;
mod grammar;
mod ickdsf;
mod jcl;
mod messages;
mod operands;
mod relations;
mod run;
mod source;
mod tso;

use std::io::Read;
use std::path::Path;

use self::control::Control;
pub(crate) use self::deck::Program;
pub(crate) use self::source::MalformedText;
use crate::cli::HostDeck;
use crate::client::Client;
use crate::failure::Failure;
use crate::output::Output;

/// Longest text that is read: no deck of commands is near.
const TEXT_BYTES_MAX: u64 = 16 << 20;

/// Carries out the TSO commands in `text`.
pub(crate) async fn tso(text: &str, client: &Client, output: Output) -> Result<(), Failure> {
    run::run("command", text, Program::Tso, Control { client, nbd: None, output }).await
}

/// Carries out the deck in a file; `-` is standard input. Statements without job control are those of `program`.
pub(crate) async fn deck(
    deck: &HostDeck,
    program: Program,
    client: &Client,
    output: Output,
) -> Result<(), Failure> {
    let path = &deck.file;
    let name =
        if path == Path::new("-") { "standard input".into() } else { path.to_string_lossy() };
    let unreadable = |source| Failure::Unreadable { what: name.to_string(), source };
    let text = read(path).map_err(unreadable)?;
    let control = Control { client, nbd: Some(&deck.server.nbd), output };
    run::run(&name, &text, program, control).await
}

fn read(path: &Path) -> std::io::Result<String> {
    let input: Box<dyn Read> = if path == Path::new("-") {
        Box::new(std::io::stdin())
    } else {
        Box::new(std::fs::File::open(path)?)
    };
    let mut text = String::new();
    input.take(TEXT_BYTES_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > TEXT_BYTES_MAX {
        let message = format!("it is longer than {TEXT_BYTES_MAX} bytes");
        return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, message));
    }
    Ok(text)
}

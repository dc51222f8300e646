//! Administration: commands, reports and refusals, shared with the server and the tools.
//!
//! A refused command changes nothing. An accepted one is answered when its record is durable
//! (rule O5). The serde forms are the control API's JSON, documented in `nbd-server/docs/control_api.md`.
//!
//! Reading order: `commands` (what can be asked), `reports` (what is told), `refusal` (why not), `profile` (whose rules).

mod commands;
mod profile;
mod refusal;
mod reports;

pub use commands::*;
pub use profile::*;
pub use refusal::*;
pub use reports::*;

/// Names a command until its answer; chosen by the caller, unique among those in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommandId(pub u64);

/// The answer that goes with a `CommandId`.
#[derive(Debug)]
pub struct Answer {
    /// Of the command.
    pub id: CommandId,
    /// What came of it.
    pub result: Result<Report, Refusal>,
}

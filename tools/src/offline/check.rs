//! `store check`: is the store in order, and if not, where is it damaged?

use std::path::Path;

use flashtrack_engine::Examination;
use serde::Serialize;

use super::look_at;
use crate::failure::Failure;
use crate::output::Output;

/// What a check found.
#[derive(Debug, Serialize)]
struct Verdict {
    /// It would be opened, and nothing that was looked at is lost.
    in_order: bool,
    /// What the next opening gets along with.
    findings: Vec<String>,
    /// Staged writes whose data is damaged; empty unless it was verified.
    damaged_writes: Vec<String>,
    /// Why an opening would be refused, and where the damage is.
    refusal: Option<String>,
}

impl From<Examination> for Verdict {
    fn from(found: Examination) -> Self {
        let damaged_writes = found.inspection.damaged;
        let in_order = found.refusal.is_none() && damaged_writes.is_empty();
        Self { in_order, findings: found.findings, damaged_writes, refusal: found.refusal }
    }
}

/// Carries out the verb.
pub(crate) fn run(path: &Path, payloads: bool, output: Output) -> Result<(), Failure> {
    let verdict = Verdict::from(look_at(path, payloads)?);
    output.object(&verdict, text)?;
    let path = path.to_owned();
    match (verdict.refusal, verdict.damaged_writes.len()) {
        (Some(reason), _) => Err(Failure::StoreDamaged { path, reason }),
        (None, 0) => Ok(()),
        (None, count) => Err(Failure::StagedWritesDamaged { path, count }),
    }
}

/// One line for each finding, and the verdict.
fn text(verdict: &Verdict) -> String {
    let found = verdict.findings.iter().chain(&verdict.damaged_writes).map(String::as_str);
    let conclusion = match (verdict.in_order, verdict.findings.is_empty()) {
        (true, true) => "the store is in order",
        (true, false) => "the store is in order; the next opening mends what is told above",
        (false, _) => "the store is not in order",
    };
    found.chain([conclusion]).collect::<Vec<_>>().join("\n")
}

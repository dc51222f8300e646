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
    /// It would be opened: nothing that was synced to the journal and is still needed is lost.
    in_order: bool,
    /// What the next opening gets along with.
    findings: Vec<String>,
    /// Why an opening would be refused, and where the damage is.
    refusal: Option<String>,
}

impl From<Examination> for Verdict {
    fn from(found: Examination) -> Self {
        let in_order = found.refusal.is_none();
        Self { in_order, findings: found.findings, refusal: found.refusal }
    }
}

/// Carries out the verb.
pub(crate) fn run(path: &Path, output: Output) -> Result<(), Failure> {
    let verdict = Verdict::from(look_at(path)?);
    output.object(&verdict, text)?;
    match verdict.refusal {
        Some(reason) => Err(Failure::StoreDamaged { path: path.to_owned(), reason }),
        None => Ok(()),
    }
}

/// One line for each finding, and the verdict.
fn text(verdict: &Verdict) -> String {
    let found = verdict.findings.iter().map(String::as_str);
    let conclusion = match (verdict.in_order, verdict.findings.is_empty()) {
        (true, true) => "the store is in order",
        (true, false) => "the store is in order; the next opening mends what is told above",
        (false, _) => "the store is not in order",
    };
    found.chain([conclusion]).collect::<Vec<_>>().join("\n")
}

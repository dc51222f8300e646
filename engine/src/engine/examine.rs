//! The offline look at a store that is not in use: what recovery would find, without a write.

use super::open::{self, OpenError};
use crate::io::{Object, Storage};
use crate::journal::{self, Inspection};
use crate::state::State;

/// What was found.
#[derive(Debug)]
pub struct Examination {
    /// Header, checkpoint and journal.
    pub inspection: Inspection,
    /// The metadata that an opening would begin with; none when it would be refused.
    pub state: Option<State>,
    /// Staged versions that are not home yet.
    pub staged_versions: u64,
    /// Bytes of them.
    pub staged_bytes: u64,
    /// Damage that an opening gets along with, each in a sentence.
    pub findings: Vec<String>,
    /// Why an opening would be refused, if so, with every cause.
    pub refusal: Option<String>,
}

/// Looks at a store as an opening would, staged data included.
///
/// # Errors
/// There is nothing to look at: no header, another version, no whole checkpoint, or the storage fails.
pub fn examine(storage: &mut dyn Storage) -> Result<Examination, OpenError> {
    let mut replayed = None;
    let inspection = journal::inspect(storage, |checkpoint, frames| {
        match replayed.insert(open::replay(checkpoint, frames)) {
            Ok((_, stage)) => open::needed(stage),
            Err(_) => Vec::new(),
        }
    })?;
    let mut findings = inspection.findings.clone();
    let mut refusal = inspection.refusal.as_ref().map(|error| chain_of(error));
    let mut known = None;
    let (mut staged_versions, mut staged_bytes) = (0, 0);
    match replayed {
        Some(Ok((state, stage))) if refusal.is_none() => {
            (staged_versions, staged_bytes) = (stage.versions(), stage.bytes());
            refusal = look_at_objects(storage, &state, &mut findings)?;
            known = Some(state);
        }
        Some(Err(error)) => refusal = Some(chain_of(&error)),
        _ => {}
    }
    Ok(Examination { inspection, state: known, staged_versions, staged_bytes, findings, refusal })
}

fn look_at_objects(
    storage: &mut dyn Storage,
    state: &State,
    findings: &mut Vec<String>,
) -> Result<Option<String>, OpenError> {
    let expected = open::expected_objects(state);
    let list = storage.list();
    let all = list.map_err(|source| OpenError::Storage { object: Object::Header, source })?;
    for object in all {
        let data = matches!(object, Object::Home(_) | Object::Pool(_));
        if data && !expected.contains_key(&object) {
            findings.push(format!("{object:?} belongs to nothing; the next opening removes it"));
        }
    }
    for (object, bytes) in expected {
        if let Err(error) = open::check_length(storage, object, bytes) {
            return Ok(Some(chain_of(&error)));
        }
    }
    Ok(None)
}

/// An error with all its causes, in one line.
fn chain_of(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |line, cause| format!("{line}: {cause}"))
}

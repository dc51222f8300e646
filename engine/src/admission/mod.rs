//! May this command be carried out? Pure: the state, the rules and a command in, a plan or a refusal out.
//!
//! The rules are those of semantics.md 1 and 3, as each profile has them. Validation is complete before anything is
//! changed: a refused command leaves no trace.

mod dataset;
mod establish;
mod planned;
mod renew;
mod withdraw;

pub use dataset::{plan_dataset, plan_dataset_copy};
pub use establish::{EstablishPlan, plan_establish};
pub use withdraw::{WithdrawPlan, plan_convert, plan_withdraw};

use crate::admin::{Refusal, RefusalKind};
use crate::limits;
use crate::policy::Policy;
use crate::state::{State, Volume};
use crate::units::VolumeId;

/// What a command is judged by.
#[derive(Clone, Copy)]
pub struct Rules<'a> {
    /// The store as it stands.
    pub state: &'a State,
    /// Its profile and limits.
    pub policy: &'a Policy,
    /// Tells whether clients are connected to a volume.
    pub online: &'a dyn Fn(VolumeId) -> bool,
    /// Relationships that one record can make.
    pub relationships_per_command: usize,
}

/// A refusal without advice.
pub fn refuse(kind: RefusalKind, message: impl Into<String>) -> Refusal {
    Refusal { kind, message: message.into(), help: None }
}

/// A refusal that tells what to do.
pub fn refuse_with_help(
    kind: RefusalKind,
    message: impl Into<String>,
    help: impl Into<String>,
) -> Refusal {
    Refusal { kind, message: message.into(), help: Some(help.into()) }
}

/// Checks a name of a volume, pool or dataset.
///
/// # Errors
/// Why it cannot be one.
pub fn check_name(what: &str, name: &str) -> Result<(), Refusal> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._+-".contains(c);
    let fits = !name.is_empty() && name.len() <= limits::NAME_BYTES_MAX;
    if fits && name.chars().all(allowed) && !name.starts_with(['-', '.']) {
        return Ok(());
    }
    Err(refuse_with_help(
        RefusalKind::Invalid,
        format!("`{}` cannot name a {what}", name.escape_default()),
        format!(
            "use 1 to {} letters, digits, '.', '_', '+' or '-', not beginning with '.' or '-'",
            limits::NAME_BYTES_MAX
        ),
    ))
}

/// The volume of that name.
///
/// # Errors
/// There is none.
pub fn volume<'a>(state: &'a State, name: &str) -> Result<(VolumeId, &'a Volume), Refusal> {
    state.volume_named(name).ok_or_else(|| {
        let message = format!("volume `{}` does not exist", name.escape_default());
        refuse_with_help(
            RefusalKind::NotFound,
            message,
            "`flashtrack volume list` shows all volumes",
        )
    })
}

/// Tracks of an extent lie within their volume, and there is at least one.
fn check_tracks(name: &str, volume: &Volume, first: u32, count: u32) -> Result<(), Refusal> {
    if count == 0 {
        let message = format!("an extent of 0 tracks on volume `{name}` makes no sense");
        return Err(refuse(RefusalKind::Invalid, message));
    }
    let tracks = volume.geometry.tracks;
    if first.checked_add(count).is_none_or(|end| end > tracks) {
        let message = format!(
            "{count} tracks from track {first} on pass the end of volume `{name}`, which has {tracks} tracks"
        );
        return Err(refuse(RefusalKind::Invalid, message));
    }
    Ok(())
}

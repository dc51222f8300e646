//! How one relationship is told to a host: the flags of queries.

use flashtrack_engine::admin::{CopyMode, CopyReport, CopyState};

/// BCE: a background copy is enabled.
pub(crate) fn background_copy_enabled(copy: &CopyReport) -> bool {
    copy.mode == CopyMode::Copy
}

/// BCP: a background copy is in progress.
pub(crate) fn background_copy_in_progress(copy: &CopyReport) -> bool {
    background_copy_enabled(copy) && copy.state == CopyState::FCopy && copy.tracks_left > 0
}

/// State, in the words of the array.
pub(crate) fn state(copy: &CopyReport) -> &'static str {
    match copy.state {
        CopyState::FCopy => "F-COPY",
        CopyState::Complete => "COMPLETE",
        CopyState::Failed => "FAILED",
        CopyState::Suspended => "SUSPENDED",
    }
}

/// How many relationships, as a noun.
pub(crate) fn count(copies: &[CopyReport]) -> String {
    match copies.len() {
        1 => "1 RELATIONSHIP".to_owned(),
        count => format!("{count} RELATIONSHIPS"),
    }
}

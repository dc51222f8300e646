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
    counted(copies.len())
}

fn counted(number: usize) -> String {
    if number == 1 { "1 RELATIONSHIP".to_owned() } else { format!("{number} RELATIONSHIPS") }
}

/// What came of a withdraw that the server has answered with `copies`; those that live were withdrawn in part, or
/// with DDSW are copied first.
pub(crate) fn withdrawn(copies: &[CopyReport], ddsw: bool) -> String {
    let live = copies.iter().filter(|copy| copy.ended.is_none()).count();
    let ended = counted(copies.len() - live);
    match (live, ddsw) {
        (0, _) => format!("{ended} WITHDRAWN"),
        (_, true) => {
            format!("{ended} WITHDRAWN, {live} WHEN THE BACKGROUND COPY ENDS UNLESS INCREMENTAL")
        }
        (_, false) => format!("{ended} WITHDRAWN WHOLE, {live} LEFT OF THOSE WITHDRAWN IN PART"),
    }
}

#[cfg(test)]
mod tests {
    use flashtrack_engine::admin::EndReason;

    use super::super::example::copy;
    use super::*;

    #[test]
    fn what_is_left_after_a_withdraw_is_told_apart_from_what_has_ended() {
        let ended = CopyReport { ended: Some(EndReason::Withdrawn), ..copy(1, "a", "b") };
        let both = [ended.clone(), copy(2, "a", "b")];

        assert_eq!(withdrawn(&[], false), "0 RELATIONSHIPS WITHDRAWN");
        assert_eq!(withdrawn(&[ended], true), "1 RELATIONSHIP WITHDRAWN");
        assert!(withdrawn(&both, false).starts_with("1 RELATIONSHIP WITHDRAWN WHOLE, 1 LEFT"));
        assert!(withdrawn(&both, true).starts_with("1 RELATIONSHIP WITHDRAWN, 1 WHEN"));
    }

    #[test]
    fn only_a_background_copy_with_tracks_left_is_in_progress() {
        let nocopy = CopyReport { mode: CopyMode::Nocopy, ..copy(1, "a", "b") };
        let complete =
            CopyReport { tracks_left: 0, state: CopyState::Complete, ..copy(1, "a", "b") };

        assert!(background_copy_in_progress(&copy(1, "a", "b")));
        assert!(!background_copy_in_progress(&nocopy) && !background_copy_enabled(&nocopy));
        assert!(!background_copy_in_progress(&complete) && background_copy_enabled(&complete));
    }
}

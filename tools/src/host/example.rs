//! A relationship for tests.

use flashtrack_engine::admin::{CopyMode, CopyReport, CopyState};
use flashtrack_engine::pace::Pace;

/// 50 tracks from track 0 of `source` to track 100 of `target`, none of them copied.
pub(super) fn copy(id: u32, source: &str, target: &str) -> CopyReport {
    CopyReport {
        id,
        source: source.to_owned(),
        target: target.to_owned(),
        source_track: 0,
        target_track: 100,
        tracks: 50,
        mode: CopyMode::Copy,
        pace: Pace::default(),
        state: CopyState::FCopy,
        incremental: false,
        whole: false,
        write_inhibited: false,
        changed_tracks: 0,
        space_efficient: false,
        tracks_left: 50,
        established_at: 0,
        moment: 1,
        durable: true,
        ended: None,
    }
}

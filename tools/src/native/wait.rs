//! `copy wait`: asks again and again until every relationship waited for has ended, or is complete.
//!
//! By target it waits for those that live when it starts; when none does, the last establish onto that
//! target decides, so that waiting for a copy that was quicker than the command succeeds.

use std::time::{Duration, Instant};

use flashtrack_engine::admin::{Command, CopyMode, CopyReport, CopySelector, CopyState, EndReason};
use flashtrack_engine::units::RelationshipId;
use indicatif::{ProgressBar, ProgressStyle};

use super::copy::copies;
use crate::cli::CopyWait;
use crate::client::Client;
use crate::failure::Failure;

/// Time between two questions: short first, for small copies, then longer.
const POLL_FIRST: Duration = Duration::from_millis(20);
const POLL_LAST: Duration = Duration::from_millis(500);

/// Waits. Gives the last reports of what was waited for, all complete.
pub(super) async fn run(options: CopyWait, client: &Client) -> Result<Vec<CopyReport>, Failure> {
    let started = Instant::now();
    let mut waited_for = selected(&options, client).await?;
    if options.timeout.is_none() {
        refuse_endless(&waited_for)?;
    }
    let progress = bar(&waited_for);
    let mut pause = POLL_FIRST;
    loop {
        let tracks_left: u64 = waited_for.iter().map(|copy| u64::from(copy.tracks_left)).sum();
        let total = progress.length().unwrap_or_default();
        progress.set_position(total.saturating_sub(tracks_left));
        if judge(&waited_for)? == Verdict::AllComplete {
            progress.finish();
            return Ok(waited_for);
        }
        let left =
            options.timeout.map_or(pause, |timeout| timeout.saturating_sub(started.elapsed()));
        if left.is_zero() {
            progress.abandon();
            return Err(Failure::TimedOut {
                after: options.timeout.unwrap_or_default(),
                tracks_left,
            });
        }
        tokio::time::sleep(pause.min(left)).await;
        pause = (pause * 2).min(POLL_LAST);
        for copy in &mut waited_for {
            if !is_complete_or_ended(copy) {
                *copy = ask(client, copy.id).await?;
            }
        }
    }
}

async fn selected(options: &CopyWait, client: &Client) -> Result<Vec<CopyReport>, Failure> {
    if let Some(id) = options.id {
        return Ok(vec![ask(client, id).await?]);
    }
    let target = options.target.clone().unwrap_or_default();
    let command = Command::CopyShow(CopySelector::Target(target.clone()));
    let chosen = choose(copies(client, &command).await?);
    if chosen.is_empty() {
        return Err(Failure::NothingToWaitFor(target));
    }
    Ok(chosen)
}

async fn ask(client: &Client, id: u32) -> Result<CopyReport, Failure> {
    let command = Command::CopyShow(CopySelector::Id(RelationshipId(id)));
    let reports = copies(client, &command).await?;
    reports.into_iter().next().ok_or_else(|| client.unexpected())
}

/// Those that live, else those that the last establish made.
fn choose(mut copies: Vec<CopyReport>) -> Vec<CopyReport> {
    if copies.iter().any(|copy| copy.ended.is_none()) {
        copies.retain(|copy| copy.ended.is_none());
    } else if let Some(last) = copies.iter().map(|copy| copy.established_at).max() {
        copies.retain(|copy| copy.established_at == last);
    }
    copies
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    AllComplete,
    SomeLeft,
}

/// An incremental relationship stays when it is complete, until the next refresh, and so may one without background copy. Any
/// other ends by itself a moment after its last track: who waits for it must not find it in the next list.
fn is_complete_or_ended(copy: &CopyReport) -> bool {
    let stays = copy.incremental || copy.mode == CopyMode::Nocopy;
    copy.ended.is_some() || stays && copy.tracks_left == 0
}

/// Fails as soon as one of them cannot complete any more.
fn judge(copies: &[CopyReport]) -> Result<Verdict, Failure> {
    for copy in copies {
        let (how, advice) = match (copy.ended, copy.state) {
            (Some(EndReason::Withdrawn), _) => (
                "was withdrawn before it was complete",
                "establish the copy again if it is still wanted",
            ),
            (None, CopyState::Failed) => (
                "has failed",
                "withdraw it; see the server's log and `flashtrack pool list` for why",
            ),
            (None, CopyState::Suspended) => {
                ("is suspended", "withdraw it; see the server's log for why")
            }
            (Some(EndReason::Completed), _) | (None, CopyState::FCopy | CopyState::Complete) => {
                continue;
            }
        };
        return Err(Failure::NotCompleted {
            id: copy.id,
            copy_source: copy.source.clone(),
            copy_target: copy.target.clone(),
            how,
            advice,
        });
    }
    Ok(if copies.iter().all(is_complete_or_ended) {
        Verdict::AllComplete
    } else {
        Verdict::SomeLeft
    })
}

/// Without a background copy a relationship hardly ever ends by itself.
fn refuse_endless(copies: &[CopyReport]) -> Result<(), Failure> {
    let endless =
        copies.iter().find(|copy| copy.mode == CopyMode::Nocopy && !is_complete_or_ended(copy));
    match endless {
        None => Ok(()),
        Some(copy) => Err(Failure::NotCompleted {
            id: copy.id,
            copy_source: copy.source.clone(),
            copy_target: copy.target.clone(),
            how: "is NOCOPY: no background copy will complete it",
            advice: "its target can be used already; to wait nevertheless give --timeout",
        }),
    }
}

/// On standard error, and hidden by the library where that is no terminal.
fn bar(copies: &[CopyReport]) -> ProgressBar {
    let bar = ProgressBar::new(copies.iter().map(|copy| u64::from(copy.tracks)).sum());
    let style = ProgressStyle::with_template(
        "{wide_bar} {percent:>3} % {human_pos}/{human_len} tracks {eta_precise}",
    )
    .expect("a constant template is valid");
    bar.set_style(style);
    bar
}

#[cfg(test)]
mod tests {
    use super::*;
    use flashtrack_engine::pace::Pace;

    fn copy(id: u32, ended: Option<EndReason>) -> CopyReport {
        CopyReport {
            id,
            source: "s".to_owned(),
            target: "t".to_owned(),
            source_track: 0,
            target_track: 0,
            tracks: 10,
            mode: CopyMode::Copy,
            pace: Pace::default(),
            state: CopyState::FCopy,
            incremental: false,
            whole: false,
            write_inhibited: false,
            changed_tracks: 0,
            space_efficient: false,
            tracks_left: 5,
            established_at: u64::from(id),
            moment: 1,
            durable: true,
            ended,
        }
    }

    #[test]
    fn those_that_live_are_waited_for_else_the_last_that_ended() {
        let ended = Some(EndReason::Completed);
        let ids = |copies| choose(copies).iter().map(|copy| copy.id).collect::<Vec<_>>();

        assert_eq!(ids(vec![copy(1, ended), copy(2, None), copy(3, None)]), [2, 3]);
        assert_eq!(ids(vec![copy(1, ended), copy(2, ended)]), [2]);
        assert_eq!(ids(vec![]), [] as [u32; 0]);
    }

    #[test]
    fn one_that_was_withdrawn_or_failed_ends_the_wait_at_once() {
        let completed = || copy(1, Some(EndReason::Completed));
        let mut failed = copy(2, None);
        failed.state = CopyState::Failed;

        assert_eq!(judge(&[completed()]).expect("complete"), Verdict::AllComplete);
        assert_eq!(judge(&[completed(), copy(2, None)]).expect("goes on"), Verdict::SomeLeft);
        assert!(judge(&[copy(1, None), copy(2, Some(EndReason::Withdrawn))]).is_err());
        assert!(judge(&[completed(), failed]).is_err());
    }

    #[test]
    fn one_that_ends_by_itself_is_waited_for_until_it_has_ended() {
        let mut copied = copy(1, None);
        (copied.state, copied.tracks_left) = (CopyState::Complete, 0);
        assert_eq!(judge(&[copied.clone()]).expect("goes on"), Verdict::SomeLeft);

        copied.mode = CopyMode::Nocopy;
        assert_eq!(judge(&[copied]).expect("complete"), Verdict::AllComplete);
    }

    #[test]
    fn an_incremental_one_is_complete_although_it_stays() {
        let mut complete = copy(1, None);
        complete.incremental = true;
        assert_eq!(judge(&[complete.clone()]).expect("goes on"), Verdict::SomeLeft);

        complete.tracks_left = 0;
        assert_eq!(judge(&[complete.clone()]).expect("complete"), Verdict::AllComplete);

        complete.mode = CopyMode::Nocopy;
        assert!(refuse_endless(&[complete]).is_ok());
    }
}

//! Verbs of `copy`.

use comfy_table::Table;
use flashtrack_engine::admin::{
    Command, CopyMode, CopyReport, CopyState, EndReason, EstablishAction, EstablishSpec, Freeze,
    Incremental, OnlineTarget, PairSpec, Report, WithdrawSpec,
};
use flashtrack_engine::pace::Pace;
use flashtrack_engine::units::RelationshipId;

use super::wait;
use crate::cli::{CopyAgain, CopyEstablish, CopyFastReverse, CopyPairs, CopyVerb, CopyWithdraw};
use crate::client::Client;
use crate::failure::Failure;
use crate::output::{Mood, Output, percent, state, table, time};

/// Carries out one verb.
pub(crate) async fn run(verb: CopyVerb, client: &Client, output: Output) -> Result<(), Failure> {
    let command = match verb {
        CopyVerb::Establish(options) => Command::CopyEstablish(establish(options)),
        CopyVerb::Refresh(options) => {
            Command::CopyEstablish(again(options, EstablishAction::Refresh))
        }
        CopyVerb::Reverse(options) => {
            Command::CopyEstablish(again(options, EstablishAction::Reverse))
        }
        CopyVerb::FastReverse(options) => Command::CopyEstablish(fast_reverse(options)),
        CopyVerb::List { volume } => Command::CopyList { volume },
        CopyVerb::Wait(options) => {
            let ended = wait::run(options, client).await?;
            return output.list(&ended, listing);
        }
        CopyVerb::Convert { source } => {
            let command = Command::CopyConvert { source };
            return any_of(client, &command, output, "nothing to convert").await;
        }
        CopyVerb::Withdraw(options) => {
            let command = Command::CopyWithdraw(withdraw(options));
            return any_of(client, &command, output, "nothing to withdraw").await;
        }
    };
    let copies = copies(client, &command).await?;
    output.list(&copies, listing)
}

/// The relationships that the server reports for `command`.
pub(crate) async fn copies(client: &Client, command: &Command) -> Result<Vec<CopyReport>, Failure> {
    match client.command(command).await? {
        Report::Copies(copies) => Ok(copies),
        _ => Err(client.unexpected()),
    }
}

/// Carries out a command that may find nothing to do, which is no failure; `nothing` says so.
async fn any_of(
    client: &Client,
    command: &Command,
    output: Output,
    nothing: &str,
) -> Result<(), Failure> {
    let copies = match client.command(command).await? {
        Report::Copies(copies) => copies,
        Report::Done => Vec::new(),
        _ => return Err(client.unexpected()),
    };
    if copies.is_empty() && output == Output::Text {
        return output.done(nothing);
    }
    output.list(&copies, listing)
}

fn establish(options: CopyEstablish) -> EstablishSpec {
    let mut pairs = pairs(options.pairs);
    if let Some(first) = pairs.first_mut() {
        first.extents = options.extents;
    }
    let recording = options.recording;
    EstablishSpec {
        pairs,
        mode: copy_mode(options.new.nocopy),
        pace: options.new.pace,
        space_efficient: options.new.space_efficient,
        incremental: match (recording.incremental, recording.target_writable) {
            (false, _) => Incremental::No,
            (true, false) => Incremental::Yes,
            (true, true) => Incremental::TargetWritable,
        },
        action: EstablishAction::Establish,
        freeze: freeze(options.moment.freeze),
        online_target: if options.moment.refuse_online {
            OnlineTarget::Refused
        } else {
            OnlineTarget::Allowed
        },
    }
}

/// A refresh or reversal of incremental pairs. They go on to be incremental unless it is the last one.
fn again(options: CopyAgain, action: EstablishAction) -> EstablishSpec {
    EstablishSpec {
        pairs: pairs(options.pairs),
        mode: copy_mode(options.nocopy),
        incremental: match (options.last, options.target_writable) {
            (true, _) => Incremental::Last,
            (false, true) => Incremental::TargetWritable,
            (false, false) => Incremental::Yes,
        },
        action,
        ..EstablishSpec::default()
    }
}

fn fast_reverse(options: CopyFastReverse) -> EstablishSpec {
    EstablishSpec {
        pairs: pairs(options.pairs),
        mode: copy_mode(options.nocopy),
        incremental: match (options.last, options.incremental) {
            (true, _) => Incremental::Last,
            (false, true) => Incremental::Yes,
            (false, false) => Incremental::No,
        },
        action: EstablishAction::FastReverse,
        ..EstablishSpec::default()
    }
}

fn pairs(named: CopyPairs) -> Vec<PairSpec> {
    let whole = |source, target| PairSpec { source, target, extents: Vec::new() };
    let more = named.more.into_iter().map(|pair| whole(pair.source, pair.target));
    std::iter::once(whole(named.source, named.target)).chain(more).collect()
}

pub(super) fn copy_mode(nocopy: bool) -> CopyMode {
    if nocopy { CopyMode::Nocopy } else { CopyMode::Copy }
}

pub(super) fn freeze(wanted: bool) -> Freeze {
    if wanted { Freeze::HoldWrites } else { Freeze::No }
}

fn withdraw(options: CopyWithdraw) -> WithdrawSpec {
    WithdrawSpec {
        id: options.id.map(RelationshipId),
        source: options.source,
        target: options.target,
        extents: options.extents,
        ddsw: options.ddsw,
    }
}

pub(super) fn listing(copies: &[CopyReport]) -> Table {
    let mut listing = table(&[
        ">ID",
        "SOURCE",
        "TARGET",
        ">SOURCE TRACK",
        ">TARGET TRACK",
        ">TRACKS",
        "MODE",
        "INCREMENTAL",
        ">CHANGED",
        ">LEFT",
        ">COPIED %",
        "DURABLE",
        "ESTABLISHED",
        "STATE",
    ]);
    for copy in copies {
        let done = copy.tracks.saturating_sub(copy.tracks_left);
        listing.add_row(vec![
            copy.id.into(),
            copy.source.as_str().into(),
            copy.target.as_str().into(),
            copy.source_track.into(),
            copy.target_track.into(),
            copy.tracks.into(),
            mode(copy).into(),
            recording(copy).into(),
            changed(copy).into(),
            copy.tracks_left.into(),
            percent(done.into(), copy.tracks.into()).into(),
            if copy.durable { "yes" } else { "not yet" }.into(),
            time(copy.established_at).into(),
            how_it_stands(copy),
        ]);
    }
    listing
}

fn mode(copy: &CopyReport) -> String {
    match (copy.mode, copy.pace) {
        (CopyMode::Nocopy, _) => "nocopy".to_owned(),
        (CopyMode::Copy, Pace::Medium) => "copy".to_owned(),
        (CopyMode::Copy, pace) => format!("copy, {pace}"),
    }
}

fn recording(copy: &CopyReport) -> &'static str {
    match (copy.incremental, copy.write_inhibited) {
        (false, _) => "-",
        (true, false) => "yes",
        (true, true) => "yes, target read-only",
    }
}

/// What a refresh would copy; unknown where nothing is recorded.
fn changed(copy: &CopyReport) -> String {
    if copy.incremental { copy.changed_tracks.to_string() } else { "-".to_owned() }
}

fn how_it_stands(copy: &CopyReport) -> comfy_table::Cell {
    match (copy.ended, copy.state) {
        (Some(EndReason::Completed), _) => state("completed", Mood::Past),
        (Some(EndReason::Withdrawn), _) => state("withdrawn", Mood::Past),
        (None, CopyState::FCopy) => state("f-copy", Mood::Good),
        (None, CopyState::Complete) => state("complete", Mood::Good),
        (None, CopyState::Failed) => state("failed", Mood::Bad),
        (None, CopyState::Suspended) => state("suspended", Mood::Bad),
    }
}

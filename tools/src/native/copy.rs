//! Verbs of `copy`.

use comfy_table::Table;
use flashtrack_engine::admin::{
    Command, CopyMode, CopyReport, CopySelector, CopyState, EndReason, EstablishSpec, PairSpec,
    Report,
};
use flashtrack_engine::units::RelationshipId;

use super::wait;
use crate::cli::{CopyEstablish, CopyVerb, CopyWithdraw};
use crate::client::Client;
use crate::failure::Failure;
use crate::output::{Mood, Output, percent, state, table, time};

/// Carries out one verb.
pub(crate) async fn run(verb: CopyVerb, client: &Client, output: Output) -> Result<(), Failure> {
    match verb {
        CopyVerb::Establish(options) => {
            let copies = copies(client, &establish(options)).await?;
            output.list(&copies, listing)
        }
        CopyVerb::List { volume } => {
            let copies = copies(client, &Command::CopyList { volume }).await?;
            output.list(&copies, listing)
        }
        CopyVerb::Wait(options) => {
            let ended = wait::run(options, client).await?;
            output.list(&ended, listing)
        }
        CopyVerb::Withdraw(options) => withdraw(options, client, output).await,
    }
}

/// The relationships that the server reports for `command`.
pub(super) async fn copies(client: &Client, command: &Command) -> Result<Vec<CopyReport>, Failure> {
    match client.command(command).await? {
        Report::Copies(copies) => Ok(copies),
        _ => Err(client.unexpected()),
    }
}

fn establish(options: CopyEstablish) -> Command {
    Command::CopyEstablish(EstablishSpec {
        pairs: vec![PairSpec {
            source: options.source,
            target: options.target,
            extents: options.extents,
        }],
        mode: if options.nocopy { CopyMode::Nocopy } else { CopyMode::Copy },
        space_efficient: options.space_efficient,
        ..EstablishSpec::default()
    })
}

async fn withdraw(options: CopyWithdraw, client: &Client, output: Output) -> Result<(), Failure> {
    let selector = match (options.id, options.source, options.target) {
        (Some(id), _, _) => CopySelector::Id(RelationshipId(id)),
        (_, Some(source), _) => CopySelector::Source(source),
        (_, _, Some(target)) => CopySelector::Target(target),
        (None, None, None) => {
            return Err(Failure::Usage("name a relationship, a source or a target".to_owned()));
        }
    };
    let copies = match client.command(&Command::CopyWithdraw(selector.into())).await? {
        Report::Copies(copies) => copies,
        Report::Done => Vec::new(),
        _ => return Err(client.unexpected()),
    };
    if copies.is_empty() && output == Output::Text {
        return output.done("nothing to withdraw");
    }
    output.list(&copies, listing)
}

fn listing(copies: &[CopyReport]) -> Table {
    let mut listing = table(&[
        ">ID",
        "SOURCE",
        "TARGET",
        ">SOURCE TRACK",
        ">TARGET TRACK",
        ">TRACKS",
        "MODE",
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
            mode(copy.mode).into(),
            copy.tracks_left.into(),
            percent(done.into(), copy.tracks.into()).into(),
            if copy.durable { "yes" } else { "not yet" }.into(),
            time(copy.established_at).into(),
            how_it_stands(copy),
        ]);
    }
    listing
}

fn mode(mode: CopyMode) -> &'static str {
    match mode {
        CopyMode::Copy => "copy",
        CopyMode::Nocopy => "nocopy",
    }
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

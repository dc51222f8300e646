//! Which image a volume shows: the relationships onto it, whether they still stand, and what differs from an earlier one.
//!
//! The tracks that changed between an earlier dump and this image are known from the change bitmaps of the relationship
//! that the earlier dump was made of, the anchor: they hold every change on either side since its moment. They are asked
//! for when this image exists already, so what they tell covers every difference, and perhaps later changes. Therefore
//! the anchor must not have been refreshed since, and this image must be of the same source, at that moment or later.

use std::ops::Range;
use std::path::Path;

use flashtrack_engine::admin::{
    ChangesReport, Command, CopyReport, CopySelector, CopyState, EndReason, RefusalKind, Report,
    TrackRun, VolumeReport,
};
use flashtrack_engine::units::RelationshipId;

use super::error::DumpError;
use super::format::{CopyOf, Header};
use crate::client::Client;
use crate::failure::Failure;
use crate::native::copy::copies;
use crate::native::volume;

/// A volume and what makes its image.
#[derive(Clone, Debug)]
pub(super) struct Image {
    pub(super) volume: VolumeReport,
    pub(super) copies: Vec<CopyOf>,
}

/// Looks at a volume.
pub(super) async fn look(client: &Client, name: &str) -> Result<Image, Failure> {
    let volume = volume::named(client, name).await?;
    let command = Command::CopyShow(CopySelector::Target(name.to_owned()));
    let mut onto = Vec::new();
    for report in copies(client, &command).await?.into_iter().filter(|copy| copy.ended.is_none()) {
        if matches!(report.state, CopyState::Failed | CopyState::Suspended) {
            return Err(lost(name, &report, "has failed"));
        }
        let changes = changes(client, report.id, 0).await?;
        onto.push(CopyOf {
            id: report.id,
            source: report.source.clone(),
            moment: changes.moment,
            established_at: report.established_at,
            whole: (report.source_track, report.target_track, report.tracks)
                == (0, 0, volume.tracks),
        });
    }
    Ok(Image { volume, copies: onto })
}

/// Fails when the image was not the same all the time since `look`: then what was read is worth nothing.
pub(super) async fn check_it_stands(client: &Client, image: &Image) -> Result<(), Failure> {
    for copy in &image.copies {
        let command = Command::CopyShow(CopySelector::Id(RelationshipId(copy.id)));
        let reports = copies(client, &command).await?;
        let report = reports.first().ok_or_else(|| client.unexpected())?;
        let name = &image.volume.name;
        match (report.ended, report.state) {
            (Some(EndReason::Completed), _) => continue,
            (Some(EndReason::Withdrawn), _) => return Err(lost(name, report, "was withdrawn")),
            (None, CopyState::Failed | CopyState::Suspended) => {
                return Err(lost(name, report, "has failed"));
            }
            (None, CopyState::FCopy | CopyState::Complete) => {}
        }
        match changes(client, copy.id, 0).await {
            Ok(now) if now.moment == copy.moment => {}
            Ok(_) => return Err(lost(name, report, "was refreshed or reversed")),
            // Between the two questions it has completed.
            Err(Failure::Refused(refusal)) if refusal.kind == RefusalKind::NotFound => {}
            Err(other) => return Err(other),
        }
    }
    Ok(())
}

fn lost(volume: &str, report: &CopyReport, what: &str) -> Failure {
    let why = format!("relationship {} from {} {what}", report.id, report.source);
    DumpError::ImageLost { volume: volume.to_owned(), why }.into()
}

async fn changes(client: &Client, id: u32, from_track: u32) -> Result<ChangesReport, Failure> {
    let command = Command::CopyChanges { id: RelationshipId(id), from_track };
    match client.command(&command).await? {
        Report::Changes(changes) => Ok(changes),
        _ => Err(client.unexpected()),
    }
}

/// The bytes of `image` that may differ from the dump of header `base`, which is in the file `path`.
pub(super) async fn differences(
    client: &Client,
    image: &Image,
    base: &Header,
    path: &Path,
) -> Result<Vec<Range<u64>>, Failure> {
    let refused = |why: String| DumpError::NotSince { path: path.to_owned(), why };
    let anchor = anchor(image, base).map_err(refused)?;
    let mut runs: Vec<TrackRun> = Vec::new();
    let mut from_track = 0;
    loop {
        let told =
            changes(client, anchor.id, from_track).await.map_err(|failure| match failure {
                Failure::Refused(refusal) if refusal.kind == RefusalKind::NotFound => {
                    refused(refusal.message).into()
                }
                other => other,
            })?;
        if !told.recorded {
            let why = format!("relationship {} is not incremental", anchor.id);
            return Err(refused(why).into());
        }
        if told.moment != anchor.moment {
            let why = format!("relationship {} was refreshed or reversed since", anchor.id);
            return Err(refused(why).into());
        }
        runs.extend(told.runs);
        match told.next_track {
            None => break,
            Some(next) if next > from_track => from_track = next,
            Some(_) => return Err(client.unexpected()),
        }
    }
    Ok(ranges(&runs, image.volume.track_bytes, image.volume.size_bytes))
}

/// The relationship of the earlier dump, when its changes tell how `image` differs.
fn anchor<'a>(image: &Image, base: &'a Header) -> Result<&'a CopyOf, String> {
    let [anchor] = base.copies.as_slice() else {
        return Err(format!("it is of a volume with {} relationships", base.copies.len()));
    };
    let [now] = image.copies.as_slice() else {
        let count = image.copies.len();
        return Err(format!("volume {} is the target of {count} relationships", image.volume.name));
    };
    if base.size_bytes != image.volume.size_bytes || base.track_bytes != image.volume.track_bytes {
        return Err(format!(
            "it is of {} bytes in tracks of {}, volume {} has {} in tracks of {}",
            base.size_bytes,
            base.track_bytes,
            image.volume.name,
            image.volume.size_bytes,
            image.volume.track_bytes
        ));
    }
    if now.source != anchor.source {
        return Err(format!("it is a copy of {}, not of {}", anchor.source, now.source));
    }
    if !now.whole || !anchor.whole {
        return Err("one of the two copies is not of a whole volume".to_owned());
    }
    if now.moment < anchor.moment {
        return Err(format!("relationship {} is older than relationship {}", now.id, anchor.id));
    }
    Ok(anchor)
}

/// Runs of tracks in bytes, neighbours merged.
fn ranges(runs: &[TrackRun], track_bytes: u32, size_bytes: u64) -> Vec<Range<u64>> {
    let mut ranges: Vec<Range<u64>> = Vec::new();
    let bytes = |tracks: u64| (tracks * u64::from(track_bytes)).min(size_bytes);
    for run in runs {
        let first = u64::from(run.first);
        let range = bytes(first)..bytes(first + u64::from(run.count));
        match ranges.last_mut() {
            Some(last) if last.end >= range.start => last.end = last.end.max(range.end),
            _ if range.is_empty() => {}
            _ => ranges.push(range),
        }
    }
    ranges
}

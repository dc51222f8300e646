//! FLASHCPY QUERY RELATIONS: each relationship of a device, with BCE, BCP and the tracks yet to be copied.

use flashtrack_engine::admin::CopyReport;

use super::Device;
use crate::host::control::{Control, Stop, Volumes};
use crate::host::extents::cchh;
use crate::host::messages::Message;
use crate::host::relations::{background_copy_enabled, background_copy_in_progress, state};
use crate::output::table;

/// Carries it out.
pub(super) async fn run(
    device: &Device,
    control: Control<'_>,
    messages: &mut Vec<Message>,
) -> Result<(), Stop> {
    let volumes = control.volumes().await?;
    let volume = device.resolve(&volumes)?;
    let mut copies = control.related(&volume.name).await?;
    copies.sort_by_key(|copy| (copy.source_track, copy.id));
    let text = if copies.is_empty() {
        format!("DEVICE {} IS IN NO FLASHCOPY RELATIONSHIP", volume.device)
    } else {
        format!("FLASHCOPY RELATIONS OF DEVICE {}\n{}", volume.device, listed(&copies, &volumes))
    };
    messages.push(Message::info("ICK39005I", text));
    Ok(())
}

fn listed(copies: &[CopyReport], volumes: &Volumes) -> String {
    let mut listing = table(&[
        "SOURCE",
        "START",
        "TARGET",
        "START",
        ">#TRACKS",
        "STATE",
        "BCE",
        "BCP",
        "CHRCD",
        "TWI",
        "SE",
        ">#TRACKS YET TO BE COPIED",
    ]);
    let device = |name: &str| {
        volumes.by_name(name).map_or_else(|| name.to_owned(), |known| known.device.clone())
    };
    for copy in copies {
        listing.add_row(vec![
            device(&copy.source),
            cchh(copy.source_track),
            device(&copy.target),
            cchh(copy.target_track),
            copy.tracks.to_string(),
            state(copy).to_owned(),
            true_false(background_copy_enabled(copy)).to_owned(),
            true_false(background_copy_in_progress(copy)).to_owned(),
            true_false(copy.incremental).to_owned(),
            true_false(copy.write_inhibited).to_owned(),
            true_false(copy.space_efficient).to_owned(),
            copy.tracks_left.to_string(),
        ]);
    }
    listing.trim_fmt()
}

fn true_false(value: bool) -> &'static str {
    if value { "T" } else { "F" }
}

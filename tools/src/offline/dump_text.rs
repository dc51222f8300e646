//! The dump of a store as headed sections of names, values and tables.

use comfy_table::Table;
use flashtrack_engine::admin::{CopyMode, EndReason};

use super::dump::{
    Checkpoint, Copy, Dump, Ended, Frames, Header, Interval, Journal, Metadata, Pool, Volume,
};
use crate::output::{details, exact_size, size, table, time};

/// Headed sections, for people and for `diff`.
pub(super) fn text(dump: &Dump) -> String {
    let mut sections = vec![
        section("store", &header_text(&dump.header)),
        section("checkpoint", &checkpoint_text(&dump.checkpoint)),
        section("journal", &journal_text(&dump.journal)),
    ];
    if let Some(metadata) = &dump.metadata {
        sections.extend(metadata_text(metadata));
    }
    if !dump.findings.is_empty() {
        sections.push(section("findings", &dump.findings.join("\n")));
    }
    if let Some(refusal) = &dump.refusal {
        sections.push(section("an opening would be refused", refusal));
    }
    sections.join("\n\n")
}

fn section(name: &str, content: &str) -> String {
    let indented = content.lines().map(|line| format!("  {line}"));
    std::iter::once(format!("{name}:")).chain(indented).collect::<Vec<_>>().join("\n")
}

fn header_text(header: &Header) -> String {
    details(&[
        ("uuid", header.uuid.clone()),
        ("format version", header.format_version.to_string()),
        ("owner", header.owner.to_string()),
        ("epoch", header.epoch.to_string()),
        ("generation", header.generation.to_string()),
        ("journal segment", exact_size(u64::from(header.segment_bytes))),
        ("journal capacity", format!("{} segments", header.capacity_segments)),
    ])
}

fn checkpoint_text(checkpoint: &Checkpoint) -> String {
    details(&[
        ("slot", checkpoint.slot.to_string()),
        ("generation", checkpoint.generation.to_string()),
        ("epoch", checkpoint.epoch.to_string()),
        ("last frame", checkpoint.last_frame.to_string()),
        ("replay from position", checkpoint.replay_from.to_string()),
        ("keep from position", checkpoint.keep_from.to_string()),
        ("metadata", format!("{} bytes", checkpoint.payload_bytes)),
    ])
}

fn journal_text(journal: &Journal) -> String {
    let Frames { records, data, zeroes, watermarks } = &journal.frames;
    let facts = details(&[
        (
            "frames since the checkpoint",
            format!(
                "{records} records, {data} of data, {zeroes} of zeroes, {watermarks} watermarks"
            ),
        ),
        ("last frame", journal.last_frame.to_string()),
        ("ends at position", format!("{} ({})", journal.end, journal.ends_because)),
        ("known synced through", journal.synced_through.to_string()),
    ]);
    let mut segments = table(&[">SEGMENT", ">SLOT", ">EPOCH", ">AFTER", "COUNTS"]);
    for segment in &journal.segments {
        segments.add_row([
            segment.number.to_string(),
            segment.slot.to_string(),
            segment.epoch.to_string(),
            segment.after.to_string(),
            yes_or_no(segment.counts),
        ]);
    }
    format!("{facts}\n{}", segments.trim_fmt())
}

fn yes_or_no(yes: bool) -> String {
    if yes { "yes" } else { "no" }.to_owned()
}

fn metadata_text(metadata: &Metadata) -> Vec<String> {
    let staged = details(&[
        ("released through frame", metadata.released_through.to_string()),
        ("staged blocks", metadata.staged_blocks.to_string()),
        ("staged bytes", exact_size(metadata.staged_bytes)),
    ]);
    vec![
        section("staged writes", &staged),
        section("pools", &pools_table(&metadata.pools).trim_fmt()),
        section("volumes", &volumes_table(&metadata.volumes).trim_fmt()),
        section("relationships", &copies_table(&metadata.relationships).trim_fmt()),
        section("preserved, by moment", &intervals_table(&metadata.intervals).trim_fmt()),
        section("ended relationships", &ended_table(&metadata.ended).trim_fmt()),
    ]
}

fn pools_table(pools: &[Pool]) -> Table {
    let mut rows = table(&[">ID", "NAME", ">SLOTS", ">USED", ">PRESERVED"]);
    for pool in pools {
        rows.add_row([
            pool.id.to_string(),
            pool.name.clone(),
            pool.slots.to_string(),
            pool.used.to_string(),
            pool.preserved.to_string(),
        ]);
    }
    rows
}

fn volumes_table(volumes: &[Volume]) -> Table {
    let mut rows =
        table(&[">ID", "NAME", "DEVICE", "TYPE", ">SIZE", ">TRACKS", "POOL", ">OWN BLOCKS"]);
    for volume in volumes {
        rows.add_row([
            volume.id.to_string(),
            volume.name.clone(),
            volume.device.clone(),
            volume.device_type.to_string(),
            size(volume.size_bytes),
            volume.tracks.to_string(),
            volume.pool.clone().unwrap_or_else(|| "-".to_owned()),
            volume.own_blocks.map_or_else(|| "-".to_owned(), |blocks| blocks.to_string()),
        ]);
    }
    rows
}

fn copies_table(copies: &[Copy]) -> Table {
    let headers = [">ID", "SOURCE", "TARGET", ">FROM", ">TO", ">TRACKS", ">LEFT", "MODE", "STATE"];
    let mut rows = table(&[&headers[..], &[">T0", "ESTABLISHED"]].concat());
    for copy in copies {
        let mode = match copy.mode {
            CopyMode::Copy => "copy",
            CopyMode::Nocopy => "nocopy",
        };
        rows.add_row([
            copy.id.to_string(),
            copy.source.clone(),
            copy.target.clone(),
            copy.source_track.to_string(),
            copy.target_track.to_string(),
            copy.tracks.to_string(),
            copy.tracks_left.to_string(),
            mode.to_owned(),
            copy.health.to_owned(),
            copy.t0.to_string(),
            time(copy.established_at),
        ]);
    }
    rows
}

fn intervals_table(intervals: &[Interval]) -> Table {
    let mut rows = table(&["SOURCE", "POOL", ">T0", ">COPIES", ">PRESERVED BLOCKS"]);
    for interval in intervals {
        rows.add_row([
            interval.source.clone(),
            interval.pool.clone(),
            interval.t0.to_string(),
            interval.copies.to_string(),
            interval.preserved.to_string(),
        ]);
    }
    rows
}

fn ended_table(ended: &[Ended]) -> Table {
    let mut rows = table(&[">ID", "SOURCE", "TARGET", ">LEFT", "REASON"]);
    for ended in ended {
        let reason = match ended.reason {
            EndReason::Completed => "completed",
            EndReason::Withdrawn => "withdrawn",
        };
        rows.add_row([
            ended.id.to_string(),
            ended.source.clone(),
            ended.target.clone(),
            ended.tracks_left.to_string(),
            reason.to_owned(),
        ]);
    }
    rows
}

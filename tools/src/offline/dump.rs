//! `store dump`: the metadata of a store as an opening would find it, the same for the same store.
//!
//! What lies where in pools is left out, and so is the secret that seeds checksums (rule O10).

use std::path::Path;

use comfy_table::Table;
use flashtrack_engine::Examination;
use flashtrack_engine::admin::{CopyMode, EndReason};
use flashtrack_engine::geometry::VolumeType;
use flashtrack_engine::journal::{FrameContent, Inspection};
use flashtrack_engine::state::{Backing, Health, Relationship, State};
use flashtrack_engine::store::FORMAT_VERSION;
use serde::Serialize;

use super::look_at;
use crate::failure::Failure;
use crate::output::{Output, details, exact_size, size, table, time};

/// Everything that is written out.
#[derive(Debug, Serialize)]
struct Dump {
    header: Header,
    checkpoint: Checkpoint,
    journal: Journal,
    /// None when an opening would be refused.
    metadata: Option<Metadata>,
    findings: Vec<String>,
    refusal: Option<String>,
}

#[derive(Debug, Serialize)]
struct Header {
    uuid: String,
    format_version: u32,
    owner: u64,
    epoch: u64,
    generation: u64,
    segment_bytes: u32,
    capacity_segments: u32,
}

#[derive(Debug, Serialize)]
struct Checkpoint {
    slot: u8,
    generation: u64,
    epoch: u64,
    last_frame: u64,
    replay_from: u64,
    keep_from: u64,
    payload_bytes: usize,
}

#[derive(Debug, Serialize)]
struct Journal {
    segments: Vec<Segment>,
    /// Frames after the checkpoint.
    frames: Frames,
    end: u64,
    last_frame: u64,
    ends_because: String,
    synced_through: u64,
}

#[derive(Debug, Serialize)]
struct Segment {
    number: u64,
    slot: u32,
    epoch: u64,
    after: u64,
    /// False when a younger segment has made all of it void.
    counts: bool,
}

#[derive(Debug, Default, Serialize)]
struct Frames {
    records: u64,
    data: u64,
    zeroes: u64,
    watermarks: u64,
}

#[derive(Debug, Serialize)]
struct Metadata {
    pools: Vec<Pool>,
    volumes: Vec<Volume>,
    relationships: Vec<Copy>,
    intervals: Vec<Interval>,
    ended: Vec<Ended>,
    released_through: u64,
    staged_blocks: u64,
    staged_bytes: u64,
}

#[derive(Debug, Serialize)]
struct Pool {
    id: u32,
    name: String,
    slots: u32,
    used: u32,
    preserved: u64,
}

#[derive(Debug, Serialize)]
struct Volume {
    id: u32,
    name: String,
    device: String,
    #[serde(rename = "type")]
    volume_type: VolumeType,
    size_bytes: u64,
    tracks: u32,
    pool: Option<String>,
    /// Blocks in slots of its own; none for a full volume.
    own_blocks: Option<u64>,
}

#[derive(Debug, Serialize)]
struct Copy {
    id: u32,
    source: String,
    target: String,
    source_track: u32,
    target_track: u32,
    tracks: u32,
    mode: CopyMode,
    space_efficient: bool,
    health: &'static str,
    t0: u64,
    established_at: u64,
    tracks_left: u32,
}

/// What a source has preserved in a pool from one moment on, until the next.
#[derive(Debug, Serialize)]
struct Interval {
    source: String,
    pool: String,
    t0: u64,
    copies: u32,
    preserved: u64,
}

#[derive(Debug, Serialize)]
struct Ended {
    id: u32,
    source: String,
    target: String,
    reason: EndReason,
    tracks_left: u32,
}

/// Carries out the verb.
pub(crate) fn run(path: &Path, output: Output) -> Result<(), Failure> {
    let dump = Dump::from(look_at(path, false)?);
    output.object(&dump, text)?;
    match dump.refusal {
        Some(reason) => Err(Failure::StoreDamaged { path: path.to_owned(), reason }),
        None => Ok(()),
    }
}

impl From<Examination> for Dump {
    fn from(found: Examination) -> Self {
        let Inspection { header, checkpoint, .. } = &found.inspection;
        let metadata = found.state.as_ref().map(|state| Metadata {
            staged_blocks: found.staged_versions,
            staged_bytes: found.staged_bytes,
            ..metadata(state)
        });
        Self {
            header: Header {
                uuid: header.uuid.to_string(),
                format_version: FORMAT_VERSION,
                owner: header.owner,
                epoch: header.epoch,
                generation: header.generation,
                segment_bytes: header.segment_bytes,
                capacity_segments: header.capacity_segments,
            },
            checkpoint: Checkpoint {
                slot: checkpoint.slot,
                generation: checkpoint.generation,
                epoch: checkpoint.opening,
                last_frame: checkpoint.seq.0,
                replay_from: checkpoint.replay_from.0,
                keep_from: checkpoint.keep_from.0,
                payload_bytes: checkpoint.payload.len(),
            },
            journal: journal(&found.inspection),
            metadata,
            findings: found.findings,
            refusal: found.refusal,
        }
    }
}

fn journal(inspection: &Inspection) -> Journal {
    let mut frames = Frames::default();
    for frame in &inspection.frames {
        *match frame.content {
            FrameContent::Record(_) => &mut frames.records,
            FrameContent::Data { .. } => &mut frames.data,
            FrameContent::Zeroes { .. } => &mut frames.zeroes,
            FrameContent::Watermark => &mut frames.watermarks,
        } += 1;
    }
    let segments = inspection.segments.iter().map(|segment| Segment {
        number: segment.number,
        slot: segment.slot,
        epoch: segment.opening,
        after: segment.after.0,
        counts: segment.counts,
    });
    let (end, fault) = &inspection.end;
    Journal {
        segments: segments.collect(),
        frames,
        end: end.position.0,
        last_frame: end.seq.0,
        ends_because: fault.to_string(),
        synced_through: inspection.synced_through.0,
    }
}

fn metadata(state: &State) -> Metadata {
    let pools = state.pools.iter().map(|(id, pool)| Pool {
        id: id.0,
        name: pool.name.clone(),
        slots: pool.slots,
        used: pool.allocator.used(),
        preserved: pool.chains.values().map(|chain| chain.kept_len()).sum(),
    });
    let ended = state.ended.iter().map(|ended| Ended {
        id: ended.relationship.pair.id.0,
        source: ended.source.clone(),
        target: ended.target.clone(),
        reason: ended.reason,
        tracks_left: ended.tracks_left,
    });
    Metadata {
        pools: pools.collect(),
        volumes: volumes(state),
        relationships: state.relationships.values().map(|known| copy(state, known)).collect(),
        intervals: intervals(state),
        ended: ended.collect(),
        released_through: state.released.0,
        staged_blocks: 0,
        staged_bytes: 0,
    }
}

fn volumes(state: &State) -> Vec<Volume> {
    let pool_name = |volume: &flashtrack_engine::state::Volume| {
        volume.pool().and_then(|id| state.pools.get(&id)).map(|pool| pool.name.clone())
    };
    let volumes = state.volumes.iter().map(|(id, volume)| Volume {
        id: id.0,
        name: volume.name.clone(),
        device: format!("{:04X}", volume.device),
        volume_type: volume.geometry.volume_type,
        size_bytes: volume.geometry.size_bytes(),
        tracks: volume.geometry.tracks,
        pool: pool_name(volume),
        own_blocks: match &volume.backing {
            Backing::Home => None,
            Backing::Thin(thin) => Some(thin.slots.len()),
        },
    });
    volumes.collect()
}

fn volume_name(state: &State, id: flashtrack_engine::units::VolumeId) -> String {
    state.volumes.get(&id).map(|volume| volume.name.clone()).unwrap_or_default()
}

fn copy(state: &State, known: &Relationship) -> Copy {
    let pair = known.pair;
    Copy {
        id: pair.id.0,
        source: volume_name(state, pair.source),
        target: volume_name(state, pair.target),
        source_track: pair.source_track,
        target_track: pair.target_track,
        tracks: pair.tracks,
        mode: pair.mode,
        space_efficient: known.pool.is_some(),
        health: match known.health {
            Health::Good => "good",
            Health::Failing | Health::Failed => "failed",
        },
        t0: known.t0.0,
        established_at: known.established_at,
        tracks_left: state.tracks_left(known),
    }
}

fn intervals(state: &State) -> Vec<Interval> {
    let mut all = Vec::new();
    for pool in state.pools.values() {
        for (&source, chain) in &pool.chains {
            all.extend(chain.intervals().iter().map(|interval| Interval {
                source: volume_name(state, source),
                pool: pool.name.clone(),
                t0: interval.t0().0,
                copies: interval.sharers(),
                preserved: interval.kept().len(),
            }));
        }
    }
    all
}

/// Headed sections, for people and for `diff`.
fn text(dump: &Dump) -> String {
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
            volume.volume_type.to_string(),
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

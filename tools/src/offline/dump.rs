//! `store dump`: the metadata of a store as an opening would find it, the same for the same store.
//!
//! What lies where in pools is left out, and so is the secret that seeds checksums (rule O10).

use std::path::Path;

use flashtrack_engine::Examination;
use flashtrack_engine::admin::{CopyMode, EndReason};
use flashtrack_engine::geometry::VolumeType;
use flashtrack_engine::journal::{FrameContent, Inspection};
use flashtrack_engine::state::{Backing, Health, Relationship, State};
use flashtrack_engine::store::FORMAT_VERSION;
use flashtrack_engine::thin::chain::Chain;
use serde::Serialize;

use super::dump_text::text;
use super::look_at;
use crate::failure::Failure;
use crate::output::Output;

/// Everything that is written out.
#[derive(Debug, Serialize)]
pub(super) struct Dump {
    pub(super) header: Header,
    pub(super) checkpoint: Checkpoint,
    pub(super) journal: Journal,
    /// None when an opening would be refused.
    pub(super) metadata: Option<Metadata>,
    pub(super) findings: Vec<String>,
    pub(super) refusal: Option<String>,
}

/// The header in force.
#[derive(Debug, Serialize)]
pub(super) struct Header {
    pub(super) uuid: String,
    pub(super) format_version: u32,
    pub(super) owner: u64,
    pub(super) epoch: u64,
    pub(super) generation: u64,
    pub(super) segment_bytes: u32,
    pub(super) capacity_segments: u32,
}

/// The checkpoint that an opening would begin with; places are positions of the journal.
#[derive(Debug, Serialize)]
pub(super) struct Checkpoint {
    pub(super) slot: u8,
    pub(super) generation: u64,
    pub(super) epoch: u64,
    pub(super) last_frame: u64,
    pub(super) replay_from: u64,
    pub(super) keep_from: u64,
    pub(super) payload_bytes: usize,
}

/// The journal; places are positions.
#[derive(Debug, Serialize)]
pub(super) struct Journal {
    pub(super) segments: Vec<Segment>,
    /// Frames after the checkpoint.
    pub(super) frames: Frames,
    pub(super) end: u64,
    pub(super) last_frame: u64,
    pub(super) ends_because: String,
    pub(super) synced_through: u64,
}

/// A segment of the journal.
#[derive(Debug, Serialize)]
pub(super) struct Segment {
    pub(super) number: u64,
    pub(super) slot: u32,
    pub(super) epoch: u64,
    pub(super) after: u64,
    /// False when a younger segment has made all of it void.
    pub(super) counts: bool,
}

/// Numbers of frames, by what they hold.
#[derive(Debug, Default, Serialize)]
pub(super) struct Frames {
    pub(super) records: u64,
    pub(super) data: u64,
    pub(super) zeroes: u64,
    pub(super) watermarks: u64,
}

/// Pools, volumes and relationships as the checkpoint and the journal leave them.
#[derive(Debug, Serialize)]
pub(super) struct Metadata {
    pub(super) pools: Vec<Pool>,
    pub(super) volumes: Vec<Volume>,
    pub(super) relationships: Vec<Copy>,
    pub(super) intervals: Vec<Interval>,
    pub(super) ended: Vec<Ended>,
    pub(super) released_through: u64,
    pub(super) staged_blocks: u64,
    pub(super) staged_bytes: u64,
}

/// A pool, in slots of 4 KiB.
#[derive(Debug, Serialize)]
pub(super) struct Pool {
    pub(super) id: u32,
    pub(super) name: String,
    pub(super) slots: u32,
    pub(super) used: u32,
    pub(super) preserved: u64,
}

/// A volume.
#[derive(Debug, Serialize)]
pub(super) struct Volume {
    pub(super) id: u32,
    pub(super) name: String,
    pub(super) device: String,
    #[serde(rename = "type")]
    pub(super) device_type: VolumeType,
    pub(super) size_bytes: u64,
    pub(super) tracks: u32,
    pub(super) pool: Option<String>,
    /// Blocks in slots of its own; none for a full volume.
    pub(super) own_blocks: Option<u64>,
}

/// A relationship that lives.
#[derive(Debug, Serialize)]
pub(super) struct Copy {
    pub(super) id: u32,
    pub(super) source: String,
    pub(super) target: String,
    pub(super) source_track: u32,
    pub(super) target_track: u32,
    pub(super) tracks: u32,
    pub(super) mode: CopyMode,
    pub(super) space_efficient: bool,
    pub(super) health: &'static str,
    pub(super) t0: u64,
    pub(super) established_at: u64,
    pub(super) tracks_left: u32,
}

/// What a source has preserved in a pool from one moment on, until the next.
#[derive(Debug, Serialize)]
pub(super) struct Interval {
    pub(super) source: String,
    pub(super) pool: String,
    pub(super) t0: u64,
    pub(super) copies: u32,
    pub(super) preserved: u64,
}

/// A relationship that ended of late.
#[derive(Debug, Serialize)]
pub(super) struct Ended {
    pub(super) id: u32,
    pub(super) source: String,
    pub(super) target: String,
    pub(super) reason: EndReason,
    pub(super) tracks_left: u32,
}

/// Carries out the verb.
pub(crate) fn run(path: &Path, output: Output) -> Result<(), Failure> {
    let dump = Dump::from(look_at(path)?);
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
        preserved: pool.chains.values().map(Chain::kept_len).sum(),
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
        device_type: volume.geometry.volume_type,
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

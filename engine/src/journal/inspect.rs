//! The offline, read-only look at a store that `flashtrack store check` and `dump` print: the same reading as
//! recovery's, without a single write.

use super::recover::{Judged, judge};
use super::scan::ScannedFrame;
use super::{FrameFault, Mark, Needed, OpenError, verify};
use crate::io::{Object, Storage};
use crate::store::{SectorFault, StoreHeader};
use crate::units::{Position, Seq};

/// The checkpoint that recovery would use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointSummary {
    /// Its slot.
    pub slot: u8,
    /// How many checkpoints were begun before it.
    pub generation: u64,
    /// Number of the opening that wrote it.
    pub opening: u64,
    /// Replay goes on from here.
    pub replay_from: Position,
    /// Journal before this is not needed.
    pub keep_from: Position,
    /// Number of the last frame that it holds.
    pub seq: Seq,
    /// The metadata.
    pub payload: Vec<u8>,
}

/// A segment of the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentSummary {
    /// Its number.
    pub number: u64,
    /// Its slot.
    pub slot: u32,
    /// Number of the opening that wrote it.
    pub opening: u64,
    /// Where the content before it ends.
    pub after: Position,
    /// False when a younger segment has made all of it void.
    pub counts: bool,
}

/// What an inspection found.
#[derive(Debug)]
pub struct Inspection {
    /// The store's header.
    pub header: StoreHeader,
    /// The checkpoint.
    pub checkpoint: CheckpointSummary,
    /// Segments with a whole header, ascending.
    pub segments: Vec<SegmentSummary>,
    /// Frames after the checkpoint, ascending.
    pub frames: Vec<ScannedFrame>,
    /// Where they end, and why.
    pub end: (Mark, FrameFault),
    /// The journal is known to have been synced through here.
    pub synced_through: Position,
    /// Why `recover` would refuse, if so.
    pub refusal: Option<OpenError>,
    /// Damage that recovery gets along with, each in a sentence.
    pub findings: Vec<String>,
}

/// Looks at a store without writing. Unless it must be refused anyway, `needs` says from the checkpoint's payload and
/// the frames after it which staged bytes are still needed; those are verified.
///
/// # Errors
/// When there is nothing to look at: no header, another version, no whole checkpoint, a failure of the storage.
pub fn inspect(
    storage: &mut dyn Storage,
    needs: impl FnOnce(&[u8], &[ScannedFrame]) -> Vec<Needed>,
) -> Result<Inspection, OpenError> {
    let judged = judge(storage)?;
    let findings = findings(storage, &judged)?;
    let frames = judged.scanned_frames();
    let mut refusal = judged.refusal();
    if refusal.is_none() {
        let needed = needs(&judged.checkpoint.payload, &frames);
        let damage = verify::find_damage(storage, &judged, needed)?;
        refusal = damage.map(|damage| OpenError::JournalDamaged(Box::new(damage)));
    }
    let Judged { header, checkpoint, survey, scan, .. } = judged;
    let counting = survey.segments.values().map(|segment| (segment, true));
    let void = survey.void.values().map(|segment| (segment, false));
    let mut segments: Vec<SegmentSummary> = counting
        .chain(void)
        .map(|(segment, counts)| SegmentSummary {
            number: segment.header.number,
            slot: segment.slot,
            opening: segment.header.opening,
            after: segment.header.after,
            counts,
        })
        .collect();
    segments.sort_unstable_by_key(|segment| segment.number);
    Ok(Inspection {
        header,
        checkpoint: CheckpointSummary {
            slot: checkpoint.slot,
            generation: checkpoint.header.generation,
            opening: checkpoint.header.opening,
            replay_from: checkpoint.header.mark.position,
            keep_from: checkpoint.header.keep_from,
            seq: checkpoint.header.mark.seq,
            payload: checkpoint.payload,
        },
        segments,
        frames,
        end: (scan.stop.mark, scan.stop.fault),
        synced_through: scan.synced_through,
        refusal,
        findings,
    })
}

fn findings(storage: &mut dyn Storage, judged: &Judged) -> Result<Vec<String>, OpenError> {
    let mut findings = Vec::new();
    let copies = super::create::read_header(storage)?;
    for (copy, fault) in copies.faults() {
        findings.push(format!("copy {copy} of the store's header: {fault}"));
    }
    for (slot, reason) in &judged.checkpoint.faults {
        findings.push(format!("checkpoint slot {slot}: {reason}"));
    }
    for broken in &judged.survey.wrong_length {
        findings.push(format!(
            "{:?} has {} bytes, a segment has {}",
            Object::Segment(broken.slot),
            broken.bytes,
            judged.header.segment_bytes
        ));
    }
    for nameless in &judged.survey.nameless {
        // Blank slots were never used.
        if nameless.fault != SectorFault::Blank {
            let object = Object::Segment(nameless.slot);
            findings.push(format!("the segment header of {object:?}: {}", nameless.fault));
        }
    }
    Ok(findings)
}

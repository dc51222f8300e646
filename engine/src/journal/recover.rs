//! Recovery: from whatever a crash left to a journal that can be appended to. Its steps, each durable before the next:
//!
//! 1. Read and judge everything, the caller too. Corruption: refuse, nothing is written.
//! 2. Write the store's header with the epoch raised, so that no opening's number is ever used twice.
//! 3. Confirm the checkpoint (a second copy of its header).
//! 4. Copy the tail (the accepted frames past the last place known synced) to fresh segments: what an earlier sync that
//!    failed left in the page cache only becomes durable. Then the headers of those after the first.
//! 5. Write the header of the first: it makes void what the old segments hold past that place. That is the commit (J6).
//!
//! 6. Blank the headers of segments that are void now.
//!
//! Fresh segments go to slots that nothing readable uses, so a crash at any point leaves what the next recovery needs.

use std::collections::{BTreeMap, BTreeSet};

use super::checkpoint::{self, CheckpointSlots, LoadedCheckpoint};
use super::create::{read_header, write_header};
use super::error::{create, remove, sync, write};
use super::frame::{FrameFault, FrameKind};
use super::scan::{Accepted, Scan, ScannedFrame, read_payload, scan};
use super::segment::{CONTENT_OFFSET, Layout};
use super::slots::Slots;
use super::survey::Survey;
use super::{Damage, Journal, Needed, OpenError, verify};
use crate::io::{CreateSpace, Object, Storage};
use crate::store::{HEADER_BLOCK_BYTES, HeaderFault, StoreHeader};
use crate::units::{Position, Seq};

/// A store that was opened.
#[derive(Debug)]
pub struct Recovered {
    /// Its header, the epoch being that of this opening.
    pub header: StoreHeader,
    /// Payload of the checkpoint.
    pub checkpoint: Vec<u8>,
    /// Number of the last frame that the checkpoint holds.
    pub checkpoint_seq: Seq,
    /// All frames after it, ascending without gaps. Positions of payloads are where they lie now.
    pub frames: Vec<ScannedFrame>,
    /// From this one of the frames on, payloads were moved after `approve` saw them.
    pub moved_from: usize,
    /// To append to. Every segment that may hold something needed is kept until `release_before`.
    pub journal: Journal,
    /// To write checkpoints.
    pub checkpoints: CheckpointSlots,
}

/// What reading a store gives, before anything is written.
pub(super) struct Judged {
    pub(super) header: StoreHeader,
    /// Which copy of the store's header is in force.
    pub(super) copy: usize,
    pub(super) checkpoint: LoadedCheckpoint,
    pub(super) survey: Survey,
    pub(super) scan: Scan,
}

/// Reads everything that opening needs.
pub(super) fn judge(storage: &mut dyn Storage) -> Result<Judged, OpenError> {
    let copies = read_header(storage)?;
    let (header, copy) = match copies.newest() {
        Ok(newest) => newest,
        Err(HeaderFault::Version(found)) => return Err(OpenError::Version { found }),
        Err(HeaderFault::Damaged) => {
            if storage.list().map_err(OpenError::List)?.is_empty() {
                return Err(OpenError::Missing);
            }
            let faults: Vec<String> =
                copies.faults().map(|(copy, fault)| format!("copy {copy}: {fault}")).collect();
            let faults = if faults.is_empty() { "no copy".to_owned() } else { faults.join("; ") };
            return Err(OpenError::HeaderDamaged(faults));
        }
    };
    let checkpoint = checkpoint::load(storage, &header)?;
    let survey = Survey::take(storage, &header)?;
    let scan = scan(storage, &header, &survey, &checkpoint)?;
    Ok(Judged { header, copy, checkpoint, survey, scan })
}

impl Judged {
    pub(super) fn layout(&self) -> Layout {
        Layout::new(self.header.segment_bytes)
    }

    /// The frames after the checkpoint, with their payloads where they lie now.
    pub(super) fn scanned_frames(&self) -> Vec<ScannedFrame> {
        let frames = self.scan.frames.iter();
        frames.map(|frame| frame.clone().into_scanned(frame.header.payload())).collect()
    }

    /// Why the store must not be opened, if so.
    pub(super) fn refusal(&self) -> Option<OpenError> {
        let damage = Box::new(self.scan.damage(self.layout())?);
        let mut faults = self.checkpoint.faults.iter();
        Some(match faults.find(|(slot, _)| *slot != self.checkpoint.slot).cloned() {
            Some((slot, reason)) => OpenError::CheckpointLost { slot, reason, journal: damage },
            None => OpenError::JournalDamaged(damage),
        })
    }
}

/// Opens the store: raises its epoch and makes durable what it accepts. Before anything is written, `approve` looks
/// at the checkpoint's payload and the frames after it, and at the storage; it says which staged bytes are still needed, and
/// those are verified. What else it gives is given back.
///
/// # Errors
/// Refuses damaged stores, other versions and what `approve` refuses without writing anything; a failure of the storage
/// leaves a state from which recovery can be tried again.
pub fn recover<T, E: From<OpenError>>(
    storage: &mut dyn Storage,
    approve: impl FnOnce(&mut dyn Storage, &[u8], &[ScannedFrame]) -> Result<(Vec<Needed>, T), E>,
) -> Result<(Recovered, T), E> {
    let judged = judge(storage)?;
    if let Some(refusal) = judged.refusal() {
        return Err(refusal.into());
    }
    let frames = judged.scanned_frames();
    let (needed, approved) = approve(storage, &judged.checkpoint.payload, &frames)?;
    drop(frames);
    if let Some(damage) = verify::find_damage(storage, &judged, needed)? {
        return Err(OpenError::JournalDamaged(Box::new(damage)).into());
    }
    Ok((accept(storage, judged)?, approved))
}

/// Steps 2 to 6.
fn accept(storage: &mut dyn Storage, judged: Judged) -> Result<Recovered, OpenError> {
    let header = next_opening(&judged);
    write_header(storage, &header, 1 - judged.copy)?;
    checkpoint::confirm(storage, &header, &judged.checkpoint)?;
    let (slots, freed_by_commit) = sort_slots(storage, &judged)?;
    let mut rewrite = Rewrite::begin(storage, &header, &judged, slots)?;
    let checkpoints = CheckpointSlots::new(&header, &judged.checkpoint);
    let Judged { checkpoint, survey, scan, .. } = judged;
    let moved_from = scan.synced_frames;
    let mut frames = Vec::with_capacity(scan.frames.len());
    for (index, frame) in scan.frames.into_iter().enumerate() {
        let payload = if index < moved_from {
            frame.header.payload()
        } else {
            rewrite.append(storage, &header, &survey, &frame)?
        };
        frames.push(frame.into_scanned(payload));
    }
    let mut journal = rewrite.commit(storage)?;
    for &slot in &freed_by_commit {
        retire(storage, slot)?;
    }
    journal.slots_mut().free_withheld(&freed_by_commit);
    Ok(Recovered {
        header,
        checkpoint: checkpoint.payload,
        checkpoint_seq: checkpoint.header.mark.seq,
        frames,
        moved_from,
        journal,
        checkpoints,
    })
}

/// The store's header for this opening: its number is greater than any that was ever used, also when
/// a damaged header was replaced by the older copy.
fn next_opening(judged: &Judged) -> StoreHeader {
    let Judged { header, checkpoint, survey, scan, .. } = judged;
    let greatest = header
        .epoch
        .max(checkpoint.greatest_opening)
        .max(survey.greatest_opening())
        .max(scan.greatest_opening);
    StoreHeader { generation: header.generation + 1, epoch: greatest + 1, ..*header }
}

/// The slots as recovery may use them, and those that its commit makes free. Removes slots whose creation was cut off.
fn sort_slots(storage: &mut dyn Storage, judged: &Judged) -> Result<(Slots, Vec<u32>), OpenError> {
    let Judged { checkpoint, survey, scan, .. } = judged;
    let layout = judged.layout();
    let first_needed = layout.number_before(checkpoint.header.keep_from);
    let last_kept = layout.number_before(scan.base.position);
    let mut live = BTreeMap::new();
    let mut free = BTreeSet::new();
    let mut withheld = BTreeSet::new();
    let mut freed_by_commit = Vec::new();
    for (&number, segment) in survey.segments.iter().chain(&survey.void) {
        if number < first_needed {
            free.insert(segment.slot);
        } else if number <= last_kept && survey.segments.contains_key(&number) {
            live.insert(number, segment.slot);
        } else {
            freed_by_commit.push(segment.slot);
        }
    }
    for &(number, slot) in &scan.told {
        if (first_needed..=last_kept).contains(&number) {
            live.entry(number).or_insert(slot);
        }
    }
    free.extend(&survey.ready);
    for nameless in &survey.nameless {
        if !live.values().any(|&slot| slot == nameless.slot) {
            free.insert(nameless.slot);
        }
    }
    for broken in &survey.wrong_length {
        if broken.blank {
            remove(storage, Object::Segment(broken.slot))?;
        } else {
            withheld.insert(broken.slot);
        }
    }
    withheld.extend(&freed_by_commit);
    Ok((Slots::new(live, free, withheld), freed_by_commit))
}

/// The tail on its way to fresh segments.
struct Rewrite {
    journal: Journal,
    /// Object and first block of the first fresh segment, to be written last.
    commit: Option<(Object, Vec<u8>)>,
    /// Written and not synced.
    unsynced: BTreeSet<Object>,
    /// Bytes appended and not written, about.
    pending_bytes: u64,
}

/// Bytes of the tail that are written at once.
const SLICE_BYTES: u64 = 1 << 20;

impl Rewrite {
    fn begin(
        storage: &mut dyn Storage,
        header: &StoreHeader,
        judged: &Judged,
        mut slots: Slots,
    ) -> Result<Self, OpenError> {
        let Judged { survey, scan, .. } = judged;
        if slots.free_count() == 0 {
            create_slot(storage, &mut slots, u64::from(header.segment_bytes))?;
        }
        let last_kept = judged.layout().number_before(scan.base.position);
        let number = survey.greatest_number().max(scan.greatest_number).max(last_kept) + 1;
        let journal = Journal::resume(header, slots, scan.base, number);
        Ok(Self { journal, commit: None, unsynced: BTreeSet::new(), pending_bytes: 0 })
    }

    /// Appends a frame of the tail again, under its number, and says where its payload lies now.
    fn append(
        &mut self,
        storage: &mut dyn Storage,
        header: &StoreHeader,
        survey: &Survey,
        frame: &Accepted,
    ) -> Result<Position, OpenError> {
        let old = &frame.header;
        // The journal may grow past its capacity here: recovery must not fail for want of a slot.
        while !self.journal.fits(old.payload_bytes()) {
            let bytes = self.journal.segment_bytes();
            create_slot(storage, self.journal.slots_mut(), bytes)?;
        }
        let appended = match old.kind {
            FrameKind::Record => self.journal.append_record(&frame.record),
            FrameKind::Zeroes => self.journal.append_zeroes(old.volume, old.range()),
            FrameKind::Watermark => self.journal.append_watermark(),
            FrameKind::Data => {
                let payload = read_payload(storage, header, survey, old)?
                    .ok_or_else(|| changed_while_open(header, survey, frame))?;
                self.journal.append_data(old.volume, old.offset, &payload)
            }
        };
        assert_eq!(appended.seq, old.seq, "a frame keeps its number");
        self.pending_bytes += Journal::cost(old.payload_bytes());
        if self.pending_bytes >= SLICE_BYTES {
            self.write_out(storage)?;
        }
        Ok(appended.payload)
    }

    /// Writes what was appended, but for the first fresh segment's header.
    fn write_out(&mut self, storage: &mut dyn Storage) -> Result<(), OpenError> {
        self.pending_bytes = 0;
        let mut writes = Vec::new();
        self.journal.take_writes(&mut writes);
        for out in writes {
            let (mut offset, mut bytes) = (out.offset, out.data.into_vec());
            if self.commit.is_none() {
                let content = bytes.split_off(HEADER_BLOCK_BYTES);
                self.commit = Some((out.object, bytes));
                (offset, bytes) = (CONTENT_OFFSET, content);
            }
            if !bytes.is_empty() {
                write(storage, out.object, offset, &bytes)?;
                self.unsynced.insert(out.object);
            }
        }
        Ok(())
    }

    /// Makes the copy durable and then commits it.
    fn commit(mut self, storage: &mut dyn Storage) -> Result<Journal, OpenError> {
        self.write_out(storage)?;
        for &object in &self.unsynced {
            sync(storage, object)?;
        }
        let (object, block) = self.commit.take().expect("a fresh segment was begun");
        write(storage, object, 0, &block)?;
        sync(storage, object)?;
        self.journal.all_durable();
        Ok(self.journal)
    }
}

/// Blanks the header of a slot whose content the commit made void, so that the next recovery, which cannot
/// know that the commit was durable, may use it.
fn retire(storage: &mut dyn Storage, slot: u32) -> Result<(), OpenError> {
    write(storage, Object::Segment(slot), 0, &[0; HEADER_BLOCK_BYTES])?;
    sync(storage, Object::Segment(slot))
}

fn create_slot(
    storage: &mut dyn Storage,
    slots: &mut Slots,
    segment_bytes: u64,
) -> Result<(), OpenError> {
    let slot = slots.begin_create();
    // It is written and synced at once: to write it with zeroes before would only take longer.
    create(storage, Object::Segment(slot), segment_bytes, CreateSpace::Preallocated)?;
    slots.ready(slot);
    Ok(())
}

/// A payload that was whole a moment ago is not any more.
fn changed_while_open(header: &StoreHeader, survey: &Survey, frame: &Accepted) -> OpenError {
    let layout = Layout::new(header.segment_bytes);
    let position = frame.header.position;
    let segment = layout.number(position);
    OpenError::JournalDamaged(Box::new(Damage {
        segment,
        object: survey.segments.get(&segment).map(|it| Object::Segment(it.slot)),
        offset: layout.offset(position),
        position,
        fault: FrameFault::PayloadChecksum,
        synced_through: position,
    }))
}

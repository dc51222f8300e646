//! Checkpoints: the whole metadata as of a mark in the journal, in two slots written in turn.
//!
//! A slot holds two copies of its header, then the payload. The commit writes copy 0, after the payload is durable
//! (J8); recovery writes copy 1, to make durable what it relies on without touching copy 0. The slot that is rewritten
//! always holds the older checkpoint, which nobody looks at while the newer one is whole, so a torn rewrite is never
//! taken for corruption: the cases are in `docs/on_disk_format.md`.

use super::error::{length, read, sync, write};
use super::{Mark, OpenError};
use crate::io::{Action, Buffer, Object, Storage};
use crate::store::{
    HEADER_BLOCK_BYTES, SectorFault, StoreHeader, StoreUuid, checksum, copy_offset, open_sector,
    sealed_block,
};
use crate::units::{Position, Seq};

const MAGIC: [u8; 8] = *b"FTCHECKP";
/// Offset of the payload: after both copies of the header.
const PAYLOAD_OFFSET: u64 = 2 * HEADER_BLOCK_BYTES as u64;
/// Checkpoint objects grow by multiples of this.
const GROWTH_BYTES: u64 = 64 << 10;

/// What the header of a checkpoint says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CheckpointHeader {
    /// How many checkpoints were begun before it.
    pub(super) generation: u64,
    /// Number of the opening that wrote it.
    pub(super) opening: u64,
    /// It holds everything up to here; replay goes on from here.
    pub(super) mark: Mark,
    /// Journal before this is not needed.
    pub(super) keep_from: Position,
    pub(super) payload_bytes: u64,
    pub(super) payload_crc: u32,
}

impl CheckpointHeader {
    fn encode(&self, uuid: StoreUuid, seed: u32) -> Vec<u8> {
        sealed_block(MAGIC, seed, |fields| {
            fields.put(&uuid.0);
            fields.put_u64(self.generation);
            fields.put_u64(self.opening);
            fields.put_u64(self.mark.position.0);
            fields.put_u64(self.mark.seq.0);
            fields.put_u64(self.keep_from.0);
            fields.put_u64(self.payload_bytes);
            fields.put_u32(self.mark.checksum);
            fields.put_u32(self.payload_crc);
        })
    }

    fn decode(block: &[u8], store: &StoreHeader) -> Result<Self, SectorFault> {
        let mut fields = open_sector(block, MAGIC, store.secret)?;
        let uuid = StoreUuid(fields.take());
        let generation = fields.take_u64();
        let opening = fields.take_u64();
        let position = Position(fields.take_u64());
        let seq = Seq(fields.take_u64());
        let keep_from = Position(fields.take_u64());
        let payload_bytes = fields.take_u64();
        let mark = Mark { position, seq, checksum: fields.take_u32() };
        let payload_crc = fields.take_u32();
        if uuid != store.uuid || keep_from > position {
            return Err(SectorFault::Fields);
        }
        Ok(Self { generation, opening, mark, keep_from, payload_bytes, payload_crc })
    }
}

/// The checkpoint to recover from.
#[derive(Debug)]
pub(super) struct LoadedCheckpoint {
    pub(super) slot: u8,
    pub(super) header: CheckpointHeader,
    pub(super) payload: Vec<u8>,
    /// The journal is known synced up to here: the greatest mark in any whole header.
    pub(super) synced_through: Position,
    /// The greatest generation and opening in any whole header.
    pub(super) greatest_generation: u64,
    pub(super) greatest_opening: u64,
    /// What is damaged, by slot. In the other slot it may be the trace of a checkpoint that was never committed.
    pub(super) faults: Vec<(u8, String)>,
}

/// What one slot turned out to be.
struct Slot {
    /// The newest of both copies.
    header: Option<CheckpointHeader>,
    /// A copy that is damaged.
    copy_fault: Option<SectorFault>,
    /// The payload, or why there is none to be used.
    payload: Result<Vec<u8>, SlotFault>,
}

/// Why a slot cannot be used.
#[derive(Clone, Debug, thiserror::Error)]
enum SlotFault {
    /// There is no object.
    #[error("it is missing")]
    Missing,
    /// No copy of the header is whole.
    #[error("its header: {0}")]
    Header(SectorFault),
    /// The object is shorter than the header says.
    #[error(
        "it should hold {payload_bytes} bytes of metadata, the object has {object_bytes} bytes"
    )]
    Short { payload_bytes: u64, object_bytes: u64 },
    /// The payload is damaged, or half overwritten.
    #[error("the checksum of its metadata is wrong")]
    Payload,
}

fn look_at_slot(
    storage: &mut dyn Storage,
    store: &StoreHeader,
    slot: u8,
) -> Result<Slot, OpenError> {
    let object = Object::Checkpoint(slot);
    let Some(object_bytes) = length(storage, object)? else {
        return Ok(Slot { header: None, copy_fault: None, payload: Err(SlotFault::Missing) });
    };
    let mut newest: Option<CheckpointHeader> = None;
    let mut copy_fault = None;
    for copy in 0..2 {
        let mut block = [0; HEADER_BLOCK_BYTES];
        read(storage, object, copy_offset(copy), &mut block)?;
        match CheckpointHeader::decode(&block, store) {
            Ok(header) if newest.is_none_or(|it| it.generation < header.generation) => {
                newest = Some(header);
            }
            Ok(_) | Err(SectorFault::Blank) => {}
            Err(fault) => copy_fault = Some(fault),
        }
    }
    let payload = match &newest {
        Some(header) => read_metadata(storage, store, object, object_bytes, header)?,
        None => Err(SlotFault::Header(copy_fault.unwrap_or(SectorFault::Blank))),
    };
    Ok(Slot { header: newest, copy_fault, payload })
}

fn read_metadata(
    storage: &mut dyn Storage,
    store: &StoreHeader,
    object: Object,
    object_bytes: u64,
    header: &CheckpointHeader,
) -> Result<Result<Vec<u8>, SlotFault>, OpenError> {
    let payload_bytes = header.payload_bytes;
    let fits = payload_bytes <= object_bytes.saturating_sub(PAYLOAD_OFFSET);
    let Some(length) = usize::try_from(payload_bytes).ok().filter(|_| fits) else {
        return Ok(Err(SlotFault::Short { payload_bytes, object_bytes }));
    };
    let mut payload = vec![0; length];
    read(storage, object, PAYLOAD_OFFSET, &mut payload)?;
    let whole = checksum(store.secret, &payload) == header.payload_crc;
    Ok(if whole { Ok(payload) } else { Err(SlotFault::Payload) })
}

/// The newest checkpoint that is whole. Whether it may be used although a newer one is damaged is for the scan to
/// say: the journal since it must be complete.
pub(super) fn load(
    storage: &mut dyn Storage,
    store: &StoreHeader,
) -> Result<LoadedCheckpoint, OpenError> {
    let first = look_at_slot(storage, store, 0)?;
    let second = look_at_slot(storage, store, 1)?;
    let headers: Vec<CheckpointHeader> = first.header.into_iter().chain(second.header).collect();
    let usable = |slot: &Slot| slot.payload.is_ok().then_some(slot.header?.generation);
    let slot = u8::from(usable(&second) > usable(&first));
    let (chosen, other) = if slot == 1 { (second, first) } else { (first, second) };
    let (header, payload) = match (chosen.header, chosen.payload) {
        (Some(header), Ok(payload)) => (header, payload),
        // Neither slot is usable, so the first was chosen.
        (_, first) => {
            let tell = |payload: Result<_, SlotFault>| {
                payload.err().map_or_else(String::new, |fault| fault.to_string())
            };
            let (first, second) = (tell(first), tell(other.payload));
            return Err(OpenError::CheckpointDamaged { first, second });
        }
    };
    let mut faults = Vec::new();
    let copies = [(slot, chosen.copy_fault), (1 - slot, other.copy_fault)];
    for (slot, fault) in copies {
        faults.extend(fault.map(|fault| (slot, SlotFault::Header(fault).to_string())));
    }
    // A slot of an older generation may be in the middle of being rewritten, and one that is blank was never
    // used: neither is damaged.
    let older = other.header.is_some_and(|it| it.generation < header.generation);
    match other.payload {
        Err(fault @ (SlotFault::Payload | SlotFault::Short { .. })) if !older => {
            faults.push((1 - slot, fault.to_string()));
        }
        Err(fault @ SlotFault::Missing) => faults.push((1 - slot, fault.to_string())),
        _ => {}
    }
    let greatest = |field: fn(&CheckpointHeader) -> u64| headers.iter().map(field).max();
    Ok(LoadedCheckpoint {
        slot,
        header,
        payload,
        synced_through: Position(greatest(|it| it.mark.position.0).unwrap_or(0)),
        greatest_generation: greatest(|it| it.generation).unwrap_or(0),
        greatest_opening: greatest(|it| it.opening).unwrap_or(0),
        faults,
    })
}

/// Makes the checkpoint's header durable anew, whatever became of the sync of its commit: its payload was durable
/// before any header was written.
pub(super) fn confirm(
    storage: &mut dyn Storage,
    store: &StoreHeader,
    checkpoint: &LoadedCheckpoint,
) -> Result<(), OpenError> {
    let object = Object::Checkpoint(checkpoint.slot);
    let block = checkpoint.header.encode(store.uuid, store.secret);
    write(storage, object, copy_offset(1), &block)?;
    sync(storage, object)
}

/// Writes the first checkpoint of a new store, of the beginning of history.
pub(super) fn write_first(
    storage: &mut dyn Storage,
    store: &StoreHeader,
    payload: &[u8],
) -> Result<(), OpenError> {
    let object = Object::Checkpoint(0);
    let header = CheckpointHeader {
        generation: 1,
        opening: 0,
        mark: Mark::default(),
        keep_from: Position(0),
        payload_bytes: payload.len() as u64,
        payload_crc: checksum(store.secret, payload),
    };
    write(storage, object, PAYLOAD_OFFSET, payload)?;
    write(storage, object, 0, &header.encode(store.uuid, store.secret))?;
    sync(storage, object)
}

/// Bytes that a checkpoint object needs for `payload_bytes` bytes of payload.
pub(super) fn object_bytes(payload_bytes: u64) -> u64 {
    (PAYLOAD_OFFSET + payload_bytes).next_multiple_of(GROWTH_BYTES)
}

/// Which slot and generation come next.
#[derive(Debug)]
pub struct CheckpointSlots {
    uuid: StoreUuid,
    seed: u32,
    opening: u64,
    /// Holds the newest checkpoint that is committed.
    newest: u8,
    generation: u64,
}

impl CheckpointSlots {
    pub(super) fn new(store: &StoreHeader, loaded: &LoadedCheckpoint) -> Self {
        Self {
            uuid: store.uuid,
            seed: store.secret,
            opening: store.epoch,
            newest: loaded.slot,
            generation: loaded.greatest_generation,
        }
    }

    /// Begins a checkpoint of the metadata as of `mark` (`Journal::mark` of that moment), whose payload is supplied piece by
    /// piece; what it needs of the journal begins at `keep_from`, at the latest at the mark. One at a time; one that fails is
    /// dropped, and the checkpoint before it stays in force.
    ///
    /// # Panics
    /// When `keep_from` lies after the mark.
    pub fn begin(&mut self, mark: Mark, keep_from: Position) -> CheckpointWriter {
        assert!(keep_from <= mark.position, "the journal is needed from the mark on at the latest");
        self.generation += 1;
        let header = CheckpointHeader {
            generation: self.generation,
            opening: self.opening,
            mark,
            keep_from,
            payload_bytes: 0,
            payload_crc: checksum(self.seed, &[]),
        };
        let (uuid, seed, slot) = (self.uuid, self.seed, 1 - self.newest);
        CheckpointWriter { uuid, seed, slot, header, last: false, step: Step::Wait, busy: false }
    }

    /// The checkpoint is committed (`CheckpointWriter::is_committed`): the next one goes to the other slot. What it
    /// does not need of the journal may be released: everything before the position given back.
    ///
    /// # Panics
    /// When it is not committed.
    pub fn committed(&mut self, writer: &CheckpointWriter) -> Position {
        assert!(writer.is_committed(), "the checkpoint is not durable yet");
        self.newest = writer.slot;
        writer.header.keep_from
    }
}

/// What a checkpoint does next.
#[derive(Debug)]
enum Step {
    /// A piece of the payload is to be supplied.
    Wait,
    /// Space for that piece.
    Allocate(Vec<u8>),
    Payload(Vec<u8>),
    SyncPayload,
    Commit,
    SyncCommit,
    Committed,
}

/// A checkpoint being written: one operation after the other.
#[derive(Debug)]
pub struct CheckpointWriter {
    uuid: StoreUuid,
    seed: u32,
    slot: u8,
    /// Length and checksum are those of the payload supplied so far.
    header: CheckpointHeader,
    /// The whole payload was supplied.
    last: bool,
    step: Step,
    /// The operation of `step` is under way.
    busy: bool,
}

impl CheckpointWriter {
    /// True when the next piece of the payload is to be supplied.
    pub fn wants_piece(&self) -> bool {
        matches!(self.step, Step::Wait)
    }

    /// Takes the next piece of the payload; `last` says that nothing follows.
    ///
    /// # Panics
    /// When none is wanted.
    pub fn supply(&mut self, piece: Vec<u8>, last: bool) {
        assert!(self.wants_piece(), "no piece of the checkpoint's payload is wanted");
        self.header.payload_bytes += piece.len() as u64;
        self.header.payload_crc = checksum(self.header.payload_crc, &piece);
        self.last = last;
        self.step = Step::Allocate(piece);
    }

    /// The next operation, to report with `action_done`. `None` while one is under way, when the checkpoint is
    /// committed, while a piece is wanted, and while the journal is not durable (`Journal::durable`) up to the mark.
    pub fn next_action(&mut self, durable: Position) -> Option<(Object, Action)> {
        if self.busy {
            return None;
        }
        let end = PAYLOAD_OFFSET + self.header.payload_bytes;
        let action = match &mut self.step {
            Step::Allocate(piece) => {
                let offset = end - piece.len() as u64;
                let bytes = object_bytes(self.header.payload_bytes) - offset;
                Action::Allocate { offset, bytes }
            }
            Step::Payload(piece) => {
                let offset = end - piece.len() as u64;
                Action::Write { offset, data: Buffer::from_vec(std::mem::take(piece)) }
            }
            Step::SyncPayload | Step::SyncCommit => Action::Sync,
            Step::Commit if durable >= self.header.mark.position => {
                let data = Buffer::from_vec(self.header.encode(self.uuid, self.seed));
                Action::Write { offset: copy_offset(0), data }
            }
            Step::Wait | Step::Commit | Step::Committed => return None,
        };
        self.busy = true;
        Some((Object::Checkpoint(self.slot), action))
    }

    /// The operation under way has succeeded. When it has failed, drop the checkpoint: after a failed `Allocate` or write
    /// of it the store goes on, with a failed sync it stops (rule O9).
    ///
    /// # Panics
    /// When none is under way.
    pub fn action_done(&mut self) {
        assert!(self.busy, "no operation of the checkpoint is under way");
        self.busy = false;
        self.step = match std::mem::replace(&mut self.step, Step::Committed) {
            Step::Allocate(piece) => Step::Payload(piece),
            Step::Wait | Step::Payload(_) if !self.last => Step::Wait,
            Step::Wait | Step::Payload(_) => Step::SyncPayload,
            Step::SyncPayload => Step::Commit,
            Step::Commit => Step::SyncCommit,
            Step::SyncCommit | Step::Committed => Step::Committed,
        };
    }

    /// True while a sync is the operation under way: when that fails the store stops (rule O9).
    pub fn is_syncing(&self) -> bool {
        self.busy && matches!(self.step, Step::SyncPayload | Step::SyncCommit)
    }

    /// True when the checkpoint is durable and in force.
    pub fn is_committed(&self) -> bool {
        matches!(self.step, Step::Committed)
    }

    /// The place up to which it holds everything.
    pub fn mark(&self) -> Mark {
        self.header.mark
    }

    /// Bytes of its payload that were supplied so far.
    pub fn payload_bytes(&self) -> u64 {
        self.header.payload_bytes
    }
}

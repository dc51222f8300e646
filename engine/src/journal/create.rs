//! Making a new store. The header comes last and commits it: until then nothing is a store, and creation starts over.

use super::error::{create as create_object, length, read, remove, sync, write};
use super::segment::ready_mark;
use super::{OpenError, checkpoint};
use crate::io::{CreateSpace, Object, Storage};
use crate::limits::FRAME_DATA_MAX;
use crate::store::{
    HEADER_BLOCK_BYTES, HEADER_BYTES, HeaderCopies, HeaderFault, StoreHeader, StoreUuid,
    copy_offset,
};

/// Segments that exist from the start: the first to be filled and the reserve.
const FIRST_SEGMENTS: u32 = 2;
/// The least that a journal can work with.
const CAPACITY_SEGMENTS_MIN: u32 = 4;
const SEGMENT_BYTES_MIN: u32 = 64 << 10;
const SEGMENT_BYTES_MAX: u32 = 1 << 30;

/// What a new store is made of.
#[derive(Clone, Debug)]
pub struct CreateParameters {
    /// Random bytes, for identity and secret.
    pub entropy: [u8; 32],
    /// Bytes of a journal segment: a multiple of 4 KiB, 64 KiB to 1 GiB; 16 MiB is usual.
    pub segment_bytes: u32,
    /// Segments that host writes may fill, at least 4.
    pub capacity_segments: u32,
    /// Payload of the first checkpoint: the metadata of an empty store.
    pub checkpoint: Vec<u8>,
}

impl CreateParameters {
    fn check(&self) -> Result<(), OpenError> {
        let Self { segment_bytes, capacity_segments, .. } = *self;
        if !(SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX).contains(&segment_bytes)
            || !u64::from(segment_bytes).is_multiple_of(HEADER_BLOCK_BYTES as u64)
        {
            return Err(OpenError::Parameters(format!(
                "a journal segment of {segment_bytes} bytes: choose a multiple of 4096 from {SEGMENT_BYTES_MIN} to \
                 {SEGMENT_BYTES_MAX}"
            )));
        }
        if capacity_segments < CAPACITY_SEGMENTS_MIN {
            let least = u64::from(segment_bytes) * u64::from(CAPACITY_SEGMENTS_MIN);
            return Err(OpenError::Parameters(format!(
                "a journal of {capacity_segments} segments of {segment_bytes} bytes is too small: choose at least \
                 {least} bytes"
            )));
        }
        Ok(())
    }

    fn header(&self) -> StoreHeader {
        let mut fields = crate::store::FieldReader::new(&self.entropy);
        StoreHeader {
            generation: 1,
            uuid: StoreUuid(fields.take()),
            owner: fields.take_u64(),
            epoch: 0,
            secret: fields.take_u32(),
            segment_bytes: self.segment_bytes,
            capacity_segments: self.capacity_segments,
        }
    }
}

const _: () = assert!(SEGMENT_BYTES_MAX as u64 > FRAME_DATA_MAX);

/// What is here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// Nothing.
    Empty,
    /// A creation that was cut off before it counted; `create` starts over.
    Unfinished,
    /// A store, in whatever state.
    Store,
}

/// Says whether a store is here, so that an empty place can be told from a damaged store.
///
/// # Errors
/// A failure of the storage.
pub fn presence(storage: &mut dyn Storage) -> Result<Presence, OpenError> {
    let objects = storage.list().map_err(OpenError::List)?;
    if objects.is_empty() {
        return Ok(Presence::Empty);
    }
    // What holds a user's data exists only in a store that was opened.
    let data = |object: &Object| matches!(object, Object::Home(_) | Object::Pool(_));
    if objects.iter().any(data) || objects.contains(&Object::Segment(FIRST_SEGMENTS)) {
        return Ok(Presence::Store);
    }
    match read_header(storage)?.newest() {
        Err(HeaderFault::Damaged) => Ok(Presence::Unfinished),
        Ok(_) | Err(HeaderFault::Version(_)) => Ok(Presence::Store),
    }
}

/// Both copies of the header; blank where there is none.
pub(super) fn read_header(storage: &mut dyn Storage) -> Result<HeaderCopies, OpenError> {
    let mut copies = [[0; HEADER_BLOCK_BYTES]; 2];
    if length(storage, Object::Header)?.is_some() {
        for (copy, block) in copies.iter_mut().enumerate() {
            read(storage, Object::Header, copy_offset(copy), block)?;
        }
    }
    Ok(HeaderCopies::decode(&copies[0], &copies[1]))
}

/// Writes the header over the copy that is not in force, durably.
pub(super) fn write_header(
    storage: &mut dyn Storage,
    header: &StoreHeader,
    copy: usize,
) -> Result<(), OpenError> {
    write(storage, Object::Header, copy_offset(copy), &header.encode())?;
    sync(storage, Object::Header)
}

/// Makes a new store: checkpoint, first journal slots, then the header.
///
/// # Errors
/// `Exists` when a store is here, `Parameters` when the layout makes no sense, a failure of the storage otherwise.
pub fn create(storage: &mut dyn Storage, parameters: &CreateParameters) -> Result<(), OpenError> {
    parameters.check()?;
    match presence(storage)? {
        Presence::Store => return Err(OpenError::Exists),
        Presence::Empty => {}
        Presence::Unfinished => {
            for object in storage.list().map_err(OpenError::List)? {
                remove(storage, object)?;
            }
        }
    }
    let header = parameters.header();
    let bytes = checkpoint::object_bytes(parameters.checkpoint.len() as u64);
    create_object(storage, Object::Checkpoint(0), bytes, CreateSpace::Preallocated)?;
    create_object(storage, Object::Checkpoint(1), bytes, CreateSpace::Preallocated)?;
    checkpoint::write_first(storage, &header, &parameters.checkpoint)?;
    for slot in 0..FIRST_SEGMENTS {
        let (object, bytes) = (Object::Segment(slot), u64::from(header.segment_bytes));
        create_object(storage, object, bytes, CreateSpace::Written)?;
        write(storage, object, 0, &ready_mark(header.uuid, header.secret, slot))?;
        sync(storage, object)?;
    }
    create_object(storage, Object::Header, HEADER_BYTES, CreateSpace::Preallocated)?;
    write_header(storage, &header, 0)
}

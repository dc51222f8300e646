//! Operations as data. The engine emits them and learns their outcome; it never performs one.
//!
//! Contract of whoever performs them (io_uring, the simulator, another store later):
//! - Operations run in any order and in parallel; only a completion says that one has ended.
//! - A `Read`, `Write`, `Copy` or `Zero` completes with success only when every byte is done; short results of
//!   the system below are continued by the backend. A read past the end of an object gives zeroes.
//! - `Sync` makes durable what was *completed* on that object before the sync began, and nothing
//!   else. After a failed sync nothing is known of the object's unsynced writes (rule O9).
//! - `Create` and `Remove` are durable (directory entry included) when they complete.

mod buffer;
#[cfg(feature = "uring")]
pub mod local;

pub use buffer::{Buffer, BufferBuilder};

use crate::units::{ByteRange, PoolId, VolumeId};

/// A stored object. Nothing here says how or where it is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Object {
    /// Identity of the store: two copies of a 4 KiB block (see the on-disk format).
    Header,
    /// A checkpoint; two slots (0 and 1) are written in turn.
    Checkpoint(u8),
    /// One slot of the journal: a preallocated segment that is overwritten, never truncated.
    Segment(u32),
    /// The home of a full volume: identity-mapped, sparse.
    Home(VolumeId),
    /// The slots of a pool.
    Pool(PoolId),
}

/// Names an operation in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OpId(pub u64);

/// One operation for the backend.
#[derive(Debug)]
pub struct Op {
    /// Comes back in the completion.
    pub id: OpId,
    /// What it is done to.
    pub object: Object,
    /// What is done.
    pub action: Action,
}

/// What an operation does to its object.
#[derive(Debug)]
pub enum Action {
    /// Fill `buffer` from byte `offset` on. The buffer comes back in the completion.
    Read {
        /// First byte of the object.
        offset: u64,
        /// Its length says how much is read.
        buffer: Buffer,
    },
    /// Tell whether these bytes can be sent from where they are, without waiting (`Outcome::Lent`), or else read them
    /// (`Outcome::Buffer`). What they are when they are sent, or received, nobody says: see `Part`.
    Lend {
        /// First byte of the object.
        offset: u64,
        /// Length in bytes.
        bytes: usize,
    },
    /// Write all of `data` at byte `offset`. The buffer comes back in the completion.
    Write {
        /// First byte of the object.
        offset: u64,
        /// What is written.
        data: Buffer,
    },
    /// Make bytes of this object, from `offset` on, those that another object has. What is written to those meanwhile
    /// may be copied or not. The backend may let both objects share the space; what it tells on success means nothing.
    Copy {
        /// First byte of this object.
        offset: u64,
        /// The other object.
        from: Object,
        /// Its first byte.
        from_offset: u64,
        /// Length in bytes.
        bytes: u64,
    },
    /// Make completed writes of this object durable.
    Sync,
    /// Make `bytes` bytes from `offset` on read as zeroes.
    Zero {
        /// First byte.
        offset: u64,
        /// Length in bytes.
        bytes: u64,
        /// Whether the space is given back.
        space: ZeroSpace,
    },
    /// Make sure that `bytes` bytes from `offset` on can be written without running out of space.
    /// Content stays as it is; blocks shared by a `Copy` are no longer.
    Allocate {
        /// First byte.
        offset: u64,
        /// Length in bytes.
        bytes: u64,
    },
    /// Which parts of `bytes` bytes from `offset` on hold data; the rest reads as zeroes.
    Map {
        /// First byte.
        offset: u64,
        /// Length in bytes.
        bytes: u64,
    },
    /// Make the object, `bytes` long, reading as zeroes. An existing one of that name is an error.
    Create {
        /// Length in bytes.
        bytes: u64,
        /// Whether its space is taken at once.
        space: CreateSpace,
    },
    /// Make the object go away.
    Remove,
}

/// What `Action::Zero` does with the space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ZeroSpace {
    /// Give it back to the file system (a hole).
    Release,
    /// Keep it allocated.
    Keep,
}

/// The outcome of an operation.
#[derive(Debug)]
pub struct Completion {
    /// Of the operation.
    pub id: OpId,
    /// What it gave.
    pub result: Result<Outcome, IoFailure>,
}

/// What a successful operation gives back.
#[derive(Debug)]
pub enum Outcome {
    /// Nothing (sync, zero, allocate, create, remove).
    Done,
    /// The buffer of a read (filled) or of a write.
    Buffer(Buffer),
    /// Of `Lend`: the bytes can be sent as a `Part::Lent`.
    Lent,
    /// Of `Map`: ranges of the object that may hold data, ascending, within what was asked.
    Data(Vec<ByteRange>),
}

/// Why an operation failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IoFailure {
    /// The file system is full.
    #[error("no space left")]
    NoSpace,
    /// Anything else, with the system's error number.
    #[error("input/output error (errno {0})")]
    Io(i32),
}

/// A piece of what is sent to a client.
#[derive(Debug)]
pub enum Part {
    /// These bytes.
    Bytes(Buffer),
    /// Those that the object has when the client receives them, or any that it had since they were lent: the system may
    /// send its page cache without a copy of it.
    Lent(Stretch),
}

impl Part {
    /// Length in bytes.
    pub fn len(&self) -> usize {
        match self {
            Self::Bytes(buffer) => buffer.len(),
            Self::Lent(stretch) => {
                usize::try_from(stretch.range.bytes()).expect("what is lent is bounded")
            }
        }
    }

    /// True when there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Blocking access to the same objects, for opening a store and for offline tools: recovery runs
/// before anything else does, so plain calls are simpler there than operations.
pub trait Storage {
    /// Fill `buffer` from byte `offset` on; past the end it is filled with zeroes.
    ///
    /// # Errors
    /// The system's failure.
    fn read(&mut self, object: Object, offset: u64, buffer: &mut [u8]) -> Result<(), IoFailure>;
    /// Write all of `data` at byte `offset`.
    ///
    /// # Errors
    /// The system's failure; some of the data may have been written.
    fn write(&mut self, object: Object, offset: u64, data: &[u8]) -> Result<(), IoFailure>;
    /// Make completed writes of the object durable.
    ///
    /// # Errors
    /// The system's failure: nothing is known of the object's unsynced writes.
    fn sync(&mut self, object: Object) -> Result<(), IoFailure>;
    /// Make an object of `bytes` bytes, its space as `space` says, durably.
    ///
    /// # Errors
    /// The system's failure.
    fn create(&mut self, object: Object, bytes: u64, space: CreateSpace) -> Result<(), IoFailure>;
    /// Make the object go away, durably.
    ///
    /// # Errors
    /// The system's failure.
    fn remove(&mut self, object: Object) -> Result<(), IoFailure>;
    /// Length of the object in bytes, `None` when there is none of that name.
    ///
    /// # Errors
    /// The system's failure.
    fn length(&mut self, object: Object) -> Result<Option<u64>, IoFailure>;
    /// Every object there is, ascending.
    ///
    /// # Errors
    /// The system's failure.
    fn list(&mut self) -> Result<Vec<Object>, IoFailure>;
    /// The parts of a stretch that may hold anything but zeroes, ascending: the others need not be read.
    ///
    /// # Errors
    /// The system's failure.
    fn data(&mut self, stretch: Stretch) -> Result<Vec<ByteRange>, IoFailure> {
        Ok(vec![stretch.range])
    }
    /// Says what will be read next, in this order, and that what was said before will not.
    fn will_read(&mut self, _stretches: &[Stretch]) {}
}

/// Bytes of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// Which object.
    pub object: Object,
    /// Which bytes of it.
    pub range: ByteRange,
}

/// How a new object treats space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CreateSpace {
    /// Sparse: space is taken when it is written.
    Sparse,
    /// Allocated at once: later writes cannot run out of space (rule O9).
    Preallocated,
    /// The same, and written with zeroes: a sync of later writes has nothing but them to bring to the disk, where the file
    /// system would have to note of unwritten space that it is written now. Takes as long as writing does.
    Written,
}

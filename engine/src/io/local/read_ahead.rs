//! Reading ahead of a walk through many objects: how a journal is read when a store is opened.
//!
//! Two threads read what was announced, in that order and past the page cache, while the walk checks what came before. So device
//! and processor work at the same time, at the speed of the slower one, and the device always has a next piece to read.
//!
//! Invariants
//! - A1 What is given is what a plain read would give: nothing is changed in between (`concerns`), and the page cache holds nothing
//!   that the disk does not have (`LocalStorage::open`).
//! - A2 At most `PIECES_AHEAD` pieces are held that nobody has asked for yet, and one in the hand of each reader.
//! - A3 What cannot be read so is left to a plain read, which also tells why.

use std::collections::VecDeque;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use super::directory::Directory;
use crate::io::{Buffer, Object, Stretch};
use crate::units::ByteRange;

/// Bytes that are read at once.
const PIECE_BYTES: u64 = 1 << 20;
/// Threads that read, one piece each at a time, in turn.
const READERS: usize = 2;
/// Pieces that wait to be asked for, at most.
const PIECES_AHEAD: usize = 8;
/// Direct reads begin and end at multiples of this; no common file system asks for more.
const ALIGNMENT: u64 = 4096;

/// A part of what was announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Piece {
    object: Object,
    range: ByteRange,
}

impl Piece {
    fn holds(&self, object: Object, at: u64) -> bool {
        self.object == object && self.range.start <= at && at < self.range.end
    }
}

/// What is being read ahead.
#[derive(Debug)]
pub(super) struct ReadAhead {
    /// In the order in which they come.
    coming: VecDeque<Piece>,
    /// The last one that came, unless it could not be read.
    held: Option<(Piece, Buffer)>,
    /// Which come from whom: the next one from the first of them.
    readers: VecDeque<Reader>,
}

/// A thread that reads every so manieth piece.
#[derive(Debug)]
struct Reader {
    pieces: Receiver<Option<Buffer>>,
    thread: JoinHandle<()>,
}

impl ReadAhead {
    /// Begins to read; `None` when there is nothing to read, or no thread to be had.
    pub(super) fn begin(directory: &Arc<Directory>, stretches: &[Stretch]) -> Option<Self> {
        let coming: VecDeque<Piece> = stretches.iter().flat_map(pieces_of).collect();
        if coming.is_empty() {
            return None;
        }
        let begin = |first: usize| {
            let (give, pieces) = sync_channel(PIECES_AHEAD / READERS);
            let wanted: Vec<Piece> = coming.iter().skip(first).step_by(READERS).copied().collect();
            let directory = Arc::clone(directory);
            let thread = std::thread::Builder::new().name("read-ahead".to_owned());
            let thread = thread.spawn(move || read_all(&directory, &wanted, &give)).ok()?;
            Some(Reader { pieces, thread })
        };
        let readers: VecDeque<Reader> = (0..READERS).map_while(begin).collect();
        let is_whole = readers.len() == READERS;
        let this = Self { coming, held: None, readers };
        // Too few threads end here.
        is_whole.then_some(this)
    }

    /// True when something of the object is held or still to come.
    pub(super) fn concerns(&self, object: Object) -> bool {
        let held = self.held.iter().map(|(piece, _)| piece);
        self.coming.iter().chain(held).any(|piece| piece.object == object)
    }

    /// Fills the front of `buffer` with the bytes of the object from `offset` on, as far as they were read ahead; tells how
    /// many those are.
    pub(super) fn read(&mut self, object: Object, offset: u64, buffer: &mut [u8]) -> usize {
        let mut done = 0;
        while done < buffer.len() {
            let at = offset + done as u64;
            match &self.held {
                Some((piece, bytes)) if piece.holds(object, at) => {
                    let from =
                        usize::try_from(at - piece.range.start).expect("a piece fits memory");
                    let count = (bytes.len() - from).min(buffer.len() - done);
                    buffer[done..done + count].copy_from_slice(&bytes[from..from + count]);
                    done += count;
                }
                _ if self.coming.iter().any(|piece| piece.holds(object, at)) => self.take_next(),
                _ => break,
            }
        }
        done
    }

    /// Waits for the next piece; the walk is past the one before.
    fn take_next(&mut self) {
        let piece = self.coming.pop_front();
        let bytes = self.readers.front().and_then(|reader| reader.pieces.recv().ok().flatten());
        self.readers.rotate_left(1);
        self.held = piece.zip(bytes);
    }
}

impl Drop for ReadAhead {
    fn drop(&mut self) {
        for Reader { pieces, thread } in self.readers.drain(..) {
            // Nobody takes what it gives: it ends.
            drop(pieces);
            // It only reads: there is nothing to be told of it.
            let _ = thread.join();
        }
    }
}

/// The pieces of a stretch, which end where an aligned piece ends.
fn pieces_of(stretch: &Stretch) -> impl Iterator<Item = Piece> {
    let Stretch { object, range } = *stretch;
    let end = range.end.next_multiple_of(ALIGNMENT);
    let mut at = range.start - range.start % ALIGNMENT;
    std::iter::from_fn(move || {
        let start = at;
        at = (start + 1).next_multiple_of(PIECE_BYTES).min(end);
        let range = ByteRange { start, end: at };
        (start < end).then_some(Piece { object, range })
    })
}

/// A thread: reads its pieces one after the other, until nobody wants them any more.
fn read_all(directory: &Directory, pieces: &[Piece], give: &SyncSender<Option<Buffer>>) {
    let mut open: Option<(Object, Option<File>)> = None;
    for piece in pieces {
        if open.as_ref().is_none_or(|(object, _)| *object != piece.object) {
            open = Some((piece.object, directory.open_direct_file(piece.object).ok()));
        }
        let file = open.as_ref().and_then(|(_, file)| file.as_ref());
        let bytes = file.and_then(|file| read_piece(file, piece.range));
        if give.send(bytes).is_err() {
            return;
        }
    }
}

/// The bytes of a piece, zeroes past the end of the file; `None` when it cannot be read (A3).
fn read_piece(file: &File, range: ByteRange) -> Option<Buffer> {
    let mut buffer = Buffer::scratch(usize::try_from(range.bytes()).ok()?);
    let mut done = 0;
    while done < buffer.len() {
        let at = range.start + done as u64;
        let bytes = file.read_at(&mut buffer[done..], at).ok()?;
        done += bytes;
        if bytes == 0 || !(done as u64).is_multiple_of(ALIGNMENT) {
            // A short read need not be the end of the file.
            let length = file.metadata().ok()?.len();
            if range.start + done as u64 != length.max(at) {
                return None;
            }
            buffer[done..].fill(0);
            break;
        }
    }
    Some(buffer)
}

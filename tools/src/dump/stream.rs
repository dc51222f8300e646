//! A volume's content over NBD, in order: several reads in flight, holes and zeroes never read.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::ops::Range;

use super::format::{CHUNK_BYTES_MAX, Piece};
use crate::nbd::{Answer, Connection, Extent, NbdError};

/// Reads in flight or waiting for an earlier one: memory is this many chunks.
const DEPTH: usize = 8;
/// Range of one block status.
const STATUS_BYTES: u64 = 256 << 20;

/// Gives the content of `ranges`, which ascend, to `sink`.
pub(super) fn stream<S: Read + Write, E: From<NbdError>>(
    connection: &mut Connection<S>,
    ranges: &[Range<u64>],
    sink: impl FnMut(Piece) -> Result<(), E>,
) -> Result<(), E> {
    let mut stream = Stream { connection, queue: VecDeque::new(), extents: None, sink };
    for range in ranges {
        let mut at = range.start;
        while at < range.end {
            at = stream.window(at..range.end.min(at + STATUS_BYTES))?;
        }
    }
    while !stream.queue.is_empty() {
        stream.receive()?;
    }
    Ok(())
}

struct Stream<'a, S, F> {
    connection: &'a mut Connection<S>,
    /// In the order of the volume. The first one is a read in flight.
    queue: VecDeque<Queued>,
    extents: Option<Vec<Extent>>,
    sink: F,
}

enum Queued {
    Reading { cookie: u64, offset: u64 },
    Ready(Piece),
}

impl<S: Read + Write, E: From<NbdError>, F: FnMut(Piece) -> Result<(), E>> Stream<'_, S, F> {
    /// Asks for the content of a part of `window`; gives where that part ends.
    fn window(&mut self, window: Range<u64>) -> Result<u64, E> {
        let bytes = u32::try_from(window.end - window.start).unwrap_or(u32::MAX);
        self.connection.status(window.start, bytes)?;
        let extents = loop {
            if let Some(extents) = self.extents.take() {
                break extents;
            }
            self.receive()?;
        };
        let mut at = window.start;
        for extent in extents {
            let end = window.end.min(at + u64::from(extent.bytes));
            if extent.zeroes {
                self.push(Queued::Ready(Piece::Zeroes { offset: at, bytes: end - at }))?;
            } else {
                self.read(at..end)?;
            }
            at = end;
        }
        Ok(at)
    }

    fn read(&mut self, range: Range<u64>) -> Result<(), E> {
        let chunk = CHUNK_BYTES_MAX.min(self.connection.payload_bytes_max().into());
        let mut at = range.start;
        while at < range.end {
            // Chunks end at multiples, so that pieces of zeroes are found whole.
            let end = range.end.min(at - at % chunk + chunk);
            let bytes = u32::try_from(end - at).expect("a chunk's length fits 32 bits");
            let cookie = self.connection.read(at, bytes)?;
            self.push(Queued::Reading { cookie, offset: at })?;
            at = end;
        }
        Ok(())
    }

    fn push(&mut self, queued: Queued) -> Result<(), E> {
        self.queue.push_back(queued);
        self.give()?;
        while self.queue.len() >= DEPTH {
            self.receive()?;
        }
        Ok(())
    }

    fn receive(&mut self) -> Result<(), E> {
        let reply = self.connection.reply()?;
        match reply.answer {
            Answer::Status(extents) => self.extents = Some(extents),
            Answer::Done => {}
            Answer::Data(bytes) => {
                let read = self.queue.iter_mut().find_map(|queued| match *queued {
                    Queued::Reading { cookie, offset } if cookie == reply.cookie => {
                        Some((queued, offset))
                    }
                    _ => None,
                });
                if let Some((queued, offset)) = read {
                    *queued = Queued::Ready(Piece::Data { offset, bytes });
                }
            }
        }
        self.give()
    }

    fn give(&mut self) -> Result<(), E> {
        while let Some(Queued::Ready(_)) = self.queue.front() {
            if let Some(Queued::Ready(piece)) = self.queue.pop_front() {
                (self.sink)(piece)?;
            }
        }
        Ok(())
    }
}

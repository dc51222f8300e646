//! One direction of a connection: bytes on their way, delivered in any pieces, in order.

use std::collections::VecDeque;

/// A queue of bytes that may end.
#[derive(Debug, Default)]
pub(crate) struct Pipe {
    bytes: VecDeque<u8>,
    /// Bytes put in since the beginning.
    put: u64,
    end: End,
}

/// What follows the last byte.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum End {
    /// More bytes, perhaps.
    #[default]
    Open,
    /// The end of the stream.
    Closed,
    /// Nobody reads any more: what is put in vanishes.
    Broken,
}

impl Pipe {
    /// Puts bytes in; gives the number of bytes put in so far.
    pub(crate) fn put(&mut self, bytes: &[u8]) -> u64 {
        if self.end == End::Open {
            self.bytes.extend(bytes);
        }
        self.put += bytes.len() as u64;
        self.put
    }

    /// The next bytes, at most so many.
    pub(crate) fn take(&mut self, count: usize) -> Vec<u8> {
        self.bytes.drain(..count.min(self.bytes.len())).collect()
    }

    /// Bytes on their way.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Nothing is put in any more; what is on its way arrives.
    pub(crate) fn close(&mut self) {
        self.end = End::Closed;
    }

    /// The sender is gone: of what is on its way only the first `count` bytes arrive. Gives the
    /// number of bytes that will have arrived since the beginning.
    pub(crate) fn cut(&mut self, count: usize) -> u64 {
        let lost = self.bytes.len().saturating_sub(count);
        self.bytes.truncate(count);
        self.close();
        self.put - lost as u64
    }

    /// The receiver is gone.
    pub(crate) fn break_off(&mut self) {
        self.bytes.clear();
        self.end = End::Broken;
    }

    /// True when everything was delivered and nothing will follow.
    pub(crate) fn has_ended(&self) -> bool {
        self.bytes.is_empty() && self.end != End::Open
    }
}

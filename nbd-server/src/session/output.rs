//! What is to be sent: few and large pieces, without copying large data.
//!
//! Headers and small data are collected in one buffer; large data stays in the buffer it came in, or where it is stored.

use std::collections::VecDeque;

use flashtrack_engine::io::{Buffer, Part, Stretch};

/// Data up to this many bytes is copied behind its header: cheaper than a piece of its own.
const COPIED_BYTES_MAX: usize = 16 << 10;
/// Bytes collected at which a new buffer is begun, so that growing never copies much.
const COLLECTED_BYTES_MAX: usize = 256 << 10;
/// Largest buffer that is kept for later, in bytes.
const SPARE_BYTES_MAX: usize = 512 << 10;

/// A queue of pieces.
#[derive(Debug, Default)]
pub(super) struct Output {
    queue: VecDeque<Part>,
    queued_bytes: usize,
    /// Collects what goes behind the queue.
    collected: Vec<u8>,
    /// An empty vector with capacity, to collect in next.
    spare: Vec<u8>,
}

impl Output {
    /// Bytes to be sent.
    pub(super) fn bytes(&self) -> usize {
        self.queued_bytes + self.collected.len()
    }

    /// Where headers and other small things are written to.
    pub(super) fn small(&mut self) -> &mut Vec<u8> {
        if self.collected.len() >= COLLECTED_BYTES_MAX {
            self.finish_collected();
        }
        &mut self.collected
    }

    /// Adds the data of a read.
    pub(super) fn data(&mut self, data: Buffer) {
        if data.len() <= COPIED_BYTES_MAX {
            self.small().extend_from_slice(&data);
        } else {
            self.finish_collected();
            self.push(Part::Bytes(data));
        }
    }

    /// Adds the data of a read that is sent from where it is.
    pub(super) fn lent(&mut self, stretch: Stretch) {
        self.finish_collected();
        self.push(Part::Lent(stretch));
    }

    /// Moves everything to the end of `out`.
    pub(super) fn take(&mut self, out: &mut VecDeque<Part>) {
        self.finish_collected();
        out.append(&mut self.queue);
        self.queued_bytes = 0;
    }

    /// Keeps the memory of `sent` for later, if it was collected here; that of data has its own way back.
    pub(super) fn recycle(&mut self, sent: Part) {
        let Part::Bytes(sent) = sent else {
            return;
        };
        let Ok(mut bytes) = sent.try_into_vec() else {
            return;
        };
        if bytes.capacity() > self.spare.capacity() && bytes.capacity() <= SPARE_BYTES_MAX {
            bytes.clear();
            self.spare = bytes;
        }
    }

    fn finish_collected(&mut self) {
        if !self.collected.is_empty() {
            let next = std::mem::take(&mut self.spare);
            let full = std::mem::replace(&mut self.collected, next);
            self.push(Part::Bytes(Buffer::from_vec(full)));
        }
    }

    fn push(&mut self, piece: Part) {
        self.queued_bytes += piece.len();
        self.queue.push_back(piece);
    }
}

#[cfg(test)]
mod tests {
    use flashtrack_engine::io::Object;
    use flashtrack_engine::units::{ByteRange, VolumeId};

    use super::*;

    fn bytes(part: &Part) -> &[u8] {
        match part {
            Part::Bytes(buffer) => buffer,
            Part::Lent(_) => panic!("{part:?} is in no memory"),
        }
    }

    #[test]
    fn small_pieces_are_collected_and_large_data_keeps_its_memory() {
        let mut output = Output::default();
        let large = Buffer::zeroed(COPIED_BYTES_MAX + 1);
        let address = large.as_ptr();

        output.small().extend_from_slice(b"head");
        output.data(Buffer::from(&b"small"[..]));
        output.data(large);
        output.small().extend_from_slice(b"tail");
        let mut pieces = VecDeque::new();
        output.take(&mut pieces);

        assert_eq!(pieces.len(), 3);
        assert_eq!(bytes(&pieces[0]), b"headsmall");
        assert_eq!(bytes(&pieces[1]).as_ptr(), address);
        assert_eq!(bytes(&pieces[2]), b"tail");
        assert_eq!(output.bytes(), 0);
    }

    #[test]
    fn a_recycled_buffer_is_collected_in_again() {
        let mut output = Output::default();
        let mut pieces = VecDeque::new();
        output.small().extend_from_slice(&[7; 5000]);
        output.take(&mut pieces);
        let sent = pieces.pop_front().expect("one piece was taken");
        let address = bytes(&sent).as_ptr();
        output.recycle(sent);

        // The spare takes the place of the buffer that is taken next.
        output.small().push(1);
        output.take(&mut pieces);
        output.small().push(2);
        output.take(&mut pieces);

        assert_eq!(pieces.len(), 2);
        assert_eq!(bytes(&pieces[1]).as_ptr(), address);
    }

    #[test]
    fn lent_data_counts_and_keeps_its_place_between_headers() {
        let mut output = Output::default();
        let range = ByteRange { start: 4096, end: 69_632 };
        let stretch = Stretch { object: Object::Home(VolumeId(7)), range };

        output.small().extend_from_slice(b"head");
        output.lent(stretch);
        output.small().extend_from_slice(b"tail");

        assert_eq!(output.bytes(), 65_544);
        let mut pieces = VecDeque::new();
        output.take(&mut pieces);
        assert!(matches!(pieces[1], Part::Lent(lent) if lent == stretch));
        assert_eq!((bytes(&pieces[0]), bytes(&pieces[2])), (&b"head"[..], &b"tail"[..]));
    }
}

//! The memory of an operation: owned by it from submission to completion.
//!
//! - M1 A buffer of at least `ALIGNED_BYTES_MIN` bytes begins at a multiple of `ALIGNMENT`, unless it was made of
//!   a vector: so it can be read and written past the page cache without a copy.
//! - M2 The memory of buffers up to `SPARE_CLASS_MAX` is kept by the thread that drops them, at most
//!   `SPARE_BYTES_MAX` in all, and used again without being cleared (`Buffer::scratch`).

use std::cell::RefCell;

/// Address that larger buffers begin at a multiple of: what direct I/O asks for at most, on common devices.
const ALIGNMENT: usize = 4096;
/// Buffers from this size on are aligned: no device takes less at once.
const ALIGNED_BYTES_MIN: usize = 512;

/// Size of the smallest class of spare memory; each class is twice the one before.
const SPARE_CLASS_MIN: usize = 4096;
/// Size of the largest class.
const SPARE_CLASS_MAX: usize = 1 << 20;
/// Number of classes.
const SPARE_CLASSES: usize = (SPARE_CLASS_MAX / SPARE_CLASS_MIN).ilog2() as usize + 1;
/// Memory that a thread keeps.
const SPARE_BYTES_MAX: usize = 8 << 20;

/// Bytes of one operation.
#[derive(Default)]
pub struct Buffer {
    /// The bytes are `memory[start..start + bytes]`.
    memory: Vec<u8>,
    start: usize,
    bytes: usize,
}

/// Memory that waits to be used again.
#[derive(Default)]
struct Spare {
    classes: [Vec<Vec<u8>>; SPARE_CLASSES],
    bytes: usize,
}

thread_local! {
    static SPARE: RefCell<Spare> = RefCell::default();
}

/// The class whose memory holds so many bytes.
fn class_of(bytes: usize) -> Option<usize> {
    let size = bytes.max(SPARE_CLASS_MIN).next_power_of_two();
    (bytes <= SPARE_CLASS_MAX).then(|| (size / SPARE_CLASS_MIN).ilog2() as usize)
}

/// Length of the memory of a class: enough to begin at a multiple of `ALIGNMENT` within it.
fn memory_bytes(class: usize) -> usize {
    (SPARE_CLASS_MIN << class) + ALIGNMENT
}

impl Spare {
    fn take(&mut self, class: usize) -> Option<Vec<u8>> {
        let memory = self.classes[class].pop()?;
        self.bytes -= memory.len();
        Some(memory)
    }

    /// Keeps memory of a class; any other is freed, and so is what would be too much.
    fn put(&mut self, memory: Vec<u8>) {
        let size = memory.len().saturating_sub(ALIGNMENT);
        let Some(class) = class_of(size).filter(|class| memory_bytes(*class) == memory.len())
        else {
            return;
        };
        if self.bytes + memory.len() <= SPARE_BYTES_MAX {
            self.bytes += memory.len();
            self.classes[class].push(memory);
        }
    }
}

impl Buffer {
    /// `bytes` zeroes.
    pub fn zeroed(bytes: usize) -> Self {
        if bytes < ALIGNED_BYTES_MIN {
            return Self::from_vec(vec![0; bytes]);
        }
        if class_of(bytes).is_none() {
            // The system clears this much memory only when it is touched.
            return Self::aligned(vec![0; bytes + ALIGNMENT], bytes);
        }
        let mut buffer = Self::scratch(bytes);
        buffer.fill(0);
        buffer
    }

    /// `bytes` bytes that may hold anything this process has had in memory: for one who fills them all, such as a
    /// read.
    pub fn scratch(bytes: usize) -> Self {
        let Some(class) = class_of(bytes).filter(|_| bytes >= ALIGNED_BYTES_MIN) else {
            return Self::zeroed(bytes);
        };
        // A thread that is ending has no spare memory any more.
        let spare = SPARE.try_with(|spare| spare.borrow_mut().take(class)).ok().flatten();
        Self::aligned(spare.unwrap_or_else(|| vec![0; memory_bytes(class)]), bytes)
    }

    /// The first `bytes` bytes of `memory` from a multiple of `ALIGNMENT` on.
    fn aligned(memory: Vec<u8>, bytes: usize) -> Self {
        let address = memory.as_ptr().addr();
        Self { start: address.next_multiple_of(ALIGNMENT) - address, memory, bytes }
    }

    /// Takes over `bytes` without copying.
    pub fn from_vec(bytes: Vec<u8>) -> Self {
        Self { start: 0, bytes: bytes.len(), memory: bytes }
    }

    /// Gives the bytes up; without copying when it was made of a vector.
    pub fn into_vec(self) -> Vec<u8> {
        self.try_into_vec().unwrap_or_else(|buffer| buffer.to_vec())
    }

    /// The vector it was made of.
    ///
    /// # Errors
    /// It was made in another way; it comes back.
    pub fn try_into_vec(mut self) -> Result<Vec<u8>, Self> {
        if self.bytes == self.memory.len() {
            Ok(std::mem::take(&mut self.memory))
        } else {
            Err(self)
        }
    }
}

/// A buffer that is filled from its front and grows as that asks for.
#[derive(Debug, Default)]
pub struct BufferBuilder {
    /// Its first `filled` bytes are set; the others may hold anything.
    buffer: Buffer,
    filled: usize,
}

impl BufferBuilder {
    /// An empty one, that grows when more than `bytes` bytes are appended.
    pub fn with_capacity(bytes: usize) -> Self {
        let bytes = bytes.next_power_of_two().max(SPARE_CLASS_MIN);
        Self { buffer: Buffer::scratch(bytes), filled: 0 }
    }

    /// Number of bytes appended.
    pub fn len(&self) -> usize {
        self.filled
    }

    /// True when nothing was appended.
    pub fn is_empty(&self) -> bool {
        self.filled == 0
    }

    /// Appends bytes.
    pub fn append(&mut self, bytes: &[u8]) {
        self.room(bytes.len()).copy_from_slice(bytes);
    }

    /// Appends zeroes up to a length; nothing when it is that long already.
    pub fn pad_to(&mut self, length: usize) {
        if length > self.filled {
            self.room(length - self.filled).fill(0);
        }
    }

    /// The next `bytes` bytes, for the caller to set.
    fn room(&mut self, bytes: usize) -> &mut [u8] {
        let (from, to) = (self.filled, self.filled + bytes);
        if to > self.buffer.bytes {
            self.grow(to);
        }
        self.filled = to;
        let start = self.buffer.start;
        &mut self.buffer.memory[start + from..start + to]
    }

    #[cold]
    fn grow(&mut self, bytes: usize) {
        let mut larger = Self::with_capacity(bytes).buffer;
        larger[..self.filled].copy_from_slice(&self.buffer[..self.filled]);
        self.buffer = larger;
    }

    /// What was appended.
    pub fn finish(mut self) -> Buffer {
        self.buffer.bytes = self.filled;
        self.buffer
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let memory = std::mem::take(&mut self.memory);
        if memory.len() > self.bytes {
            // A thread that is ending keeps nothing.
            let _ = SPARE.try_with(|spare| spare.borrow_mut().put(memory));
        }
    }
}

impl Clone for Buffer {
    fn clone(&self) -> Self {
        Self::from(&**self)
    }
}

impl PartialEq for Buffer {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Buffer {}

impl std::ops::Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.memory[self.start..self.start + self.bytes]
    }
}

impl std::ops::DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..self.start + self.bytes]
    }
}

impl From<&[u8]> for Buffer {
    fn from(bytes: &[u8]) -> Self {
        let mut buffer = Self::scratch(bytes.len());
        buffer.copy_from_slice(bytes);
        buffer
    }
}

impl std::fmt::Debug for Buffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Buffer({} bytes)", self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_of_a_sector_or_more_are_aligned_and_hold_what_they_should() {
        for bytes in
            [0_usize, 1, 511, 512, 4095, 4096, 4097, 128 << 10, 1 << 20, (1 << 20) + 1, 3 << 20]
        {
            let data: Vec<u8> = (0..bytes).map(|at| at.to_le_bytes()[0]).collect();
            for buffer in [Buffer::from(&data[..]), Buffer::from(&data[..]).clone()] {
                assert!(*buffer == *data, "{bytes}");
                assert!(
                    bytes < ALIGNED_BYTES_MIN || buffer.as_ptr().addr().is_multiple_of(ALIGNMENT)
                );
            }
            // After the memory above was given back.
            let zeroes = Buffer::zeroed(bytes);
            assert!(zeroes.len() == bytes && zeroes.iter().all(|byte| *byte == 0), "{bytes}");
            assert!(bytes < ALIGNED_BYTES_MIN || zeroes.as_ptr().addr().is_multiple_of(ALIGNMENT));
            assert!(Buffer::from(&data[..]).into_vec() == data);
        }
    }

    #[test]
    fn what_is_appended_is_in_the_buffer_however_often_it_grew() {
        drop(Buffer::from(&[7; 9000][..]));
        let mut builder = BufferBuilder::with_capacity(1);
        let mut expected = Vec::new();
        while builder.len() < 3 << 20 {
            let part = [builder.len().to_le_bytes()[1]; 5000];
            builder.append(&part);
            builder.pad_to(builder.len().next_multiple_of(512));
            expected.extend_from_slice(&part);
            expected.resize(expected.len().next_multiple_of(512), 0);
            builder.pad_to(0);
        }

        let buffer = builder.finish();

        assert!(*buffer == *expected);
        assert!(buffer.as_ptr().addr().is_multiple_of(ALIGNMENT));
    }

    #[test]
    fn memory_is_used_again_for_the_same_class_of_sizes() {
        let first = Buffer::scratch(100_000);
        let address = first.as_ptr();
        drop(first);

        assert_eq!(Buffer::scratch(70_000).as_ptr(), address);
    }

    #[test]
    fn no_more_than_the_bound_is_kept() {
        drop((0..64).map(|_| Buffer::scratch(1 << 20)).collect::<Vec<_>>());

        SPARE.with_borrow(|spare| {
            assert!(spare.bytes <= SPARE_BYTES_MAX);
            let kept: usize = spare.classes.iter().flatten().map(Vec::len).sum();
            assert_eq!(spare.bytes, kept);
        });
    }

    #[test]
    fn a_vector_is_taken_and_given_back_without_a_copy() {
        let bytes = vec![7; 5000];
        let address = bytes.as_ptr();

        let back = Buffer::from_vec(bytes).try_into_vec().expect("it was made of a vector");

        assert_eq!(back.as_ptr(), address);
        assert!(Buffer::scratch(5000).try_into_vec().is_err());
    }
}

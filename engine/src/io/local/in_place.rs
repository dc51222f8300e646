//! What is done by a plain call in the loop instead of by the ring, and in which pieces.
//!
//! - N1 A read, a receive or a send made in place never waits: the call is told not to, and what it leaves undone is
//!   the ring's. So is every error.
//! - N2 A write made in place may wait, so it is no longer than a turn, and a slow one is the last for a while.
//!
//! What is in the page cache, or in a socket's buffer, needs no second call to be had, and a request whose bytes are there
//! is answered in the turn that received it. Reads beyond the page cache go to the ring.
//!
//! File systems without non-blocking buffered writes (ext4 up to at least Linux 6.18) let the ring
//! punt every such write to a helper thread: measured on two cores, 70,000 to 140,000 4 KiB writes/s,
//! against 150,000 to 215,000 made in place. A plain call however sleeps when the system throttles
//! writers, and everything else of the loop with it. So writes are made in place until one of
//! them was slow; then all go to the ring for a while. In direct mode a plain call would wait for the
//! device: there the ring takes all reads and writes.

use std::fs::File;
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use rustix::io::{ReadWriteFlags, preadv2};
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags};

/// Longest read made in place: copying it takes tens of microseconds.
const READ_BYTES_MAX: usize = 256 << 10;
/// Longest write made in place: it takes 0.3 to 0.5 ms, as long as a turn of the loop may last.
const WRITE_BYTES_MAX: usize = 1 << 20;
/// A write that took longer was throttled by the kernel, which lets writers sleep for 10 to 200 ms. One that only lost its
/// processor to another thread is back earlier, and there the ring would have no advantage.
const SLOW: Duration = Duration::from_millis(5);
/// How long the ring takes all writes after a slow one.
const PAUSE: Duration = Duration::from_millis(50);
/// Parts of the longest send made in place; one of more is long enough for the ring.
const PARTS_MAX: usize = 8;

/// Longest piece that one call, or one submission, writes. The page cache keeps a written piece in one folio as large as it
/// can, and ext4 walks all buffers of a folio at every later write into it. So this size decides between random writes
/// and long ones: random 4 KiB writes after pieces of 16, 32, 64 and 256 KiB took 2.3, 2.9, 3.7 and 6.7 us, long writes
/// of new blocks reached 2.4, 3.2, 3.8 and 4.5 GB/s (`fio --ioengine=psync --invalidate=0`, 512 MiB). With 32 instead of 256
/// KiB a server does 1.5 times the random writes at depth 32 and 1.2 times those at depth 1.
const PIECE_BYTES_MAX: usize = 32 << 10;

/// Decides for one write after the other (N2).
#[derive(Debug, Default)]
pub(super) struct InPlace {
    paused_until: Option<Instant>,
}

impl InPlace {
    /// Writes `data` at byte `offset`, piece by piece until one is slow; gives what the ring would: the number of bytes, or an
    /// error. `None` when the write is the ring's.
    pub(super) fn write(&mut self, file: &File, data: &[u8], offset: u64) -> Option<i32> {
        let mut began = Instant::now();
        if !self.allowed(data.len(), began) {
            return None;
        }
        let mut done = 0;
        while done < data.len() {
            let at = offset + done as u64;
            let end = data.len().min(done + piece_bytes(at));
            if let Err(error) = file.write_all_at(&data[done..end], at) {
                return Some(-error.raw_os_error().unwrap_or(libc::EIO));
            }
            done = end;
            let ended = Instant::now();
            self.took(began, ended);
            if self.paused_until.is_some() {
                break;
            }
            began = ended;
        }
        Some(i32::try_from(done).expect("it is short"))
    }

    /// True when a write of `bytes` bytes should be made in place, now.
    fn allowed(&self, bytes: usize, now: Instant) -> bool {
        bytes <= WRITE_BYTES_MAX && self.paused_until.is_none_or(|until| until <= now)
    }

    /// Learns how long a write made in place took.
    fn took(&mut self, began: Instant, ended: Instant) {
        self.paused_until = (ended - began > SLOW).then(|| ended + PAUSE);
    }
}

/// How much is written at once from byte `offset` on: a piece ends where an aligned one ends, so that none ends within a page.
pub(super) fn piece_bytes(offset: u64) -> usize {
    let within = usize::try_from(offset % PIECE_BYTES_MAX as u64).expect("less than a piece");
    PIECE_BYTES_MAX - within
}

/// Reads what the page cache holds of the bytes at `offset`; gives how many those are. `None` where there are none, or the
/// read is the ring's.
pub(super) fn read(file: &File, buffer: &mut [u8], offset: u64) -> Option<i32> {
    if buffer.len() > READ_BYTES_MAX {
        return None;
    }
    let read = preadv2(file, &mut [IoSliceMut::new(buffer)], offset, ReadWriteFlags::NOWAIT);
    read.ok().filter(|&bytes| bytes > 0).and_then(|bytes| i32::try_from(bytes).ok())
}

/// Receives what has arrived; tells how many bytes that is, 0 at the end of the stream, `None` when it is the ring's.
pub(super) fn receive(socket: &OwnedFd, buffer: &mut [u8]) -> Option<usize> {
    let (_, bytes) = rustix::net::recv(socket, buffer, RecvFlags::DONTWAIT).ok()?;
    Some(bytes)
}

/// Sends as much of `parts` as the socket takes now; tells how many bytes those are. `more` says that there will be a
/// further send in the same turn.
pub(super) fn send<'a>(
    socket: &OwnedFd,
    parts: impl Iterator<Item = &'a [u8]>,
    more: bool,
) -> usize {
    let mut slices = [IoSlice::new(&[]); PARTS_MAX];
    let mut count = 0;
    for part in parts {
        let Some(slice) = slices.get_mut(count) else {
            return 0;
        };
        *slice = IoSlice::new(part);
        count += 1;
    }
    let mut flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    flags.set(SendFlags::MORE, more);
    let mut nothing_else = SendAncillaryBuffer::default();
    rustix::net::sendmsg(socket, &slices[..count], &mut nothing_else, flags).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_takes_what_the_file_has_and_leaves_long_ones_to_the_ring() {
        let file = tempfile::tempfile().expect("a temporary file");
        file.write_all_at(&[7; 100], 0).expect("it is written");
        let mut buffer = [0; 200];

        // A file system in memory may refuse reads that must not wait.
        let done = read(&file, &mut buffer, 40);

        assert!([None, Some(60)].contains(&done), "{done:?}");
        let done = usize::try_from(done.unwrap_or(0)).expect("a number of bytes");
        assert_eq!(buffer[..done], vec![7; done]);
        assert_eq!(read(&file, &mut vec![0; READ_BYTES_MAX + 1], 0), None);
    }

    #[test]
    fn a_write_of_many_pieces_is_whole_and_no_piece_ends_within_a_page() {
        let file = tempfile::tempfile().expect("a temporary file");
        let data: Vec<u8> = (0..200_000_u32).map(|at| at.to_le_bytes()[at as usize % 3]).collect();

        assert_eq!(InPlace::default().write(&file, &data, 5000), Some(200_000));

        let mut written = vec![0; data.len()];
        file.read_exact_at(&mut written, 5000).expect("it was written");
        assert_eq!(written, data);
        for offset in [0, 1, 5000, 32_767, 32_768, 1 << 40] {
            let end = offset + piece_bytes(offset) as u64;
            assert!(end.is_multiple_of(4096) && end > offset && end <= offset + (32 << 10));
        }
    }

    #[test]
    fn a_send_of_many_parts_is_the_rings() {
        let (ours, _theirs) = std::os::unix::net::UnixStream::pair().expect("a pair of sockets");
        let ours = ours.into();
        let parts = |count| std::iter::repeat_n(&[1][..], count);

        assert_eq!(send(&ours, parts(PARTS_MAX), false), PARTS_MAX);
        assert_eq!(send(&ours, parts(PARTS_MAX + 1), false), 0);
    }

    #[test]
    fn after_a_slow_write_the_ring_takes_over_for_a_while() {
        let start = Instant::now();
        let mut writes = InPlace::default();
        assert!(writes.allowed(4096, start));

        writes.took(start, start + Duration::from_millis(4));
        assert!(writes.allowed(4096, start + Duration::from_millis(4)), "it lost its processor");
        writes.took(start, start + Duration::from_millis(6));

        assert!(!writes.allowed(4096, start + Duration::from_millis(7)));
        assert!(writes.allowed(4096, start + Duration::from_millis(56)));
    }

    #[test]
    fn long_writes_always_go_to_the_ring() {
        let writes = InPlace::default();

        assert!(writes.allowed(WRITE_BYTES_MAX, Instant::now()));
        assert!(!writes.allowed(WRITE_BYTES_MAX + 1, Instant::now()));
    }
}

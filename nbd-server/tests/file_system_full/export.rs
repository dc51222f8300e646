//! A client of one export, and content that tells where it belongs.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use crate::{ENOSPC, KIB, MIB, PATIENCE, eventually};

/// A client of one export; its requests are sent at once and answered in any order.
pub(crate) struct Export {
    stream: UnixStream,
}

/// The error of a reply.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refused(pub(crate) u32);

impl Export {
    pub(crate) fn open(socket: &Path, name: &str) -> Self {
        let mut stream = UnixStream::connect(socket).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut greeting = [0; 18];
        stream.read_exact(&mut greeting).unwrap();
        let mut hello = 3_u32.to_be_bytes().to_vec();
        hello.extend(b"IHAVEOPT");
        hello.extend(1_u32.to_be_bytes());
        hello.extend(u32::try_from(name.len()).unwrap().to_be_bytes());
        hello.extend(name.as_bytes());
        stream.write_all(&hello).unwrap();
        stream.read_exact(&mut [0; 10]).unwrap();
        Self { stream }
    }

    fn send(&mut self, kind: u16, offset: u64, bytes: u64, data: &[u8]) {
        let mut request = 0x2560_9513_u32.to_be_bytes().to_vec();
        request.extend([0, 0]);
        request.extend(kind.to_be_bytes());
        request.extend(offset.to_be_bytes());
        request.extend(offset.to_be_bytes());
        request.extend(u32::try_from(bytes).unwrap().to_be_bytes());
        request.extend(data);
        self.stream.write_all(&request).unwrap();
    }

    fn reply(&mut self) -> Result<(), Refused> {
        let mut reply = [0; 16];
        self.stream.read_exact(&mut reply).expect("a reply in time");
        match u32::from_be_bytes(reply[4..8].try_into().unwrap()) {
            0 => Ok(()),
            error => Err(Refused(error)),
        }
    }

    pub(crate) fn write(&mut self, offset: u64, data: &[u8]) -> Result<(), Refused> {
        self.send(1, offset, data.len() as u64, data);
        self.reply()
    }

    pub(crate) fn read(&mut self, offset: u64, bytes: u64) -> Result<Vec<u8>, Refused> {
        self.send(0, offset, bytes, &[]);
        self.reply()?;
        let mut data = vec![0; usize::try_from(bytes).unwrap()];
        self.stream.read_exact(&mut data).unwrap();
        Ok(data)
    }

    fn flush(&mut self) {
        self.send(3, 0, 0, &[]);
        self.reply().unwrap();
    }

    /// Writes content of a kind, a few requests at a time, and flushes it.
    pub(crate) fn fill(&mut self, kind: u8, range: std::ops::Range<u64>) {
        const STEP: u64 = 256 * KIB;
        let mut in_flight = 0;
        for offset in range.clone().step_by(usize::try_from(STEP).unwrap()) {
            let bytes = STEP.min(range.end - offset);
            self.send(1, offset, bytes, &content(kind, offset, bytes));
            in_flight += 1;
            if in_flight == 8 {
                self.reply().unwrap();
                in_flight -= 1;
            }
        }
        for _ in 0..in_flight {
            self.reply().unwrap();
        }
        self.flush();
    }

    pub(crate) fn holds(&mut self, kind: u8, range: std::ops::Range<u64>) {
        for offset in range.clone().step_by(usize::try_from(MIB).unwrap()) {
            let bytes = MIB.min(range.end - offset);
            let found = self.read(offset, bytes).unwrap();
            assert!(found == content(kind, offset, bytes), "no {kind} in the MiB from {offset}");
        }
    }

    /// Writes to one hole of 4 KiB after the other until one is refused; gives those that were taken.
    pub(crate) fn write_holes_until_refused(&mut self, kind: u8, from: u64) -> Vec<u64> {
        let mut taken = Vec::new();
        let mut next = from;
        eventually(|| match self.write(next, &content(kind, next, 4 * KIB)) {
            Ok(()) => {
                taken.push(next);
                next += 64 * KIB;
                None
            }
            Err(error) => {
                assert_eq!(error, Refused(ENOSPC));
                Some(())
            }
        });
        self.flush();
        taken
    }
}

/// Bytes that differ with kind and place.
pub(crate) fn content(kind: u8, offset: u64, bytes: u64) -> Vec<u8> {
    let words = (offset / 8..(offset + bytes) / 8).map(|word| word * 256 + u64::from(kind));
    words.flat_map(u64::to_le_bytes).collect()
}

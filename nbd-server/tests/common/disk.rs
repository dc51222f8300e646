//! A client of an export that sees the protocol's error numbers and sends many requests at once.

#![allow(dead_code, reason = "each test uses its part of the module")]

use std::io::{Read, Write};
use std::ops::Range;
use std::os::unix::net::UnixStream;

use nbd::client::handshake;

use crate::process::Server;

const READ: u16 = 0;
const WRITE: u16 = 1;
const FLUSH: u16 = 3;
const TRIM: u16 = 4;
const WRITE_ZEROES: u16 = 6;
const REQUEST_MAGIC: u32 = 0x2560_9513;
const REPLY_MAGIC: u32 = 0x6744_6698;
/// Requests that are sent before their answers are awaited: both fit the socket's buffers.
const AT_ONCE: usize = 256;

/// An export as a disk; errors are the protocol's numbers.
pub(crate) struct Disk(UnixStream);

/// Requests are refused with EPERM on a target that hosts cannot write to.
pub(crate) const EPERM: u32 = 1;

impl Disk {
    /// A new connection to the export of `volume`.
    pub(crate) fn of(server: &Server, volume: &str) -> Self {
        let mut stream = server.socket("nbd");
        handshake(&mut stream, volume.as_bytes()).expect("the export is served");
        Self(stream)
    }

    pub(crate) fn read(&mut self, offset: u64, bytes: usize) -> Result<Vec<u8>, u32> {
        self.send(READ, offset, bytes, &[]);
        self.answer()?;
        let mut data = vec![0; bytes];
        self.0.read_exact(&mut data).expect("the data follows");
        Ok(data)
    }

    pub(crate) fn write(&mut self, offset: u64, data: &[u8]) -> Result<(), u32> {
        self.send(WRITE, offset, data.len(), data);
        self.answer()
    }

    pub(crate) fn flush(&mut self) -> Result<(), u32> {
        self.send(FLUSH, 0, 0, &[]);
        self.answer()
    }

    pub(crate) fn trim(&mut self, offset: u64, bytes: usize) -> Result<(), u32> {
        self.send(TRIM, offset, bytes, &[]);
        self.answer()
    }

    pub(crate) fn write_zeroes(&mut self, offset: u64, bytes: usize) -> Result<(), u32> {
        self.send(WRITE_ZEROES, offset, bytes, &[]);
        self.answer()
    }

    /// Writes zeroes to many ranges, in no particular order.
    pub(crate) fn write_zeroes_to(&mut self, ranges: &[Range<u64>]) {
        for some in ranges.chunks(AT_ONCE) {
            let requests: Vec<u8> = some
                .iter()
                .flat_map(|range| {
                    let bytes = usize::try_from(range.end - range.start).expect("it fits memory");
                    request(WRITE_ZEROES, range.start, bytes)
                })
                .collect();
            self.0.write_all(&requests).expect("the server takes them");
            for range in some {
                assert_eq!(self.answer(), Ok(()), "one of {range:?} and its neighbours");
            }
        }
    }

    fn send(&mut self, command: u16, offset: u64, bytes: usize, payload: &[u8]) {
        let mut message = request(command, offset, bytes);
        message.extend(payload);
        self.0.write_all(&message).expect("the server takes it");
    }

    fn answer(&mut self) -> Result<(), u32> {
        let mut reply = [0; 16];
        self.0.read_exact(&mut reply).expect("the server answers");
        let (magic, error) = (word(&reply[..4]), word(&reply[4..8]));
        assert_eq!(magic, REPLY_MAGIC, "a simple reply");
        if error == 0 { Ok(()) } else { Err(error) }
    }
}

/// A request; its cookie does not matter, since order does not.
fn request(command: u16, offset: u64, bytes: usize) -> Vec<u8> {
    let bytes = u32::try_from(bytes).expect("the protocol's requests are shorter");
    let mut out = REQUEST_MAGIC.to_be_bytes().to_vec();
    out.extend([0, 0]);
    out.extend(command.to_be_bytes());
    out.extend(0_u64.to_be_bytes());
    out.extend(offset.to_be_bytes());
    out.extend(bytes.to_be_bytes());
    out
}

fn word(bytes: &[u8]) -> u32 {
    u32::from_be_bytes(bytes.try_into().expect("four bytes"))
}

//! A small NBD client over a socket pair: just enough to talk to a worker.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use super::stand_in::VOLUME;
use crate::worker::{Mailbox, Socket};

pub(super) const READ: u16 = 0;
pub(super) const WRITE: u16 = 1;
pub(super) const DISCONNECT: u16 = 2;
pub(super) const FLUSH: u16 = 3;
pub(super) const TRIM: u16 = 4;
pub(super) const WRITE_ZEROES: u16 = 6;

/// Length of the greeting.
const GREETING_BYTES: usize = 18;

pub(super) struct Client {
    pub(super) stream: UnixStream,
}

impl Client {
    /// Only connects; the handshake has not begun.
    pub(super) fn silent(mailbox: &Mailbox) -> Self {
        let (ours, theirs) = UnixStream::pair().unwrap();
        mailbox.add_connection(Socket::Unix(theirs), "test".to_owned()).unwrap();
        Self { stream: ours }
    }

    /// Connects and chooses the volume with `EXPORT_NAME`.
    pub(super) fn connect(mailbox: &Mailbox) -> Self {
        let mut client = Self::silent(mailbox);
        client.shake_hands();
        client
    }

    pub(super) fn shake_hands(&mut self) {
        self.receive(GREETING_BYTES);
        let mut hello = 3_u32.to_be_bytes().to_vec();
        hello.extend(b"IHAVEOPT");
        hello.extend(1_u32.to_be_bytes());
        hello.extend(u32::try_from(VOLUME.len()).unwrap().to_be_bytes());
        hello.extend(VOLUME.as_bytes());
        self.stream.write_all(&hello).unwrap();
        self.receive(10);
    }

    pub(super) fn send(&mut self, kind: u16, cookie: u64, offset: u64, bytes: usize, data: &[u8]) {
        let mut request = 0x2560_9513_u32.to_be_bytes().to_vec();
        request.extend([0, 0]);
        request.extend(kind.to_be_bytes());
        request.extend(cookie.to_be_bytes());
        request.extend(offset.to_be_bytes());
        request.extend(u32::try_from(bytes).unwrap().to_be_bytes());
        request.extend(data);
        self.stream.write_all(&request).unwrap();
    }

    /// The next simple reply: error and cookie.
    pub(super) fn reply(&mut self) -> (u32, u64) {
        let header = self.receive(16);
        assert_eq!(header[..4], 0x6744_6698_u32.to_be_bytes());
        let error = u32::from_be_bytes(header[4..8].try_into().unwrap());
        (error, u64::from_be_bytes(header[8..].try_into().unwrap()))
    }

    pub(super) fn receive(&mut self, bytes: usize) -> Vec<u8> {
        let mut buffer = vec![0; bytes];
        self.stream.read_exact(&mut buffer).unwrap();
        buffer
    }

    pub(super) fn write(&mut self, offset: u64, data: &[u8]) {
        self.send(WRITE, 1, offset, data.len(), data);
        assert_eq!(self.reply(), (0, 1));
    }

    pub(super) fn read(&mut self, offset: u64, bytes: usize) -> Vec<u8> {
        self.send(READ, 2, offset, bytes, &[]);
        assert_eq!(self.reply(), (0, 2));
        self.receive(bytes)
    }

    /// True when the server has closed; false when a byte came instead.
    pub(super) fn is_closed(&mut self) -> bool {
        !matches!(self.stream.read(&mut [0; 1]), Ok(1))
    }
}

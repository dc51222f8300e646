//! The client against the server's own session, without sockets, and against servers that talk nonsense.

use std::io::{Read, Write};

use proptest::prelude::*;

use super::{Answer, Connection, NbdError};

/// A server that has said everything before it was asked, and takes whatever it is told.
struct Canned<'a>(&'a [u8]);

impl Read for Canned<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Canned<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn option_reply(out: &mut Vec<u8>, option: u32, kind: u32, data: &[u8]) {
    out.extend_from_slice(&0x0003_e889_0455_65a9_u64.to_be_bytes());
    for number in [option, kind, u32::try_from(data.len()).expect("short")] {
        out.extend_from_slice(&number.to_be_bytes());
    }
    out.extend_from_slice(data);
}

/// A handshake for an export of 1 MiB with FLUSH.
fn greeting() -> Vec<u8> {
    let mut out = b"NBDMAGICIHAVEOPT\0\x03".to_vec();
    option_reply(&mut out, 8, 1, &[]);
    option_reply(&mut out, 10, 4, b"\0\0\0\x01base:allocation");
    option_reply(&mut out, 10, 1, &[]);
    option_reply(&mut out, 7, 3, &[0, 0, 0, 0, 0, 0, 0, 16, 0, 0, 0, 5]);
    option_reply(&mut out, 7, 1, &[]);
    out
}

fn chunk(out: &mut Vec<u8>, flags: u16, kind: u16, cookie: u64, payload: &[u8]) {
    out.extend_from_slice(&0x668e_33ef_u32.to_be_bytes());
    out.extend_from_slice(&flags.to_be_bytes());
    out.extend_from_slice(&kind.to_be_bytes());
    out.extend_from_slice(&cookie.to_be_bytes());
    out.extend_from_slice(&u32::try_from(payload.len()).expect("short").to_be_bytes());
    out.extend_from_slice(payload);
}

/// The reply to one read of 8 bytes at 16, of these chunks.
fn read_of(chunks: &[(u16, u16, &[u8])]) -> Result<Answer, NbdError> {
    let mut bytes = greeting();
    for (flags, kind, payload) in chunks {
        chunk(&mut bytes, *flags, *kind, 0, payload);
    }
    let mut connection = Connection::open(Canned(&bytes), "v").expect("the greeting is right");
    assert_eq!(connection.size_bytes(), 1 << 20);
    connection.read(16, 8).expect("it takes everything");
    connection.reply().map(|reply| reply.answer)
}

#[test]
fn a_read_may_come_in_chunks_and_holes_in_any_order() {
    let answer = read_of(&[
        (0, 2, &[0, 0, 0, 0, 0, 0, 0, 20, 0, 0, 0, 4]),
        (0, 1, b"\0\0\0\0\0\0\0\x10data"),
        (1, 0, &[]),
    ]);

    assert_eq!(answer.expect("a whole reply"), Answer::Data(b"data\0\0\0\0".to_vec()));
}

#[test]
fn a_read_that_is_not_whole_or_out_of_place_is_an_error() {
    for chunks in [
        &[(1, 1, &b"\0\0\0\0\0\0\0\x10data"[..])][..],
        &[(1, 1, b"\0\0\0\0\0\0\0\x0Fdatadata")],
        &[(1, 1, b"\0\0\0\0\0\0\0\x14datadata")],
        &[(1, 1, b"\0\0\0")],
        &[(1, 2, b"\0\0\0\0\0\0\0\x10\xFF\xFF\xFF\xFF")],
        &[(1, 5, b"\0\0\0\x01\0\0\0\x10\0\0\0\0")],
        &[(1, 77, b"")],
    ] {
        assert!(matches!(read_of(chunks), Err(NbdError::Protocol(_))), "{chunks:?}");
    }
}

#[test]
fn an_error_reply_tells_place_value_and_text() {
    let error = read_of(&[(1, 0x8001, b"\0\0\0\x05\0\x04gone")]).expect_err("an error");

    let told = error.to_string();
    for part in ["8 bytes at 16", "error 5", "gone"] {
        assert!(told.contains(part), "{told}");
    }
}

#[test]
fn an_export_that_is_refused_is_named() {
    let mut bytes = greeting()[..18].to_vec();
    option_reply(&mut bytes, 8, 1, &[]);
    option_reply(&mut bytes, 10, 0x8000_0006, b"no such export");

    let error = Connection::open(Canned(&bytes), "v").map(drop).expect_err("refused");
    assert!(error.to_string().contains("export v: no such export"), "{error}");
}

proptest! {
    #[test]
    fn a_server_that_talks_nonsense_never_panics_the_client(nonsense in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(Connection::open(Canned(&nonsense), "v").is_err());
        let mut bytes = greeting();
        bytes.extend_from_slice(&0x668e_33ef_u32.to_be_bytes());
        bytes.extend_from_slice(&nonsense);
        let mut connection = Connection::open(Canned(&bytes), "v").expect("the greeting is right");
        connection.read(0, 64).expect("it takes everything");
        prop_assert!(connection.reply().is_err());
    }
}

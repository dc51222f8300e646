//! What an NBD client sends and receives, as bytes. Nothing a server sends panics here.

use flashtrack_nbd_server::protocol::constants as nbd;
use flashtrack_nbd_server::protocol::reader::Reader;

/// The fixed part of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RequestHeader {
    /// Command.
    pub(crate) command: u16,
    /// Comes back in the reply.
    pub(crate) cookie: u64,
    /// First byte.
    pub(crate) offset: u64,
    /// Length in bytes.
    pub(crate) bytes: u32,
}

impl RequestHeader {
    /// As it is sent; no flags are ever set.
    pub(crate) fn encode(&self) -> [u8; 28] {
        let mut out = [0; 28];
        out[..4].copy_from_slice(&nbd::REQUEST_MAGIC.to_be_bytes());
        out[6..8].copy_from_slice(&self.command.to_be_bytes());
        out[8..16].copy_from_slice(&self.cookie.to_be_bytes());
        out[16..24].copy_from_slice(&self.offset.to_be_bytes());
        out[24..].copy_from_slice(&self.bytes.to_be_bytes());
        out
    }
}

/// An option of the handshake with its data.
pub(crate) fn encode_option(option: u32, data: &[u8]) -> Vec<u8> {
    let bytes = u32::try_from(data.len()).expect("options hold a name and a few numbers");
    let mut out = nbd::OPTION_MAGIC.to_be_bytes().to_vec();
    out.extend_from_slice(&option.to_be_bytes());
    out.extend_from_slice(&bytes.to_be_bytes());
    out.extend_from_slice(data);
    out
}

/// A string with its length before it.
pub(crate) fn put_string(out: &mut Vec<u8>, text: &str) {
    let bytes = u32::try_from(text.len()).expect("names are short");
    out.extend_from_slice(&bytes.to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

/// The fixed part of an option reply, 20 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OptionReply {
    /// Its type.
    pub(crate) kind: u32,
    /// Length of its data.
    pub(crate) bytes: u32,
}

impl OptionReply {
    /// None when it is no reply to `option`.
    pub(crate) fn decode(input: &[u8; 20], option: u32) -> Option<Self> {
        let mut reader = Reader::new(input);
        let magic = reader.u64()?;
        let of = reader.u32()?;
        let reply = Self { kind: reader.u32()?, bytes: reader.u32()? };
        (magic == nbd::OPTION_REPLY_MAGIC && of == option).then_some(reply)
    }

    /// True for the types that refuse.
    pub(crate) fn is_error(self) -> bool {
        self.kind & (1 << 31) != 0
    }
}

/// The rest of a chunk's header, behind its magic number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ChunkHeader {
    /// True for the last chunk of a reply.
    pub(crate) done: bool,
    /// What it holds.
    pub(crate) kind: u16,
    /// Of the request.
    pub(crate) cookie: u64,
    /// Length of its payload.
    pub(crate) bytes: u32,
}

impl ChunkHeader {
    /// From the 16 bytes behind the magic number.
    pub(crate) fn decode(input: &[u8; 16]) -> Option<Self> {
        let mut reader = Reader::new(input);
        let flags = reader.u16()?;
        Some(Self {
            done: flags & nbd::REPLY_FLAG_DONE != 0,
            kind: reader.u16()?,
            cookie: reader.u64()?,
            bytes: reader.u32()?,
        })
    }
}

/// The rest of a simple reply, behind its magic number: error value and cookie.
pub(crate) fn decode_simple(input: &[u8; 12]) -> Option<(u32, u64)> {
    let mut reader = Reader::new(input);
    Some((reader.u32()?, reader.u64()?))
}

/// The payload of an error chunk: error value and text.
pub(crate) fn decode_error(payload: &[u8]) -> Option<(u32, String)> {
    let mut reader = Reader::new(payload);
    let code = reader.u32()?;
    let bytes = reader.u16()?;
    let text = reader.bytes(u32::from(bytes))?;
    // It goes to a terminal: no control characters.
    let text = String::from_utf8_lossy(text).chars().filter(|c| !c.is_control()).collect();
    Some((code, text))
}

/// A run of bytes of one allocation status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    /// Length.
    pub(crate) bytes: u32,
    /// True when it reads as zeroes.
    pub(crate) zeroes: bool,
}

/// The payload of a block status chunk: its context's id and the extents. None when it makes no sense.
pub(crate) fn decode_status(payload: &[u8]) -> Option<(u32, Vec<Extent>)> {
    let mut reader = Reader::new(payload);
    let context = reader.u32()?;
    let mut extents = Vec::with_capacity(payload.len() / 8);
    while !reader.is_at_end() {
        let bytes = reader.u32().filter(|&bytes| bytes > 0)?;
        let zeroes = reader.u32()? & nbd::STATE_ZERO != 0;
        extents.push(Extent { bytes, zeroes });
    }
    (!extents.is_empty()).then_some((context, extents))
}

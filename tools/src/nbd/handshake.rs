//! The handshake: fixed newstyle, structured replies, `base:allocation`, then the export.

use std::io::{Read, Write};

use flashtrack_nbd_server::protocol::constants as nbd;
use flashtrack_nbd_server::protocol::reader::Reader;
use flashtrack_nbd_server::protocol::status::ALLOCATION;

use super::NbdError;
use super::wire::{OptionReply, encode_option, put_string};

/// Longest data of an option reply that is taken.
const REPLY_BYTES_MAX: u32 = 1 << 16;
/// Payload that every server takes (document: the default of block sizes).
const PAYLOAD_BYTES_DEFAULT: u32 = 32 << 20;

/// What was agreed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Agreed {
    /// Size of the export in bytes.
    pub(super) size_bytes: u64,
    /// Transmission flags.
    pub(super) flags: u16,
    /// Longest read or write.
    pub(super) payload_bytes_max: u32,
    /// Id of the allocation context.
    pub(super) context: u32,
}

/// Opens `export`.
pub(super) fn open<S: Read + Write>(stream: &mut S, export: &str) -> Result<Agreed, NbdError> {
    greet(stream)?;
    ask(stream, nbd::OPT_STRUCTURED_REPLY, &[], |_, _| {})?
        .map_err(|_| NbdError::Missing("structured replies"))?;

    let mut query = Vec::new();
    put_string(&mut query, export);
    query.extend_from_slice(&1_u32.to_be_bytes());
    put_string(&mut query, ALLOCATION);
    let mut context = None;
    ask(stream, nbd::OPT_SET_META_CONTEXT, &query, |kind, data| {
        if kind == nbd::REP_META_CONTEXT && data.get(4..) == Some(ALLOCATION.as_bytes()) {
            context = Reader::new(data).u32();
        }
    })?
    .map_err(|refusal| refusal.of(export))?;
    let context = context.ok_or(NbdError::Missing("the metadata context base:allocation"))?;

    let mut query = Vec::new();
    put_string(&mut query, export);
    query.extend_from_slice(&1_u16.to_be_bytes());
    query.extend_from_slice(&nbd::INFO_BLOCK_SIZE.to_be_bytes());
    let (mut size, mut payload_bytes_max) = (None, PAYLOAD_BYTES_DEFAULT);
    ask(stream, nbd::OPT_GO, &query, |_, data| {
        let mut reader = Reader::new(data);
        match reader.u16() {
            Some(nbd::INFO_EXPORT) => size = reader.u64().zip(reader.u16()),
            Some(nbd::INFO_BLOCK_SIZE) => {
                payload_bytes_max = reader.bytes(8).and(reader.u32()).unwrap_or(payload_bytes_max);
            }
            _ => {}
        }
    })?
    .map_err(|refusal| refusal.of(export))?;
    let (size_bytes, flags) =
        size.ok_or_else(|| NbdError::Protocol("an export without a size".to_owned()))?;
    Ok(Agreed { size_bytes, flags, payload_bytes_max, context })
}

fn greet<S: Read + Write>(stream: &mut S) -> Result<(), NbdError> {
    let mut greeting = [0; 18];
    stream.read_exact(&mut greeting)?;
    let mut reader = Reader::new(&greeting);
    let magics = (reader.u64(), reader.u64());
    if magics != (Some(nbd::INIT_MAGIC), Some(nbd::OPTION_MAGIC)) {
        return Err(NbdError::Protocol("it does not begin with NBDMAGIC IHAVEOPT".to_owned()));
    }
    let offered = reader.u16().unwrap_or_default();
    if offered & nbd::FLAG_FIXED_NEWSTYLE == 0 {
        return Err(NbdError::Missing("fixed newstyle negotiation"));
    }
    let no_zeroes = if offered & nbd::FLAG_NO_ZEROES == 0 { 0 } else { nbd::FLAG_C_NO_ZEROES };
    stream.write_all(&(nbd::FLAG_C_FIXED_NEWSTYLE | no_zeroes).to_be_bytes())?;
    Ok(())
}

/// An option that was answered with an error.
struct Refusal {
    reply: u32,
    text: String,
}

impl Refusal {
    fn of(self, export: &str) -> NbdError {
        NbdError::Export { export: export.to_owned(), reply: self.reply, text: self.text }
    }
}

/// Sends an option and gives type and data of each reply before the last to `each`.
fn ask<S: Read + Write>(
    stream: &mut S,
    option: u32,
    data: &[u8],
    mut each: impl FnMut(u32, &[u8]),
) -> Result<Result<(), Refusal>, NbdError> {
    stream.write_all(&encode_option(option, data))?;
    loop {
        let mut header = [0; 20];
        stream.read_exact(&mut header)?;
        let reply = OptionReply::decode(&header, option)
            .filter(|reply| reply.bytes <= REPLY_BYTES_MAX)
            .ok_or_else(|| NbdError::Protocol(format!("a wrong reply to option {option}")))?;
        let mut data = vec![0; reply.bytes as usize];
        stream.read_exact(&mut data)?;
        if reply.is_error() {
            let text = String::from_utf8_lossy(&data);
            let text = text.chars().filter(|c| !c.is_control()).collect();
            return Ok(Err(Refusal { reply: reply.kind, text }));
        }
        if reply.kind == nbd::REP_ACK {
            return Ok(Ok(()));
        }
        each(reply.kind, &data);
    }
}

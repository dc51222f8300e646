//! As much of the NBD protocol as fio's client speaks: the fixed newstyle handshake for one export, simple replies.

use std::io::{self, ErrorKind, Read, Write};

const OPTION_MAGIC: &[u8; 8] = b"IHAVEOPT";
const OPTION_REPLY_MAGIC: u64 = 0x0003_e889_0455_65a9;
const REQUEST_MAGIC: u32 = 0x2560_9513;
const SIMPLE_REPLY_MAGIC: u32 = 0x6744_6698;

/// `FIXED_NEWSTYLE` and `NO_ZEROES`.
const HANDSHAKE_FLAGS: u16 = 3;
/// `HAS_FLAGS`, `SEND_FLUSH` and `CAN_MULTI_CONN`.
const TRANSMISSION_FLAGS: u16 = 1 | 1 << 2 | 1 << 8;

const OPTION_EXPORT_NAME: u32 = 1;
const OPTION_INFO: u32 = 6;
const OPTION_GO: u32 = 7;
const REPLY_ACK: u32 = 1;
const REPLY_INFO: u32 = 3;
const REPLY_UNSUPPORTED: u32 = 1 << 31 | 1;
/// No option that this server looks at is longer.
const OPTION_BYTES_MAX: u32 = 64 << 10;
/// No client that this server is for asks for more.
const REQUEST_BYTES_MAX: usize = 32 << 20;

/// Commands.
pub(super) const READ: u16 = 0;
/// See [`READ`].
pub(super) const WRITE: u16 = 1;
/// See [`READ`].
pub(super) const DISCONNECT: u16 = 2;

/// The head of a request.
pub(super) struct Request {
    pub(super) command: u16,
    pub(super) cookie: u64,
    pub(super) offset: u64,
    pub(super) bytes: usize,
}

impl Request {
    /// The next head; none when the client has closed the connection.
    pub(super) fn read(input: &mut impl Read) -> io::Result<Option<Self>> {
        let magic = match number(input) {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(None),
            other => u32::from_be_bytes(other?),
        };
        let _flags: [u8; 2] = number(input)?;
        let request = Self {
            command: u16::from_be_bytes(number(input)?),
            cookie: u64::from_be_bytes(number(input)?),
            offset: u64::from_be_bytes(number(input)?),
            bytes: u32::from_be_bytes(number(input)?) as usize,
        };
        if magic == REQUEST_MAGIC && request.bytes <= REQUEST_BYTES_MAX {
            Ok(Some(request))
        } else {
            Err(ErrorKind::InvalidData.into())
        }
    }
}

/// Appends the head of a reply without error.
pub(super) fn put_reply(replies: &mut Vec<u8>, cookie: u64) {
    replies.extend(SIMPLE_REPLY_MAGIC.to_be_bytes());
    replies.extend([0; 4]);
    replies.extend(cookie.to_be_bytes());
}

/// Agrees with a client on the one export, of `bytes` bytes, whatever the name that it asks for.
pub(super) fn handshake(
    input: &mut impl Read,
    output: &mut impl Write,
    bytes: u64,
) -> io::Result<()> {
    let mut greeting = b"NBDMAGIC".to_vec();
    greeting.extend(OPTION_MAGIC);
    greeting.extend(HANDSHAKE_FLAGS.to_be_bytes());
    output.write_all(&greeting)?;
    let _client_flags: [u8; 4] = number(input)?;
    loop {
        let magic: [u8; 8] = number(input)?;
        let option = u32::from_be_bytes(number(input)?);
        let length = u32::from_be_bytes(number(input)?);
        if &magic != OPTION_MAGIC || length > OPTION_BYTES_MAX {
            return Err(ErrorKind::InvalidData.into());
        }
        io::copy(&mut input.by_ref().take(u64::from(length)), &mut io::sink())?;
        let mut size_and_flags = bytes.to_be_bytes().to_vec();
        size_and_flags.extend(TRANSMISSION_FLAGS.to_be_bytes());
        match option {
            OPTION_EXPORT_NAME => return output.write_all(&size_and_flags),
            OPTION_INFO | OPTION_GO => {
                let info = [vec![0, 0], size_and_flags].concat();
                output.write_all(&option_reply(option, REPLY_INFO, &info))?;
                output.write_all(&option_reply(option, REPLY_ACK, &[]))?;
                if option == OPTION_GO {
                    return Ok(());
                }
            }
            _ => output.write_all(&option_reply(option, REPLY_UNSUPPORTED, &[]))?,
        }
    }
}

fn option_reply(option: u32, kind: u32, data: &[u8]) -> Vec<u8> {
    let mut reply = OPTION_REPLY_MAGIC.to_be_bytes().to_vec();
    reply.extend(option.to_be_bytes());
    reply.extend(kind.to_be_bytes());
    // Only the few bytes above are ever sent.
    reply.extend(u32::try_from(data.len()).unwrap_or(0).to_be_bytes());
    reply.extend(data);
    reply
}

fn number<const BYTES: usize>(input: &mut impl Read) -> io::Result<[u8; BYTES]> {
    let mut bytes = [0; BYTES];
    input.read_exact(&mut bytes)?;
    Ok(bytes)
}

//! Numbers of the NBD protocol, named as in its document, without the prefix `NBD_`.

/// First eight bytes of a connection: `NBDMAGIC`.
pub const INIT_MAGIC: u64 = u64::from_be_bytes(*b"NBDMAGIC");
/// Second eight bytes of a newstyle connection and first of every option: `IHAVEOPT`.
pub const OPTION_MAGIC: u64 = u64::from_be_bytes(*b"IHAVEOPT");
/// First eight bytes of every option reply.
pub const OPTION_REPLY_MAGIC: u64 = 0x0003_e889_0455_65a9;
/// First four bytes of a request.
pub const REQUEST_MAGIC: u32 = 0x2560_9513;
/// First four bytes of a simple reply.
pub const SIMPLE_REPLY_MAGIC: u32 = 0x6744_6698;
/// First four bytes of a chunk of a structured reply.
pub const STRUCTURED_REPLY_MAGIC: u32 = 0x668e_33ef;

/// Handshake flag: fixed newstyle.
pub const FLAG_FIXED_NEWSTYLE: u16 = 1;
/// Handshake flag: the zeroes after `EXPORT_NAME` can be left out.
pub const FLAG_NO_ZEROES: u16 = 1 << 1;
/// Client flag: speaks fixed newstyle.
pub const FLAG_C_FIXED_NEWSTYLE: u32 = 1;
/// Client flag: leave the zeroes after `EXPORT_NAME` out.
pub const FLAG_C_NO_ZEROES: u32 = 1 << 1;

/// Transmission flag: always set.
pub const FLAG_HAS_FLAGS: u16 = 1;
/// Transmission flag: `FLUSH` is supported.
pub const FLAG_SEND_FLUSH: u16 = 1 << 2;
/// Transmission flag: `FUA` is supported.
pub const FLAG_SEND_FUA: u16 = 1 << 3;
/// Transmission flag: `TRIM` is supported.
pub const FLAG_SEND_TRIM: u16 = 1 << 5;
/// Transmission flag: `WRITE_ZEROES` and `NO_HOLE` are supported.
pub const FLAG_SEND_WRITE_ZEROES: u16 = 1 << 6;
/// Transmission flag: `DF` is supported.
pub const FLAG_SEND_DF: u16 = 1 << 7;
/// Transmission flag: a flush on one connection covers them all.
pub const FLAG_CAN_MULTI_CONN: u16 = 1 << 8;

/// Option: choose an export without a chance of an error message.
pub const OPT_EXPORT_NAME: u32 = 1;
/// Option: end the handshake.
pub const OPT_ABORT: u32 = 2;
/// Option: name the exports.
pub const OPT_LIST: u32 = 3;
/// Option: describe an export.
pub const OPT_INFO: u32 = 6;
/// Option: describe and choose an export.
pub const OPT_GO: u32 = 7;
/// Option: use structured replies.
pub const OPT_STRUCTURED_REPLY: u32 = 8;
/// Option: name the metadata contexts of an export.
pub const OPT_LIST_META_CONTEXT: u32 = 9;
/// Option: choose the metadata contexts of an export.
pub const OPT_SET_META_CONTEXT: u32 = 10;

/// Option reply: done.
pub const REP_ACK: u32 = 1;
/// Option reply: the name of an export.
pub const REP_SERVER: u32 = 2;
/// Option reply: a fact about an export.
pub const REP_INFO: u32 = 3;
/// Option reply: a metadata context.
pub const REP_META_CONTEXT: u32 = 4;
/// Option error: not known here.
pub const REP_ERR_UNSUP: u32 = (1 << 31) + 1;
/// Option error: malformed, or not at this moment.
pub const REP_ERR_INVALID: u32 = (1 << 31) + 3;
/// Option error: no such export.
pub const REP_ERR_UNKNOWN: u32 = (1 << 31) + 6;
/// Option error: the server is going down.
pub const REP_ERR_SHUTDOWN: u32 = (1 << 31) + 7;
/// Option error: longer than the server takes.
pub const REP_ERR_TOO_BIG: u32 = (1 << 31) + 9;

/// Information: size and transmission flags.
pub const INFO_EXPORT: u16 = 0;
/// Information: canonical name.
pub const INFO_NAME: u16 = 1;
/// Information: a text for people.
pub const INFO_DESCRIPTION: u16 = 2;
/// Information: minimum and preferred block, maximum payload.
pub const INFO_BLOCK_SIZE: u16 = 3;

/// Command: read.
pub const CMD_READ: u16 = 0;
/// Command: write.
pub const CMD_WRITE: u16 = 1;
/// Command: finish what is outstanding and disconnect.
pub const CMD_DISC: u16 = 2;
/// Command: make answered writes durable.
pub const CMD_FLUSH: u16 = 3;
/// Command: the bytes are not needed any more.
pub const CMD_TRIM: u16 = 4;
/// Command: write zeroes.
pub const CMD_WRITE_ZEROES: u16 = 6;
/// Command: tell what is allocated.
pub const CMD_BLOCK_STATUS: u16 = 7;

/// Command flag: answer when durable; legal on every command.
pub const CMD_FLAG_FUA: u16 = 1;
/// Command flag of `WRITE_ZEROES`: keep the space.
pub const CMD_FLAG_NO_HOLE: u16 = 1 << 1;
/// Command flag of `READ`: one content chunk.
pub const CMD_FLAG_DF: u16 = 1 << 2;
/// Command flag of `BLOCK_STATUS`: one extent.
pub const CMD_FLAG_REQ_ONE: u16 = 1 << 3;

/// Chunk flag: last chunk of the reply.
pub const REPLY_FLAG_DONE: u16 = 1;
/// Chunk: nothing more to say.
pub const REPLY_TYPE_NONE: u16 = 0;
/// Chunk: bytes of a read.
pub const REPLY_TYPE_OFFSET_DATA: u16 = 1;
/// Chunk: a run of zeroes of a read. Not sent by this server, but by others.
pub const REPLY_TYPE_OFFSET_HOLE: u16 = 2;
/// Chunk: extents of one metadata context.
pub const REPLY_TYPE_BLOCK_STATUS: u16 = 5;
/// Chunk: an error with its text.
pub const REPLY_TYPE_ERROR: u16 = (1 << 15) + 1;

/// State of base:allocation: nothing is allocated.
pub const STATE_HOLE: u32 = 1;
/// State of base:allocation: reads as zeroes.
pub const STATE_ZERO: u32 = 1 << 1;

/// Longest string, in bytes.
pub const STRING_BYTES_MAX: usize = 4096;
/// Zeroes after the answer to `EXPORT_NAME`, unless the client said `NO_ZEROES`.
pub const EXPORT_NAME_ZEROES: usize = 124;
/// Extents that one chunk of block status should hold at most.
pub const EXTENTS_PER_CHUNK_MAX: usize = 1 << 20;

/// Advertised minimum block, in bytes: any alignment is taken.
pub const BLOCK_BYTES_MIN: u32 = 1;
/// Advertised maximum payload, in bytes; no chunk of a reply carries more.
pub const PAYLOAD_BYTES_ADVERTISED: u32 = 32 << 20;

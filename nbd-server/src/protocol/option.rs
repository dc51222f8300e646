//! Options of the handshake: decoded from exactly their announced bytes, and the replies to them.

use super::Violation;
use super::constants as nbd;
use super::reader::Reader;
use super::reply::clean_text;

/// The fixed part of an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OptionHeader {
    /// Which option.
    pub option: u32,
    /// Length of its data in bytes.
    pub bytes: u32,
}

/// An option that is well-formed. `ABORT` is not among them: it counts from its header on, since its
/// data is to be ignored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientOption<'a> {
    /// Choose this export.
    ExportName(&'a str),
    /// Name the exports.
    List,
    /// Describe an export.
    Info(ExportQuery<'a>),
    /// Describe and choose an export.
    Go(ExportQuery<'a>),
    /// Use structured replies.
    StructuredReply,
    /// Name the metadata contexts of an export.
    ListMetaContext(ContextQuery<'a>),
    /// Choose the metadata contexts of an export.
    SetMetaContext(ContextQuery<'a>),
}

/// Data of `INFO` and `GO`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportQuery<'a> {
    /// The export.
    pub name: &'a str,
    /// Information asked for, each kind that is known here once.
    pub wanted: Vec<Information>,
}

/// Information about an export beyond its size and flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Information {
    /// Its canonical name.
    Name,
    /// A text for people.
    Description,
    /// Minimum and preferred block, maximum payload.
    BlockSize,
}

/// Data of `LIST_META_CONTEXT` and `SET_META_CONTEXT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContextQuery<'a> {
    /// The export.
    pub export: &'a str,
    /// What is searched for.
    pub queries: Vec<&'a str>,
}

/// Why an option is answered with an error.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OptionError {
    /// Not known here.
    #[error("option {0} is not supported")]
    Unsupported(u32),
    /// Its lengths contradict each other.
    #[error("the lengths within option {option} do not add up to its {bytes} bytes")]
    Malformed {
        /// The option.
        option: u32,
        /// Length of its data.
        bytes: usize,
    },
    /// A string is too long, or no UTF-8, or holds a NUL.
    #[error("a string of {0} bytes is longer than 4096 bytes, or no UTF-8, or holds a NUL")]
    String(usize),
    /// More data than an option may have.
    #[error("{0} bytes are more than an option may hold")]
    TooBig(u32),
    /// Contexts need structured replies.
    #[error("metadata contexts need structured replies; ask for those first")]
    SimpleReplies,
    /// No such export.
    #[error("export {0:?} is not available; list the exports to see which are")]
    UnknownExport(String),
    /// The server is going down.
    #[error("the server is shutting down")]
    Shutdown,
}

impl OptionError {
    /// The reply type that says so.
    pub fn reply_type(&self) -> u32 {
        match self {
            Self::Unsupported(_) => nbd::REP_ERR_UNSUP,
            Self::Malformed { .. } | Self::String(_) | Self::SimpleReplies => nbd::REP_ERR_INVALID,
            Self::TooBig(_) => nbd::REP_ERR_TOO_BIG,
            Self::UnknownExport(_) => nbd::REP_ERR_UNKNOWN,
            Self::Shutdown => nbd::REP_ERR_SHUTDOWN,
        }
    }
}

impl OptionHeader {
    /// Bytes of a header on the wire.
    pub const BYTES: usize = 16;

    /// Decodes the header at the beginning of `input`; `None` when bytes are missing.
    ///
    /// # Errors
    /// When the bytes are no option, so that the client is out of step.
    pub fn decode(input: &[u8]) -> Result<Option<Self>, Violation> {
        match Self::fields(input) {
            None => Ok(None),
            Some((nbd::OPTION_MAGIC, header)) => Ok(Some(header)),
            Some((magic, _)) => Err(Violation::OptionMagic(magic)),
        }
    }

    fn fields(input: &[u8]) -> Option<(u64, Self)> {
        let mut reader = Reader::new(input);
        let magic = reader.u64()?;
        Some((magic, Self { option: reader.u32()?, bytes: reader.u32()? }))
    }
}

impl<'a> ClientOption<'a> {
    /// Decodes `option` from all of its data.
    ///
    /// # Errors
    /// When the option is not known or its data is not what the document says.
    pub fn decode(option: u32, data: &'a [u8]) -> Result<Self, OptionError> {
        let malformed = OptionError::Malformed { option, bytes: data.len() };
        match option {
            nbd::OPT_EXPORT_NAME => Ok(Self::ExportName(string(data)?)),
            nbd::OPT_LIST | nbd::OPT_STRUCTURED_REPLY if !data.is_empty() => Err(malformed),
            nbd::OPT_LIST => Ok(Self::List),
            nbd::OPT_STRUCTURED_REPLY => Ok(Self::StructuredReply),
            nbd::OPT_INFO => export_query(data, malformed).map(Self::Info),
            nbd::OPT_GO => export_query(data, malformed).map(Self::Go),
            nbd::OPT_LIST_META_CONTEXT => context_query(data, malformed).map(Self::ListMetaContext),
            nbd::OPT_SET_META_CONTEXT => context_query(data, malformed).map(Self::SetMetaContext),
            other => Err(OptionError::Unsupported(other)),
        }
    }
}

fn export_query(data: &[u8], malformed: OptionError) -> Result<ExportQuery<'_>, OptionError> {
    let mut reader = Reader::new(data);
    let mut fields = || {
        let bytes = reader.u32()?;
        let name = reader.bytes(bytes)?;
        let count = reader.u16()?;
        Some((name, reader.bytes(u32::from(count) * 2)?))
    };
    match fields() {
        Some((name, kinds)) if reader.is_at_end() => {
            Ok(ExportQuery { name: string(name)?, wanted: information(kinds) })
        }
        _ => Err(malformed),
    }
}

fn information(kinds: &[u8]) -> Vec<Information> {
    let mut reader = Reader::new(kinds);
    let mut wanted = Vec::new();
    while let Some(kind) = reader.u16() {
        let known = match kind {
            nbd::INFO_NAME => Information::Name,
            nbd::INFO_DESCRIPTION => Information::Description,
            nbd::INFO_BLOCK_SIZE => Information::BlockSize,
            _ => continue,
        };
        if !wanted.contains(&known) {
            wanted.push(known);
        }
    }
    wanted
}

fn context_query(data: &[u8], malformed: OptionError) -> Result<ContextQuery<'_>, OptionError> {
    let mut reader = Reader::new(data);
    let mut counted = || {
        let bytes = reader.u32()?;
        reader.bytes(bytes)
    };
    let Some(export) = counted() else {
        return Err(malformed);
    };
    let Some(count) = reader.u32() else {
        return Err(malformed);
    };
    // The count is the client's: it may be anything, so no space is reserved for it.
    let mut queries = Vec::new();
    for _ in 0..count {
        let query = reader.u32().and_then(|bytes| reader.bytes(bytes));
        let Some(query) = query else {
            return Err(malformed);
        };
        queries.push(string(query)?);
    }
    if !reader.is_at_end() {
        return Err(malformed);
    }
    Ok(ContextQuery { export: string(export)?, queries })
}

fn string(bytes: &[u8]) -> Result<&str, OptionError> {
    let refused = OptionError::String(bytes.len());
    if bytes.len() > nbd::STRING_BYTES_MAX || bytes.contains(&0) {
        return Err(refused);
    }
    std::str::from_utf8(bytes).map_err(|_| refused)
}

/// A reply of type `kind` to `option`; its data is what `parts` hold, one behind the other.
///
/// # Panics
/// When the parts are longer than a reply can be: they are texts and numbers of our own.
pub fn put_reply(out: &mut Vec<u8>, option: u32, kind: u32, parts: &[&[u8]]) {
    let bytes: usize = parts.iter().map(|part| part.len()).sum();
    let bytes = u32::try_from(bytes).expect("option replies hold a few strings");
    out.extend_from_slice(&nbd::OPTION_REPLY_MAGIC.to_be_bytes());
    out.extend_from_slice(&option.to_be_bytes());
    out.extend_from_slice(&kind.to_be_bytes());
    out.extend_from_slice(&bytes.to_be_bytes());
    for part in parts {
        out.extend_from_slice(part);
    }
}

/// The reply that refuses `option`, with a text for people.
pub fn put_error(out: &mut Vec<u8>, option: u32, error: &OptionError) {
    let text = clean_text(&error.to_string());
    put_reply(out, option, error.reply_type(), &[text.as_bytes()]);
}

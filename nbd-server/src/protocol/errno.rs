//! Error values of the protocol, and the only table from our errors to them.

use flashtrack_engine::request::RequestError;

use super::request::Refusal;

/// The error values of the document that this server sends.
///
/// Not sent: `ENOMEM` (the document: not if at all possible),
/// `ENOTSUP` (only for `FAST_ZERO`, which is not offered).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum ErrorValue {
    /// The export takes no writes at this time: the target of a copy that inhibits them.
    Permission = 1,
    /// Input/output error.
    Io = 5,
    /// The request is wrong.
    Invalid = 22,
    /// No space left, or a write past the end.
    NoSpace = 28,
    /// An unfragmented read is too long.
    Overflow = 75,
    /// The server is going down.
    Shutdown = 108,
}

impl ErrorValue {
    /// The number on the wire.
    pub fn code(self) -> u32 {
        self as u32
    }
}

impl From<RequestError> for ErrorValue {
    fn from(error: RequestError) -> Self {
        match error {
            RequestError::PastEnd { .. } | RequestError::TooLong(_) => Self::Invalid,
            RequestError::WritePastEnd { .. } | RequestError::NoSpace => Self::NoSpace,
            RequestError::NoVolume(_)
            | RequestError::Io
            | RequestError::Failed
            | RequestError::FailStop => Self::Io,
            RequestError::Inhibited => Self::Permission,
            RequestError::Shutdown => Self::Shutdown,
        }
    }
}

impl From<Refusal> for ErrorValue {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Request(error) => error.into(),
            Refusal::UnfragmentedTooLong(_) => Self::Overflow,
            Refusal::UnknownCommand(_)
            | Refusal::Flags { .. }
            | Refusal::FlushRange
            | Refusal::EmptyStatus
            | Refusal::NoContext => Self::Invalid,
        }
    }
}

//! Why a command was not carried out. A refusal names the object and the numbers, and its kind is stable.

use serde::{Deserialize, Serialize};

/// Why a command was refused: nothing was changed. The kinds follow the capability reason codes of
/// semantics 1.4 where there is one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("{message}")]
pub struct Refusal {
    /// A stable word for programs.
    pub kind: RefusalKind,
    /// Names the object and the numbers.
    pub message: String,
    /// What the user can do.
    pub help: Option<String>,
}

/// Kinds of refusals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefusalKind {
    /// Name, size, extent or another value makes no sense.
    Invalid,
    /// No such volume, pool or relationship.
    NotFound,
    /// Name or device number is taken.
    Exists,
    /// Related, connected or otherwise in use.
    Busy,
    /// Device types do not fit each other.
    DeviceType,
    /// The target is smaller than the source.
    Size,
    /// Extents of one command overlap where they must not.
    Overlap,
    /// An extent is part of a target already (reason code 11).
    TargetRelated,
    /// An extent is part of a source already (reason code 12).
    SourceRelated,
    /// A source track has all the relationships it may have (reason code 13).
    TooManyCopies,
    /// A volume has all the relationships it may have (reason code 1).
    VolumeRelationships,
    /// The source has an incremental relationship already; there is one at most.
    SecondIncremental,
    /// The target has connected clients, and that was not allowed.
    Online,
    /// An earlier copy has to be complete first.
    Incomplete,
    /// The pair is no incremental one, or not in the direction that was named.
    Direction,
    /// A space-efficient rule is broken (reason code 14).
    SpaceEfficient,
    /// Not offered yet.
    Unsupported,
    /// Out of space or copy tables (reason code 8).
    NoResources,
    /// The store takes no writes after a failed sync.
    FailStop,
    /// The server is going down.
    Shutdown,
}

impl RefusalKind {
    /// The capability reason code of semantics 1.4, where there is one.
    pub fn reason_code(self) -> Option<u8> {
        match self {
            Self::VolumeRelationships => Some(1),
            Self::NoResources => Some(8),
            Self::TargetRelated => Some(11),
            Self::SourceRelated => Some(12),
            Self::TooManyCopies => Some(13),
            Self::SpaceEfficient => Some(14),
            _ => None,
        }
    }
}

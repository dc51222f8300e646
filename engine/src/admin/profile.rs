//! The profile of a store: which column of the white paper's tables it follows.

use serde::{Deserialize, Serialize};

/// Whose rules apply where the two columns of the white paper's tables differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// The HP XP7 column.
    #[default]
    Xp7,
    /// The IBM column.
    Ibm,
}

impl Profile {
    /// The word of the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Xp7 => "xp7",
            Self::Ibm => "ibm",
        }
    }
}

impl std::str::FromStr for Profile {
    type Err = UnknownProfile;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        [Self::Xp7, Self::Ibm]
            .into_iter()
            .find(|known| known.name() == word)
            .ok_or_else(|| UnknownProfile(word.to_owned()))
    }
}

/// A word that names no profile.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no profile; known are xp7 and ibm")]
pub struct UnknownProfile(String);

//! The staged versions of one block: nearly always one, which needs no memory of its own.

use serde::{Deserialize, Serialize};

use crate::units::{Position, Seq};

/// One version of some bytes of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// Its number.
    pub seq: Seq,
    /// First byte within the block.
    pub start: u16,
    /// One past the last byte within the block.
    pub end: u16,
    /// Where the bytes are.
    pub content: Content,
}

/// Where the bytes of a staged version are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Content {
    /// In the journal; the position is that of the version's first byte.
    Journal(Position),
    /// Nowhere: they are zeroes.
    Zeroes,
}

/// The versions of one block, in the order in which they were pushed.
#[derive(Debug)]
pub(crate) enum Versions {
    /// One, in place.
    One(Version),
    /// Any number.
    Many(Vec<Version>),
}

impl Default for Versions {
    fn default() -> Self {
        Self::Many(Vec::new())
    }
}

impl Versions {
    /// All of them.
    pub(crate) fn as_slice(&self) -> &[Version] {
        match self {
            Self::One(version) => std::slice::from_ref(version),
            Self::Many(versions) => versions,
        }
    }

    /// All of them, to be changed.
    pub(crate) fn as_mut_slice(&mut self) -> &mut [Version] {
        match self {
            Self::One(version) => std::slice::from_mut(version),
            Self::Many(versions) => versions,
        }
    }

    /// Adds one after the others.
    pub(crate) fn push(&mut self, version: Version) {
        match self {
            Self::One(first) => *self = Self::Many(vec![*first, version]),
            Self::Many(versions) if versions.is_empty() => *self = Self::One(version),
            Self::Many(versions) => versions.push(version),
        }
    }

    /// Takes the last one away.
    pub(crate) fn pop(&mut self) {
        match self {
            Self::One(_) => *self = Self::default(),
            Self::Many(versions) => drop(versions.pop()),
        }
    }

    /// Keeps those only for which `keep` says so.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&Version) -> bool) {
        match self {
            Self::One(version) if keep(version) => {}
            Self::One(_) => *self = Self::default(),
            Self::Many(versions) => versions.retain(keep),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(seq: u64) -> Version {
        Version { seq: Seq(seq), start: 0, end: 4096, content: Content::Zeroes }
    }

    fn seqs(versions: &Versions) -> Vec<u64> {
        versions.as_slice().iter().map(|version| version.seq.0).collect()
    }

    #[test]
    fn versions_come_and_go_like_those_of_a_vector() {
        let mut versions = Versions::default();
        for seq in 1..4 {
            versions.push(version(seq));
            assert_eq!(seqs(&versions), (1..=seq).collect::<Vec<_>>());
        }
        versions.retain(|version| version.seq != Seq(2));
        assert_eq!(seqs(&versions), [1, 3]);
        versions.pop();
        versions.push(version(4));
        versions.as_mut_slice()[1].seq = Seq(5);
        assert_eq!(seqs(&versions), [1, 5]);
        versions.retain(|_| false);
        versions.push(version(6));
        assert_eq!(seqs(&versions), [6]);
        versions.retain(|_| true);
        versions.pop();
        assert!(versions.as_slice().is_empty());
    }

    #[test]
    fn one_version_takes_no_more_room_than_itself() {
        assert_eq!(size_of::<Versions>(), size_of::<Version>());
    }
}

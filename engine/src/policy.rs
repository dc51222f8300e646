//! The rules and limits that a store is served under: its profile, and what an administrator may set.
//!
//! Nothing here is stored. A store may be opened under another profile later: what exists goes on under the new rules.

use crate::admin::Profile;
use crate::geometry::Geometry;
use crate::limits;
use crate::pace::Pace;

/// Rules and limits of an open store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Which column of the white paper's tables holds.
    pub profile: Profile,
    /// Seconds after which held writes go on by themselves (semantics 3.6).
    pub freeze_seconds: u32,
    /// Copy tables that all relationships together may take (row T1-01).
    pub copy_tables: u64,
    /// Blocks that are staged at most (rule O12): each takes memory, whatever its frame takes of the journal.
    pub staged_blocks_max: u64,
    /// Pace of background copies for which none is asked.
    pub pace: Pace,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            profile: Profile::Xp7,
            freeze_seconds: limits::FREEZE_SECONDS,
            copy_tables: limits::COPY_TABLES,
            staged_blocks_max: limits::STAGED_BLOCKS_MAX,
            pace: Pace::default(),
        }
    }
}

impl Policy {
    /// Relationships that one source track may take part in (row T2-03).
    pub fn relationships_per_track(&self) -> usize {
        match self.profile {
            Profile::Xp7 => limits::RELATIONSHIPS_PER_TRACK,
            Profile::Ibm => limits::RELATIONSHIPS_PER_TRACK_IBM,
        }
    }

    /// Relationships that a volume may take part in, in both roles together (row T2-04; the formula of semantics 3.3).
    pub fn relationships_per_volume(&self, geometry: Geometry) -> u32 {
        let most = limits::RELATIONSHIPS_PER_VOLUME;
        match self.profile {
            Profile::Xp7 => most,
            Profile::Ibm => {
                let by_size = 68 * u64::from(geometry.tracks).div_ceil(3808) - 1;
                u32::try_from(by_size).unwrap_or(most).min(most)
            }
        }
    }

    /// True when a host's read of a track that was not copied yet lets it be copied (row T2-01).
    pub fn copies_on_read(&self) -> bool {
        self.profile == Profile::Xp7
    }

    /// True when a NOCOPY relationship ends by itself once every track was copied on demand (row T2-02).
    pub fn ends_nocopy(&self) -> bool {
        self.profile == Profile::Ibm
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::VolumeType;

    #[test]
    fn the_formula_gives_the_papers_four_numbers() {
        let ibm = Policy { profile: Profile::Ibm, ..Policy::default() };
        for (cylinders, most) in [(3339, 951), (10_017, 2719), (28_356, 7615), (32_760, 8839)] {
            let geometry = Geometry { volume_type: VolumeType::M3390A, tracks: cylinders * 15 };
            assert_eq!(ibm.relationships_per_volume(geometry), most);
            assert_eq!(Policy::default().relationships_per_volume(geometry), 65_534);
        }
    }
}

//! Geometry of a volume: its type, track size and number of tracks (semantics 3.8).
//!
//! Invariant: a volume is a whole number of tracks, at least one, at most `limits::VOLUME_BYTES_MAX`
//! bytes; a 3390 volume is a whole number of cylinders.

use serde::{Deserialize, Serialize};

use crate::limits;

/// Device type of a volume.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum VolumeType {
    /// Fixed block, 64 KiB tracks.
    #[default]
    #[serde(rename = "fb")]
    Fb,
    /// 3,339 cylinders.
    #[serde(rename = "3390-3")]
    M3390_3,
    /// 10,017 cylinders.
    #[serde(rename = "3390-9")]
    M3390_9,
    /// 32,760 cylinders.
    #[serde(rename = "3390-27")]
    M3390_27,
    /// 65,520 cylinders.
    #[serde(rename = "3390-54")]
    M3390_54,
    /// Extended address volume: any number of cylinders up to 1,182,006.
    #[serde(rename = "3390-a")]
    M3390A,
}

/// All types, in the order of listings.
pub const VOLUME_TYPES: [VolumeType; 6] = [
    VolumeType::Fb,
    VolumeType::M3390_3,
    VolumeType::M3390_9,
    VolumeType::M3390_27,
    VolumeType::M3390_54,
    VolumeType::M3390A,
];

impl VolumeType {
    /// The word of the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fb => "fb",
            Self::M3390_3 => "3390-3",
            Self::M3390_9 => "3390-9",
            Self::M3390_27 => "3390-27",
            Self::M3390_54 => "3390-54",
            Self::M3390A => "3390-a",
        }
    }

    /// Bytes of a track.
    pub fn track_bytes(self) -> u32 {
        match self {
            Self::Fb => limits::TRACK_BYTES_FB,
            _ => limits::TRACK_BYTES_3390,
        }
    }

    /// True for count-key-data types: they have cylinders and copy only among themselves.
    pub fn is_3390(self) -> bool {
        self != Self::Fb
    }

    /// Most cylinders of a 3390 type; also its size when none is asked for, but of 3390-A.
    pub fn cylinders_max(self) -> Option<u32> {
        match self {
            Self::Fb => None,
            Self::M3390_3 => Some(3_339),
            Self::M3390_9 => Some(10_017),
            Self::M3390_27 => Some(32_760),
            Self::M3390_54 => Some(65_520),
            Self::M3390A => Some(1_182_006),
        }
    }
}

impl std::fmt::Display for VolumeType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

impl std::str::FromStr for VolumeType {
    type Err = UnknownVolumeType;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        VOLUME_TYPES
            .into_iter()
            .find(|known| known.name() == word)
            .ok_or_else(|| UnknownVolumeType(word.to_owned()))
    }
}

/// A word that names no volume type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no volume type; known are fb, 3390-3, 3390-9, 3390-27, 3390-54 and 3390-a")]
pub struct UnknownVolumeType(String);

/// Shape of one volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Geometry {
    /// Device type.
    pub volume_type: VolumeType,
    /// Number of tracks.
    pub tracks: u32,
}

/// Why no volume of that shape can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GeometryError {
    /// No size was given and the type has none of its own.
    #[error("a volume of type {0} needs a size")]
    NoSize(VolumeType),
    /// Both size and cylinders were given, or cylinders for a type without.
    #[error("cylinders and size do not go together, and only 3390 types have cylinders")]
    CylindersMisplaced,
    /// Nothing can be stored in it.
    #[error("a volume of 0 bytes makes no sense")]
    Zero,
    /// Larger than any volume may be.
    #[error("{0} bytes are more than the largest volume of {max} bytes (15 TiB)", max = limits::VOLUME_BYTES_MAX)]
    TooLarge(u64),
    /// More cylinders than the type has.
    #[error(
        "{cylinders} cylinders are more than the {max} that a volume of type {volume_type} has"
    )]
    TooManyCylinders {
        /// Asked for, after rounding up.
        cylinders: u64,
        /// Of the type.
        max: u32,
        /// The type.
        volume_type: VolumeType,
    },
}

impl Geometry {
    /// The smallest geometry of that type that holds what is asked.
    ///
    /// # Errors
    /// See [`GeometryError`].
    pub fn new(
        volume_type: VolumeType,
        size_bytes: Option<u64>,
        cylinders: Option<u32>,
    ) -> Result<Self, GeometryError> {
        if cylinders.is_some() && (size_bytes.is_some() || !volume_type.is_3390()) {
            return Err(GeometryError::CylindersMisplaced);
        }
        let track_bytes = u64::from(volume_type.track_bytes());
        let size = match (size_bytes, cylinders, volume_type.cylinders_max()) {
            (Some(size), _, _) => size,
            (None, Some(count), _) => u64::from(count) * Self::cylinder_bytes(volume_type),
            (None, None, Some(count)) if volume_type != VolumeType::M3390A => {
                u64::from(count) * Self::cylinder_bytes(volume_type)
            }
            _ => return Err(GeometryError::NoSize(volume_type)),
        };
        if size == 0 {
            return Err(GeometryError::Zero);
        }
        if size > limits::VOLUME_BYTES_MAX {
            return Err(GeometryError::TooLarge(size));
        }
        let mut tracks = size.div_ceil(track_bytes);
        if let Some(max) = volume_type.cylinders_max() {
            let cylinders = tracks.div_ceil(u64::from(limits::TRACKS_PER_CYLINDER));
            if cylinders > u64::from(max) {
                return Err(GeometryError::TooManyCylinders { cylinders, max, volume_type });
            }
            tracks = cylinders * u64::from(limits::TRACKS_PER_CYLINDER);
        }
        let tracks = u32::try_from(tracks).map_err(|_| GeometryError::TooLarge(size))?;
        Ok(Self { volume_type, tracks })
    }

    fn cylinder_bytes(volume_type: VolumeType) -> u64 {
        u64::from(volume_type.track_bytes()) * u64::from(limits::TRACKS_PER_CYLINDER)
    }

    /// Bytes of a track.
    pub fn track_bytes(self) -> u32 {
        self.volume_type.track_bytes()
    }

    /// Blocks of a track.
    pub fn track_blocks(self) -> u32 {
        self.track_bytes() / 4096
    }

    /// Size of the volume in bytes.
    pub fn size_bytes(self) -> u64 {
        u64::from(self.tracks) * u64::from(self.track_bytes())
    }

    /// Number of blocks.
    pub fn blocks(self) -> u32 {
        self.tracks * self.track_blocks()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_rounded_up_to_whole_tracks_and_cylinders() {
        let fb = Geometry::new(VolumeType::Fb, Some(65_537), None).expect("a valid size");
        assert_eq!((fb.tracks, fb.size_bytes()), (2, 131_072));
        let ckd = Geometry::new(VolumeType::M3390_3, Some(1), None).expect("a valid size");
        assert_eq!((ckd.tracks, ckd.size_bytes()), (15, 15 * 49_152));
        let whole = Geometry::new(VolumeType::M3390_3, None, None).expect("the type's own size");
        assert_eq!(whole.size_bytes(), 2_461_777_920);
    }

    #[test]
    fn a_size_of_zero_and_one_above_15_tib_are_refused_naming_the_limit() {
        assert_eq!(Geometry::new(VolumeType::Fb, Some(0), None), Err(GeometryError::Zero));
        let error =
            Geometry::new(VolumeType::Fb, Some((15 << 40) + 1), None).expect_err("too large");
        assert!(error.to_string().contains("15 TiB"), "{error}");
        assert!(Geometry::new(VolumeType::Fb, Some(15 << 40), None).is_ok());
        assert!(Geometry::new(VolumeType::Fb, Some(1 << 63), None).is_err());
    }

    #[test]
    fn cylinders_belong_to_3390_types_and_are_bounded_by_them() {
        assert!(Geometry::new(VolumeType::Fb, None, Some(1)).is_err());
        assert!(Geometry::new(VolumeType::M3390_3, None, Some(3_340)).is_err());
        assert!(Geometry::new(VolumeType::M3390A, None, None).is_err());
        let small = Geometry::new(VolumeType::M3390A, None, Some(2)).expect("two cylinders");
        assert_eq!(small.tracks, 30);
    }
}

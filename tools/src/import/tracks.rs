//! From a file's extents to tracks of a volume: refused where a copy of the tracks would not be a copy of the data.

use flashtrack_engine::admin::DatasetExtent;

use super::ImportError;
use super::fiemap::{Extent, flags};

/// Flags of extents whose bytes on the device are not the file's data, and what they say.
const REFUSED: [(u32, &str); 7] = [
    (flags::DELALLOC, "has no place on the device yet (delayed allocation)"),
    (flags::DATA_INLINE, "is kept among metadata (inline)"),
    (flags::DATA_TAIL, "shares a block with the tails of other files"),
    (flags::DATA_ENCRYPTED, "is encrypted by the file system"),
    (flags::ENCODED, "is compressed or encoded by the file system"),
    (flags::NOT_ALIGNED, "is not in whole blocks"),
    (flags::UNKNOWN, "lies at a place that the file system does not tell"),
];

/// The tracks of a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Tracks {
    /// Ascending, neighbours merged.
    pub(super) extents: Vec<DatasetExtent>,
    /// Bytes of the file that are allocated and were never written.
    pub(super) unwritten_bytes: u64,
}

/// The volume that holds the file system.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    /// Its name.
    pub(super) volume: &'a str,
    /// Its size in bytes.
    pub(super) size_bytes: u64,
    /// Bytes of a track.
    pub(super) track_bytes: u32,
    /// First byte of the file system on it.
    pub(super) start_bytes: u64,
}

/// The whole tracks in which the extents lie.
pub(super) fn of(extents: &[Extent], place: Place<'_>) -> Result<Tracks, ImportError> {
    let mut runs = Vec::with_capacity(extents.len());
    let mut unwritten_bytes = 0;
    for extent in extents {
        if let Some((_, why)) = REFUSED.iter().find(|(flag, _)| extent.flags & flag != 0) {
            let (offset, bytes) = (extent.logical, extent.bytes);
            return Err(ImportError::NotSafe { offset, bytes, why });
        }
        if extent.flags & flags::UNWRITTEN != 0 {
            unwritten_bytes += extent.bytes;
        }
        runs.push(tracks(extent, place)?);
    }
    runs.sort_unstable();
    let mut extents: Vec<DatasetExtent> = Vec::new();
    for (first, end) in runs {
        match extents.last_mut() {
            Some(last) if first <= last.first_track + last.tracks => {
                last.tracks = last.tracks.max(end - last.first_track);
            }
            _ => extents.push(DatasetExtent {
                volume: place.volume.to_owned(),
                first_track: first,
                tracks: end - first,
            }),
        }
    }
    if extents.is_empty() {
        return Err(ImportError::NoData);
    }
    Ok(Tracks { extents, unwritten_bytes })
}

/// First track of an extent, and the one behind its last.
fn tracks(extent: &Extent, place: Place<'_>) -> Result<(u32, u32), ImportError> {
    let bounds = || {
        let start = extent.physical.checked_add(place.start_bytes)?;
        let end = start.checked_add(extent.bytes).filter(|&end| end <= place.size_bytes)?;
        let track_bytes = u64::from(place.track_bytes);
        let first = u32::try_from(start.checked_div(track_bytes)?).ok()?;
        let end = u32::try_from(end.div_ceil(track_bytes)).ok()?;
        (first < end).then_some((first, end))
    };
    bounds().ok_or(ImportError::PastEnd {
        offset: extent.physical,
        bytes: extent.bytes,
        size_bytes: place.size_bytes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACK: u64 = 65_536;

    fn place(start_bytes: u64) -> Place<'static> {
        Place { volume: "data", size_bytes: 100 * TRACK, track_bytes: 65_536, start_bytes }
    }

    fn runs(extents: &[Extent], start_bytes: u64) -> Vec<(u32, u32)> {
        let tracks = of(extents, place(start_bytes)).expect("it is safe");
        tracks.extents.iter().map(|extent| (extent.first_track, extent.tracks)).collect()
    }

    #[test]
    fn extents_are_rounded_outwards_and_merged() {
        let extents = [
            Extent::new(10 * TRACK + 4096, 4096, 0),
            Extent::new(3 * TRACK, 2 * TRACK, 0),
            Extent::new(5 * TRACK - 4096, 8192, 0),
            Extent::new(10 * TRACK + 32_768, TRACK, flags::LAST),
        ];

        assert_eq!(runs(&extents, 0), [(3, 3), (10, 2)]);
    }

    #[test]
    fn a_partitions_start_is_added() {
        assert_eq!(runs(&[Extent::new(0, TRACK, 0)], 1 << 20), [(16, 1)]);
        assert_eq!(runs(&[Extent::new(0, TRACK, 0)], 4096), [(0, 2)]);
    }

    #[test]
    fn unwritten_extents_are_told_and_others_refused() {
        let unwritten = [Extent::new(0, 4096, 0), Extent::new(TRACK, 8192, flags::UNWRITTEN)];
        assert_eq!(of(&unwritten, place(0)).expect("it is safe").unwritten_bytes, 8192);

        for (flag, why) in REFUSED {
            let refused = of(&[Extent::new(0, 4096, flag)], place(0)).expect_err("not safe");
            assert!(refused.to_string().contains(why), "{refused}");
        }
        assert!(matches!(of(&[], place(0)), Err(ImportError::NoData)));
    }

    #[test]
    fn an_extent_that_passes_the_volumes_end_is_refused() {
        for (physical, bytes, start) in
            [(99 * TRACK, TRACK + 1, 0), (99 * TRACK, TRACK, 512), (u64::MAX, 2, 0), (0, 0, 0)]
        {
            let refused = of(&[Extent::new(physical, bytes, 0)], place(start));
            assert!(matches!(refused, Err(ImportError::PastEnd { .. })), "{physical} {bytes}");
        }
    }
}

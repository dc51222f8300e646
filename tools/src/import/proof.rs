//! Whether a file's device really is a volume: parts of the file are compared with the volume's bytes at their place.
//!
//! Size and kind of a device say little, since volumes of one size are common, and copying the tracks of another one would
//! not be noticed until the copy is needed. One block that is not zeroes and is the same in both places is proof: only a
//! copy of the volume passes too.

use std::fs::File;
use std::os::unix::fs::FileExt;

use super::ImportError;
use super::fiemap::{Extent, flags};

/// Bytes that are compared at a place.
const SAMPLE_BYTES: u64 = 4096;
/// Places within an extent, and in all.
const SAMPLES_PER_EXTENT: u64 = 8;
const SAMPLES: usize = 256;

/// Looks for proof. `volume_bytes` reads the volume.
pub(super) fn find(
    file: &File,
    extents: &[Extent],
    start_bytes: u64,
    mut volume_bytes: impl FnMut(u64, u32) -> Result<Vec<u8>, ImportError>,
) -> Result<Proof, ImportError> {
    let mut found = Proof::None;
    let mut buffer = vec![0; usize::try_from(SAMPLE_BYTES).expect("a small constant")];
    for (logical, physical) in places(extents).take(SAMPLES) {
        // Behind its end a file has no bytes; one that is being written may change at any time.
        let bytes = file.read_at(&mut buffer, logical).unwrap_or_default();
        let sample = buffer.get(..bytes).unwrap_or_default();
        if sample.iter().all(|&byte| byte == 0) {
            continue;
        }
        let length = u32::try_from(bytes).unwrap_or(u32::MAX);
        if volume_bytes(physical + start_bytes, length)? == sample {
            return Ok(Proof::Same);
        }
        found = Proof::Other;
    }
    Ok(found)
}

/// What a comparison has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Proof {
    /// The file's data is on the volume.
    Same,
    /// Something else is there.
    Other,
    /// The file holds nothing but zeroes.
    None,
}

/// Places in the file, and on its device, spread over written extents.
fn places(extents: &[Extent]) -> impl Iterator<Item = (u64, u64)> + '_ {
    let written = extents.iter().filter(|extent| extent.flags & flags::UNWRITTEN == 0);
    written.flat_map(|extent| {
        let blocks = extent.bytes / SAMPLE_BYTES;
        let count = blocks.clamp(1, SAMPLES_PER_EXTENT);
        (0..count).map(move |n| {
            let within = blocks * n / count * SAMPLE_BYTES;
            (extent.logical + within, extent.physical + within)
        })
    })
}

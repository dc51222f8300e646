//! Where a file has holes.

use std::fs::File;
use std::io;

use rustix::fs::{SeekFrom, seek};

use crate::units::ByteRange;

/// Ranges that are told apart; what lies behind them counts as data.
const MAP_RANGES_MAX: usize = 1024;

/// Which parts of the range hold data, at most `MAP_RANGES_MAX` of them.
pub(super) fn data_ranges(file: &File, offset: u64, bytes: u64) -> io::Result<Vec<ByteRange>> {
    let end = offset.saturating_add(bytes);
    let mut ranges = Vec::new();
    let mut at = offset;
    while at < end {
        let start = match seek(file, SeekFrom::Data(at)) {
            Ok(start) if start < end => start,
            Ok(_) | Err(rustix::io::Errno::NXIO) => break,
            Err(error) => return Err(error.into()),
        };
        at = seek(file, SeekFrom::Hole(start))?.min(end);
        if ranges.len() + 1 == MAP_RANGES_MAX {
            at = end;
        }
        ranges.push(ByteRange { start, end: at });
    }
    Ok(ranges)
}

//! What copies cost their host: first writes, reads of a target, writes with a FLUSH, and background copies. Each beside
//! the same work without a copy, in turns.

mod background;
mod first_writes;
mod reads;

use crate::error::Outcome;
use crate::options::Options;
use crate::report::Report;
use crate::servers::Folders;
use crate::servers::flashtrack::{Flashtrack, PLAIN};

const MEBIBYTES: u64 = 4096;
/// Thin targets that there are.
const THIN_MAX: usize = 16;
/// A full volume that is a copy's target.
const FULL: &str = "full";

/// What the measurements work with.
struct Bed<'a> {
    options: &'a Options,
    folders: &'a Folders,
    server: Flashtrack,
    /// Length of every volume.
    bytes: u64,
}

/// Runs everything that has to do with copies, establishing them apart.
///
/// # Errors
/// The server does not start, or a run fails.
pub fn run(options: &Options) -> Outcome<Report> {
    let bytes = options.bytes(MEBIBYTES);
    let mut report = Report::new("copies", "What copies cost", options, MEBIBYTES);
    let temporary = options.folders()?;
    let folders = &temporary.folders;
    let server = Flashtrack::with_plain(options, folders, bytes)?;
    server.create_thin(THIN_MAX, bytes, bytes / 4)?;
    let bed = Bed { options, folders, server, bytes };
    first_writes::run(&bed, &mut report)?;
    reads::run(&bed, &mut report)?;
    background::run(&bed, &mut report)?;
    Ok(report)
}

impl Bed<'_> {
    /// A full volume on which nothing was ever written: each copy takes its space anew.
    fn make_full(&self) -> Outcome {
        self.server.create_volume(FULL, self.bytes)
    }

    /// Ends what copies there are and removes the full volume.
    fn remove_full(&self) -> Outcome {
        self.server.withdraw(PLAIN)?;
        self.server.delete_volume(FULL)
    }

    /// Length of every volume.
    fn mebibytes(&self) -> f64 {
        // Whole mebibytes, of which a volume has at most 15 Mi.
        f64::from(u32::try_from(self.bytes >> 20).unwrap_or(u32::MAX))
    }

    /// The pair of the host's volume and the full one.
    fn full_pair() -> [(String, String); 1] {
        [(PLAIN.to_owned(), FULL.to_owned())]
    }
}

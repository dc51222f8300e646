//! An engine on an empty simulated store.

use flashtrack_engine::sim::disk::{Pace, SimDisk};
use flashtrack_engine::sim::prng::Prng;
use flashtrack_engine::units::Moment;
use flashtrack_engine::{Engine, OpenOptions};

/// An engine, its disk, and the moment at which it was opened. The journal is so large that no checkpoint falls due: its
/// pieces are smaller in a simulator than they are otherwise.
pub(crate) fn empty_store() -> (Engine, SimDisk, Moment) {
    let options = OpenOptions {
        journal_bytes: 256 << 20,
        segment_bytes: 16 << 20,
        entropy: [7; 32],
        ..OpenOptions::default()
    };
    let mut disk = SimDisk::new(Prng::new(1), Pace::InOrder);
    let now = Moment { monotonic_us: 1, unix_seconds: 1 };
    let engine = Engine::open(&mut disk, &options, now).expect("an empty store");
    (engine, disk, now)
}

//! Micro-benchmarks of what a request spends its time in: `cargo bench -p flashtrack-benches`.
//!
//! Few on purpose. They say whether a change to one of these places helps; whether it matters, the side-by-side runs say.

#[path = "../common/commands.rs"]
mod commands;
#[path = "../common/connection.rs"]
mod connection;
mod destage;
#[path = "../common/empty.rs"]
mod empty;
mod lookup;
mod session;
mod stage;
mod store;
mod track_bitmap;

use criterion::Criterion;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    lookup::run(&mut criterion);
    stage::run(&mut criterion);
    destage::run(&mut criterion);
    session::run(&mut criterion);
    track_bitmap::run(&mut criterion);
    criterion.final_summary();
}

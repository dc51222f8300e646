//! What a request costs, counted and not timed: operations by kind, syncs, bytes and allocations, on the simulated disk.
//!
//! The counts are compared with `baseline/counts.toml`, and any difference fails the test, also one for the better: then
//! `FLASHTRACK_COUNTS=write cargo test -p flashtrack-benches --test counts` writes the new baseline, to be committed with
//! the change that it comes from.

mod baseline;
#[path = "../../common/commands.rs"]
mod commands;
#[path = "../../common/connection.rs"]
mod connection;
mod driver;
#[path = "../../common/empty.rs"]
mod empty;
mod session;
mod workloads;

use baseline::{Baseline, differences};

#[test]
fn every_request_costs_what_the_baseline_says() {
    let mut measured: Baseline = workloads::all();
    session::add(&mut measured);
    if std::env::var("FLASHTRACK_COUNTS").is_ok_and(|word| word == "write") {
        baseline::write(&measured);
        return;
    }
    let found = differences(&baseline::read(), &measured);
    assert!(
        found.is_empty(),
        "counts differ from {}:\n  {}\nIf that is what the change is for, write the new baseline:\n  \
         FLASHTRACK_COUNTS=write cargo test -p flashtrack-benches --test counts",
        baseline::PATH,
        found.join("\n  ")
    );
}

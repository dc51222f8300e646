//! The server in the simulator: real sessions and a real engine, clients that speak NBD over pipes, a
//! simulated disk, and no socket, thread or clock.
//!
//! What is checked
//! 1. Each request gets exactly one reply, with its own cookie and data, or its connection ends (I18).
//! 2. Reads, and block status that tells of zeroes, give what the naive model admits; FLUSH on one
//!    connection covers what was answered on another, as power cuts show.
//! 3. A request of a cut connection has an effect only if all its bytes arrive (I19).
//! 4. A target is its source at T0, whatever clients write and whenever the server dies.
//! 5. The same seed gives the same run (I22).
//!
//! Reading order: `world` (one run), `traffic` (what happens), `server` (the glue), `hearing` and `truth`
//! (what is checked), `restart`; `client`, `wire` and `pipe` are a client and its connection.
//!
//! `FLASHTRACK_SIM_SEEDS` says how many seeds (100), `FLASHTRACK_SIM_BASE` the first one (1).

mod client;
mod hearing;
mod pipe;
mod restart;
mod server;
mod traffic;
mod truth;
mod wire;
mod world;

use flashtrack_engine::sim::mutation::Mutation;

use crate::server::Breakage;
use crate::world::{Config, Summary, run};

/// Seeds within which everything that is broken on purpose must be noticed.
const SEEDS_TO_NOTICE: u64 = 150;

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().expect("a number"))
}

/// Runs a seed that has to keep every promise.
fn run_loudly(seed: u64) -> Summary {
    let how = format!(
        "repeat with FLASHTRACK_SIM_BASE={seed} FLASHTRACK_SIM_SEEDS=1 \
         cargo test -p flashtrack-nbd-server --test simulated_server"
    );
    let Ok(outcome) = std::panic::catch_unwind(|| run(seed, Config::default())) else {
        panic!("seed {seed} panics, see above\n{how}");
    };
    outcome.unwrap_or_else(|failure| panic!("{failure}\n{how}"))
}

/// Runs seeds until one fails; tells why.
fn failure(config: Config) -> Option<String> {
    (1..=SEEDS_TO_NOTICE).find_map(|seed| run(seed, config).err())
}

/// The engine breaks a rule: some client reads what it must not.
fn assert_noticed(mutation: Mutation) {
    let failure = failure(Config { mutation: Some(mutation), ..Config::default() });
    let failure = failure.unwrap_or_else(|| panic!("{mutation:?} was not noticed"));
    assert!(failure.contains("admits of"), "{mutation:?} was noticed by {failure}");
}

#[test]
fn every_promise_to_clients_holds_in_every_seed() {
    let (base, seeds) = (number("FLASHTRACK_SIM_BASE", 1), number("FLASHTRACK_SIM_SEEDS", 100));
    let mut total = Summary::default();
    for seed in base..base + seeds {
        let summary = run_loudly(seed);
        total.replies += summary.replies;
        total.connections += summary.connections;
        total.cuts += summary.cuts;
        total.copies += summary.copies;
        total.openings += summary.openings;
        total.compared += summary.compared;
    }
    println!(
        "{seeds} seeds from {base}: {} replies on {} connections, {} of them cut; {} copies, \
         {} openings, {} MiB compared",
        total.replies,
        total.connections,
        total.cuts,
        total.copies,
        total.openings,
        total.compared >> 20
    );
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in 1..6 {
        assert_eq!(run_loudly(seed), run_loudly(seed), "seed {seed}");
    }
    assert_ne!(run_loudly(1).trace, run_loudly(2).trace);
}

#[test]
fn a_flush_that_skips_a_sync_is_noticed() {
    assert_noticed(Mutation::FlushSkipsJournalSync);
    assert_noticed(Mutation::FlushSkipsHomeSync);
}

#[test]
fn a_target_that_is_not_its_source_at_t0_is_noticed() {
    assert_noticed(Mutation::HomeBeforeCopyRecorded);
    assert_noticed(Mutation::SkipPoolSyncBeforePreserved);
    assert_noticed(Mutation::SkipTargetSyncBeforeCopied);
}

#[test]
fn glue_that_does_something_wrong_is_noticed() {
    for (breakage, sign) in [
        (Breakage::WrongCookie, "cookie"),
        (Breakage::DataOfAnother, "admits of"),
        (Breakage::FlushNotWaitedFor, "admits of"),
        (Breakage::BytesAfterTheCut, "(I19)"),
        (Breakage::ReplyForgotten, "nothing moves"),
    ] {
        let failure = failure(Config { breakage: Some(breakage), ..Config::default() });
        let failure = failure.unwrap_or_else(|| panic!("{breakage:?} was not noticed"));
        assert!(failure.contains(sign), "{breakage:?} was noticed by {failure}");
    }
}

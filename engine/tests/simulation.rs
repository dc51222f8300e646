//! Runs of the simulator: engine, disk and model from a seed.
//!
//! `FLASHTRACK_SIM_SEEDS` says how many seeds (200), `FLASHTRACK_SIM_BASE` the first one (1). A failure
//! prints the seed, which repeats it, and its last events (`FLASHTRACK_SIM_EVENTS`, 80): what was promised
//! and what came back are in the message.

use flashtrack_engine::sim::world::{Config, Failure, Summary, run};

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().expect("a number"))
}

/// Runs a seed; one that fails runs again and tells its last events. A panic is a failure, too.
fn run_loudly(seed: u64) -> Summary {
    let outcome = std::panic::catch_unwind(|| run(seed, Config::default()));
    let Ok(Ok(summary)) = outcome else {
        let keep_events = usize::try_from(number("FLASHTRACK_SIM_EVENTS", 80)).unwrap_or(80);
        let config = Config { keep_events, ..Config::default() };
        let failure: Option<Failure> =
            std::panic::catch_unwind(|| run(seed, config)).ok().and_then(Result::err);
        panic!(
            "{}\nrepeat with FLASHTRACK_SIM_BASE={seed} FLASHTRACK_SIM_SEEDS=1",
            failure.map_or_else(
                || format!("seed {seed} panics, see above"),
                |failure| failure.to_string()
            )
        );
    };
    summary
}

#[test]
fn every_promise_holds_in_every_seed() {
    let (base, seeds) = (number("FLASHTRACK_SIM_BASE", 1), number("FLASHTRACK_SIM_SEEDS", 200));
    let mut total = Summary::default();
    for seed in base..base + seeds {
        let summary = run_loudly(seed);
        total.replies += summary.replies;
        total.openings += summary.openings;
        total.compared += summary.compared;
    }
    println!(
        "{seeds} seeds from {base}: {} replies, {} openings, {} MiB compared",
        total.replies,
        total.openings,
        total.compared >> 20
    );
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in 1..20 {
        assert_eq!(run_loudly(seed), run_loudly(seed), "seed {seed}");
    }
    assert_ne!(run_loudly(1).trace, run_loudly(2).trace);
}

//! Verbs of `store`: those that ask a running server; the others are `offline`'s.

use flashtrack_engine::admin::{Command, Report, StoreReport};

use crate::cli::StoreVerb;
use crate::client::Client;
use crate::failure::Failure;
use crate::offline;
use crate::output::{Output, details, exact_size};

/// Carries out one verb.
pub(crate) async fn run(verb: StoreVerb, client: &Client, output: Output) -> Result<(), Failure> {
    match verb {
        StoreVerb::Status => match client.command(&Command::StoreStatus {}).await? {
            Report::Store(report) => output.object(&report, |report| shown(report)),
            _ => Err(client.unexpected()),
        },
        StoreVerb::Drain => {
            client.command(&Command::StoreDrain {}).await?;
            output.done("store drained: what was staged is at its final place")
        }
        StoreVerb::Check { store } => offline::check::run(&store.path, output),
        StoreVerb::Dump { store } => offline::dump::run(&store.path, output),
    }
}

fn shown(store: &StoreReport) -> String {
    let mut rows = vec![
        ("uuid", store.uuid.clone()),
        ("epoch", store.epoch.to_string()),
        ("profile", store.profile.name().to_owned()),
        ("copy tables", format!("{} used of {}", store.copy_tables_used, store.copy_tables)),
        (
            "writes",
            match &store.fail_stop {
                None => "taken".to_owned(),
                Some(reason) => format!("refused: {reason}"),
            },
        ),
        ("journal capacity", exact_size(store.journal_capacity_bytes)),
        ("journal used", exact_size(store.journal_used_bytes)),
        ("staged", format!("{} in {} blocks", exact_size(store.staged_bytes), store.staged_blocks)),
    ];
    rows.extend(store.counters.iter().map(|(name, count)| (name.as_str(), count.to_string())));
    details(&rows)
}

//! The verbs `dump` and `restore`.

use std::path::PathBuf;

use crate::cli::{Dump, Restore};
use crate::client::Client;
use crate::dump::{DumpOptions, DumpSummary, RestoreOptions, RestoreSummary};
use crate::failure::Failure;
use crate::output::{Output, size};

/// Dumps. Standard output is not written to when the dump goes there.
pub(crate) async fn dump(words: Dump, client: &Client, output: Output) -> Result<(), Failure> {
    let options = DumpOptions {
        volume: words.volume,
        file: named(words.file),
        since: words.since,
        resume: words.resume,
        withdraw: words.withdraw,
        nbd: words.server.nbd,
    };
    let summary = crate::dump::dump(options, client, output).await?;
    if summary.file.is_none() {
        return Ok(());
    }
    output.object(&summary, dumped)
}

/// Restores.
pub(crate) async fn restore(
    words: Restore,
    client: &Client,
    output: Output,
) -> Result<(), Failure> {
    let options = RestoreOptions {
        file: named(words.file),
        bases: words.bases,
        volume: words.volume,
        force: words.force,
        nbd: words.server.nbd,
    };
    let summary = crate::dump::restore(options, client, output).await?;
    output.object(&summary, restored)
}

/// None for `-`.
fn named(file: PathBuf) -> Option<PathBuf> {
    (file.as_os_str() != "-").then_some(file)
}

fn dumped(summary: &DumpSummary) -> String {
    let base = summary.base.as_ref().map_or_else(String::new, |base| {
        format!(", {} as in dump {base}", size(summary.unchanged_bytes))
    });
    let withdrawn = if summary.withdrawn.is_empty() {
        String::new()
    } else {
        let ids: Vec<String> = summary.withdrawn.iter().map(ToString::to_string).collect();
        format!("; withdrawn: {}", ids.join(", "))
    };
    format!(
        "volume {} dumped as {}: {} of data in {}, {} of zeroes{base}{withdrawn}",
        summary.volume,
        summary.id,
        size(summary.data_bytes),
        size(summary.stored_bytes),
        size(summary.zero_bytes),
    )
}

fn restored(summary: &RestoreSummary) -> String {
    format!(
        "volume {} restored from {} of volume {}: {} written, {} of zeroes",
        summary.volume,
        summary.dumps.join(", "),
        summary.dumped_volume,
        size(summary.data_bytes),
        size(summary.zero_bytes),
    )
}

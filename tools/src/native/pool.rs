//! Verbs of `pool`.

use comfy_table::Table;
use flashtrack_engine::admin::{Command, PoolReport, PoolStatus, Report};

use crate::cli::PoolVerb;
use crate::client::Client;
use crate::failure::Failure;
use crate::output::{Mood, Output, details, exact_size, percent, size, state, table};

/// Carries out one verb.
pub(crate) async fn run(verb: PoolVerb, client: &Client, output: Output) -> Result<(), Failure> {
    match verb {
        PoolVerb::Create { name, capacity } => {
            let command = Command::PoolCreate { name, capacity_bytes: capacity };
            let pool = one(client, &command).await?;
            output.object(&pool, |pool| created(pool, capacity))
        }
        PoolVerb::List => output.list(&pools(client, &Command::PoolList {}).await?, listing),
        PoolVerb::Show { name } => {
            let pool = one(client, &Command::PoolShow { name }).await?;
            output.object(&pool, shown)
        }
        PoolVerb::Delete { name } => {
            let text = format!("pool {name} deleted");
            client.command(&Command::PoolDelete { name }).await?;
            output.done(&text)
        }
    }
}

async fn pools(client: &Client, command: &Command) -> Result<Vec<PoolReport>, Failure> {
    match client.command(command).await? {
        Report::Pools(pools) => Ok(pools),
        _ => Err(client.unexpected()),
    }
}

async fn one(client: &Client, command: &Command) -> Result<PoolReport, Failure> {
    let pools = pools(client, command).await?;
    pools.into_iter().next().ok_or_else(|| client.unexpected())
}

fn created(pool: &PoolReport, wanted: u64) -> String {
    let rounded = if pool.capacity_bytes == wanted {
        String::new()
    } else {
        format!(", rounded down from {wanted} bytes to whole slots of 4 KiB")
    };
    format!("pool {} created: {}{rounded}", pool.name, exact_size(pool.capacity_bytes))
}

fn listing(pools: &[PoolReport]) -> Table {
    let mut listing =
        table(&["NAME", ">CAPACITY", ">USED", ">USED %", ">PRESERVED", ">VOLUMES", "STATUS"]);
    for pool in pools {
        listing.add_row(vec![
            pool.name.as_str().into(),
            size(pool.capacity_bytes).into(),
            size(pool.used_bytes).into(),
            percent(pool.used_bytes, pool.capacity_bytes).into(),
            size(pool.preserved_bytes).into(),
            pool.volumes.len().into(),
            status(pool.status),
        ]);
    }
    listing
}

fn status(status: PoolStatus) -> comfy_table::Cell {
    let (word, mood) = match status {
        PoolStatus::Ok => ("ok", Mood::Good),
        PoolStatus::Warning => ("warning", Mood::Warning),
        PoolStatus::Full => ("full", Mood::Bad),
        PoolStatus::Failed => ("failed", Mood::Bad),
    };
    state(word, mood)
}

fn shown(pool: &PoolReport) -> String {
    details(&[
        ("name", pool.name.clone()),
        ("id", pool.id.to_string()),
        ("status", status(pool.status).content()),
        ("capacity", exact_size(pool.capacity_bytes)),
        ("used", exact_size(pool.used_bytes)),
        ("of that preserved", exact_size(pool.preserved_bytes)),
        ("reserved", exact_size(pool.reserved_bytes)),
        ("volumes", pool.volumes.join(", ")),
    ])
}

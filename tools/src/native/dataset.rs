//! Verbs of `dataset`.

use comfy_table::Table;
use flashtrack_engine::admin::{
    Command, DatasetCopySpec, DatasetExtentReport, DatasetReport, Report,
};

use super::copy::{copies, copy_mode, freeze, listing as copy_listing};
use crate::cli::{DatasetCopy, DatasetVerb};
use crate::client::Client;
use crate::failure::Failure;
use crate::import;
use crate::output::{Output, size, table};

/// Carries out one verb.
pub(crate) async fn run(verb: DatasetVerb, client: &Client, output: Output) -> Result<(), Failure> {
    match verb {
        DatasetVerb::Define { name, extents } => {
            let dataset = one(client, &Command::DatasetDefine { name, extents }).await?;
            output.object(&dataset, shown)
        }
        DatasetVerb::Import { name, file, volume, server } => {
            let volume = super::volume::named(client, &volume).await?;
            let (extents, unwritten_bytes) = import::extents(&file, &volume, &server.nbd)?;
            let dataset = one(client, &Command::DatasetDefine { name, extents }).await?;
            output.object(&dataset, |dataset| imported(dataset, unwritten_bytes))
        }
        DatasetVerb::List => {
            output.list(&datasets(client, &Command::DatasetList {}).await?, listing)
        }
        DatasetVerb::Show { name } => {
            let dataset = one(client, &Command::DatasetShow { name }).await?;
            output.object(&dataset, shown)
        }
        DatasetVerb::Copy(options) => {
            let copies = copies(client, &Command::DatasetCopy(copy(options))).await?;
            output.list(&copies, copy_listing)
        }
        DatasetVerb::Delete { name } => {
            let text = format!("dataset {name} deleted; its data and copies stay");
            client.command(&Command::DatasetDelete { name }).await?;
            output.done(&text)
        }
    }
}

async fn datasets(client: &Client, command: &Command) -> Result<Vec<DatasetReport>, Failure> {
    match client.command(command).await? {
        Report::Datasets(datasets) => Ok(datasets),
        _ => Err(client.unexpected()),
    }
}

async fn one(client: &Client, command: &Command) -> Result<DatasetReport, Failure> {
    let datasets = datasets(client, command).await?;
    datasets.into_iter().next().ok_or_else(|| client.unexpected())
}

fn copy(options: DatasetCopy) -> DatasetCopySpec {
    DatasetCopySpec {
        name: options.name,
        targets: options.targets,
        onto: options.onto,
        mode: copy_mode(options.nocopy),
        freeze: freeze(options.freeze),
    }
}

fn listing(datasets: &[DatasetReport]) -> Table {
    let mut listing = table(&["NAME", ">EXTENTS", ">TRACKS", "VOLUMES"]);
    for dataset in datasets {
        listing.add_row(vec![
            dataset.name.clone(),
            dataset.extents.len().to_string(),
            dataset.tracks.to_string(),
            volumes(dataset).join(", "),
        ]);
    }
    listing
}

/// Each volume once, in the order of first extents.
fn volumes(dataset: &DatasetReport) -> Vec<&str> {
    let mut names = Vec::new();
    for extent in &dataset.extents {
        let name = volume(extent);
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

fn volume(extent: &DatasetExtentReport) -> &str {
    extent.volume.as_deref().unwrap_or("(deleted)")
}

fn imported(dataset: &DatasetReport, unwritten_bytes: u64) -> String {
    let text = shown(dataset);
    if unwritten_bytes == 0 {
        return text;
    }
    let unwritten = size(unwritten_bytes);
    format!("{text}\nof that {unwritten} are allocated but were never written")
}

fn shown(dataset: &DatasetReport) -> String {
    let mut extents = table(&["VOLUME", ">FIRST TRACK", ">TRACKS"]);
    for extent in &dataset.extents {
        extents.add_row(vec![
            volume(extent).to_owned(),
            extent.first_track.to_string(),
            extent.tracks.to_string(),
        ]);
    }
    format!("dataset {}: {} tracks\n{}", dataset.name, dataset.tracks, extents.trim_fmt())
}

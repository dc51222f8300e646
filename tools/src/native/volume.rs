//! Verbs of `volume`.

use comfy_table::Table;
use flashtrack_engine::admin::{Command, Report, VolumeReport, VolumeSpec, VolumeStatus};

use crate::cli::{VolumeCreate, VolumeVerb};
use crate::client::Client;
use crate::failure::Failure;
use crate::output::{Mood, Output, details, exact_size, size, state, table};

/// Carries out one verb.
pub(crate) async fn run(verb: VolumeVerb, client: &Client, output: Output) -> Result<(), Failure> {
    match verb {
        VolumeVerb::Create(options) => create(options, client, output).await,
        VolumeVerb::List => output.list(&volumes(client, &Command::VolumeList {}).await?, listing),
        VolumeVerb::Show { name } => {
            let volume = one(client, &Command::VolumeShow { name }).await?;
            output.object(&volume, shown)
        }
        VolumeVerb::Delete { name } => {
            let text = format!("volume {name} deleted");
            client.command(&Command::VolumeDelete { name }).await?;
            output.done(&text)
        }
    }
}

async fn create(options: VolumeCreate, client: &Client, output: Output) -> Result<(), Failure> {
    let wanted = options.size;
    let command = Command::VolumeCreate(VolumeSpec {
        name: options.name,
        size_bytes: options.size,
        cylinders: options.cylinders,
        volume_type: options.volume_type,
        device: options.device,
        thin: options.thin,
    });
    let volume = one(client, &command).await?;
    output.object(&volume, |volume| created(volume, wanted))
}

async fn volumes(client: &Client, command: &Command) -> Result<Vec<VolumeReport>, Failure> {
    match client.command(command).await? {
        Report::Volumes(volumes) => Ok(volumes),
        _ => Err(client.unexpected()),
    }
}

async fn one(client: &Client, command: &Command) -> Result<VolumeReport, Failure> {
    let volumes = volumes(client, command).await?;
    volumes.into_iter().next().ok_or_else(|| client.unexpected())
}

/// The volume of that name.
pub(crate) async fn named(client: &Client, name: &str) -> Result<VolumeReport, Failure> {
    one(client, &Command::VolumeShow { name: name.to_owned() }).await
}

fn created(volume: &VolumeReport, wanted: Option<u64>) -> String {
    let rounded = match wanted {
        Some(wanted) if wanted != volume.size_bytes => {
            let unit = if volume.volume_type.is_3390() { "cylinders" } else { "tracks" };
            format!(", rounded up from {wanted} bytes to whole {unit}")
        }
        _ => String::new(),
    };
    format!(
        "volume {} created: device {}, {}, {} tracks of {} bytes{rounded}",
        volume.name,
        volume.device,
        exact_size(volume.size_bytes),
        volume.tracks,
        volume.track_bytes,
    )
}

fn listing(volumes: &[VolumeReport]) -> Table {
    let mut listing = table(&[
        "NAME",
        "DEVICE",
        "TYPE",
        ">SIZE",
        ">ALLOCATED",
        "POOL",
        ">SOURCE OF",
        ">TARGET OF",
        ">MAX",
        ">CONNECTIONS",
        "STATUS",
    ]);
    for volume in volumes {
        listing.add_row(vec![
            volume.name.as_str().into(),
            volume.device.as_str().into(),
            volume.volume_type.name().into(),
            size(volume.size_bytes).into(),
            size(volume.allocated_bytes).into(),
            volume.pool.as_deref().unwrap_or("-").into(),
            volume.source_relationships.into(),
            volume.target_relationships.into(),
            volume.relationships_max.into(),
            volume.connections.into(),
            status(volume),
        ]);
    }
    listing
}

fn status(volume: &VolumeReport) -> comfy_table::Cell {
    match (volume.status, volume.frozen_seconds_left) {
        (VolumeStatus::Failed, _) => state("failed", Mood::Bad),
        (VolumeStatus::Online, None) => state("online", Mood::Good),
        (VolumeStatus::Online, Some(seconds)) => {
            state(&format!("online, frozen for {seconds} s more"), Mood::Warning)
        }
    }
}

fn shown(volume: &VolumeReport) -> String {
    details(&[
        ("name", volume.name.clone()),
        ("id", volume.id.to_string()),
        ("device", volume.device.clone()),
        ("type", volume.volume_type.to_string()),
        ("status", status(volume).content()),
        ("size", exact_size(volume.size_bytes)),
        ("tracks", format!("{} of {} bytes", volume.tracks, volume.track_bytes)),
        ("pool", volume.pool.clone().unwrap_or_else(|| "none: a full volume".to_owned())),
        ("allocated", exact_size(volume.allocated_bytes)),
        ("connections", volume.connections.to_string()),
        ("source of", volume.source_relationships.to_string()),
        ("target of", volume.target_relationships.to_string()),
        ("relationships", format!("at most {}", volume.relationships_max)),
    ])
}

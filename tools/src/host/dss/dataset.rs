//! COPY DATASET: the extents of a dataset, all at one moment or none.
//!
//! Volume relationships in the way are withdrawn first (see `in_the_way`), but only after the server has named them
//! as its reason.

use flashtrack_engine::admin::{
    Command, DatasetCopySpec, DatasetReport, Refusal, RefusalKind, Report,
};

use super::VolumeName;
use super::flash::Flash;
use super::in_the_way::{self, Space};
use crate::host::control::{Control, Named, Stop, ambiguous, named};
use crate::host::messages::Message;
use crate::host::operands::rejected;

/// What is copied onto what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Names {
    pub(super) name: String,
    /// A target volume for each volume of the dataset.
    pub(super) targets: Vec<VolumeName>,
    /// A dataset of the same shape.
    pub(super) onto: Option<String>,
}

/// Copies it.
pub(super) async fn run(
    names: &Names,
    flash: &Flash,
    control: Control<'_>,
    messages: &mut Vec<Message>,
) -> Result<(), Stop> {
    let Report::Datasets(datasets) = control.command(&Command::DatasetList {}).await? else {
        return Err(control.client.unexpected().into());
    };
    let dataset = found(&datasets, &names.name)?;
    let onto = names.onto.as_deref().map(|onto| found(&datasets, onto)).transpose()?;
    if onto.is_some() && !names.targets.is_empty() {
        let message = "OUTDYNAM and RENAMEUNCONDITIONAL exclude each other: the new dataset has volumes of its own";
        return Err(rejected(message).into());
    }
    let volumes = control.volumes().await?;
    let targets = names.targets.iter().map(|target| Ok(target.resolve(&volumes)?.name.clone()));
    let spec = DatasetCopySpec {
        name: dataset.name.clone(),
        targets: targets.collect::<Result<_, Refusal>>()?,
        onto: onto.map(|onto| onto.name.clone()),
        mode: flash.mode,
        freeze: flash.freeze,
    };
    let spaces = match onto {
        Some(onto) => spaces_of(onto),
        None => moved(dataset, &spec.targets),
    };
    let text = match &spec.onto {
        Some(onto) => format!("DATASET {} COPIED ONTO DATASET {onto}", spec.name),
        None => format!("DATASET {} COPIED TO {}", spec.name, spec.targets.join(", ")),
    };
    copy(&Command::DatasetCopy(spec), &spaces, control, messages).await?;
    messages.push(Message::info("ADR806I", format!("{text} USING A FAST REPLICATION FUNCTION")));
    Ok(())
}

async fn copy(
    command: &Command,
    spaces: &[Space],
    control: Control<'_>,
    messages: &mut Vec<Message>,
) -> Result<(), Stop> {
    match control.command(command).await {
        Err(Stop::Refused(refusal))
            if matches!(refusal.kind, RefusalKind::TargetRelated | RefusalKind::SourceRelated) => {}
        other => return other.map(drop),
    }
    let mut related = control.copies(&Command::CopyList { volume: None }).await?;
    related.retain(|copy| copy.ended.is_none());
    let profile = control.store().await?.profile;
    let withdrawals = in_the_way::for_dataset(&related, spaces, profile)?;
    // Empty when what was in the way has ended by itself since: then the copy is only asked for again.
    in_the_way::withdraw(&withdrawals, control, messages).await?;
    control.command(command).await.map(drop)
}

fn found<'a>(datasets: &'a [DatasetReport], name: &str) -> Result<&'a DatasetReport, Refusal> {
    match named(datasets, name, |dataset| &dataset.name) {
        Named::One(dataset) => Ok(dataset),
        Named::Several => Err(ambiguous("datasets", name)),
        Named::None => Err(Refusal {
            kind: RefusalKind::NotFound,
            message: format!("dataset {name} does not exist"),
            help: Some("`flashtrack dataset list` shows all datasets".to_owned()),
        }),
    }
}

fn spaces_of(dataset: &DatasetReport) -> Vec<Space> {
    let spaces = dataset.extents.iter().filter_map(|extent| {
        let tracks = extent.first_track..extent.first_track.saturating_add(extent.tracks);
        extent.volume.clone().map(|volume| Space { volume, tracks })
    });
    spaces.collect()
}

/// The dataset's extents on the target volumes, in the order in which its volumes come.
fn moved(dataset: &DatasetReport, targets: &[String]) -> Vec<Space> {
    let mut volumes: Vec<String> = Vec::new();
    let mut spaces = spaces_of(dataset);
    for space in &mut spaces {
        let position =
            volumes.iter().position(|known| *known == space.volume).unwrap_or_else(|| {
                volumes.push(space.volume.clone());
                volumes.len() - 1
            });
        // Where targets are missing the server has refused the copy already.
        space.volume = targets.get(position).cloned().unwrap_or_default();
    }
    spaces
}

#[cfg(test)]
mod tests {
    use flashtrack_engine::admin::DatasetExtentReport;

    use super::*;

    #[test]
    fn each_volume_of_the_dataset_has_its_target_in_the_order_of_first_extents() {
        let extent = |volume: &str, first_track| DatasetExtentReport {
            volume: Some(volume.to_owned()),
            first_track,
            tracks: 10,
        };
        let dataset = DatasetReport {
            name: "d".to_owned(),
            extents: vec![extent("b", 0), extent("a", 50), extent("b", 20)],
            tracks: 30,
        };
        let space =
            |volume: &str, first| Space { volume: volume.to_owned(), tracks: first..first + 10 };

        let moved = moved(&dataset, &["x".to_owned(), "y".to_owned()]);

        assert_eq!(moved, [space("x", 0), space("y", 50), space("x", 20)]);
    }
}

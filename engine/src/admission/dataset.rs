//! Datasets: may this name be given to these extents, and may all of them be copied at once? (semantics.md 5, T1-05)

use super::establish::plan_pair;
use super::planned::Planned;
use super::{EstablishPlan, Rules, check_name, check_tracks, refuse, refuse_with_help, volume};
use crate::admin::{
    DatasetCopySpec, DatasetExtent, EstablishSpec, ExtentSpec, PairSpec, Refusal, RefusalKind,
};
use crate::map::cover::CoverMap;
use crate::state::{NamedExtent, State};
use crate::units::VolumeId;

/// The extents of a new dataset.
///
/// # Errors
/// The name is taken or no name, or an extent is not on its volume or overlaps another.
pub fn plan_dataset(
    rules: Rules<'_>,
    name: &str,
    extents: &[DatasetExtent],
) -> Result<Vec<NamedExtent>, Refusal> {
    check_name("dataset", name)?;
    if rules.state.datasets.contains_key(name) {
        return Err(refuse(RefusalKind::Exists, format!("dataset `{name}` exists already")));
    }
    if extents.is_empty() || extents.len() > rules.relationships_per_command {
        let message = format!(
            "a dataset has 1 to {} extents, not {}",
            rules.relationships_per_command,
            extents.len()
        );
        return Err(refuse(RefusalKind::Invalid, message));
    }
    let mut covered: std::collections::BTreeMap<VolumeId, CoverMap<()>> =
        std::collections::BTreeMap::new();
    let mut named = Vec::with_capacity(extents.len());
    for extent in extents {
        let (id, known) = volume(rules.state, &extent.volume)?;
        check_tracks(&extent.volume, known, extent.first_track, extent.tracks)?;
        let tracks = extent.first_track..extent.first_track + extent.tracks;
        let cover = covered.entry(id).or_default();
        if cover.overlapping(tracks.clone()).any(|(_, items)| !items.is_empty()) {
            let message = format!(
                "extents of dataset `{name}` overlap on volume `{}` at track {}",
                extent.volume, extent.first_track
            );
            return Err(refuse(RefusalKind::Overlap, message));
        }
        cover.insert(tracks, ());
        named.push(NamedExtent { volume: id, first: extent.first_track, tracks: extent.tracks });
    }
    Ok(named)
}

/// The relationships that a copy of a dataset would make.
///
/// # Errors
/// The dataset does not exist or has lost a volume, the targets do not fit it, or a rule of establish is broken.
pub fn plan_dataset_copy(
    rules: Rules<'_>,
    spec: &DatasetCopySpec,
) -> Result<EstablishPlan, Refusal> {
    let state = rules.state;
    let sources = extents_of(state, &spec.name)?;
    let targets = match &spec.onto {
        Some(onto) if spec.targets.is_empty() => extents_of(state, onto)?,
        None => same_places(&sources, spec)?,
        Some(_) => {
            let message = "target volumes and a target dataset do not go together";
            return Err(refuse(RefusalKind::Invalid, message));
        }
    };
    let lengths = |extents: &[(String, NamedExtent)]| -> Vec<u32> {
        extents.iter().map(|(_, extent)| extent.tracks).collect()
    };
    if lengths(&sources) != lengths(&targets) {
        let message = format!(
            "dataset `{}` and its target dataset `{}` do not have extents of the same lengths",
            spec.name,
            spec.onto.as_deref().unwrap_or_default()
        );
        return Err(refuse(RefusalKind::Size, message));
    }
    let establish =
        EstablishSpec { mode: spec.mode, freeze: spec.freeze, ..EstablishSpec::default() };
    let mut planned = Planned::default();
    for ((source, from), (target, to)) in sources.iter().zip(&targets) {
        let extent =
            ExtentSpec { source_track: from.first, target_track: to.first, tracks: from.tracks };
        let pair =
            PairSpec { source: source.clone(), target: target.clone(), extents: vec![extent] };
        plan_pair(&rules, &establish, &pair, &mut planned)?;
    }
    planned.check_limits(&rules)?;
    Ok(EstablishPlan { new: planned.new, renewed: Vec::new() })
}

/// The extents of a dataset with the names of their volumes. A lost piece makes the whole useless.
fn extents_of(state: &State, name: &str) -> Result<Vec<(String, NamedExtent)>, Refusal> {
    let Some(extents) = state.datasets.get(name) else {
        let message = format!("dataset `{}` does not exist", name.escape_default());
        let help = "`flashtrack dataset list` shows all datasets";
        return Err(refuse_with_help(RefusalKind::NotFound, message, help));
    };
    extents
        .iter()
        .map(|&extent| {
            let Some(volume) = state.volumes.get(&extent.volume) else {
                let message = format!(
                    "dataset `{name}` has lost a piece: volume {} was deleted",
                    extent.volume
                );
                let help = "define it anew, on volumes that exist";
                return Err(refuse_with_help(RefusalKind::NotFound, message, help));
            };
            Ok((volume.name.clone(), extent))
        })
        .collect()
}

/// The same places on other volumes: one for each volume of the dataset, in the order of their first extents.
fn same_places(
    sources: &[(String, NamedExtent)],
    spec: &DatasetCopySpec,
) -> Result<Vec<(String, NamedExtent)>, Refusal> {
    let mut volumes: Vec<VolumeId> = Vec::new();
    for (_, extent) in sources {
        if !volumes.contains(&extent.volume) {
            volumes.push(extent.volume);
        }
    }
    if volumes.len() != spec.targets.len() {
        let message = format!(
            "dataset `{}` lies on {} volumes, {} targets are named",
            spec.name,
            volumes.len(),
            spec.targets.len()
        );
        let help = "name a target for each volume, in the order of `flashtrack dataset show`";
        return Err(refuse_with_help(RefusalKind::Invalid, message, help));
    }
    Ok(sources
        .iter()
        .map(|(_, extent)| {
            let at = volumes.iter().position(|volume| *volume == extent.volume).unwrap_or(0);
            (spec.targets[at].clone(), *extent)
        })
        .collect())
}

//! Commands that counts and micro-benchmarks give an engine.

use flashtrack_engine::admin::{Command, CopyMode, EstablishSpec, PairSpec, VolumeSpec};
use flashtrack_engine::geometry::VolumeType;

/// Make a volume, in a pool if one is named.
pub(crate) fn create(name: &str, bytes: u64, thin: Option<&str>) -> Command {
    Command::VolumeCreate(VolumeSpec {
        name: name.to_owned(),
        size_bytes: Some(bytes),
        cylinders: None,
        volume_type: VolumeType::Fb,
        device: None,
        thin: thin.map(str::to_owned),
    })
}

/// Copy a whole volume.
pub(crate) fn establish(source: &str, target: &str, mode: CopyMode) -> Command {
    let pair =
        PairSpec { source: source.to_owned(), target: target.to_owned(), extents: Vec::new() };
    Command::CopyEstablish(EstablishSpec {
        pairs: vec![pair],
        mode,
        space_efficient: true,
        ..EstablishSpec::default()
    })
}

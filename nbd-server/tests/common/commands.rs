//! Commands and reports in short.

#![allow(dead_code, reason = "each test uses its part of the module")]

use flashtrack_engine::admin::{
    Command, CopyMode, CopyReport, CopySelector, EstablishSpec, PairSpec, PoolReport, Report,
    VolumeReport, VolumeSpec,
};
use flashtrack_engine::geometry::VolumeType;

use crate::process::Server;

/// Make a pool.
pub(crate) fn pool(name: &str, capacity_bytes: u64) -> Command {
    Command::PoolCreate { name: name.to_owned(), capacity_bytes }
}

/// What makes a volume of generic type, full or in the pool `thin`.
pub(crate) fn spec(name: &str, size_bytes: u64, thin: Option<&str>) -> VolumeSpec {
    VolumeSpec {
        name: name.to_owned(),
        size_bytes: Some(size_bytes),
        cylinders: None,
        volume_type: VolumeType::default(),
        device: None,
        thin: thin.map(str::to_owned),
    }
}

/// Make a full volume.
pub(crate) fn full(name: &str, size_bytes: u64) -> Command {
    Command::VolumeCreate(spec(name, size_bytes, None))
}

/// Make a thin volume.
pub(crate) fn thin(name: &str, size_bytes: u64, pool: &str) -> Command {
    Command::VolumeCreate(spec(name, size_bytes, Some(pool)))
}

/// Copy a whole volume.
pub(crate) fn copy(source: &str, target: &str, mode: CopyMode, space_efficient: bool) -> Command {
    let (source, target) = (source.to_owned(), target.to_owned());
    let pairs = vec![PairSpec { source, target, extents: vec![] }];
    Command::CopyEstablish(EstablishSpec {
        pairs,
        mode,
        space_efficient,
        ..EstablishSpec::default()
    })
}

/// Copy a whole volume onto a thin one.
pub(crate) fn nocopy(source: &str, target: &str) -> Command {
    copy(source, target, CopyMode::Nocopy, true)
}

/// End what is related to a target.
pub(crate) fn withdraw(target: &str) -> Command {
    Command::CopyWithdraw(CopySelector::Target(target.to_owned()).into())
}

/// All pools.
pub(crate) fn pools(server: &Server) -> Vec<PoolReport> {
    match server.command(&Command::PoolList {}) {
        Report::Pools(pools) => pools,
        other => panic!("no list of pools: {other:?}"),
    }
}

/// All volumes.
pub(crate) fn volumes(server: &Server) -> Vec<VolumeReport> {
    match server.command(&Command::VolumeList {}) {
        Report::Volumes(volumes) => volumes,
        other => panic!("no list of volumes: {other:?}"),
    }
}

/// Relationships that live, and those that ended of late.
pub(crate) fn copies(server: &Server) -> Vec<CopyReport> {
    match server.command(&Command::CopyList { volume: None }) {
        Report::Copies(copies) => copies,
        other => panic!("no list of copies: {other:?}"),
    }
}

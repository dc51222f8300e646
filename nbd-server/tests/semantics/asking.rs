//! Commands in short: what a host would ask for, one call per keyword.

use flashtrack_engine::admin::{
    Command, CopyMode, DatasetCopySpec, DatasetExtent, EstablishAction, EstablishSpec, ExtentSpec,
    Freeze, Incremental, OnlineTarget, PairSpec, VolumeSpec, WithdrawSpec,
};
use flashtrack_engine::geometry::VolumeType;
use flashtrack_engine::units::RelationshipId;

/// An establish; COPY of whole volumes unless more is said.
#[derive(Clone)]
pub(crate) struct Establish(EstablishSpec);

/// Establish a copy from `source` to `target`.
pub(crate) fn copy(source: &str, target: &str) -> Establish {
    Establish(EstablishSpec::default()).and(source, target)
}

/// The same with MODE(NOCOPY).
pub(crate) fn nocopy(source: &str, target: &str) -> Establish {
    copy(source, target).mode(CopyMode::Nocopy)
}

/// An incremental establish whose target takes writes under both profiles.
pub(crate) fn incremental(source: &str, target: &str) -> Establish {
    copy(source, target).incremental(Incremental::TargetWritable)
}

/// Without a background copy: what is to be copied can be counted.
pub(crate) fn counted(source: &str, target: &str) -> Establish {
    incremental(source, target).mode(CopyMode::Nocopy)
}

impl Establish {
    /// Another pair at the same moment.
    pub(crate) fn and(mut self, source: &str, target: &str) -> Self {
        let (source, target) = (source.to_owned(), target.to_owned());
        self.0.pairs.push(PairSpec { source, target, extents: vec![] });
        self
    }

    /// Tracks of the pair named last: so many from a source track to a target track.
    pub(crate) fn tracks(mut self, source_track: u32, target_track: u32, tracks: u32) -> Self {
        let extent = ExtentSpec { source_track, target_track, tracks };
        self.0.pairs.last_mut().expect("each has a pair").extents.push(extent);
        self
    }

    pub(crate) fn mode(mut self, mode: CopyMode) -> Self {
        self.0.mode = mode;
        self
    }

    /// INCREMENTAL(YES), or the variant that is given.
    pub(crate) fn incremental(mut self, incremental: Incremental) -> Self {
        self.0.incremental = incremental;
        self
    }

    pub(crate) fn action(mut self, action: EstablishAction) -> Self {
        self.0.action = action;
        self
    }

    /// SETGTOK(YES).
    pub(crate) fn space_efficient(mut self) -> Self {
        self.0.space_efficient = true;
        self
    }

    /// ACTION(FREEZE).
    pub(crate) fn freeze(mut self) -> Self {
        self.0.freeze = Freeze::HoldWrites;
        self
    }

    /// ONLINTGT(NO).
    pub(crate) fn offline_target(mut self) -> Self {
        self.0.online_target = OnlineTarget::Refused;
        self
    }

    pub(crate) fn command(self) -> Command {
        Command::CopyEstablish(self.0)
    }
}

/// A withdraw, at once and whole unless more is said.
#[derive(Clone, Default)]
pub(crate) struct Withdraw(WithdrawSpec);

/// FCWITHDR with SDEVN.
pub(crate) fn withdraw_from(source: &str) -> Withdraw {
    Withdraw(WithdrawSpec { source: Some(source.to_owned()), ..WithdrawSpec::default() })
}

/// FCWITHDR with TDEVN.
pub(crate) fn withdraw_onto(target: &str) -> Withdraw {
    Withdraw(WithdrawSpec { target: Some(target.to_owned()), ..WithdrawSpec::default() })
}

/// One relationship.
pub(crate) fn withdraw_id(id: u32) -> Withdraw {
    Withdraw(WithdrawSpec { id: Some(RelationshipId(id)), ..WithdrawSpec::default() })
}

impl Withdraw {
    /// TDEVN beside SDEVN.
    pub(crate) fn onto(mut self, target: &str) -> Self {
        self.0.target = Some(target.to_owned());
        self
    }

    /// DDSW(YES).
    pub(crate) fn ddsw(mut self) -> Self {
        self.0.ddsw = true;
        self
    }

    /// A pair of ranges of XTNTLST.
    pub(crate) fn tracks(mut self, source_track: u32, target_track: u32, tracks: u32) -> Self {
        self.0.extents.push(ExtentSpec { source_track, target_track, tracks });
        self
    }

    pub(crate) fn command(self) -> Command {
        Command::CopyWithdraw(self.0)
    }
}

/// Start the background copy of NOCOPY relationships.
pub(crate) fn convert(source: &str) -> Command {
    Command::CopyConvert { source: source.to_owned() }
}

/// ACTION(THAW) for a control unit.
pub(crate) fn thaw(cu: u8) -> Command {
    Command::Thaw { cu, verify: None }
}

/// The same with FCCGVERIFY.
pub(crate) fn thaw_and_verify(cu: u8, volume: &str) -> Command {
    Command::Thaw { cu, verify: Some(volume.to_owned()) }
}

/// A dataset of (volume, first track, tracks).
pub(crate) fn dataset(name: &str, extents: &[(&str, u32, u32)]) -> Command {
    let extent = |&(volume, first_track, tracks): &(&str, u32, u32)| DatasetExtent {
        volume: volume.to_owned(),
        first_track,
        tracks,
    };
    Command::DatasetDefine { name: name.to_owned(), extents: extents.iter().map(extent).collect() }
}

/// A NOCOPY copy of a dataset to the same places of other volumes.
pub(crate) fn dataset_copy(name: &str, targets: &[&str]) -> DatasetCopySpec {
    DatasetCopySpec {
        name: name.to_owned(),
        targets: targets.iter().map(|&target| target.to_owned()).collect(),
        onto: None,
        mode: CopyMode::Nocopy,
        freeze: Freeze::No,
    }
}

/// A 3390 volume with so many cylinders, or as many as its type has.
pub(crate) fn ckd(name: &str, volume_type: VolumeType, cylinders: Option<u32>) -> Command {
    Command::VolumeCreate(VolumeSpec { cylinders, volume_type, ..bare(name) })
}

/// A generic volume of so many bytes, on a device number.
pub(crate) fn on_device(name: &str, size_bytes: u64, device: u16) -> Command {
    let size_bytes = Some(size_bytes);
    Command::VolumeCreate(VolumeSpec { size_bytes, device: Some(device), ..bare(name) })
}

fn bare(name: &str) -> VolumeSpec {
    VolumeSpec {
        name: name.to_owned(),
        size_bytes: None,
        cylinders: None,
        volume_type: VolumeType::Fb,
        device: None,
        thin: None,
    }
}

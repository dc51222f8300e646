//! What hosts and the administrator do: random, but shaped, and different from seed to seed.
//!
//! Each move is drawn from what is known to exist, so that most of them are possible, but not all.

use super::directory::{Directory, KnownCopy, KnownVolume};
use super::plan::{KINDS, Plan, narrow};
use super::prng::Prng;
use crate::admin::{
    Command, CopyMode, CopySelector, DatasetCopySpec, DatasetExtent, EstablishAction,
    EstablishSpec, ExtentSpec, Freeze, Incremental, PairSpec, VolumeSpec, WithdrawSpec,
};
use crate::geometry::VolumeType;
use crate::io::ZeroSpace;
use crate::units::{ByteRange, RelationshipId};

/// Most volumes of a run, so that comparing all of them stays cheap.
const VOLUMES_MAX: usize = 12;

/// One thing that happens.
#[derive(Clone, Debug)]
pub enum Move {
    /// A host asks something of a volume.
    Request {
        /// The volume.
        volume: u32,
        /// What is asked.
        ask: Ask,
    },
    /// The administrator commands.
    Command(Command),
    /// The server stops.
    Stop(Stop),
}

/// A request without its data.
#[derive(Clone, Copy, Debug)]
pub enum Ask {
    /// Read.
    Read(ByteRange),
    /// Write; durable when answered or not.
    Write(ByteRange, bool),
    /// Flush.
    Flush,
    /// Trim.
    Trim(ByteRange, bool),
    /// Write zeroes.
    Zeroes(ByteRange, ZeroSpace, bool),
    /// Block status.
    Status(ByteRange),
}

/// How a server stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The process is killed; the machine goes on.
    Kill,
    /// The machine loses its power.
    PowerCut,
    /// In order.
    Shutdown,
}

/// Draws what happens next.
#[derive(Clone, Debug)]
pub struct Workload {
    prng: Prng,
    weights: [u32; KINDS],
    records: bool,
    names: u32,
}

impl Workload {
    /// The workload of a plan.
    pub fn new(plan: &Plan, prng: Prng) -> Self {
        Self { prng, weights: plan.weights, records: plan.records, names: 0 }
    }

    /// A name that nothing had.
    pub fn name(&mut self, kind: &str) -> String {
        self.names += 1;
        format!("{kind}{}", self.names)
    }

    /// The next thing; none when nothing of the drawn kind is possible.
    pub fn next(&mut self, directory: &Directory) -> Option<Move> {
        let kind = self.prng.weighted(&self.weights);
        match kind {
            0..=5 => self.request(kind, directory),
            6 => self.establish(directory).map(Move::Command),
            7 => self.withdraw(directory).map(Move::Command),
            8 => self.create_volume(directory).map(Move::Command),
            9 => self.delete_volume(directory).map(Move::Command),
            10 => Some(Move::Command(Command::CopyList { volume: None })),
            11 => Some(Move::Command(Command::StoreDrain {})),
            12 => self.pool(directory).map(Move::Command),
            13 => Some(Move::Stop(Stop::Kill)),
            14 => Some(Move::Stop(Stop::PowerCut)),
            15 => Some(Move::Stop(Stop::Shutdown)),
            16 => self.renew(directory).map(Move::Command),
            17 => self.convert(directory).map(Move::Command),
            18 => self.withdraw_after_copy(directory).map(Move::Command),
            19 => Some(Move::Command(Command::Thaw { cu: 0, verify: None })),
            20 => self.withdraw_part(directory).map(Move::Command),
            _ => self.dataset(directory).map(Move::Command),
        }
    }

    fn request(&mut self, kind: usize, directory: &Directory) -> Option<Move> {
        let usable: Vec<(&u32, &KnownVolume)> =
            directory.volumes.iter().filter(|(_, volume)| volume.usable).collect();
        let (id, volume) = *self.prng.pick(&usable)?;
        let range = self.range(volume.bytes);
        let durable = self.prng.once_in(8);
        let ask = match kind {
            0 => Ask::Read(range),
            1 => Ask::Write(range, durable),
            2 => Ask::Flush,
            3 => Ask::Trim(self.wide(range, volume.bytes), durable),
            4 => {
                let space = if self.prng.once_in(2) { ZeroSpace::Release } else { ZeroSpace::Keep };
                Ask::Zeroes(self.wide(range, volume.bytes), space, durable)
            }
            _ => Ask::Status(self.wide(range, volume.bytes)),
        };
        Some(Move::Request { volume: *id, ask })
    }

    /// A place and a length, crowded so that requests meet; one in two hundred passes the end.
    fn range(&mut self, size: u64) -> ByteRange {
        let bytes = match self.prng.below(16) {
            0..8 => 4096,
            8 | 9 => 512 * self.prng.between(1, 8),
            10 | 11 => self.prng.between(1, 5000),
            12 | 13 => 4096 * self.prng.between(1, 16),
            14 => self.prng.between(1, 70_000),
            _ => self.prng.between(1, 131_072),
        }
        .min(size);
        let unit = *self.prng.pick(&[4096, 4096, 4096, 512, 1]).unwrap_or(&4096);
        let spread = if self.prng.once_in(2) { size.min(128 << 10) } else { size };
        let start = self.prng.below(spread) / unit * unit;
        let past_end = self.prng.once_in(200);
        let start = if past_end { start } else { start.min(size - bytes) };
        ByteRange { start, end: start + bytes }
    }

    /// Trims and zeroes are sometimes long.
    fn wide(&mut self, range: ByteRange, size: u64) -> ByteRange {
        if range.start < size && self.prng.once_in(4) {
            ByteRange { start: range.start, end: self.prng.between(range.start, size) }
        } else {
            range
        }
    }

    fn establish(&mut self, directory: &Directory) -> Option<Command> {
        let all: Vec<&KnownVolume> =
            directory.volumes.values().filter(|volume| volume.usable).collect();
        let full: Vec<&KnownVolume> =
            all.iter().copied().filter(|volume| volume.pool.is_none()).collect();
        let source = *self.prng.pick(&full)?;
        let odd = self.prng.once_in(16);
        let fits = |volume: &&KnownVolume| {
            odd || volume.bytes >= source.bytes && volume.name != source.name
        };
        let thin: Vec<&KnownVolume> =
            all.iter().copied().filter(|volume| volume.pool.is_some()).filter(fits).collect();
        let same_kind: Vec<&KnownVolume> = full.iter().copied().filter(fits).collect();
        if !thin.is_empty() && (same_kind.is_empty() || self.prng.once_in(2)) {
            let target = *self.prng.pick(&thin)?;
            return Some(self.spec(vec![pair(source, target, Vec::new())], CopyMode::Nocopy, !odd));
        }
        let mode = if self.prng.once_in(2) { CopyMode::Copy } else { CopyMode::Nocopy };
        if !same_kind.is_empty() && self.prng.once_in(2) {
            let target = *self.prng.pick(&same_kind)?;
            return Some(self.spec(vec![pair(source, target, Vec::new())], mode, odd));
        }
        let target = *self.prng.pick(&full)?;
        let extents = (0..self.prng.between(1, 3)).map(|_| self.extent(source, target)).collect();
        Some(self.spec(vec![pair(source, target, extents)], mode, odd))
    }

    fn extent(&mut self, source: &KnownVolume, target: &KnownVolume) -> ExtentSpec {
        let (from, to) = (source.bytes / source.track_bytes, target.bytes / target.track_bytes);
        let tracks = self.prng.between(1, from.min(to));
        ExtentSpec {
            source_track: narrow(self.prng.below(from - tracks + 1)),
            target_track: narrow(self.prng.below(to - tracks + 1)),
            tracks: narrow(tracks),
        }
    }

    fn spec(&mut self, mut pairs: Vec<PairSpec>, mode: CopyMode, space_efficient: bool) -> Command {
        if self.prng.once_in(100) {
            "nobody".clone_into(&mut pairs[0].source);
        }
        let records = [Incremental::TargetWritable, Incremental::TargetWritable, Incremental::Yes];
        // Of extents it is refused.
        let whole = pairs.iter().all(|pair| pair.extents.is_empty()) || self.prng.once_in(8);
        let may = self.records && whole && !space_efficient;
        let incremental = if may && !self.prng.once_in(4) {
            records[self.prng.index(records.len())]
        } else {
            Incremental::No
        };
        let holds = self.records && self.prng.once_in(12);
        let freeze = if holds { Freeze::HoldWrites } else { Freeze::No };
        Command::CopyEstablish(EstablishSpec {
            pairs,
            mode,
            space_efficient,
            incremental,
            freeze,
            ..EstablishSpec::default()
        })
    }

    /// A new moment of a relationship of whole volumes: a refresh, or a reversal.
    fn renew(&mut self, directory: &Directory) -> Option<Command> {
        let whole = |copy: &&KnownCopy| copy.kind.whole && !copy.leaving;
        let copies: Vec<&KnownCopy> = directory.copies.values().filter(whole).collect();
        let copy = *self.prng.pick(&copies)?;
        let source = directory.volumes.get(&copy.pair.source)?;
        let target = directory.volumes.get(&copy.pair.target)?;
        let actions = [
            EstablishAction::Refresh,
            EstablishAction::Refresh,
            EstablishAction::Reverse,
            EstablishAction::FastReverse,
        ];
        let action = actions[self.prng.index(actions.len())];
        let pairs = vec![match action {
            EstablishAction::Refresh => pair(source, target, Vec::new()),
            _ => pair(target, source, Vec::new()),
        }];
        let mode = if self.prng.once_in(3) { CopyMode::Nocopy } else { CopyMode::Copy };
        let incremental = if self.prng.once_in(8) { Incremental::Last } else { Incremental::No };
        let freeze = if self.prng.once_in(12) { Freeze::HoldWrites } else { Freeze::No };
        Some(Command::CopyEstablish(EstablishSpec {
            pairs,
            mode,
            incremental,
            action,
            freeze,
            ..EstablishSpec::default()
        }))
    }

    fn source_name(&mut self, directory: &Directory) -> Option<String> {
        let copies: Vec<&KnownCopy> = directory.copies.values().collect();
        let source = self.prng.pick(&copies)?.pair.source;
        Some(directory.volumes.get(&source)?.name.clone())
    }

    fn convert(&mut self, directory: &Directory) -> Option<Command> {
        Some(Command::CopyConvert { source: self.source_name(directory)? })
    }

    /// Of a run of tracks of a target.
    fn withdraw_part(&mut self, directory: &Directory) -> Option<Command> {
        let copies: Vec<&KnownCopy> = directory.copies.values().collect();
        let target = self.prng.pick(&copies)?.pair.target;
        let volume = directory.volumes.get(&target)?;
        let tracks = volume.bytes / volume.track_bytes;
        let first = self.prng.below(tracks);
        let count = self.prng.between(1, tracks - first);
        let extent = ExtentSpec {
            source_track: narrow(first),
            target_track: narrow(first),
            tracks: narrow(count),
        };
        Some(Command::CopyWithdraw(WithdrawSpec {
            target: Some(volume.name.clone()),
            extents: vec![extent],
            ..WithdrawSpec::default()
        }))
    }

    /// A dataset on one volume or two is defined, or copied.
    fn dataset(&mut self, directory: &Directory) -> Option<Command> {
        let full: Vec<&KnownVolume> =
            directory.volumes.values().filter(|volume| volume.pool.is_none()).collect();
        let names: Vec<&String> = directory.datasets.keys().collect();
        if names.is_empty() || (names.len() < 3 && self.prng.once_in(4)) {
            let mut extents = Vec::new();
            for _ in 0..self.prng.between(1, 2) {
                let volume = *self.prng.pick(&full)?;
                let tracks = volume.bytes / volume.track_bytes;
                let first = self.prng.below(tracks);
                extents.push(DatasetExtent {
                    volume: volume.name.clone(),
                    first_track: narrow(first),
                    tracks: narrow(self.prng.between(1, tracks - first)),
                });
            }
            return Some(Command::DatasetDefine { name: self.name("dataset"), extents });
        }
        let name = (*self.prng.pick(&names)?).clone();
        let extents = directory.datasets.get(&name)?;
        let mut volumes: Vec<&String> = extents.iter().map(|extent| &extent.volume).collect();
        volumes.sort_unstable();
        volumes.dedup();
        let mut targets = Vec::new();
        for _ in 0..volumes.len() {
            targets.push(self.prng.pick(&full)?.name.clone());
        }
        let mode = if self.prng.once_in(2) { CopyMode::Copy } else { CopyMode::Nocopy };
        Some(Command::DatasetCopy(DatasetCopySpec {
            name,
            targets,
            onto: None,
            mode,
            freeze: Freeze::No,
        }))
    }

    fn withdraw_after_copy(&mut self, directory: &Directory) -> Option<Command> {
        let source = Some(self.source_name(directory)?);
        Some(Command::CopyWithdraw(WithdrawSpec { source, ddsw: true, ..WithdrawSpec::default() }))
    }

    fn withdraw(&mut self, directory: &Directory) -> Option<Command> {
        let copies: Vec<u32> = directory.copies.keys().copied().collect();
        let id = *self.prng.pick(&copies)?;
        let pair = directory.copies.get(&id)?.pair;
        let name = |volume: u32| directory.volumes.get(&volume).map(|known| known.name.clone());
        let selector = match self.prng.below(8) {
            0 => CopySelector::Source(name(pair.source)?),
            1 | 2 => CopySelector::Target(name(pair.target)?),
            _ => CopySelector::Id(RelationshipId(id)),
        };
        Some(Command::CopyWithdraw(selector.into()))
    }

    fn create_volume(&mut self, directory: &Directory) -> Option<Command> {
        if directory.volumes.len() >= VOLUMES_MAX {
            return None;
        }
        let volumes: Vec<&KnownVolume> = directory.volumes.values().collect();
        let like = self.prng.pick(&volumes)?.bytes;
        let pools: Vec<&String> = directory.pools.keys().collect();
        let thin = if self.prng.once_in(2) {
            self.prng.pick(&pools).map(|name| (*name).clone())
        } else {
            None
        };
        Some(volume(self.name("volume"), like, thin))
    }

    fn delete_volume(&mut self, directory: &Directory) -> Option<Command> {
        let volumes: Vec<&KnownVolume> =
            directory.volumes.values().filter(|known| known.usable).collect();
        let name = self.prng.pick(&volumes)?.name.clone();
        (volumes.len() > 2).then_some(Command::VolumeDelete { name })
    }

    fn pool(&mut self, directory: &Directory) -> Option<Command> {
        let names: Vec<&String> = directory.pools.keys().collect();
        if names.len() > 1 && self.prng.once_in(2) {
            let name = (*self.prng.pick(&names)?).clone();
            return Some(Command::PoolDelete { name });
        }
        let name = self.name("pool");
        (names.len() < 3).then_some(Command::PoolCreate { name, capacity_bytes: 64 << 20 })
    }
}

/// The command that makes a volume.
pub(super) fn volume(name: String, bytes: u64, thin: Option<String>) -> Command {
    Command::VolumeCreate(VolumeSpec {
        name,
        size_bytes: Some(bytes),
        cylinders: None,
        volume_type: VolumeType::Fb,
        device: None,
        thin,
    })
}

fn pair(source: &KnownVolume, target: &KnownVolume, extents: Vec<ExtentSpec>) -> PairSpec {
    PairSpec { source: source.name.clone(), target: target.name.clone(), extents }
}

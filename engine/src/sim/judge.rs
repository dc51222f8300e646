//! Replies and answers, judged: each request and command gets one, and it is right.

use super::directory::{CopyKind, KnownCopy, KnownPool, KnownVolume, Verdict, lies};
use super::faults::ActionKind;
use super::model::{Leaves, Pair, View};
use super::parts::Part;
use super::workload::Ask;
use super::world::World;
use crate::admin::{
    Answer, Command, CopyMode, CopyReport, CopyState, EstablishAction, EstablishSpec, Freeze,
    Incremental, Refusal, RefusalKind, Report, WithdrawSpec,
};
use std::collections::BTreeSet;

use crate::request::{Allocation, Reply, ReplyData, RequestError, StatusExtent};
use crate::units::ByteRange;

/// Bytes of a new image that are read at once.
const EARLY_LOOK: u64 = 128 << 10;

/// A request that is in flight.
#[derive(Clone, Debug)]
pub(super) enum Asked {
    Read {
        volume: u32,
        range: ByteRange,
        since: u64,
    },
    Status {
        volume: u32,
        range: ByteRange,
        since: u64,
    },
    Flush {
        volume: u32,
        since: u64,
    },
    Write {
        volume: u32,
        range: ByteRange,
        number: u32,
        durable: bool,
        /// The volume was frozen when it was asked: until then at least it is not answered, but after a thaw.
        held_until_us: Option<u64>,
    },
    /// A read after a crash: what it gives becomes the truth.
    Settle {
        volume: u32,
        range: ByteRange,
        view: View,
    },
}

/// A command that is in flight.
#[derive(Clone, Debug)]
pub(super) enum Commanded {
    PoolCreate {
        name: String,
        may_fill: bool,
    },
    PoolDelete {
        name: String,
    },
    VolumeCreate {
        name: String,
        must: bool,
    },
    VolumeDelete {
        volume: u32,
        verdict: Verdict,
    },
    Establish {
        pairs: Vec<Pair>,
        images: Vec<usize>,
        kind: CopyKind,
        verdict: Verdict,
        /// The relationship that gets a new T0.
        renewed: Option<u32>,
        /// What a fast reverse restore may leave anything on: an image, where it lies, and by which number.
        emptied: Option<(usize, Pair, u32)>,
        /// Its sources' writes are held from then on, in microseconds.
        freezes: Option<u64>,
    },
    /// The relationships that it ends, with the number of the withdraw.
    Withdraw {
        copies: Vec<(u32, u32)>,
        /// Those that go on in part.
        parts: Vec<Part>,
        /// It may be refused.
        lenient: bool,
    },
    /// The relationships that the list must show.
    CopyList {
        must: Vec<u32>,
    },
    /// Pools, which must be empty when nothing uses them.
    PoolList {
        unused: bool,
    },
    Thaw,
    Convert,
    Other,
    /// The answer is kept for the world (see `World::inspect`).
    Inspect,
}

impl Asked {
    pub(super) fn volume(&self) -> u32 {
        match self {
            Self::Read { volume, .. }
            | Self::Status { volume, .. }
            | Self::Flush { volume, .. }
            | Self::Write { volume, .. }
            | Self::Settle { volume, .. } => *volume,
        }
    }
}

impl World {
    /// What the command does to the model while it is in flight, and what its answer may be.
    pub(super) fn expect(&mut self, command: &Command) -> Commanded {
        match command {
            Command::PoolCreate { name, capacity_bytes } => {
                Commanded::PoolCreate { name: name.clone(), may_fill: *capacity_bytes < 64 << 20 }
            }
            Command::PoolDelete { name } => Commanded::PoolDelete { name: name.clone() },
            Command::VolumeCreate(spec) => {
                let must = self.commanded.is_empty();
                Commanded::VolumeCreate { name: spec.name.clone(), must }
            }
            Command::VolumeDelete { name } => {
                let volume = self.directory.volume_named(name).map_or(u32::MAX, |(id, _)| id);
                let verdict = self.judge_delete(volume);
                if let Some(known) = self.directory.volumes.get_mut(&volume) {
                    known.usable = false;
                }
                Commanded::VolumeDelete { volume, verdict }
            }
            Command::CopyEstablish(spec) => self.expect_establish(spec),
            Command::CopyConvert { source } => {
                self.convert(source);
                Commanded::Convert
            }
            Command::Thaw { .. } => {
                self.directory.frozen.clear();
                Commanded::Thaw
            }
            Command::CopyWithdraw(spec) if !spec.extents.is_empty() => self.expect_split(spec),
            Command::CopyWithdraw(selector) => self.expect_withdraw(selector),
            Command::DatasetDefine { name, extents } => {
                self.directory.datasets.insert(name.clone(), extents.clone());
                Commanded::Other
            }
            Command::DatasetCopy(spec) => self.expect_dataset_copy(spec),
            Command::CopyList { volume: None } => {
                let certain = |copy: &KnownCopy| !copy.ends_itself && !copy.leaving && !copy.failed;
                let copies = self.directory.copies.iter().filter(|(_, copy)| certain(copy));
                Commanded::CopyList { must: copies.map(|(id, _)| *id).collect() }
            }
            Command::PoolList {} => {
                let thin = self.directory.volumes.values().any(|volume| volume.pool.is_some());
                Commanded::PoolList { unused: !thin && self.directory.copies.is_empty() }
            }
            _ => Commanded::Other,
        }
    }

    fn expect_establish(&mut self, spec: &EstablishSpec) -> Commanded {
        let renewed = self.renewed_by(spec);
        let verdict = match renewed {
            Some(_) => Verdict::Either,
            None if spec.action != EstablishAction::Establish => Verdict::Either,
            None => self.directory.judge_establish(spec, self.commanded.is_empty()),
        };
        let pairs = self.directory.pairs(spec).unwrap_or_default();
        let emptied = self.emptied_by(spec, renewed);
        let without = emptied.map(|(.., number)| number);
        let images = match verdict {
            Verdict::Refuse => Vec::new(),
            Verdict::Accept | Verdict::Either => self.model.begin_establish(&pairs, without).1,
        };
        if spec.incremental == Incremental::Yes {
            self.directory.inhibited.extend(pairs.iter().map(|pair| pair.target));
        }
        if renewed.is_some() {
            // What inhibits one target inhibits the other one after a reversal.
            let of_pair = |pair: &Pair| [pair.source, pair.target];
            let volumes: Vec<u32> = pairs.iter().flat_map(of_pair).collect();
            if volumes.iter().any(|volume| self.directory.inhibited.contains(volume)) {
                self.directory.inhibited.extend(volumes);
            }
        }
        let records = match (renewed.and_then(|id| self.directory.copies.get(&id)), spec.action) {
            (Some(copy), EstablishAction::Refresh) => copy.kind.incremental,
            (Some(copy), _) if copy.kind.incremental => true,
            _ => matches!(spec.incremental, Incremental::Yes | Incremental::TargetWritable),
        };
        let kind = CopyKind {
            mode: spec.mode,
            incremental: records && spec.incremental != Incremental::Last,
            whole: spec.pairs.iter().all(|pair| pair.extents.is_empty()),
        };
        let holds = spec.freeze == Freeze::HoldWrites;
        let until_us =
            self.now.monotonic_us + u64::from(self.directory.policy.freeze_seconds) * 1_000_000;
        Commanded::Establish {
            pairs,
            images,
            kind,
            verdict,
            renewed,
            emptied,
            freezes: holds.then_some(until_us),
        }
    }

    /// After a fast reverse restore the old target misses what was never copied to it (semantics 3.4).
    fn emptied_by(
        &mut self,
        spec: &EstablishSpec,
        renewed: Option<u32>,
    ) -> Option<(usize, Pair, u32)> {
        if spec.action != EstablishAction::FastReverse {
            return None;
        }
        let copy = self.directory.copies.get(&renewed?)?;
        let (image, pair) = (copy.image, copy.pair);
        let number = self.model.next_number();
        self.model.begin_withdraw(image, pair, number, Leaves::Unknown);
        Some((image, pair, number))
    }

    /// There was no fast reverse restore.
    pub(super) fn not_emptied(&mut self, emptied: Option<(usize, Pair, u32)>) {
        if let Some((image, pair, number)) = emptied {
            self.model.retract_withdraw(image, pair, number);
        }
    }

    /// The relationship of whole volumes that the command takes to a new T0.
    fn renewed_by(&self, spec: &EstablishSpec) -> Option<u32> {
        let plain = spec.action == EstablishAction::Establish;
        if plain && spec.incremental == Incremental::No {
            return None;
        }
        let [pair] = &spec.pairs[..] else { return None };
        let (source, _) = self.directory.volume_named(&pair.source)?;
        let (target, _) = self.directory.volume_named(&pair.target)?;
        let same = |pair: &Pair| (pair.source, pair.target) == (source, target);
        let reversed = |pair: &Pair| (pair.target, pair.source) == (source, target);
        let meant = |copy: &KnownCopy| match spec.action {
            EstablishAction::Establish => {
                copy.kind.incremental && (same(&copy.pair) || reversed(&copy.pair))
            }
            EstablishAction::Refresh => same(&copy.pair),
            EstablishAction::Reverse | EstablishAction::FastReverse => reversed(&copy.pair),
        };
        // An older one may have ended by itself, unseen.
        let mut copies = self.directory.copies.iter().rev();
        copies.find(|(_, copy)| copy.kind.whole && meant(copy)).map(|(id, _)| *id)
    }

    /// The NOCOPY relationships of a source may end by themselves from now on.
    fn convert(&mut self, source: &str) {
        let Some((source, _)) = self.directory.volume_named(source) else { return };
        let thin: BTreeSet<u32> = self
            .directory
            .volumes
            .iter()
            .filter(|(_, known)| known.pool.is_some())
            .map(|(id, _)| *id)
            .collect();
        for copy in self.directory.copies.values_mut() {
            if copy.pair.source == source && !thin.contains(&copy.pair.target) {
                copy.kind.mode = CopyMode::Copy;
                copy.ends_itself = !copy.kind.incremental;
            }
        }
    }

    /// The sources of these pairs hold their writes. The timer is that of the first freeze.
    fn frozen(&mut self, pairs: &[Pair], until_us: u64) {
        let first = self.directory.frozen.values().copied().min().unwrap_or(until_us);
        for pair in pairs {
            self.directory.frozen.entry(pair.source).or_insert(first.min(until_us));
        }
    }

    /// A write that came when its volume was frozen waits for a thaw (Z1).
    fn judge_held(&self, volume: u32, held_until_us: Option<u64>) -> Result<(), String> {
        let held = held_until_us.is_some_and(|until| self.now.monotonic_us < until);
        let still = self.directory.frozen.contains_key(&volume);
        if held && still && !self.shutting_down && !self.faults_since_open() {
            return Err("answered while its volume was frozen".to_owned());
        }
        Ok(())
    }

    fn judge_delete(&self, volume: u32) -> Verdict {
        let related = |copy: &&KnownCopy| copy.pair.source == volume || copy.pair.target == volume;
        let certain = |copy: &KnownCopy| !copy.ends_itself && !copy.leaving;
        if self.directory.copies.values().filter(related).any(certain) {
            Verdict::Refuse
        } else if self.commanded.is_empty()
            && !self.directory.copies.values().any(|copy| related(&copy))
        {
            Verdict::Accept
        } else {
            Verdict::Either
        }
    }

    fn expect_withdraw(&mut self, spec: &WithdrawSpec) -> Commanded {
        let number = self.model.next_number();
        let named = |volume: u32, name: &String| {
            self.directory.volumes.get(&volume).is_some_and(|known| known.name == *name)
        };
        let meant: Vec<u32> = self
            .directory
            .copies
            .iter()
            .filter(|(id, copy)| {
                spec.id.is_none_or(|wanted| wanted.0 == **id)
                    && spec.source.as_ref().is_none_or(|name| {
                        named(copy.pair.source, name) || spec.ddsw && named(copy.pair.target, name)
                    })
                    && spec.target.as_ref().is_none_or(|name| named(copy.pair.target, name))
            })
            .filter(|(_, copy)| !copy.leaving)
            // With DDSW only those end at once that have the volume as their target.
            .filter(|(_, copy)| {
                !spec.ddsw || spec.source.as_ref().is_none_or(|name| named(copy.pair.target, name))
            })
            .map(|(id, _)| *id)
            .collect();
        for id in &meant {
            let leaves =
                self.directory.copies.get(id).map(|copy| self.directory.leaves(copy.pair.target));
            if let (Some(copy), Some(leaves)) = (self.directory.copies.get_mut(id), leaves) {
                copy.leaving = true;
                self.model.begin_withdraw(copy.image, copy.pair, number, leaves);
            }
        }
        if let (true, Some(source)) = (spec.ddsw, &spec.source) {
            self.convert(source);
        }
        Commanded::Withdraw {
            parts: Vec::new(),
            lenient: spec.ddsw,
            copies: meant.into_iter().map(|id| (id, number)).collect(),
        }
    }

    /// How bytes of volumes are judged now.
    pub(super) fn view(&self, since: u64) -> View {
        if self.doubtful() { View::Doubtful(since) } else { View::Live(since) }
    }

    /// True when a sync failed since the power last went: unsynced writes may be gone.
    pub(super) fn doubtful(&self) -> bool {
        self.disk.faults_struck() > self.faults_at_power_cut
            && self.plan.faults.iter().any(|fault| fault.action == ActionKind::Sync)
    }

    pub(super) fn judge_reply(&mut self, reply: Reply) -> Result<(), String> {
        let asked = self.asked.remove(&reply.id);
        let asked = asked
            .ok_or_else(|| format!("{:?} was answered twice, or never asked (I18)", reply.id))?;
        let volume = asked.volume();
        let error = match reply.result {
            Ok(data) => {
                let what = format!("{asked:?}");
                return self.judge_success(asked, data).map_err(|error| format!("{what}: {error}"));
            }
            Err(error) => error,
        };
        let past_end = |range: &ByteRange| {
            self.directory.volumes.get(&volume).is_some_and(|known| range.end > known.bytes)
        };
        let admitted = match (&error, &asked) {
            (
                RequestError::PastEnd { .. },
                Asked::Read { range, .. } | Asked::Status { range, .. },
            )
            | (
                RequestError::PastEnd { .. } | RequestError::WritePastEnd { .. },
                Asked::Write { range, .. },
            ) => past_end(range),
            (RequestError::NoSpace, Asked::Write { .. }) => {
                self.directory.may_fail(volume) || self.faults_since_open()
            }
            (RequestError::Failed, _) => {
                self.directory.may_fail(volume) || self.disk.faults_struck() > 0
            }
            (RequestError::Io | RequestError::FailStop, _) => self.faults_since_open(),
            (RequestError::Shutdown, _) => self.shutting_down,
            (RequestError::Inhibited, Asked::Write { .. }) => {
                self.directory.inhibited.contains(&volume)
            }
            _ => false,
        };
        if !admitted {
            return Err(format!("{asked:?} was refused: {error}"));
        }
        self.fail_stopped |= error == RequestError::FailStop;
        if error == RequestError::Failed {
            self.see_failed(volume);
        }
        match asked {
            Asked::Read { since, .. }
            | Asked::Status { since, .. }
            | Asked::Flush { since, .. } => {
                self.model.end_read(since);
            }
            Asked::Write { range, number, .. } => self.undo_write(volume, range, number, error),
            Asked::Settle { range, .. } => self.model.forget(volume, range),
        }
        Ok(())
    }

    fn undo_write(&mut self, volume: u32, range: ByteRange, number: u32, error: RequestError) {
        let one_block = range.start / 4096 == (range.end - 1) / 4096;
        match error {
            RequestError::PastEnd { .. } | RequestError::WritePastEnd { .. } => {
                self.model.retract_write(volume, range, number);
            }
            RequestError::Inhibited if one_block => {
                self.model.retract_write(volume, range, number);
            }
            RequestError::NoSpace if one_block && !self.faults_since_open() => {
                self.model.retract_write(volume, range, number);
            }
            _ => self.model.doubt_write(volume, range, number),
        }
    }

    fn judge_success(&mut self, asked: Asked, data: ReplyData) -> Result<(), String> {
        match (asked, data) {
            (Asked::Read { volume, range, since }, ReplyData::Data(bytes)) => {
                judge_length(range, bytes.len())?;
                let view = self.view(since);
                self.summary.compared += range.bytes();
                self.model.judge(volume, range.start, &bytes, view)?;
                self.model.end_read(since);
            }
            (Asked::Settle { volume, range, view }, ReplyData::Data(bytes)) => {
                judge_length(range, bytes.len())?;
                self.summary.compared += range.bytes();
                self.model.settle(volume, range.start, &bytes, view)?;
            }
            (Asked::Status { volume, range, since }, ReplyData::Status(extents)) => {
                self.judge_status(volume, range, since, &extents)?;
                self.model.end_read(since);
            }
            (Asked::Flush { volume, since }, ReplyData::Done) => {
                self.model.end_read(since);
                self.model.flushed(volume, since);
            }
            (Asked::Write { volume, range, number, durable, held_until_us }, ReplyData::Done) => {
                self.judge_held(volume, held_until_us)?;
                self.model.end_write(volume, range, number, durable);
            }
            (asked, data) => return Err(format!("{data:?} is no reply to {asked:?}")),
        }
        Ok(())
    }

    fn judge_status(
        &mut self,
        volume: u32,
        range: ByteRange,
        since: u64,
        extents: &[StatusExtent],
    ) -> Result<(), String> {
        let total: u64 = extents.iter().map(|extent| extent.bytes).sum();
        let distinct = extents.windows(2).all(|two| two[0].status != two[1].status);
        if total != range.bytes() || !distinct || extents.iter().any(|extent| extent.bytes == 0) {
            return Err(format!("{extents:?} do not describe {range:?}"));
        }
        let mut start = range.start;
        for extent in extents {
            if extent.status != Allocation::Data {
                let zeroes = vec![0; usize::try_from(extent.bytes).unwrap_or(0)];
                let view = self.view(since);
                self.model.judge(volume, start, &zeroes, view)?;
            }
            start += extent.bytes;
        }
        Ok(())
    }

    /// A request of the volume was refused because it is the target of a failed relationship.
    fn see_failed(&mut self, volume: u32) {
        let copies: Vec<u32> = self
            .directory
            .copies
            .iter()
            .filter(|(_, copy)| copy.pair.target == volume && !copy.failed)
            .map(|(id, _)| *id)
            .collect();
        for id in copies {
            self.fail_copy(id);
        }
    }

    /// The relationship failed: its target's content is nobody's business any more.
    pub(super) fn fail_copy(&mut self, id: u32) {
        if let Some(copy) = self.directory.copies.get_mut(&id) {
            copy.failed = true;
            self.model.forget(copy.pair.target, copy.pair.target_range());
        }
    }

    pub(super) fn judge_answer(&mut self, answer: Answer) -> Result<(), String> {
        let commanded = self.commanded.remove(&answer.id);
        let commanded = commanded.ok_or_else(|| format!("{:?} was answered twice", answer.id))?;
        let what = format!("{commanded:?}");
        let judged = match (commanded, answer.result) {
            (Commanded::Inspect, result) => {
                self.inspected = Some(result.map_err(|refusal| refusal.to_string())?);
                Ok(())
            }
            (commanded, Ok(report)) => self.judge_acceptance(commanded, report),
            (commanded, Err(refusal)) => self.judge_refusal(commanded, &refusal),
        };
        judged.map_err(|error| format!("{what}: {error}"))
    }

    fn judge_acceptance(&mut self, commanded: Commanded, report: Report) -> Result<(), String> {
        match (commanded, report) {
            (Commanded::PoolCreate { name, may_fill }, _) => {
                self.directory.pools.insert(name, KnownPool { may_fill });
            }
            (Commanded::PoolDelete { name }, _) => {
                let used = |pool: &Option<String>| pool.as_ref() == Some(&name);
                if self.directory.volumes.values().any(|volume| volume.usable && used(&volume.pool))
                {
                    return Err("a pool in use was deleted".to_owned());
                }
                self.directory.pools.remove(&name);
            }
            (Commanded::VolumeCreate { .. }, Report::Volumes(volumes)) => {
                for volume in &volumes {
                    self.model.create_volume(volume.id, volume.size_bytes);
                    self.directory.volumes.insert(volume.id, KnownVolume::of(volume));
                }
            }
            (Commanded::VolumeDelete { volume, verdict }, _) => {
                if verdict == Verdict::Refuse {
                    return Err("a related volume was deleted".to_owned());
                }
                self.directory.volumes.remove(&volume);
                self.model.delete_volume(volume);
            }
            (
                Commanded::Establish { pairs, images, kind, verdict, freezes, .. },
                Report::Copies(copies),
            ) => {
                if verdict == Verdict::Refuse {
                    let known = &self.directory.copies;
                    return Err(format!("accepted against the rules; known were {known:?}"));
                }
                self.established(&pairs, &images, kind, &copies)?;
                let thawing = self.commanded.values().any(|other| matches!(other, Commanded::Thaw));
                if let Some(until_us) = freezes.filter(|_| !thawing) {
                    self.frozen(&pairs, until_us);
                }
                self.look_early(&pairs);
            }
            (Commanded::Withdraw { copies, parts, .. }, Report::Copies(withdrawn)) => {
                self.withdrawn(&copies, &withdrawn)?;
                for part in &parts {
                    self.split(part, &withdrawn);
                }
            }
            (Commanded::CopyList { must }, Report::Copies(copies)) => {
                let still =
                    |id: &u32| self.directory.copies.get(id).is_some_and(|copy| !copy.leaving);
                let listed =
                    |id: &u32| copies.iter().any(|copy| copy.id == *id && copy.ended.is_none());
                if let Some(lost) = must.iter().find(|id| still(id) && !listed(id)) {
                    return Err(format!("relationship {lost} is not listed"));
                }
                self.learn(&copies);
            }
            (Commanded::PoolList { unused }, Report::Pools(pools)) => {
                let full = pools.iter().find(|pool| pool.used_bytes + pool.reserved_bytes > 0);
                if let (true, Some(pool)) = (unused, full) {
                    return Err(format!(
                        "nothing uses the pool, but it holds something (I12): {pool:?}"
                    ));
                }
            }
            (Commanded::Convert, Report::Copies(copies)) => {
                for copy in copies {
                    // It may have been on its way when the command came.
                    self.convert(&copy.source);
                }
            }
            (Commanded::Other | Commanded::Thaw, _) => {}
            (_, report) => return Err(format!("{report:?} is no answer to that")),
        }
        Ok(())
    }

    pub(super) fn established(
        &mut self,
        pairs: &[Pair],
        images: &[usize],
        kind: CopyKind,
        reports: &[CopyReport],
    ) -> Result<(), String> {
        self.model.end_establish(images);
        for (pair, image) in pairs.iter().zip(images) {
            let report = reports.iter().find(|report| lies(pair, report, &self.directory));
            let report = report.ok_or_else(|| format!("{pair:?} is missing in {reports:?}"))?;
            let thin = self.directory.leaves(pair.target) == Leaves::Zeroes;
            let on_demand = self.directory.policy.ends_nocopy();
            let copied = kind.mode == CopyMode::Copy || on_demand;
            let copy = KnownCopy {
                image: *image,
                pair: *pair,
                ends_itself: copied && !kind.incremental && !thin,
                kind,
                moment: report.moment,
                failed: false,
                leaving: false,
            };
            self.directory.seen.insert(report.id);
            self.directory.copies.insert(report.id, copy);
        }
        Ok(())
    }

    /// Some look at a new image at once, when writes of the source may still be on their way.
    fn look_early(&mut self, pairs: &[Pair]) {
        for pair in pairs {
            if self.prng.once_in(2) && !self.shutting_down {
                let start = pair.target_start;
                let end = start + pair.bytes.min(EARLY_LOOK);
                self.ask(pair.target, Ask::Read(ByteRange { start, end }));
            }
        }
    }

    fn withdrawn(&mut self, copies: &[(u32, u32)], withdrawn: &[CopyReport]) -> Result<(), String> {
        for (id, number) in copies {
            let Some(copy) = self.directory.copies.remove(id) else {
                continue;
            };
            let report = withdrawn.iter().find(|report| report.id == *id);
            if report.is_none() && !copy.ends_itself {
                return Err(format!("relationship {id} was not withdrawn"));
            }
            let leaves = self.directory.leaves(copy.pair.target);
            let exact = |report: &CopyReport| {
                leaves == Leaves::Unknown
                    && report.tracks_left == 0
                    && report.state != CopyState::Failed
            };
            if report.is_none_or(exact) {
                self.model.retract_withdraw(copy.image, copy.pair, *number);
            } else {
                self.model.end_withdraw(copy.pair, *number, leaves);
            }
            let failed = report.is_some_and(|report| report.state == CopyState::Failed);
            if failed && leaves == Leaves::Unknown {
                self.model.forget(copy.pair.target, copy.pair.target_range());
            }
        }
        Ok(())
    }

    /// Takes over what a list of relationships tells.
    pub(super) fn learn(&mut self, reports: &[CopyReport]) {
        for report in reports.iter().filter(|report| report.ended.is_none()) {
            let Some(copy) = self.directory.copies.get_mut(&report.id) else {
                continue;
            };
            if report.mode == CopyMode::Copy && copy.kind.mode == CopyMode::Nocopy {
                // It was converted before it was known.
                copy.kind.mode = CopyMode::Copy;
                copy.ends_itself = !copy.kind.incremental;
            }
            if report.durable {
                self.model.image_is_durable(copy.image);
            }
            if matches!(report.state, CopyState::Failed | CopyState::Suspended) && !copy.failed {
                self.fail_copy(report.id);
            }
        }
    }

    fn judge_refusal(&mut self, commanded: Commanded, refusal: &Refusal) -> Result<(), String> {
        let stopped = match refusal.kind {
            RefusalKind::FailStop | RefusalKind::NoResources => self.faults_since_open(),
            RefusalKind::Shutdown => self.shutting_down,
            _ => false,
        };
        self.fail_stopped |= refusal.kind == RefusalKind::FailStop;
        let wrong = match &commanded {
            Commanded::VolumeCreate { must, .. } => *must,
            Commanded::VolumeDelete { verdict, .. } | Commanded::Establish { verdict, .. } => {
                *verdict == Verdict::Accept
            }
            // With DDSW a thin target is reason enough.
            Commanded::Withdraw { lenient: true, .. } => false,
            Commanded::Withdraw { copies, .. } => {
                let certain = |copy: &KnownCopy| !copy.ends_itself;
                copies.iter().any(|(id, _)| self.directory.copies.get(id).is_some_and(certain))
            }
            Commanded::PoolCreate { .. } | Commanded::CopyList { .. } => true,
            _ => false,
        };
        if wrong && !stopped && self.disk.faults_struck() == 0 {
            return Err(format!("refused: {refusal} ({:?})", refusal.kind));
        }
        if refusal.kind == RefusalKind::FailStop {
            // Its record may be on the disk all the same: the next opening tells.
            self.doubted.push(commanded);
            return Ok(());
        }
        match commanded {
            Commanded::VolumeDelete { volume, .. } => {
                if let Some(known) = self.directory.volumes.get_mut(&volume) {
                    known.usable = true;
                }
            }
            Commanded::Establish { images, emptied, .. } => {
                self.model.retract_establish(&images);
                self.not_emptied(emptied);
            }
            Commanded::Withdraw { copies, parts, lenient } => {
                for (id, number) in copies {
                    self.unwithdrawn(id, number, stopped || lenient);
                }
                for part in parts {
                    self.not_split(&part);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// A withdraw was refused: the relationship ended before by itself, or lives on.
    fn unwithdrawn(&mut self, id: u32, number: u32, lives: bool) {
        let Some(copy) = self.directory.copies.get_mut(&id) else {
            return;
        };
        self.model.retract_withdraw(copy.image, copy.pair, number);
        copy.leaving = false;
        if !lives {
            self.directory.copies.remove(&id);
        }
    }
}

fn judge_length(range: ByteRange, bytes: usize) -> Result<(), String> {
    let wanted = range.bytes();
    if wanted == bytes as u64 { Ok(()) } else { Err(format!("{bytes} bytes instead of {wanted}")) }
}

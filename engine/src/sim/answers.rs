//! Answers to commands, judged: each gets one, an acceptance keeps the rules and tells all it must, and a refusal has
//! a reason. The model follows what was carried out.

use super::directory::{CopyKind, KnownCopy, KnownPool, KnownVolume, Verdict, lies};
use super::expectation::Commanded;
use super::model::{Leaves, Pair};
use super::workload::Ask;
use super::world::World;
use crate::admin::{
    Answer, CopyMode, CopyReport, CopyState, PoolReport, Refusal, RefusalKind, Report,
};
use crate::units::ByteRange;

/// Bytes of a new image that are read at once.
const EARLY_LOOK: u64 = 128 << 10;

impl World {
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
            (Commanded::PoolDelete { name }, _) => self.judge_pool_deleted(&name)?,
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
                self.judge_listed(&must, &copies)?;
                self.learn(&copies);
            }
            (Commanded::PoolList { unused }, Report::Pools(pools)) => judge_pools(unused, &pools)?,
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

    fn judge_pool_deleted(&mut self, name: &String) -> Result<(), String> {
        let used = |pool: &Option<String>| pool.as_ref() == Some(name);
        if self.directory.volumes.values().any(|volume| volume.usable && used(&volume.pool)) {
            return Err("a pool in use was deleted".to_owned());
        }
        self.directory.pools.remove(name);
        Ok(())
    }

    /// Relationships that have to be listed are, but for those that have been withdrawn meanwhile.
    fn judge_listed(&self, must: &[u32], copies: &[CopyReport]) -> Result<(), String> {
        let still = |id: &u32| self.directory.copies.get(id).is_some_and(|copy| !copy.leaving);
        let listed = |id: &u32| copies.iter().any(|copy| copy.id == *id && copy.ended.is_none());
        match must.iter().find(|id| still(id) && !listed(id)) {
            Some(lost) => Err(format!("relationship {lost} is not listed")),
            None => Ok(()),
        }
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

    /// The sources of these pairs hold their writes. The timer is that of the first freeze.
    fn frozen(&mut self, pairs: &[Pair], until_us: u64) {
        let first = self.directory.frozen.values().copied().min().unwrap_or(until_us);
        for pair in pairs {
            self.directory.frozen.entry(pair.source).or_insert(first.min(until_us));
        }
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

    /// The relationship failed: its target's content is nobody's business any more.
    pub(super) fn fail_copy(&mut self, id: u32) {
        if let Some(copy) = self.directory.copies.get_mut(&id) {
            copy.failed = true;
            self.model.forget(copy.pair.target, copy.pair.target_range());
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

fn judge_pools(unused: bool, pools: &[PoolReport]) -> Result<(), String> {
    let full = pools.iter().find(|pool| pool.used_bytes + pool.reserved_bytes > 0);
    match full.filter(|_| unused) {
        Some(pool) => Err(format!("nothing uses the pool, but it holds something (I12): {pool:?}")),
        None => Ok(()),
    }
}

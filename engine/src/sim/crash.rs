//! Stopping the store and opening it again: nothing that was promised may be missing, and what was
//! in flight is done as a whole or not at all (I2, I11, I17).

use std::collections::BTreeMap;

use super::directory::{CopyKind, KnownCopy, KnownPool, KnownVolume, lies};
use super::expectation::Commanded;
use super::model::{Leaves, Pair, View};
use super::replies::Asked;
use super::workload::Stop;
use super::world::World;
use crate::Engine;
use crate::admin::{Command, CommandId, CopyReport, PoolReport, Report, VolumeReport};
use crate::io::Object;
use crate::request::{Request, RequestAction, RequestId};
use crate::units::{ByteRange, VolumeId};

/// Power cuts during one recovery at most.
const CUTS_IN_RECOVERY: u32 = 3;
/// How much is read at once.
const CHUNK: u64 = 64 << 10;

impl World {
    /// Stops the store as told and opens it again.
    pub(super) fn stop(&mut self, stop: Stop) -> Result<(), String> {
        if stop == Stop::Shutdown {
            self.shut_down()?;
            if !self.faults_since_open() {
                return self.reopen_after_shutdown();
            }
        }
        self.crash(stop == Stop::PowerCut)
    }

    /// The engine refuses writes, or faults may have left doubts: stop hard and open again.
    pub(super) fn recover_from_faults(&mut self) -> Result<(), String> {
        self.disk.heal();
        let power_cut = self.prng.once_in(2);
        self.crash(power_cut)
    }

    fn shut_down(&mut self) -> Result<(), String> {
        self.shutting_down = true;
        self.engine.begin_shutdown();
        let ended = self.until(|world| world.engine.is_shut_down());
        self.shutting_down = false;
        ended?;
        self.receive_all_lent()?;
        if !self.asked.is_empty() || !self.commanded.is_empty() {
            return Err(format!(
                "shut down with {:?} and {:?} unanswered",
                self.asked, self.commanded
            ));
        }
        if self.disk.in_flight() > 0 {
            return Err(format!("shut down with {} operations in flight", self.disk.in_flight()));
        }
        Ok(())
    }

    /// After an orderly end everything is durable and nothing has to be taken as it comes.
    fn reopen_after_shutdown(&mut self) -> Result<(), String> {
        let since = self.model.begin_read();
        self.model.end_read(since);
        let volumes: Vec<u32> = self.directory.volumes.keys().copied().collect();
        for volume in volumes {
            self.model.flushed(volume, since);
        }
        if self.disk.faults_struck() == 0 {
            self.judge_homes()?;
        }
        if self.prng.once_in(2) {
            self.disk.cut_power();
        } else {
            self.disk.kill();
        }
        self.model.crash();
        self.open()?;
        self.reconcile(Vec::new())?;
        self.compare_all()
    }

    /// With the server stopped and drained, a full volume is a raw image that any tool reads.
    fn judge_homes(&mut self) -> Result<(), String> {
        let since = self.model.begin_read();
        self.model.end_read(since);
        let is_target =
            |volume: u32| self.directory.copies.values().any(|copy| copy.pair.target == volume);
        let full: Vec<(u32, u64)> = self
            .directory
            .volumes
            .iter()
            .filter(|(id, known)| known.pool.is_none() && !is_target(**id))
            .map(|(id, known)| (*id, known.bytes))
            .collect();
        for (volume, size) in full {
            let bytes = self.disk.content(Object::Home(VolumeId(volume)), 0, size);
            let view = self.view(since);
            let judged = self.model.judge(volume, 0, &bytes, view);
            judged.map_err(|error| format!("the home of a stopped store: {error}"))?;
        }
        Ok(())
    }

    fn crash(&mut self, power_cut: bool) -> Result<(), String> {
        self.asked.clear();
        self.lent.clear();
        let mut interrupted: Vec<Commanded> =
            std::mem::take(&mut self.commanded).into_values().collect();
        interrupted.append(&mut self.doubted);
        self.model.crash();
        if power_cut {
            self.disk.cut_power();
        } else {
            self.disk.kill();
        }
        let power_cut = self.open()? || power_cut;
        if power_cut {
            self.faults_at_power_cut = self.disk.faults_struck();
        }
        self.reconcile(interrupted)?;
        let since = self.model.begin_read();
        let view = if power_cut { View::AfterPowerCut } else { self.view(since) };
        self.settle_all(view)?;
        self.model.end_read(since);
        Ok(())
    }

    /// Opens the store; true when the power went meanwhile.
    fn open(&mut self) -> Result<bool, String> {
        let options = Self::options(&self.plan, self.config, false);
        self.directory.frozen.clear();
        let mut cuts = 0;
        self.summary.openings += 1;
        loop {
            if cuts < CUTS_IN_RECOVERY && self.prng.once_in(4) {
                let calls = self.prng.below(40);
                self.disk.cut_power_after_calls(calls);
            }
            let struck = self.disk.faults_struck();
            let opened = Engine::open(&mut self.disk, &options, self.now);
            self.note(|| format!("opened: {:?}", opened.as_ref().map(|_| ())));
            match opened {
                Ok(engine) => {
                    self.disk.restore_power();
                    self.engine = engine;
                    self.fail_stopped = false;
                    self.faults_at_open = self.disk.faults_struck();
                    return Ok(cuts > 0);
                }
                Err(_) if self.disk.power_is_off() => {
                    self.disk.cut_power();
                    cuts += 1;
                }
                Err(_) if self.disk.faults_struck() > struck => self.disk.heal(),
                Err(error) => return Err(format!("the store does not open: {error}")),
            }
        }
    }

    /// Asks the engine for a report and waits for it.
    fn inspect(&mut self, command: Command) -> Result<Report, String> {
        let id = CommandId(self.next_id());
        self.commanded.insert(id, Commanded::Inspect);
        self.engine.command(id, command);
        self.until(|world| world.commanded.is_empty())?;
        self.inspected.take().ok_or_else(|| "no report".to_owned())
    }

    /// Compares what exists with what was promised, and learns how interrupted commands ended.
    pub(super) fn reconcile(&mut self, interrupted: Vec<Commanded>) -> Result<(), String> {
        if let Report::Pools(pools) = self.inspect(Command::PoolList {})? {
            self.reconcile_pools(&pools, &interrupted)?;
        }
        if let Report::Volumes(volumes) = self.inspect(Command::VolumeList {})? {
            self.reconcile_volumes(&volumes, &interrupted)?;
        }
        if let Report::Copies(copies) = self.inspect(Command::CopyList { volume: None })? {
            self.reconcile_copies(&copies, interrupted)?;
        }
        Ok(())
    }

    fn reconcile_pools(
        &mut self,
        pools: &[PoolReport],
        interrupted: &[Commanded],
    ) -> Result<(), String> {
        for pool in pools {
            if self.directory.pools.contains_key(&pool.name) {
                continue;
            }
            let may_fill = interrupted.iter().find_map(|commanded| match commanded {
                Commanded::PoolCreate { name, may_fill } if *name == pool.name => Some(*may_fill),
                _ => None,
            });
            let may_fill =
                may_fill.ok_or_else(|| format!("pool {} came from nowhere", pool.name))?;
            self.directory.pools.insert(pool.name.clone(), KnownPool { may_fill });
        }
        let deleted = |name: &String| {
            interrupted.iter().any(
                |commanded| matches!(commanded, Commanded::PoolDelete { name: of } if of == name),
            )
        };
        let listed = |name: &String| pools.iter().any(|pool| pool.name == *name);
        if let Some(lost) = self.directory.pools.keys().find(|name| !listed(name) && !deleted(name))
        {
            return Err(format!("pool {lost} is lost"));
        }
        self.directory.pools.retain(|name, _| listed(name));
        Ok(())
    }

    fn reconcile_volumes(
        &mut self,
        volumes: &[VolumeReport],
        interrupted: &[Commanded],
    ) -> Result<(), String> {
        for volume in volumes {
            if let Some(known) = self.directory.volumes.get_mut(&volume.id) {
                known.usable = true;
                if known.bytes != volume.size_bytes || known.name != volume.name {
                    return Err(format!("{known:?} became {volume:?}"));
                }
                continue;
            }
            let created = interrupted.iter().any(|commanded| {
                matches!(commanded, Commanded::VolumeCreate { name, .. } if *name == volume.name)
            });
            if !created {
                return Err(format!("volume {} came from nowhere", volume.name));
            }
            self.model.create_volume(volume.id, volume.size_bytes);
            self.directory.volumes.insert(volume.id, KnownVolume::of(volume));
        }
        let gone: Vec<u32> = self
            .directory
            .volumes
            .keys()
            .copied()
            .filter(|id| volumes.iter().all(|volume| volume.id != *id))
            .collect();
        for id in gone {
            let deleted = interrupted.iter().any(
                |commanded| matches!(commanded, Commanded::VolumeDelete { volume, .. } if *volume == id),
            );
            if !deleted {
                return Err(format!("volume {id} is lost"));
            }
            self.directory.volumes.remove(&id);
            self.model.delete_volume(id);
        }
        Ok(())
    }

    fn reconcile_copies(
        &mut self,
        reports: &[CopyReport],
        interrupted: Vec<Commanded>,
    ) -> Result<(), String> {
        let live: Vec<CopyReport> =
            reports.iter().filter(|report| report.ended.is_none()).cloned().collect();
        let mut withdrawals = BTreeMap::new();
        for commanded in interrupted {
            match commanded {
                Commanded::Withdraw { copies, parts, .. } => {
                    withdrawals.extend(copies);
                    for part in parts {
                        self.split(&part, &live);
                    }
                }
                Commanded::Establish {
                    renewed: Some(id), pairs, images, kind, emptied, ..
                } if !images.is_empty() => {
                    let renewed = self.reconcile_renewal(&live, id, (&pairs, &images), kind)?;
                    self.not_emptied(emptied.filter(|_| !renewed));
                }
                Commanded::Establish { pairs, images, kind, .. } if !images.is_empty() => {
                    let listed = |pair| {
                        reports.iter().any(|report| {
                            self.is_new(report) && lies(pair, report, &self.directory)
                        })
                    };
                    let found = pairs.iter().filter(|pair| listed(pair)).count();
                    if found == 0 {
                        self.model.retract_establish(&images);
                    } else if found == pairs.len() {
                        let new: Vec<CopyReport> =
                            reports.iter().filter(|report| self.is_new(report)).cloned().collect();
                        self.established(&pairs, &images, kind, &new)?;
                    } else {
                        return Err(format!(
                            "{found} of {} relationships of one command exist",
                            pairs.len()
                        ));
                    }
                }
                _ => {}
            }
        }
        self.reconcile_known(&live, &withdrawals)?;
        if let Some(stranger) = live.iter().find(|report| self.is_new(report)) {
            return Err(format!("a relationship came from nowhere: {stranger:?}"));
        }
        self.learn(&live);
        Ok(())
    }

    /// Whether a relationship has got its new T0 shows in the number of it. True when it has.
    fn reconcile_renewal(
        &mut self,
        live: &[CopyReport],
        id: u32,
        (pairs, images): (&[Pair], &[usize]),
        kind: CopyKind,
    ) -> Result<bool, String> {
        let report = live.iter().find(|report| report.id == id);
        let moment = self.directory.copies.get(&id).map(|copy| copy.moment);
        match report {
            Some(report) if Some(report.moment) != moment => {
                self.established(pairs, images, kind, std::slice::from_ref(report))?;
                Ok(true)
            }
            _ => {
                self.model.retract_establish(images);
                Ok(false)
            }
        }
    }

    fn is_new(&self, report: &CopyReport) -> bool {
        !self.directory.seen.contains(&report.id)
    }

    fn reconcile_known(
        &mut self,
        live: &[CopyReport],
        withdrawals: &BTreeMap<u32, u32>,
    ) -> Result<(), String> {
        let known: Vec<(u32, KnownCopy)> =
            self.directory.copies.iter().map(|(id, copy)| (*id, copy.clone())).collect();
        for (id, copy) in known {
            let report = live.iter().find(|report| report.id == id);
            let withdrawal = withdrawals.get(&id);
            if let Some(report) = report {
                if !copy.is(report, &self.directory) {
                    return Err(format!("{copy:?} became {report:?}"));
                }
                if let (Some(number), Some(copy)) = (withdrawal, self.directory.copies.get_mut(&id))
                {
                    copy.leaving = false;
                    self.model.retract_withdraw(copy.image, copy.pair, *number);
                }
                continue;
            }
            if !copy.ends_itself && withdrawal.is_none() {
                return Err(format!("relationship {id} is lost: {copy:?}"));
            }
            if let Some(number) = withdrawal {
                let leaves = self.directory.leaves(copy.pair.target);
                self.model.end_withdraw(copy.pair, *number, leaves);
                if leaves == Leaves::Unknown && self.disk.faults_struck() > 0 {
                    // It may have failed before, unseen.
                    self.model.forget(copy.pair.target, copy.pair.target_range());
                }
            }
            self.directory.copies.remove(&id);
        }
        Ok(())
    }

    /// Reads everything, judges it, and takes it as the truth.
    pub(super) fn settle_all(&mut self, view: View) -> Result<(), String> {
        let volumes: Vec<(u32, u64)> =
            self.directory.volumes.iter().map(|(id, volume)| (*id, volume.bytes)).collect();
        for (volume, bytes) in volumes {
            for start in (0..bytes).step_by(usize::try_from(CHUNK).unwrap_or(1)) {
                let range = ByteRange { start, end: bytes.min(start + CHUNK) };
                let id = RequestId(self.next_id());
                self.asked.insert(id, Asked::Settle { volume, range, view });
                let action = RequestAction::Read { range };
                self.engine.submit(Request { id, volume: VolumeId(volume), action });
            }
        }
        self.quiet()
    }
}

//! Consistency groups: volumes whose writes are held after an establish, and their thaw (semantics 3.6).
//!
//! A volume belongs to a control unit, the upper two digits of its device number. An establish with freeze
//! holds every write of its sources from T0 on, reads are answered. A thaw sets all volumes of the control unit free; a
//! timer of the control unit, begun by the first freeze, does so by itself.
//!
//! Invariants
//! - Z1 A write that is held is in no image of the group: it is carried out after the thaw, in its order.
//! - Z2 A control unit has a deadline exactly while one of its volumes is frozen; later freezes do not
//!   extend it (decision D19).
//! - Z3 A shutdown and a fail-stop thaw: nobody waits for ever.

use std::collections::BTreeMap;

use super::room::WaitingWrite;
use super::{Engine, Shutdown};
use crate::admin::{Refusal, RefusalKind, Report, ThawReport};
use crate::admission::{self, refuse_with_help};
use crate::request::{Request, RequestAction};
use crate::units::VolumeId;

/// What a frozen volume holds, oldest first.
#[derive(Debug, Default)]
struct Held {
    /// Writes that had begun before the freeze and waited for space.
    parked: Vec<WaitingWrite>,
    /// Requests that came since.
    requests: Vec<Request>,
}

/// Frozen volumes and the timers of their control units.
#[derive(Debug, Default)]
pub(super) struct Freezes {
    /// What each frozen volume holds.
    held: BTreeMap<VolumeId, Held>,
    /// When each control unit thaws by itself, in microseconds of the monotonic clock.
    deadlines_us: BTreeMap<u8, u64>,
}

impl Freezes {
    /// True when the volume's writes are held.
    pub(super) fn is_frozen(&self, volume: VolumeId) -> bool {
        self.held.contains_key(&volume)
    }

    /// Keeps a write that had begun before the freeze.
    pub(super) fn park(&mut self, volume: VolumeId, write: WaitingWrite) {
        self.held.entry(volume).or_default().parked.push(write);
    }

    /// When the next control unit thaws by itself.
    pub(super) fn deadline_us(&self) -> Option<u64> {
        self.deadlines_us.values().copied().min()
    }
}

impl Engine {
    fn control_unit(&self, volume: VolumeId) -> Option<u8> {
        self.state.volumes.get(&volume).map(|known| known.device.to_be_bytes()[0])
    }

    /// Holds the volume's writes from now on.
    pub(super) fn freeze(&mut self, volume: VolumeId) {
        if breaks!(self, FreezeLetsWritesPass) {
            return;
        }
        let Some(cu) = self.control_unit(volume) else {
            return;
        };
        self.freezes.held.entry(volume).or_default();
        let deadline = self.now.monotonic_us + u64::from(self.policy.freeze_seconds) * 1_000_000;
        self.freezes.deadlines_us.entry(cu).or_insert(deadline);
    }

    /// Keeps a request back if its volume is frozen: a write, or a flush behind one (decision D5).
    pub(super) fn hold_if_frozen(&mut self, request: Request) -> Option<Request> {
        let Some(held) = self.freezes.held.get_mut(&request.volume) else {
            return Some(request);
        };
        let holds = match request.action {
            RequestAction::Read { .. } | RequestAction::BlockStatus { .. } => false,
            RequestAction::Flush => !held.requests.is_empty(),
            RequestAction::Write { .. }
            | RequestAction::WriteZeroes { .. }
            | RequestAction::Trim { .. } => true,
        };
        if !holds {
            return Some(request);
        }
        self.stats.held_writes += 1;
        held.requests.push(request);
        None
    }

    /// Sets free what a command names, and tells whether the group held together.
    pub(super) fn thaw_by_command(
        &mut self,
        cu: u8,
        verify: Option<&str>,
    ) -> Result<Report, Refusal> {
        let consistent = match verify {
            None => None,
            Some(name) => {
                let (volume, known) = admission::volume(&self.state, name)?;
                if known.device.to_be_bytes()[0] != cu {
                    let message = format!(
                        "volume `{name}` has device number {:04X}: it is not in control unit {cu:02X}",
                        known.device
                    );
                    let help = "a control unit is the upper two digits of the device numbers";
                    return Err(refuse_with_help(RefusalKind::Invalid, message, help));
                }
                Some(self.freezes.is_frozen(volume))
            }
        };
        let mut volumes: Vec<String> = self
            .thaw(cu)
            .iter()
            .filter_map(|volume| Some(self.state.volumes.get(volume)?.name.clone()))
            .collect();
        volumes.sort_unstable();
        Ok(Report::Thawed(ThawReport { volumes, consistent }))
    }

    /// Lets the held writes of a control unit go on; gives its frozen volumes.
    fn thaw(&mut self, cu: u8) -> Vec<VolumeId> {
        self.freezes.deadlines_us.remove(&cu);
        let frozen: Vec<VolumeId> = self.freezes.held.keys().copied().collect();
        let volumes: Vec<VolumeId> =
            frozen.into_iter().filter(|&volume| self.control_unit(volume) == Some(cu)).collect();
        for volume in &volumes {
            let held = self.freezes.held.remove(volume).unwrap_or_default();
            for write in held.parked {
                self.change(write.finish, write.change);
            }
            for request in held.requests {
                self.intake(request);
            }
        }
        volumes
    }

    /// Thaws control units whose time is over, and all of them before a shutdown or after a fail-stop (Z3).
    pub(super) fn step_freezes(&mut self) {
        let all = self.shutdown != Shutdown::No || self.fail_stop.is_some();
        let now = self.now.monotonic_us;
        let over: Vec<u8> = self
            .freezes
            .deadlines_us
            .iter()
            .filter(|&(_, &deadline)| all || deadline <= now)
            .map(|(&cu, _)| cu)
            .collect();
        for cu in over {
            self.stats.freezes_expired += 1;
            self.thaw(cu);
        }
    }

    /// Seconds until a volume's held writes go on by themselves; none when it is not frozen.
    pub(super) fn frozen_seconds_left(&self, volume: VolumeId) -> Option<u32> {
        if !self.freezes.is_frozen(volume) {
            return None;
        }
        let deadline = self.freezes.deadlines_us.get(&self.control_unit(volume)?)?;
        let left = deadline.saturating_sub(self.now.monotonic_us).div_ceil(1_000_000);
        Some(u32::try_from(left).unwrap_or(u32::MAX))
    }
}

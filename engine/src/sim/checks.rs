//! Looks at everything: all volumes are read and judged, as they stand, at a new moment, and when nothing is left.

use super::model::Pair;
use super::workload::{Ask, Stop};
use super::world::World;
use crate::admin::{Command, CopySelector, EstablishAction, EstablishSpec, PairSpec};
use crate::units::ByteRange;

impl World {
    /// Takes every incremental copy to a new moment: what was recorded of changes shows then.
    pub(super) fn refresh_all(&mut self) -> Result<(), String> {
        let pairs: Vec<Pair> = self
            .directory
            .copies
            .values()
            .filter(|copy| copy.kind.incremental)
            .map(|copy| copy.pair)
            .collect();
        for pair in pairs {
            let name =
                |volume: u32| self.directory.volumes.get(&volume).map(|known| known.name.clone());
            let (Some(source), Some(target)) = (name(pair.source), name(pair.target)) else {
                continue;
            };
            self.command(Command::CopyEstablish(EstablishSpec {
                pairs: vec![PairSpec { source, target, extents: Vec::new() }],
                action: EstablishAction::Refresh,
                ..EstablishSpec::default()
            }));
            self.quiet()?;
        }
        self.compare_all()
    }

    /// Takes everything apart; afterwards nothing may be in use.
    pub(super) fn empty(&mut self) -> Result<(), String> {
        let copies: Vec<u32> = self.directory.copies.keys().copied().collect();
        for copy in copies {
            if let Some(known) = self.directory.copies.get(&copy) {
                let Pair { target, .. } = known.pair;
                let name = self.directory.volumes.get(&target).map(|volume| volume.name.clone());
                self.command(Command::CopyWithdraw(
                    CopySelector::Target(name.unwrap_or_default()).into(),
                ));
                self.quiet()?;
            }
        }
        self.command(Command::StoreDrain {});
        self.quiet()?;
        self.compare_all()?;
        let thin: Vec<String> = self
            .directory
            .volumes
            .values()
            .filter(|volume| volume.pool.is_some())
            .map(|volume| volume.name.clone())
            .collect();
        for name in thin {
            self.command(Command::VolumeDelete { name });
            self.quiet()?;
        }
        self.command(Command::StoreDrain {});
        self.quiet()?;
        // Slots come back when they are punched, which nobody waits for.
        self.until(|world| world.disk.in_flight() == 0)?;
        self.command(Command::PoolList {});
        self.quiet()?;
        self.stop(Stop::Shutdown)?;
        self.compare_all()
    }

    /// Reads every volume through the engine and judges it.
    pub(super) fn compare_all(&mut self) -> Result<(), String> {
        let volumes: Vec<(u32, u64)> =
            self.directory.volumes.iter().map(|(id, volume)| (*id, volume.bytes)).collect();
        for (volume, bytes) in volumes {
            for start in (0..bytes).step_by(64 << 10) {
                let end = bytes.min(start + (64 << 10));
                self.ask(volume, Ask::Read(ByteRange { start, end }));
            }
        }
        self.quiet()
    }
}

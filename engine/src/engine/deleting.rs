//! Commands that delete volumes and pools.
//!
//! Invariants
//! - X1 A volume is deleted only while nobody has to do with it: no relationship, no client, no request, no destage batch.
//! - X2 Its home is removed after the record that deletes it is durable (O2).

use super::Engine;
use super::commands::{Active, Recorded, Work};
use crate::admin::{CommandId, Refusal, RefusalKind};
use crate::admission::{self, refuse_with_help};
use crate::io::Object;
use crate::state::Record;
use crate::units::VolumeId;

impl Engine {
    pub(super) fn pool_delete(&mut self, id: CommandId, name: &str) -> Result<(), Refusal> {
        let pool = self.pool_known(name)?;
        let user = self.state.volumes.values().find(|volume| volume.pool() == Some(pool));
        if let Some(user) = user {
            let message = format!("pool `{name}` keeps the data of volume `{}`", user.name);
            return Err(refuse_with_help(RefusalKind::Busy, message, "delete its volumes first"));
        }
        let recorded = Recorded::Deleted(Object::Pool(pool));
        self.record_command(id, Record::PoolDeleted { id: pool }, recorded);
        Ok(())
    }

    pub(super) fn volume_delete(&mut self, id: CommandId, name: &str) -> Result<(), Refusal> {
        let (volume, known) = admission::volume(&self.state, name)?;
        if !known.is_simplex() {
            let message = format!("volume `{name}` is source or target of a relationship");
            let help = "withdraw its relationships first: `flashtrack copy list --volume NAME`";
            return Err(refuse_with_help(RefusalKind::Busy, message, help));
        }
        self.check_unused(volume)?;
        self.active = Some(Active { id, work: Work::Deleting(volume) });
        Ok(())
    }

    /// A volume that clients use is not deleted, also when they came while the command waited: what they were told to find
    /// in its home (`ReplyData::Lent`) has to be there.
    fn check_unused(&self, volume: VolumeId) -> Result<(), Refusal> {
        let runtime = self.runtimes.get(&volume);
        let connections = runtime.map_or(0, |runtime| runtime.connections);
        if connections == 0 && runtime.is_none_or(|runtime| runtime.in_flight == 0) {
            return Ok(());
        }
        let name = self.state.volumes.get(&volume).map_or("", |known| known.name.as_str());
        let message = format!("volume `{name}` is in use by {connections} connections");
        Err(refuse_with_help(RefusalKind::Busy, message, "disconnect its clients first"))
    }

    pub(super) fn try_delete(&mut self, id: CommandId, volume: VolumeId) {
        if let Err(refusal) = self.check_unused(volume) {
            self.destager.hold = false;
            return self.answer(id, Err(refusal));
        }
        if self.destager.concerns(volume) {
            self.destager.hold = true;
            self.active = Some(Active { id, work: Work::Deleting(volume) });
            return;
        }
        self.destager.hold = false;
        let thin = self.state.volumes.get(&volume).is_some_and(|known| known.pool().is_some());
        let recorded =
            if thin { Recorded::Nothing } else { Recorded::Deleted(Object::Home(volume)) };
        self.record_command(id, Record::VolumeDeleted { id: volume }, recorded);
    }
}

//! What goes to the engine: the model is told of each request and command before the engine has it.
//!
//! A command is not sent while its outcome would depend on which of two in flight comes first.

use super::content::Value;
use super::expectation::Commanded;
use super::pattern;
use super::replies::Asked;
use super::workload::{Ask, Move};
use super::world::World;
use crate::admin::{Command, CommandId, EstablishAction, Incremental, WithdrawSpec};
use crate::io::Buffer;
use crate::request::{Durability, Request, RequestAction, RequestId};
use crate::units::VolumeId;

impl World {
    pub(super) fn make(&mut self, next: Move) -> Result<(), String> {
        self.note(|| format!("{next:?}"));
        match next {
            Move::Request { volume, ask } => self.ask(volume, ask),
            Move::Command(command) => self.command(command),
            Move::Stop(stop) => return self.stop(stop),
        }
        Ok(())
    }

    /// Sends a request of a host.
    pub(super) fn ask(&mut self, volume: u32, ask: Ask) {
        let id = RequestId(self.next_id());
        self.note(|| format!("{id:?}: {ask:?} of volume {volume}"));
        let asked = self.begin(volume, ask);
        let durability = |durable| if durable { Durability::Durable } else { Durability::Volatile };
        let action = match ask {
            Ask::Read(range) => RequestAction::Read { range },
            Ask::Status(range) => RequestAction::BlockStatus { range },
            Ask::Flush => RequestAction::Flush,
            Ask::Write(range, durable) => {
                let mut data = Buffer::zeroed(usize::try_from(range.bytes()).unwrap_or(0));
                if let Asked::Write { number, .. } = asked {
                    pattern::fill(number, range.start, &mut data);
                }
                RequestAction::Write { offset: range.start, data, durability: durability(durable) }
            }
            Ask::Trim(range, durable) => {
                RequestAction::Trim { range, durability: durability(durable) }
            }
            Ask::Zeroes(range, space, durable) => {
                RequestAction::WriteZeroes { range, space, durability: durability(durable) }
            }
        };
        self.asked.insert(id, asked);
        self.engine.submit(Request { id, volume: VolumeId(volume), action });
    }

    /// Tells the model that a request begins.
    fn begin(&mut self, volume: u32, ask: Ask) -> Asked {
        let held_until_us = self.directory.frozen.get(&volume).copied();
        match ask {
            Ask::Read(range) => Asked::Read { volume, range, since: self.model.begin_read() },
            Ask::Status(range) => Asked::Status { volume, range, since: self.model.begin_read() },
            Ask::Flush => Asked::Flush { volume, since: self.model.begin_read() },
            Ask::Write(range, durable) => {
                let number = self.model.next_number();
                let value = Value::Data { write: number, shift: 0 };
                self.model.begin_write(volume, range, number, value, true);
                Asked::Write { volume, range, number, durable, held_until_us }
            }
            Ask::Trim(range, durable) | Ask::Zeroes(range, _, durable) => {
                let number = self.model.next_number();
                let certain = matches!(ask, Ask::Zeroes(..));
                self.model.begin_write(volume, range, number, Value::Zero, certain);
                Asked::Write { volume, range, number, durable, held_until_us }
            }
        }
    }

    /// Sends a command of the administrator.
    pub(super) fn command(&mut self, command: Command) {
        let id = CommandId(self.next_id());
        if let Command::VolumeDelete { name } = &command {
            let Some((volume, _)) = self.directory.volume_named(name) else {
                return;
            };
            if self.asked.values().any(|asked| asked.volume() == volume) {
                return;
            }
        }
        let establishing =
            || self.commanded.values().any(|other| matches!(other, Commanded::Establish { .. }));
        let renews = |command: &Command| match command {
            Command::CopyEstablish(spec) => {
                spec.action != EstablishAction::Establish || spec.incremental != Incremental::No
            }
            Command::CopyWithdraw(spec) => !spec.extents.is_empty(),
            _ => false,
        };
        let copies = matches!(
            command,
            Command::CopyEstablish(_)
                | Command::CopyWithdraw(_)
                | Command::CopyConvert { .. }
                | Command::DatasetCopy(_)
        );
        let renewing = || {
            self.commanded.values().any(|other| match other {
                Commanded::Establish { renewed, .. } => renewed.is_some(),
                Commanded::Withdraw { parts, .. } => !parts.is_empty(),
                _ => false,
            })
        };
        if (renews(&command) && !self.commanded.is_empty()) || (copies && renewing()) {
            // What becomes of the others would depend on which comes first.
            return;
        }
        if let Command::CopyWithdraw(WithdrawSpec { id: None, .. }) = &command
            && establishing()
        {
            // Whether it means the new relationship too depends on which comes first.
            return;
        }
        let commanded = self.expect(&command);
        self.commanded.insert(id, commanded);
        self.note(|| format!("{id:?}: {command:?}"));
        self.engine.command(id, command);
    }
}

//! What the worker drives: the engine, or a stand-in that makes the worker's tests simple.

use flashtrack_engine::admin::{Answer, Command, CommandId};
use flashtrack_engine::io::{Completion, Op};
use flashtrack_engine::request::{Reply, Request};
use flashtrack_engine::units::{BLOCK_BYTES, Moment, VolumeId};
use flashtrack_engine::{Engine, VolumeInfo};

use crate::session::ExportInfo;

/// The engine's operations, one to one; see `flashtrack_engine::Engine`.
pub(super) trait Machine {
    fn submit(&mut self, request: Request);
    fn command(&mut self, id: CommandId, command: Command);
    fn complete(&mut self, completion: Completion);
    fn tick(&mut self, now: Moment);
    fn next_deadline_us(&self) -> Option<u64>;
    fn take_ops(&mut self, out: &mut Vec<Op>);
    fn take_replies(&mut self, out: &mut Vec<Reply>);
    fn take_answers(&mut self, out: &mut Vec<Answer>);
    /// The volume of that name, as an export.
    fn export(&self, name: &str) -> Option<ExportInfo>;
    /// Names of all volumes, sorted.
    fn export_names(&self) -> Vec<String>;
    fn volume_name(&self, volume: VolumeId) -> Option<String>;
    fn set_connections(&mut self, volume: VolumeId, count: u32);
    fn begin_shutdown(&mut self);
    fn is_shut_down(&self) -> bool;
}

impl Machine for Engine {
    fn submit(&mut self, request: Request) {
        self.submit(request);
    }

    fn command(&mut self, id: CommandId, command: Command) {
        self.command(id, command);
    }

    fn complete(&mut self, completion: Completion) {
        self.complete(completion);
    }

    fn tick(&mut self, now: Moment) {
        self.tick(now);
    }

    fn next_deadline_us(&self) -> Option<u64> {
        self.next_deadline_us()
    }

    fn take_ops(&mut self, out: &mut Vec<Op>) {
        self.take_ops(out);
    }

    fn take_replies(&mut self, out: &mut Vec<Reply>) {
        self.take_replies(out);
    }

    fn take_answers(&mut self, out: &mut Vec<Answer>) {
        self.take_answers(out);
    }

    fn export(&self, name: &str) -> Option<ExportInfo> {
        let volume = match name {
            "" => only(self.volumes())?,
            name => self.volume(name)?,
        };
        Some(ExportInfo {
            volume: volume.id,
            name: volume.name,
            description: String::new(),
            size_bytes: volume.size_bytes,
            // Any alignment is taken; whole blocks spare the engine the work of overlaying parts.
            preferred_block_bytes: u32::try_from(BLOCK_BYTES).ok()?,
        })
    }

    fn export_names(&self) -> Vec<String> {
        self.volumes().into_iter().map(|volume| volume.name).collect()
    }

    fn volume_name(&self, volume: VolumeId) -> Option<String> {
        self.volumes().into_iter().find(|one| one.id == volume).map(|one| one.name)
    }

    fn set_connections(&mut self, volume: VolumeId, count: u32) {
        self.set_connections(volume, count);
    }

    fn begin_shutdown(&mut self) {
        self.begin_shutdown();
    }

    fn is_shut_down(&self) -> bool {
        self.is_shut_down()
    }
}

/// The default export, which a client asks for by the empty name: the volume, if there is but one.
fn only(mut volumes: Vec<VolumeInfo>) -> Option<VolumeInfo> {
    let last = volumes.pop();
    last.filter(|_| volumes.is_empty())
}

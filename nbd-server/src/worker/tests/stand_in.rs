//! A machine that passes requests on to volumes of files, so that the worker can be tested alone.

use std::collections::{BTreeMap, VecDeque};

use flashtrack_engine::admin::{Answer, Command, CommandId, Refusal, RefusalKind, Report};
use flashtrack_engine::io::{Action, Buffer, Completion, Object, Op, OpId, Outcome};
use flashtrack_engine::request::{
    Allocation, Reply, ReplyData, Request, RequestAction, RequestError, RequestId, StatusExtent,
};
use flashtrack_engine::units::{Moment, VolumeId};

use crate::session::ExportInfo;
use crate::worker::machine::Machine;

/// Length of its only volume.
pub(super) const VOLUME_BYTES: u64 = 64 << 20;
/// Name of its only volume.
pub(super) const VOLUME: &str = "vol";

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct StandIn {
    ops: Vec<Op>,
    replies: Vec<Reply>,
    answers: Vec<Answer>,
    /// Requests whose operation has not ended, and whether it is a read.
    under_way: BTreeMap<OpId, (RequestId, bool)>,
    /// Trims are kept until the command `StoreDrain`: requests that take as long as a test wants.
    held: VecDeque<RequestId>,
    connections: u32,
    shutting_down: bool,
    now_us: u64,
}

impl Machine for StandIn {
    fn submit(&mut self, request: Request) {
        let Request { id, action, .. } = request;
        if self.shutting_down {
            return self.replies.push(Reply { id, result: Err(RequestError::Shutdown) });
        }
        let action = match action {
            RequestAction::Read { range } => {
                let bytes = usize::try_from(range.bytes()).expect("short reads");
                Action::Read { offset: range.start, buffer: Buffer::zeroed(bytes) }
            }
            RequestAction::Write { offset, data, .. } => Action::Write { offset, data },
            RequestAction::Flush => Action::Sync,
            RequestAction::WriteZeroes { range, space, .. } => {
                Action::Zero { offset: range.start, bytes: range.bytes(), space }
            }
            RequestAction::Trim { .. } => return self.held.push_back(id),
            RequestAction::BlockStatus { range } => {
                let extent = StatusExtent { bytes: range.bytes(), status: Allocation::Data };
                let result = Ok(ReplyData::Status(vec![extent]));
                return self.replies.push(Reply { id, result });
            }
        };
        let reads = matches!(action, Action::Read { .. });
        self.under_way.insert(OpId(id.0), (id, reads));
        self.ops.push(Op { id: OpId(id.0), object: Object::Home(VolumeId(1)), action });
    }

    fn command(&mut self, id: CommandId, command: Command) {
        let result = match command {
            Command::StoreDrain {} => {
                let done = |id| Reply { id, result: Ok(ReplyData::Done) };
                self.replies.extend(self.held.drain(..).map(done));
                Ok(Report::Done)
            }
            other => Err(Refusal {
                kind: RefusalKind::Unsupported,
                message: format!(
                    "{} connections, {} held, {other:?}",
                    self.connections,
                    self.held.len()
                ),
                help: None,
            }),
        };
        self.answers.push(Answer { id, result });
    }

    fn complete(&mut self, completion: Completion) {
        let (id, reads) = self.under_way.remove(&completion.id).expect("each operation ends once");
        let data = |outcome| match outcome {
            Outcome::Buffer(buffer) if reads => ReplyData::Data(buffer),
            _ => ReplyData::Done,
        };
        let result = completion.result.map(data).map_err(|_| RequestError::Io);
        self.replies.push(Reply { id, result });
    }

    fn tick(&mut self, now: Moment) {
        self.now_us = now.monotonic_us;
    }

    fn next_deadline_us(&self) -> Option<u64> {
        Some(self.now_us + 1_000_000)
    }

    fn take_ops(&mut self, out: &mut Vec<Op>) {
        out.append(&mut self.ops);
    }

    fn take_replies(&mut self, out: &mut Vec<Reply>) {
        out.append(&mut self.replies);
    }

    fn take_answers(&mut self, out: &mut Vec<Answer>) {
        out.append(&mut self.answers);
    }

    fn export(&self, name: &str) -> Option<ExportInfo> {
        (name == VOLUME).then(|| ExportInfo {
            volume: VolumeId(1),
            name: VOLUME.to_owned(),
            description: String::new(),
            size_bytes: VOLUME_BYTES,
            preferred_block_bytes: 4096,
        })
    }

    fn export_names(&self) -> Vec<String> {
        vec![VOLUME.to_owned()]
    }

    fn volume_name(&self, volume: VolumeId) -> Option<String> {
        (volume == VolumeId(1)).then(|| VOLUME.to_owned())
    }

    fn set_connections(&mut self, _volume: VolumeId, count: u32) {
        self.connections = count;
    }

    fn begin_shutdown(&mut self) {
        self.shutting_down = true;
    }

    fn is_shut_down(&self) -> bool {
        self.shutting_down && self.under_way.is_empty() && self.held.is_empty()
    }
}

//! A store whose operations cost nothing: each completes at once, and what is read is whatever the buffer holds. So only the
//! engine is measured.

use flashtrack_engine::Engine;
use flashtrack_engine::admin::{Answer, Command, CommandId, CopyMode};
use flashtrack_engine::io::{Action, Buffer, Completion, Op, Outcome};
use flashtrack_engine::request::{Reply, Request, RequestAction, RequestId};
use flashtrack_engine::units::{ByteRange, Moment, VolumeId};

use crate::commands;
use crate::empty::empty_store;

/// An engine without a disk.
pub(crate) struct Store {
    engine: Engine,
    now: Moment,
    ids: u64,
}

impl Store {
    pub(crate) fn new() -> Self {
        let (engine, _disk_of_the_opening, now) = empty_store();
        Self { engine, now, ids: 0 }
    }

    /// Makes a volume, in a pool if one is named.
    pub(crate) fn volume(&mut self, name: &str, bytes: u64, thin: Option<&str>) -> VolumeId {
        self.command(commands::create(name, bytes, thin));
        self.engine.volume(name).expect("just made").id
    }

    /// Copies a whole volume onto a thin one.
    pub(crate) fn establish(&mut self, source: &str, target: &str) {
        self.command(commands::establish(source, target, CopyMode::Nocopy));
    }

    /// Carries a command out.
    pub(crate) fn command(&mut self, command: Command) {
        self.ids += 1;
        self.engine.command(CommandId(self.ids), command);
        let mut answers: Vec<Answer> = Vec::new();
        while answers.is_empty() {
            self.turn();
            self.engine.take_answers(&mut answers);
        }
        for answer in answers {
            answer.result.expect("nothing here is refused");
        }
    }

    /// Carries requests out, all at once; their replies in their order.
    pub(crate) fn requests(
        &mut self,
        volume: VolumeId,
        actions: impl IntoIterator<Item = RequestAction>,
    ) -> Vec<Reply> {
        let mut replies: Vec<Reply> = Vec::new();
        let mut asked = 0;
        for action in actions {
            self.ids += 1;
            asked += 1;
            self.engine.submit(Request { id: RequestId(self.ids), volume, action });
        }
        while replies.len() < asked {
            self.turn();
            self.engine.take_replies(&mut replies);
        }
        replies.sort_unstable_by_key(|reply| reply.id);
        replies
    }

    fn turn(&mut self) {
        self.now.monotonic_us += 10;
        self.engine.tick(self.now);
        let mut ops: Vec<Op> = Vec::new();
        self.engine.take_ops(&mut ops);
        for Op { id, action, .. } in ops {
            let outcome = match action {
                Action::Read { buffer, .. } => Outcome::Buffer(buffer),
                // The simulator's engine lends short reads, too, which a server's does not (`LENT_BYTES_MIN`).
                Action::Lend { bytes, .. } => Outcome::Buffer(Buffer::scratch(bytes)),
                Action::Write { data, .. } => Outcome::Buffer(data),
                Action::Map { offset, bytes } => {
                    Outcome::Data(vec![ByteRange { start: offset, end: offset + bytes }])
                }
                _ => Outcome::Done,
            };
            self.engine.complete(Completion { id, result: Ok(outcome) });
        }
    }
}

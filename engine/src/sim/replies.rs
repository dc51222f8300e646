//! Replies, judged: each request gets one, it is right, and for a refusal there is a cause in what the run did.

use super::faults::ActionKind;
use super::model::View;
use super::world::World;
use crate::request::{Allocation, Reply, ReplyData, RequestError, StatusExtent};
use crate::units::ByteRange;

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
            Ok(ReplyData::Lent(stretch)) => return self.lent(reply.id, asked, stretch),
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

    pub(super) fn judge_success(&mut self, asked: Asked, data: ReplyData) -> Result<(), String> {
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
                // A sync may have failed since it was asked for.
                let view = match view {
                    View::Live(since) => self.view(since),
                    other => other,
                };
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

    /// A write that came when its volume was frozen waits for a thaw (Z1). After one, it may be answered under the next
    /// freeze, as it may be carried out before that begins.
    fn judge_held(&self, volume: u32, held_until_us: Option<u64>) -> Result<(), String> {
        let held = held_until_us.is_some_and(|until| self.now.monotonic_us < until);
        let by_the_same_freeze = self.directory.frozen.get(&volume).copied() == held_until_us;
        if held && by_the_same_freeze && !self.shutting_down && !self.faults_since_open() {
            return Err("answered while its volume was frozen".to_owned());
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
}

fn judge_length(range: ByteRange, bytes: usize) -> Result<(), String> {
    let wanted = range.bytes();
    if wanted == bytes as u64 { Ok(()) } else { Err(format!("{bytes} bytes instead of {wanted}")) }
}

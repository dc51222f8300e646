//! How long syncs take, by what is synced: the first thing to look at when FLUSH is slow.

use std::collections::BTreeMap;

use flashtrack_engine::io::{Action, Completion, Object, Op, OpId};

use super::stats::{KindStats, SyncKind};

/// Times the syncs in flight.
#[derive(Debug, Default)]
pub(super) struct SyncTimes {
    /// When each was begun, in microseconds.
    in_flight: BTreeMap<OpId, (SyncKind, u64)>,
}

impl SyncTimes {
    /// An operation is about to be performed.
    pub(super) fn begin(&mut self, op: &Op, now_us: u64) {
        if matches!(op.action, Action::Sync) {
            self.in_flight.insert(op.id, (kind_of(op.object), now_us));
        }
    }

    /// An operation has ended; `now_us` is asked only when it was a sync.
    pub(super) fn end(
        &mut self,
        completion: &Completion,
        now_us: impl FnOnce() -> u64,
        stats: &mut [KindStats; SyncKind::ALL.len()],
    ) {
        if let Some((kind, begun_us)) = self.in_flight.remove(&completion.id) {
            let bytes = completion.result.is_ok().then_some(0);
            stats[kind as usize].record(now_us().saturating_sub(begun_us), bytes);
        }
    }
}

fn kind_of(object: Object) -> SyncKind {
    match object {
        Object::Segment(_) => SyncKind::Journal,
        Object::Home(_) => SyncKind::Home,
        Object::Pool(_) => SyncKind::Pool,
        Object::Header | Object::Checkpoint(_) => SyncKind::Checkpoint,
    }
}

#[cfg(test)]
mod tests {
    use flashtrack_engine::io::{IoFailure, Outcome};
    use flashtrack_engine::units::VolumeId;

    use super::*;

    fn sync(id: u64, object: Object) -> Op {
        Op { id: OpId(id), object, action: Action::Sync }
    }

    #[test]
    fn a_sync_is_timed_from_its_begin_to_its_own_end() {
        let (mut times, mut stats) = (SyncTimes::default(), Default::default());
        times.begin(&sync(1, Object::Segment(0)), 100);
        times.begin(&sync(2, Object::Home(VolumeId(1))), 150);

        let ok = |id| Completion { id: OpId(id), result: Ok(Outcome::Done) };
        times.end(&ok(2), || 155, &mut stats);
        let failed = Completion { id: OpId(1), result: Err(IoFailure::Io(5)) };
        times.end(&failed, || 1100, &mut stats);

        let [journal, home, pool, _] = &stats;
        assert_eq!((journal.operations, journal.errors, journal.sum_us), (1, 1, 1000));
        assert_eq!((home.operations, home.errors, home.sum_us), (1, 0, 5));
        assert_eq!(pool.operations, 0);
    }

    #[test]
    fn what_is_no_sync_reads_no_clock() {
        let mut times = SyncTimes::default();
        let zero = Action::Remove;
        let op = Op { id: OpId(1), object: Object::Segment(0), action: zero };
        times.begin(&op, 0);

        let done = Completion { id: OpId(1), result: Ok(Outcome::Done) };
        times.end(&done, || panic!("the clock was read"), &mut Default::default());
    }
}

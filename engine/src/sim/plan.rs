//! What a seed decides before the run: how large things are, how often each kind of action comes, whether pools run
//! full and whether the disk fails (swarm testing: what is left out matters, too).

use super::faults::{ActionKind, Fault, ObjectKind, Strikes, SyncFailure};
use super::prng::Prng;
use crate::admin::Profile;
use crate::io::IoFailure;
use crate::pace::Pace;
use crate::policy::Policy;

/// Kinds of actions, in the order of `Plan::weights`.
pub(super) const KINDS: usize = 22;

/// What a seed decides before the run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How often each kind of action comes.
    pub(super) weights: [u32; KINDS],
    /// Incremental copies and their moments, conversions, freezes.
    pub(super) records: bool,
    /// Number of actions.
    pub actions: u32,
    /// Requests and commands in flight at most.
    pub depth: usize,
    /// Sizes of the full volumes at the start, in tracks.
    pub volumes: Vec<u32>,
    /// Thin volumes at the start: each is as large as the full volume of that index.
    pub thin: Vec<usize>,
    /// Capacity of the first pool, in slots.
    pub pool_slots: u64,
    /// True when the pool may run full.
    pub pool_may_fill: bool,
    /// Size of the journal.
    pub journal_bytes: u64,
    /// Size of one of its segments.
    pub segment_bytes: u32,
    /// Failures of the disk.
    pub faults: Vec<Fault>,
    /// The rules of the store.
    pub policy: Policy,
    /// What a failed sync leaves.
    pub sync_failure: SyncFailure,
    /// Replies to reads may name the bytes.
    pub lends: bool,
    /// How many turns of disk and engine follow an action, on average.
    pub turns: u64,
}

impl Plan {
    /// The plan of a seed.
    pub fn draw(prng: &mut Prng) -> Self {
        let typical: [u32; KINDS] =
            [30, 60, 10, 4, 6, 3, 10, 5, 2, 1, 2, 1, 1, 1, 1, 1, 6, 1, 1, 1, 6, 2];
        let mut weights = typical;
        for weight in &mut weights {
            *weight *= [0, 1, 1, 2, 4][prng.index(5)];
        }
        weights[1] = weights[1].max(30);
        weights[6] = weights[6].max(5);
        let records = prng.once_in(2);
        if records {
            // What is recorded shows at the next moment, and after a crash.
            weights[16] = weights[16].max(12);
            weights[14] = weights[14].max(2);
        } else {
            weights[16..].fill(0);
        }
        let count = prng.between(1, 3);
        let tracks_max = *prng.pick(&[2, 4, 8, 24]).unwrap_or(&4);
        let volumes: Vec<u32> = (0..count).map(|_| narrow(prng.between(1, tracks_max))).collect();
        let thin_count = prng.below(5);
        let thin = (0..thin_count).map(|_| prng.index(volumes.len())).collect();
        let pool_may_fill = prng.once_in(4);
        let segment_bytes = *prng.pick(&[256 << 10, 512 << 10, 1 << 20]).unwrap_or(&(1 << 20));
        Self {
            weights,
            records,
            actions: narrow(prng.between(100, 300)),
            depth: usize::try_from(prng.between(1, 24)).unwrap_or(1),
            volumes,
            thin,
            pool_slots: if pool_may_fill { prng.between(4, 200) } else { 1 << 16 },
            pool_may_fill,
            journal_bytes: u64::from(segment_bytes) * prng.between(4, 16),
            segment_bytes,
            policy: Policy {
                profile: if prng.once_in(3) { Profile::Ibm } else { Profile::Xp7 },
                freeze_seconds: 1,
                staged_blocks_max: *prng.pick(&[24, 300, 1 << 19]).unwrap_or(&(1 << 19)),
                pace: draw_pace(prng),
                ..Policy::default()
            },
            faults: if prng.once_in(5) { vec![draw_fault(prng)] } else { Vec::new() },
            sync_failure: *prng
                .pick(&[SyncFailure::Dropped, SyncFailure::Kept, SyncFailure::Latched])
                .unwrap_or(&SyncFailure::Dropped),
            lends: prng.actor("lending").once_in(2),
            turns: *prng.pick(&[1, 4, 16]).unwrap_or(&4),
        }
    }

    /// A small store for a script: one source and one full target of `tracks` tracks, two thin targets
    /// in a pool of `pool_slots` slots, no faults.
    pub fn scripted(tracks: u32, pool_slots: u64) -> Self {
        Self {
            weights: [0; KINDS],
            records: false,
            actions: 0,
            depth: 64,
            volumes: vec![tracks, tracks],
            thin: vec![0, 0],
            pool_slots,
            pool_may_fill: pool_slots < 1 << 14,
            journal_bytes: 8 << 18,
            segment_bytes: 1 << 18,
            policy: Policy::default(),
            faults: Vec::new(),
            sync_failure: SyncFailure::Dropped,
            lends: false,
            turns: 1,
        }
    }
}

/// From a stream of its own, so that what else a seed draws stays as it is.
fn draw_pace(prng: &Prng) -> Pace {
    let paces = [Pace::Medium, Pace::Medium, Pace::Slow, Pace::Fast, Pace::MebibytesPerSecond(100)];
    paces[prng.actor("pace").index(paces.len())]
}

fn draw_fault(prng: &mut Prng) -> Fault {
    let objects = [
        ObjectKind::Home,
        ObjectKind::Home,
        ObjectKind::Segment,
        ObjectKind::Pool,
        ObjectKind::Checkpoint,
    ];
    let actions = [
        ActionKind::Sync,
        ActionKind::Sync,
        ActionKind::Write,
        ActionKind::Copy,
        ActionKind::Read,
        ActionKind::Allocate,
        ActionKind::Zero,
        ActionKind::Create,
    ];
    let action = actions[prng.index(actions.len())];
    let full = matches!(action, ActionKind::Write | ActionKind::Copy | ActionKind::Allocate)
        && prng.once_in(2);
    Fault {
        object: objects[prng.index(objects.len())],
        action,
        after: prng.below(60),
        failure: if full { IoFailure::NoSpace } else { IoFailure::Io(5) },
        strikes: if prng.once_in(3) { Strikes::Forever } else { Strikes::Once },
    }
}

/// Small numbers of a plan.
pub(super) fn narrow(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

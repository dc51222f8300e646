//! What the worker counts: plain arrays while it runs, handed out whole as a snapshot.
//!
//! Counters only grow until the server ends. A volume's counters stay after its last connection
//! has left, and its number is never used again (rule O8), so a scrape never sees one go back.

use flashtrack_engine::units::VolumeId;

/// Upper bounds (inclusive) of the latency buckets, in microseconds. One more bucket holds what took
/// longer than the last bound.
pub const LATENCY_BOUNDS_US: [u64; 17] = [
    10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000,
    500_000, 1_000_000, 2_500_000,
];

/// Kinds of requests that are counted apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RequestKind {
    /// NBD READ.
    Read,
    /// NBD WRITE.
    Write,
    /// NBD FLUSH.
    Flush,
    /// NBD TRIM.
    Trim,
    /// NBD `WRITE_ZEROES`.
    WriteZeroes,
    /// NBD `BLOCK_STATUS`.
    BlockStatus,
}

impl RequestKind {
    /// All kinds, in the order of `VolumeStats::kinds`.
    pub const ALL: [Self; 6] =
        [Self::Read, Self::Write, Self::Flush, Self::Trim, Self::WriteZeroes, Self::BlockStatus];

    /// The kind as a metrics label, for example `write_zeroes`.
    pub fn label(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Flush => "flush",
            Self::Trim => "trim",
            Self::WriteZeroes => "write_zeroes",
            Self::BlockStatus => "block_status",
        }
    }
}

/// Requests of one kind on one volume, from receipt of the whole request to the engine's reply.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KindStats {
    /// Requests answered, with success or not.
    pub operations: u64,
    /// Bytes that the successful ones were about.
    pub bytes: u64,
    /// Requests answered with an error.
    pub errors: u64,
    /// Requests by latency: bucket `i` holds those in `(LATENCY_BOUNDS_US[i - 1], LATENCY_BOUNDS_US[i]]`,
    /// not cumulated; the last one those above every bound.
    pub buckets: [u64; LATENCY_BOUNDS_US.len() + 1],
    /// Sum of all latencies, in microseconds.
    pub sum_us: u64,
}

impl KindStats {
    /// Counts one request that was answered after `latency_us`; `bytes` is `None` when it failed.
    pub fn record(&mut self, latency_us: u64, bytes: Option<u64>) {
        self.operations += 1;
        match bytes {
            Some(bytes) => self.bytes += bytes,
            None => self.errors += 1,
        }
        let bucket = LATENCY_BOUNDS_US.partition_point(|bound| *bound < latency_us);
        self.buckets[bucket] += 1;
        self.sum_us += latency_us;
    }

    /// Adds what another worker has counted.
    fn add(&mut self, other: &Self) {
        let Self { operations, bytes, errors, buckets, sum_us } = other;
        self.operations += operations;
        self.bytes += bytes;
        self.errors += errors;
        self.sum_us += sum_us;
        self.buckets.iter_mut().zip(buckets).for_each(|(mine, theirs)| *mine += theirs);
    }
}

/// Everything counted for one volume since the server started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeStats {
    /// The volume.
    pub id: VolumeId,
    /// Its name.
    pub name: String,
    /// Connections that have it open now.
    pub connections: u32,
    /// By kind, in the order of `RequestKind::ALL`.
    pub kinds: [KindStats; RequestKind::ALL.len()],
}

impl VolumeStats {
    /// Nothing counted yet.
    pub fn new(id: VolumeId, name: String) -> Self {
        Self { id, name, connections: 0, kinds: Default::default() }
    }

    /// The counters of one kind.
    pub fn kind(&mut self, kind: RequestKind) -> &mut KindStats {
        &mut self.kinds[kind as usize]
    }
}

/// What a sync makes durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SyncKind {
    /// The journal.
    Journal,
    /// The home of a full volume.
    Home,
    /// A pool.
    Pool,
    /// A checkpoint or the header.
    Checkpoint,
}

impl SyncKind {
    /// All kinds, in the order of `WorkerStats::syncs`.
    pub const ALL: [Self; 4] = [Self::Journal, Self::Home, Self::Pool, Self::Checkpoint];

    /// The kind as a metrics label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Journal => "journal",
            Self::Home => "home",
            Self::Pool => "pool",
            Self::Checkpoint => "checkpoint",
        }
    }
}

/// Everything that the worker counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WorkerStats {
    /// One entry for every volume that ever was connected since the server started.
    pub volumes: Vec<VolumeStats>,
    /// Connections now, with and without finished handshake.
    pub connections: u64,
    /// Of `connections`, those whose handshake is not finished.
    pub handshakes: u64,
    /// Connections taken since the server started.
    pub connections_accepted: u64,
    /// Connections closed at once because a limit was reached.
    pub connections_refused: u64,
    /// Bytes received from all clients.
    pub received_bytes: u64,
    /// Bytes sent to all clients.
    pub sent_bytes: u64,
    /// Syncs by what is synced, in the order of `SyncKind::ALL`; their `bytes` stay 0.
    pub syncs: [KindStats; SyncKind::ALL.len()],
}

impl WorkerStats {
    /// Adds what another worker has counted.
    pub fn add(&mut self, other: &Self) {
        let Self {
            volumes,
            connections,
            handshakes,
            connections_accepted,
            connections_refused,
            received_bytes,
            sent_bytes,
            syncs,
        } = other;
        for volume in volumes {
            match self.volumes.iter_mut().find(|known| known.id == volume.id) {
                Some(known) => {
                    known.connections += volume.connections;
                    add_all(&mut known.kinds, &volume.kinds);
                }
                None => self.volumes.push(volume.clone()),
            }
        }
        self.connections += connections;
        self.handshakes += handshakes;
        self.connections_accepted += connections_accepted;
        self.connections_refused += connections_refused;
        self.received_bytes += received_bytes;
        self.sent_bytes += sent_bytes;
        add_all(&mut self.syncs, syncs);
    }
}

fn add_all(mine: &mut [KindStats], theirs: &[KindStats]) {
    mine.iter_mut().zip(theirs).for_each(|(mine, theirs)| mine.add(theirs));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_two_workers_have_counted_of_a_volume_is_one_volumes() {
        let counted = |ids: [u32; 2]| {
            let mut stats = WorkerStats { connections: 2, sent_bytes: 5, ..Default::default() };
            for id in ids {
                let mut volume = VolumeStats::new(VolumeId(id), format!("v{id}"));
                volume.connections = 1;
                volume.kind(RequestKind::Read).record(30, Some(4096));
                stats.volumes.push(volume);
            }
            stats.syncs[SyncKind::Home as usize].record(7, None);
            stats
        };
        let mut all = counted([1, 2]);

        all.add(&counted([2, 3]));

        let volumes: Vec<_> = all.volumes.iter().map(|one| (one.id.0, one.connections)).collect();
        assert_eq!(volumes, [(1, 1), (2, 2), (3, 1)]);
        let read = all.volumes[1].kind(RequestKind::Read);
        assert_eq!((read.operations, read.bytes, read.sum_us, read.buckets[2]), (2, 8192, 60, 2));
        assert_eq!((all.connections, all.sent_bytes), (4, 10));
        assert_eq!(all.syncs[SyncKind::Home as usize].errors, 2);
    }

    #[test]
    fn a_latency_on_a_bound_counts_in_the_bucket_that_ends_there() {
        let mut stats = KindStats::default();

        stats.record(0, Some(1));
        stats.record(10, Some(1));
        stats.record(11, Some(1));
        stats.record(2_500_000, None);
        stats.record(2_500_001, None);

        assert_eq!(stats.buckets[..2], [2, 1]);
        assert_eq!(stats.buckets[16..], [1, 1]);
        assert_eq!((stats.operations, stats.bytes, stats.errors), (5, 3, 2));
        assert_eq!(stats.sum_us, 5_000_022);
    }

    #[test]
    fn every_kind_has_counters_of_its_own() {
        let mut volume = VolumeStats::new(VolumeId(1), "v".to_owned());

        for kind in RequestKind::ALL {
            volume.kind(kind).record(1, Some(1));
        }

        assert!(volume.kinds.iter().all(|kind| kind.operations == 1));
    }
}

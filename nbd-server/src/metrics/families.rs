//! The one table of metric names, each with its help.
//!
//! Names follow Prometheus' conventions: base units, `_total` on what only grows.

use flashtrack_engine::units::BLOCK_BYTES;

/// One metric name.
#[derive(Clone, Copy, Debug)]
pub(super) struct Family {
    /// Its name.
    pub(super) name: &'static str,
    /// What it counts.
    pub(super) help: &'static str,
}

macro_rules! families {
    ($($constant:ident = $name:literal: $help:literal;)*) => {
        $(pub(super) const $constant: Family = Family { name: $name, help: $help };)*
    };
}

families! {
    BUILD_INFO = "flashtrack_build_info": "Always 1; the version of the server.";
    STORE_INFO = "flashtrack_store_info": "Always 1; the identity of the store.";
    WRITES_STOPPED = "flashtrack_writes_stopped": "1 when no writes are taken after a failed sync, until the server is restarted.";
    CONNECTIONS = "flashtrack_connections": "NBD connections now.";
    HANDSHAKES = "flashtrack_handshakes": "NBD connections now whose handshake is not finished.";
    ACCEPTED = "flashtrack_connections_accepted_total": "NBD connections taken.";
    REFUSED = "flashtrack_connections_refused_total": "NBD connections closed at once because a limit was reached.";
    RECEIVED = "flashtrack_received_bytes_total": "Bytes received from NBD clients.";
    SENT = "flashtrack_sent_bytes_total": "Bytes sent to NBD clients.";

    VOLUME_OPERATIONS = "flashtrack_volume_operations_total": "Requests answered, with success or not.";
    VOLUME_BYTES = "flashtrack_volume_bytes_total": "Bytes of the requests answered with success.";
    VOLUME_ERRORS = "flashtrack_volume_errors_total": "Requests answered with an error.";
    VOLUME_DURATION = "flashtrack_volume_operation_duration_seconds": "Time from receipt of a request to the engine's reply.";
    VOLUME_CONNECTIONS = "flashtrack_volume_connections": "NBD connections of the volume now.";
    VOLUME_SIZE = "flashtrack_volume_size_bytes": "Size of the volume.";
    VOLUME_ALLOCATED = "flashtrack_volume_allocated_bytes": "Space allocated for the volume: blocks of its file, or slots of its pool.";
    VOLUME_FAILED = "flashtrack_volume_failed": "1 when the volume refuses I/O.";
    VOLUME_RELATIONSHIPS = "flashtrack_volume_relationships": "Relationships of the volume, by its role in them.";

    POOL_CAPACITY = "flashtrack_pool_capacity_bytes": "Capacity of the pool.";
    POOL_USED = "flashtrack_pool_used_bytes": "Bytes in slots that hold data.";
    POOL_FREE = "flashtrack_pool_free_bytes": "Bytes in slots that are neither used nor reserved.";
    POOL_RESERVED = "flashtrack_pool_reserved_bytes": "Bytes promised to staged writes that will need a slot.";
    POOL_PRESERVED = "flashtrack_pool_preserved_bytes": "Of the used bytes, those preserved of sources for their thin targets.";
    POOL_FAILED = "flashtrack_pool_failed": "1 when a write or sync of the pool has failed.";

    RELATIONSHIPS = "flashtrack_relationships": "Relationships that live.";
    TRACKS_LEFT = "flashtrack_relationship_tracks_left": "Tracks whose image is not yet on the target.";
    TRACKS_COPIED = "flashtrack_relationship_tracks_copied": "Tracks whose image is on the target.";
    RELATIONSHIP_FAILED = "flashtrack_relationship_failed": "1 when the relationship has failed or is suspended: its target refuses I/O.";

    ESTABLISH_DURATION = "flashtrack_establish_duration_seconds": "Time of establish commands from command to answer.";

    SYNC_DURATION = "flashtrack_sync_duration_seconds": "Time of syncs, by what is synced.";

    STAGED_BYTES = "flashtrack_staged_bytes": "Bytes of staged writes whose home is not written yet.";
    STAGED_BLOCKS = "flashtrack_staged_blocks": "Blocks of staged writes.";
    JOURNAL_USED = "flashtrack_journal_used_bytes": "Bytes of the journal in use.";
    JOURNAL_CAPACITY = "flashtrack_journal_capacity_bytes": "Bytes that the journal may hold.";
}

/// A counter of the engine, by its name in `StoreReport::counters`.
#[derive(Clone, Copy, Debug)]
pub(super) struct EngineCounter {
    /// Name in the report.
    pub(super) counter: &'static str,
    /// What one is worth in the metric's unit: the engine counts blocks, Prometheus wants bytes.
    pub(super) worth: u64,
    /// Name as a metric.
    pub(super) family: Family,
}

macro_rules! engine_counters {
    ($($counter:literal x $worth:expr => $name:literal: $help:literal;)*) => {
        /// Counters of the engine; one that the report lacks has no series.
        pub(super) const ENGINE_COUNTERS: &[EngineCounter] = &[
            $(EngineCounter {
                counter: $counter,
                worth: $worth,
                family: Family { name: $name, help: $help },
            },)*
        ];
    };
}

engine_counters! {
    "direct_writes" x 1 => "flashtrack_direct_writes_total": "Host writes that went straight to their home.";
    "staged_writes" x 1 => "flashtrack_staged_writes_total": "Host writes that went into the journal first.";
    "staged_write_bytes" x 1 => "flashtrack_staged_write_bytes_total": "Bytes of host writes that went into the journal first.";
    "delayed_writes" x 1 => "flashtrack_delayed_writes_total": "Host writes that waited for room in the journal.";
    "held_writes" x 1 => "flashtrack_held_writes_total": "Host writes that were held by a freeze.";
    "freezes_expired" x 1 => "flashtrack_freezes_expired_total": "Freezes that ended by their timer or a shutdown, not by a thaw.";
    "first_writes" x 1 => "flashtrack_first_writes_total": "Blocks of sources written for the first time since a copy was taken of them.";
    "preserved_blocks" x BLOCK_BYTES => "flashtrack_preserved_bytes_total": "Bytes of sources preserved in pools for thin targets.";
    "owned_blocks" x BLOCK_BYTES => "flashtrack_owned_bytes_total": "Bytes of thin volumes that became their own by writes.";
    "copied_tracks" x 1 => "flashtrack_copied_tracks_total": "Tracks copied to full targets.";
    "copied_bytes" x 1 => "flashtrack_copied_bytes_total": "Bytes copied to full targets.";
    "destaged_bytes" x 1 => "flashtrack_destaged_bytes_total": "Bytes of staged writes written to their home.";
    "destage_batches" x 1 => "flashtrack_destage_batches_total": "Batches in which staged writes were written to their home.";
    "journal_bytes" x 1 => "flashtrack_journal_written_bytes_total": "Bytes appended to the journal, records included.";
    "journal_syncs" x 1 => "flashtrack_journal_syncs_total": "Syncs of the journal.";
    "object_syncs" x 1 => "flashtrack_object_syncs_total": "Syncs of volumes' homes and of pools.";
    "checkpoints" x 1 => "flashtrack_checkpoints_total": "Checkpoints written.";
    "established" x 1 => "flashtrack_relationships_established_total": "Relationships established.";
    "withdrawn" x 1 => "flashtrack_relationships_withdrawn_total": "Relationships withdrawn.";
    "completed" x 1 => "flashtrack_relationships_completed_total": "Relationships that ended because their copy was complete.";
    "failed" x 1 => "flashtrack_relationships_failed_total": "Relationships that failed, mostly because their pool was full.";
}

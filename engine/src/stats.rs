//! Plain counters and gauges of the engine; the server turns them into metrics.

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Counters since the engine was opened.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct Stats {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl Stats {
            /// Every counter with its name.
            pub fn named(&self) -> [(&'static str, u64); [$(stringify!($name)),*].len()] {
                [$((stringify!($name), self.$name)),*]
            }
        }
    };
}

counters! {
    /// Writes that went straight home.
    direct_writes,
    /// Writes that were staged in the journal.
    staged_writes,
    /// Bytes of them.
    staged_write_bytes,
    /// Blocks of sources that a write made preservable for the first time since a T0.
    first_writes,
    /// Blocks preserved in pools.
    preserved_blocks,
    /// Blocks that became a thin volume's own.
    owned_blocks,
    /// Tracks copied to full targets.
    copied_tracks,
    /// Bytes written to full targets for that.
    copied_bytes,
    /// Bytes that the destager wrote home.
    destaged_bytes,
    /// Destage batches.
    destage_batches,
    /// Syncs of the journal.
    journal_syncs,
    /// Bytes appended to the journal.
    journal_bytes,
    /// Syncs of homes and pools.
    object_syncs,
    /// Checkpoints written.
    checkpoints,
    /// Relationships established.
    established,
    /// Relationships withdrawn.
    withdrawn,
    /// Relationships that ended because their copy was complete.
    completed,
    /// Relationships that failed.
    failed,
    /// Writes that were held by a freeze.
    held_writes,
    /// Freezes that ended by their timer, a shutdown or a fail-stop.
    freezes_expired,
    /// Writes that waited for journal space.
    delayed_writes,
}

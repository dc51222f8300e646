//! Rules that the engine can be told to break, so that the simulator shows that it would notice.
//!
//! `OpenOptions::mutation` carries one; the engine asks `breaks!(..)` at the place that keeps the rule.
//! A mutation that no test catches is a hole in the tests.

use crate::io::{CreateSpace, IoFailure, Object, Storage, Stretch};
use crate::units::ByteRange;

/// One rule of the design, broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mutation {
    /// O1: the newest version goes home before "copied" and "preserved" are durable.
    HomeBeforeCopyRecorded,
    /// O2: "preserved" is journaled without a sync of the pool before.
    SkipPoolSyncBeforePreserved,
    /// O2: "copied" is journaled without a sync of the target before.
    SkipTargetSyncBeforeCopied,
    /// C8: tracks of an incremental copy count before the source is durable as of T0.
    CopiedBeforeSourceDurable,
    /// C6: the copy of a track overwrites blocks that were copied alone.
    CopyTrackOverOwnBlocks,
    /// O3: a frame is released without a sync of the home that it went to.
    ReleaseBeforeHomeSync,
    /// O3: a destage batch goes home and releases its frames although the one before could not.
    GoHomePastFailedBatch,
    /// O3: a write goes straight home although a live frame holds the block.
    DirectWritePastLiveFrame,
    /// O4: a flush does not sync the home that took direct writes.
    FlushSkipsHomeSync,
    /// O4: a flush does not sync the journal.
    FlushSkipsJournalSync,
    /// O4: a flush of a target does not sync the source's home that it reads through.
    FlushOfTargetSkipsSource,
    /// O4: a flush joins a sync that started before it arrived.
    FlushJoinsOlderSync,
    /// O5: an establish is answered before its record is durable.
    AnswerEstablishBeforeDurable,
    /// O5: reads of a target do not wait for direct writes in flight on the source.
    TargetReadIgnoresInFlightWrites,
    /// O5: older versions in the target extents show through after an establish.
    EstablishKeepsOlderTargetVersions,
    /// O5: versions of the target that a renewal makes void show through after it.
    RenewalKeepsTargetVersions,
    /// Z1: writes of a frozen volume pass.
    FreezeLetsWritesPass,
    /// R5: a write goes straight home although the note of its track is not durable.
    DirectWriteBeforeChangeDurable,
    /// O6: what a withdraw frees is used before its record is durable.
    WithdrawFreesBeforeDurable,
    /// O7: the frame of a write that found no slot precedes the record of the failure.
    FailedRecordAfterFrame,
    /// H3: the reply to a read names bytes that are the home of others.
    LendBytesOfOthers,
    /// O8: a slot is used again while a read of its old content is in flight.
    ReuseSlotBeforeReadsEnd,
    /// O9: after a failed sync the next one is believed.
    BelieveRetriedSync,
    /// O10: recovery does not sync the tail that it accepted.
    SkipTailSync,
    /// O11: the target of unreadable metadata gives data.
    ServeFailedTarget,
    /// O12: a journal that nobody flushes is never synced.
    NeverSyncByItself,
    /// O12: the data of staged writes is not verified when the store is opened.
    SkipPayloadCheck,
}

/// All of them, in the order of the rules.
pub const MUTATIONS: [Mutation; 27] = [
    Mutation::HomeBeforeCopyRecorded,
    Mutation::SkipPoolSyncBeforePreserved,
    Mutation::SkipTargetSyncBeforeCopied,
    Mutation::CopiedBeforeSourceDurable,
    Mutation::CopyTrackOverOwnBlocks,
    Mutation::ReleaseBeforeHomeSync,
    Mutation::GoHomePastFailedBatch,
    Mutation::DirectWritePastLiveFrame,
    Mutation::FlushSkipsHomeSync,
    Mutation::FlushSkipsJournalSync,
    Mutation::FlushOfTargetSkipsSource,
    Mutation::FlushJoinsOlderSync,
    Mutation::AnswerEstablishBeforeDurable,
    Mutation::TargetReadIgnoresInFlightWrites,
    Mutation::EstablishKeepsOlderTargetVersions,
    Mutation::RenewalKeepsTargetVersions,
    Mutation::FreezeLetsWritesPass,
    Mutation::DirectWriteBeforeChangeDurable,
    Mutation::WithdrawFreesBeforeDurable,
    Mutation::FailedRecordAfterFrame,
    Mutation::LendBytesOfOthers,
    Mutation::ReuseSlotBeforeReadsEnd,
    Mutation::BelieveRetriedSync,
    Mutation::SkipTailSync,
    Mutation::ServeFailedTarget,
    Mutation::NeverSyncByItself,
    Mutation::SkipPayloadCheck,
];

/// A storage whose syncs do nothing (`Mutation::SkipTailSync`).
pub(crate) struct NeverSynced<'a>(pub(crate) &'a mut dyn Storage);

impl Storage for NeverSynced<'_> {
    fn read(&mut self, object: Object, offset: u64, buffer: &mut [u8]) -> Result<(), IoFailure> {
        self.0.read(object, offset, buffer)
    }

    fn write(&mut self, object: Object, offset: u64, data: &[u8]) -> Result<(), IoFailure> {
        self.0.write(object, offset, data)
    }

    fn sync(&mut self, _: Object) -> Result<(), IoFailure> {
        Ok(())
    }

    fn create(&mut self, object: Object, bytes: u64, space: CreateSpace) -> Result<(), IoFailure> {
        self.0.create(object, bytes, space)
    }

    fn remove(&mut self, object: Object) -> Result<(), IoFailure> {
        self.0.remove(object)
    }

    fn length(&mut self, object: Object) -> Result<Option<u64>, IoFailure> {
        self.0.length(object)
    }

    fn list(&mut self) -> Result<Vec<Object>, IoFailure> {
        self.0.list()
    }
    fn data(&mut self, stretch: Stretch) -> Result<Vec<ByteRange>, IoFailure> {
        self.0.data(stretch)
    }
}

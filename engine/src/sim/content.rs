//! What the bytes of one volume may be, by the promises made to its hosts.
//!
//! A volume is cut into spans; every span has the versions that a read or a power cut could show.
//! - C1 A version is *superseded* when a later write was answered: no read that starts after gives it.
//! - C2 A version is *gone* when a later write is durable by promise: no power cut brings it back.
//! - C3 "Later" means invoked after the other was answered; writes in flight together go either way.

use std::collections::BTreeMap;

use crate::units::ByteRange;

/// A time of the run: every invocation and every answer has one of its own.
pub(super) type Time = u64;

/// For a moment that has not come.
pub(super) const NEVER: Time = u64::MAX;

/// What a version puts in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    /// Zeroes.
    Zero,
    /// Data of a write, at the place that lies `shift` bytes further on.
    Data {
        /// Number of the write.
        write: u32,
        /// Distance to the place that it was meant for.
        shift: i64,
    },
    /// What an image holds at the place that lies `shift` bytes further on.
    Image {
        /// Index of the image in the model.
        image: usize,
        /// Distance from target to source.
        shift: i64,
    },
    /// Anything: the uncopied part of a withdrawn relationship.
    Unknown,
}

/// Whether a version takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// It did, once it was answered.
    Certain,
    /// It may have: trims, failed writes, what a crash interrupted.
    Possible,
}

/// One thing that the bytes of a span may be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Version {
    /// Number of the write, or of the command, that made it.
    pub(super) number: u32,
    pub(super) value: Value,
    /// The image that it is, or that it turned out to be a part of after a crash.
    pub(super) image: Option<usize>,
    pub(super) effect: Effect,
    pub(super) invoked: Time,
    /// Answered at; `NEVER` while in flight.
    pub(super) completed: Time,
    /// See C1.
    pub(super) superseded: Time,
    /// See C2.
    pub(super) gone: Time,
}

/// The contents of a volume, or of a part of one.
#[derive(Clone, Debug, Default)]
pub(super) struct Content {
    spans: BTreeMap<u64, Span>,
}

#[derive(Clone, Debug)]
struct Span {
    end: u64,
    versions: Vec<Version>,
}

impl Version {
    /// A version that is on its way from now on.
    pub(super) fn begun(number: u32, value: Value, effect: Effect, now: Time) -> Self {
        Self {
            number,
            value,
            image: None,
            effect,
            invoked: now,
            completed: NEVER,
            superseded: NEVER,
            gone: NEVER,
        }
    }

    /// A version that nobody doubts.
    pub(super) fn settled(value: Value, now: Time) -> Self {
        Self { completed: now, ..Self::begun(0, value, Effect::Certain, now) }
    }
}

impl Content {
    /// `bytes` durable zeroes.
    pub(super) fn zeroes(bytes: u64) -> Self {
        let versions = vec![Version::settled(Value::Zero, 0)];
        Self { spans: BTreeMap::from([(0, Span { end: bytes, versions })]) }
    }

    /// The spans that overlap `range`, cut to it: their versions and their part of it.
    pub(super) fn spans(&self, range: ByteRange) -> impl Iterator<Item = (ByteRange, &[Version])> {
        let first =
            self.spans.range(..=range.start).next_back().map_or(range.start, |(start, _)| *start);
        self.spans.range(first..range.end.max(first)).filter_map(move |(start, span)| {
            let part = ByteRange { start: range.start.max(*start), end: range.end.min(span.end) };
            (part.start < part.end).then_some((part, span.versions.as_slice()))
        })
    }

    /// Calls `change` with the versions of every span of `range`.
    pub(super) fn for_each(&mut self, range: ByteRange, mut change: impl FnMut(&mut Vec<Version>)) {
        if range.is_empty() {
            return;
        }
        self.cut(range.start);
        self.cut(range.end);
        for (_, span) in self.spans.range_mut(range.start..range.end) {
            change(&mut span.versions);
        }
    }

    /// Calls `change` with the versions of all spans.
    pub(super) fn for_all(&mut self, mut change: impl FnMut(&mut Vec<Version>)) {
        for span in self.spans.values_mut() {
            change(&mut span.versions);
        }
    }

    /// Adds a version to `range`.
    pub(super) fn begin(&mut self, range: ByteRange, version: Version) {
        self.for_each(range, |versions| versions.push(version));
    }

    /// Version `number` was answered at `now`; when `durable`, it is so by promise.
    pub(super) fn complete(&mut self, range: ByteRange, number: u32, now: Time, durable: bool) {
        self.for_each(range, |versions| {
            let Some(done) = versions.iter_mut().find(|version| version.number == number) else {
                return;
            };
            done.completed = now;
            if done.effect == Effect::Possible {
                return;
            }
            let invoked = done.invoked;
            for older in versions.iter_mut().filter(|version| version.completed < invoked) {
                older.superseded = older.superseded.min(now);
                if durable {
                    older.gone = older.gone.min(now);
                }
            }
        });
    }

    /// Version `number`, of a command, took effect and is durable: answered at `now`, or found after a crash.
    pub(super) fn confirm(&mut self, range: ByteRange, number: u32, now: Time) {
        self.for_each(range, |versions| {
            for done in versions.iter_mut().filter(|version| version.number == number) {
                done.effect = Effect::Certain;
            }
        });
        self.complete(range, number, now, true);
    }

    /// Version `number` failed at `now`: it may have taken effect before, not after.
    pub(super) fn doubt(&mut self, range: ByteRange, number: u32, now: Time) {
        self.for_each(range, |versions| {
            for failed in versions.iter_mut().filter(|version| version.number == number) {
                failed.completed = now;
                failed.effect = Effect::Possible;
            }
        });
    }

    /// Version `number` was refused and never took effect.
    pub(super) fn retract(&mut self, range: ByteRange, number: u32) {
        self.for_each(range, |versions| {
            versions.retain(|version| version.number != number);
        });
    }

    /// What was answered before `flushed` is durable; what that makes impossible is gone at `now`.
    pub(super) fn flush(&mut self, flushed: Time, now: Time) {
        self.for_all(|versions| {
            let latest = versions
                .iter()
                .filter(|version| version.effect == Effect::Certain && version.completed < flushed)
                .map(|version| version.invoked)
                .max();
            for older in versions.iter_mut().filter(|version| Some(version.completed) < latest) {
                older.gone = older.gone.min(now);
            }
        });
    }

    /// A crash at `now` ends what is in flight, done or not.
    pub(super) fn crash(&mut self, now: Time) {
        self.for_all(|versions| {
            for interrupted in versions.iter_mut().filter(|version| version.completed == NEVER) {
                interrupted.completed = now;
                interrupted.effect = Effect::Possible;
            }
        });
    }

    /// Forgets versions that nobody can see any more who asked after `horizon`.
    pub(super) fn prune(&mut self, range: ByteRange, horizon: Time) {
        self.for_each(range, |versions| {
            versions.retain(|version| version.superseded >= horizon || version.gone >= horizon);
        });
    }

    /// Replaces all versions of `range` by one.
    pub(super) fn settle(&mut self, range: ByteRange, version: Version) {
        self.cut(range.start);
        self.cut(range.end);
        let inner: Vec<u64> =
            self.spans.range(range.start..range.end).map(|(start, _)| *start).collect();
        for start in inner {
            self.spans.remove(&start);
        }
        self.spans.insert(range.start, Span { end: range.end, versions: vec![version] });
    }

    /// The part `range`, with the versions that `keep` keeps.
    pub(super) fn part(&self, range: ByteRange, keep: impl Fn(&Version) -> bool) -> Self {
        let spans = self.spans(range).map(|(part, versions)| {
            let versions = versions.iter().filter(|version| keep(version)).copied().collect();
            (part.start, Span { end: part.end, versions })
        });
        Self { spans: spans.collect() }
    }

    /// Makes a border between spans at `at`.
    fn cut(&mut self, at: u64) {
        if let Some((_, span)) = self.spans.range_mut(..at).next_back()
            && span.end > at
        {
            let upper = Span { end: span.end, versions: span.versions.clone() };
            span.end = at;
            self.spans.insert(at, upper);
        }
    }
}

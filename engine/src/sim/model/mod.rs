//! The naive truth: every volume a flat vector of bytes, an establish a full copy at T0.
//!
//! The model knows nothing of journals, pools or destaging. It keeps, for every byte, what the
//! promises made so far allow (see `content`), and judges what the engine gives against it:
//! - a read gives a value that was not superseded before the read began (I1);
//! - after a power cut a byte is its value at the last FLUSH or FUA that covers it, or a later one (I2);
//! - a target that its hosts left alone is its source at one instant between the establish and its
//!   answer, the same for all pairs of the command (I5, I6), also after a crash; but what was not
//!   flushed before T0 may be missing from it after a power cut until a flush, or until the
//!   relationship is reported durable (rule O5).

mod resolve;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use self::resolve::merge;

use super::content::{Content, Effect, NEVER, Time, Value, Version};
use crate::units::ByteRange;

/// Bytes that are never a mixture of two writes (I3).
const SECTOR: u64 = 512;

/// Which promises the bytes are judged by.
#[derive(Clone, Copy, Debug)]
pub enum View {
    /// A read that began then.
    Live(Time),
    /// What a power cut left.
    AfterPowerCut,
    /// Either: after a failed sync nothing unsynced is certain.
    Doubtful(Time),
}

/// The truth about all volumes.
#[derive(Clone, Debug, Default)]
pub struct Model {
    now: Time,
    numbers: u32,
    volumes: BTreeMap<u32, Content>,
    images: Vec<Image>,
    cuts: Vec<Cut>,
    /// Invocations of reads and establishes that are not answered.
    open: BTreeSet<Time>,
}

/// One pair of extents of an establish, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pair {
    /// Source volume.
    pub source: u32,
    /// Target volume.
    pub target: u32,
    /// First byte on the source.
    pub source_start: u64,
    /// First byte on the target.
    pub target_start: u64,
    /// Length.
    pub bytes: u64,
}

/// What a withdraw leaves on a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leaves {
    /// What was copied or written, and anything in the other places.
    Unknown,
    /// Zeroes: a thin target gives everything back.
    Zeroes,
}

/// The image that one pair gave.
#[derive(Clone, Debug)]
struct Image {
    pair: Pair,
    cut: usize,
    /// Number of the establish.
    number: u32,
    /// What this number leaves on the source is not in the image: it comes with the establish itself.
    without: Option<u32>,
    state: ImageState,
}

/// What is known of an image.
#[derive(Clone, Debug)]
enum ImageState {
    /// Its establish is in flight: the source as it stands is a superset of what it may be.
    Pending,
    /// The source as of T0.
    Taken(Content),
    /// Its establish was refused.
    Refused,
}

/// The instant of an establish lies between the two.
#[derive(Clone, Copy, Debug)]
struct Cut {
    low: Time,
    high: Time,
}

/// A run of bytes and what it turned out to be.
#[derive(Clone, Copy, Debug)]
struct Piece {
    range: ByteRange,
    value: Value,
    /// The image that the volume shows here.
    image: Option<usize>,
    /// What it tells of an instant: the image's cut, and when its version was invoked and superseded.
    seen: Option<(usize, Time, Time)>,
}

impl Pair {
    pub(super) fn source_range(&self) -> ByteRange {
        ByteRange { start: self.source_start, end: self.source_start + self.bytes }
    }

    /// The extent on the target.
    pub fn target_range(&self) -> ByteRange {
        ByteRange { start: self.target_start, end: self.target_start + self.bytes }
    }

    fn shift(&self) -> i64 {
        self.source_start.cast_signed() - self.target_start.cast_signed()
    }
}

impl Model {
    /// The next moment.
    fn tick(&mut self) -> Time {
        self.now += 1;
        self.now
    }

    /// A number that no write and no command had.
    pub fn next_number(&mut self) -> u32 {
        self.numbers += 1;
        self.numbers
    }

    /// A new volume: zeroes.
    pub fn create_volume(&mut self, volume: u32, bytes: u64) {
        self.volumes.insert(volume, Content::zeroes(bytes));
    }

    /// The volume is gone.
    pub fn delete_volume(&mut self, volume: u32) {
        self.volumes.remove(&volume);
    }

    /// A read, or another question, begins.
    pub fn begin_read(&mut self) -> Time {
        let now = self.tick();
        self.open.insert(now);
        now
    }

    /// The question that began at `since` was answered.
    pub fn end_read(&mut self, since: Time) {
        self.open.remove(&since);
    }

    /// Write `number` of `value` begins.
    pub fn begin_write(
        &mut self,
        volume: u32,
        range: ByteRange,
        number: u32,
        value: Value,
        certain: bool,
    ) {
        let now = self.tick();
        let effect = if certain { Effect::Certain } else { Effect::Possible };
        let horizon = self.horizon();
        if let Some(content) = self.volumes.get_mut(&volume) {
            content.prune(range, horizon);
            content.begin(range, Version::begun(number, value, effect, now));
        }
    }

    /// Write `number` was answered with success.
    pub fn end_write(&mut self, volume: u32, range: ByteRange, number: u32, durable: bool) {
        let now = self.tick();
        if let Some(content) = self.volumes.get_mut(&volume) {
            content.complete(range, number, now, durable);
        }
    }

    /// Write `number` failed: it may be there or not.
    pub fn doubt_write(&mut self, volume: u32, range: ByteRange, number: u32) {
        let now = self.tick();
        if let Some(content) = self.volumes.get_mut(&volume) {
            content.doubt(range, number, now);
        }
    }

    /// Write `number` was refused: it is not there.
    pub fn retract_write(&mut self, volume: u32, range: ByteRange, number: u32) {
        if let Some(content) = self.volumes.get_mut(&volume) {
            content.retract(range, number);
        }
    }

    /// A flush of the volume that began at `since` succeeded. On a target it also covers what the
    /// target reads through (rule O4).
    pub fn flushed(&mut self, volume: u32, since: Time) {
        let now = self.tick();
        if let Some(content) = self.volumes.get_mut(&volume) {
            content.flush(since, now);
        }
        for index in 0..self.images.len() {
            let Image { pair, cut, .. } = self.images[index];
            let Cut { low, high } = self.cuts[cut];
            if pair.source == volume || (pair.target == volume && high < since) {
                self.flush_image(index, since.min(low));
            }
        }
    }

    /// The relationship was seen `durable`: its image is exact from now on.
    pub fn image_is_durable(&mut self, image: usize) {
        let low = self.cuts[self.images[image].cut].low;
        self.flush_image(image, low);
    }

    fn flush_image(&mut self, image: usize, flushed: Time) {
        if let ImageState::Taken(content) = &mut self.images[image].state {
            content.flush(flushed, 0);
        }
    }

    /// An establish of these pairs begins; gives its number and the images that it may make.
    pub fn begin_establish(&mut self, pairs: &[Pair], without: Option<u32>) -> (u32, Vec<usize>) {
        let low = self.begin_read();
        let number = self.next_number();
        self.cuts.push(Cut { low, high: NEVER });
        let mut images = Vec::new();
        for pair in pairs {
            let image = self.images.len();
            let cut = self.cuts.len() - 1;
            let state = ImageState::Pending;
            self.images.push(Image { pair: *pair, cut, number, without, state });
            images.push(image);
            let value = Value::Image { image, shift: pair.shift() };
            if let Some(content) = self.volumes.get_mut(&pair.target) {
                let version = Version::begun(number, value, Effect::Certain, low);
                content.begin(pair.target_range(), Version { image: Some(image), ..version });
            }
        }
        (number, images)
    }

    /// The establish that made these images was answered, or was found done after a crash.
    pub fn end_establish(&mut self, images: &[usize]) {
        let now = self.tick();
        for index in images {
            let Image { pair, cut, number, without, .. } = self.images[*index];
            let low = self.cuts[cut].low;
            self.cuts[cut].high = now;
            self.open.remove(&low);
            let content = self.volumes.get(&pair.source).map(|source| {
                source.part(pair.source_range(), |version| {
                    (version.superseded > low || version.gone > low)
                        && Some(version.number) != without
                })
            });
            self.images[*index].state = ImageState::Taken(content.unwrap_or_default());
            if let Some(target) = self.volumes.get_mut(&pair.target) {
                target.confirm(pair.target_range(), number, now);
            }
        }
    }

    /// The establish that would have made these images was refused, or was found undone after a crash.
    pub fn retract_establish(&mut self, images: &[usize]) {
        for index in images {
            let Image { pair, cut, number, .. } = self.images[*index];
            let low = self.cuts[cut].low;
            self.open.remove(&low);
            self.images[*index].state = ImageState::Refused;
            self.retract_write(pair.target, pair.target_range(), number);
        }
    }

    /// A withdraw of this part of an image begins: from now on what is not copied may be anything, or, of a
    /// thin target, everything zeroes (decision D8).
    pub fn begin_withdraw(&mut self, image: usize, pair: Pair, number: u32, leaves: Leaves) {
        let now = self.tick();
        let Some(target) = self.volumes.get_mut(&pair.target) else {
            return;
        };
        if leaves == Leaves::Zeroes {
            let version = Version::begun(number, Value::Zero, Effect::Certain, now);
            target.begin(pair.target_range(), Version { image: Some(image), ..version });
            return;
        }
        target.for_each(pair.target_range(), |versions| {
            let shown = versions.iter().filter(|version| version.image == Some(image));
            let unknown: Vec<Version> =
                shown.map(|there| Version { number, value: Value::Unknown, ..*there }).collect();
            versions.extend(unknown);
        });
    }

    /// The withdraw of this part was answered, or was found done after a crash.
    pub fn end_withdraw(&mut self, pair: Pair, number: u32, leaves: Leaves) {
        let now = self.tick();
        if let (Leaves::Zeroes, Some(target)) = (leaves, self.volumes.get_mut(&pair.target)) {
            target.confirm(pair.target_range(), number, now);
        }
    }

    /// The withdraw did not touch this part of an image, though perhaps others.
    pub fn retract_withdraw(&mut self, image: usize, pair: Pair, number: u32) {
        if let Some(target) = self.volumes.get_mut(&pair.target) {
            target.for_each(pair.target_range(), |versions| {
                let own =
                    |version: &Version| version.number == number && version.image == Some(image);
                versions.retain(|version| !own(version));
            });
        }
    }

    /// Nothing is known of these bytes any more (target of a failed relationship).
    pub fn forget(&mut self, volume: u32, range: ByteRange) {
        let now = self.tick();
        if let Some(content) = self.volumes.get_mut(&volume) {
            content.for_each(range, |versions| {
                // What is in flight may take effect after the failure.
                versions.retain(|version| version.completed == NEVER);
                versions.insert(0, Version::settled(Value::Unknown, now));
            });
        }
    }

    /// The process or the machine died: what was in flight is done or not.
    pub fn crash(&mut self) -> Time {
        let now = self.tick();
        for content in self.volumes.values_mut() {
            content.crash(now);
        }
        self.open.clear();
        now
    }

    /// Judges bytes that were read at `start` of the volume.
    ///
    /// # Errors
    /// Says which byte is wrong, what stands there and what might.
    pub fn judge(
        &mut self,
        volume: u32,
        start: u64,
        bytes: &[u8],
        view: View,
    ) -> Result<(), String> {
        for piece in self.resolve_volume(volume, start, bytes, view)? {
            if let (View::Live(since), Some((cut, invoked, superseded))) = (view, piece.seen)
                && piece.range.bytes() >= 8
                && self.cuts[cut].high < since
            {
                let cut = &mut self.cuts[cut];
                cut.low = cut.low.max(invoked);
                cut.high = cut.high.min(superseded);
                self.stays(&piece);
            }
        }
        Ok(())
    }

    /// What an image showed once, it shows for ever, but for a power cut before it is durable.
    fn stays(&mut self, piece: &Piece) {
        let Some(index) = piece.image else { return };
        let shift = self.images[index].pair.shift();
        let moved = |at: u64| at.wrapping_add_signed(shift);
        let range = ByteRange { start: moved(piece.range.start), end: moved(piece.range.end) };
        let found = match piece.value {
            Value::Data { write, shift: total } => Value::Data { write, shift: total - shift },
            other => other,
        };
        if let ImageState::Taken(content) = &mut self.images[index].state {
            content.for_each(range, |versions| {
                let nested = |version: &Version| matches!(version.value, Value::Image { .. });
                if versions.iter().any(nested) {
                    return;
                }
                for other in versions.iter_mut().filter(|version| version.value != found) {
                    other.superseded = 0;
                }
            });
        }
    }

    /// Judges what a crash left, and takes it as the truth from then on.
    ///
    /// # Errors
    /// As `judge`.
    pub fn settle(
        &mut self,
        volume: u32,
        start: u64,
        bytes: &[u8],
        view: View,
    ) -> Result<(), String> {
        let pieces = self.resolve_volume(volume, start, bytes, view)?;
        let now = self.tick();
        let Some(content) = self.volumes.get_mut(&volume) else {
            return Ok(());
        };
        let doubtful = matches!(view, View::Doubtful(_));
        for piece in merge(pieces) {
            if matches!(view, View::AfterPowerCut) {
                let settled = Version::settled(piece.value, now);
                content.settle(piece.range, Version { image: piece.image, ..settled });
                continue;
            }
            let number = self.numbers + 1;
            self.numbers = number;
            content.for_each(piece.range, |versions| {
                let alive = versions.iter().filter(|version| version.superseded == NEVER).count();
                let open = alive > 1 || (doubtful && versions.len() > 1);
                if open && (doubtful || piece.value != Value::Unknown) {
                    for version in versions.iter_mut() {
                        version.superseded = version.superseded.min(now);
                    }
                    let settled = Version::settled(piece.value, now);
                    versions.push(Version { number, image: piece.image, ..settled });
                }
            });
        }
        Ok(())
    }

    /// Nobody asks any more what was before this moment.
    fn horizon(&self) -> Time {
        self.open.first().copied().unwrap_or(self.now)
    }
}

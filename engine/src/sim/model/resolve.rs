//! What bytes are: every piece of what was read, matched with one of the versions that it may be.

use std::fmt::Write as _;

use super::{Cut, ImageState, Model, Piece, SECTOR, View};
use crate::sim::content::{Content, NEVER, Time, Value, Version};
use crate::sim::pattern;
use crate::units::ByteRange;

/// Images of images of images that are looked through.
const IMAGES_DEEP: u32 = 16;

impl Model {
    /// What may stand in the sector from byte `at` of the volume on, for a report.
    pub fn explain(&self, volume: u32, at: u64) -> String {
        let range = ByteRange { start: at, end: (at + 1).next_multiple_of(SECTOR) };
        let mut text = String::new();
        for (part, versions) in
            self.volumes.get(&volume).iter().flat_map(|content| content.spans(range))
        {
            for version in versions {
                let _ = write!(text, "\n    {:#x}: {version:?}", part.start);
                if let Value::Image { image, shift } = version.value {
                    text.push_str(&self.explain_image(image, part, shift));
                }
            }
        }
        text
    }

    fn explain_image(&self, image: usize, range: ByteRange, shift: i64) -> String {
        let moved = |at: u64| at.wrapping_add_signed(shift);
        let range = ByteRange { start: moved(range.start), end: moved(range.end) };
        let mut text = format!(" T0 {:?}", self.cuts[self.images[image].cut]);
        for (part, versions) in
            self.image_content(image).iter().flat_map(|content| content.spans(range))
        {
            for version in versions {
                let _ = write!(text, "\n        {:#x}: {version:?}", part.start);
            }
        }
        text
    }

    /// The source of an image as of T0; the source itself while the establish is in flight.
    fn image_content(&self, image: usize) -> Option<&Content> {
        let image = &self.images[image];
        match &image.state {
            ImageState::Pending => self.volumes.get(&image.pair.source),
            ImageState::Taken(content) => Some(content),
            ImageState::Refused => None,
        }
    }

    /// Finds what bytes that were read at `start` of the volume are.
    pub(super) fn resolve_volume(
        &self,
        volume: u32,
        start: u64,
        bytes: &[u8],
        view: View,
    ) -> Result<Vec<Piece>, String> {
        let mut pieces = Vec::new();
        let Some(content) = self.volumes.get(&volume) else {
            return Ok(pieces);
        };
        let Err(at) = self.resolve(
            content,
            start,
            bytes,
            Judge { view, cut: None, depth: 0, path: None },
            &mut pieces,
        ) else {
            return Ok(pieces);
        };
        let found = pattern::describe(
            at,
            slice(bytes, start, ByteRange { start: at, end: start + bytes.len() as u64 }),
        );
        Err(format!(
            "volume {volume}, byte {at:#x}: found {found}; {view:?} admits of{}",
            self.explain(volume, at)
        ))
    }

    /// Finds what the bytes at `start` are; fails with the first byte that is none of what it may be.
    fn resolve(
        &self,
        content: &Content,
        start: u64,
        bytes: &[u8],
        judge: Judge<'_>,
        out: &mut Vec<Piece>,
    ) -> Result<(), u64> {
        let range = ByteRange { start, end: start + bytes.len() as u64 };
        for (part, versions) in content.spans(range) {
            let found = slice(bytes, start, part);
            if self.resolve_part(versions, part, found, judge, out) {
                continue;
            }
            let mut at = part.start;
            while at < part.end {
                let end = (at + 1).next_multiple_of(SECTOR).min(part.end);
                let sector = ByteRange { start: at, end };
                let found = slice(bytes, start, sector);
                if !self.resolve_part(versions, sector, found, judge, out)
                    && !self.resolve_mixed(versions, sector, found, judge, out)
                {
                    return Err(at);
                }
                at = end;
            }
        }
        Ok(())
    }

    /// Finds the versions of a sector that a read met in two halves, while a write was on its way and
    /// another of less than a sector had just gone home. What a power cut leaves is never so (I3).
    fn resolve_mixed(
        &self,
        versions: &[Version],
        sector: ByteRange,
        bytes: &[u8],
        judge: Judge<'_>,
        out: &mut Vec<Piece>,
    ) -> bool {
        let before = out.len();
        let may_be = judge.depth == 0 && !matches!(judge.view, View::AfterPowerCut);
        may_be
            && (1..bytes.len()).any(|cut| {
                let middle = sector.start + cut as u64;
                let (first, second) = bytes.split_at(cut);
                let lower = ByteRange { end: middle, ..sector };
                let upper = ByteRange { start: middle, ..sector };
                out.truncate(before);
                self.resolve_part(versions, lower, first, judge, out)
                    && self.resolve_part(versions, upper, second, judge, out)
            })
    }

    /// Finds the version that all these bytes are.
    fn resolve_part(
        &self,
        versions: &[Version],
        range: ByteRange,
        bytes: &[u8],
        judge: Judge<'_>,
        out: &mut Vec<Piece>,
    ) -> bool {
        let admitted = versions.iter().rev().filter(|version| judge.admits(version));
        for version in admitted.clone() {
            let seen = judge.cut.map(|(cut, _)| (cut, version.invoked, version.superseded));
            let same = match version.value {
                Value::Zero => pattern::is_zero(bytes),
                Value::Data { write, shift } => {
                    pattern::matches(write, range.start.wrapping_add_signed(shift), bytes)
                }
                Value::Image { image, shift } => {
                    let before = out.len();
                    if self.resolve_image(image, shift, range, bytes, judge, out) {
                        if admitted.clone().count() > 1 {
                            // It may be the host's, too: that tells nothing of the image.
                            out[before..].iter_mut().for_each(|piece| piece.seen = None);
                        }
                        return true;
                    }
                    false
                }
                Value::Unknown => false,
            };
            if same {
                // Zeroes look alike, whoever wrote them: they tell nothing of an instant.
                let seen = match version.value {
                    Value::Zero => seen.map(|(cut, ..)| (cut, 0, NEVER)),
                    _ => seen,
                };
                // Zeroes may be the host's or the image's: then they count as the image's.
                let shown = versions.iter().rev().find_map(|version| version.image);
                let image = version.image.or(shown.filter(|_| version.value == Value::Zero));
                out.push(Piece { range, value: version.value, image, seen });
                return true;
            }
        }
        let unknown = admitted.clone().any(|version| version.value == Value::Unknown);
        if unknown {
            out.push(Piece { range, value: Value::Unknown, image: None, seen: None });
        }
        unknown
    }

    fn resolve_image(
        &self,
        image: usize,
        shift: i64,
        range: ByteRange,
        bytes: &[u8],
        judge: Judge<'_>,
        out: &mut Vec<Piece>,
    ) -> bool {
        // Establishes in flight may point at each other; one of them will be refused.
        if judge.depth == IMAGES_DEEP || judge.is_within(image) {
            return false;
        }
        let Some(content) = self.image_content(image) else {
            return false;
        };
        let before = out.len();
        let cut = self.images[image].cut;
        let path = Path { image, up: judge.path };
        let judge = Judge {
            cut: Some((cut, self.cuts[cut])),
            depth: judge.depth + 1,
            path: Some(&path),
            ..judge
        };
        let start = range.start.wrapping_add_signed(shift);
        if self.resolve(content, start, bytes, judge, out).is_err() {
            out.truncate(before);
            return false;
        }
        for piece in &mut out[before..] {
            piece.image = Some(image);
            piece.range.start = piece.range.start.wrapping_add_signed(-shift);
            piece.range.end = piece.range.end.wrapping_add_signed(-shift);
            if let Value::Data { shift: further, .. } | Value::Image { shift: further, .. } =
                &mut piece.value
            {
                *further += shift;
            }
        }
        true
    }
}

/// By what a version is admitted: the view, and the instant of the image that it is looked at through.
#[derive(Clone, Copy)]
struct Judge<'a> {
    view: View,
    cut: Option<(usize, Cut)>,
    depth: u32,
    /// The images that are looked through.
    path: Option<&'a Path<'a>>,
}

/// An image, and the one through which it is looked at.
struct Path<'a> {
    image: usize,
    up: Option<&'a Path<'a>>,
}

impl Judge<'_> {
    /// True when the image is looked through already.
    fn is_within(&self, image: usize) -> bool {
        std::iter::successors(self.path, |path| path.up).any(|path| path.image == image)
    }

    fn admits(self, version: &Version) -> bool {
        let within = |ended: Time, since: Time| match self.cut {
            Some((_, cut)) => version.invoked < cut.high && ended > cut.low,
            None => ended > since,
        };
        let durable = |ended: Time| within(ended, NEVER - 1);
        match self.view {
            View::Live(since) => within(version.superseded, since),
            View::AfterPowerCut => durable(version.gone),
            View::Doubtful(since) => within(version.superseded, since) || durable(version.gone),
        }
    }
}

/// The part of a buffer that was read at `start`.
fn slice(bytes: &[u8], start: u64, range: ByteRange) -> &[u8] {
    let index = |at: u64| usize::try_from(at - start).expect("a buffer's length fits a usize");
    &bytes[index(range.start)..index(range.end)]
}

/// Joins neighbours of one value.
pub(super) fn merge(pieces: Vec<Piece>) -> Vec<Piece> {
    let mut merged: Vec<Piece> = Vec::new();
    for piece in pieces {
        match merged.last_mut() {
            Some(last)
                if last.range.end == piece.range.start
                    && (last.value, last.image) == (piece.value, piece.image) =>
            {
                last.range.end = piece.range.end;
            }
            _ => merged.push(piece),
        }
    }
    merged
}

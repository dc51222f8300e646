//! One object of the simulated disk: what is durable, what reads see, and what lies between.
//!
//! - S1 The page cache is the durable content with all pending changes applied in order; after a failed
//!   sync it may hold more (`SyncFailure::Kept`).
//! - S2 A change leaves the list only to become durable, or because a sync failed, or at a power cut.

use std::rc::Rc;

use super::faults::SyncFailure;
use super::pages::{Pages, to_usize};
use super::prng::Prng;
use crate::units::ByteRange;

/// Bytes that are never torn.
const SECTOR: u64 = 512;
/// Zeroed ranges longer than this are torn into one piece, not by sectors.
const ZERO_BY_SECTORS_MAX: u64 = 1 << 20;

/// One stored object.
#[derive(Clone, Debug, Default)]
pub(super) struct Stored {
    pub(super) bytes: u64,
    pub(super) cache: Pages,
    durable: Pages,
    pending: Vec<Change>,
    /// Every sync fails until the store is reopened.
    pub(super) latched: bool,
}

/// A change since the last sync.
#[derive(Clone, Debug)]
struct Change {
    id: u64,
    offset: u64,
    content: Content,
    /// Number of the delivery that told of it; `u64::MAX` before.
    delivered: u64,
}

/// What a change puts in place.
#[derive(Clone, Debug)]
pub(super) enum Content {
    Data(Rc<Vec<u8>>),
    Zeroes(u64),
}

impl Content {
    pub(super) fn bytes(&self) -> u64 {
        match self {
            Self::Data(data) => data.len() as u64,
            Self::Zeroes(bytes) => *bytes,
        }
    }

    fn apply(&self, offset: u64, pages: &mut Pages) {
        match self {
            Self::Data(data) => pages.write(offset, data),
            Self::Zeroes(bytes) => pages.zero(offset, *bytes),
        }
    }

    /// The part that belongs to bytes `start..end` of the object, for a content placed at `offset`.
    fn part(&self, offset: u64, start: u64, end: u64) -> Self {
        match self {
            Self::Data(data) => {
                Self::Data(Rc::new(data[to_usize(start - offset)..to_usize(end - offset)].to_vec()))
            }
            Self::Zeroes(_) => Self::Zeroes(end - start),
        }
    }
}

impl Change {
    fn range(&self) -> ByteRange {
        ByteRange { start: self.offset, end: self.offset + self.content.bytes() }
    }
}

/// What survives of a change: chosen per object at a power cut, per operation at a kill.
#[derive(Clone, Copy, Debug)]
pub(super) enum Survival {
    Nothing,
    All,
    /// Whole changes, each with one chance in two.
    Whole,
    /// Of each change the part before or behind some sector.
    Torn,
    /// Sectors, each with so many chances in eight.
    Sectors(u64),
}

/// What a power cut chooses from.
const SURVIVALS: [Survival; 8] = [
    Survival::Nothing,
    Survival::Torn,
    Survival::Torn,
    Survival::All,
    Survival::Whole,
    Survival::Sectors(4),
    Survival::Sectors(1),
    Survival::Sectors(7),
];

impl Survival {
    pub(super) fn draw(prng: &mut Prng) -> Self {
        SURVIVALS[prng.index(SURVIVALS.len())]
    }
}

impl Stored {
    /// An object of `bytes` durable zeroes.
    pub(super) fn zeroes(bytes: u64) -> Self {
        Self { bytes, ..Self::default() }
    }

    /// Puts a change into the page cache and on the list; `delivered` as for the list.
    pub(super) fn change(&mut self, id: u64, offset: u64, content: Content, delivered: u64) {
        content.apply(offset, &mut self.cache);
        self.pending.push(Change { id, offset, content, delivered });
    }

    /// The change's author was told that it is done.
    pub(super) fn deliver(&mut self, id: u64, delivery: u64) {
        if let Some(change) = self.pending.iter_mut().rev().find(|change| change.id == id) {
            change.delivered = delivery;
        }
    }

    /// Makes durable what a sync covers that began after delivery number `began`.
    pub(super) fn sync(&mut self, began: u64, prng: &mut Prng) {
        let mut covered: Vec<bool> = self
            .pending
            .iter()
            .map(|change| change.delivered <= began || prng.once_in(2))
            .collect();
        for index in (0..covered.len()).rev() {
            // The disk gets the newest bytes of a place: an older change below a covered one is gone.
            let range = self.pending[index].range();
            covered[index] |= (index + 1..covered.len())
                .any(|later| covered[later] && self.pending[later].range().overlaps(range));
        }
        let mut covered = covered.into_iter();
        let durable = &mut self.durable;
        self.pending.retain(|change| {
            let moves = covered.next().unwrap_or(false);
            if moves {
                change.content.apply(change.offset, durable);
            }
            !moves
        });
    }

    /// The process ends and the object is opened anew. Nobody is left to be told of the changes: they
    /// all happened before whatever comes. What a failed sync left in memory only is dropped: whoever
    /// opens an object asks the system to forget what it need not write.
    pub(super) fn reopen(&mut self) {
        self.latched = false;
        self.cache = self.durable.clone();
        for change in &mut self.pending {
            change.delivered = 0;
            change.content.apply(change.offset, &mut self.cache);
        }
    }

    /// A sync of everything, by a caller that waits for it.
    pub(super) fn sync_all(&mut self) {
        for change in self.pending.drain(..) {
            change.content.apply(change.offset, &mut self.durable);
        }
    }

    /// What a failed sync leaves.
    pub(super) fn fail_sync(&mut self, model: SyncFailure) {
        self.pending.clear();
        self.latched = model == SyncFailure::Latched;
        if model != SyncFailure::Kept {
            self.cache = self.durable.clone();
        }
    }

    /// What the power cut leaves.
    pub(super) fn cut_power(&mut self, prng: &mut Prng) {
        let survival = Survival::draw(prng);
        for change in self.pending.drain(..) {
            survive(survival, change.offset, &change.content, prng, |offset, content| {
                content.apply(offset, &mut self.durable);
            });
        }
        self.cache = self.durable.clone();
        self.latched = false;
    }
}

/// Hands the part of a change before or behind some sector to `keep`.
fn tear(offset: u64, content: &Content, prng: &mut Prng, mut keep: impl FnMut(u64, &Content)) {
    let end = offset + content.bytes();
    let cut = (offset + prng.below(content.bytes())).next_multiple_of(SECTOR).min(end);
    let (start, stop) = if prng.once_in(2) { (offset, cut) } else { (cut, end) };
    keep(start, &content.part(offset, start, stop));
}

/// Hands the surviving parts of a change to `keep`.
pub(super) fn survive(
    survival: Survival,
    offset: u64,
    content: &Content,
    prng: &mut Prng,
    mut keep: impl FnMut(u64, &Content),
) {
    let end = offset + content.bytes();
    match survival {
        Survival::Nothing => {}
        Survival::All => keep(offset, content),
        Survival::Whole => {
            if prng.once_in(2) {
                keep(offset, content);
            }
        }
        Survival::Torn => tear(offset, content, prng, keep),
        Survival::Sectors(_) if content.bytes() > ZERO_BY_SECTORS_MAX => {
            tear(offset, content, prng, keep);
        }
        Survival::Sectors(chances) => {
            let mut start = offset;
            while start < end {
                let stop = (start + 1).next_multiple_of(SECTOR).min(end);
                if prng.below(8) < chances {
                    keep(start, &content.part(offset, start, stop));
                }
                start = stop;
            }
        }
    }
}

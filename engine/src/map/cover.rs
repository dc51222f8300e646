//! Which items cover a position, when items are ranges that may overlap.
//!
//! The number line is cut where the set of covering items changes. A lookup is one search in a
//! B-tree; an insertion touches the cuts within its own range only.
//!
//! Invariants
//! - C1 The set at a cut holds from there to the next cut; before the first cut nothing is covered.
//! - C2 Sets are strictly ascending, so each item is in a set once.
//! - C3 Neighbouring sets differ; so the set at the first cut is not empty.
//! - C4 The set at the last cut is empty: every range ends.

use std::collections::BTreeMap;
use std::ops::Range;

/// Which items cover a position; positions are blocks or tracks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CoverMap<T> {
    /// The covering items from each cut on.
    sets: BTreeMap<u32, Vec<T>>,
}

impl<T> Default for CoverMap<T> {
    fn default() -> Self {
        Self { sets: BTreeMap::new() }
    }
}

impl<T: Copy + Ord> CoverMap<T> {
    /// A map in which nothing is covered.
    pub fn new() -> Self {
        Self::default()
    }

    /// True when nothing is covered.
    pub fn is_empty(&self) -> bool {
        self.sets.is_empty()
    }

    /// The items that cover `position`, ascending.
    pub fn at(&self, position: u32) -> &[T] {
        self.sets.range(..=position).next_back().map_or(&[], |(_, set)| set)
    }

    /// The segments of `range`, ascending, each with the items that cover all of it.
    ///
    /// Segments are maximal within the range, and together they are the whole range: those that
    /// nothing covers are given too, with no items.
    pub fn overlapping(&self, range: Range<u32>) -> impl Iterator<Item = (Range<u32>, &[T])> {
        let mut start = range.start;
        let mut items = self.at(range.start);
        let later = range.start.saturating_add(1)..range.end.max(range.start.saturating_add(1));
        let mut cuts = self.sets.range(later);
        std::iter::from_fn(move || {
            if start >= range.end {
                return None;
            }
            let (end, next_items) =
                cuts.next().map_or((range.end, &[][..]), |(&cut, set)| (cut, set));
            let segment = (start..end, items);
            (start, items) = (end, next_items);
            Some(segment)
        })
    }

    /// The largest number of items that cover one position of `range`.
    pub fn max_depth(&self, range: Range<u32>) -> usize {
        self.overlapping(range).map(|(_, items)| items.len()).max().unwrap_or(0)
    }

    /// Lets `item` cover all of `range`, also where it does already.
    pub fn insert(&mut self, range: Range<u32>, item: T) {
        self.change(range, |set| {
            if let Err(at) = set.binary_search(&item) {
                set.reserve_exact(1);
                set.insert(at, item);
            }
        });
    }

    /// Lets `item` no longer cover any position of `range`.
    pub fn remove(&mut self, range: Range<u32>, item: T) {
        self.change(range, |set| {
            if let Ok(at) = set.binary_search(&item) {
                set.remove(at);
            }
        });
    }

    /// Changes every set within `range`, then drops the cuts that no longer divide anything.
    fn change(&mut self, range: Range<u32>, mut change: impl FnMut(&mut Vec<T>)) {
        if range.is_empty() {
            return;
        }
        self.cut(range.start);
        self.cut(range.end);
        for (_, set) in self.sets.range_mut(range.clone()) {
            change(set);
        }
        self.merge(range);
    }

    /// Makes sure that there is a cut at `position`.
    fn cut(&mut self, position: u32) {
        if !self.sets.contains_key(&position) {
            let set = self.at(position).to_vec();
            self.sets.insert(position, set);
        }
    }

    /// Drops the cuts from `range.start` to `range.end` whose set equals the one before.
    fn merge(&mut self, range: Range<u32>) {
        let before = self.sets.range(..range.start).next_back();
        let mut before: &[T] = before.map_or(&[], |(_, set)| set);
        let mut needless = Vec::new();
        for (&cut, set) in self.sets.range(range.start..=range.end) {
            if set == before {
                needless.push(cut);
            }
            before = set;
        }
        for cut in needless {
            self.sets.remove(&cut);
        }
    }

    /// Checks the invariants of this file.
    ///
    /// # Panics
    /// When one does not hold.
    #[cfg(any(test, feature = "sim"))]
    pub fn check_invariants(&self) {
        let mut before: &[T] = &[];
        for (cut, set) in &self.sets {
            assert!(set.is_sorted_by(|a, b| a < b), "C2: at {cut}");
            assert!(set != before, "C3: at {cut}");
            before = set;
        }
        assert!(before.is_empty(), "C4: {} items have no end", before.len());
    }
}

//! A table that hands out small keys and reuses them: operations, barriers and requests in flight.
//!
//! Invariant: a key names its entry from `insert` to `remove`, nothing else in between.

/// The table.
#[derive(Debug)]
pub struct Slab<T> {
    entries: Vec<Option<T>>,
    free: Vec<usize>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { entries: Vec::new(), free: Vec::new() }
    }
}

impl<T> Slab<T> {
    /// Keeps `entry` and gives its key.
    pub fn insert(&mut self, entry: T) -> usize {
        if let Some(key) = self.free.pop() {
            self.entries[key] = Some(entry);
            return key;
        }
        self.entries.push(Some(entry));
        self.entries.len() - 1
    }

    /// Gives the entry back, if the key names one.
    pub fn remove(&mut self, key: usize) -> Option<T> {
        let entry = self.entries.get_mut(key)?.take()?;
        self.free.push(key);
        Some(entry)
    }

    /// The entry, if the key names one.
    pub fn get_mut(&mut self, key: usize) -> Option<&mut T> {
        self.entries.get_mut(key)?.as_mut()
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    /// True when nothing is kept.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

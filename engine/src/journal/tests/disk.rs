//! A disk in memory for these tests: writes are visible at once and durable after a sync. At a power cut the fate of
//! every unsynced sector is chosen one by one. Storage calls can be made to fail from the nth on.

use std::collections::BTreeMap;

use crate::io::{CreateSpace, IoFailure, Object, Storage, Stretch};
use crate::store::SECTOR_BYTES;
use crate::units::ByteRange;

/// What becomes of an unsynced sector at a power cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Lost,
    Kept,
    /// The disk was writing it: neither old nor new.
    Garbage,
}

#[derive(Clone, Default)]
pub(super) struct TestDisk {
    durable: BTreeMap<Object, Vec<u8>>,
    cache: BTreeMap<Object, Vec<u8>>,
    /// Unsynced sectors in the order written.
    pending: Vec<(Object, usize, Vec<u8>)>,
    /// Calls that may change something, made so far.
    pub(super) calls: u64,
    /// Such a call fails when this many were made: the process has died.
    pub(super) dies_after: Option<u64>,
    /// Syncs fail, and the system forgets that the pages are dirty, as Linux does.
    pub(super) syncs_fail: bool,
}

impl TestDisk {
    fn count(&mut self) -> Result<(), IoFailure> {
        if self.dies_after == Some(self.calls) {
            return Err(IoFailure::Io(4));
        }
        self.calls += 1;
        Ok(())
    }

    /// Of each unsynced sector, in the order they were written, whether anything but zeroes is in it.
    pub(super) fn pending_sectors(&self) -> Vec<bool> {
        self.pending.iter().map(|(_, _, bytes)| bytes.iter().any(|&byte| byte != 0)).collect()
    }

    /// Cuts the power: `fate` is asked once for each unsynced sector, in the order they were written.
    pub(super) fn power_cut(&mut self, mut fate: impl FnMut(usize) -> Fate) {
        for (index, (object, sector, bytes)) in
            std::mem::take(&mut self.pending).into_iter().enumerate()
        {
            let content = match fate(index) {
                Fate::Lost => continue,
                Fate::Kept => bytes,
                Fate::Garbage => vec![0xa5; bytes.len()],
            };
            let at = sector * SECTOR_BYTES;
            self.durable.get_mut(&object).unwrap()[at..at + content.len()]
                .copy_from_slice(&content);
        }
        self.cache = self.durable.clone();
        self.dies_after = None;
        self.syncs_fail = false;
    }

    /// What is on the disk, also in its cache.
    pub(super) fn bytes(&self, object: Object) -> &[u8] {
        &self.cache[&object]
    }

    /// Rot: changes a byte, durably and without a write.
    pub(super) fn flip(&mut self, object: Object, at: usize) {
        for content in [&mut self.cache, &mut self.durable] {
            content.get_mut(&object).unwrap()[at] ^= 0x10;
        }
    }

    /// Makes an object at least `bytes` long.
    pub(super) fn allocate(&mut self, object: Object, bytes: u64) {
        for content in [&mut self.cache, &mut self.durable] {
            let content = content.get_mut(&object).unwrap();
            let bytes = usize::try_from(bytes).unwrap().max(content.len());
            content.resize(bytes, 0);
        }
    }

    pub(super) fn objects(&self) -> Vec<Object> {
        self.cache.keys().copied().collect()
    }
}

impl Storage for TestDisk {
    fn read(&mut self, object: Object, offset: u64, buffer: &mut [u8]) -> Result<(), IoFailure> {
        let content = self.cache.get(&object).ok_or(IoFailure::Io(2))?;
        let from = usize::try_from(offset).unwrap().min(content.len());
        let to = (from + buffer.len()).min(content.len());
        buffer.fill(0);
        buffer[..to - from].copy_from_slice(&content[from..to]);
        Ok(())
    }

    fn write(&mut self, object: Object, offset: u64, data: &[u8]) -> Result<(), IoFailure> {
        self.count()?;
        let content = self.cache.get_mut(&object).ok_or(IoFailure::Io(2))?;
        let from = usize::try_from(offset).unwrap();
        let to = from + data.len();
        assert!(to <= content.len(), "a write past the end of {object:?}");
        content[from..to].copy_from_slice(data);
        for sector in from / SECTOR_BYTES..to.div_ceil(SECTOR_BYTES) {
            let at = sector * SECTOR_BYTES;
            let end = content.len().min(at + SECTOR_BYTES);
            self.pending.push((object, sector, content[at..end].to_vec()));
        }
        Ok(())
    }

    fn sync(&mut self, object: Object) -> Result<(), IoFailure> {
        self.count()?;
        let dirty = std::mem::take(&mut self.pending);
        for (of, sector, bytes) in dirty {
            if of != object {
                self.pending.push((of, sector, bytes));
            } else if !self.syncs_fail {
                let at = sector * SECTOR_BYTES;
                self.durable.get_mut(&of).unwrap()[at..at + bytes.len()].copy_from_slice(&bytes);
            }
        }
        if self.syncs_fail { Err(IoFailure::Io(5)) } else { Ok(()) }
    }

    fn create(&mut self, object: Object, bytes: u64, _: CreateSpace) -> Result<(), IoFailure> {
        self.count()?;
        assert!(!self.cache.contains_key(&object), "{object:?} exists");
        let content = vec![0; usize::try_from(bytes).unwrap()];
        self.durable.insert(object, content.clone());
        self.cache.insert(object, content);
        Ok(())
    }

    fn remove(&mut self, object: Object) -> Result<(), IoFailure> {
        self.count()?;
        self.durable.remove(&object);
        self.cache.remove(&object);
        self.pending.retain(|(of, _, _)| *of != object);
        Ok(())
    }

    fn length(&mut self, object: Object) -> Result<Option<u64>, IoFailure> {
        Ok(self.cache.get(&object).map(|content| content.len() as u64))
    }

    fn list(&mut self) -> Result<Vec<Object>, IoFailure> {
        Ok(self.objects())
    }
    /// The sectors that are not blank, each on its own.
    fn data(&mut self, Stretch { object, range }: Stretch) -> Result<Vec<ByteRange>, IoFailure> {
        let content = self.cache.get(&object).ok_or(IoFailure::Io(2))?;
        let index = |byte: u64| usize::try_from(byte).unwrap().min(content.len());
        let sector = SECTOR_BYTES as u64;
        Ok((range.start / sector..range.end.div_ceil(sector))
            .map(|at| ByteRange {
                start: (at * sector).max(range.start),
                end: ((at + 1) * sector).min(range.end),
            })
            .filter(|part| content[index(part.start)..index(part.end)].iter().any(|&it| it != 0))
            .collect())
    }
}

//! The simulated disk for callers that wait: recovery and offline tools.
//!
//! The power may go during any call (`SimDisk::cut_power_after_calls`): that call is half done, and
//! every later one fails until the world has cut the power and opened the store again.

use std::rc::Rc;

use super::disk::{ENOENT, Power, SimDisk};
use super::faults::{ActionKind, ObjectKind};
use super::stored::Content;
use crate::io::{CreateSpace, IoFailure, Object, Storage, Stretch};
use crate::units::ByteRange;

/// Error number of a disk without power.
const NO_POWER: IoFailure = IoFailure::Io(19);

impl SimDisk {
    /// Counts a blocking call and says whether it fails.
    fn call(&mut self, object: Object, action: ActionKind, bytes: u64) -> Result<(), IoFailure> {
        self.note(&[5, action as u64, bytes]);
        self.counts.add(ObjectKind::of(object), action, bytes);
        match self.power {
            Power::On => {}
            Power::Calls(0) | Power::Off => {
                self.power = Power::Off;
                return Err(NO_POWER);
            }
            Power::Calls(calls) => self.power = Power::Calls(calls - 1),
        }
        self.faults.strike(ObjectKind::of(object), action).map_or(Ok(()), Err)
    }
}

impl Storage for SimDisk {
    fn read(&mut self, object: Object, offset: u64, buffer: &mut [u8]) -> Result<(), IoFailure> {
        self.call(object, ActionKind::Read, buffer.len() as u64)?;
        self.objects.get(&object).ok_or(ENOENT)?.cache.read(offset, buffer);
        Ok(())
    }

    fn write(&mut self, object: Object, offset: u64, data: &[u8]) -> Result<(), IoFailure> {
        if self.power == Power::Off {
            return Err(NO_POWER);
        }
        let called = self.call(object, ActionKind::Write, data.len() as u64);
        let written =
            if called.is_ok() { data.len() } else { self.prng.index(data.len() / 512 + 1) * 512 };
        let (change, delivered) = (self.next_change(), self.deliveries());
        let stored = self.objects.get_mut(&object).ok_or(ENOENT)?;
        if offset + data.len() as u64 > stored.bytes {
            return Err(IoFailure::Io(27));
        }
        let content = Content::Data(Rc::new(data[..written].to_vec()));
        stored.change(change, offset, content, delivered);
        called
    }

    fn sync(&mut self, object: Object) -> Result<(), IoFailure> {
        self.call(object, ActionKind::Sync, 0)?;
        self.objects.get_mut(&object).ok_or(ENOENT)?.sync_all();
        Ok(())
    }

    fn create(&mut self, object: Object, bytes: u64, _: CreateSpace) -> Result<(), IoFailure> {
        self.call(object, ActionKind::Create, bytes)?;
        SimDisk::create(self, object, bytes)
    }

    fn remove(&mut self, object: Object) -> Result<(), IoFailure> {
        self.call(object, ActionKind::Remove, 0)?;
        self.objects.remove(&object).map(|_| ()).ok_or(ENOENT)
    }

    fn length(&mut self, object: Object) -> Result<Option<u64>, IoFailure> {
        if self.power == Power::Off {
            return Err(NO_POWER);
        }
        Ok(self.objects.get(&object).map(|stored| stored.bytes))
    }

    fn list(&mut self) -> Result<Vec<Object>, IoFailure> {
        if self.power == Power::Off {
            return Err(NO_POWER);
        }
        Ok(self.objects.keys().copied().collect())
    }
    fn data(&mut self, Stretch { object, range }: Stretch) -> Result<Vec<ByteRange>, IoFailure> {
        if self.power == Power::Off {
            return Err(NO_POWER);
        }
        let stored = self.objects.get(&object).ok_or(ENOENT)?;
        Ok(stored.cache.data(range.start, range.bytes()))
    }
}

//! Keeps writes past the page cache and writes through it apart, object by object (invariant D2 of `open_files`).
//!
//! - G1 All writes in flight on an object are of one way.
//! - G2 First come, first served: a write of one way waits behind a waiting one of the other, so neither way starves.
//! - G3 An object has a gate only while writes of it are in flight.

use std::collections::{BTreeMap, VecDeque};

use crate::io::Object;

/// How a write reaches the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// Past the page cache.
    Direct,
    /// Through it.
    Cached,
}

#[derive(Debug)]
struct Gate<T> {
    way: Way,
    in_flight: usize,
    waiting: VecDeque<(Way, T)>,
}

/// The gates of all objects; `T` is a write that may have to wait.
#[derive(Debug)]
pub(super) struct WriteGates<T>(BTreeMap<Object, Gate<T>>);

impl<T> Default for WriteGates<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<T> WriteGates<T> {
    /// Gives the write back when it may begin now; else it waits.
    pub(super) fn enter(&mut self, object: Object, way: Way, write: T) -> Option<T> {
        let gate = self.0.entry(object).or_insert_with(|| Gate {
            way,
            in_flight: 0,
            waiting: VecDeque::new(),
        });
        if gate.way == way && gate.waiting.is_empty() {
            gate.in_flight += 1;
            return Some(write);
        }
        gate.waiting.push_back((way, write));
        None
    }

    /// A write has ended; gives those that may begin now.
    ///
    /// # Panics
    /// When no write of that object is in flight.
    pub(super) fn leave(&mut self, object: Object) -> Vec<T> {
        let mut begun = Vec::new();
        let gate = self.0.get_mut(&object).expect("a write that ends has entered");
        gate.in_flight -= 1;
        if gate.in_flight > 0 {
            return begun;
        }
        let Some((way, _)) = gate.waiting.front() else {
            self.0.remove(&object);
            return begun;
        };
        gate.way = *way;
        while let Some((_, write)) = gate.waiting.pop_front_if(|(way, _)| *way == gate.way) {
            gate.in_flight += 1;
            begun.push(write);
        }
        begun
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::VolumeId;

    const ONE: Object = Object::Home(VolumeId(1));
    const TWO: Object = Object::Home(VolumeId(2));

    #[test]
    fn writes_of_the_other_way_wait_until_all_of_the_one_have_ended() {
        let mut gates = WriteGates::default();
        assert_eq!(gates.enter(ONE, Way::Direct, 1), Some(1));
        assert_eq!(gates.enter(ONE, Way::Direct, 2), Some(2));
        assert_eq!(gates.enter(ONE, Way::Cached, 3), None);
        assert_eq!(gates.enter(ONE, Way::Cached, 4), None);
        assert_eq!(gates.enter(TWO, Way::Cached, 5), Some(5), "another object is not concerned");

        assert_eq!(gates.leave(ONE), []);
        assert_eq!(gates.leave(ONE), [3, 4]);
    }

    #[test]
    fn nobody_overtakes_one_who_waits() {
        let mut gates = WriteGates::default();
        assert_eq!(gates.enter(ONE, Way::Direct, 1), Some(1));
        assert_eq!(gates.enter(ONE, Way::Cached, 2), None);
        assert_eq!(gates.enter(ONE, Way::Direct, 3), None);

        assert_eq!(gates.leave(ONE), [2]);
        assert_eq!(gates.leave(ONE), [3]);
        assert_eq!(gates.leave(ONE), []);
        assert!(gates.0.is_empty());
    }
}

//! `SlotAllocator` against a set of used slots.

use std::collections::BTreeSet;

use proptest::prelude::*;

use crate::thin::slots::{MarkUsedError, SlotAllocator};
use crate::units::Slot;

#[derive(Clone, Debug)]
enum Step {
    Allocate,
    AllocateCredited,
    Free(prop::sample::Index),
    TakeCredits(u64),
    ReturnCredits(prop::sample::Index),
    MarkUsed(u32),
}

fn step() -> impl Strategy<Value = Step> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        6 => Just(Step::Allocate),
        3 => Just(Step::AllocateCredited),
        6 => index().prop_map(Step::Free),
        2 => (0_u64..12).prop_map(Step::TakeCredits),
        1 => index().prop_map(Step::ReturnCredits),
        2 => (0_u32..45).prop_map(Step::MarkUsed),
    ]
}

/// The naive twin.
struct Pool {
    capacity: u32,
    used: BTreeSet<u32>,
    credits: u64,
}

impl Pool {
    fn free(&self) -> u64 {
        u64::from(self.capacity) - self.used.len() as u64 - self.credits
    }

    fn take_lowest(&mut self) -> Slot {
        let slot = (0..self.capacity).find(|slot| !self.used.contains(slot)).unwrap();
        self.used.insert(slot);
        Slot(slot)
    }

    fn apply(&mut self, step: &Step, slots: &mut SlotAllocator) {
        match *step {
            Step::Allocate => {
                let expected = (self.free() > 0).then(|| self.take_lowest());
                assert_eq!(slots.allocate(), expected);
            }
            Step::AllocateCredited if self.credits > 0 => {
                self.credits -= 1;
                assert_eq!(slots.allocate_credited(), self.take_lowest());
            }
            Step::Free(which) if !self.used.is_empty() => {
                let slot = *self.used.iter().nth(which.index(self.used.len())).unwrap();
                self.used.remove(&slot);
                slots.free(Slot(slot));
            }
            Step::AllocateCredited | Step::Free(_) => {}
            Step::TakeCredits(count) => {
                let fits = count <= self.free();
                assert_eq!(slots.take_credits(count), fits);
                self.credits += if fits { count } else { 0 };
            }
            Step::ReturnCredits(which) => {
                let count = which.index(usize::try_from(self.credits).unwrap() + 1) as u64;
                slots.return_credits(count);
                self.credits -= count;
            }
            Step::MarkUsed(slot) => {
                let capacity = self.capacity;
                let expected = if slot >= capacity {
                    Err(MarkUsedError::PastTheEnd { slot: Slot(slot), capacity })
                } else if self.used.contains(&slot) {
                    Err(MarkUsedError::Twice(Slot(slot)))
                } else if self.free() == 0 {
                    Err(MarkUsedError::Reserved { slot: Slot(slot), capacity })
                } else {
                    self.used.insert(slot);
                    Ok(())
                };
                assert_eq!(slots.mark_used(Slot(slot)), expected);
            }
        }
    }
}

proptest! {
    #[test]
    fn slots_are_given_lowest_first_and_never_beyond_what_is_promised(
        capacity in 0_u32..40,
        steps in prop::collection::vec(step(), 1..200),
    ) {
        let mut slots = SlotAllocator::new(capacity);
        let mut naive = Pool { capacity, used: BTreeSet::new(), credits: 0 };
        for step in &steps {
            naive.apply(step, &mut slots);
            slots.check_invariants();
            prop_assert_eq!(slots.capacity(), capacity);
            prop_assert_eq!(slots.used() as usize, naive.used.len());
            prop_assert_eq!(u64::from(slots.reserved()), naive.credits);
            prop_assert_eq!(u64::from(slots.free_slots()), naive.free());
            for slot in 0..45 {
                prop_assert_eq!(slots.is_used(Slot(slot)), naive.used.contains(&slot));
            }
        }
    }
}

#[test]
fn the_largest_pool_takes_its_last_slot_and_all_its_credits() {
    let mut slots = SlotAllocator::new(u32::MAX);
    assert_eq!(slots.mark_used(Slot(u32::MAX - 1)), Ok(()));
    assert!(!slots.take_credits(u64::from(u32::MAX)));
    assert!(!slots.take_credits(u64::MAX));
    assert!(slots.take_credits(u64::from(u32::MAX) - 1));
    assert_eq!(slots.allocate(), None);
    assert_eq!(slots.allocate_credited(), Slot(0));
    slots.return_credits(u64::from(slots.reserved()));
    slots.free(Slot(u32::MAX - 1));
    assert_eq!(slots.allocate(), Some(Slot(1)));
    slots.check_invariants();
}

#[test]
fn what_is_allocated_together_lies_together_and_fills_the_space_freed_first() {
    let mut slots = SlotAllocator::new(1_000_000);
    for expected in 0..300_000 {
        assert_eq!(slots.allocate(), Some(Slot(expected)));
    }
    for slot in (100_000..200_000).rev() {
        slots.free(Slot(slot));
    }
    slots.check_invariants();
    for expected in (100_000..200_000).chain(300_000..300_010) {
        assert_eq!(slots.allocate(), Some(Slot(expected)));
    }
    for slot in 0..300_010 {
        slots.free(Slot(slot));
    }
    slots.check_invariants();
    assert_eq!((slots.used(), slots.allocate()), (0, Some(Slot(0))));
}

#[test]
fn slots_found_by_recovery_in_any_order_are_never_given_out_again() {
    let mut slots = SlotAllocator::new(400_000);
    // A step that shares no factor with the count visits each of the slots once.
    for at in 0..200_000_u32 {
        let slot = u32::try_from(u64::from(at) * 77_777 % 200_000).unwrap();
        assert_eq!(slots.mark_used(Slot(100_000 + slot)), Ok(()));
    }
    slots.check_invariants();
    assert_eq!(slots.mark_used(Slot(150_000)), Err(MarkUsedError::Twice(Slot(150_000))));
    for expected in (0..100_000).chain(300_000..400_000) {
        assert_eq!(slots.allocate(), Some(Slot(expected)));
    }
    assert_eq!(slots.allocate(), None);
    slots.check_invariants();
}

#[test]
#[should_panic(expected = "slot 3 of 10 is freed, but it is free")]
fn a_slot_freed_twice_stops_the_engine() {
    let mut slots = SlotAllocator::new(10);
    slots.mark_used(Slot(3)).unwrap();
    slots.free(Slot(3));
    slots.free(Slot(3));
}

#[test]
#[should_panic(expected = "3 credits returned, but only 2 are taken")]
fn credits_returned_twice_stop_the_engine() {
    let mut slots = SlotAllocator::new(10);
    assert!(slots.take_credits(2));
    slots.return_credits(3);
}

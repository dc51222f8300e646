//! What workers share, without workers: a stand-in for the engine and pipes for eventfds.

use std::fs::File;
use std::io::Read;

use flashtrack_engine::admin::{Command, CommandId};
use flashtrack_engine::request::{Durability, Request, RequestAction, RequestId};
use flashtrack_engine::units::{ByteRange, Moment, VolumeId};

use super::stand_in::StandIn;
use crate::worker::shared::{Given, Shared, Taken, WorkerId};

fn at(monotonic_us: u64) -> Moment {
    Moment { monotonic_us, unix_seconds: 0 }
}

/// A further worker, and the end of the pipe at which it is woken.
fn join(shared: &Shared<StandIn>) -> (WorkerId, std::io::PipeReader) {
    let (reader, writer) = std::io::pipe().unwrap();
    (shared.join(File::from(std::os::fd::OwnedFd::from(writer))), reader)
}

/// Has a worker exchange what it is given.
fn exchange(shared: &Shared<StandIn>, worker: WorkerId, now_us: u64, mut given: Given) -> Taken {
    let mut taken = Taken::default();
    shared.exchange(worker, at(now_us), &mut given, &mut taken);
    taken
}

/// A request that the stand-in keeps until it is told to drain.
fn trim(worker: WorkerId, number: u64) -> Given {
    let range = ByteRange { start: 0, end: 4096 };
    let action = RequestAction::Trim { range, durability: Durability::Volatile };
    let id = RequestId(worker.name(number));
    let request = Request { id, volume: VolumeId(1), action };
    Given { requests: vec![request], ..Given::default() }
}

fn drain(worker: WorkerId) -> Given {
    let command = (CommandId(worker.name(0)), Command::StoreDrain {});
    Given { commands: vec![command], ..Given::default() }
}

#[test]
fn a_name_is_known_to_its_worker_alone() {
    let shared = Shared::new(StandIn::default(), 2);
    let (first, second) = (join(&shared).0, join(&shared).0);

    assert_eq!(second.number(second.name(7)), Some(7));
    assert_eq!(first.number(second.name(7)), None);
    assert_eq!(first.number(first.name(7)), Some(7));
}

#[test]
fn replies_lie_on_the_tray_of_their_worker_and_it_is_woken_once() {
    let shared = Shared::new(StandIn::default(), 2);
    let ((first, mut first_woken), (second, mut second_woken)) = (join(&shared), join(&shared));
    exchange(&shared, first, 1, trim(first, 1));
    exchange(&shared, second, 2, trim(second, 2));
    exchange(&shared, second, 3, trim(second, 3));

    let taken = exchange(&shared, first, 4, drain(first));

    let ids = |taken: &Taken| taken.replies.iter().map(|reply| reply.id.0).collect::<Vec<_>>();
    assert_eq!((ids(&taken), taken.answers.len()), (vec![first.name(1)], 1));
    let mut woken = [0; 8];
    second_woken.read_exact(&mut woken).unwrap();
    let taken = exchange(&shared, second, 5, Given::default());
    assert_eq!((ids(&taken), taken.answers.len()), (vec![second.name(2), second.name(3)], 0));
    drop(shared);
    assert_eq!(second_woken.read(&mut woken).unwrap(), 0, "once for both");
    assert_eq!(first_woken.read(&mut woken).unwrap(), 0, "it was there");
}

#[test]
fn the_machines_time_never_goes_back() {
    let shared = Shared::new(StandIn::default(), 2);
    let (first, second) = (join(&shared).0, join(&shared).0);

    exchange(&shared, first, 100, Given::default());
    // Read before the other had the lock.
    let taken = exchange(&shared, second, 90, Given::default());
    // The stand-in's deadline is a second after its time.
    assert_eq!(taken.deadline_us, Some(1_000_100));
    let taken = exchange(&shared, second, 110, Given::default());
    assert_eq!(taken.deadline_us, Some(1_000_110));
}

#[test]
fn all_are_woken_and_told_when_a_shutdown_is_complete() {
    let shared = Shared::new(StandIn::default(), 2);
    let ((first, _), (second, mut second_woken)) = (join(&shared), join(&shared));
    exchange(&shared, first, 1, trim(first, 1));
    shared.begin_shutdown();
    assert!(!exchange(&shared, second, 2, Given::default()).is_shut_down);

    assert!(exchange(&shared, first, 3, drain(first)).is_shut_down);

    second_woken.read_exact(&mut [0; 8]).unwrap();
    assert!(exchange(&shared, second, 4, Given::default()).is_shut_down);
}

#[test]
fn no_more_than_half_of_the_processors_are_looked_from() {
    for (processors, most) in [(1, 0), (2, 1), (3, 1), (4, 2)] {
        let shared = Shared::new(StandIn::default(), processors);

        let mut looking: Vec<_> = std::iter::from_fn(|| shared.begin_look()).take(9).collect();

        assert_eq!(looking.len(), most, "{processors} processors");
        if looking.pop().is_some() {
            assert!(shared.begin_look().is_some(), "a place is given back");
        }
    }
}

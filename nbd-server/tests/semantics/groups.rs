//! Consistency groups (semantics 3.6, decisions D5, D19, D20), and what replaces them: many pairs at one moment.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use flashtrack_engine::admin::{Command, Profile, RefusalKind, Report, ThawReport};

use crate::asking::{
    copy, dataset, dataset_copy, nocopy, on_device, thaw, thaw_and_verify, withdraw_onto,
};
use crate::disk::Disk;
use crate::process::PATIENCE;
use crate::store::{BOTH, Store, TRACK, store_with, track_of};

/// A write that is not held is answered long before.
const HELD: Duration = Duration::from_millis(150);

/// A store with sources and targets of two tracks: `a1`, `a2`, `at1`, `at2` in control unit 0A and `b1`, `bt1` in 0B.
fn two_units(profile: Profile, options: &[&str]) -> Store {
    let store = store_with(profile, options);
    for (name, device) in [
        ("a1", 0x0A00),
        ("a2", 0x0A01),
        ("at1", 0x0A10),
        ("at2", 0x0A11),
        ("b1", 0x0B00),
        ("bt1", 0x0B10),
    ] {
        store.ask(&on_device(name, 2 * TRACK as u64, device));
        store.write(name, 0, "AA");
    }
    store
}

/// A write of one track that is on its way.
struct Write(Receiver<Result<(), u32>>);

impl Write {
    fn to(store: &Store, volume: &str, letter: u8) -> Self {
        Self::by(store, volume, move |disk| disk.write(0, &track_of(letter)))
    }

    fn by(
        store: &Store,
        volume: &str,
        request: impl FnOnce(&mut Disk) -> Result<(), u32> + Send + 'static,
    ) -> Self {
        let mut disk = store.disk(volume);
        let (sender, receiver) = channel();
        thread::spawn(move || {
            // Nobody hears it when the test has failed already.
            let _ = sender.send(request(&mut disk));
        });
        Self(receiver)
    }

    #[track_caller]
    fn is_held(&self) {
        let answer = self.0.recv_timeout(HELD);
        assert_eq!(answer, Err(RecvTimeoutError::Timeout), "it is not held");
    }

    #[track_caller]
    fn is_answered(&self) {
        assert_eq!(self.0.recv_timeout(PATIENCE), Ok(Ok(())));
    }
}

#[track_caller]
fn thawed(store: &Store, command: &Command) -> ThawReport {
    match store.ask(command) {
        Report::Thawed(report) => report,
        other => panic!("no report of a thaw: {other:?}"),
    }
}

#[test]
fn g_01_a_freeze_holds_writes_of_the_source_answers_reads_and_ends_with_a_thaw() {
    for profile in BOTH {
        let store = two_units(profile, &[]);
        store.establish(nocopy("a1", "at1").freeze());
        assert!(store.shown_volume("a1").frozen_seconds_left.is_some_and(|left| left <= 120));
        assert_eq!(store.shown_volume("a2").frozen_seconds_left, None);
        let held = Write::to(&store, "a1", b'B');
        held.is_held();
        store.expect("a1", "AA");
        store.write("a2", 0, "C");
        store.write("at1", 1, "T");
        store.expect("at1", "AT");

        let report = thawed(&store, &thaw(0x0A));

        assert_eq!((report.volumes, report.consistent), (vec!["a1".to_owned()], None));
        held.is_answered();
        assert_eq!(store.shown_volume("a1").frozen_seconds_left, None);
        store.expect("a1", "BA");
        store.expect("at1", "AT");
    }
}

#[test]
fn g_02_every_kind_of_write_is_held() {
    for profile in BOTH {
        let store = two_units(profile, &[]);
        store.establish(nocopy("a1", "at1").freeze());
        let held = [
            Write::by(&store, "a1", |disk| disk.write_zeroes(0, TRACK)),
            Write::by(&store, "a1", |disk| disk.trim(TRACK as u64, TRACK)),
        ];
        held.iter().for_each(Write::is_held);
        store.expect("a1", "AA");
        thawed(&store, &thaw(0x0A));
        held.iter().for_each(Write::is_answered);
        assert_eq!(store.read("a1", 0..1), ".");
        store.expect("at1", "AA");
    }
}

#[test]
fn g_03_a_thaw_frees_every_frozen_volume_of_its_control_unit_and_no_other() {
    for profile in BOTH {
        let store = two_units(profile, &[]);
        store.establish(nocopy("a1", "at1").freeze());
        store.establish(nocopy("a2", "at2").freeze());
        store.establish(nocopy("b1", "bt1").freeze());
        let writes = ["a1", "a2", "b1"].map(|source| Write::to(&store, source, b'B'));
        writes.iter().for_each(Write::is_held);

        let mut report = thawed(&store, &thaw_and_verify(0x0A, "a1"));

        report.volumes.sort();
        assert_eq!(report.volumes, ["a1", "a2"]);
        assert_eq!(report.consistent, Some(true));
        writes[0].is_answered();
        writes[1].is_answered();
        writes[2].is_held();
        thawed(&store, &thaw(0x0B));
        writes[2].is_answered();
        for target in ["at1", "at2", "bt1"] {
            store.expect(target, "AA");
        }
        // Where nothing is frozen a thaw is accepted and does nothing.
        let none = ThawReport { volumes: vec![], consistent: None };
        assert_eq!(thawed(&store, &thaw(0x0A)), none);
    }
}

#[test]
fn g_04_the_timer_lets_writes_go_on_by_itself_and_the_verification_tells() {
    for profile in BOTH {
        let store = two_units(profile, &["--freeze-timeout", "1"]);
        store.establish(nocopy("a1", "at1").freeze());
        let frozen = Instant::now();
        let held = Write::to(&store, "a1", b'B');
        held.is_held();
        held.is_answered();
        let took = frozen.elapsed();
        assert!(took >= Duration::from_millis(900), "let go after {took:?}");
        let report = thawed(&store, &thaw_and_verify(0x0A, "a1"));
        assert_eq!((report.volumes, report.consistent), (vec![], Some(false)));
        store.expect("at1", "AA");
    }
}

#[test]
fn g_05_a_later_freeze_in_the_unit_does_not_extend_its_timer() {
    for profile in BOTH {
        let store = two_units(profile, &["--freeze-timeout", "2"]);
        store.establish(nocopy("a1", "at1").freeze());
        let first = Instant::now();
        let early = Write::to(&store, "a1", b'B');
        thread::sleep(Duration::from_secs(1));
        store.establish(nocopy("a2", "at2").freeze());
        let late = Write::to(&store, "a2", b'B');
        early.is_answered();
        late.is_answered();
        let took = first.elapsed();
        assert!(took < Duration::from_millis(2900), "the second was held until {took:?}");
        // After the expiry a freeze begins a new period (D19).
        store.withdraw(withdraw_onto("at1"));
        store.establish(nocopy("a1", "at1").freeze());
        Write::to(&store, "a1", b'C').is_held();
    }
}

#[test]
fn g_06_many_pairs_of_one_command_have_one_moment_without_a_freeze() {
    for profile in BOTH {
        let store = two_units(profile, &[]);
        let stop = AtomicBool::new(false);
        let (mut first, mut second) = (store.disk("a1"), store.disk("b1"));
        thread::scope(|scope| {
            let _stop = StopWhenDropped(&stop);
            scope.spawn(|| {
                // Each write depends on the one before: the second volume never runs ahead of the first.
                let number = |count: u32| [count.to_be_bytes(); 128].concat();
                for count in (1..u32::MAX).take_while(|_| !stop.load(Ordering::Relaxed)) {
                    first.write(0, &number(count)).expect("it is written");
                    second.write(0, &number(count)).expect("it is written");
                }
            });
            for _ in 0..50 {
                store.establish_all(nocopy("a1", "at1").and("b1", "bt1"));
                let count = |target: &str| {
                    let block = store.disk(target).read(0, 512).expect("it is read");
                    u32::from_be_bytes(block[..4].try_into().expect("four bytes"))
                };
                let (ahead, behind) = (count("at1"), count("bt1"));
                let before = u32::from_be_bytes(*b"AAAA");
                if behind != before {
                    assert!(ahead == behind || ahead == behind + 1, "{ahead} and {behind}");
                }
                store.withdraw(withdraw_onto("at1"));
                store.withdraw(withdraw_onto("bt1"));
            }
        });
    }
}

/// Ends the writer, also when the test fails.
struct StopWhenDropped<'a>(&'a AtomicBool);

impl Drop for StopWhenDropped<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn g_07_of_many_pairs_all_are_established_or_none() {
    for profile in BOTH {
        let store = two_units(profile, &[]);
        store.volume("small", 1);
        let one_bad = copy("a1", "at1").and("a2", "at2").and("b1", "small").freeze().command();
        store.refused_as(RefusalKind::Size, &one_bad, &["`b1`", "`small`"]);
        store.write("a1", 0, "B");
        assert_eq!(store.live("a1"), []);
    }
}

#[test]
fn g_08_a_dataset_over_two_volumes_is_copied_at_one_moment_or_not_at_all() {
    for profile in BOTH {
        let store = two_units(profile, &[]);
        store.ask(&dataset("data", &[("a1", 0, 1), ("b1", 1, 1)]));
        let spec = dataset_copy("data", &["at1", "bt1"]);
        store.ask(&Command::DatasetCopy(spec.clone()));
        assert_eq!((store.extents("a1"), store.extents("b1")), (vec![(0, 1)], vec![(1, 1)]));
        store.write("a1", 0, "BB");
        store.write("b1", 0, "BB");
        store.write("at1", 1, "T");
        store.expect("at1", "AT");
        store.expect("bt1", "AA");

        store.withdraw(withdraw_onto("at1"));
        // The other target is still related: nothing is made on the first either.
        store.refused_as(RefusalKind::TargetRelated, &Command::DatasetCopy(spec), &["`bt1`"]);
        assert_eq!(store.live("at1"), []);
    }
}

#[test]
fn g_09_a_shutdown_does_not_wait_for_the_timer() {
    for profile in BOTH {
        let store = two_units(profile, &[]);
        let id = store.establish(nocopy("a1", "at1").freeze());
        let held = Write::to(&store, "a1", b'B');
        held.is_held();
        let asked = Instant::now();
        let store = store.restarted();
        assert!(asked.elapsed() < Duration::from_secs(30), "{:?}", asked.elapsed());
        held.is_answered();
        assert_eq!(store.shown_volume("a1").frozen_seconds_left, None);
        store.expect("a1", "BA");
        assert_eq!(store.show(id).ended, None);
        store.expect("at1", "AA");
    }
}

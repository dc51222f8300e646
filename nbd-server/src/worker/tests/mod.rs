//! The worker on a real ring, real files and socket pairs, with a stand-in for the engine.

mod client;
mod shared;
mod stand_in;

use std::future::Future;
use std::time::Duration;

use flashtrack_engine::admin::{Command, RefusalKind, Report, VolumeSpec};
use flashtrack_engine::geometry::VolumeType;
use flashtrack_engine::io::{CreateSpace, Object, Storage};
use flashtrack_engine::units::VolumeId;
use tempfile::TempDir;

use super::*;
use client::{Client, DISCONNECT, FLUSH, READ, TRIM, WRITE, WRITE_ZEROES};
use stand_in::{StandIn, VOLUME, VOLUME_BYTES};

/// Runs one future to its end.
fn wait<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn launch_with(options: WorkerOptions) -> (TempDir, WorkerHandle) {
    let dir = tempfile::tempdir().unwrap();
    let worker = launch(dir.path(), options, |storage, _now| {
        storage.create(Object::Home(VolumeId(1)), VOLUME_BYTES, CreateSpace::Sparse).unwrap();
        Ok(StandIn::default())
    });
    (dir, worker.unwrap())
}

fn worker() -> (TempDir, WorkerHandle) {
    launch_with(with_workers(2))
}

/// Options for so many workers.
fn with_workers(workers: usize) -> WorkerOptions {
    WorkerOptions { workers: NonZeroUsize::new(workers).unwrap(), ..WorkerOptions::default() }
}

/// Asks for snapshots until one is as wanted; that it becomes so is what is tested.
fn snapshot_until(mailbox: &Mailbox, wanted: impl Fn(&Snapshot) -> bool) -> Snapshot {
    for _ in 0..20_000 {
        let snapshot = wait(mailbox.snapshot()).unwrap();
        if wanted(&snapshot) {
            return snapshot;
        }
        std::thread::yield_now();
    }
    panic!("it never became so: {:?}", wait(mailbox.snapshot()));
}

/// Waits until the stand-in has got so many trims, which it keeps. A connection counts a request a little earlier.
fn trims_are_held(mailbox: &Mailbox, count: usize) {
    let wanted = format!(" {count} held,");
    for _ in 0..20_000 {
        let refused = wait(mailbox.command(Command::PoolList {})).unwrap().unwrap_err();
        if refused.message.contains(&wanted) {
            return;
        }
        std::thread::yield_now();
    }
    panic!("there never were {count} trims");
}

/// Bytes that differ from place to place.
fn pattern(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| at.to_le_bytes()[0] ^ at.to_le_bytes()[1]).collect()
}

#[test]
fn what_one_connection_writes_another_reads() {
    let (_dir, worker) = worker();
    let mut writer = Client::connect(&worker.mailbox);
    let mut reader = Client::connect(&worker.mailbox);

    for bytes in [1, 4096, 100_000, 5 << 20] {
        let data = pattern(bytes);
        writer.write(12_345, &data);
        assert!(reader.read(12_345, bytes) == data, "{bytes} bytes");
    }
}

#[test]
fn what_a_connection_of_one_worker_writes_those_of_others_read() {
    let (_dir, worker) = launch_with(with_workers(3));
    let mut clients: Vec<Client> = (0..7).map(|_| Client::connect(&worker.mailbox)).collect();

    for round in 0..200_u64 {
        let writer = usize::try_from(round % 7).unwrap();
        let data = pattern(4096 + writer);
        clients[writer].write(round * 17, &data);
        for client in &mut clients {
            assert!(client.read(round * 17, data.len()) == data, "round {round}");
        }
    }
    let now = wait(worker.mailbox.snapshot()).unwrap();
    assert_eq!((now.connections.len(), now.stats.volumes.len()), (7, 1));
    assert_eq!(now.stats.volumes[0].connections, 7);
    let mut volume = now.stats.volumes[0].clone();
    assert_eq!(volume.kind(RequestKind::Read).operations, 1400);
    let refused = wait(worker.mailbox.command(Command::PoolList {})).unwrap().unwrap_err();
    assert!(refused.message.starts_with("7 connections"), "{refused}");
}

#[test]
fn a_reply_that_a_turn_of_another_worker_brings_wakes_its_own() {
    let (_dir, worker) = launch_with(with_workers(3));
    let mut clients: Vec<Client> = (0..6).map(|_| Client::connect(&worker.mailbox)).collect();
    for round in 0..50_u64 {
        for (at, client) in clients.iter_mut().enumerate() {
            client.send(TRIM, round * 10 + at as u64, 0, 4096, &[]);
        }
        trims_are_held(&worker.mailbox, 6);

        // The worker that carries this out finds all six replies.
        wait(worker.mailbox.command(Command::StoreDrain {})).unwrap().unwrap();

        for (at, client) in clients.iter_mut().enumerate() {
            assert_eq!(client.reply(), (0, round * 10 + at as u64));
        }
    }
}

#[test]
fn a_shutdown_ends_all_workers_also_those_without_connections() {
    let (_dir, worker) = launch_with(with_workers(4));
    let mut client = Client::connect(&worker.mailbox);
    client.send(TRIM, 9, 0, 4096, &[]);
    trims_are_held(&worker.mailbox, 1);

    worker.mailbox.shut_down();

    wait(worker.mailbox.command(Command::StoreDrain {})).unwrap().unwrap();
    assert_eq!(client.reply(), (0, 9));
    assert!(client.is_closed());
    drop(client);
    wait(worker.ended()).unwrap();
}

#[test]
fn a_limit_of_connections_is_one_of_all_workers_together() {
    let options = WorkerOptions { connections_max: 5, ..with_workers(3) };
    let (_dir, worker) = launch_with(options);
    let mut served: Vec<Client> = (0..5).map(|_| Client::connect(&worker.mailbox)).collect();

    let mut sixth = Client::silent(&worker.mailbox);

    assert!(sixth.is_closed());
    drop(served.pop());
    snapshot_until(&worker.mailbox, |now| now.stats.connections == 4);
    Client::connect(&worker.mailbox).write(0, b"there is room again");
}

#[test]
fn long_writes_one_behind_the_other_keep_their_bytes() {
    let (_dir, worker) = worker();
    let mut client = Client::connect(&worker.mailbox);
    let data = pattern(131_072 * 9);
    let mut sender = Client { stream: client.stream.try_clone().unwrap() };
    let all = data.clone();

    let thread = std::thread::spawn(move || {
        for (index, chunk) in all.chunks(131_072).enumerate() {
            sender.send(WRITE, index as u64, index as u64 * 131_072, chunk.len(), chunk);
        }
    });
    let mut cookies: Vec<u64> = (0..9).map(|_| client.reply().1).collect();
    thread.join().unwrap();

    cookies.sort_unstable();
    assert_eq!(cookies, (0..9).collect::<Vec<u64>>());
    assert!(client.read(0, data.len()) == data);
}

#[test]
fn every_kind_of_request_is_answered_and_counted() {
    let (_dir, worker) = worker();
    let mut client = Client::connect(&worker.mailbox);
    client.write(0, &[7; 4096]);
    client.send(FLUSH, 3, 0, 0, &[]);
    assert_eq!(client.reply(), (0, 3));
    client.send(WRITE_ZEROES, 4, 0, 512, &[]);
    assert_eq!(client.reply(), (0, 4));
    assert_eq!(client.read(511, 2), [0, 7]);
    client.send(READ, 5, VOLUME_BYTES, 1, &[]);
    assert_ne!(client.reply().0, 0, "a read past the end is refused");

    let mut stats = wait(worker.mailbox.snapshot()).unwrap().stats;

    let volume = &mut stats.volumes[0];
    let mut counted = |kind| {
        let kind = volume.kind(kind);
        assert_eq!(kind.buckets.iter().sum::<u64>(), kind.operations);
        (kind.operations, kind.bytes, kind.errors)
    };
    assert_eq!(counted(RequestKind::Write), (1, 4096, 0));
    assert_eq!(counted(RequestKind::Read), (1, 2, 0));
    assert_eq!(counted(RequestKind::Flush), (1, 0, 0));
    assert_eq!(counted(RequestKind::WriteZeroes), (1, 512, 0));
    assert_eq!(counted(RequestKind::Trim), (0, 0, 0));
    assert_eq!(volume.connections, 1);
    assert!(stats.received_bytes > 4096 && stats.sent_bytes > 0, "{stats:?}");
}

#[test]
fn a_command_is_answered_and_a_refusal_comes_back() {
    let (_dir, worker) = worker();

    let done = wait(worker.mailbox.command(Command::StoreDrain {})).unwrap();
    let refused = wait(worker.mailbox.command(Command::PoolList {})).unwrap();

    assert!(matches!(done, Ok(Report::Done)), "{done:?}");
    assert!(refused.unwrap_err().message.starts_with("0 connections"));
}

#[test]
fn a_client_that_leaves_with_requests_in_flight_is_forgotten_when_they_have_ended() {
    let (_dir, worker) = worker();
    let mut leaving = Client::connect(&worker.mailbox);
    for cookie in 0..10 {
        leaving.send(TRIM, cookie, 0, 4096, &[]);
    }
    trims_are_held(&worker.mailbox, 10);

    drop(leaving);
    let mut staying = Client::connect(&worker.mailbox);
    staying.write(0, b"goes on");

    let now = wait(worker.mailbox.snapshot()).unwrap();
    assert_eq!(now.stats.connections, 2, "its requests are in the engine");
    wait(worker.mailbox.command(Command::StoreDrain {})).unwrap().unwrap();
    let now = snapshot_until(&worker.mailbox, |now| now.stats.connections == 1);
    assert_eq!(now.stats.volumes[0].connections, 1);
}

#[test]
fn requests_before_a_disconnect_are_answered_and_then_the_server_closes() {
    let (_dir, worker) = worker();
    let mut client = Client::connect(&worker.mailbox);

    client.send(WRITE, 1, 0, 3, b"abc");
    client.send(READ, 2, 4096, 2, &[]);
    client.send(DISCONNECT, 3, 0, 0, &[]);

    let mut cookies = [client.reply().1, 0];
    if cookies[0] == 2 {
        client.receive(2);
    }
    cookies[1] = client.reply().1;
    if cookies[1] == 2 {
        client.receive(2);
    }
    cookies.sort_unstable();
    assert_eq!(cookies, [1, 2]);
    assert!(client.is_closed());
    drop(client);
    snapshot_until(&worker.mailbox, |now| now.stats.connections == 0);
}

#[test]
fn a_handshake_that_takes_too_long_is_ended_and_others_are_served() {
    let options =
        WorkerOptions { handshake_time: Duration::from_millis(50), ..WorkerOptions::default() };
    let (_dir, worker) = launch_with(options);
    let mut served = Client::connect(&worker.mailbox);
    let mut silent = Client::silent(&worker.mailbox);
    silent.receive(18);

    assert!(silent.is_closed());

    served.write(0, b"still here");
}

#[test]
fn silent_clients_do_not_keep_others_out() {
    let options = WorkerOptions { handshakes_max: 3, ..WorkerOptions::default() };
    let (_dir, worker) = launch_with(options);
    let mut silent: Vec<Client> = (0..3).map(|_| Client::silent(&worker.mailbox)).collect();

    let mut served = Client::connect(&worker.mailbox);

    served.write(0, b"served");
    let mut greeting = Vec::new();
    std::io::Read::read_to_end(&mut silent[0].stream, &mut greeting).unwrap();
    assert!(greeting.len() <= 18, "the oldest made room");
    silent[2].shake_hands();
    silent[2].write(0, b"later");
}

#[test]
fn a_connection_above_the_limit_is_closed_and_counted() {
    let options = WorkerOptions { connections_max: 2, ..WorkerOptions::default() };
    let (_dir, worker) = launch_with(options);
    let first = Client::connect(&worker.mailbox);
    let mut second = Client::connect(&worker.mailbox);

    let mut third = Client::silent(&worker.mailbox);

    assert!(third.is_closed());
    assert_eq!(wait(worker.mailbox.snapshot()).unwrap().stats.connections_refused, 1);
    drop(first);
    snapshot_until(&worker.mailbox, |now| now.stats.connections == 1);
    Client::connect(&worker.mailbox).write(0, b"there is room again");
    second.write(0, b"undisturbed");
}

#[test]
fn a_client_that_does_not_read_its_replies_is_held_back_and_harms_nobody() {
    let options = WorkerOptions { held_bytes_max: 1 << 20, ..WorkerOptions::default() };
    let (_dir, worker) = launch_with(options);
    let mut greedy = Client::connect(&worker.mailbox);
    let mut other = Client::connect(&worker.mailbox);
    for cookie in 0..200 {
        greedy.send(READ, cookie, 0, 128 << 10, &[]);
    }

    other.write(0, b"served meanwhile");
    let greedy_report = |now: &Snapshot| now.connections[0].requests_in_flight;
    let now = wait(worker.mailbox.snapshot()).unwrap();
    assert!(greedy_report(&now) < 20, "{now:?}");

    for _ in 0..200 {
        assert_eq!(greedy.reply().0, 0);
        greedy.receive(128 << 10);
    }
}

#[test]
fn garbage_ends_its_connection_and_no_other() {
    let (_dir, worker) = worker();
    let mut garbled = Client::connect(&worker.mailbox);
    let mut other = Client::connect(&worker.mailbox);

    std::io::Write::write_all(&mut garbled.stream, &[0x55; 1000]).unwrap();

    assert!(garbled.is_closed());
    other.write(0, b"served");
}

#[test]
fn a_shutdown_answers_what_is_in_flight_and_ends_the_thread() {
    let (_dir, worker) = worker();
    let mut client = Client::connect(&worker.mailbox);
    let mut idle = Client::connect(&worker.mailbox);
    client.send(TRIM, 9, 0, 4096, &[]);
    trims_are_held(&worker.mailbox, 1);

    worker.mailbox.shut_down();

    assert!(idle.is_closed());
    drop(idle);
    wait(worker.mailbox.command(Command::StoreDrain {})).unwrap().unwrap();
    assert_eq!(client.reply(), (0, 9));
    assert!(client.is_closed());
    drop(client);
    let mailbox = worker.mailbox.clone();
    wait(worker.ended()).unwrap();
    assert_eq!(wait(mailbox.snapshot()).unwrap_err(), WorkerGone);
}

#[test]
fn a_second_worker_on_the_same_store_is_refused() {
    let (dir, worker) = worker();

    let second = launch(dir.path(), WorkerOptions::default(), |_, _| Ok(StandIn::default()));

    let Err(StartError::Store(OpenStoreError::InUse { pid, .. })) = second else {
        panic!("{second:?}");
    };
    assert_eq!(pid, Some(std::process::id()));
    drop(worker);
}

#[test]
fn the_real_engine_keeps_what_was_written_over_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let options = WorkerOptions { journal_bytes: 128 << 20, ..WorkerOptions::default() };
    let data = pattern(300_000);
    let first = start(dir.path(), options.clone()).unwrap();
    let volume = VolumeSpec {
        name: VOLUME.to_owned(),
        size_bytes: Some(VOLUME_BYTES),
        cylinders: None,
        volume_type: VolumeType::Fb,
        device: None,
        thin: None,
    };
    wait(first.mailbox.command(Command::VolumeCreate(volume))).unwrap().unwrap();
    let mut client = Client::connect(&first.mailbox);
    client.write(4095, &data);
    let delete = || Command::VolumeDelete { name: VOLUME.to_owned() };
    let refused = wait(first.mailbox.command(delete())).unwrap().unwrap_err();
    assert_eq!(refused.kind, RefusalKind::Busy, "it is connected: {refused}");
    drop(client);
    first.mailbox.shut_down();
    wait(first.ended()).unwrap();

    let second = start(dir.path(), options).unwrap();

    let mut client = Client::connect(&second.mailbox);
    assert!(client.read(4095, data.len()) == data);
    drop(client);
    snapshot_until(&second.mailbox, |now| now.stats.connections == 0);
    wait(second.mailbox.command(delete())).unwrap().unwrap();
}

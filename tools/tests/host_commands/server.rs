//! A whole server in the test's process, under a profile, with four small volumes and their data.

use std::io::{Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::thread::JoinHandle;

use flashtrack_engine::admin::{Command, Profile, Report, VolumeSpec};
use flashtrack_engine::geometry::VolumeType;
use flashtrack_engine::policy::Policy;
use flashtrack_nbd_server::control::{self, WorkerAdministrator};
use flashtrack_nbd_server::listen;
use flashtrack_nbd_server::unix_socket::{self, SocketName};
use flashtrack_nbd_server::worker::{self, Mailbox, WorkerOptions};
use nbd::client::{NbdClient, handshake};
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::UnixListener;
use tokio::sync::watch;

use super::fake::Run;

/// Bytes of a track of a 3390.
const TRACK_BYTES: u64 = 49_152;

/// A server with volumes SORCEV 0A00, TRGVOL 0A01, THIRD 0A02 and FOURTH 0B00, 20 cylinders each.
pub(crate) struct Server {
    directory: TempDir,
    mailbox: Mailbox,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
    _names: [SocketName; 2],
}

impl Server {
    pub(crate) fn start(profile: Profile) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let store = directory.path().join("store");
        std::fs::create_dir(&store).expect("a directory for the store");
        let policy = Policy { profile, ..Policy::default() };
        let options = WorkerOptions { journal_bytes: 64 << 20, policy, ..WorkerOptions::default() };
        let worker = worker::start(&store, options).expect("a store can be served here");
        let mailbox = worker.mailbox.clone();
        let admin = WorkerAdministrator::new(mailbox.clone());
        let bind =
            |name: &str| unix_socket::bind(&directory.path().join(name), 0o600).expect("a socket");
        let (nbd, control) = (bind("nbd"), bind("control"));
        let names = [nbd.name, control.name];
        let (stop, stopped) = watch::channel(false);
        let acceptor = mailbox.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                let nbd = UnixListener::from_std(nbd.listener).expect("a listener");
                let control = UnixListener::from_std(control.listener).expect("a listener");
                let accepting = listen::accept(nbd, acceptor, stopped.clone());
                tokio::join!(accepting, control::serve(control, admin, stopped));
                worker.ended().await.expect("an orderly end");
            });
        });
        let server = Self { directory, mailbox, stop, thread: Some(thread), _names: names };
        for (name, device) in
            [("SORCEV", 0x0A00), ("TRGVOL", 0x0A01), ("THIRD", 0x0A02), ("FOURTH", 0x0B00)]
        {
            server.command(Command::VolumeCreate(VolumeSpec {
                name: name.to_owned(),
                size_bytes: None,
                cylinders: Some(20),
                volume_type: VolumeType::M3390A,
                device: Some(device),
                thin: None,
            }));
        }
        server
    }

    /// A path beside the store.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Runs `flashtrack` with these words; `input` is its standard input.
    pub(crate) fn run(&self, words: &[&str], input: &str) -> Run {
        Run::of_flashtrack(&self.path("control"), words, input)
    }

    pub(crate) fn tso(&self, command: &str) -> Run {
        self.run(&["tso", command], "")
    }

    pub(crate) fn dss(&self, deck: &str) -> Run {
        let nbd = format!("unix:{}", self.path("nbd").display());
        self.run(&["dss", "-", "--nbd", &nbd], deck)
    }

    pub(crate) fn ickdsf(&self, deck: &str) -> Run {
        self.run(&["ickdsf", "-"], deck)
    }

    /// Has the server carry out what must succeed.
    pub(crate) fn command(&self, command: Command) -> Report {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let result = runtime.block_on(self.mailbox.command(command)).expect("the worker lives");
        result.expect("the command is not refused")
    }

    /// The relationships that live: source, target, first source and target track, number of tracks.
    pub(crate) fn relationships(&self) -> Vec<(String, String, u64, u64, u64)> {
        let mut rows: Vec<_> = self
            .copies()
            .iter()
            .map(|copy| {
                let text = |field: &str| copy[field].as_str().expect("a name").to_owned();
                let number = |field: &str| copy[field].as_u64().expect("a number");
                let tracks = (number("source_track"), number("target_track"), number("tracks"));
                (text("source"), text("target"), tracks.0, tracks.1, tracks.2)
            })
            .collect();
        rows.sort();
        rows
    }

    /// The reports of the relationships that live.
    pub(crate) fn copies(&self) -> Vec<Value> {
        let run = self.run(&["copy", "list", "--json"], "");
        let mut copies: Vec<Value> = serde_json::from_str(&run.stdout).expect("JSON");
        copies.retain(|copy| copy["ended"].is_null());
        copies
    }

    /// Waits until the background copies onto the volume are complete.
    pub(crate) fn wait_for(&self, target: &str) {
        self.run(&["copy", "wait", "--target", target, "--timeout", "60s"], "").ends(0, &[]);
    }

    /// Fills tracks with a byte.
    pub(crate) fn fill(&self, volume: &str, tracks: Range<u64>, byte: u8) {
        let data = vec![byte; usize::try_from(TRACK_BYTES).expect("it fits")];
        self.with_export(volume, |client| {
            for track in tracks {
                client.seek(SeekFrom::Start(track * TRACK_BYTES)).expect("it seeks");
                client.write_all(&data).expect("it is written");
            }
        });
    }

    /// The byte that a track is filled with.
    #[track_caller]
    pub(crate) fn byte(&self, volume: &str, track: u64) -> u8 {
        let mut data = vec![0; usize::try_from(TRACK_BYTES).expect("it fits")];
        self.with_export(volume, |client| {
            client.seek(SeekFrom::Start(track * TRACK_BYTES)).expect("it seeks");
            client.read_exact(&mut data).expect("it is read");
        });
        assert!(data.iter().all(|byte| *byte == data[0]), "track {track} of {volume} is mixed");
        data[0]
    }

    /// Connects, and waits until the server counts no connection any more.
    fn with_export(&self, volume: &str, what: impl FnOnce(&mut NbdClient<&mut UnixStream>)) {
        let mut stream = UnixStream::connect(self.path("nbd")).expect("the server listens");
        let export = handshake(&mut stream, volume.as_bytes()).expect("the export exists");
        what(&mut NbdClient::new(&mut stream, &export));
        drop(stream);
        let name = volume.to_owned();
        loop {
            match self.command(Command::VolumeShow { name: name.clone() }) {
                Report::Volumes(volumes) if volumes.iter().all(|one| one.connections == 0) => {
                    return;
                }
                _ => std::thread::yield_now(),
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        self.mailbox.shut_down();
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(std::thread::panicking() || matches!(ended, Some(Ok(()))), "the server panicked");
    }
}

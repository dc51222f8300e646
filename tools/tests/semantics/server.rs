//! A whole server in the test's process, with the host commands as its clients. Volumes are written and read in
//! letters, one a track, `.` for zeroes.

use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::net::UnixStream;
use std::process::{Command as Program, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use flashtrack_engine::admin::{Command, CopyReport, Profile, Report, VolumeReport, VolumeSpec};
use flashtrack_engine::geometry::VolumeType;
use flashtrack_nbd_server::control::{self, WorkerAdministrator};
use flashtrack_nbd_server::listen;
use flashtrack_nbd_server::unix_socket::{self, SocketName};
use flashtrack_nbd_server::worker::{self, Mailbox, WorkerOptions};
use nbd::client::{NbdClient, handshake};
use tempfile::TempDir;
use tokio::net::UnixListener;
use tokio::sync::watch;

const TRACK: usize = 65_536;
/// Background copies take less, or something hangs.
const PATIENCE: Duration = Duration::from_mins(1);

/// A server, ended when it is dropped.
pub(crate) struct Server {
    directory: TempDir,
    profile: Profile,
    mailbox: Mailbox,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
    _names: [SocketName; 2],
}

/// What a program ended with and said.
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) text: String,
}

impl Server {
    /// Serves a new store under a profile.
    pub(crate) fn start(profile: Profile) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let store = directory.path().join("store");
        std::fs::create_dir(&store).expect("a directory for the store");
        let mut options = WorkerOptions { journal_bytes: 64 << 20, ..WorkerOptions::default() };
        options.policy.profile = profile;
        let worker = worker::start(&store, options).expect("a store can be served here");
        let mailbox = worker.mailbox.clone();
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
                let administrator = WorkerAdministrator::new(acceptor.clone());
                let accepting = listen::accept(nbd, acceptor, stopped.clone());
                tokio::join!(accepting, control::serve(control, administrator, stopped));
                worker.ended().await.expect("an orderly end");
            });
        });
        Self { directory, profile, mailbox, stop, thread: Some(thread), _names: names }
    }

    /// The word of the profile, for messages.
    pub(crate) fn name(&self) -> &'static str {
        self.profile.name()
    }

    /// Makes a generic volume of as many tracks as there are letters, and writes them.
    pub(crate) fn volume(&self, name: &str, device: u16, letters: &str) {
        self.command(Command::VolumeCreate(VolumeSpec {
            name: name.to_owned(),
            size_bytes: Some((letters.len() * TRACK) as u64),
            cylinders: None,
            volume_type: VolumeType::Fb,
            device: Some(device),
            thin: None,
        }));
        self.write(name, 0, letters);
    }

    /// Writes tracks from the first one on.
    pub(crate) fn write(&self, volume: &str, first: usize, letters: &str) {
        let mut stream = self.connect();
        let export = handshake(&mut stream, volume.as_bytes()).expect("the export exists");
        let mut client = NbdClient::new(stream, &export);
        client.seek(SeekFrom::Start((first * TRACK) as u64)).expect("it seeks");
        for letter in letters.bytes() {
            client.write_all(&vec![letter; TRACK]).expect("it is written");
        }
    }

    /// The letters of a volume; `?` for a track that is not the same all over.
    pub(crate) fn read(&self, volume: &str) -> String {
        let mut stream = self.connect();
        let export = handshake(&mut stream, volume.as_bytes()).expect("the export exists");
        let tracks = usize::try_from(export.size).expect("a small volume") / TRACK;
        let mut client = NbdClient::new(stream, &export);
        let mut track = vec![0; TRACK];
        let letter = |_| {
            client.read_exact(&mut track).expect("it is read");
            let same = track.iter().all(|&byte| byte == track[0]);
            match track[0] {
                _ if !same => '?',
                0 => '.',
                byte => char::from(byte),
            }
        };
        (0..tracks).map(letter).collect()
    }

    fn connect(&self) -> UnixStream {
        UnixStream::connect(self.directory.path().join("nbd")).expect("the server listens")
    }

    /// Runs `flashtrack` with some words and a text on standard input.
    fn run(&self, words: &[&str], input: &str) -> Said {
        let mut child = Program::new(env!("CARGO_BIN_EXE_flashtrack"))
            .arg("--control")
            .arg(self.directory.path().join("control"))
            .args(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary runs");
        let mut stdin = child.stdin.take().expect("standard input is a pipe");
        stdin.write_all(input.as_bytes()).expect("the input is taken");
        drop(stdin);
        let output = child.wait_with_output().expect("it ends");
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text).into_owned();
        Said { code: output.status.code().expect("it is not killed"), text }
    }

    pub(crate) fn tso(&self, command: &str) -> Said {
        self.run(&["tso", command], "")
    }

    pub(crate) fn dss(&self, deck: &str) -> Said {
        self.run(&["dss", "-"], deck)
    }

    pub(crate) fn ickdsf(&self, deck: &str) -> Said {
        self.run(&["ickdsf", "-"], deck)
    }

    /// Has a command of the control API carried out.
    pub(crate) fn command(&self, command: Command) -> Report {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let result = runtime.block_on(self.mailbox.command(command)).expect("the worker lives");
        result.expect("the command is not refused")
    }

    /// Live relationships as (source, first track there, target, first track there, tracks), in order.
    pub(crate) fn extents(&self) -> Vec<(String, u32, String, u32, u32)> {
        let extent = |copy: CopyReport| {
            (copy.source, copy.source_track, copy.target, copy.target_track, copy.tracks)
        };
        let mut extents: Vec<_> = self.live().into_iter().map(extent).collect();
        extents.sort_unstable();
        extents
    }

    /// Live relationships.
    pub(crate) fn live(&self) -> Vec<CopyReport> {
        match self.command(Command::CopyList { volume: None }) {
            Report::Copies(copies) => copies,
            other => panic!("no relationships: {other:?}"),
        }
    }

    /// The report of a volume.
    pub(crate) fn shown(&self, name: &str) -> VolumeReport {
        match self.command(Command::VolumeShow { name: name.to_owned() }) {
            Report::Volumes(mut volumes) => volumes.remove(0),
            other => panic!("no volume: {other:?}"),
        }
    }

    /// Waits until no relationship is left.
    pub(crate) fn until_simplex(&self) {
        let began = Instant::now();
        while !self.live().is_empty() {
            assert!(began.elapsed() < PATIENCE, "under {}, {:?}", self.name(), self.live());
            std::thread::sleep(Duration::from_millis(2));
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

impl Said {
    /// It ended with that code and said these words.
    #[track_caller]
    pub(crate) fn ends(&self, code: i32, words: &[&str]) {
        assert_eq!(self.code, code, "{}", self.text);
        for word in words {
            assert!(self.text.contains(word), "no {word:?} in:\n{}", self.text);
        }
    }
}

//! A whole server in the test's process: worker, NBD and control API on Unix sockets, on a store of its own.
//!
//! What its relationships say of changes can be replaced, so that dumps since an earlier one can be tested alone.

use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command as Process, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use flashtrack_engine::admin::{
    ChangesReport, Command, CopyMode, CopyReport, EstablishSpec, PairSpec, Refusal, Report,
    VolumeSpec,
};
use flashtrack_engine::geometry::VolumeType;
use flashtrack_nbd_server::control::{self, Administrator, WorkerAdministrator};
use flashtrack_nbd_server::listen;
use flashtrack_nbd_server::unix_socket::{self, SocketName};
use flashtrack_nbd_server::worker::{self, Mailbox, WorkerOptions};
use nbd::client::{NbdClient, handshake};
use tempfile::TempDir;
use tokio::net::UnixListener;
use tokio::sync::watch;

/// What is made of the worker's report of changes.
pub(crate) type Changes = Box<dyn FnMut(ChangesReport, u32) -> ChangesReport + Send>;

#[derive(Clone)]
struct Admin {
    worker: WorkerAdministrator,
    changes: Arc<Mutex<Option<Changes>>>,
}

impl Administrator for Admin {
    async fn command(&self, command: Command) -> Result<Report, Refusal> {
        let from = match &command {
            Command::CopyChanges { from_track, .. } => *from_track,
            _ => 0,
        };
        let report = self.worker.command(command).await?;
        Ok(match (report, &mut *self.changes.lock().expect("no test panics with it")) {
            (Report::Changes(report), Some(change)) => Report::Changes(change(report, from)),
            (report, _) => report,
        })
    }
}

/// A server, ended when it is dropped.
pub(crate) struct Server {
    directory: TempDir,
    mailbox: Mailbox,
    stop: watch::Sender<bool>,
    changes: Arc<Mutex<Option<Changes>>>,
    thread: Option<JoinHandle<()>>,
    _names: [SocketName; 2],
}

impl Server {
    pub(crate) fn start() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let store = directory.path().join("store");
        std::fs::create_dir(&store).expect("a directory for the store");
        let options = WorkerOptions { journal_bytes: 64 << 20, ..WorkerOptions::default() };
        let worker = worker::start(&store, options).expect("a store can be served here");
        let mailbox = worker.mailbox.clone();
        let changes: Arc<Mutex<Option<Changes>>> = Arc::default();
        let admin = Admin {
            worker: WorkerAdministrator::new(mailbox.clone()),
            changes: Arc::clone(&changes),
        };
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
        Self { directory, mailbox, stop, changes, thread: Some(thread), _names: names }
    }

    /// A path beside the store.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn text(&self, name: &str) -> String {
        self.path(name).to_str().expect("text").to_owned()
    }

    /// Has the server tell other changes.
    pub(crate) fn tell_changes(
        &self,
        change: impl FnMut(ChangesReport, u32) -> ChangesReport + Send + 'static,
    ) {
        *self.changes.lock().expect("no test panics with it") = Some(Box::new(change));
    }

    /// The binary, with this server's sockets.
    pub(crate) fn process(&self, words: &[&str]) -> Process {
        let mut process = Process::new(env!("CARGO_BIN_EXE_flashtrack"));
        process
            .arg("--control")
            .arg(self.path("control"))
            .args(words)
            .env("FLASHTRACK_NBD", format!("unix:{}", self.text("nbd")))
            .stdin(Stdio::null());
        process
    }

    pub(crate) fn run(&self, words: &[&str]) -> Output {
        self.process(words).output().expect("the binary runs")
    }

    /// Runs what must succeed; its JSON.
    pub(crate) fn done(&self, words: &[&str]) -> serde_json::Value {
        let output = self.run(&[words, &["--json"]].concat());
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{words:?}: {error}");
        serde_json::from_slice(&output.stdout).expect("JSON")
    }

    /// Runs what must fail with exit code 1; its JSON.
    pub(crate) fn refused(&self, words: &[&str]) -> serde_json::Value {
        let output = self.run(&[words, &["--json"]].concat());
        assert_eq!(output.status.code(), Some(1), "{words:?} was done");
        serde_json::from_slice(&output.stderr).expect("JSON")
    }

    fn command(&self, command: Command) -> Report {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let result = runtime.block_on(self.mailbox.command(command)).expect("the worker lives");
        result.expect("the command is not refused")
    }

    pub(crate) fn volume(&self, name: &str, size_bytes: u64) {
        self.command(Command::VolumeCreate(VolumeSpec {
            name: name.to_owned(),
            size_bytes: Some(size_bytes),
            cylinders: None,
            volume_type: VolumeType::Fb,
            device: None,
            thin: None,
        }));
    }

    /// A copy that does not end by itself.
    pub(crate) fn copy(&self, source: &str, target: &str) -> CopyReport {
        let (source, target) = (source.to_owned(), target.to_owned());
        let pairs = vec![PairSpec { source, target, extents: vec![] }];
        let spec = EstablishSpec { pairs, mode: CopyMode::Nocopy, ..EstablishSpec::default() };
        match self.command(Command::CopyEstablish(spec)) {
            Report::Copies(copies) => copies.into_iter().next().expect("one pair, one copy"),
            other => panic!("no copy: {other:?}"),
        }
    }

    pub(crate) fn write(&self, volume: &str, offset: u64, bytes: &[u8]) {
        self.with_export(volume, |client| {
            client.seek(SeekFrom::Start(offset)).expect("it seeks");
            client.write_all(bytes).expect("it is written");
        });
    }

    pub(crate) fn content(&self, volume: &str, bytes: usize) -> Vec<u8> {
        let mut content = vec![0; bytes];
        self.with_export(volume, |client| {
            for (at, part) in content.chunks_mut(1 << 20).enumerate() {
                client.seek(SeekFrom::Start((at as u64) << 20)).expect("it seeks");
                client.read_exact(part).expect("it is read");
            }
        });
        content
    }

    fn with_export(&self, volume: &str, what: impl FnOnce(&mut NbdClient<&mut UnixStream>)) {
        let mut stream = UnixStream::connect(self.path("nbd")).expect("the server listens");
        let export = handshake(&mut stream, volume.as_bytes()).expect("the export exists");
        what(&mut NbdClient::new(&mut stream, &export));
        drop(stream);
        // The server has noticed when it counts no connection any more.
        loop {
            let name = volume.to_owned();
            match self.command(Command::VolumeShow { name }) {
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

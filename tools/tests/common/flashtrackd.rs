//! A whole server in the test's process: worker, NBD and control API on Unix sockets, on a store of its own.

use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::thread::JoinHandle;

use flashtrack_engine::admin::{Command, Profile, Report};
use flashtrack_nbd_server::control::{self, Administrator, WorkerAdministrator};
use flashtrack_nbd_server::listen;
use flashtrack_nbd_server::unix_socket::{self, SocketName};
use flashtrack_nbd_server::worker::{self, Mailbox, WorkerOptions};
use nbd::client::{NbdClient, handshake};
use tempfile::TempDir;
use tokio::net::UnixListener;
use tokio::sync::watch;

/// A server, ended when it is dropped. Its sockets are `nbd` and `control` beside the store.
pub(crate) struct Flashtrackd {
    directory: TempDir,
    mailbox: Mailbox,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
    _names: [SocketName; 2],
}

impl Flashtrackd {
    /// Serves a new store under a profile. `administrator` makes of the worker's administrator what answers the
    /// control API.
    pub(crate) fn start<A: Administrator>(
        profile: Profile,
        administrator: impl FnOnce(WorkerAdministrator) -> A,
    ) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let store = directory.path().join("store");
        std::fs::create_dir(&store).expect("a directory for the store");
        let mut options = WorkerOptions {
            workers: std::num::NonZeroUsize::new(2).expect("not zero"),
            journal_bytes: 64 << 20,
            ..WorkerOptions::default()
        };
        options.policy.profile = profile;
        let worker = worker::start(&store, options).expect("a store can be served here");
        let mailbox = worker.mailbox.clone();
        let administrator = administrator(WorkerAdministrator::new(mailbox.clone()));
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
                tokio::join!(accepting, control::serve(control, administrator, stopped));
                worker.ended().await.expect("an orderly end");
            });
        });
        Self { directory, mailbox, stop, thread: Some(thread), _names: names }
    }

    /// A path beside the store.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Has the worker carry out what must succeed.
    pub(crate) fn command(&self, command: Command) -> Report {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let result = runtime.block_on(self.mailbox.command(command)).expect("the worker lives");
        result.expect("the command is not refused")
    }

    /// Connects to the export of a volume, and waits until the server counts no connection any more.
    pub(crate) fn with_export(
        &self,
        volume: &str,
        what: impl FnOnce(&mut NbdClient<&mut UnixStream>),
    ) {
        let mut stream = UnixStream::connect(self.path("nbd")).expect("the server listens");
        let export = handshake(&mut stream, volume.as_bytes()).expect("the export exists");
        what(&mut NbdClient::new(&mut stream, &export));
        drop(stream);
        let connected = || match self.command(Command::VolumeShow { name: volume.to_owned() }) {
            Report::Volumes(volumes) => volumes.iter().any(|one| one.connections > 0),
            other => panic!("no volume: {other:?}"),
        };
        while connected() {
            std::thread::yield_now();
        }
    }
}

impl Drop for Flashtrackd {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        self.mailbox.shut_down();
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(std::thread::panicking() || matches!(ended, Some(Ok(()))), "the server panicked");
    }
}

//! A server whose relationships can be made to tell other changes, so that dumps since an earlier one can be tested
//! alone; and the binary beside it, with its sockets.

use std::io::{Read, Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::process::{Command as Process, Output};
use std::sync::{Arc, Mutex};

use flashtrack_engine::admin::{
    ChangesReport, Command, CopyMode, CopyReport, EstablishSpec, PairSpec, Profile, Refusal,
    Report, VolumeSpec,
};
use flashtrack_engine::geometry::VolumeType;
use flashtrack_nbd_server::control::{Administrator, WorkerAdministrator};

use crate::flashtrackd::Flashtrackd;
use crate::program::flashtrack_at;

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

/// The server and what it tells of changes.
pub(crate) struct Server {
    flashtrackd: Flashtrackd,
    changes: Arc<Mutex<Option<Changes>>>,
}

impl Server {
    pub(crate) fn start() -> Self {
        let changes: Arc<Mutex<Option<Changes>>> = Arc::default();
        let administrator = |worker| Admin { worker, changes: Arc::clone(&changes) };
        let flashtrackd = Flashtrackd::start(Profile::default(), administrator);
        Self { flashtrackd, changes }
    }

    /// A path beside the store.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.flashtrackd.path(name)
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
        let mut process = flashtrack_at(&self.path("control"));
        process.args(words).env("FLASHTRACK_NBD", format!("unix:{}", self.text("nbd")));
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

    pub(crate) fn volume(&self, name: &str, size_bytes: u64) {
        self.flashtrackd.command(Command::VolumeCreate(VolumeSpec {
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
        match self.flashtrackd.command(Command::CopyEstablish(spec)) {
            Report::Copies(copies) => copies.into_iter().next().expect("one pair, one copy"),
            other => panic!("no copy: {other:?}"),
        }
    }

    pub(crate) fn write(&self, volume: &str, offset: u64, bytes: &[u8]) {
        self.flashtrackd.with_export(volume, |client| {
            client.seek(SeekFrom::Start(offset)).expect("it seeks");
            client.write_all(bytes).expect("it is written");
        });
    }

    pub(crate) fn content(&self, volume: &str, bytes: usize) -> Vec<u8> {
        let mut content = vec![0; bytes];
        self.flashtrackd.with_export(volume, |client| {
            for (at, part) in content.chunks_mut(1 << 20).enumerate() {
                client.seek(SeekFrom::Start((at as u64) << 20)).expect("it seeks");
                client.read_exact(part).expect("it is read");
            }
        });
        content
    }
}

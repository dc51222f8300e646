//! The peers, each as its documentation would have it for speed, and the bare loop.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Folders, Process, sparse_file};
use crate::error::{BenchError, Outcome};
use crate::fio::{self, Target};

/// What a peer keeps its data in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A file, by system calls.
    File,
    /// Memory only: nothing survives it.
    Memory,
    /// A map of a file in memory, and nothing else: the floor that any server stands on.
    Floor,
}

/// A running peer.
#[derive(Debug)]
pub struct Peer {
    /// Name in the tables.
    pub name: &'static str,
    /// What it keeps its data in.
    pub kind: Kind,
    /// Its one export.
    pub target: Target,
    _process: Process,
}

/// Starts every peer, with an export of `bytes` bytes each, filled. `nbd_server` is that program.
///
/// # Errors
/// One of them does not start.
pub fn start_all(folders: &Folders, nbd_server: &Path, bytes: u64) -> Outcome<Vec<Peer>> {
    let with = Starter { folders, bytes };
    Ok(vec![
        with.bare_loop()?,
        with.nbdkit_file()?,
        with.nbdkit_memory()?,
        with.qemu_nbd()?,
        with.qemu_storage_daemon()?,
        with.nbd_server(nbd_server)?,
    ])
}

struct Starter<'a> {
    folders: &'a Folders,
    bytes: u64,
}

impl Starter<'_> {
    /// A loop of this program over a file that is mapped into memory.
    fn bare_loop(&self) -> Outcome<Peer> {
        let name = "bare loop";
        let program = std::env::current_exe().map_err(BenchError::file(Path::new("bench")))?;
        let mut command = Command::new(program);
        command.arg("bare-loop").arg("--file").arg(self.file("bare-loop")?);
        command.arg("--socket").arg(self.socket("bare-loop"));
        self.start(name, Kind::Floor, "bare-loop", command, None)
    }

    fn nbdkit_file(&self) -> Outcome<Peer> {
        let mut command = Command::new("nbdkit");
        command.args(["--foreground", "--unix"]).arg(self.socket("nbdkit-file")).arg("file");
        command.arg(format!("file={}", self.file("nbdkit-file")?.display()));
        self.start("nbdkit file", Kind::File, "nbdkit-file", command, None)
    }

    fn nbdkit_memory(&self) -> Outcome<Peer> {
        let mut command = Command::new("nbdkit");
        command.args(["--foreground", "--unix"]).arg(self.socket("nbdkit-memory"));
        command.args(["memory", &format!("size={}", self.bytes), "allocator=malloc"]);
        self.start("nbdkit memory", Kind::Memory, "nbdkit-memory", command, None)
    }

    fn qemu_nbd(&self) -> Outcome<Peer> {
        let mut command = Command::new("qemu-nbd");
        command.args(["--persistent", "--shared=16", "--format=raw", "--export-name=disk"]);
        command.args(["--aio=io_uring", "--cache=writeback"]);
        command.arg("--socket").arg(self.socket("qemu-nbd")).arg(self.file("qemu-nbd")?);
        self.start("qemu-nbd", Kind::File, "qemu-nbd", command, None)
    }

    fn qemu_storage_daemon(&self) -> Outcome<Peer> {
        let short = "storage-daemon";
        let (file, socket) = (self.file(short)?, self.socket(short));
        let mut command = Command::new("qemu-storage-daemon");
        command.arg("--blockdev").arg(format!(
            "driver=file,node-name=disk,filename={},aio=io_uring,cache.direct=off",
            file.display()
        ));
        command.arg("--nbd-server").arg(format!("addr.type=unix,addr.path={}", socket.display()));
        command.arg("--export").arg("type=nbd,id=disk,node-name=disk,name=disk,writable=on");
        self.start("qemu-storage-daemon", Kind::File, short, command, None)
    }

    fn nbd_server(&self, program: &Path) -> Outcome<Peer> {
        let short = "nbd-server";
        let configuration = self.folders.files.join("nbd-server.conf");
        let pid = self.folders.files.join("nbd-server.pid");
        // It listens on TCP as well, and takes no 0 for any free port.
        let port = free_port().map_err(BenchError::file(Path::new("127.0.0.1:0")))?;
        let text = format!(
            "[generic]\nunixsock = {}\nlistenaddr = 127.0.0.1\nport = {port}\n\
             [disk]\nexportname = {}\nflush = true\n",
            self.socket(short).display(),
            self.file(short)?.display()
        );
        std::fs::write(&configuration, text).map_err(BenchError::file(&configuration))?;
        let mut command = Command::new(program);
        command.arg("-C").arg(configuration).arg("-p").arg(&pid);
        self.start("nbd-server", Kind::File, short, command, Some(pid))
    }

    fn socket(&self, short: &str) -> PathBuf {
        self.folders.sockets.join(format!("{short}.sock"))
    }

    fn file(&self, short: &str) -> Outcome<PathBuf> {
        let path = self.folders.files.join(format!("{short}.raw"));
        sparse_file(&path, self.bytes)?;
        Ok(path)
    }

    fn start(
        &self,
        name: &'static str,
        kind: Kind,
        short: &str,
        command: Command,
        daemon: Option<PathBuf>,
    ) -> Outcome<Peer> {
        let socket = self.socket(short);
        let log = self.folders.files.join(format!("{short}.log"));
        let uri = format!("nbd+unix:///disk?socket={}", socket.display());
        let process = Process::start(command, &log, daemon)?;
        let process = process.wait(name, &log, || socket.exists())?;
        let peer = Peer { name, kind, target: Target::Export(uri), _process: process };
        fio::fill(&peer.target, self.bytes)?;
        Ok(peer)
    }
}

fn free_port() -> std::io::Result<u16> {
    std::net::TcpListener::bind("127.0.0.1:0")?.local_addr().map(|address| address.port())
}

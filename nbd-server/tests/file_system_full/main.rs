//! A real file system runs full under the store: under a pool, a home, the journal, a checkpoint (rule O9).
//!
//! Each test has a small ext4 of its own on a loop device. That takes root; without it they say so and end.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::fs::{FallocateFlags, fallocate};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const ENOSPC: u32 = 28;
/// How long anything may take that is to happen by itself.
const PATIENCE: Duration = Duration::from_mins(1);

/// A small file system with a stranger's file that takes all its space, or none.
struct SmallFileSystem {
    directory: TempDir,
}

impl SmallFileSystem {
    /// None where this process may not mount one.
    fn mount(bytes: u64) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let image = directory.path().join("image");
        std::fs::File::create(&image).unwrap().set_len(bytes).unwrap();
        std::fs::create_dir(directory.path().join("mnt")).unwrap();
        let made = Self { directory };
        let steps = [
            Command::new("mkfs.ext4").args(["-q", "-m", "0"]).arg(&image).output(),
            Command::new("mount").args(["-o", "loop"]).arg(&image).arg(made.root()).output(),
        ];
        for step in steps {
            let problem = match step {
                Ok(output) if output.status.success() => continue,
                Ok(output) => String::from_utf8_lossy(&output.stderr).into_owned(),
                Err(error) => error.to_string(),
            };
            println!("not tested: no small file system can be mounted here: {problem}");
            return None;
        }
        Some(made)
    }

    fn root(&self) -> PathBuf {
        self.directory.path().join("mnt")
    }

    fn store(&self) -> PathBuf {
        self.root().join("store")
    }

    /// The stranger takes all that is left.
    fn fill(&self) {
        self.sync();
        let stranger = std::fs::File::create(self.root().join("stranger")).unwrap();
        let (mut end, mut bytes) = (0, 64 * MIB);
        while bytes >= 4 * KIB {
            match fallocate(&stranger, FallocateFlags::empty(), end, bytes) {
                Ok(()) => end += bytes,
                Err(_) => bytes /= 2,
            }
        }
        stranger.sync_all().unwrap();
    }

    /// The stranger goes.
    fn free(&self) {
        std::fs::remove_file(self.root().join("stranger")).unwrap();
        self.sync();
    }

    fn sync(&self) {
        rustix::fs::syncfs(std::fs::File::open(self.root()).unwrap()).unwrap();
    }
}

impl Drop for SmallFileSystem {
    fn drop(&mut self) {
        // Where mounting failed there is nothing to undo.
        let _ = Command::new("umount").arg(self.root()).stderr(Stdio::null()).status();
    }
}

/// A server on that file system; its sockets are elsewhere.
struct Server {
    process: Child,
    sockets: TempDir,
}

impl Server {
    fn start(store: &Path, journal: &str) -> Self {
        let sockets = tempfile::tempdir().unwrap();
        let mut process = Command::new(env!("CARGO_BIN_EXE_flashtrackd"))
            .arg("--store")
            .arg(store)
            .arg("--unix")
            .arg(sockets.path().join("nbd"))
            .arg("--control")
            .arg(sockets.path().join("control"))
            .args(["--journal-size", journal, "--listen", "none", "--metrics", "none"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let ready = lines.map_while(Result::ok).any(|line| line == "ready");
        assert!(ready, "the server ended before it was ready");
        Self { process, sockets }
    }

    /// Carries out a command; a refusal comes back as it is.
    fn command(&self, name: &str, arguments: Value) -> Value {
        let body = json!({ name: arguments }).to_string();
        let mut stream = UnixStream::connect(self.sockets.path().join("control")).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let head = "POST /v1/command HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: ";
        write!(stream, "{head}{}\r\n\r\n{body}", body.len()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
    }

    fn volume(&self, name: &str, bytes: u64, pool: Option<&str>) -> Export {
        let made =
            self.command("volume_create", json!({"name": name, "size_bytes": bytes, "thin": pool}));
        assert_eq!(made["volumes"][0]["name"], name, "{made}");
        self.export(name)
    }

    fn export(&self, name: &str) -> Export {
        Export::open(&self.sockets.path().join("nbd"), name)
    }

    fn pool(&self, bytes: u64) {
        let made = self.command("pool_create", json!({"name": "pool", "capacity_bytes": bytes}));
        assert_eq!(made["pools"][0]["name"], "pool", "{made}");
    }

    /// Establishes a copy into a thin target, or into a full one in that mode.
    fn establish(&self, source: &str, target: &str, full: Option<&str>) {
        let pairs = json!([{"source": source, "target": target}]);
        let mode = full.unwrap_or("nocopy");
        let wish = json!({"pairs": pairs, "mode": mode, "space_efficient": full.is_none()});
        let made = self.command("copy_establish", wish);
        assert_eq!(made["copies"][0]["target"], target, "{made}");
    }

    fn state_of_copy(&self, target: &str) -> Value {
        self.command("copy_show", json!({"target": target}))["copies"][0]["state"].take()
    }

    fn drain(&self) {
        assert_eq!(self.command("store_drain", json!({})), json!("done"));
    }

    fn store(&self) -> Value {
        let store = self.command("store_status", json!({}))["store"].take();
        assert_eq!(store["fail_stop"], Value::Null);
        store
    }

    fn kill(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    fn terminate(mut self) {
        kill_process(Pid::from_child(&self.process), Signal::TERM).unwrap();
        let ended = eventually(|| self.process.try_wait().unwrap());
        assert_eq!(ended.code(), Some(0));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It has ended already in most tests.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What `look` finds, as soon as it finds something.
fn eventually<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < PATIENCE, "it did not happen");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A client of one export; its requests are sent at once and answered in any order.
struct Export {
    stream: UnixStream,
}

/// The error of a reply.
#[derive(Debug, PartialEq, Eq)]
struct Refused(u32);

impl Export {
    fn open(socket: &Path, name: &str) -> Self {
        let mut stream = UnixStream::connect(socket).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut greeting = [0; 18];
        stream.read_exact(&mut greeting).unwrap();
        let mut hello = 3_u32.to_be_bytes().to_vec();
        hello.extend(b"IHAVEOPT");
        hello.extend(1_u32.to_be_bytes());
        hello.extend(u32::try_from(name.len()).unwrap().to_be_bytes());
        hello.extend(name.as_bytes());
        stream.write_all(&hello).unwrap();
        stream.read_exact(&mut [0; 10]).unwrap();
        Self { stream }
    }

    fn send(&mut self, kind: u16, offset: u64, bytes: u64, data: &[u8]) {
        let mut request = 0x2560_9513_u32.to_be_bytes().to_vec();
        request.extend([0, 0]);
        request.extend(kind.to_be_bytes());
        request.extend(offset.to_be_bytes());
        request.extend(offset.to_be_bytes());
        request.extend(u32::try_from(bytes).unwrap().to_be_bytes());
        request.extend(data);
        self.stream.write_all(&request).unwrap();
    }

    fn reply(&mut self) -> Result<(), Refused> {
        let mut reply = [0; 16];
        self.stream.read_exact(&mut reply).expect("a reply in time");
        match u32::from_be_bytes(reply[4..8].try_into().unwrap()) {
            0 => Ok(()),
            error => Err(Refused(error)),
        }
    }

    fn write(&mut self, offset: u64, data: &[u8]) -> Result<(), Refused> {
        self.send(1, offset, data.len() as u64, data);
        self.reply()
    }

    fn read(&mut self, offset: u64, bytes: u64) -> Result<Vec<u8>, Refused> {
        self.send(0, offset, bytes, &[]);
        self.reply()?;
        let mut data = vec![0; usize::try_from(bytes).unwrap()];
        self.stream.read_exact(&mut data).unwrap();
        Ok(data)
    }

    fn flush(&mut self) {
        self.send(3, 0, 0, &[]);
        self.reply().unwrap();
    }

    /// Writes content of a kind, a few requests at a time, and flushes it.
    fn fill(&mut self, kind: u8, range: std::ops::Range<u64>) {
        const STEP: u64 = 256 * KIB;
        let mut in_flight = 0;
        for offset in range.clone().step_by(usize::try_from(STEP).unwrap()) {
            let bytes = STEP.min(range.end - offset);
            self.send(1, offset, bytes, &content(kind, offset, bytes));
            in_flight += 1;
            if in_flight == 8 {
                self.reply().unwrap();
                in_flight -= 1;
            }
        }
        for _ in 0..in_flight {
            self.reply().unwrap();
        }
        self.flush();
    }

    fn holds(&mut self, kind: u8, range: std::ops::Range<u64>) {
        for offset in range.clone().step_by(usize::try_from(MIB).unwrap()) {
            let bytes = MIB.min(range.end - offset);
            let found = self.read(offset, bytes).unwrap();
            assert!(found == content(kind, offset, bytes), "no {kind} in the MiB from {offset}");
        }
    }

    /// Writes to one hole of 4 KiB after the other until one is refused; gives those that were taken.
    fn write_holes_until_refused(&mut self, kind: u8, from: u64) -> Vec<u64> {
        let mut taken = Vec::new();
        let mut next = from;
        eventually(|| match self.write(next, &content(kind, next, 4 * KIB)) {
            Ok(()) => {
                taken.push(next);
                next += 64 * KIB;
                None
            }
            Err(error) => {
                assert_eq!(error, Refused(ENOSPC));
                Some(())
            }
        });
        self.flush();
        taken
    }
}

/// Bytes that differ with kind and place.
fn content(kind: u8, offset: u64, bytes: u64) -> Vec<u8> {
    let words = (offset / 8..(offset + bytes) / 8).map(|word| word * 256 + u64::from(kind));
    words.flat_map(u64::to_le_bytes).collect()
}

#[test]
fn copies_whose_pool_cannot_grow_fail_and_their_source_goes_on() {
    let Some(fs) = SmallFileSystem::mount(256 * MIB) else { return };
    let server = Server::start(&fs.store(), "64M");
    server.pool(64 * MIB);
    let mut source = server.volume("source", 16 * MIB, None);
    let mut other = server.volume("other", 4 * MIB, None);
    let mut target = server.volume("target", 16 * MIB, Some("pool"));
    server.volume("innocent", 4 * MIB, Some("pool"));
    let mut thin = server.volume("thin", 4 * MIB, Some("pool"));
    source.fill(1, 0..16 * MIB);
    other.fill(1, 0..4 * MIB);
    thin.fill(1, 0..64 * KIB);
    server.drain();
    server.establish("source", "target", None);
    server.establish("other", "innocent", None);

    fs.fill();
    source.fill(2, 0..16 * MIB);

    eventually(|| (server.state_of_copy("target") == "failed").then_some(()));
    assert!(target.read(0, 4096).is_err(), "a failed target is read");
    server.drain();
    source.holds(2, 0..16 * MIB);
    source.fill(3, 0..16 * MIB);
    assert_eq!(server.state_of_copy("innocent"), "f-copy", "it needed no slot");
    let taken = thin.write_holes_until_refused(4, MIB);
    thin.fill(4, 0..64 * KIB);
    for &offset in &taken {
        thin.holds(4, offset..offset + 4 * KIB);
    }
    server.store();

    server.kill();
    fs.free();
    let server = Server::start(&fs.store(), "64M");
    server.drain();
    let (mut source, mut thin) = (server.export("source"), server.export("thin"));
    source.holds(3, 0..16 * MIB);
    thin.holds(4, 0..64 * KIB);
    for &offset in &taken {
        thin.holds(4, offset..offset + 4 * KIB);
    }
    server.export("innocent").holds(1, 0..4 * MIB);
    server.command("copy_withdraw", json!({"target": "target"}));
    server.establish("source", "target", None);
    source.fill(5, 0..4 * MIB);
    server.drain();
    server.export("target").holds(3, 0..16 * MIB);
}

#[test]
fn copies_whose_full_target_cannot_grow_fail_and_their_source_goes_on() {
    let Some(fs) = SmallFileSystem::mount(192 * MIB) else { return };
    let server = Server::start(&fs.store(), "64M");
    let mut sources: Vec<Export> = Vec::new();
    for mode in ["nocopy", "copy"] {
        sources.push(server.volume(&format!("source-{mode}"), 8 * MIB, None));
        server.volume(&format!("target-{mode}"), 8 * MIB, None);
    }
    for source in &mut sources {
        source.fill(1, 0..8 * MIB);
    }

    fs.fill();
    for (mode, source) in ["nocopy", "copy"].iter().zip(&mut sources) {
        let target = format!("target-{mode}");
        server.establish(&format!("source-{mode}"), &target, Some(mode));
        source.fill(2, 0..8 * MIB);
        server.drain();
        assert_eq!(server.state_of_copy(&target), "failed");
        source.fill(3, 0..4 * MIB);
    }
    server.store();

    server.kill();
    fs.free();
    let server = Server::start(&fs.store(), "64M");
    for mode in ["nocopy", "copy"] {
        let mut source = server.export(&format!("source-{mode}"));
        source.holds(3, 0..4 * MIB);
        source.holds(2, 4 * MIB..8 * MIB);
        assert!(server.export(&format!("target-{mode}")).read(0, 4096).is_err());
    }
}

/// How a server whose homes are full ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    SpaceFreed,
    Killed,
    Terminated,
}

#[test]
fn a_full_home_keeps_what_is_staged_until_there_is_space() {
    staged_into_holes(End::SpaceFreed);
}

#[test]
fn what_is_staged_for_a_full_home_survives_a_kill() {
    staged_into_holes(End::Killed);
}

#[test]
fn a_server_with_a_full_home_ends_in_order_and_keeps_what_is_staged() {
    staged_into_holes(End::Terminated);
}

fn staged_into_holes(end: End) {
    let Some(fs) = SmallFileSystem::mount(160 * MIB) else { return };
    let server = Server::start(&fs.store(), "64M");
    server.pool(64 * MIB);
    let mut source = server.volume("source", 64 * MIB, None);
    let mut plain = server.volume("plain", 4 * MIB, None);
    let mut sparse = server.volume("sparse", 4 * MIB, None);
    server.volume("target", 64 * MIB, Some("pool"));
    source.fill(1, 0..4 * MIB);
    plain.fill(1, 0..4 * MIB);
    server.establish("source", "target", None);

    fs.fill();
    let refused = sparse.write(0, &content(2, 0, MIB));
    assert_eq!(refused, Err(Refused(ENOSPC)));
    plain.fill(2, 0..4 * MIB);
    source.fill(2, 8 * MIB..9 * MIB);
    let taken = source.write_holes_until_refused(2, 16 * MIB);

    let over = eventually(|| source.write(8 * MIB, &content(2, 8 * MIB, 4 * KIB)).err());
    assert_eq!(over, Refused(ENOSPC), "it may never fit its home");
    assert_eq!(server.state_of_copy("target"), "failed");
    source.fill(3, 0..4 * MIB);
    plain.fill(3, 0..4 * MIB);
    source.holds(2, 8 * MIB..9 * MIB);
    assert_ne!(server.store()["staged_bytes"], 0);

    let server = match end {
        End::SpaceFreed => {
            fs.free();
            eventually(|| (server.store()["staged_bytes"] == 0).then_some(()));
            source.fill(4, 32 * MIB..33 * MIB);
            source.holds(4, 32 * MIB..33 * MIB);
            server
        }
        End::Killed | End::Terminated => {
            if end == End::Killed {
                server.kill();
            } else {
                server.terminate();
            }
            fs.free();
            Server::start(&fs.store(), "64M")
        }
    };
    server.drain();
    let mut source = server.export("source");
    source.holds(3, 0..4 * MIB);
    source.holds(2, 8 * MIB..9 * MIB);
    for &offset in &taken {
        source.holds(2, offset..offset + 4 * KIB);
    }
    server.export("plain").holds(3, 0..4 * MIB);
    server.export("sparse").fill(4, 0..MIB);
}

fn segments(fs: &SmallFileSystem) -> usize {
    std::fs::read_dir(fs.store().join("journal")).unwrap().count()
}

#[test]
fn a_journal_that_cannot_grow_goes_on_with_the_segments_it_has() {
    let Some(fs) = SmallFileSystem::mount(384 * MIB) else { return };
    let server = Server::start(&fs.store(), "256M");
    let mut source = server.volume("source", 96 * MIB, None);
    let mut target = server.volume("target", 96 * MIB, None);
    source.fill(1, 0..96 * MIB);
    target.fill(0, 0..96 * MIB);
    let before = eventually(|| Some(segments(&fs)).filter(|&count| count >= 4));
    server.establish("source", "target", Some("nocopy"));

    fs.fill();
    // More than these segments hold: they are filled, brought home and used again.
    source.fill(2, 0..96 * MIB);

    assert_eq!(segments(&fs), before);
    assert_eq!(server.state_of_copy("target"), "f-copy");
    source.holds(2, 0..96 * MIB);
    target.holds(1, 0..96 * MIB);
    assert_ne!(server.store()["counters"]["checkpoints"], 0);

    server.kill();
    fs.free();
    let server = Server::start(&fs.store(), "256M");
    server.export("source").holds(2, 0..96 * MIB);
    server.export("target").holds(1, 0..96 * MIB);
    server.export("source").fill(3, 0..4 * MIB);
    server.drain();
}

#[test]
fn a_checkpoint_that_cannot_grow_leaves_the_old_one_in_force() {
    let Some(fs) = SmallFileSystem::mount(160 * MIB) else { return };
    let server = Server::start(&fs.store(), "64M");
    let mut data = server.volume("data", 4 * MIB, None);
    data.fill(1, 0..4 * MIB);
    // More than the space that a new store's checkpoints have.
    let volumes = 1000;
    for number in 0..volumes {
        let name = format!("{number:063}");
        server.command("volume_create", json!({"name": name, "size_bytes": MIB}));
    }
    let lengths = || ["checkpoint-0", "checkpoint-1"].map(|name| length(&fs.store().join(name)));
    let before = lengths();

    fs.fill();
    server.terminate();
    assert_eq!(lengths(), before);
    // It opens without any space as well.
    let server = Server::start(&fs.store(), "64M");
    server.kill();

    fs.free();
    let server = Server::start(&fs.store(), "64M");
    let found = server.command("volume_list", json!({}));
    assert_eq!(found["volumes"].as_array().unwrap().len(), volumes + 1);
    server.export("data").holds(1, 0..4 * MIB);
    server.terminate();
    assert!(lengths() > before, "{before:?}, then {:?}", lengths());
}

fn length(path: &Path) -> u64 {
    path.metadata().unwrap().len()
}

//! A server that knows four volumes, answers questions about them, and keeps what it is told to do.

use std::collections::VecDeque;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::control_api::{self, answer_one, with};
use crate::run::Run;

/// What the server knows and was told.
pub(crate) struct World {
    pub(crate) profile: &'static str,
    pub(crate) volumes: Vec<Value>,
    pub(crate) datasets: Vec<Value>,
    /// Answers to `copy_list`, one after the other; the last one stays.
    pub(crate) copies: VecDeque<Vec<Value>>,
    /// Answers to commands that change something, in order; after them such commands succeed.
    pub(crate) answers: VecDeque<(u16, Value)>,
    asked: Vec<Value>,
}

impl World {
    /// SORCEV 0A00, TRGVOL 0A01 and OTHER 0B00 are of type 3390-3, Thin 0B01 is thin; nothing is related.
    pub(crate) fn new(profile: &'static str) -> Self {
        Self {
            profile,
            volumes: vec![
                volume("SORCEV", "0A00", false),
                volume("TRGVOL", "0A01", false),
                volume("OTHER", "0B00", false),
                volume("Thin", "0B01", true),
            ],
            datasets: Vec::new(),
            copies: VecDeque::from([vec![]]),
            answers: VecDeque::new(),
            asked: Vec::new(),
        }
    }

    fn answer(&mut self, command: Value) -> (u16, Value) {
        let (name, options) = command
            .as_object()
            .and_then(|command| command.iter().next())
            .map(|(name, options)| (name.clone(), options.clone()))
            .expect("a command is an object with one key");
        match name.as_str() {
            "volume_list" => return (200, json!({"volumes": self.volumes})),
            "dataset_list" => return (200, json!({"datasets": self.datasets})),
            "store_status" => return (200, store(self.profile)),
            "copy_list" => return (200, json!({"copies": self.listed(&options)})),
            _ => self.asked.push(command),
        }
        self.answers.pop_front().unwrap_or_else(|| match name.as_str() {
            "thaw" => (200, thawed(&["SORCEV"], Some(true))),
            _ => (200, json!({"copies": []})),
        })
    }

    fn listed(&mut self, options: &Value) -> Vec<Value> {
        let now = if self.copies.len() > 1 { self.copies.pop_front() } else { None };
        let copies = now.or_else(|| self.copies.front().cloned()).unwrap_or_default();
        let of = |copy: &Value, name: &Value| copy["source"] == *name || copy["target"] == *name;
        let wanted = &options["volume"];
        copies.into_iter().filter(|copy| wanted.is_null() || of(copy, wanted)).collect()
    }
}

fn volume(name: &str, device: &str, thin: bool) -> Value {
    let fields = json!({
        "device": device, "type": "3390-3", "size_bytes": 2_461_777_920_u64, "track_bytes": 49152,
        "tracks": 50085, "thin": thin, "pool": thin.then_some("p0"), "allocated_bytes": 0, "connections": 0,
        "source_relationships": 2, "target_relationships": 1
    });
    with(control_api::volume(name), &fields)
}

/// A relationship over whole volumes that is half copied.
pub(crate) fn copy(id: u32, source: &str, target: &str) -> Value {
    let half = json!({"tracks": 50084, "tracks_left": 25042});
    with(control_api::copy(id, source, target), &half)
}

/// The same with other fields.
pub(crate) fn copy_with(id: u32, source: &str, target: &str, fields: &Value) -> Value {
    with(copy(id, source, target), fields)
}

fn store(profile: &str) -> Value {
    json!({"store": {
        "uuid": "0123456789abcdef0123456789abcdef", "epoch": 1, "profile": profile, "copy_tables_used": 0,
        "copy_tables": 1, "fail_stop": null, "staged_bytes": 0, "staged_blocks": 0, "journal_used_bytes": 0,
        "journal_capacity_bytes": 0, "counters": {}
    }})
}

pub(crate) fn thawed(volumes: &[&str], consistent: Option<bool>) -> Value {
    json!({"thawed": {"volumes": volumes, "consistent": consistent}})
}

pub(crate) fn refusal(kind: &str, message: &str) -> (u16, Value) {
    (409, json!({"kind": kind, "message": message, "help": "do otherwise"}))
}

/// A server that runs until it is dropped.
pub(crate) struct Server {
    directory: TempDir,
    world: Arc<Mutex<World>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub(crate) fn of(world: World) -> Self {
        let directory = TempDir::new().expect("a temporary directory");
        let listener = UnixListener::bind(directory.path().join("c")).expect("a socket");
        let world = Arc::new(Mutex::new(world));
        let stop = Arc::new(AtomicBool::new(false));
        let (shared, stopped) = (Arc::clone(&world), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                answer_one(stream, |command| {
                    shared.lock().expect("no holder panics").answer(command)
                });
            }
        });
        Self { directory, world, stop, thread: Some(thread) }
    }

    /// Runs `flashtrack` with these words; `input` is its standard input.
    pub(crate) fn run(&self, words: &[&str], input: &str) -> Run {
        Run::of_flashtrack(&self.directory.path().join("c"), words, input)
    }

    /// A deck on standard input.
    pub(crate) fn deck(&self, utility: &str, deck: &str) -> Run {
        self.run(&[utility, "-"], deck)
    }

    /// What it was told to do since it was last asked that.
    pub(crate) fn asked(&self) -> Vec<Value> {
        std::mem::take(&mut self.world.lock().expect("no holder panics").asked)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = UnixStream::connect(self.directory.path().join("c"));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

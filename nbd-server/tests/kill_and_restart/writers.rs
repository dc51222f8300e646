//! Four connections that write stamped blocks of one volume at random and flush now and then.

use std::io::{Seek, SeekFrom, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, RwLock};
use std::thread::{self, JoinHandle};

use crate::history::{BLOCK_BYTES, BLOCKS, History, stamped};
use crate::process::{Client, Server};
use crate::random::Random;

const CONNECTIONS: usize = 4;
/// One of so many requests is a FLUSH.
const FLUSH_EVERY: u64 = 32;

/// The running writers.
pub(crate) struct Writers {
    threads: Vec<JoinHandle<u64>>,
    /// Held for reading by a request under way, for writing while all pause.
    pause: Arc<RwLock<()>>,
    flusher: std::cell::RefCell<Client>,
    history: Arc<History>,
}

impl Writers {
    /// Connects and starts them; they end when the server does, which must be `going_down` by then.
    pub(crate) fn start(
        server: &Server,
        volume: &str,
        history: &Arc<History>,
        going_down: &Arc<AtomicBool>,
    ) -> Self {
        let pause = Arc::new(RwLock::new(()));
        let threads = (0..CONNECTIONS).map(|number| {
            let writer = Writer {
                client: server.connect(volume),
                number,
                history: Arc::clone(history),
                pause: Arc::clone(&pause),
                going_down: Arc::clone(going_down),
            };
            thread::spawn(move || writer.run())
        });
        let threads = threads.collect();
        let flusher = std::cell::RefCell::new(server.connect(volume));
        Self { threads, pause, flusher, history: Arc::clone(history) }
    }

    /// Does `action` while no request is under way and everything is flushed, by a connection that has
    /// written nothing itself.
    pub(crate) fn paused_and_flushed<T>(&self, action: impl FnOnce() -> T) -> T {
        let _all_wait = self.pause.write().expect("no writer has panicked");
        let answered = self.history.answered();
        self.flusher.borrow_mut().flush().expect("the server answers");
        self.history.flush(&answered);
        action()
    }

    /// Waits for them to end; gives the number of writes that were answered.
    pub(crate) fn join(self) -> u64 {
        self.threads.into_iter().map(|thread| thread.join().expect("a writer has panicked")).sum()
    }
}

struct Writer {
    client: Client,
    /// Its blocks are those whose number leaves this when divided by the number of connections.
    number: usize,
    history: Arc<History>,
    pause: Arc<RwLock<()>>,
    going_down: Arc<AtomicBool>,
}

impl Writer {
    fn run(mut self) -> u64 {
        let mut random = Random::new();
        let mut writes = 0;
        loop {
            let pause = Arc::clone(&self.pause);
            let _under_way = pause.read().expect("nobody panics while all pause");
            let result = if random.below(FLUSH_EVERY) == 0 {
                self.flush()
            } else {
                self.write(&mut random).map(|()| writes += 1)
            };
            if let Err(error) = result {
                let expected = self.going_down.load(Ordering::SeqCst);
                assert!(expected, "the server failed a request before it was killed: {error}");
                return writes;
            }
        }
    }

    fn write(&mut self, random: &mut Random) -> std::io::Result<()> {
        let of_mine = BLOCKS / CONNECTIONS;
        let mine = usize::try_from(random.below(of_mine as u64)).expect("a small number");
        let block = mine * CONNECTIONS + self.number;
        let generation = self.history.issue(block);
        self.client.seek(SeekFrom::Start((block * BLOCK_BYTES) as u64))?;
        self.client.write_all(&stamped(block, generation))?;
        self.history.answer(block, generation);
        Ok(())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        let answered = self.history.answered();
        self.client.flush()?;
        self.history.flush(&answered);
        Ok(())
    }
}

//! A real `flashtrackd` killed with SIGKILL under load, again and again, and started on the same store.
//!
//! Four connections write stamped blocks and flush now and then, while 16 thin copies of the volume are
//! taken at 16 moments, half of them in mid-write. After every restart:
//! 1. Each block of the source is at least as new as what was flushed, and no newer than what was sent.
//! 2. Each block of each copy is at least as new as what was flushed before its establish was asked
//!    for, and no newer than what was sent before that was answered; what one restart showed, the next
//!    shows too.
//!
//! `FLASHTRACK_KILLS` says how often (2 when it is not set). The moments are random: a failure names the
//! block, its range and the copy.

#[path = "../common/commands.rs"]
mod commands;
mod history;
#[path = "../common/process.rs"]
mod process;
#[path = "../common/random.rs"]
mod random;
mod writers;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use flashtrack_engine::admin::{Command, CopySelector, CopyState, Report};

use crate::history::{Bounds, History, VOLUME_BYTES};
use crate::process::Server;
use crate::random::Random;
use crate::writers::Writers;

const SOURCE: &str = "source";
const POOL: &str = "pool";
/// As many as one source may have.
const COPIES: usize = 16;
/// Room for every copy to hold the whole source.
const POOL_BYTES: u64 = VOLUME_BYTES * (COPIES as u64 + 1);

/// A copy that was taken, and what its blocks may hold.
struct Taken {
    target: String,
    bounds: Bounds,
}

#[test]
fn what_was_flushed_and_all_sixteen_copies_survive_kill_9_under_load() {
    let kills: usize = std::env::var("FLASHTRACK_KILLS")
        .map_or(2, |kills| kills.parse().expect("FLASHTRACK_KILLS is a number"));
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let mut server = Server::start(folder.path());
    make_volumes(&server);
    let history = Arc::new(History::new());
    let mut taken: Vec<Taken> = Vec::new();
    let mut random = Random::new();

    for round in 1..=kills {
        let due = COPIES * round / kills;
        write_and_take_copies(&server, &history, &mut taken, due, &mut random);
        server = server.killed();
        look_at_everything(&server, &history, &mut taken);
    }
    server = server.stopped();
    look_at_everything(&server, &history, &mut taken);
    withdraw_all(&server);
    verify(&server, SOURCE, &mut history.bounds(), "after the withdraw");

    assert_eq!(taken.len(), COPIES);
}

fn make_volumes(server: &Server) {
    server.command(&commands::pool(POOL, POOL_BYTES));
    server.command(&commands::full(SOURCE, VOLUME_BYTES));
    for number in 0..COPIES {
        server.command(&commands::thin(&format!("copy{number}"), VOLUME_BYTES, POOL));
    }
}

/// Writes until the server is about to be killed, with copies up to `due` taken meanwhile. Gives back
/// control in mid-write: the server is killed by a thread of its own.
fn write_and_take_copies(
    server: &Server,
    history: &Arc<History>,
    taken: &mut Vec<Taken>,
    due: usize,
    random: &mut Random,
) {
    let going_down = Arc::new(AtomicBool::new(false));
    let writers = Writers::start(server, SOURCE, history, &going_down);
    while taken.len() < due {
        thread::sleep(Duration::from_millis(random.below(60)));
        let target = format!("copy{}", taken.len());
        let bounds = if taken.len().is_multiple_of(2) {
            writers.paused_and_flushed(|| {
                establish(server, &target);
                history.bounds()
            })
        } else {
            let at_least = history.flushed();
            establish(server, &target);
            Bounds { at_least, at_most: history.issued() }
        };
        taken.push(Taken { target, bounds });
    }
    thread::sleep(Duration::from_millis(50 + random.below(250)));
    going_down.store(true, Ordering::SeqCst);
    server.kill();
    let writes = writers.join();
    assert!(writes > 0, "nothing was written before the kill: this run shows nothing");
}

fn establish(server: &Server, target: &str) {
    server.command(&commands::nocopy(SOURCE, target));
}

fn look_at_everything(server: &Server, history: &History, taken: &mut [Taken]) {
    let list = server.command(&Command::CopyList { volume: Some(SOURCE.to_owned()) });
    let Report::Copies(copies) = list else { panic!("no list of copies: {list:?}") };
    assert_eq!(copies.len(), taken.len(), "relationships that survived");
    assert!(copies.iter().all(|copy| copy.state == CopyState::FCopy), "{copies:?}");
    for copy in taken {
        verify(server, &copy.target, &mut copy.bounds, "copy");
    }
    let mut bounds = history.bounds();
    verify(server, SOURCE, &mut bounds, "source");
    history.is_now(&bounds);
}

/// Reads the whole volume, compares it with `bounds`, and narrows them to what it holds.
fn verify(server: &Server, volume: &str, bounds: &mut Bounds, what: &str) {
    let image = server.image(volume);
    if let Err(violation) = bounds.narrow_to(&image) {
        panic!("{what} `{volume}`: {violation}");
    }
}

fn withdraw_all(server: &Server) {
    server.command(&Command::CopyWithdraw(CopySelector::Source(SOURCE.to_owned()).into()));
}

//! Opening a store after a crash with a full journal, and the memory of a server that has nothing to do.

use std::time::{Duration, Instant};

use crate::error::Outcome;
use crate::fio::{self, Amount, Flush, Workload};
use crate::options::Options;
use crate::report::{Comparison, Goal, Report, Row, Side, Unit};
use crate::servers::flashtrack::{Flashtrack, Mode, PLAIN};

const MEBIBYTES: u64 = 2048;
/// Thin targets beside the full one: a track has sixteen relationships at most.
const THIN: usize = 15;
/// A journal is taken for full when so much of it is in use: then the server makes hosts wait.
const FULL: f64 = 0.95;
/// The host writes for so long at most.
const HOST: Duration = Duration::from_mins(1);
/// The journal fills no further when it has not for so long.
const PATIENCE: Duration = Duration::from_secs(3);
/// A server that was just started has settled after so long.
const SETTLING: Duration = Duration::from_millis(500);

/// Measures both.
///
/// # Errors
/// The server does not start, or a run fails.
pub fn run(options: &Options) -> Outcome<Report> {
    let mut report =
        Report::new("recovery", "Opening after a crash, and memory", options, MEBIBYTES);
    let (mut seconds, mut full, mut idle) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..options.rounds {
        let temporary = options.folders()?;
        let folders = &temporary.folders;
        let server = Flashtrack::with_plain(options, folders, options.bytes(MEBIBYTES))?;
        full.push(fill_journal(options, &server)?);
        // Ended as by kill -9: this is the crash.
        drop(server);
        let server = Flashtrack::start(options, folders)?;
        seconds.push(server.ready_after.as_secs_f64());
        drop(server);
        // On a store of its own: opening a full journal leaves its marks.
        let other = options.folders()?;
        let server = Flashtrack::start(options, &other.folders)?;
        server.create_volume(PLAIN, options.bytes(MEBIBYTES))?;
        std::thread::sleep(SETTLING);
        idle.push(server.resident_mebibytes()?);
    }
    let against =
        |bound| vec![Comparison { ours: 0, theirs: None, goal: Some(Goal::AtMost(bound)) }];
    let rows = [
        ("from start to ready after a crash", Unit::Seconds, seconds, 1.0),
        ("resident memory of an idle server", Unit::Mebibytes, idle, 30.0),
    ];
    for (name, unit, values, bound) in rows {
        if options.wants(name) {
            let sides = vec![Side::of_values("flashtrack", values)];
            let workload = name.to_owned();
            report.add(Row { workload, unit, sides, comparisons: against(bound) });
        }
    }
    let full: Vec<String> = full.iter().map(|share| format!("{:.0} %", share * 100.0)).collect();
    report.notes.push(format!("Of the journal was in use at the crash: {}.", full.join(", ")));
    Ok(report)
}

/// First writes under sixteen copies, one of them full and so the slowest there is to destage, until the journal is full;
/// gives how much of it is in use in the end.
fn fill_journal(options: &Options, server: &Flashtrack) -> Outcome<f64> {
    let bytes = options.bytes(MEBIBYTES);
    server.create_thin(THIN, bytes, 2 * bytes)?;
    server.establish_thin(THIN)?;
    server.create_volume("full", bytes)?;
    server.establish(&[(PLAIN.to_owned(), "full".to_owned())], Mode::Nocopy)?;
    let workload = Workload {
        name: "first writes",
        pattern: "randwrite",
        block: "4k",
        depth: 128,
        jobs: 1,
        flush: Flush::Never,
        amount: Amount::For(HOST),
    };
    let mut host = fio::start(&workload, &server.target(PLAIN), bytes)?;
    let (mut most, mut since) = (0.0, Instant::now());
    loop {
        let share = server.journal_use()?;
        if share > most {
            (most, since) = (share, Instant::now());
        }
        // Writers are slowed before a journal is full: then what there is has to do.
        if share > FULL || since.elapsed() > PATIENCE || host.has_ended() {
            return Ok(share);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

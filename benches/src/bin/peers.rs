//! Flashtrack beside nbdkit and qemu-nbd, and its first writes beside its own plain ones.
//!
//! `cargo build --release && cargo run --release -p flashtrack-benches --bin peers`

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use flashtrack_benches::fio::{self, Amount, Workload};
use flashtrack_benches::servers::{Failure, Server};
use flashtrack_benches::table::{aligned, median, spread};

/// Measures Flashtrack side by side with its peers: page-cached files, Unix sockets, fio's nbd engine.
#[derive(Debug, Parser)]
struct Arguments {
    /// Rounds; servers take turns within each.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Milliseconds of each run.
    #[arg(long, default_value_t = 2000)]
    milliseconds: u64,
    /// Mebibytes of the volume.
    #[arg(long, default_value_t = 1024)]
    mebibytes: u64,
    /// Folder with `flashtrackd` and `flashtrack`.
    #[arg(long, default_value = "target/release")]
    programs: PathBuf,
    /// Leave the peers out: measure first writes only.
    #[arg(long)]
    first_writes_only: bool,
    /// Only workloads with this text in their name, and no first writes.
    #[arg(long, value_name = "TEXT", conflicts_with = "first_writes_only")]
    only: Option<String>,
}

fn main() -> Result<(), Failure> {
    let arguments = Arguments::parse();
    let folder = tempfile::tempdir()?;
    let bytes = arguments.mebibytes << 20;
    let ours = Server::flashtrack(&arguments.programs, folder.path(), bytes)?;
    if !arguments.first_writes_only {
        let servers = [Server::nbdkit(folder.path(), bytes)?, Server::qemu(folder.path(), bytes)?];
        compare(&arguments, &ours, &servers, bytes)?;
    }
    if arguments.only.is_none() {
        first_writes(&arguments, &ours, bytes)?;
    }
    Ok(())
}

fn workloads(time: Duration) -> Vec<Workload> {
    let workload = |name, pattern, block, depth, jobs| Workload {
        name,
        pattern,
        block,
        depth,
        jobs,
        flush: false,
        amount: Amount::For(time),
    };
    vec![
        workload("4 KiB random read, depth 1", "randread", "4k", 1, 1),
        workload("4 KiB random write, depth 1", "randwrite", "4k", 1, 1),
        workload("4 KiB random read, depth 32", "randread", "4k", 32, 1),
        workload("4 KiB random write, depth 32", "randwrite", "4k", 32, 1),
        workload("4 KiB random read, 4 x 16", "randread", "4k", 16, 4),
        workload("128 KiB sequential read, depth 16", "read", "128k", 16, 1),
        workload("128 KiB sequential write, depth 16", "write", "128k", 16, 1),
    ]
}

fn compare(
    arguments: &Arguments,
    ours: &Server,
    peers: &[Server],
    bytes: u64,
) -> Result<(), Failure> {
    let servers: Vec<&Server> = std::iter::once(ours).chain(peers).collect();
    let mut lines = vec![vec!["operations per second, medians".to_owned()]];
    lines[0].extend(servers.iter().map(|server| server.name.to_owned()));
    lines[0].extend(["to best peer".to_owned(), "our spread".to_owned()]);
    let mut workloads = workloads(Duration::from_millis(arguments.milliseconds));
    if let Some(text) = &arguments.only {
        workloads.retain(|workload| workload.name.contains(text));
    }
    for workload in workloads {
        let mut results = vec![Vec::new(); servers.len()];
        for _ in 0..arguments.rounds {
            for (server, results) in servers.iter().zip(&mut results) {
                results.push(fio::run(&workload, &server.uri, bytes)?.per_second);
            }
        }
        let medians: Vec<f64> = results.iter().map(|values| median(values)).collect();
        let best = medians[1..].iter().copied().fold(f64::NAN, f64::max);
        let (low, high) = spread(&results[0]);
        let mut line = vec![workload.name.to_owned()];
        line.extend(medians.iter().map(|value| format!("{value:.0}")));
        line.push(format!("{:.2}", medians[0] / best));
        line.push(format!("{low:.0}..{high:.0}"));
        lines.push(line);
    }
    println!(
        "{} rounds of {} ms each\n\n{}",
        arguments.rounds,
        arguments.milliseconds,
        aligned(&lines)
    );
    Ok(())
}

/// One 4 KiB write per 64 KiB: what a first write costs with no, 1 and 16 thin copies.
fn first_writes(arguments: &Arguments, ours: &Server, bytes: u64) -> Result<(), Failure> {
    let pool = (bytes / 4).max(64 << 20).to_string();
    ours.command(&["pool", "create", "pool", "--capacity", &pool])?;
    for copy in 0..16 {
        let name = format!("thin{copy}");
        let size = bytes.to_string();
        ours.command(&["volume", "create", &name, "--size", &size, "--thin", "pool"])?;
    }
    let first = |flush, amount: u64| Workload {
        name: "first writes",
        pattern: "write:60k",
        block: "4k",
        depth: if flush { 1 } else { 32 },
        jobs: 1,
        flush,
        amount: Amount::Bytes(amount / 16),
    };
    let mut lines = vec![
        ["4 KiB per 64 KiB", "plain", "1 copy", "share", "16 copies", "share"]
            .map(str::to_owned)
            .to_vec(),
    ];
    // With a FLUSH after each write a part of the volume is enough.
    let amounts = [("depth 32, staged", false, bytes), ("depth 1, FLUSH each", true, bytes / 8)];
    for (name, flush, amount) in amounts {
        let mut results = [Vec::new(), Vec::new(), Vec::new()];
        for _ in 0..arguments.rounds {
            for (results, copies) in results.iter_mut().zip([0, 1, 16]) {
                establish(ours, copies)?;
                results.push(fio::run(&first(flush, amount), &ours.uri, amount)?.per_second);
                withdraw(ours)?;
            }
        }
        let medians: Vec<f64> = results.iter().map(|values| median(values)).collect();
        lines.push(vec![
            name.to_owned(),
            format!("{:.0}", medians[0]),
            format!("{:.0}", medians[1]),
            format!("{:.2}", medians[1] / medians[0]),
            format!("{:.0}", medians[2]),
            format!("{:.2}", medians[2] / medians[0]),
        ]);
    }
    println!("{}", aligned(&lines));
    Ok(())
}

fn establish(ours: &Server, copies: usize) -> Result<(), Failure> {
    for copy in 0..copies {
        let target = format!("thin{copy}");
        let words = ["copy", "establish", "plain", &target, "--nocopy", "--space-efficient"];
        ours.command(&words)?;
    }
    Ok(())
}

fn withdraw(ours: &Server) -> Result<(), Failure> {
    ours.command(&["copy", "withdraw", "--source", "plain"])?;
    ours.command(&["store", "drain"])?;
    Ok(())
}

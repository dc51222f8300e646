//! One run of fio, and what it measured.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde::Serialize;

use crate::error::{BenchError, Outcome};
use crate::process;

/// What fio does.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Workload {
    /// Name in the tables.
    pub name: &'static str,
    /// fio's `rw`.
    pub pattern: &'static str,
    /// Block size, as fio takes it.
    pub block: &'static str,
    /// Requests in flight of each job.
    pub depth: u32,
    /// Jobs, each with a connection of its own.
    pub jobs: u32,
    /// Where a FLUSH is sent.
    pub flush: Flush,
    /// How much is done.
    pub amount: Amount,
}

/// Where a FLUSH is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Flush {
    /// Nowhere.
    Never,
    /// After each write.
    EachWrite,
    /// At the end, within the time that is measured.
    AtEnd,
}

/// How much a run does.
#[derive(Clone, Copy, Debug, Serialize)]
pub enum Amount {
    /// As much as it can in this time.
    For(Duration),
    /// So many bytes, as the pattern says.
    Bytes(u64),
}

/// What a run works on.
#[derive(Clone, Debug)]
pub enum Target {
    /// An NBD export, by its URI.
    Export(String),
    /// A file without a server, past the page cache: what direct I/O can reach at most.
    DirectFile(PathBuf),
}

/// What one run measured; times are in microseconds.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Measured {
    /// Operations per second, reads and writes together.
    pub per_second: f64,
    /// Operations.
    pub operations: f64,
    /// How long they took.
    pub run_us: f64,
    /// Completion latency at 50 percent; of reads and writes the greater one, as in all of these.
    pub p50_us: f64,
    /// At 99 percent.
    pub p99_us: f64,
    /// At 99.9 percent.
    pub p999_us: f64,
    /// Of the slowest operation.
    pub max_us: f64,
}

/// A run under way. It ends by itself; when it is dropped before, it is ended.
#[derive(Debug)]
pub struct Running {
    command: Command,
    child: Option<Child>,
}

/// Runs fio on a target of which it uses the first `bytes` bytes.
///
/// # Errors
/// fio cannot be run, fails, or prints something else than it should.
pub fn run(workload: &Workload, target: &Target, bytes: u64) -> Outcome<Measured> {
    start(workload, target, bytes)?.finish()
}

/// Starts such a run.
///
/// # Errors
/// fio cannot be started.
pub fn start(workload: &Workload, target: &Target, bytes: u64) -> Outcome<Running> {
    let mut command = command(workload, target, bytes);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().map_err(|source| process::start(&command, source))?;
    Ok(Running { command, child: Some(child) })
}

/// Writes the whole of an export once, so that every server works on allocated, cached data.
///
/// # Errors
/// It cannot be written.
pub fn fill(target: &Target, bytes: u64) -> Outcome {
    let workload = Workload {
        name: "fill",
        pattern: "write",
        block: "1m",
        depth: 4,
        jobs: 1,
        flush: Flush::Never,
        amount: Amount::Bytes(bytes),
    };
    run(&workload, target, bytes).map(drop)
}

/// Has everything written to the target flushed, with a write of its first block.
///
/// # Errors
/// It cannot be written or flushed.
pub fn flush(target: &Target) -> Outcome {
    let workload = Workload {
        name: "flush",
        pattern: "write",
        block: "4k",
        depth: 1,
        jobs: 1,
        flush: Flush::AtEnd,
        amount: Amount::Bytes(4 << 10),
    };
    run(&workload, target, 4 << 10).map(drop)
}

impl Running {
    /// True when the run has ended.
    pub fn has_ended(&mut self) -> bool {
        let ended = self.child.as_mut().map(Child::try_wait);
        !matches!(ended, Some(Ok(None)))
    }

    /// Waits for the end.
    ///
    /// # Errors
    /// fio fails, or prints something else than it should.
    pub fn finish(mut self) -> Outcome<Measured> {
        let child = self.child.take().expect("taken here and in drop only");
        let output =
            child.wait_with_output().map_err(|source| process::start(&self.command, source))?;
        let printed = process::checked(&self.command, output)?;
        measured(&printed).ok_or_else(|| {
            BenchError::Unexpected(format!("fio gave no result in {} bytes", printed.len()))
        })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Both fail only when it has ended.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn command(workload: &Workload, target: &Target, bytes: u64) -> Command {
    let mut command = Command::new("fio");
    command
        .args(["--name=bench", "--output-format=json", "--group_reporting"])
        // Every run takes other random blocks, and spends no time on remembering which.
        .args(["--randrepeat=0", "--norandommap=1"])
        .arg(format!("--rw={}", workload.pattern))
        .arg(format!("--bs={}", workload.block))
        .arg(format!("--iodepth={}", workload.depth))
        .arg(format!("--numjobs={}", workload.jobs))
        .arg(format!("--size={bytes}"));
    match target {
        Target::Export(uri) => command.arg("--ioengine=nbd").arg(format!("--uri={uri}")),
        Target::DirectFile(path) => command
            .args(["--ioengine=io_uring", "--direct=1"])
            .arg(format!("--filename={}", path.display())),
    };
    match workload.flush {
        Flush::Never => {}
        Flush::EachWrite => drop(command.arg("--fsync=1")),
        Flush::AtEnd => drop(command.arg("--end_fsync=1")),
    }
    match workload.amount {
        Amount::For(time) => {
            command.args(["--time_based".to_owned(), format!("--runtime={}ms", time.as_millis())]);
        }
        Amount::Bytes(bytes) => {
            command.arg(format!("--io_size={bytes}"));
        }
    }
    command
}

/// What fio's JSON tells; a line of text may stand before it. None when it is not of fio's form.
pub fn measured(printed: &[u8]) -> Option<Measured> {
    let start = printed.iter().position(|&byte| byte == b'{')?;
    let whole: serde_json::Value = serde_json::from_slice(printed.get(start..)?).ok()?;
    let job = whole.get("jobs")?.get(0)?;
    let mut sum = Measured::default();
    for side in ["read", "write"] {
        let side = job.get(side)?;
        let us = |pointer: &str| {
            side.pointer(pointer).and_then(serde_json::Value::as_f64).unwrap_or(0.0) / 1000.0
        };
        sum.per_second += side.get("iops")?.as_f64()?;
        sum.operations += side.get("total_ios")?.as_f64()?;
        sum.run_us = sum.run_us.max(side.get("runtime")?.as_f64()? * 1000.0);
        sum.p50_us = sum.p50_us.max(us("/clat_ns/percentile/50.000000"));
        sum.p99_us = sum.p99_us.max(us("/clat_ns/percentile/99.000000"));
        sum.p999_us = sum.p999_us.max(us("/clat_ns/percentile/99.900000"));
        sum.max_us = sum.max_us.max(us("/clat_ns/max"));
    }
    Some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes_are_added_and_the_slower_of_them_counts() {
        let json = br#"note: something
            {"jobs": [{
                "read": {"iops": 100.0, "total_ios": 10, "runtime": 100,
                    "clat_ns": {"max": 9000, "percentile": {"99.000000": 5000}}},
                "write": {"iops": 50.0, "total_ios": 5, "runtime": 90,
                    "clat_ns": {"max": 7000, "percentile": {"99.000000": 6000}}}
            }]}"#;
        let measured = measured(json).expect("fio's form");
        assert!((measured.per_second - 150.0).abs() < f64::EPSILON);
        assert!((measured.run_us - 100_000.0).abs() < f64::EPSILON);
        assert!((measured.p99_us - 6.0).abs() < f64::EPSILON);
        assert!((measured.max_us - 9.0).abs() < f64::EPSILON);
    }
}

//! One run of fio with its nbd engine, and what it measured.

use std::process::Command;
use std::time::Duration;

/// What fio does.
#[derive(Clone, Copy, Debug)]
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
    /// FLUSH after each write.
    pub flush: bool,
    /// How much is done.
    pub amount: Amount,
}

/// How much a run does.
#[derive(Clone, Copy, Debug)]
pub enum Amount {
    /// As much as it can in this time.
    For(Duration),
    /// So many bytes, as the pattern says.
    Bytes(u64),
}

/// What one run measured.
#[derive(Clone, Copy, Debug)]
pub struct Measured {
    /// Operations per second, reads and writes together.
    pub per_second: f64,
    /// Completion latency at 99 percent, in microseconds.
    pub p99_us: f64,
}

/// Why a run gave nothing.
#[derive(Debug)]
pub struct FioFailed(pub String);

impl std::fmt::Display for FioFailed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "fio failed: {}", self.0)
    }
}

impl std::error::Error for FioFailed {}

/// Runs fio against an NBD URI whose volume has `bytes` bytes.
///
/// # Errors
/// fio cannot be run, fails, or prints something else than it should.
pub fn run(workload: &Workload, uri: &str, bytes: u64) -> Result<Measured, FioFailed> {
    let mut command = Command::new("fio");
    command
        .args(["--name=bench", "--ioengine=nbd", "--output-format=json", "--group_reporting"])
        .args(["--randrepeat=0", "--norandommap=1"])
        .arg(format!("--uri={uri}"))
        .arg(format!("--rw={}", workload.pattern))
        .arg(format!("--bs={}", workload.block))
        .arg(format!("--iodepth={}", workload.depth))
        .arg(format!("--numjobs={}", workload.jobs))
        .arg(format!("--size={bytes}"));
    if workload.flush {
        command.arg("--fsync=1");
    }
    match workload.amount {
        Amount::For(time) => {
            command.args(["--time_based".to_owned(), format!("--runtime={}ms", time.as_millis())]);
        }
        Amount::Bytes(bytes) => {
            command.arg(format!("--io_size={bytes}"));
        }
    }
    let output = command.output().map_err(|error| FioFailed(error.to_string()))?;
    if !output.status.success() {
        let told = [output.stderr, output.stdout].concat();
        return Err(FioFailed(String::from_utf8_lossy(&told).into_owned()));
    }
    measured(&output.stdout)
        .ok_or_else(|| FioFailed(format!("no result in {} bytes", output.stdout.len())))
}

fn measured(json: &[u8]) -> Option<Measured> {
    let start = json.iter().position(|&byte| byte == b'{')?;
    let whole: serde_json::Value = serde_json::from_slice(&json[start..]).ok()?;
    let job = whole.get("jobs")?.get(0)?;
    let side = |name: &str| -> Option<(f64, f64)> {
        let side = job.get(name)?;
        let p99 = side
            .pointer("/clat_ns/percentile/99.000000")
            .and_then(serde_json::Value::as_f64)
            .unwrap_or(0.0);
        Some((side.get("iops")?.as_f64()?, p99 / 1000.0))
    };
    let (reads, read_p99) = side("read")?;
    let (writes, write_p99) = side("write")?;
    Some(Measured { per_second: reads + writes, p99_us: read_p99.max(write_p99) })
}

//! What `deploy/` hands to systemd and Prometheus, checked by those programs themselves.
//!
//! 1. The unit passes `systemd-analyze verify`, the Prometheus files pass `promtool`.
//! 2. Every metric that they name is one that the server has.
//! 3. Debian's Prometheus, given the scrape configuration, reads a running server.

use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::error::{Outcome, TaskError};
use crate::http;
use crate::namespace;
use crate::process;
use crate::server::{self, Server};

const UNIT: &str = "deploy/systemd/flashtrackd.service";
const SCRAPE: &str = "deploy/prometheus/prometheus.yml";
const ALERTS: &str = "deploy/prometheus/alerts.yml";
const DASHBOARD: &str = "deploy/grafana/flashtrack.json";
const RUNBOOK: &str = "deploy/RUNBOOK.md";
const CONFIGURATION: &str = "deploy/flashtrackd.toml";
/// The table of all metrics.
const FAMILIES: &str = "nbd-server/src/metrics/families.rs";
/// Prometheus starts and scrapes once a second; it has had its chance after this.
const PATIENCE: Duration = Duration::from_secs(30);

/// Checks the files, then a running server with them.
pub(crate) fn run() -> Outcome {
    let folder =
        namespace::target_folder()?.join(format!("xtask/monitoring-{}", std::process::id()));
    fs::create_dir_all(&folder).map_err(TaskError::file(&folder))?;
    let result = in_folder(&folder);
    fs::remove_dir_all(&folder).map_err(TaskError::file(&folder))?;
    result
}

fn in_folder(folder: &Path) -> Outcome {
    unit_is_accepted(folder)?;
    process::visible(Command::new("promtool").args(["check", "config", SCRAPE]))?;
    for file in [ALERTS, DASHBOARD, RUNBOOK] {
        metrics_exist(file)?;
    }
    server::build()?;
    example_configuration(folder)?;
    let options = ["--config", "flashtrackd.toml"];
    let server = Server::start(folder, "127.0.0.1", &options)?;
    let result = metrics_pass_promtool(&server).and_then(|()| prometheus_reads(&server, folder));
    server.stop()?;
    result
}

/// The unit with a program that is there: `verify` looks for it.
fn unit_is_accepted(folder: &Path) -> Outcome {
    let text = read(Path::new(UNIT))?.replace("/usr/local/bin/flashtrackd", "/bin/true");
    let unit = folder.join("flashtrackd.service");
    fs::write(&unit, text).map_err(TaskError::file(&unit))?;
    process::output(Command::new("systemd-analyze").arg("verify").arg(&unit))?;
    println!("systemd-analyze verify {UNIT}: no complaint");
    Ok(())
}

fn metrics_exist(file: &str) -> Outcome {
    let families = read(Path::new(FAMILIES))?;
    let text = read(Path::new(file))?;
    let mut names: Vec<&str> = metric_names(&text);
    names.sort_unstable();
    names.dedup();
    let known = |name: &str| families.contains(&format!("\"{name}\""));
    let unknown: Vec<&str> = names.iter().copied().filter(|name| !known(name)).collect();
    if names.is_empty() || !unknown.is_empty() {
        let unknown = unknown.join(", ");
        return Err(TaskError::Check(format!(
            "{file} names metrics that {FAMILIES} has not: {unknown}"
        )));
    }
    println!("{file}: all {} metrics are the server's", names.len());
    Ok(())
}

/// Words of `text` that begin with `flashtrack_`, without what a histogram adds to its name.
fn metric_names(text: &str) -> Vec<&str> {
    text.split(|character: char| !character.is_ascii_alphanumeric() && character != '_')
        .filter(|word| word.starts_with("flashtrack_"))
        .map(|word| {
            let endings = ["_bucket", "_sum", "_count"];
            endings.iter().find_map(|ending| word.strip_suffix(ending)).unwrap_or(word)
        })
        .collect()
}

/// The example configuration, with sockets where an ordinary user can make them.
fn example_configuration(folder: &Path) -> Outcome {
    let text = read(Path::new(CONFIGURATION))?.replace("/run/flashtrack/", "");
    let path = folder.join("flashtrackd.toml");
    fs::write(&path, text).map_err(TaskError::file(&path))
}

fn metrics_pass_promtool(server: &Server) -> Outcome {
    let metrics = server.scrape()?;
    let mut command = Command::new("promtool");
    command.args(["check", "metrics"]).stdin(Stdio::piped());
    let mut child = command.spawn().map_err(|source| process::start(&command, source))?;
    let mut stdin = child.stdin.take().expect("the standard input was asked for as a pipe");
    stdin.write_all(metrics.as_bytes()).map_err(TaskError::file(Path::new("promtool")))?;
    drop(stdin);
    let status = process::ended_within(&mut child, PATIENCE.as_secs(), "promtool check metrics")?;
    if !status.success() {
        return Err(TaskError::Check("promtool accepts the server's metrics".to_owned()));
    }
    println!("promtool check metrics: no complaint");
    Ok(())
}

fn prometheus_reads(server: &Server, folder: &Path) -> Outcome {
    let web = TcpListener::bind("127.0.0.1:0")
        .and_then(|free| free.local_addr())
        .map_err(TaskError::file(Path::new("127.0.0.1:0")))?;
    let scrape = read(Path::new(SCRAPE))?
        .replace("127.0.0.1:9810", &server.metrics().to_string())
        .replace("15s", "1s");
    let configuration = folder.join("prometheus.yml");
    fs::write(&configuration, scrape).map_err(TaskError::file(&configuration))?;
    let alerts = folder.join("alerts.yml");
    fs::copy(ALERTS, &alerts).map_err(TaskError::file(&alerts))?;
    let log = folder.join("prometheus.log");
    let errors = fs::File::create(&log).map_err(TaskError::file(&log))?;
    let mut command = Command::new("prometheus");
    command
        .arg(format!("--config.file={}", configuration.display()))
        .arg(format!("--storage.tsdb.path={}", folder.join("tsdb").display()))
        .arg(format!("--web.listen-address={web}"))
        .stderr(errors);
    let mut child = command.spawn().map_err(|source| process::start(&command, source))?;
    let asked = Instant::now();
    let mut read = false;
    while !read && asked.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(200));
        let answer = http::get(web, "/api/v1/query?query=flashtrack_build_info");
        read = answer.is_ok_and(|body| body.contains("\"job\":\"flashtrack\""));
    }
    child.kill().and_then(|()| child.wait()).map_err(TaskError::file(Path::new("prometheus")))?;
    if read {
        println!("prometheus has scraped the server and answers for its metrics");
        return Ok(());
    }
    Err(TaskError::Late {
        what: "Prometheus' first scrape".to_owned(),
        seconds: PATIENCE.as_secs(),
        output: self::read(&log)?,
    })
}

fn read(path: &Path) -> Outcome<String> {
    fs::read_to_string(path).map_err(TaskError::file(path))
}

#[cfg(test)]
mod tests {
    use super::metric_names;

    #[test]
    fn a_histogram_counts_under_its_own_name() {
        let text = "rate(flashtrack_sync_seconds_sum[1m]) / flashtrack_sync_seconds_count > up";

        assert_eq!(metric_names(text), ["flashtrack_sync_seconds", "flashtrack_sync_seconds"]);
    }
}

//! What Prometheus gets to read.

use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use flashtrack_engine::admin::{
    self, CopyMode, CopyReport, CopyState, EndReason, PoolReport, PoolStatus, Refusal, Report,
    VolumeReport, VolumeStatus,
};
use flashtrack_engine::geometry::VolumeType;
use flashtrack_engine::pace::Pace;
use flashtrack_engine::stats::Stats;
use flashtrack_engine::units::VolumeId;

use super::families::ENGINE_COUNTERS;
use super::observe::{Observation, observe};
use super::render::render;
use crate::control::{Administrator, Counted};
use crate::worker::{KindStats, RequestKind, SyncKind, VolumeStats, WorkerStats};

fn volume(id: u32, name: &str) -> VolumeReport {
    VolumeReport {
        id,
        name: name.to_owned(),
        device: "0A00".to_owned(),
        volume_type: VolumeType::Fb,
        size_bytes: 1 << 20,
        track_bytes: 65_536,
        tracks: 16,
        thin: false,
        pool: None,
        allocated_bytes: 4096,
        status: VolumeStatus::Online,
        connections: 1,
        source_relationships: 1,
        target_relationships: 0,
        relationships_max: 65_534,
        frozen_seconds_left: None,
    }
}

fn copy(id: u32, ended: Option<EndReason>) -> CopyReport {
    CopyReport {
        id,
        source: "data".to_owned(),
        target: "snap".to_owned(),
        source_track: 0,
        target_track: 0,
        tracks: 16,
        mode: CopyMode::Copy,
        pace: Pace::default(),
        state: CopyState::FCopy,
        incremental: false,
        whole: true,
        write_inhibited: false,
        changed_tracks: 0,
        space_efficient: false,
        tracks_left: 6,
        established_at: 1,
        moment: 1,
        durable: true,
        ended,
    }
}

/// A server with everything that can have a series.
fn everything() -> Observation {
    let mut seen = Observation {
        volumes: vec![volume(1, "data")],
        copies: vec![copy(5, None), copy(6, Some(EndReason::Withdrawn))],
        pools: vec![PoolReport {
            id: 1,
            name: "p0".to_owned(),
            capacity_bytes: 1000,
            used_bytes: 300,
            reserved_bytes: 100,
            preserved_bytes: 200,
            volumes: vec![],
            status: PoolStatus::Ok,
        }],
        ..Observation::default()
    };
    let mut stats = VolumeStats::new(VolumeId(1), "data".to_owned());
    stats.kind(RequestKind::Read).record(20, Some(4096));
    stats.kind(RequestKind::Read).record(3_000_000, None);
    seen.worker.volumes = vec![stats];
    seen.worker.syncs[SyncKind::Journal as usize].record(90, Some(0));
    seen.establishes.record(700, Some(0));
    let counters = ENGINE_COUNTERS.iter().map(|engine| engine.counter);
    seen.store.counters = counters.map(|name| (name.to_owned(), 3)).collect();
    seen
}

/// Answers as a server in the state `seen` does, and counts how often it lists relationships.
#[derive(Clone)]
struct Fake {
    seen: Observation,
    copy_lists: Arc<AtomicU32>,
}

impl Fake {
    fn new(seen: Observation) -> Self {
        Self { seen, copy_lists: Arc::default() }
    }
}

impl Administrator for Fake {
    async fn command(&self, command: admin::Command) -> Result<Report, Refusal> {
        Ok(match command {
            admin::Command::StoreStatus {} => Report::Store(Box::new(self.seen.store.clone())),
            admin::Command::PoolList {} => Report::Pools(self.seen.pools.clone()),
            admin::Command::VolumeList {} => Report::Volumes(self.seen.volumes.clone()),
            admin::Command::CopyList { volume: None } => {
                self.copy_lists.fetch_add(1, Ordering::Relaxed);
                Report::Copies(self.seen.copies.clone())
            }
            other => panic!("a scrape must not ask {other:?}"),
        })
    }
}

impl Counted for Fake {
    async fn worker_stats(&self) -> Result<WorkerStats, Refusal> {
        Ok(self.seen.worker.clone())
    }

    fn establishes(&self) -> KindStats {
        self.seen.establishes.clone()
    }
}

#[tokio::test]
async fn a_scrape_tells_what_the_worker_and_the_engine_say() {
    let fake = Fake::new(everything());

    let seen = observe(&fake).await.expect("everything answers");

    assert_eq!(sorted(&render(&seen)), sorted(&render(&everything())));
}

#[tokio::test]
async fn very_many_relationships_are_counted_but_not_listed() {
    let mut seen = everything();
    seen.volumes[0].source_relationships = 65_534;
    let fake = Fake::new(seen);

    let text = render(&observe(&fake).await.expect("everything answers"));

    assert_line(&text, "flashtrack_relationships 65534");
    assert!(!text.contains("flashtrack_relationship_tracks_left{"), "{text}");
    assert_eq!(fake.copy_lists.load(Ordering::Relaxed), 0);
}

/// The exporter writes its families in any order.
fn sorted(text: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    lines
}

fn assert_line(text: &str, line: &str) {
    assert!(text.lines().any(|found| found == line), "no line {line} in:\n{text}");
}

#[test]
fn promtool_finds_nothing_to_complain_about() {
    let text = render(&everything());

    let promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let mut promtool = match promtool {
        Ok(promtool) => promtool,
        Err(error) => {
            eprintln!("skipped: promtool (Debian's prometheus) does not start: {error}");
            return;
        }
    };
    let mut input = promtool.stdin.take().expect("it is piped");
    input.write_all(text.as_bytes()).expect("promtool reads");
    drop(input);
    let output = promtool.wait_with_output().expect("promtool ends");

    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && complaints.is_empty(), "{complaints}\n{text}");
}

#[test]
fn requests_are_counted_by_volume_and_kind() {
    let text = render(&everything());

    let labels = r#"{volume="data",kind="read"}"#;
    assert_line(&text, &format!("flashtrack_volume_operations_total{labels} 2"));
    assert_line(&text, &format!("flashtrack_volume_bytes_total{labels} 4096"));
    assert_line(&text, &format!("flashtrack_volume_errors_total{labels} 1"));
}

#[test]
fn latencies_are_cumulated_buckets_in_seconds_with_the_exact_sum() {
    let text = render(&everything());

    let name = "flashtrack_volume_operation_duration_seconds";
    let bucket = |le| format!(r#"{name}_bucket{{volume="data",kind="read",le="{le}"}}"#);
    assert_line(&text, &format!("# TYPE {name} histogram"));
    assert_line(&text, &format!("{} 0", bucket("0.00001")));
    assert_line(&text, &format!("{} 1", bucket("0.000025")));
    assert_line(&text, &format!("{} 1", bucket("2.5")));
    assert_line(&text, &format!("{} 2", bucket("+Inf")));
    assert_line(&text, &format!(r#"{name}_sum{{volume="data",kind="read"}} 3.00002"#));
    assert_line(&text, &format!(r#"{name}_count{{volume="data",kind="read"}} 2"#));
}

#[test]
fn live_relationships_have_series_and_ended_ones_have_none() {
    let text = render(&everything());

    let labels = r#"{id="5",source="data",target="snap"}"#;
    assert_line(&text, &format!("flashtrack_relationship_tracks_left{labels} 6"));
    assert_line(&text, &format!("flashtrack_relationship_tracks_copied{labels} 10"));
    assert!(!text.contains(r#"id="6""#), "{text}");
}

#[test]
fn counters_of_a_deleted_volume_are_gone_though_its_name_lives_on() {
    let mut seen = everything();
    seen.volumes = vec![volume(2, "data")];

    let text = render(&seen);

    assert!(!text.contains("flashtrack_volume_operations_total{"), "{text}");
    assert_line(&text, r#"flashtrack_volume_size_bytes{volume="data"} 1048576"#);
}

#[test]
fn a_name_with_quotes_and_line_ends_cannot_forge_a_series() {
    let mut seen = everything();
    seen.pools[0].name = "p\"} 1\nforged 1".to_owned();

    let text = render(&seen);

    assert!(!text.lines().any(|line| line.starts_with("forged")), "{text}");
}

#[test]
fn free_space_of_a_pool_is_what_is_neither_used_nor_reserved() {
    assert_line(&render(&everything()), r#"flashtrack_pool_free_bytes{pool="p0"} 600"#);
}

#[test]
fn establishes_and_syncs_are_timed() {
    let text = render(&everything());

    assert_line(&text, "flashtrack_establish_duration_seconds_sum 0.0007");
    assert_line(&text, r#"flashtrack_establish_duration_seconds_bucket{le="0.0005"} 0"#);
    assert_line(&text, r#"flashtrack_establish_duration_seconds_bucket{le="0.001"} 1"#);
    assert_line(&text, r#"flashtrack_sync_duration_seconds_sum{object="journal"} 0.00009"#);
    assert_line(&text, r#"flashtrack_sync_duration_seconds_count{object="pool"} 0"#);
}

#[test]
fn every_counter_of_the_engine_is_a_metric_in_base_units() {
    for (name, _) in Stats::default().named() {
        let known = ENGINE_COUNTERS.iter().any(|engine| engine.counter == name);
        assert!(known, "the engine's counter {name} has no metric");
    }

    let text = render(&everything());
    assert_line(&text, "flashtrack_destaged_bytes_total 3");
    assert_line(&text, "flashtrack_preserved_bytes_total 12288");
}

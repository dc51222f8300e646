//! An observation in Prometheus' text format.
//!
//! Counters and gauges go through the `metrics` crate and its exporter. Histograms are written
//! with the exporter's formatting: the worker keeps them as buckets and sums already, and the exporter would
//! want every single sample again.

use flashtrack_engine::admin::{CopyState, PoolStatus, VolumeStatus};
use metrics::{Key, Label, Unit, counter, describe_counter, describe_gauge, gauge};
use metrics_exporter_prometheus::formatting::{
    write_help_line, write_metric_line, write_type_line,
};
use metrics_exporter_prometheus::{LabelSet, PrometheusBuilder};

use super::families::{self as names, ENGINE_COUNTERS, Family};
use super::observe::Observation;
use crate::worker::{KindStats, LATENCY_BOUNDS_US, RequestKind, SyncKind, VolumeStats};

/// Renders one observation.
pub(super) fn render(seen: &Observation) -> String {
    let recorder = PrometheusBuilder::new().build_recorder();
    metrics::with_local_recorder(&recorder, || {
        server(seen);
        volumes(seen);
        pools(seen);
        relationships(seen);
        store(seen);
    });
    let mut text = recorder.handle().render();
    volume_durations(seen, &mut text);
    head(names::SYNC_DURATION, &mut text);
    for (kind, stats) in SyncKind::ALL.into_iter().zip(&seen.worker.syncs) {
        let labels = vec![label("object", kind.label())];
        histogram(names::SYNC_DURATION, labels, stats, &mut text);
    }
    head(names::ESTABLISH_DURATION, &mut text);
    histogram(names::ESTABLISH_DURATION, vec![], &seen.establishes, &mut text);
    text
}

fn count(family: Family, unit: Unit, labels: Vec<Label>, value: u64) {
    describe_counter!(family.name, unit, family.help);
    counter!(family.name, labels).absolute(value);
}

#[expect(
    clippy::cast_precision_loss,
    reason = "Prometheus' numbers are floats: exact up to 2^53, 8 PiB"
)]
fn level(family: Family, unit: Unit, labels: Vec<Label>, value: u64) {
    describe_gauge!(family.name, unit, family.help);
    gauge!(family.name, labels).set(value as f64);
}

fn label(name: &'static str, value: &str) -> Label {
    Label::new(name, value.to_owned())
}

fn server(seen: &Observation) {
    let worker = &seen.worker;
    let version = vec![label("version", env!("CARGO_PKG_VERSION"))];
    level(names::BUILD_INFO, Unit::Count, version, 1);
    level(names::CONNECTIONS, Unit::Count, vec![], worker.connections);
    level(names::HANDSHAKES, Unit::Count, vec![], worker.handshakes);
    count(names::ACCEPTED, Unit::Count, vec![], worker.connections_accepted);
    count(names::REFUSED, Unit::Count, vec![], worker.connections_refused);
    count(names::RECEIVED, Unit::Bytes, vec![], worker.received_bytes);
    count(names::SENT, Unit::Bytes, vec![], worker.sent_bytes);
}

fn volumes(seen: &Observation) {
    for volume in &seen.volumes {
        let labels = || vec![label("volume", &volume.name)];
        let role = |role| vec![label("volume", &volume.name), label("role", role)];
        let failed = volume.status == VolumeStatus::Failed;
        level(names::VOLUME_SIZE, Unit::Bytes, labels(), volume.size_bytes);
        level(names::VOLUME_ALLOCATED, Unit::Bytes, labels(), volume.allocated_bytes);
        level(names::VOLUME_CONNECTIONS, Unit::Count, labels(), volume.connections.into());
        level(names::VOLUME_FAILED, Unit::Count, labels(), failed.into());
        for (relationships, role) in [
            (volume.source_relationships, role("source")),
            (volume.target_relationships, role("target")),
        ] {
            level(names::VOLUME_RELATIONSHIPS, Unit::Count, role, relationships.into());
        }
    }
    for (volume, kind, stats) in requests(seen) {
        let labels = || vec![label("volume", &volume.name), label("kind", kind.label())];
        count(names::VOLUME_OPERATIONS, Unit::Count, labels(), stats.operations);
        count(names::VOLUME_BYTES, Unit::Bytes, labels(), stats.bytes);
        count(names::VOLUME_ERRORS, Unit::Count, labels(), stats.errors);
    }
}

/// What the worker counted of volumes that still exist: a name may have been given again since.
fn requests(seen: &Observation) -> impl Iterator<Item = (&VolumeStats, RequestKind, &KindStats)> {
    let exists = |volume: &&VolumeStats| seen.volumes.iter().any(|known| known.id == volume.id.0);
    seen.worker.volumes.iter().filter(exists).flat_map(|volume| {
        let kinds = RequestKind::ALL.into_iter().zip(&volume.kinds);
        kinds.map(move |(kind, stats)| (volume, kind, stats))
    })
}

fn pools(seen: &Observation) {
    for pool in &seen.pools {
        let labels = || vec![label("pool", &pool.name)];
        let taken = pool.used_bytes.saturating_add(pool.reserved_bytes);
        let free = pool.capacity_bytes.saturating_sub(taken);
        let failed = pool.status == PoolStatus::Failed;
        level(names::POOL_CAPACITY, Unit::Bytes, labels(), pool.capacity_bytes);
        level(names::POOL_USED, Unit::Bytes, labels(), pool.used_bytes);
        level(names::POOL_FREE, Unit::Bytes, labels(), free);
        level(names::POOL_RESERVED, Unit::Bytes, labels(), pool.reserved_bytes);
        level(names::POOL_PRESERVED, Unit::Bytes, labels(), pool.preserved_bytes);
        level(names::POOL_FAILED, Unit::Count, labels(), failed.into());
    }
}

fn relationships(seen: &Observation) {
    level(names::RELATIONSHIPS, Unit::Count, vec![], seen.relationships());
    for copy in seen.copies.iter().filter(|copy| copy.ended.is_none()) {
        let labels = || {
            vec![
                label("id", &copy.id.to_string()),
                label("source", &copy.source),
                label("target", &copy.target),
            ]
        };
        let copied = copy.tracks.saturating_sub(copy.tracks_left);
        let failed = matches!(copy.state, CopyState::Failed | CopyState::Suspended);
        level(names::TRACKS_LEFT, Unit::Count, labels(), copy.tracks_left.into());
        level(names::TRACKS_COPIED, Unit::Count, labels(), copied.into());
        level(names::RELATIONSHIP_FAILED, Unit::Count, labels(), failed.into());
    }
}

fn store(seen: &Observation) {
    let store = &seen.store;
    let stopped = store.fail_stop.is_some();
    let identity = vec![label("uuid", &store.uuid)];
    level(names::STORE_INFO, Unit::Count, identity, 1);
    level(names::WRITES_STOPPED, Unit::Count, vec![], stopped.into());
    level(names::STAGED_BYTES, Unit::Bytes, vec![], store.staged_bytes);
    level(names::STAGED_BLOCKS, Unit::Count, vec![], store.staged_blocks);
    level(names::JOURNAL_USED, Unit::Bytes, vec![], store.journal_used_bytes);
    level(names::JOURNAL_CAPACITY, Unit::Bytes, vec![], store.journal_capacity_bytes);
    for engine in ENGINE_COUNTERS {
        if let Some(value) = store.counters.get(engine.counter) {
            count(engine.family, Unit::Count, vec![], value.saturating_mul(engine.worth));
        }
    }
}

fn volume_durations(seen: &Observation, text: &mut String) {
    let mut requests = requests(seen).peekable();
    if requests.peek().is_some() {
        head(names::VOLUME_DURATION, text);
    }
    for (volume, kind, stats) in requests {
        let labels = vec![label("volume", &volume.name), label("kind", kind.label())];
        histogram(names::VOLUME_DURATION, labels, stats, text);
    }
}

fn head(family: Family, text: &mut String) {
    write_help_line(text, family.name, None, None, family.help);
    write_type_line(text, family.name, None, None, "histogram");
}

fn histogram(family: Family, labels: Vec<Label>, stats: &KindStats, text: &mut String) {
    let labels = label_set(family, labels);
    let bounds = LATENCY_BOUNDS_US
        .iter()
        .map(|bound| seconds(*bound).to_string())
        .chain(["+Inf".to_owned()]);
    let mut cumulated = 0;
    for (bound, bucket) in bounds.zip(&stats.buckets) {
        cumulated += bucket;
        let bound = Some(("le", bound));
        write_metric_line(text, family.name, Some("bucket"), &labels, bound, cumulated, None);
    }
    let (none, sum) = (None::<(&str, &str)>, seconds(stats.sum_us));
    write_metric_line(text, family.name, Some("sum"), &labels, none, sum, None);
    write_metric_line(text, family.name, Some("count"), &labels, none, cumulated, None);
}

fn label_set(family: Family, labels: Vec<Label>) -> LabelSet {
    LabelSet::from_key_and_global(&Key::from_parts(family.name, labels), &indexmap::IndexMap::new())
}

#[expect(
    clippy::cast_precision_loss,
    reason = "Prometheus' numbers are floats: exact up to 2^53 microseconds, 285 years"
)]
fn seconds(microseconds: u64) -> f64 {
    microseconds as f64 / 1e6
}

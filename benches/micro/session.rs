//! What a session makes of one receive with 32 requests.

use criterion::{BatchSize, Criterion, Throughput};
use flashtrack_nbd_server::protocol::constants::{CMD_READ, CMD_WRITE};
use flashtrack_nbd_server::session::{Event, Session};

use crate::connection::{OneExport, connected, requests};

const REQUESTS: u64 = 32;

pub(crate) fn run(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("one receive with 32 requests of 4 KiB");
    group.throughput(Throughput::Elements(REQUESTS));
    for (name, command) in [("reads", CMD_READ), ("writes", CMD_WRITE)] {
        let received = requests(command, REQUESTS);
        group.bench_function(name, |bencher| {
            bencher.iter_batched(
                || (connected(), Vec::with_capacity(64)),
                |(mut session, mut events): (Session, Vec<Event>)| {
                    session.receive(&received, &OneExport, &mut events);
                    assert_eq!(events.len() as u64, REQUESTS, "each is an event");
                    // Dropped by the caller, outside the time.
                    (session, events)
                },
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

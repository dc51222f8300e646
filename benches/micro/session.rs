//! What a session makes of one receive with 32 requests.

use criterion::{BatchSize, Criterion, Throughput};
use flashtrack_engine::units::VolumeId;
use flashtrack_nbd_server::protocol::constants::{CMD_READ, CMD_WRITE, REQUEST_MAGIC};
use flashtrack_nbd_server::session::{Event, ExportInfo, Exports, Session, SessionLimits};

const REQUESTS: u64 = 32;
const BLOCK: u32 = 4 << 10;

pub(crate) fn run(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("one receive with 32 requests of 4 KiB");
    group.throughput(Throughput::Elements(REQUESTS));
    for (name, command) in [("reads", CMD_READ), ("writes", CMD_WRITE)] {
        let received: Vec<u8> = (0..REQUESTS).flat_map(|number| request(command, number)).collect();
        group.bench_function(name, |bencher| {
            bencher.iter_batched(
                || (connected(), Vec::with_capacity(64)),
                |(mut session, mut events): (Session, Vec<Event>)| {
                    session.receive(&received, &OneExport, &mut events);
                    assert_eq!(events.len() as u64, REQUESTS, "each is an event");
                    (session, events)
                },
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

struct OneExport;

impl Exports for OneExport {
    fn find(&self, name: &str) -> Option<ExportInfo> {
        Some(ExportInfo {
            volume: VolumeId(1),
            name: name.to_owned(),
            description: String::new(),
            size_bytes: 1 << 30,
            preferred_block_bytes: BLOCK,
        })
    }

    fn names(&self) -> Vec<String> {
        vec!["volume".to_owned()]
    }
}

/// A session that serves its export.
fn connected() -> Session {
    let mut session = Session::new(SessionLimits::default());
    // Client flags, then EXPORT_NAME with a name of six letters.
    let mut hello = 3_u32.to_be_bytes().to_vec();
    hello.extend(b"IHAVEOPT");
    hello.extend(1_u32.to_be_bytes());
    hello.extend(6_u32.to_be_bytes());
    hello.extend(b"volume");
    let mut events = Vec::new();
    session.receive(&hello, &OneExport, &mut events);
    assert!(matches!(events[..], [Event::ExportChosen(_)]), "{events:?}");
    session
}

fn request(command: u16, number: u64) -> Vec<u8> {
    let mut request = REQUEST_MAGIC.to_be_bytes().to_vec();
    request.extend([0, 0]);
    request.extend(command.to_be_bytes());
    request.extend(number.to_be_bytes());
    request.extend((number * u64::from(BLOCK)).to_be_bytes());
    request.extend(BLOCK.to_be_bytes());
    if command == CMD_WRITE {
        request.extend(vec![7; BLOCK as usize]);
    }
    request
}

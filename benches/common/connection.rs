//! A session that serves an export, and requests as bytes, for counts and micro-benchmarks.

use flashtrack_engine::units::VolumeId;
use flashtrack_nbd_server::protocol::constants::{CMD_WRITE, REQUEST_MAGIC};
use flashtrack_nbd_server::session::{Event, ExportInfo, Exports, Session, SessionLimits};

/// Bytes of each request.
pub(crate) const BLOCK: u32 = 4 << 10;

/// An export of any name.
pub(crate) struct OneExport;

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

/// A session behind its handshake, with simple replies.
pub(crate) fn connected() -> Session {
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

/// So many requests for blocks that follow each other, as they come in one receive.
pub(crate) fn requests(command: u16, count: u64) -> Vec<u8> {
    (0..count).flat_map(|number| request(command, number)).collect()
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

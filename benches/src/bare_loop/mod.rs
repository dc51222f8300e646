//! The floor: the least that an NBD server can do. A file mapped into memory, one thread for each connection, blocking
//! sockets; requests are read in one go and answered in one go, and between lies a copy to or from the map.
//!
//! What a client reaches against it is what client and socket cost. It checks no more than keeps it alive, and a
//! FLUSH is answered without a sync: it is a ruler, not a server.

mod map;
mod wire;

use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;

use crate::error::{BenchError, Outcome};
use map::SharedMap;
use wire::Request;

/// Requests are received in so many bytes at most, and replies sent when there are so many.
const BATCH_BYTES: usize = 256 << 10;

/// Serves `file` on `socket` until the process is ended.
///
/// # Errors
/// One of them cannot be used.
pub fn serve(file: &Path, socket: &Path) -> Outcome {
    let opened = File::options().read(true).write(true).open(file);
    let map = opened.and_then(|file| SharedMap::new(&file)).map_err(BenchError::file(file))?;
    let map = Arc::new(map);
    let listener = UnixListener::bind(socket).map_err(BenchError::file(socket))?;
    for stream in listener.incoming() {
        let stream = stream.map_err(BenchError::file(socket))?;
        let map = Arc::clone(&map);
        // A connection that fails ends; the client tells.
        std::thread::spawn(move || serve_connection(&map, stream));
    }
    Ok(())
}

fn serve_connection(map: &SharedMap, stream: UnixStream) -> io::Result<()> {
    let mut output = stream.try_clone()?;
    let mut input = BufReader::with_capacity(BATCH_BYTES, stream);
    wire::handshake(&mut input, &mut output, map.bytes())?;
    let mut replies = Vec::with_capacity(2 * BATCH_BYTES);
    let mut payload = Vec::new();
    while let Some(request) = Request::read(&mut input)? {
        match request.command {
            wire::READ => {
                wire::put_reply(&mut replies, request.cookie);
                map.read(request.offset, request.bytes, &mut replies)?;
            }
            wire::WRITE => {
                payload.resize(request.bytes, 0);
                input.read_exact(&mut payload)?;
                map.write(request.offset, &payload)?;
                wire::put_reply(&mut replies, request.cookie);
            }
            wire::DISCONNECT => return output.write_all(&replies),
            _ => wire::put_reply(&mut replies, request.cookie),
        }
        // While further requests are here already, their replies go along.
        if input.buffer().is_empty() || replies.len() >= BATCH_BYTES {
            output.write_all(&replies)?;
            replies.clear();
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(command: u16, cookie: u64, offset: u64, bytes: u32) -> Vec<u8> {
        let mut request = 0x2560_9513_u32.to_be_bytes().to_vec();
        request.extend([0, 0]);
        request.extend(command.to_be_bytes());
        request.extend(cookie.to_be_bytes());
        request.extend(offset.to_be_bytes());
        request.extend(bytes.to_be_bytes());
        request
    }

    #[test]
    fn what_was_written_is_read_back() {
        let file = tempfile::tempfile().expect("a temporary file can be made");
        file.set_len(1 << 20).expect("it can be grown");
        let map = SharedMap::new(&file).expect("it can be mapped");
        let (mut client, server) = UnixStream::pair().expect("sockets can be made");
        let mut sent = 3_u32.to_be_bytes().to_vec();
        sent.extend(b"IHAVEOPT");
        sent.extend(7_u32.to_be_bytes());
        sent.extend(6_u32.to_be_bytes());
        sent.extend([0; 6]);
        sent.extend(request(wire::WRITE, 1, 4096, 3));
        sent.extend(b"abc");
        sent.extend(request(wire::READ, 2, 4095, 5));
        sent.extend(request(wire::DISCONNECT, 3, 0, 0));
        client.write_all(&sent).expect("the server is there");

        // Everything was sent before: no other thread is needed.
        let served = serve_connection(&map, server);

        let mut got = Vec::new();
        client.read_to_end(&mut got).expect("the server has ended");
        assert!(served.is_ok(), "{served:?}");
        // Without the batch being sent on DISC nothing would have come.
        assert!(got.ends_with(b"\0abc\0"), "{got:?}");
    }

    #[test]
    fn a_request_past_the_end_ends_the_connection() {
        let file = tempfile::tempfile().expect("a temporary file can be made");
        file.set_len(8192).expect("it can be grown");
        let map = SharedMap::new(&file).expect("it can be mapped");
        assert!(map.read(8000, 193, &mut Vec::new()).is_err());
        assert!(map.write(u64::MAX, &[1, 2]).is_err());
    }
}

//! Replies of the transmission phase, written behind whatever `out` holds already.

use super::constants as nbd;
use super::errno::ErrorValue;

/// A simple reply; the data of a successful read follows.
pub fn put_simple(out: &mut Vec<u8>, cookie: u64, error: Option<ErrorValue>) {
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&nbd::SIMPLE_REPLY_MAGIC.to_be_bytes());
    bytes[4..8].copy_from_slice(&error.map_or(0, ErrorValue::code).to_be_bytes());
    bytes[8..].copy_from_slice(&cookie.to_be_bytes());
    out.extend_from_slice(&bytes);
}

/// Whether a chunk ends its reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChunkPlace {
    /// More chunks follow.
    Within,
    /// The reply is complete.
    Last,
}

/// The last chunk of a successful reply that has nothing more to say.
pub fn put_none(out: &mut Vec<u8>, cookie: u64) {
    put_chunk_header(out, ChunkPlace::Last, nbd::REPLY_TYPE_NONE, cookie, 0);
}

/// The beginning of a chunk of `bytes` bytes of a read, from byte `offset` of the export; the data
/// follows.
///
/// # Panics
/// When `bytes` is 0 or above the advertised maximum payload, which the document forbids.
pub fn put_data_header(
    out: &mut Vec<u8>,
    place: ChunkPlace,
    cookie: u64,
    offset: u64,
    bytes: usize,
) {
    let bytes = u32::try_from(bytes).expect("a chunk's data was limited by its caller");
    assert!(bytes > 0 && bytes <= nbd::PAYLOAD_BYTES_ADVERTISED, "{bytes} bytes in a chunk");
    put_chunk_header(out, place, nbd::REPLY_TYPE_OFFSET_DATA, cookie, bytes + 8);
    out.extend_from_slice(&offset.to_be_bytes());
}

/// A structured reply that is one error chunk with a text, cleaned and cut to what is allowed.
#[expect(clippy::missing_panics_doc, reason = "the text's length was cut to fit")]
pub fn put_error(out: &mut Vec<u8>, cookie: u64, error: ErrorValue, text: &str) {
    let text = clean_text(text);
    let text_bytes = u16::try_from(text.len()).expect("clean texts are at most 4096 bytes long");
    let bytes = 6 + u32::from(text_bytes);
    put_chunk_header(out, ChunkPlace::Last, nbd::REPLY_TYPE_ERROR, cookie, bytes);
    out.extend_from_slice(&error.code().to_be_bytes());
    out.extend_from_slice(&text_bytes.to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

/// The header of a chunk whose payload of `bytes` bytes follows.
pub(super) fn put_chunk_header(
    out: &mut Vec<u8>,
    place: ChunkPlace,
    kind: u16,
    cookie: u64,
    bytes: u32,
) {
    let flags = match place {
        ChunkPlace::Within => 0,
        ChunkPlace::Last => nbd::REPLY_FLAG_DONE,
    };
    let mut header = [0; 20];
    header[..4].copy_from_slice(&nbd::STRUCTURED_REPLY_MAGIC.to_be_bytes());
    header[4..6].copy_from_slice(&flags.to_be_bytes());
    header[6..8].copy_from_slice(&kind.to_be_bytes());
    header[8..16].copy_from_slice(&cookie.to_be_bytes());
    header[16..].copy_from_slice(&bytes.to_be_bytes());
    out.extend_from_slice(&header);
}

/// A text as the protocol allows it (P3): control characters, NUL among them, become `?`, and what
/// passes 4,096 bytes is cut off at a character's boundary.
pub(super) fn clean_text(text: &str) -> String {
    let cut = text.floor_char_boundary(nbd::STRING_BYTES_MAX);
    text[..cut].chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::clean_text;

    #[test]
    fn texts_lose_control_characters_and_what_is_too_long() {
        assert_eq!(clean_text("a\0b\nc"), "a?b?c");
        assert_eq!(clean_text(&"x".repeat(5000)).len(), 4096);
        assert_eq!(clean_text(&format!("{}\u{e9}", "x".repeat(4095))), "x".repeat(4095));
    }
}

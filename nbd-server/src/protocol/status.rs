//! Metadata contexts and block status. There is one context: `base:allocation`.

use flashtrack_engine::request::{Allocation, StatusExtent};

use super::constants as nbd;
use super::reply::{ChunkPlace, put_chunk_header};
use super::request::ExtentCount;

/// Name of the one context.
pub const ALLOCATION: &str = "base:allocation";
/// Its id once chosen; 0 is what `LIST_META_CONTEXT` tells, where ids mean nothing.
pub const ALLOCATION_ID: u32 = 1;

/// Whether `LIST_META_CONTEXT` with these queries lists the context: no query asks for everything,
/// `base:` for the whole namespace. Unknown queries find nothing.
pub fn is_listed(queries: &[&str]) -> bool {
    queries.is_empty() || queries.iter().any(|&query| query == "base:" || query == ALLOCATION)
}

/// Whether `SET_META_CONTEXT` with these queries chooses the context: only its exact name does.
pub fn is_chosen(queries: &[&str]) -> bool {
    queries.contains(&ALLOCATION)
}

/// A structured reply that tells the extents of the `bytes` bytes that were asked for.
///
/// # Panics
/// When `extents` is empty: the engine tells at least one.
pub fn put_status(
    out: &mut Vec<u8>,
    cookie: u64,
    bytes: u32,
    extents: &[StatusExtent],
    count: ExtentCount,
) {
    let told = match count {
        ExtentCount::One => 1,
        ExtentCount::Many => extents.len().min(nbd::EXTENTS_PER_CHUNK_MAX),
    };
    let extents = &extents[..told];
    let payload = u32::try_from(4 + 8 * told).expect("2^20 extents fit 32 bits");
    out.reserve(20 + 4 + 8 * told);
    put_chunk_header(out, ChunkPlace::Last, nbd::REPLY_TYPE_BLOCK_STATUS, cookie, payload);
    out.extend_from_slice(&ALLOCATION_ID.to_be_bytes());
    for extent in extents {
        // The extents sum to what was asked, so none is longer.
        let length = u32::try_from(extent.bytes).unwrap_or(bytes).min(bytes);
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(&state(extent.status).to_be_bytes());
    }
}

/// HOLE clear promises that a write there finds space.
fn state(status: Allocation) -> u32 {
    match status {
        Allocation::Data => 0,
        Allocation::Hole => nbd::STATE_HOLE | nbd::STATE_ZERO,
        Allocation::Zero => nbd::STATE_ZERO,
    }
}

#[cfg(test)]
mod tests {
    use super::{is_chosen, is_listed};

    #[test]
    fn only_exact_names_choose_and_wildcards_list() {
        assert!(is_listed(&[]));
        assert!(is_listed(&["x-other:", "base:"]));
        assert!(is_listed(&["base:allocation"]));
        assert!(!is_listed(&["base:alloc", "base", "", "qemu:allocation-depth"]));

        assert!(!is_chosen(&[]));
        assert!(!is_chosen(&["base:"]));
        assert!(is_chosen(&["x-other:y", "base:allocation", "base:allocation"]));
    }
}

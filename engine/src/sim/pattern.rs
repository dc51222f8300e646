//! What writes write: every eight bytes tell the number of the write and the place they were meant for.
//!
//! A byte read back is therefore right, old, misplaced or foreign, and a failure can say which.

use super::prng::mix;

/// Bits of a word's place; the rest hold the write's number.
const PLACE_BITS: u32 = 42;

/// The word number `place` (bytes `8 * place..`) of write `write`.
fn word(write: u32, place: u64) -> u64 {
    mix((u64::from(write) << PLACE_BITS) | (place & ((1 << PLACE_BITS) - 1)))
}

/// Fills `out` with what write `write` puts at byte `at` of its volume.
pub fn fill(write: u32, at: u64, out: &mut [u8]) {
    let (head, place) = head(at, out.len());
    let (first, rest) = out.split_at_mut(head);
    fill_part(write, at, first);
    let mut words = rest.chunks_exact_mut(8);
    let mut next = place;
    for bytes in &mut words {
        bytes.copy_from_slice(&word(write, next).to_le_bytes());
        next += 1;
    }
    fill_part(write, next * 8, words.into_remainder());
}

/// True when `bytes` are what write `write` puts at byte `at` of its volume.
pub fn matches(write: u32, at: u64, bytes: &[u8]) -> bool {
    let (head, place) = head(at, bytes.len());
    let (first, rest) = bytes.split_at(head);
    let mut words = rest.chunks_exact(8);
    let mut next = place;
    let aligned = words.by_ref().all(|bytes| {
        next += 1;
        bytes == word(write, next - 1).to_le_bytes()
    });
    aligned && matches_part(write, at, first) && matches_part(write, next * 8, words.remainder())
}

/// True when all bytes are zero.
pub fn is_zero(bytes: &[u8]) -> bool {
    const ZEROES: [u8; 4096] = [0; 4096];
    bytes.chunks(ZEROES.len()).all(|chunk| *chunk == ZEROES[..chunk.len()])
}

/// Bytes before the first whole word of a buffer that belongs at `at`, and that word's place.
fn head(at: u64, length: usize) -> (usize, u64) {
    let place = at.div_ceil(8);
    let head = usize::try_from(place * 8 - at).unwrap_or(0);
    (head.min(length), place)
}

/// Fills a part of one word.
fn fill_part(write: u32, at: u64, out: &mut [u8]) {
    let bytes = word(write, at / 8).to_le_bytes();
    for (byte, value) in out.iter_mut().zip(bytes.iter().skip(usize::try_from(at % 8).unwrap_or(0)))
    {
        *byte = *value;
    }
}

/// True when a part of one word is as written.
fn matches_part(write: u32, at: u64, part: &[u8]) -> bool {
    let bytes = word(write, at / 8).to_le_bytes();
    part.iter().eq(bytes.iter().skip(usize::try_from(at % 8).unwrap_or(0)).take(part.len()))
}

/// Says whose data stands at the first whole word of `bytes`, which were read at byte `at`.
pub fn describe(at: u64, bytes: &[u8]) -> String {
    let (skip, _) = head(at, bytes.len());
    let Some(found) = bytes[skip..].first_chunk() else {
        return format!("bytes {bytes:02x?}");
    };
    let found = u64::from_le_bytes(*found);
    if found == 0 {
        return "zeroes".to_owned();
    }
    let plain = unmix(found);
    let place = (plain & ((1 << PLACE_BITS) - 1)) * 8;
    format!("data of write {} meant for byte {place:#x}", plain >> PLACE_BITS)
}

/// Undoes `mix`.
fn unmix(value: u64) -> u64 {
    let value =
        (value ^ (value >> 31) ^ (value >> 62)).wrapping_mul(inverse(0x94d0_49bb_1331_11eb));
    let value =
        (value ^ (value >> 27) ^ (value >> 54)).wrapping_mul(inverse(0xbf58_476d_1ce4_e5b9));
    value ^ (value >> 30) ^ (value >> 60)
}

/// The number that multiplied with the odd `factor` gives 1 (Newton's iteration modulo 2^64).
fn inverse(factor: u64) -> u64 {
    let mut guess = factor;
    for _ in 0..6 {
        guess = guess.wrapping_mul(2u64.wrapping_sub(factor.wrapping_mul(guess)));
    }
    guess
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_is_recognised_at_any_alignment_and_told_apart() {
        let mut bytes = vec![0; 5000];
        fill(77, 1_000_003, &mut bytes);
        assert!(matches(77, 1_000_003, &bytes));
        assert!(matches(77, 1_000_013, &bytes[10..]));
        assert!((0..20).all(|length| matches(77, 1_000_004, &bytes[1..=length])));
        assert!(!matches(78, 1_000_003, &bytes));
        assert!(!matches(77, 1_000_011, &bytes));
        assert_eq!(describe(1_000_003, &bytes), "data of write 77 meant for byte 0xf4248");
    }
}

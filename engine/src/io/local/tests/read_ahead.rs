//! What was announced is read by a thread of its own, and nobody can tell but by the time.

use super::*;
use crate::io::Stretch;

const SEGMENTS: [Object; 3] = [Object::Segment(0), Object::Segment(1), Object::Segment(2)];
/// The last piece of each is short, and no multiple of a sector.
const SEGMENT_BYTES: usize = 3 * MIB + 5000;

/// Three segments full of bytes that tell where they are.
fn filled(dir: &TempDir) -> LocalStorage {
    let mut storage = storage(dir);
    for segment in SEGMENTS {
        storage.create(segment, SEGMENT_BYTES as u64, CreateSpace::Preallocated).unwrap();
        storage.write(segment, 0, &content(segment)).unwrap();
        storage.sync(segment).unwrap();
    }
    storage
}

fn content(segment: Object) -> Vec<u8> {
    let Object::Segment(number) = segment else { panic!("{segment:?}") };
    let byte = |at: usize| u8::try_from((at / 512 * 7 + at + number as usize * 3) % 251).unwrap();
    (0..SEGMENT_BYTES).map(byte).collect()
}

fn stretch(object: Object, start: u64, end: u64) -> Stretch {
    Stretch { object, range: ByteRange { start, end } }
}

fn read(storage: &mut LocalStorage, object: Object, offset: usize, bytes: usize) -> Vec<u8> {
    let mut buffer = vec![0xee; bytes];
    storage.read(object, offset as u64, &mut buffer).unwrap();
    buffer
}

#[test]
fn what_was_read_ahead_is_what_a_plain_read_gives() {
    let dir = temporary();
    let mut storage = filled(&dir);
    let end = SEGMENT_BYTES as u64;
    storage.will_read(&[stretch(SEGMENTS[0], 5000, end), stretch(SEGMENTS[2], 4096, end)]);

    for segment in [SEGMENTS[0], SEGMENTS[2]] {
        let whole = content(segment);
        let mut at = 5000;
        for bytes in [100, MIB, 70_000, MIB + 3, 4096].into_iter().cycle() {
            let bytes = bytes.min(SEGMENT_BYTES - at);
            assert_eq!(read(&mut storage, segment, at, bytes), whole[at..at + bytes], "{at}");
            at += bytes;
            if at == SEGMENT_BYTES {
                break;
            }
        }
    }
}

#[test]
fn reads_of_other_places_and_past_the_end_are_right_too() {
    let dir = temporary();
    let mut storage = filled(&dir);
    let all = SEGMENTS.map(|segment| stretch(segment, 0, SEGMENT_BYTES as u64 + 9000));
    storage.will_read(&all[..2]);

    // Not announced, far ahead, back again, before what is held, and past the end.
    for (segment, at) in [(2, 77), (1, 2 * MIB), (0, 9), (1, MIB), (1, SEGMENT_BYTES - 10)] {
        let segment = SEGMENTS[segment];
        let mut expected = content(segment);
        expected.resize(SEGMENT_BYTES + 20, 0);
        assert_eq!(read(&mut storage, segment, at, 20), expected[at..at + 20], "{segment:?} {at}");
    }
}

#[test]
fn what_is_written_is_not_what_was_read_ahead() {
    let dir = temporary();
    let mut storage = filled(&dir);
    storage.will_read(&SEGMENTS.map(|segment| stretch(segment, 0, SEGMENT_BYTES as u64)));
    read(&mut storage, SEGMENTS[0], 0, 10);

    storage.write(SEGMENTS[0], 100, b"new").unwrap();

    assert_eq!(read(&mut storage, SEGMENTS[0], 100, 3), b"new");
    storage.will_read(&[stretch(SEGMENTS[1], 0, SEGMENT_BYTES as u64)]);
    storage.remove(SEGMENTS[1]).unwrap();
    let gone = storage.read(SEGMENTS[1], 0, &mut [0; 10]);
    assert!(matches!(gone, Err(IoFailure::Io(libc::ENOENT))), "{gone:?}");
}

#[test]
fn space_that_was_never_written_holds_no_data() {
    let dir = temporary();
    let mut storage = storage(&dir);
    storage.create(SEGMENTS[0], MIB as u64, CreateSpace::Preallocated).unwrap();
    let whole = stretch(SEGMENTS[0], 4096, MIB as u64);
    assert_eq!(storage.data(whole), Ok(Vec::new()));

    storage.write(SEGMENTS[0], 512 << 10, &[1; 100]).unwrap();

    let data = storage.data(whole).unwrap();
    let holds = |at: u64| data.iter().any(|part| part.start <= at && at < part.end);
    assert!(holds(512 << 10) && !holds(4096) && !holds(MIB as u64 - 1), "{data:?}");
}

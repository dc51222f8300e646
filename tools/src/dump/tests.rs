//! Dumps of random images: what is read is what was written, and nothing damaged is taken.

use std::io::Cursor;

use proptest::prelude::*;

use super::format::{Base, FORMAT, Header, Piece, RECORD_BYTES};
use super::reader::{Damage, DumpReader};
use super::writer::DumpWriter;

const KIB: usize = 1 << 10;

fn index(bytes: u64) -> usize {
    usize::try_from(bytes).expect("the images are small")
}

fn header(size: usize, base: Option<Base>) -> Header {
    Header {
        format: FORMAT,
        id: "0123456789abcdef0123456789abcdef".to_owned(),
        volume: "v".to_owned(),
        volume_type: "fb".to_owned(),
        size_bytes: size as u64,
        track_bytes: 65_536,
        created_at: 1,
        copies: vec![],
        base,
    }
}

/// What part of an image holds.
#[derive(Clone, Copy, Debug)]
enum Fill {
    Hole,
    ZeroData,
    Same(u8),
    Random(u64),
}

/// The image and how it is told: a hole, or data.
fn image() -> impl Strategy<Value = (Vec<u8>, Vec<(usize, bool)>)> {
    let fill = prop_oneof![
        Just(Fill::Hole),
        Just(Fill::ZeroData),
        any::<u8>().prop_map(Fill::Same),
        any::<u64>().prop_map(Fill::Random)
    ];
    prop::collection::vec((fill, 1..300 * KIB), 1..8).prop_map(|parts| {
        let (mut image, mut told) = (Vec::new(), Vec::new());
        for (fill, bytes) in parts {
            let mut seed = match fill {
                Fill::Random(seed) => seed | 1,
                _ => 0,
            };
            image.extend((0..bytes).map(|_| {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(seed & 1);
                match fill {
                    Fill::Hole | Fill::ZeroData => 0,
                    Fill::Same(byte) => byte,
                    Fill::Random(_) => seed.to_be_bytes()[0],
                }
            }));
            told.push((bytes, matches!(fill, Fill::Hole)));
        }
        (image, told)
    })
}

fn dumped(image: &[u8], told: &[(usize, bool)]) -> Vec<u8> {
    let mut writer = DumpWriter::begin(Vec::new(), &header(image.len(), None)).expect("memory");
    let mut at = 0;
    for &(bytes, hole) in told {
        if hole {
            writer.zeroes(at as u64, bytes as u64).expect("memory");
        } else {
            writer.data(at as u64, &image[at..at + bytes]).expect("memory");
        }
        at += bytes;
    }
    writer.finish().expect("memory").0
}

/// Everything that is read until the end or the first damage.
fn restored(dump: &[u8]) -> (Vec<u8>, Result<(), Damage>) {
    let mut image = Vec::new();
    let result = (|| {
        let mut reader = DumpReader::open(dump)?;
        image = vec![0xEE; index(reader.header().size_bytes)];
        while let Some(piece) = reader.next_piece()? {
            match piece {
                Piece::Data { offset, bytes } => {
                    image[index(offset)..][..bytes.len()].copy_from_slice(&bytes);
                }
                Piece::Zeroes { offset, bytes } => {
                    image[index(offset)..][..index(bytes)].fill(0);
                }
            }
        }
        assert!(reader.manifest().is_some());
        Ok(())
    })();
    (image, result)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_dump_gives_the_image_back((image, told) in image()) {
        let (found, result) = restored(&dumped(&image, &told));

        prop_assert!(result.is_ok(), "{result:?}");
        prop_assert!(found == image);
    }

    #[test]
    fn a_flipped_bit_anywhere_is_refused((image, told) in image(), at in any::<prop::sample::Index>(), bit in 0..8) {
        let mut dump = dumped(&image, &told);
        let at = at.index(dump.len());
        dump[at] ^= 1_u8 << bit;

        prop_assert!(restored(&dump).1.is_err(), "bit {bit} of byte {at}");
    }

    #[test]
    fn a_dump_that_is_cut_off_or_goes_on_is_refused((image, told) in image(), at in any::<prop::sample::Index>()) {
        let mut dump = dumped(&image, &told);
        let cut = at.index(dump.len());

        prop_assert!(restored(&dump[..cut]).1.is_err(), "cut at {cut} of {}", dump.len());
        dump.push(0);
        prop_assert!(restored(&dump).1.is_err());
    }

    #[test]
    fn a_dump_that_was_interrupted_goes_on_to_the_same_image((image, told) in image(), at in any::<prop::sample::Index>()) {
        let whole = dumped(&image, &told);
        let first = RECORD_BYTES + serde_json::to_vec(&header(image.len(), None)).expect("JSON").len();
        let cut = first + at.index(whole.len() - first);
        let mut reader = DumpReader::open(&whole[..cut]).expect("the header is whole");
        while let Ok(Some(_)) = reader.next_piece() {}
        let resumption = reader.resumption();
        let (kept, end) = (index(resumption.stored_bytes), index(resumption.end));

        let sink = whole[..kept].to_vec();
        let mut writer = DumpWriter::resume(sink, reader.header(), resumption).expect("memory");
        writer.data(end as u64, &image[end..]).expect("memory");
        let resumed = writer.finish().expect("memory").0;

        let (found, result) = restored(&resumed);
        prop_assert!(result.is_ok(), "{result:?}");
        prop_assert!(found == image);
    }

    #[test]
    fn bytes_of_anyone_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..500)) {
        prop_assert!(restored(&bytes).1.is_err());
    }
}

#[test]
fn zeroes_cost_one_record_however_they_are_told() {
    let size = 64 << 20;
    let image = vec![0; size];
    let pieces: Vec<(usize, bool)> = (0..64).map(|n| (1 << 20, n % 2 == 0)).collect();

    let dump = dumped(&image, &pieces);

    assert!(dump.len() < 1000, "{} bytes", dump.len());
    let (header, manifest) =
        DumpReader::open(Cursor::new(&dump)).and_then(DumpReader::skim).expect("whole");
    assert_eq!((header.size_bytes, manifest.records), (size as u64, 3));
    assert_eq!((manifest.totals.zero_bytes, manifest.totals.data_bytes), (size as u64, 0));
}

#[test]
fn only_a_dump_with_a_base_may_leave_something_out() {
    let base = Base { id: "a".to_owned(), blake3: "b".to_owned() };
    for (base, taken) in [(None, false), (Some(base), true)] {
        let mut writer = DumpWriter::begin(Vec::new(), &header(256 * KIB, base)).expect("memory");
        writer.data(64 << 10, &vec![7; 64 * KIB]).expect("memory");
        let (dump, finished) = writer.finish().expect("memory");

        assert_eq!(finished.manifest.totals.unchanged_bytes, 192 << 10);
        assert_eq!(restored(&dump).1.is_ok(), taken);
    }
}

#[test]
fn what_is_no_dump_is_told_as_such() {
    for nonsense in
        [&b""[..], b"FTDR", &[0; 4096], b"#!/bin/sh\nexit 0\n# and what else a file may hold"]
    {
        assert!(matches!(restored(nonsense).1, Err(Damage::NoDump)), "{nonsense:?}");
    }
}

//! Values of options, from text.

use std::time::Duration;

use flashtrack_engine::admin::{DatasetExtent, ExtentSpec};

/// A size in bytes: a number, or one with K, M, G or T (powers of 1024).
pub(crate) fn byte_size(text: &str) -> Result<u64, String> {
    parse_size::Config::new().with_binary().parse_size(text).map_err(|error| match error {
        parse_size::Error::PosOverflow => "more than 2^64 bytes".to_owned(),
        _ => "write a number of bytes, or one with K, M, G or T (powers of 1024), such as 10G"
            .to_owned(),
    })
}

/// A device number: up to four hexadecimal digits.
pub(crate) fn device_number(text: &str) -> Result<u16, String> {
    // `from_str_radix` alone would take a sign.
    let digits = !text.starts_with('+') && text.len() <= 4;
    u16::from_str_radix(text, 16)
        .ok()
        .filter(|_| digits)
        .ok_or_else(|| "a device number has up to four hexadecimal digits, such as 0A00".to_owned())
}

/// A control unit: two hexadecimal digits.
pub(crate) fn control_unit(text: &str) -> Result<u8, String> {
    u8::from_str_radix(text, 16)
        .ok()
        .filter(|_| text.len() == 2 && !text.starts_with('+'))
        .ok_or_else(|| {
            "a control unit has two hexadecimal digits, such as 0A for the devices 0A00 to 0AFF"
                .to_owned()
        })
}

/// A time with its unit.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text)
        .map_err(|_| "write a number with its unit, such as 500ms, 60s, 5min or 2h".to_owned())
}

/// An extent pair: `SRC:TGT:COUNT`, in tracks.
pub(crate) fn extent(text: &str) -> Result<ExtentSpec, String> {
    let form = || "write SRC:TGT:COUNT, three numbers of tracks, such as 0:1600:160".to_owned();
    let mut numbers = text.split(':').map(str::parse::<u32>);
    let mut next = || numbers.next().and_then(Result::ok);
    let parsed = match (next(), next(), next()) {
        (Some(source_track), Some(target_track), Some(tracks)) => {
            ExtentSpec { source_track, target_track, tracks }
        }
        _ => return Err(form()),
    };
    if numbers.next().is_some() {
        return Err(form());
    }
    Ok(parsed)
}

/// A source volume and its target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct VolumePair {
    /// Name of the source.
    pub(crate) source: String,
    /// Name of the target.
    pub(crate) target: String,
}

/// A pair of volumes: `SOURCE:TARGET`. No volume's name has a colon.
pub(crate) fn volume_pair(text: &str) -> Result<VolumePair, String> {
    match text.split_once(':') {
        Some((source, target))
            if !source.is_empty() && !target.is_empty() && !target.contains(':') =>
        {
            Ok(VolumePair { source: source.to_owned(), target: target.to_owned() })
        }
        _ => Err("write SOURCE:TARGET, two names of volumes, such as wal:wal-copy".to_owned()),
    }
}

/// An extent of a dataset: `VOLUME:FIRST:COUNT`, in tracks.
pub(crate) fn dataset_extent(text: &str) -> Result<DatasetExtent, String> {
    let parts: Vec<&str> = text.split(':').collect();
    let parsed = match parts.as_slice() {
        [volume, first, count] if !volume.is_empty() => first.parse().ok().zip(count.parse().ok()),
        _ => None,
    };
    match (parsed, parts.first()) {
        (Some((first_track, tracks)), Some(&volume)) => {
            Ok(DatasetExtent { volume: volume.to_owned(), first_track, tracks })
        }
        _ => Err("write VOLUME:FIRST:COUNT, a name and two numbers of tracks, such as data:0:160"
            .to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_take_powers_of_1024_and_nothing_else() {
        assert_eq!(byte_size("4096"), Ok(4096));
        assert_eq!(byte_size("10G"), Ok(10 << 30));
        assert_eq!(byte_size("1.5k"), Ok(1536));
        assert_eq!(byte_size("15TiB"), Ok(15 << 40));
        assert_eq!(byte_size("9223372036854775808"), Ok(1 << 63));
        for nonsense in ["", "G", "-1", "10X", "ten"] {
            assert!(byte_size(nonsense).is_err(), "{nonsense:?} was taken");
        }
    }

    #[test]
    fn a_size_that_64_bits_do_not_hold_is_refused_as_such() {
        for huge in ["18446744073709551616", "16777216T", "99999999999999999999999999"] {
            assert_eq!(byte_size(huge), Err("more than 2^64 bytes".to_owned()), "{huge}");
        }
    }

    #[test]
    fn device_numbers_are_up_to_four_hexadecimal_digits() {
        assert_eq!(device_number("0A00"), Ok(0x0A00));
        assert_eq!(device_number("ffff"), Ok(0xFFFF));
        for nonsense in ["", "10000", "0x10", "+A00", "-1", "0G00", "00A00"] {
            assert!(device_number(nonsense).is_err(), "{nonsense:?} was taken");
        }
    }

    #[test]
    fn an_extent_is_three_numbers_of_tracks() {
        let parsed = extent("1:20:300").expect("three numbers");
        assert_eq!((parsed.source_track, parsed.target_track, parsed.tracks), (1, 20, 300));
        for nonsense in ["", "1:2", "1:2:3:4", "1:-2:3", "a:b:c", "1:2:4294967296", "1:2:"] {
            assert!(extent(nonsense).is_err(), "{nonsense:?} was taken");
        }
    }

    #[test]
    fn a_control_unit_is_two_hexadecimal_digits() {
        assert_eq!(control_unit("0A"), Ok(10));
        assert_eq!(control_unit("ff"), Ok(255));
        for nonsense in ["", "A", "+A", "0A0", "0x", "-1", "zz"] {
            assert!(control_unit(nonsense).is_err(), "{nonsense:?} was taken");
        }
    }

    #[test]
    fn a_pair_is_two_names() {
        let pair = volume_pair("wal:wal-copy").expect("two names");
        assert_eq!((pair.source.as_str(), pair.target.as_str()), ("wal", "wal-copy"));
        for nonsense in ["", ":", "a", "a:", ":b", "a:b:c"] {
            assert!(volume_pair(nonsense).is_err(), "{nonsense:?} was taken");
        }
    }

    #[test]
    fn an_extent_of_a_dataset_is_a_name_and_two_numbers_of_tracks() {
        let extent = dataset_extent("data:3200:16").expect("a name and two numbers");
        assert_eq!((extent.volume.as_str(), extent.first_track, extent.tracks), ("data", 3200, 16));
        for nonsense in ["", "data", "data:1", ":1:2", "data:1:2:3", "data:-1:2", "data:1:x"] {
            assert!(dataset_extent(nonsense).is_err(), "{nonsense:?} was taken");
        }
    }
}

//! Values of options, from text.

use std::time::Duration;

use flashtrack_engine::admin::ExtentSpec;

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
}

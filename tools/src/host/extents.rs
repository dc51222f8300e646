//! Tracks as mainframes write them: cylinder and head, and lists of first and last tracks.
//!
//! Invariant: a cylinder has 15 tracks, heads 0 to 14, on every volume. On 3390 types those are the volume's own
//! cylinders; on `fb` volumes they are runs of 15 of its 64 KiB tracks, and the last one may be shorter.

use flashtrack_engine::admin::ExtentSpec;
use flashtrack_engine::limits::TRACKS_PER_CYLINDER;

use super::grammar::{Operand, Word};
use super::operands::{Fault, Operands, at_most_one, hexadecimal, rejected, words};
use super::source::SyntaxError;

/// How a track is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// `CCCCHHHH`: four digits of cylinder, four of head (EXTENTS, XTNTLST).
    Cchh,
    /// `ccccccch`: seven digits of cylinder, one of head (XXTNTLST).
    Extended,
}

/// The number of the track that `word` names, from 0.
pub(crate) fn track(word: &Word, form: Form) -> Result<u32, SyntaxError> {
    let head_bits = match form {
        Form::Cchh => 16,
        Form::Extended => 4,
    };
    let address = hexadecimal(word, 8).map(|all| (all >> head_bits, all & ((1 << head_bits) - 1)));
    let number = address
        .filter(|(_, head)| *head < TRACKS_PER_CYLINDER)
        .and_then(|(cylinder, head)| cylinder.checked_mul(TRACKS_PER_CYLINDER)?.checked_add(head));
    number.ok_or_else(|| {
        let help = match form {
            Form::Cchh => {
                "write CCCCHHHH: eight hexadecimal digits, heads 0000 to 000E, such as 0100000E; XXTNTLST reaches \
                 cylinders above FFFF"
            }
            Form::Extended => {
                "write ccccccch: eight hexadecimal digits, the last one the head, 0 to E, such as 000100AE"
            }
        };
        let message = format!("`{}` is no track", word.text);
        SyntaxError::new(word.at.clone(), message).with_help(help)
    })
}

/// A track as `CCCCHHHH`, or as `ccccccc:h` where its cylinder is above FFFF.
pub(crate) fn cchh(track: u32) -> String {
    let (cylinder, head) = (track / TRACKS_PER_CYLINDER, track % TRACKS_PER_CYLINDER);
    if cylinder > 0xFFFF {
        format!("{cylinder:07X}:{head:X}")
    } else {
        format!("{cylinder:04X}{head:04X}")
    }
}

/// A run of tracks: the first one and how many.
fn run(first: &Word, last: &Word, form: Form) -> Result<(u32, u32), SyntaxError> {
    let (start, end) = (track(first, form)?, track(last, form)?);
    if end < start {
        let message =
            format!("the last track {} is before the first one {}", last.text, first.text);
        return Err(SyntaxError::new(last.at.clone(), message));
    }
    Ok((start, end - start + 1))
}

fn groups_of<'a>(
    words: &'a [&'a Word],
    size: usize,
    what: &str,
) -> Result<impl Iterator<Item = &'a [&'a Word]>, SyntaxError> {
    match words.chunks_exact(size).remainder() {
        [] => Ok(words.chunks_exact(size)),
        [odd, ..] => Err(SyntaxError::new(odd.at.clone(), format!("{what}; some are missing"))),
    }
}

/// The keyword of a command that lists extents, if there is one.
#[derive(Debug)]
pub(crate) struct Lists<'a> {
    same_place: Option<&'a Operand>,
    relocated: Option<&'a Operand>,
    extended: Option<&'a Operand>,
}

impl<'a> Lists<'a> {
    /// Takes EXTENTS, XTNTLST and XXTNTLST.
    pub(crate) fn take(operands: &mut Operands<'a>) -> Result<Self, SyntaxError> {
        Ok(Self { same_place: operands.take(&["EXTENTS"])?, ..Self::take_relocated(operands)? })
    }

    /// Takes XTNTLST and XXTNTLST.
    pub(crate) fn take_relocated(operands: &mut Operands<'a>) -> Result<Self, SyntaxError> {
        Ok(Self {
            same_place: None,
            relocated: operands.take(&["XTNTLST"])?,
            extended: operands.take(&["XXTNTLST"])?,
        })
    }

    /// The extents; none without such a keyword.
    pub(crate) fn extents(&self) -> Result<Vec<ExtentSpec>, Fault> {
        at_most_one(&[
            ("EXTENTS", self.same_place.map(|list| &list.word.at)),
            ("XTNTLST", self.relocated.map(|list| &list.word.at)),
            ("XXTNTLST", self.extended.map(|list| &list.word.at)),
        ])?;
        match (self.same_place, self.relocated, self.extended) {
            (Some(list), _, _) => Ok(same_place(list)?),
            (_, Some(list), _) => relocated(list, Form::Cchh),
            (_, _, Some(list)) => relocated(list, Form::Extended),
            _ => Ok(Vec::new()),
        }
    }
}

/// EXTENTS: pairs of first and last track, at the same place on source and target.
fn same_place(operand: &Operand) -> Result<Vec<ExtentSpec>, SyntaxError> {
    let words = words(operand)?;
    groups_of(&words, 2, "extents are pairs of a first and a last track")?
        .map(|pair| {
            let (start, tracks) = run(pair[0], pair[1], Form::Cchh)?;
            Ok(ExtentSpec { source_track: start, target_track: start, tracks })
        })
        .collect()
}

/// XTNTLST and XXTNTLST: first and last track on the source, then on the target.
fn relocated(operand: &Operand, form: Form) -> Result<Vec<ExtentSpec>, Fault> {
    let words = words(operand)?;
    let what = "the list has two pairs, of the source and of the target, for each extent";
    groups_of(&words, 4, what)?
        .map(|four| {
            let (source_track, tracks) = run(four[0], four[1], form)?;
            let (target_track, target_tracks) = run(four[2], four[3], form)?;
            if tracks != target_tracks {
                let message = format!(
                    "{tracks} tracks from {} on the source and {target_tracks} tracks from {} on the target are no \
                     extent: their sizes must be equal",
                    four[0].text, four[2].text
                );
                return Err(rejected(message).into());
            }
            Ok(ExtentSpec { source_track, target_track, tracks })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::grammar;
    use super::*;

    fn operand(text: &str) -> Operand {
        let text = format!("X {text}");
        let statement = grammar::statement(&text, 0..text.len()).expect("right").expect("one");
        statement.operands[0].clone()
    }

    fn extent(source_track: u32, target_track: u32, tracks: u32) -> ExtentSpec {
        ExtentSpec { source_track, target_track, tracks }
    }

    #[test]
    fn both_ends_belong_to_an_extent() {
        let one = same_place(&operand("EXTENTS(0001000E 0001000E)")).expect("one track");
        assert_eq!(one, [extent(29, 29, 1)]);
        let two = same_place(&operand("EXTENTS(00000000 0000000e, 01000000 0100000E)"));
        assert_eq!(two.expect("two cylinders"), [extent(0, 0, 15), extent(3840, 3840, 15)]);
    }

    #[test]
    fn a_list_relocates_and_the_extended_form_reaches_high_cylinders() {
        let list = operand("XTNTLST(00000000 0000000E 00020000 0002000E)");
        assert_eq!(relocated(&list, Form::Cchh), Ok(vec![extent(0, 30, 15)]));
        let list = operand("XXTNTLST(00100000 0010000E 00000000 0000000E)");
        assert_eq!(relocated(&list, Form::Extended), Ok(vec![extent(0x10000 * 15, 0, 15)]));
    }

    #[test]
    fn unequal_sizes_are_declined_and_nonsense_is_malformed_at_its_word() {
        let list = operand("XTNTLST(00000000 0000000E 00020000 0002000D)");
        assert!(matches!(relocated(&list, Form::Cchh), Err(Fault::Declined(_))));
        for (text, wrong) in [
            ("E(00000000)", "00000000"),
            ("E(00000000 0000000F)", "0000000F"),
            ("E(00000000 0E)", "0E"),
            ("E(00000000 00000G00)", "00000G00"),
            ("E(00000001 00000000)", "00000000"),
        ] {
            let error = same_place(&operand(text)).expect_err(text);
            assert_eq!(&format!("X {text}")[error.at.clone()], wrong, "{error:?}");
        }
    }

    #[test]
    fn a_track_is_printed_as_it_is_read() {
        for number in [0, 14, 15, 3_854, 65_535 * 15 + 14] {
            let word = Word { text: cchh(number), at: 0..0 };
            assert_eq!(track(&word, Form::Cchh), Ok(number));
        }
        assert_eq!(cchh(65_536 * 15 + 3), "0010000:3");
        let last = Word { text: "FFFFFFFE".to_owned(), at: 0..0 };
        assert_eq!(track(&last, Form::Extended), Ok(0x0FFF_FFFF * 15 + 14));
    }
}

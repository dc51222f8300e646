//! The FlashCopy keywords of COPY.

use std::ops::Range;
use std::time::Duration;

use flashtrack_engine::admin::{CopyMode, Freeze, Incremental, Refusal};

use crate::host::grammar::Operand;
use crate::host::operands::{
    Operands, Unserved, at_most_one, chosen, declined, number, one_operand, one_word, words,
};
use crate::host::source::SyntaxError;

/// How a copy is to be made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Flash {
    pub(super) mode: CopyMode,
    pub(super) incremental: Incremental,
    /// FCINCRVERIFY: which way the pair must have been copied before.
    pub(super) verify: Option<Direction>,
    pub(super) wait: Wait,
    pub(super) fast_reverse: bool,
    pub(super) freeze: Freeze,
    pub(super) space_efficient: bool,
    /// FASTREPLICATION(REQUIRED).
    pub(super) required: bool,
    /// DEBUG(FRMSG()).
    pub(super) detail: Option<Detail>,
}

/// Whether source and target change their roles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    Reverse,
    Noreverse,
}

/// FCWAIT: how often, and how long each time, to wait until an earlier copy is complete.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Wait {
    pub(super) pause: Duration,
    pub(super) retries: u32,
}

/// How much is told about why a fast copy was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Detail {
    Minimal,
    Summarized,
    Detailed,
}

/// The keywords as they stand.
pub(super) struct Keywords {
    pub(super) flash: Flash,
    /// Where FCNOCOPYTOCOPY stands.
    pub(super) convert: Option<Range<usize>>,
    /// Where a keyword stands that needs a copy of a whole volume.
    pub(super) whole_only: Option<(&'static str, Range<usize>)>,
    /// The first that this server does not do.
    pub(super) unserved: Option<Refusal>,
}

const UNSERVED: [Unserved; 2] = [
    Unserved {
        names: &["FCTOPPRCPRIMARY", "FCTOPPRCP"],
        harmless: &[],
        reason: "there are no mirrors that a target could be primary of",
    },
    Unserved { names: &["FCWITHDRAW", "FCWD"], harmless: &[], reason: "it goes with DUMP" },
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Replication {
    Preferred,
    Required,
    None,
}

/// The keywords as they were written, and where.
struct Written<'a> {
    replication: Option<Replication>,
    nocopy: Option<Range<usize>>,
    convert: Option<Range<usize>>,
    incremental: Option<Range<usize>>,
    last: Option<Range<usize>>,
    verify: Option<&'a Operand>,
    wait: Option<&'a Operand>,
    fast_reverse: Option<Range<usize>>,
    freeze: Option<Range<usize>>,
    opt_in: Option<&'a Operand>,
    concurrent: Option<Range<usize>>,
    detail: Option<Detail>,
}

/// Takes the FlashCopy keywords of `operands`.
pub(super) fn take(operands: &mut Operands<'_>) -> Result<Keywords, SyntaxError> {
    let written = take_written(operands)?;
    let unserved = operands.unserved(&UNSERVED)?;
    check(&written)?;
    let space_efficient = written.opt_in.map(failing_relation).transpose()?;
    let whole_only = [
        ("FCINCREMENTAL", &written.incremental),
        ("FCINCREMENTALLAST", &written.last),
        ("FCFASTREVERSERESTORE", &written.fast_reverse),
        ("FCSETGTOK", &space_efficient),
    ];
    let whole_only = whole_only.into_iter().find_map(|(name, at)| at.clone().map(|at| (name, at)));
    let flash = Flash {
        mode: if written.nocopy.is_some() { CopyMode::Nocopy } else { CopyMode::Copy },
        incremental: match (&written.incremental, &written.last) {
            (Some(_), _) => Incremental::Yes,
            (_, Some(_)) => Incremental::Last,
            _ => Incremental::No,
        },
        verify: written.verify.map(direction).transpose()?,
        wait: written.wait.map(waiting).transpose()?.unwrap_or_default(),
        fast_reverse: written.fast_reverse.is_some(),
        freeze: if written.freeze.is_some() { Freeze::HoldWrites } else { Freeze::No },
        space_efficient: space_efficient.is_some(),
        required: written.replication == Some(Replication::Required),
        detail: written.detail,
    };
    let plain = (written.replication == Some(Replication::None)).then(|| {
        declined(
            "FASTREPLICATION(NONE) is not served: there is no copy by plain reads and writes here",
        )
    });
    Ok(Keywords { flash, convert: written.convert, whole_only, unserved: unserved.or(plain) })
}

fn take_written<'a>(operands: &mut Operands<'a>) -> Result<Written<'a>, SyntaxError> {
    // A relationship of a whole volume is what COPY FULL makes anyway.
    operands.flag(&["FCFULLVOLUMERELATION", "FCFVR"])?;
    Ok(Written {
        replication: operands.choice(
            &["FASTREPLICATION", "FASTREP", "FR"],
            &[
                ("PREFERRED", Replication::Preferred),
                ("PREF", Replication::Preferred),
                ("REQUIRED", Replication::Required),
                ("REQ", Replication::Required),
                ("NONE", Replication::None),
            ],
        )?,
        nocopy: operands.flag(&["FCNOCOPY", "FCNC"])?,
        convert: operands.flag(&["FCNOCOPYTOCOPY", "FCNOCTOC", "FCNTC"])?,
        incremental: operands.flag(&["FCINCREMENTAL", "FCINCR"])?,
        last: operands.flag(&["FCINCREMENTALLAST", "FCINCRLAST"])?,
        verify: operands.take(&["FCINCRVERIFY"])?,
        wait: operands.take(&["FCWAIT"])?,
        fast_reverse: operands.flag(&["FCFASTREVERSERESTORE", "FASTREVERSERESTORE", "FCFRR"])?,
        freeze: operands.flag(&["FCCGFREEZE", "FCFREEZE"])?,
        opt_in: operands.take(&["FCSETGTOK"])?,
        concurrent: operands.flag(&["CONCURRENT", "CC"])?,
        detail: operands.take(&["DEBUG"])?.map(detail).transpose()?,
    })
}

/// Keywords that exclude or need each other.
fn check(written: &Written<'_>) -> Result<(), SyntaxError> {
    let Written { nocopy, incremental, last, freeze, replication, .. } = written;
    at_most_one(&[("FCINCREMENTAL", incremental.as_ref()), ("FCINCREMENTALLAST", last.as_ref())])?;
    let there = |at: &Option<Range<usize>>| at.is_some();
    let required = *replication == Some(Replication::Required);
    if let Some(at) = written.concurrent.as_ref().filter(|_| required) {
        let message = "CONCURRENT and FASTREPLICATION(REQUIRED) exclude each other";
        return Err(SyntaxError::new(at.clone(), message));
    }
    let copies = [nocopy, incremental, last, freeze].into_iter().any(there);
    if let Some(at) = written.convert.as_ref().filter(|_| copies || replication.is_some()) {
        let message = "FCNOCOPYTOCOPY makes no copy: it goes with no FASTREPLICATION, FCNOCOPY, FCINCREMENTAL, \
                       FCINCREMENTALLAST or FCCGFREEZE";
        return Err(SyntaxError::new(at.clone(), message));
    }
    for (operand, fits, message) in [
        (written.opt_in, there(nocopy), "FCSETGTOK needs FCNOCOPY"),
        (
            written.verify,
            there(incremental) || there(last),
            "FCINCRVERIFY needs FCINCREMENTAL or FCINCREMENTALLAST",
        ),
    ] {
        if let Some(operand) = operand.filter(|_| !fits) {
            return Err(SyntaxError::new(operand.word.at.clone(), message));
        }
    }
    Ok(())
}

fn direction(operand: &Operand) -> Result<Direction, SyntaxError> {
    chosen(operand, &[("REVERSE", Direction::Reverse), ("NOREVERSE", Direction::Noreverse)])
}

/// `FCWAIT(seconds,retries)`.
fn waiting(operand: &Operand) -> Result<Wait, SyntaxError> {
    let [seconds, retries] = words(operand)?[..] else {
        let message = "FCWAIT takes a number of seconds and one of retries";
        return Err(SyntaxError::new(operand.word.at.clone(), message));
    };
    Ok(Wait {
        pause: Duration::from_secs(number(seconds, 255)?.into()),
        retries: number(retries, 99)?,
    })
}

/// `FCSETGTOK(FAILRELATION)`: where it stands.
fn failing_relation(operand: &Operand) -> Result<Range<usize>, SyntaxError> {
    chosen(operand, &[("FAILRELATION", ()), ("FAILREL", ())])?;
    Ok(operand.word.at.clone())
}

/// `DEBUG(FRMSG(detail))`.
fn detail(operand: &Operand) -> Result<Detail, SyntaxError> {
    let inner = one_operand(operand)?;
    if !inner.word.is("FRMSG") {
        let message = "DEBUG takes FRMSG(MINIMAL), FRMSG(SUMMARIZED) or FRMSG(DETAILED)";
        return Err(SyntaxError::new(inner.word.at.clone(), message));
    }
    one_word(inner)?;
    chosen(
        inner,
        &[
            ("MINIMAL", Detail::Minimal),
            ("MIN", Detail::Minimal),
            ("SUMMARIZED", Detail::Summarized),
            ("SUM", Detail::Summarized),
            ("DETAILED", Detail::Detailed),
            ("DTL", Detail::Detailed),
        ],
    )
}

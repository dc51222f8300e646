//! DUMP FULL and RESTORE FULL: the verbs `dump` and `restore` of the command line, under their other names.

use std::ops::Range;
use std::path::PathBuf;

use flashtrack_engine::admin::{CopyReport, Refusal, VolumeReport};

use super::{VolumeName, listed_volumes};
use crate::dump::{DumpOptions, RestoreOptions};
use crate::failure::Failure;
use crate::host::control::{Control, Stop};
use crate::host::deck::DdCard;
use crate::host::grammar::Word;
use crate::host::messages::{Code, Message};
use crate::host::operands::{Fault, Operands, Unserved, declined};
use crate::host::source::SyntaxError;
use crate::nbd::Address;

/// A DUMP, ready to be carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Dump {
    volume: VolumeName,
    file: PathBuf,
    /// FCWITHDRAW.
    withdraw: bool,
}

/// A RESTORE, ready to be carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Restore {
    file: PathBuf,
    volume: VolumeName,
}

/// Keywords about authority, compression and errors: a dump is always compressed, and never of used space only.
const WITHOUT_EFFECT: [&[&str]; 13] = [
    &["ADMINISTRATOR", "ADMIN"],
    &["ALLDATA"],
    &["ALLEXCP"],
    &["CANCELERROR"],
    &["CHECKVTOC"],
    &["COMPRESS", "COMP"],
    &["COPYVOLID", "CPYV"],
    &["HWCOMPRESS"],
    &["OPTIMIZE", "OPT"],
    &["PURGE", "PUR"],
    &["TOLERATE", "TOL"],
    &["WAIT"],
    &["ZCOMPRESS"],
];

const ONLY_FULL: &str = "only whole volumes are dumped and restored; use FULL";

const UNSERVED: [Unserved; 3] = [
    Unserved { names: &["TRACKS"], harmless: &[], reason: ONLY_FULL },
    Unserved { names: &["DATASET", "DS"], harmless: &[], reason: ONLY_FULL },
    Unserved {
        names: &["CONCURRENT", "CC"],
        harmless: &[],
        reason: "make a copy first, then dump its target",
    },
];

/// What the operands of DUMP ask for.
pub(super) fn compile_dump(mut operands: Operands<'_>, cards: &[DdCard]) -> Result<Dump, Fault> {
    let place = operands.place();
    let serials = operands.take(&["INDYNAM", "INDY", "IDY"])?;
    let card = operands.take(&["INDDNAME", "INDD", "IDD"])?;
    let file = operands.value(&["OUTDDNAME", "OUTDD", "ODD"])?;
    let withdraw = operands.flag(&["FCWITHDRAW", "FCWD"])?;
    finish(operands, &place)?;
    let volumes = listed_volumes(card, serials, cards)?;
    Ok(Dump {
        volume: only(volumes, &place, "INDYNAM(volume)")?,
        file: file_of(file, cards, &place, "OUTDDNAME")?,
        withdraw: withdraw.is_some(),
    })
}

/// What the operands of RESTORE ask for.
pub(super) fn compile_restore(
    mut operands: Operands<'_>,
    cards: &[DdCard],
) -> Result<Restore, Fault> {
    let place = operands.place();
    let file = operands.value(&["INDDNAME", "INDD", "IDD"])?;
    let serials = operands.take(&["OUTDYNAM", "OUTDY", "ODY"])?;
    let card = operands.take(&["OUTDDNAME", "OUTDD", "ODD"])?;
    finish(operands, &place)?;
    let volumes = listed_volumes(card, serials, cards)?;
    Ok(Restore {
        file: file_of(file, cards, &place, "INDDNAME")?,
        volume: only(volumes, &place, "OUTDYNAM(volume)")?,
    })
}

fn finish(mut operands: Operands<'_>, place: &Range<usize>) -> Result<(), Fault> {
    let full = operands.flag(&["FULL"])?;
    let unserved = operands.unserved(&UNSERVED)?;
    operands.pass_over(&WITHOUT_EFFECT)?;
    operands.finish()?;
    match unserved {
        Some(refusal) => Err(refusal.into()),
        None if full.is_none() => Err(SyntaxError::new(place.clone(), "FULL is missing").into()),
        None => Ok(()),
    }
}

fn only(
    volumes: Vec<VolumeName>,
    place: &Range<usize>,
    what: &str,
) -> Result<VolumeName, SyntaxError> {
    let mut volumes = volumes.into_iter();
    match (volumes.next(), volumes.next()) {
        (Some(volume), None) => Ok(volume),
        _ => Err(SyntaxError::new(place.clone(), format!("{what}, exactly one, is missing"))),
    }
}

/// The path on the DD card of that name, or the name itself when it is a path.
fn file_of(
    word: Option<&Word>,
    cards: &[DdCard],
    place: &Range<usize>,
    keyword: &str,
) -> Result<PathBuf, SyntaxError> {
    let help = format!(
        "write //TAPE DD PATH='/backup/data.ftd' in the same step, or {keyword}('/backup/data.ftd')"
    );
    let Some(word) = word else {
        let message = format!("{keyword}(card) is missing");
        return Err(SyntaxError::new(place.clone(), message).with_help(help));
    };
    if word.text.contains('/') {
        return Ok(PathBuf::from(&word.text));
    }
    let card = cards.iter().find(|card| word.is(&card.name));
    card.and_then(|card| card.path.as_ref()).map(PathBuf::from).ok_or_else(|| {
        let message = format!("no DD card {} names a file", word.text);
        SyntaxError::new(word.at.clone(), message).with_help(help)
    })
}

/// Dumps; FCWITHDRAW then ends the relationships that made the volume a copy (decision D23).
pub(super) async fn dump(
    dump: &Dump,
    control: Control<'_>,
    messages: &mut Vec<Message>,
) -> Result<(), Stop> {
    let volumes = control.volumes().await?;
    let volume = dump.volume.resolve(&volumes)?;
    let whole = is_target_whole(volume, &control.related(&volume.name).await?);
    let options = DumpOptions {
        volume: volume.name.clone(),
        file: Some(dump.file.clone()),
        since: None,
        resume: false,
        withdraw: dump.withdraw && whole,
        nbd: address(control)?,
    };
    let summary = match crate::dump::dump(options, control.client, control.output).await {
        Ok(summary) => summary,
        Err(failure) => return failed(failure, messages),
    };
    let text = format!(
        "VOLUME {} DUMPED TO {}: {} BYTES OF DATA IN {}",
        summary.volume,
        dump.file.display(),
        summary.data_bytes,
        summary.stored_bytes
    );
    messages.push(Message::info("ADR980I", text));
    if dump.withdraw && whole {
        let text = format!("{} RELATIONSHIPS ONTO IT WITHDRAWN", summary.withdrawn.len());
        messages.push(Message::info("ADR981I", text));
    } else if dump.withdraw {
        let text = "FCWITHDRAW: NOT ALL TRACKS OF IT ARE TARGETS OF RELATIONSHIPS, NONE WITHDRAWN";
        messages.push(Message::new("ADR982W", Code::Warning, text));
    }
    Ok(())
}

/// Whether the volume is the target of a relationship of whole volumes, or of several that cover it.
fn is_target_whole(volume: &VolumeReport, related: &[CopyReport]) -> bool {
    let onto = related.iter().filter(|copy| copy.target == volume.name);
    let tracks: u64 = onto.clone().map(|copy| u64::from(copy.tracks)).sum();
    onto.clone().any(|copy| copy.whole) || tracks == u64::from(volume.tracks)
}

/// Restores, after verifying all of the dump.
pub(super) async fn restore(
    restore: &Restore,
    control: Control<'_>,
    messages: &mut Vec<Message>,
) -> Result<(), Stop> {
    let options = RestoreOptions {
        file: Some(restore.file.clone()),
        bases: Vec::new(),
        volume: restore.volume.resolve(&control.volumes().await?)?.name.clone(),
        force: false,
        nbd: address(control)?,
    };
    match crate::dump::restore(options, control.client, control.output).await {
        Ok(summary) => {
            let text = format!(
                "VOLUME {} RESTORED FROM {}, A DUMP OF {}: {} BYTES WRITTEN",
                summary.volume,
                restore.file.display(),
                summary.dumped_volume,
                summary.data_bytes
            );
            messages.push(Message::info("ADR983I", text));
            Ok(())
        }
        Err(failure) => failed(failure, messages),
    }
}

fn address(control: Control<'_>) -> Result<Address, Refusal> {
    control
        .nbd
        .cloned()
        .ok_or_else(|| declined("DUMP and RESTORE are served by `flashtrack dss` only"))
}

/// What went wrong with the file or the data is told with its causes; the next statement can go on.
fn failed(failure: Failure, messages: &mut Vec<Message>) -> Result<(), Stop> {
    let Failure::Dump(error) = &failure else {
        return Err(failure.into());
    };
    let causes =
        std::iter::successors(Some(error as &dyn std::error::Error), |error| error.source());
    let causes: Vec<String> = causes.map(ToString::to_string).collect();
    let mut text = causes.join(": ");
    if let Some(advice) = error.advice() {
        text = format!("{text}\n  ({advice})");
    }
    messages.push(Message::new("ADR984E", Code::Failed, text));
    Ok(())
}

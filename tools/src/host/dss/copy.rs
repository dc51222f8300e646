//! COPY: what is copied, and onto what.

use flashtrack_engine::admin::{Command, ExtentSpec};
use flashtrack_engine::limits::TRACKS_PER_CYLINDER;

use super::flash::{self, Flash};
use super::{VolumeName, dataset, explain, full, listed_volumes};
use crate::host::control::{Control, Stop};
use crate::host::deck::DdCard;
use crate::host::grammar::{Operand, Word};
use crate::host::messages::Message;
use crate::host::operands::{
    Fault, Operands, at_most_one, declined, listed_words, number, one_operand, rejected, words,
};
use crate::host::relations;
use crate::host::source::SyntaxError;

/// A COPY, ready to be carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Copy {
    what: What,
    flash: Flash,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum What {
    /// A whole volume.
    Full { source: VolumeName, target: VolumeName, label: Label },
    /// One run of tracks.
    Tracks { source: VolumeName, target: VolumeName, extent: ExtentSpec },
    /// A dataset.
    Dataset(dataset::Names),
    /// Nothing: the background copy of all NOCOPY relationships of the source begins.
    Convert { source: VolumeName },
}

/// What was said about the volume label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Label {
    /// COPYVOLID.
    Copied,
    /// DUMPCONDITIONING.
    Conditioned,
    Unsaid,
}

/// Keywords about authority, allocation and errors that mean nothing to a block server.
const WITHOUT_EFFECT: [&[&str]; 13] = [
    &["ADMINISTRATOR", "ADMIN"],
    &["ALLDATA"],
    &["ALLEXCP"],
    &["CANCELERROR"],
    &["CATALOG", "CAT"],
    &["CHECKVTOC"],
    &["OPTIMIZE", "OPT"],
    &["PURGE", "PUR"],
    &["REPLACE", "REP"],
    &["REPLACEUNCONDITIONAL", "REPUNC"],
    &["SHARE"],
    &["TOLERATE", "TOL"],
    &["WRITECHECK"],
];

/// The operands that say what is copied onto what.
struct Ends<'a> {
    full: bool,
    tracks: Option<&'a Operand>,
    dataset: Option<&'a Operand>,
    sources: Vec<VolumeName>,
    targets: Vec<VolumeName>,
    onto: Option<&'a Operand>,
    moved_to: Option<&'a Operand>,
    label: Label,
    delete: bool,
}

/// What the operands ask for.
pub(super) fn compile(mut operands: Operands<'_>, cards: &[DdCard]) -> Result<Copy, Fault> {
    let place = operands.place();
    let ends = take_ends(&mut operands, cards)?;
    let keywords = flash::take(&mut operands)?;
    operands.pass_over(&WITHOUT_EFFECT)?;
    operands.finish()?;
    let missing = |what: &str| SyntaxError::new(place.clone(), format!("{what} is missing"));
    let whole = ends.tracks.is_none() && ends.dataset.is_none();
    if let (false, Some((keyword, at))) = (whole, &keywords.whole_only) {
        let message = format!("{keyword} goes with COPY FULL only");
        return Err(SyntaxError::new(at.clone(), message).into());
    }
    let flash = keywords.flash;
    if keywords.convert.is_some() {
        let source = only(&ends.sources).ok_or_else(|| missing("INDYNAM(volume)"))?;
        let refused = keywords
            .unserved
            .or_else(|| ends.delete.then(|| rejected("DELETE does not go with FCNOCOPYTOCOPY")));
        let copy = Copy { what: What::Convert { source }, flash };
        return refused.map_or(Ok(copy), |refusal| Err(refusal.into()));
    }
    let what = match (ends.full, ends.tracks, ends.dataset) {
        (true, _, _) | (_, Some(_), _) => {
            let source =
                only(&ends.sources).ok_or_else(|| missing("INDYNAM(volume), exactly one"))?;
            let target =
                only(&ends.targets).ok_or_else(|| missing("OUTDYNAM(volume), exactly one"))?;
            match ends.tracks {
                None => What::Full { source, target, label: ends.label },
                Some(tracks) => {
                    What::Tracks { source, target, extent: extent(tracks, ends.moved_to)? }
                }
            }
        }
        (_, _, Some(dataset)) => {
            let name = included(dataset)?;
            let onto = ends.onto.map(|onto| renamed(onto, &name)).transpose()?;
            if onto.is_none() && ends.targets.is_empty() {
                return Err(missing("OUTDYNAM(volume) or RENAMEUNCONDITIONAL(dataset)").into());
            }
            if !ends.sources.is_empty() {
                let message = "INDYNAM is not served for a dataset: its volumes are those it was defined with";
                return Err(declined(message).into());
            }
            What::Dataset(dataset::Names { name: name.text.clone(), targets: ends.targets, onto })
        }
        _ => return Err(missing("FULL, TRACKS or DATASET").into()),
    };
    if ends.delete {
        return Err(declined("DELETE is not served: the source stays").into());
    }
    keywords.unserved.map_or(Ok(Copy { what, flash }), |refusal| Err(refusal.into()))
}

fn take_ends<'a>(operands: &mut Operands<'a>, cards: &[DdCard]) -> Result<Ends<'a>, SyntaxError> {
    let full = operands.flag(&["FULL"])?;
    let tracks = operands.take(&["TRACKS"])?;
    let dataset = operands.take(&["DATASET", "DS"])?;
    at_most_one(&[
        ("FULL", full.as_ref()),
        ("TRACKS", tracks.map(|operand| &operand.word.at)),
        ("DATASET", dataset.map(|operand| &operand.word.at)),
    ])?;
    let sources =
        (operands.take(&["INDDNAME", "INDD", "IDD"])?, operands.take(&["INDYNAM", "INDY", "IDY"])?);
    let targets = (
        operands.take(&["OUTDDNAME", "OUTDD", "ODD"])?,
        operands.take(&["OUTDYNAM", "OUTDY", "ODY"])?,
    );
    let moved_to = operands.take(&["OUTTRACKADDRESS", "OUTTRK"])?;
    let onto = operands.take(&["RENAMEUNCONDITIONAL", "RENAMEU"])?;
    let copied = operands.flag(&["COPYVOLID", "CPYV"])?;
    let conditioned = operands.flag(&["DUMPCONDITIONING", "DUMPCOND", "DCOND"])?;
    at_most_one(&[("COPYVOLID", copied.as_ref()), ("DUMPCONDITIONING", conditioned.as_ref())])?;
    for (keyword, at, belongs) in [
        ("COPYVOLID", &copied, full.is_some()),
        ("DUMPCONDITIONING", &conditioned, full.is_some()),
        ("OUTTRACKADDRESS", &moved_to.map(|operand| operand.word.at.clone()), tracks.is_some()),
        ("RENAMEUNCONDITIONAL", &onto.map(|operand| operand.word.at.clone()), dataset.is_some()),
    ] {
        if let (Some(at), false) = (at, belongs) {
            let message = format!("{keyword} does not go with this kind of COPY");
            return Err(SyntaxError::new(at.clone(), message));
        }
    }
    Ok(Ends {
        full: full.is_some(),
        tracks,
        dataset,
        sources: listed_volumes(sources.0, sources.1, cards)?,
        targets: listed_volumes(targets.0, targets.1, cards)?,
        onto,
        moved_to,
        label: match (copied, conditioned) {
            (Some(_), _) => Label::Copied,
            (_, Some(_)) => Label::Conditioned,
            _ => Label::Unsaid,
        },
        delete: operands.flag(&["DELETE", "DEL"])?.is_some(),
    })
}

fn only(volumes: &[VolumeName]) -> Option<VolumeName> {
    match volumes {
        [one] => Some(one.clone()),
        _ => None,
    }
}

/// `TRACKS(c1,h1,c2,h2)`, perhaps to another place by `OUTTRACKADDRESS(c,h)`.
fn extent(tracks: &Operand, moved_to: Option<&Operand>) -> Result<ExtentSpec, SyntaxError> {
    let wrong =
        |operand: &Operand, message: &str| SyntaxError::new(operand.word.at.clone(), message);
    let [c1, h1, c2, h2] = words(tracks)?[..] else {
        let message = "TRACKS takes cylinder and head of the first track, then of the last one";
        return Err(wrong(tracks, message));
    };
    let (first, last) = (track(c1, h1)?, track(c2, h2)?);
    if last < first {
        return Err(wrong(tracks, "the last track is before the first one"));
    }
    let target_track = match moved_to {
        None => first,
        Some(operand) => match words(operand)?.as_slice() {
            [cylinder, head] => track(cylinder, head)?,
            _ => return Err(wrong(operand, "OUTTRACKADDRESS takes cylinder and head of a track")),
        },
    };
    Ok(ExtentSpec { source_track: first, target_track, tracks: last - first + 1 })
}

fn track(cylinder: &Word, head: &Word) -> Result<u32, SyntaxError> {
    let cylinders_max = u32::MAX / TRACKS_PER_CYLINDER - 1;
    let first = number(cylinder, cylinders_max)? * TRACKS_PER_CYLINDER;
    Ok(first + number(head, TRACKS_PER_CYLINDER - 1)?)
}

/// `DATASET(INCLUDE(name))`.
fn included(dataset: &Operand) -> Result<Word, Fault> {
    let include = one_operand(dataset)?;
    if !(include.word.is("INCLUDE") || include.word.is("INC")) {
        let message = "DATASET takes INCLUDE(name)";
        return Err(SyntaxError::new(include.word.at.clone(), message).into());
    }
    match words(include)?.as_slice() {
        [name] if name.text.contains(['*', '%']) => {
            let message =
                format!("INCLUDE({}) is not served: name one dataset, without * and %", name.text);
            Err(declined(message).into())
        }
        [name] => Ok((*name).clone()),
        _ => Err(declined("INCLUDE of several names is not served: copy one dataset by a command")
            .into()),
    }
}

/// `RENAMEUNCONDITIONAL(new)` or `RENAMEUNCONDITIONAL((old,new))`.
fn renamed(operand: &Operand, old: &Word) -> Result<String, SyntaxError> {
    let lists = listed_words(operand)?;
    match lists.iter().map(Vec::as_slice).collect::<Vec<_>>().as_slice() {
        [[new]] => Ok(new.text.clone()),
        [[from, new]] if from.is(&old.text) => Ok(new.text.clone()),
        _ => {
            let message = format!("write {}(({},NEWNAME))", operand.word.text, old.text);
            Err(SyntaxError::new(operand.word.at.clone(), message))
        }
    }
}

/// Carries it out; a refusal is told with as much detail as was asked for.
pub(super) async fn run(
    copy: &Copy,
    control: Control<'_>,
    messages: &mut Vec<Message>,
) -> Result<(), Stop> {
    let flash = &copy.flash;
    let result = match &copy.what {
        What::Full { source, target, label } => {
            full::run(source, target, *label, flash, control, messages).await
        }
        What::Tracks { source, target, extent } => {
            full::run_tracks(source, target, *extent, flash, control, messages).await
        }
        What::Dataset(names) => dataset::run(names, flash, control, messages).await,
        What::Convert { source } => convert(source, control, messages).await,
    };
    match result {
        Err(Stop::Refused(refusal)) => {
            messages.extend(explain::refused(&refusal, flash));
            Ok(())
        }
        other => other,
    }
}

async fn convert(
    source: &VolumeName,
    control: Control<'_>,
    messages: &mut Vec<Message>,
) -> Result<(), Stop> {
    let source = source.resolve(&control.volumes().await?)?.name.clone();
    let converted = control.copies(&Command::CopyConvert { source: source.clone() }).await?;
    let text = format!("{} OF VOLUME {source} SWITCHED TO COPY", relations::count(&converted));
    messages.push(Message::info("ADR991I", text));
    Ok(())
}

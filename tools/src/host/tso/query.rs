//! FCQUERY: one line for a volume, in columns or with commas, or its relationships one by one.

use flashtrack_engine::admin::{CopyMode, CopyReport, VolumeReport};

use super::{ADDRESSING, Action, completed, device, required};
use crate::host::control::{Control, Stop, Store, Volumes, control_unit, device_of};
use crate::host::extents::{self, Form, cchh};
use crate::host::messages::Message;
use crate::host::operands::{Fault, Operands, Unserved, at_most_one, chosen, number};
use crate::host::relations::{background_copy_enabled, background_copy_in_progress, state};
use crate::host::source::SyntaxError;
use crate::output::{percent, table, time};

/// An FCQUERY.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Query {
    device: u16,
    form: QueryForm,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum QueryForm {
    Formatted,
    Unformatted,
    /// At most so many relationships, those that begin at this track or after it.
    Relationships {
        most: usize,
        start: u32,
    },
}

const INDIRECT: &str = "name the volume with DEVN";

const UNSERVED: [Unserved; 4] = [
    Unserved { names: &["QRYDVC"], harmless: &[], reason: INDIRECT },
    Unserved { names: &["QRYLSS"], harmless: &[], reason: INDIRECT },
    Unserved { names: &["QRYSERIAL"], harmless: &[], reason: INDIRECT },
    Unserved { names: &["QRYSSID"], harmless: &[], reason: INDIRECT },
];

/// What the operands ask for.
pub(super) fn compile(mut operands: Operands<'_>) -> Result<Action, Fault> {
    let place = operands.place();
    let queried = device(operands.value(&["DEVN"])?)?;
    let most = operands.value(&["SHOWRELS"])?;
    let start = operands.value(&["STARTADDR"])?;
    let unformat = operands.take(&["UNFORMAT"])?;
    let unserved = operands.unserved(&ADDRESSING)?.or(operands.unserved(&UNSERVED)?);
    operands.finish()?;

    let unformatted = match unformat {
        Some(operand) if operand.values.is_some() => {
            chosen(operand, &[("YES", true), ("NO", false)])?
        }
        unformat => unformat.is_some(),
    };
    let start_track = start.map(|word| extents::track(word, Form::Cchh)).transpose()?;
    let shown = most.filter(|word| !word.is("NO"));
    let form = match shown {
        None => {
            if let Some(start) = start {
                let message = "STARTADDR goes with SHOWRELS(ALL) or SHOWRELS(n)";
                return Err(SyntaxError::new(start.at.clone(), message).into());
            }
            if unformatted { QueryForm::Unformatted } else { QueryForm::Formatted }
        }
        Some(word) => {
            let unformat = unformat.filter(|_| unformatted).map(|operand| &operand.word.at);
            at_most_one(&[("SHOWRELS", Some(&word.at)), ("UNFORMAT", unformat)])?;
            let most = if word.is("ALL") { usize::MAX } else { number(word, 65_534)? as usize };
            QueryForm::Relationships { most, start: start_track.unwrap_or(0) }
        }
    };
    if let Some(refusal) = unserved {
        return Err(refusal.into());
    }
    Ok(Action::Query(Query { device: required(queried, "DEVN", &place)?, form }))
}

/// Carries it out.
pub(super) async fn run(
    query: &Query,
    control: Control<'_>,
    messages: &mut Vec<Message>,
) -> Result<(), Stop> {
    let volumes = control.volumes().await?;
    let volume = volumes.by_device(query.device)?;
    let store = control.store().await?;
    let message = match &query.form {
        QueryForm::Formatted => Message::info("ANTF0420I", formatted(volume, &store)),
        QueryForm::Unformatted => {
            let copies = control.related(&volume.name).await?;
            Message::info("ANTF0091I", unformatted(volume, &copies, &volumes, &store))
        }
        QueryForm::Relationships { most, start } => {
            let copies = control.related(&volume.name).await?;
            let rows = rows_of(&volume.name, &copies, *start, *most);
            Message::info("ANTF0421I", listed(volume, &rows, &volumes))
        }
    };
    messages.push(message);
    messages.push(completed("FCQUERY", query.device));
    Ok(())
}

/// SSID, LSS and CCA of a volume, from its device number.
fn address(volume: &VolumeReport) -> (String, String, String) {
    let device = device_of(volume).unwrap_or_default();
    let [unit, position] = device.to_be_bytes();
    (format!("{unit:04X}"), format!("{unit:02X}"), format!("{position:02X}"))
}

/// Type of the controller.
const CONTROLLER: &str = "2107";

fn formatted(volume: &VolumeReport, store: &Store) -> String {
    let (ssid, lss, cca) = address(volume);
    let active = volume.source_relationships.saturating_add(volume.target_relationships);
    format!(
        "FCQUERY Formatted\n\
         DEVN SSID LSS CCA CU   SERIAL         ACT   MAX XC PC CC RV  SE SEQNUM\n\
         {:>4} {ssid} {lss}  {cca}  {CONTROLLER} {} {active:>5} {:>5}  N  N  N  N {:>3} 00000000",
        volume.device,
        store.serial(),
        volume.relationships_max,
        if volume.thin { "YES" } else { "NO" },
    )
}

fn unformatted(
    volume: &VolumeReport,
    copies: &[CopyReport],
    volumes: &Volumes,
    store: &Store,
) -> String {
    let status = status(copies);
    let line = |volume: &VolumeReport, status: &str| {
        let (ssid, lss, cca) = address(volume);
        format!("{},{ssid},{lss},{cca},{CONTROLLER},{},{status}", volume.device, store.serial())
    };
    let own = line(volume, &status);
    let partner = copies.first().and_then(|copy| {
        let name = if copy.source == volume.name { &copy.target } else { &copy.source };
        volumes.by_name(name)
    });
    match partner {
        Some(partner) => format!("{own}\n{}", line(partner, &status)),
        None => own,
    }
}

/// Eight characters: simplex, related, or how far the background copies are.
fn status(copies: &[CopyReport]) -> String {
    if copies.is_empty() {
        return "SIMPLEX.".to_owned();
    }
    let copied = copies.iter().filter(|copy| background_copy_in_progress(copy));
    let (left, tracks) = copied.fold((0, 0), |(left, tracks), copy| {
        (left + u64::from(copy.tracks_left), tracks + u64::from(copy.tracks))
    });
    if tracks == 0 {
        return "FC......".to_owned();
    }
    format!("FC..{:03}%", percent(tracks.saturating_sub(left), tracks))
}

/// A relationship in one of the roles that the volume has in it.
struct Row<'a> {
    copy: &'a CopyReport,
    role: &'static str,
    /// First track on the queried volume.
    own_track: u32,
}

/// Relationships within one volume have a row for each role.
fn rows_of<'a>(name: &str, copies: &'a [CopyReport], start: u32, most: usize) -> Vec<Row<'a>> {
    let mut rows: Vec<Row<'a>> = Vec::new();
    for copy in copies {
        if copy.source == name {
            rows.push(Row { copy, role: "SOURCE", own_track: copy.source_track });
        }
        if copy.target == name {
            rows.push(Row { copy, role: "TARGET", own_track: copy.target_track });
        }
    }
    rows.retain(|row| row.own_track >= start);
    rows.sort_by_key(|row| (row.own_track, row.copy.id));
    rows.truncate(most);
    rows
}

fn listed(volume: &VolumeReport, rows: &[Row<'_>], volumes: &Volumes) -> String {
    let mut listing = table(&[
        "ROLE",
        "PDEVN",
        "PLSS",
        "PCCA",
        "SCCHH",
        "TCCHH",
        ">TRACKS",
        "FULL",
        "MODE",
        "STATE",
        "BCE",
        "BCP",
        ">LEFT",
        "INCR",
        ">CHANGED",
        "TWI",
        "FROZEN",
        "SE",
        "PRESMIR",
        "ESTABLISHED",
        ">ID",
    ]);
    for row in rows {
        let copy = row.copy;
        let partner_name = if row.role == "SOURCE" { &copy.target } else { &copy.source };
        let partner = volumes.by_name(partner_name);
        let (_, lss, cca) = partner.map(address).unwrap_or_default();
        let frozen = volumes.by_name(&copy.source).and_then(|source| source.frozen_seconds_left);
        listing.add_row(vec![
            row.role.to_owned(),
            partner.map(|partner| partner.device.clone()).unwrap_or_default(),
            lss,
            cca,
            cchh(copy.source_track),
            cchh(copy.target_track),
            copy.tracks.to_string(),
            yes_no(copy.whole).to_owned(),
            if copy.mode == CopyMode::Copy { "COPY" } else { "NOCOPY" }.to_owned(),
            state(copy).to_owned(),
            yes_no(background_copy_enabled(copy)).to_owned(),
            yes_no(background_copy_in_progress(copy)).to_owned(),
            copy.tracks_left.to_string(),
            yes_no(copy.incremental).to_owned(),
            copy.changed_tracks.to_string(),
            yes_no(copy.write_inhibited).to_owned(),
            frozen.map_or_else(|| "N".to_owned(), |seconds| format!("{seconds}S")),
            yes_no(copy.space_efficient).to_owned(),
            "N".to_owned(),
            time(copy.established_at),
            copy.id.to_string(),
        ]);
    }
    let active = volume.source_relationships.saturating_add(volume.target_relationships);
    let head = format!(
        "FCQUERY RELATIONSHIPS OF DEVICE {} (LSS {:02X}): ACT {active}, MAX {}, SHOWN {}",
        volume.device,
        control_unit(volume),
        volume.relationships_max,
        rows.len()
    );
    if rows.is_empty() { head } else { format!("{head}\n{}", listing.trim_fmt()) }
}

fn yes_no(value: bool) -> &'static str {
    if value { "Y" } else { "N" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::example;

    #[test]
    fn the_status_has_eight_characters() {
        let copy = |tracks_left| CopyReport { tracks_left, ..example::copy(1, "a", "b") };
        let nocopy = CopyReport { mode: CopyMode::Nocopy, ..copy(50) };

        assert_eq!(status(&[]), "SIMPLEX.");
        assert_eq!(status(std::slice::from_ref(&nocopy)), "FC......");
        assert_eq!(status(&[copy(25), nocopy]), "FC..050%");
        assert_eq!(status(&[copy(5), copy(0)]), "FC..090%");
    }

    #[test]
    fn a_relationship_within_a_volume_has_a_row_for_each_role() {
        let copies = [example::copy(1, "a", "a"), example::copy(2, "b", "a")];
        let roles = |start, most| {
            let rows = rows_of("a", &copies, start, most);
            rows.iter().map(|row| (row.copy.id, row.role)).collect::<Vec<_>>()
        };

        assert_eq!(roles(0, 9), [(1, "SOURCE"), (1, "TARGET"), (2, "TARGET")]);
        assert_eq!(roles(1, 1), [(1, "TARGET")]);
    }
}

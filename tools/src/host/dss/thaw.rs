//! CGCREATED: the consistency group is made; writes to its volumes go on.
//!
//! Invariant: whatever is wrong with one volume, the control units of the others are thawed.

use std::collections::BTreeSet;

use flashtrack_engine::admin::{Command, Report};

use super::refused;
use crate::host::control::{Control, Stop, control_unit};
use crate::host::messages::{Code, Message};
use crate::host::operands::{Fault, Operands, words};
use crate::host::source::SyntaxError;

/// A CGCREATED, ready to be carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Thaw {
    /// Serials: one volume of each control unit is enough.
    access: Vec<String>,
    /// The volume that must still be frozen if the group is to be consistent.
    verify: Option<String>,
}

/// What the operands ask for.
pub(super) fn compile(mut operands: Operands<'_>) -> Result<Thaw, Fault> {
    let place = operands.place();
    let access = operands.take(&["ACCESSVOLUME", "ACCVOL"])?;
    let verify = operands.value(&["FCCGVERIFY", "FCCGVFY"])?;
    operands.finish()?;
    let Some(access) = access else {
        let message = "ACCESSVOLUME(volume,...) is missing";
        let help = "name one volume of each control unit that was frozen";
        return Err(SyntaxError::new(place, message).with_help(help).into());
    };
    Ok(Thaw {
        access: words(access)?.into_iter().map(|word| word.text.clone()).collect(),
        verify: verify.map(|word| word.text.clone()),
    })
}

/// Carries it out.
pub(super) async fn run(
    thaw: &Thaw,
    control: Control<'_>,
    messages: &mut Vec<Message>,
) -> Result<(), Stop> {
    let volumes = control.volumes().await?;
    let mut units = BTreeSet::new();
    for serial in &thaw.access {
        match volumes.by_serial(serial) {
            Ok(volume) => {
                units.insert(control_unit(volume));
            }
            Err(refusal) => messages.push(refused(&refusal)),
        }
    }
    let verified = match thaw.verify.as_deref().map(|serial| volumes.by_serial(serial)) {
        Some(Ok(volume)) => Some((control_unit(volume), volume.name.clone())),
        Some(Err(refusal)) => {
            messages.push(refused(&refusal));
            None
        }
        None => None,
    };
    if let Some((unit, name)) = verified.as_ref().filter(|(unit, _)| !units.contains(unit)) {
        let text = format!(
            "VOLUME {name} TO BE VERIFIED IS IN LSS {unit:02X}, OF WHICH ACCESSVOLUME NAMES NO VOLUME"
        );
        messages.push(Message::new("ADR996E", Code::Failed, text));
    }
    for unit in units {
        let verify = verified.as_ref().filter(|(of, _)| *of == unit).map(|(_, name)| name.clone());
        match thaw_unit(unit, verify, control).await {
            Ok(told) => messages.extend(told),
            Err(Stop::Refused(refusal)) => messages.push(refused(&refusal)),
            Err(broken) => return Err(broken),
        }
    }
    Ok(())
}

async fn thaw_unit(
    unit: u8,
    verify: Option<String>,
    control: Control<'_>,
) -> Result<Vec<Message>, Stop> {
    let command = Command::Thaw { cu: unit, verify: verify.clone() };
    let Report::Thawed(thawed) = control.command(&command).await? else {
        return Err(control.client.unexpected().into());
    };
    let text = match thawed.volumes.as_slice() {
        [] => format!("NO VOLUME OF LSS {unit:02X} WAS FROZEN"),
        volumes => format!("LSS {unit:02X} THAWED: {}", volumes.join(", ")),
    };
    let mut messages = vec![Message::info("ADR997I", text)];
    let Some(name) = verify else {
        return Ok(messages);
    };
    messages.push(if thawed.consistent == Some(true) {
        Message::info("ADR998I", format!("VOLUME {name} WAS STILL FROZEN: THE GROUP IS CONSISTENT"))
    } else {
        let text = format!(
            "VOLUME {name} WAS NO LONGER FROZEN: THE GROUP IS PROBABLY NOT CONSISTENT, ESTABLISH IT ANEW"
        );
        Message::new("ADR998E", Code::Failed, text)
    });
    Ok(messages)
}

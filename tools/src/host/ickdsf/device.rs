//! CONTROL REMOVEFCPY, which removes nothing (T2-15), and INIT, which writes nothing.
//!
//! The data of a volume begins with what its clients write: there is no label and no table of contents that INIT
//! could write, and it never destroys data. It checks what a real one would: under `xp7` a related volume is refused
//! (the caution of T2-12 and T2-13); otherwise it ends with a warning that says so.

use flashtrack_engine::admin::{Profile, Refusal, RefusalKind};

use super::{Action, Device, ELSEWHERE, required, take_device};
use crate::host::control::{Control, Stop};
use crate::host::deck::DdCard;
use crate::host::messages::{Code, Message};
use crate::host::operands::{Fault, Operands, declined, one_word};
use crate::host::relations;
use crate::host::source::SyntaxError;

/// An INIT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Init {
    device: Device,
    /// The serial that the volume must have now.
    verify: Option<String>,
    /// The serial that it is to have.
    serial: Option<String>,
}

/// CONTROL: only REMOVEFCPY is known.
pub(super) fn compile_control(
    mut operands: Operands<'_>,
    cards: &[DdCard],
) -> Result<Action, Fault> {
    let place = operands.place();
    let remove = operands.flag(&["REMOVEFCPY"])?;
    let device = take_device(&mut operands, cards)?;
    let refused = operands.unserved(&ELSEWHERE)?;
    if remove.is_none() {
        let message = "of CONTROL only REMOVEFCPY is known";
        return Err(SyntaxError::new(place, message).into());
    }
    operands.finish()?;
    match refused {
        Some(refusal) => Err(refusal.into()),
        None => Ok(Action::Remove(required(device, place)?)),
    }
}

/// INIT with its keywords.
pub(super) fn compile_init(mut operands: Operands<'_>, cards: &[DdCard]) -> Result<Action, Fault> {
    let place = operands.place();
    let device = take_device(&mut operands, cards)?;
    let verify = operands.take(&["VERIFY"])?.map(one_word).transpose()?;
    operands.flag(&["NOVERIFY", "NVFY"])?;
    let serial = operands.value(&["VOLID"])?;
    operands.pass_over(&[&["PURGE"], &["VTOC"], &["INDEX"], &["OWNERID"], &["STORAGEGROUP"]])?;
    operands.pass_over(&[
        &["CHECK"],
        &["NOCHECK"],
        &["VALIDATE"],
        &["NOVALIDATE"],
        &["CONTINUE"],
    ])?;
    operands.pass_over(&[&["RELEASESPACE"], &["NORELEASESPACE"]])?;
    let refused = operands.unserved(&ELSEWHERE)?;
    operands.finish()?;
    if let Some(refusal) = refused {
        return Err(refusal.into());
    }
    Ok(Action::Init(Init {
        device: required(device, place)?,
        verify: verify.map(|word| word.text.clone()),
        serial: serial.map(|word| word.text.clone()),
    }))
}

/// Under `ibm` it ends normally, under `xp7` abnormally; relationships remain under both.
pub(super) async fn remove(
    device: &Device,
    control: Control<'_>,
    messages: &mut Vec<Message>,
) -> Result<(), Stop> {
    let volume = device.resolve(&control.volumes().await?)?.clone();
    if control.store().await?.profile == Profile::Xp7 {
        let mut refusal = declined(format!(
            "CONTROL REMOVEFCPY is not supported by profile xp7; the relationships of device {} remain",
            volume.device
        ));
        refusal.help = Some("end relationships with FCWITHDR or FLASHCPY WITHDRAW".to_owned());
        return Err(refusal.into());
    }
    let copies = control.related(&volume.name).await?;
    let text = format!("{} OF DEVICE {} NOT DELETED", relations::count(&copies), volume.device);
    messages.push(Message::info("ICK39006I", text));
    Ok(())
}

/// Checks, and says that nothing is written.
pub(super) async fn init(
    init: &Init,
    control: Control<'_>,
    messages: &mut Vec<Message>,
) -> Result<(), Stop> {
    let volumes = control.volumes().await?;
    let volume = init.device.resolve(&volumes)?;
    let is = |serial: &&String| serial.eq_ignore_ascii_case(&volume.name);
    if let Some(serial) = init.verify.as_ref().filter(|serial| !is(serial)) {
        return Err(Stop::Refused(Refusal {
            kind: RefusalKind::Invalid,
            message: format!("device {} is volume {}, not {serial}", volume.device, volume.name),
            help: None,
        }));
    }
    if let Some(serial) = init.serial.as_ref().filter(|serial| !is(serial)) {
        let message = format!("volume {} cannot be given the name {serial}", volume.name);
        return Err(declined(message).into());
    }
    let copies = control.related(&volume.name).await?;
    if let Some(copy) = copies.first()
        && control.store().await?.profile == Profile::Xp7
    {
        return Err(Stop::Refused(Refusal {
            kind: if copy.source == volume.name {
                RefusalKind::SourceRelated
            } else {
                RefusalKind::TargetRelated
            },
            message: format!(
                "volume {} is in relationship {} from {} to {}",
                volume.name, copy.id, copy.source, copy.target
            ),
            help: Some(
                "end it with FCWITHDR, or wait until its background copy is complete".to_owned(),
            ),
        }));
    }
    let text = format!(
        "VOLUME {} HAS NO LABEL OF ITS OWN TO WRITE: ITS DATA AND RELATIONSHIPS ARE AS BEFORE",
        volume.name
    );
    messages.push(Message::new("ICK39007I", Code::Warning, text));
    Ok(())
}

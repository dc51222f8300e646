//! What the host commands ask the server: volumes by device number or serial, relationships, the profile.

use flashtrack_engine::admin::{
    Command, CopyReport, Profile, Refusal, RefusalKind, Report, VolumeReport,
};

use crate::client::Client;
use crate::failure::Failure;
use crate::nbd::Address;
use crate::output::Output;

/// Why a statement was not carried out to its end.
#[derive(Debug)]
pub(crate) enum Stop {
    /// The server, or a rule of the utility, refuses: the next statement can go on.
    Refused(Refusal),
    /// The server cannot be asked.
    Broken(Failure),
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Refused(refusal) => Self::Refused(refusal),
            other => Self::Broken(other),
        }
    }
}

/// A server, asked in the terms of the host commands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Control<'a> {
    /// Its control API.
    pub(crate) client: &'a Client,
    /// Where it serves volumes; none where no statement needs that.
    pub(crate) nbd: Option<&'a Address>,
    /// How results are written.
    pub(crate) output: Output,
}

impl Control<'_> {
    /// Has a command carried out.
    pub(crate) async fn command(&self, command: &Command) -> Result<Report, Stop> {
        Ok(self.client.command(command).await?)
    }

    /// Has a command carried out that answers with relationships.
    pub(crate) async fn copies(&self, command: &Command) -> Result<Vec<CopyReport>, Stop> {
        match self.command(command).await? {
            Report::Copies(copies) => Ok(copies),
            Report::Done => Ok(Vec::new()),
            _ => Err(self.client.unexpected().into()),
        }
    }

    /// The relationships of a volume that live.
    pub(crate) async fn related(&self, volume: &str) -> Result<Vec<CopyReport>, Stop> {
        let command = Command::CopyList { volume: Some(volume.to_owned()) };
        let mut copies = self.copies(&command).await?;
        copies.retain(|copy| copy.ended.is_none());
        Ok(copies)
    }

    /// All volumes.
    pub(crate) async fn volumes(&self) -> Result<Volumes, Stop> {
        match self.command(&Command::VolumeList {}).await? {
            Report::Volumes(volumes) => Ok(Volumes(volumes)),
            _ => Err(self.client.unexpected().into()),
        }
    }

    /// Identity and profile of the store.
    pub(crate) async fn store(&self) -> Result<Store, Stop> {
        match self.command(&Command::StoreStatus {}).await? {
            Report::Store(store) => Ok(Store { uuid: store.uuid, profile: store.profile }),
            _ => Err(self.client.unexpected().into()),
        }
    }
}

/// What the host commands need to know of the store.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    uuid: String,
    /// Whose rules apply.
    pub(crate) profile: Profile,
}

impl Store {
    /// Twelve characters that stand for the serial number of the box.
    pub(crate) fn serial(&self) -> String {
        let digits: String = self.uuid.chars().filter(char::is_ascii_hexdigit).take(12).collect();
        format!("{:0>12}", digits.to_uppercase())
    }
}

/// All volumes, found by the names that hosts have for them.
#[derive(Debug)]
pub(crate) struct Volumes(Vec<VolumeReport>);

impl Volumes {
    /// The volume with this device number.
    pub(crate) fn by_device(&self, device: u16) -> Result<&VolumeReport, Refusal> {
        let found = self.0.iter().find(|volume| device_of(volume) == Some(device));
        found.ok_or_else(|| missing(format!("no volume has the device number {device:04X}")))
    }

    /// The volume with this serial: its name, in any case unless there are two such.
    pub(crate) fn by_serial(&self, serial: &str) -> Result<&VolumeReport, Refusal> {
        match named(&self.0, serial, |volume| &volume.name) {
            Named::One(volume) => Ok(volume),
            Named::None => Err(missing(format!("volume {serial} does not exist"))),
            Named::Several => Err(ambiguous("volumes", serial)),
        }
    }

    /// The volume of this exact name.
    pub(crate) fn by_name(&self, name: &str) -> Option<&VolumeReport> {
        self.0.iter().find(|volume| volume.name == name)
    }
}

/// What a name in some case stands for.
pub(crate) enum Named<T> {
    /// Nothing.
    None,
    /// This.
    One(T),
    /// Several that differ in case only, and none is written exactly so.
    Several,
}

/// Finds by name: written exactly so, else in any case.
pub(crate) fn named<'a, T>(all: &'a [T], wanted: &str, name: impl Fn(&T) -> &str) -> Named<&'a T> {
    if let Some(exact) = all.iter().find(|known| name(known) == wanted) {
        return Named::One(exact);
    }
    let mut alike = all.iter().filter(|known| name(known).eq_ignore_ascii_case(wanted));
    match (alike.next(), alike.next()) {
        (None, _) => Named::None,
        (Some(one), None) => Named::One(one),
        (Some(_), Some(_)) => Named::Several,
    }
}

/// Two names that differ in case only.
pub(crate) fn ambiguous(what: &str, name: &str) -> Refusal {
    Refusal {
        kind: RefusalKind::Invalid,
        message: format!("several {what} are named {name}, in upper and lower case"),
        help: Some("write the name exactly as it is, in quotes if need be".to_owned()),
    }
}

fn missing(message: String) -> Refusal {
    let help = Some("`flashtrack volume list` shows all volumes".to_owned());
    Refusal { kind: RefusalKind::NotFound, message, help }
}

/// The device number of a volume.
pub(crate) fn device_of(volume: &VolumeReport) -> Option<u16> {
    u16::from_str_radix(&volume.device, 16).ok()
}

/// The control unit of a volume: the upper two digits of its device number.
pub(crate) fn control_unit(volume: &VolumeReport) -> u8 {
    device_of(volume).map_or(0, |device| device.to_be_bytes()[0])
}

//! Who copies: Flashtrack over NBD, dm-thin and dm-snapshot; what each has to do for a volume, a copy, and its end.
//!
//! Flashtrack's commands go to its server, those of the device mapper to the guest's shell (guest.sh).

use std::path::PathBuf;

use crate::error::Outcome;
use crate::kernel::Kernel;
use crate::server::Server;

/// Flashtrack's volume, and the thin one that it is copied onto.
const SOURCE: &str = "source";
const TARGET: &str = "target";
const POOL: &str = "pool0";

/// What copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Copier {
    Flashtrack,
    Thin,
    Snapshot,
}

/// Where the device mapper's disk is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Disk {
    /// A plain volume of the same server, over NBD as Flashtrack's: the number of the nbd device.
    Nbd(usize),
    /// A file on the host, which the guest's own block driver reads and writes: the device.
    File(&'static str),
}

/// One who takes part.
#[derive(Clone, Copy, Debug)]
pub(super) struct Contender {
    /// Name in the tables.
    pub(super) name: &'static str,
    /// Name of its folder and of its devices.
    pub(super) place: &'static str,
    copier: Copier,
    disk: Disk,
}

/// All, Flashtrack first.
pub(super) const CONTENDERS: [Contender; 5] = [
    Contender {
        name: "flashtrack",
        place: "flashtrack",
        copier: Copier::Flashtrack,
        disk: Disk::Nbd(0),
    },
    Contender {
        name: "dm-thin on nbd",
        place: "thin-nbd",
        copier: Copier::Thin,
        disk: Disk::Nbd(2),
    },
    Contender {
        name: "dm-snapshot on nbd",
        place: "snapshot-nbd",
        copier: Copier::Snapshot,
        disk: Disk::Nbd(3),
    },
    Contender {
        name: "dm-thin on ubd",
        place: "thin-ubd",
        copier: Copier::Thin,
        disk: Disk::File("/dev/ubda"),
    },
    Contender {
        name: "dm-snapshot on ubd",
        place: "snapshot-ubd",
        copier: Copier::Snapshot,
        disk: Disk::File("/dev/ubdb"),
    },
];

/// The nbd device at which a copy of Flashtrack's is looked at.
const COPY_DEVICE: usize = 1;
/// Of a disk for dm-thin, beside twice the volume: the metadata.
const THIN_META_MEBIBYTES: u64 = 64;

/// What contenders work with.
pub(super) struct Bed {
    pub(super) kernel: Kernel,
    pub(super) server: Server,
    /// Where guest.sh is.
    pub(super) library: PathBuf,
    /// Length of every volume.
    pub(super) volume_mebibytes: u64,
}

impl Bed {
    /// Runs `call` where the functions of guest.sh are known.
    pub(super) fn shell(&mut self, call: &str) -> Outcome<String> {
        self.kernel.script(&format!(". '{}'\n{call}", self.library.display()))
    }

    /// Waits until everything staged is at its final place.
    pub(super) fn drain(&self) -> Outcome {
        self.command(&["store", "drain"])
    }

    fn command(&self, words: &[&str]) -> Outcome {
        self.server.flashtrack(words).map(drop)
    }

    fn create_volume(&self, name: &str, mebibytes: u64) -> Outcome {
        self.command(&["volume", "create", name, "--size", &format!("{mebibytes}M")])
    }
}

impl Contender {
    /// True for the one whose writes are staged before they are at their final place.
    pub(super) fn stages(&self) -> bool {
        self.copier == Copier::Flashtrack
    }

    /// True when the disk is a file on the host.
    pub(super) fn has_file(&self) -> bool {
        matches!(self.disk, Disk::File(_))
    }

    /// Mebibytes of the disk for volumes of so many: with the room that copies need.
    pub(super) fn disk_mebibytes(&self, volume: u64) -> u64 {
        match self.copier {
            Copier::Flashtrack => volume,
            Copier::Thin => 2 * volume + THIN_META_MEBIBYTES,
            Copier::Snapshot => volume + volume.div_ceil(4),
        }
    }

    /// Makes the volume and gives the device for its file system.
    pub(super) fn make(&self, bed: &mut Bed) -> Outcome<String> {
        if let Disk::Nbd(number) = self.disk {
            let export = if self.stages() { SOURCE } else { self.place };
            bed.create_volume(export, self.disk_mebibytes(bed.volume_mebibytes))?;
            bed.kernel.attach(bed.server.nbd(), export, number)?;
        }
        if self.stages() {
            let size = format!("{}M", bed.volume_mebibytes);
            bed.command(&["pool", "create", POOL, "--capacity", &size])?;
            bed.command(&["volume", "create", TARGET, "--size", &size, "--thin", POOL])?;
            return Ok(self.disk_device(bed));
        }
        self.device_mapper("make", bed)?;
        Ok(format!("/dev/mapper/{}", self.place))
    }

    /// Takes a copy of the volume as it is now.
    pub(super) fn take(&self, bed: &mut Bed) -> Outcome {
        if self.stages() {
            let words = ["copy", "establish", SOURCE, TARGET, "--nocopy", "--space-efficient"];
            return bed.command(&words);
        }
        self.device_mapper("take", bed)
    }

    /// Makes the copy a device, and gives that.
    pub(super) fn open(&self, bed: &mut Bed) -> Outcome<String> {
        if self.stages() {
            bed.kernel.attach(bed.server.nbd(), TARGET, COPY_DEVICE)?;
            return Ok(bed.kernel.device(COPY_DEVICE).to_owned());
        }
        self.device_mapper("open", bed)?;
        Ok(format!("/dev/mapper/{}-copy", self.place))
    }

    /// Ends the copy, which is open, for good.
    pub(super) fn end(&self, bed: &mut Bed) -> Outcome {
        if self.stages() {
            let detach = format!("nbd-client -d {}", bed.kernel.device(COPY_DEVICE));
            bed.kernel.script(&detach)?;
            bed.command(&["copy", "withdraw", "--source", SOURCE])?;
            return bed.drain();
        }
        self.device_mapper("end", bed)
    }

    fn disk_device(&self, bed: &Bed) -> String {
        match self.disk {
            Disk::Nbd(number) => bed.kernel.device(number).to_owned(),
            Disk::File(device) => device.to_owned(),
        }
    }

    /// Calls the function of guest.sh that does this with the device mapper.
    fn device_mapper(&self, what: &str, bed: &mut Bed) -> Outcome {
        let kind = if self.copier == Copier::Thin { "thin" } else { "snapshot" };
        let (place, disk) = (self.place, self.disk_device(bed));
        let sectors = bed.volume_mebibytes << 11;
        bed.shell(&format!("{kind}_{what} {place} {disk} {sectors}")).map(drop)
    }
}

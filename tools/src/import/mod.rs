//! `dataset import`: a dataset of the tracks in which a file's data lies.
//!
//! `fiemap` asks the file system, `device` finds the disk below it, `tracks` makes extents of a volume of both and
//! refuses what would not be a copy of the data, `proof` compares the volume's content with the file's. What the dataset says is true until the file system moves the file's data.

mod device;
mod fiemap;
mod proof;
#[cfg(test)]
mod tests;
mod tracks;

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use flashtrack_engine::admin::{DatasetExtent, VolumeReport};

use self::device::{Device, Kind};
use self::fiemap::Extent;
use self::proof::Proof;
use self::tracks::{Place, Tracks};
use crate::nbd::{Address, Answer, Connection, NbdError};

/// Why a file's tracks cannot be told.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ImportError {
    /// A file cannot be used.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A directory, a device or the like.
    #[error("{} is no regular file", .0.display())]
    NotRegular(PathBuf),
    /// The file system does not tell where data lies.
    #[error("the file system of {} does not tell where its data lies", path.display())]
    NoMap {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// Nothing is allocated.
    #[error("the file has no data on its device")]
    NoData,
    /// Copied tracks would not hold the data.
    #[error("the file's data of {bytes} bytes at {offset} {why}")]
    NotSafe {
        /// First byte within the file.
        offset: u64,
        /// Length.
        bytes: u64,
        /// What about it.
        why: &'static str,
    },
    /// The map and the volume contradict each other.
    #[error(
        "{bytes} bytes at {offset} of the file system are not on a volume of {size_bytes} bytes"
    )]
    PastEnd {
        /// First byte on the file system's device.
        offset: u64,
        /// Length.
        bytes: u64,
        /// Size of the volume.
        size_bytes: u64,
    },
    /// tmpfs, overlay, btrfs and the like.
    #[error("the file system is on no single block device (it has number {major}:{minor})")]
    NoBlockDevice {
        /// Upper part of the number.
        major: u32,
        /// Lower part.
        minor: u32,
    },
    /// A disk of its own, LVM, a loop device and the like.
    #[error("the file system is on {0}, which is no NBD device")]
    NotNbd(String),
    /// Another volume's device.
    #[error("device {device} has {device_bytes} bytes, volume {volume} {size_bytes}")]
    OtherSize {
        /// Name of the device.
        device: String,
        /// Its size.
        device_bytes: u64,
        /// Name of the volume.
        volume: String,
        /// Its size.
        size_bytes: u64,
    },
    /// Another volume of the same size.
    #[error("the file's data is not on volume {0}: other bytes are at its place")]
    OtherContent(String),
    /// Nothing to compare.
    #[error("the file holds nothing but zeroes: they do not tell whether it is on volume {0}")]
    NoProof(String),
    /// The volume cannot be read.
    #[error(transparent)]
    Nbd(#[from] NbdError),
    /// So no device of it is mounted.
    #[error("no client is connected to volume {0}")]
    NotConnected(String),
}

impl ImportError {
    /// A stable word for programs.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Read { .. } => "file",
            Self::NotRegular(_) | Self::NoMap { .. } | Self::NoData | Self::NotSafe { .. } => {
                "not_safe"
            }
            Self::PastEnd { .. }
            | Self::OtherSize { .. }
            | Self::OtherContent(_)
            | Self::NoProof(_)
            | Self::NotConnected(_) => "other_volume",
            Self::Nbd(_) => "nbd",
            Self::NoBlockDevice { .. } | Self::NotNbd(_) => "not_nbd",
        }
    }

    /// What to do.
    pub(crate) fn advice(&self) -> &'static str {
        match self {
            Self::Read { .. } => {
                "name a file that you may read, on the machine where it is mounted"
            }
            Self::NoData => "write to it first; a file of holes has nothing to copy",
            Self::NotRegular(_) | Self::NoMap { .. } | Self::NotSafe { .. } => {
                "copy the whole volume instead; ext4 and XFS without compression, encryption and inline data can be imported"
            }
            Self::Nbd(_) => {
                "name the NBD address of the volume's server with --nbd HOST:PORT or --nbd unix:PATH"
            }
            Self::NoProof(_) => "write data to the file first, or define the dataset by its tracks",
            Self::OtherContent(_) => {
                "name the volume that is attached as the file system's device; try again when the file is being written"
            }
            Self::PastEnd { .. } | Self::OtherSize { .. } | Self::NotConnected(_) => {
                "name the volume that is attached as the file system's device"
            }
            Self::NoBlockDevice { .. } | Self::NotNbd(_) => {
                "import files of a file system that was made on an NBD device or on a partition of one"
            }
        }
    }
}

/// A file's extents on its file system's device.
#[derive(Debug)]
struct Mapped {
    file: File,
    device: Device,
    extents: Vec<Extent>,
}

/// What a dataset of the file is made of: its extents, and bytes that are allocated but were never written.
pub(crate) fn extents(
    path: &Path,
    volume: &VolumeReport,
    nbd: &Address,
) -> Result<(Vec<DatasetExtent>, u64), ImportError> {
    let mapped = map(path, Kind::Nbd)?;
    if volume.connections == 0 {
        return Err(ImportError::NotConnected(volume.name.clone()));
    }
    let Tracks { extents, unwritten_bytes } = on_volume(&mapped, volume)?;
    let mut connection = Connection::open(nbd.connect()?, &volume.name)?;
    check_content(&mapped, volume, |offset, bytes| {
        connection.read(offset, bytes)?;
        match connection.reply()?.answer {
            Answer::Data(bytes) => Ok(bytes),
            other => Err(NbdError::Protocol(format!("{other:?} for a read")).into()),
        }
    })?;
    Ok((extents, unwritten_bytes))
}

fn map(path: &Path, kind: Kind) -> Result<Mapped, ImportError> {
    let failed = |source| ImportError::Read { path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(ImportError::NotRegular(path.to_owned()));
    }
    let number = metadata.dev();
    let number = (rustix::fs::major(number), rustix::fs::minor(number));
    let device = device::find(number, Path::new("/sys"), kind)?;
    // Sizes and extents of the file are part of what has to be there when its tracks are copied.
    file.sync_all().map_err(failed)?;
    let extents = fiemap::extents(&file)
        .map_err(|source| ImportError::NoMap { path: path.to_owned(), source })?;
    Ok(Mapped { file, device, extents })
}

fn check_content(
    mapped: &Mapped,
    volume: &VolumeReport,
    volume_bytes: impl FnMut(u64, u32) -> Result<Vec<u8>, ImportError>,
) -> Result<(), ImportError> {
    let start_bytes = mapped.device.start_bytes;
    match proof::find(&mapped.file, &mapped.extents, start_bytes, volume_bytes)? {
        Proof::Same => Ok(()),
        Proof::Other => Err(ImportError::OtherContent(volume.name.clone())),
        Proof::None => Err(ImportError::NoProof(volume.name.clone())),
    }
}

fn on_volume(mapped: &Mapped, volume: &VolumeReport) -> Result<Tracks, ImportError> {
    let device = &mapped.device;
    if device.size_bytes != volume.size_bytes {
        return Err(ImportError::OtherSize {
            device: device.name.clone(),
            device_bytes: device.size_bytes,
            volume: volume.name.clone(),
            size_bytes: volume.size_bytes,
        });
    }
    let place = Place {
        volume: &volume.name,
        size_bytes: volume.size_bytes,
        track_bytes: volume.track_bytes,
        start_bytes: device.start_bytes,
    };
    tracks::of(&mapped.extents, place)
}

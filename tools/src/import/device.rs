//! The block device below a file system, as `/sys` tells it.

use std::path::Path;

use super::ImportError;

/// Which devices are volumes. A parameter, so that tests can use what a test can mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The kernel's NBD client.
    Nbd,
    /// A file as a device.
    #[cfg(test)]
    Loop,
}

impl Kind {
    /// What the names of such devices begin with; a number follows.
    fn prefix(self) -> &'static str {
        match self {
            Self::Nbd => "nbd",
            #[cfg(test)]
            Self::Loop => "loop",
        }
    }
}

/// A whole disk, and where the file system begins on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Device {
    /// Name of the disk.
    pub(super) name: String,
    /// Size of the disk in bytes.
    pub(super) size_bytes: u64,
    /// First byte of the file system's partition; 0 when the disk has none.
    pub(super) start_bytes: u64,
}

/// The device of that number. `sys` is where sysfs is mounted.
pub(super) fn find(
    (major, minor): (u32, u32),
    sys: &Path,
    kind: Kind,
) -> Result<Device, ImportError> {
    let unknown = || ImportError::NoBlockDevice { major, minor };
    let mut directory =
        sys.join(format!("dev/block/{major}:{minor}")).canonicalize().map_err(|_| unknown())?;
    let mut start_bytes = 0;
    if directory.join("partition").exists() {
        start_bytes = sectors(&directory.join("start"))?;
        directory.pop();
    }
    let name = directory.file_name().map(|name| name.to_string_lossy().into_owned());
    let name = name.ok_or_else(unknown)?;
    let number = name.strip_prefix(kind.prefix()).unwrap_or_default();
    if number.is_empty() || !number.bytes().all(|digit| digit.is_ascii_digit()) {
        return Err(ImportError::NotNbd(name));
    }
    Ok(Device { name, size_bytes: sectors(&directory.join("size"))?, start_bytes })
}

/// A number of sectors, which are of 512 bytes in sysfs whatever the device says, in bytes.
fn sectors(path: &Path) -> Result<u64, ImportError> {
    let failed = |source| ImportError::Read { path: path.to_owned(), source };
    let text = std::fs::read_to_string(path).map_err(failed)?;
    let sectors: Option<u64> = text.trim().parse().ok();
    sectors
        .and_then(|sectors| sectors.checked_mul(512))
        .ok_or_else(|| failed(std::io::ErrorKind::InvalidData.into()))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    /// A part of sysfs with the disks nbd3 (a partition from sector 2048 on) and dm-0.
    fn sysfs() -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("a temporary directory");
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().expect("below the root")).expect("directories");
            fs::write(path, text).expect("it is written");
        };
        write("devices/virtual/block/nbd3/size", "204800\n");
        write("devices/virtual/block/nbd3/nbd3p1/partition", "1\n");
        write("devices/virtual/block/nbd3/nbd3p1/start", "2048\n");
        write("devices/virtual/block/dm-0/size", "8\n");
        fs::create_dir_all(root.path().join("dev/block")).expect("directories");
        for (number, place) in [("43:96", "nbd3"), ("43:97", "nbd3/nbd3p1"), ("253:0", "dm-0")] {
            let place = format!("../../devices/virtual/block/{place}");
            symlink(place, root.path().join("dev/block").join(number)).expect("a link");
        }
        root
    }

    #[test]
    fn a_disk_and_its_partition_are_found() {
        let sys = sysfs();
        let device =
            |start_bytes| Device { name: "nbd3".to_owned(), size_bytes: 100 << 20, start_bytes };

        assert_eq!(find((43, 96), sys.path(), Kind::Nbd).expect("a disk"), device(0));
        assert_eq!(find((43, 97), sys.path(), Kind::Nbd).expect("a partition"), device(1 << 20));
    }

    #[test]
    fn what_is_no_nbd_device_is_refused() {
        let sys = sysfs();

        let mapper = find((253, 0), sys.path(), Kind::Nbd).expect_err("no NBD device");
        assert!(matches!(&mapper, ImportError::NotNbd(name) if name == "dm-0"), "{mapper}");
        let none = find((0, 44), sys.path(), Kind::Nbd).expect_err("no block device");
        assert!(matches!(none, ImportError::NoBlockDevice { major: 0, minor: 44 }), "{none}");
        assert!(find((43, 96), sys.path(), Kind::Loop).is_err());
    }
}

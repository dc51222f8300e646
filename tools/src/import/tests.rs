//! A file of a real ext4, on a loop device. That takes root; without it the test says so and ends.

use std::io::Write;
use std::os::unix::fs::FileExt;
use std::process::Command;

use flashtrack_engine::admin::{VolumeReport, VolumeStatus};
use flashtrack_engine::geometry::VolumeType;

use super::*;

const SIZE: u64 = 64 << 20;
const TRACK: u64 = 65_536;

/// An ext4 on a loop device on the file `image`.
struct Mounted {
    directory: tempfile::TempDir,
}

impl Mounted {
    fn new() -> Option<Self> {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let (image, root) = (directory.path().join("image"), directory.path().join("mnt"));
        File::create(&image).and_then(|file| file.set_len(SIZE)).expect("a sparse file");
        std::fs::create_dir(&root).expect("a directory");
        let made = Self { directory };
        let steps = [
            Command::new("mkfs.ext4").args(["-q", "-O", "inline_data"]).arg(&image).output(),
            Command::new("mount").args(["-o", "loop"]).arg(&image).arg(&root).output(),
        ];
        for step in steps {
            let problem = match step {
                Ok(output) if output.status.success() => continue,
                Ok(output) => String::from_utf8_lossy(&output.stderr).into_owned(),
                Err(error) => error.to_string(),
            };
            println!("not tested: no file system can be mounted here: {problem}");
            return None;
        }
        Some(made)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join("mnt").join(name)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Where mounting failed there is nothing to undo.
        let _ = Command::new("umount").arg(self.directory.path().join("mnt")).output();
    }
}

fn index(bytes: u64) -> usize {
    usize::try_from(bytes).expect("all is small here")
}

fn volume(size_bytes: u64) -> VolumeReport {
    VolumeReport {
        id: 1,
        name: "data".to_owned(),
        device: "0A00".to_owned(),
        volume_type: VolumeType::Fb,
        size_bytes,
        track_bytes: 65_536,
        tracks: u32::try_from(size_bytes / TRACK).expect("a small volume"),
        thin: false,
        pool: None,
        allocated_bytes: 0,
        status: VolumeStatus::Online,
        connections: 1,
        source_relationships: 0,
        target_relationships: 0,
        relationships_max: 65_534,
        frozen_seconds_left: None,
    }
}

#[test]
fn the_tracks_of_a_file_hold_its_data() {
    let Some(mounted) = Mounted::new() else { return };
    let path = mounted.path("file");
    let mut file = File::create(&path).expect("a file");
    // Data, a hole, data; not synced.
    let data: Vec<u8> = (0..700_000_u32).flat_map(u32::to_le_bytes).collect();
    file.write_all(&data).expect("it is written");
    file.write_all_at(b"behind a hole", 20 << 20).expect("it is written");

    let mapped = map(&path, Kind::Loop).expect("its map");
    let tracks = on_volume(&mapped, &volume(SIZE)).expect("its tracks");

    // Nothing but the tracks is taken over from the image.
    let image = File::open(mounted.directory.path().join("image")).expect("the image");
    let mut copied = vec![0xEE; index(SIZE)];
    for extent in &tracks.extents {
        let start = u64::from(extent.first_track) * TRACK;
        let bytes = u64::from(extent.tracks) * TRACK;
        let range = index(start)..index(start + bytes);
        image.read_exact_at(&mut copied[range], start).expect("it is read");
    }
    let mut found = vec![0; 20 << 20];
    found.extend_from_slice(&[0; 13]);
    for extent in &mapped.extents {
        let (logical, physical) = (index(extent.logical), index(extent.physical));
        let bytes = index(extent.bytes).min(found.len() - logical);
        found[logical..logical + bytes].copy_from_slice(&copied[physical..physical + bytes]);
    }
    assert!(found[..data.len()] == data, "the data is elsewhere");
    assert_eq!(&found[20 << 20..], b"behind a hole");
    let all: u64 = tracks.extents.iter().map(|extent| u64::from(extent.tracks) * TRACK).sum();
    // The volume is known by its content; another one of its size is not taken for it.
    check_content(&mapped, &volume(SIZE), |offset, bytes| {
        let mut read = vec![0; bytes as usize];
        image.read_exact_at(&mut read, offset).expect("it is read");
        Ok(read)
    })
    .expect("the same content");
    let other = check_content(&mapped, &volume(SIZE), |_, bytes| Ok(vec![0; bytes as usize]));
    assert!(matches!(other, Err(ImportError::OtherContent(_))), "{other:?}");
    assert!(all < 8 << 20, "{all} bytes of tracks for 3 MiB of data");
}

#[test]
fn a_file_that_is_not_safe_or_elsewhere_is_refused() {
    let Some(mounted) = Mounted::new() else { return };
    std::fs::write(mounted.path("inline"), b"tiny").expect("it is written");
    let inline = map(&mounted.path("inline"), Kind::Loop).expect("its map");
    let refused = on_volume(&inline, &volume(SIZE)).expect_err("inline");
    assert!(refused.to_string().contains("inline"), "{refused}");

    std::fs::write(mounted.path("empty"), b"").expect("it is written");
    let empty = map(&mounted.path("empty"), Kind::Loop).expect("its map");
    assert!(matches!(on_volume(&empty, &volume(SIZE)), Err(ImportError::NoData)));

    std::fs::write(mounted.path("file"), [1; 8192]).expect("it is written");
    let file = map(&mounted.path("file"), Kind::Loop).expect("its map");
    let refused = on_volume(&file, &volume(SIZE + TRACK)).expect_err("another size");
    assert!(matches!(refused, ImportError::OtherSize { .. }), "{refused}");

    let root = map(&mounted.path("."), Kind::Loop).expect_err("a directory");
    assert!(matches!(root, ImportError::NotRegular(_)), "{root}");
    let disk = map(&mounted.path("file"), Kind::Nbd).expect_err("a loop device");
    assert!(matches!(disk, ImportError::NotNbd(_)), "{disk}");
}

#[test]
fn preallocated_space_is_told() {
    let Some(mounted) = Mounted::new() else { return };
    let path = mounted.path("file");
    let file = File::create(&path).expect("a file");
    rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, 1 << 20).expect("space");
    file.write_all_at(&[7; 4096], 0).expect("it is written");

    let mapped = map(&path, Kind::Loop).expect("its map");
    let tracks = on_volume(&mapped, &volume(SIZE)).expect("its tracks");

    assert_eq!(tracks.unwritten_bytes, (1 << 20) - 4096);
    file.write_all_at(&[0; 4096], 0).expect("it is written");
    let nothing = check_content(&mapped, &volume(SIZE), |_, bytes| Ok(vec![0; bytes as usize]));
    assert!(matches!(nothing, Err(ImportError::NoProof(_))), "{nothing:?}");
}

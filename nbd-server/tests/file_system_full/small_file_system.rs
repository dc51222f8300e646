//! A small ext4 on a loop device, and a stranger's file that takes all its space, or none.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use rustix::fs::{FallocateFlags, fallocate};
use tempfile::TempDir;

use crate::{KIB, MIB};

/// A small file system with a stranger's file that takes all its space, or none.
pub(crate) struct SmallFileSystem {
    directory: TempDir,
}

impl SmallFileSystem {
    /// None where this process may not mount one.
    pub(crate) fn mount(bytes: u64) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let image = directory.path().join("image");
        std::fs::File::create(&image).unwrap().set_len(bytes).unwrap();
        std::fs::create_dir(directory.path().join("mnt")).unwrap();
        let made = Self { directory };
        let steps = [
            Command::new("mkfs.ext4").args(["-q", "-m", "0"]).arg(&image).output(),
            Command::new("mount").args(["-o", "loop"]).arg(&image).arg(made.root()).output(),
        ];
        for step in steps {
            let problem = match step {
                Ok(output) if output.status.success() => continue,
                Ok(output) => String::from_utf8_lossy(&output.stderr).into_owned(),
                Err(error) => error.to_string(),
            };
            println!("not tested: no small file system can be mounted here: {problem}");
            return None;
        }
        Some(made)
    }

    fn root(&self) -> PathBuf {
        self.directory.path().join("mnt")
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.root().join("store")
    }

    /// The stranger takes all that is left.
    pub(crate) fn fill(&self) {
        self.sync();
        let stranger = std::fs::File::create(self.root().join("stranger")).unwrap();
        let (mut end, mut bytes) = (0, 64 * MIB);
        while bytes >= 4 * KIB {
            match fallocate(&stranger, FallocateFlags::empty(), end, bytes) {
                Ok(()) => end += bytes,
                Err(_) => bytes /= 2,
            }
        }
        stranger.sync_all().unwrap();
    }

    /// The stranger goes.
    pub(crate) fn free(&self) {
        std::fs::remove_file(self.root().join("stranger")).unwrap();
        self.sync();
    }

    fn sync(&self) {
        rustix::fs::syncfs(std::fs::File::open(self.root()).unwrap()).unwrap();
    }
}

impl Drop for SmallFileSystem {
    fn drop(&mut self) {
        // Where mounting failed there is nothing to undo.
        let _ = Command::new("umount").arg(self.root()).stderr(Stdio::null()).status();
    }
}

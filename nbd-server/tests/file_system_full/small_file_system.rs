//! A small ext4 on a loop device, and a stranger's file that takes all its space, or none.

use std::path::PathBuf;

use rustix::fs::{FallocateFlags, fallocate};

use crate::loop_mount::LoopMount;
use crate::{KIB, MIB};

/// A small file system with a stranger's file that takes all its space, or none.
pub(crate) struct SmallFileSystem(LoopMount);

impl SmallFileSystem {
    /// None where this process may not mount one.
    pub(crate) fn mount(bytes: u64) -> Option<Self> {
        LoopMount::new(bytes, &["mkfs.ext4", "-q", "-m", "0"]).map(Self)
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.0.root().join("store")
    }

    /// The stranger takes all that is left.
    pub(crate) fn fill(&self) {
        self.sync();
        let stranger = std::fs::File::create(self.0.root().join("stranger")).unwrap();
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
        std::fs::remove_file(self.0.root().join("stranger")).unwrap();
        self.sync();
    }

    fn sync(&self) {
        rustix::fs::syncfs(std::fs::File::open(self.0.root()).unwrap()).unwrap();
    }
}

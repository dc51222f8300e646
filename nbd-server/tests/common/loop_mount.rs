//! A file system of a test's own, on a loop device. That takes root; without it a test says so and ends.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use tempfile::TempDir;

/// It is unmounted when this value goes.
pub(crate) struct LoopMount {
    directory: TempDir,
}

impl LoopMount {
    /// A file system of `bytes` bytes, as `make` makes it (a program and its options); `None` where this process
    /// may not mount one.
    pub(crate) fn new(bytes: u64, make: &[&str]) -> Option<Self> {
        let directory = tempfile::tempdir().expect("a temporary folder can be made");
        let image = directory.path().join("image");
        let file = std::fs::File::create(&image).expect("a file can be made");
        file.set_len(bytes).expect("a sparse file can be that long");
        let made = Self { directory };
        std::fs::create_dir(made.root()).expect("a folder can be made");
        let steps = [
            Command::new(make[0]).args(&make[1..]).arg(&image).output(),
            Command::new("mount").args(["-o", "loop"]).arg(&image).arg(made.root()).output(),
        ];
        for step in steps {
            let problem = match step {
                Ok(output) if output.status.success() => continue,
                Ok(output) => String::from_utf8_lossy(&output.stderr).into_owned(),
                Err(error) => error.to_string(),
            };
            println!("not tested: {} makes nothing that can be mounted here: {problem}", make[0]);
            return None;
        }
        Some(made)
    }

    /// Its root.
    pub(crate) fn root(&self) -> PathBuf {
        self.directory.path().join("mnt")
    }
}

impl Drop for LoopMount {
    fn drop(&mut self) {
        // Where mounting failed there is nothing to undo.
        let _ = Command::new("umount").arg(self.root()).stderr(Stdio::null()).status();
    }
}

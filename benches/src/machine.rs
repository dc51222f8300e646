//! What of the machine limits the figures: said above every table, since absolute figures mean nothing without it.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde::Serialize;

use crate::process;

/// Facts about the machine.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// Cores that this process may use.
    pub cores: usize,
    /// As the processor names itself.
    pub processor: String,
    /// Memory in mebibytes.
    pub memory_mebibytes: u64,
    /// Kernel release.
    pub kernel: String,
    /// File system of the servers' files, and its device.
    pub file_system: String,
    /// Load average of the last minute when the run began: other work on the machine.
    pub load: String,
    /// Versions of client and peers.
    pub versions: Vec<String>,
}

impl Machine {
    /// This machine, with the servers' files below `folder`.
    pub fn here(folder: &Path) -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let field = |text: &str, name: &str| {
            let line = text.lines().find(|line| line.starts_with(name));
            line.and_then(|line| line.split_once(':')).map(|(_, value)| value.trim().to_owned())
        };
        let memory = field(&read("/proc/meminfo"), "MemTotal").unwrap_or_default();
        let kib: u64 = memory.trim_end_matches(" kB").parse().unwrap_or(0);
        Self {
            cores: std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
            processor: field(&read("/proc/cpuinfo"), "model name").unwrap_or_default(),
            memory_mebibytes: kib / 1024,
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            file_system: file_system(&read("/proc/self/mounts"), folder),
            load: read("/proc/loadavg").split(' ').next().unwrap_or_default().to_owned(),
            versions: versions(),
        }
    }

    /// As lines of Markdown.
    pub fn lines(&self) -> Vec<String> {
        vec![
            format!("- {} cores ({}), shared by client and server", self.cores, self.processor),
            format!("- {} MiB of memory, Linux {}", self.memory_mebibytes, self.kernel),
            format!("- files on {}", self.file_system),
            format!("- load when the run began: {}", self.load),
            format!("- {}", self.versions.join("; ")),
        ]
    }
}

/// Type and device of the mount that `folder` is in, from the kernel's list of mounts.
fn file_system(mounts: &str, folder: &Path) -> String {
    let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    let mut best = (0, "an unknown file system".to_owned());
    for line in mounts.lines() {
        let mut words = line.split(' ');
        let (Some(device), Some(place), Some(kind)) = (words.next(), words.next(), words.next())
        else {
            continue;
        };
        if folder.starts_with(place) && place.len() >= best.0 {
            best = (place.len(), format!("{kind} ({device})"));
        }
    }
    best.1
}

/// First lines of what the programs say of their version; those that are not installed are left out.
fn versions() -> Vec<String> {
    ["fio", "nbdkit", "qemu-nbd"]
        .iter()
        .filter_map(|program| process::output(Command::new(program).arg("--version")).ok())
        .filter_map(|said| {
            let said = String::from_utf8_lossy(&said).into_owned();
            said.lines().next().map(str::to_owned)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_mount_decides() {
        let mounts = "/dev/a / ext4 rw 0 0\ntmpfs /proc tmpfs rw 0 0\n";
        assert_eq!(file_system(mounts, Path::new("/proc")), "tmpfs (tmpfs)");
        assert_eq!(file_system(mounts, Path::new("/")), "ext4 (/dev/a)");
    }
}

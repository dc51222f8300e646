//! What every run can be told.

use std::path::{Path, PathBuf};

use crate::error::{BenchError, Outcome};
use crate::servers::Folders;

/// Settings of a run.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Rounds; the sides take turns within each
    #[arg(long, default_value_t = 5)]
    pub rounds: usize,
    /// Milliseconds of each run that is limited by time
    #[arg(long, default_value_t = 2000)]
    pub milliseconds: u64,
    /// Mebibytes of the volume that is worked on [default: 1024; copies: 4096]
    #[arg(long)]
    pub mebibytes: Option<u64>,
    /// Only workloads with this text in their name
    #[arg(long, value_name = "TEXT")]
    pub only: Option<String>,
    /// Mebibytes of the server's journal
    #[arg(long, default_value_t = 1024)]
    pub journal_mebibytes: u64,
    /// A further option of flashtrackd, such as --server-option=--profile=ibm; may be given several times
    #[arg(long, value_name = "OPTION", allow_hyphen_values = true)]
    pub server_option: Vec<String>,
    /// Folder with `flashtrackd`
    #[arg(long, default_value = "target/release")]
    pub programs: PathBuf,
    /// The program `nbd-server`
    #[arg(long, value_name = "PATH", default_value = "nbd-server")]
    pub nbd_server: PathBuf,
    /// Folder for the results, in a folder of their own
    #[arg(long, default_value = "target/bench")]
    pub output: PathBuf,
    /// Folder for the servers' files, on the file system to be measured; they are removed at the end [default: the
    /// folder for the results]
    #[arg(long)]
    pub files: Option<PathBuf>,
}

/// Folders that are removed when the value is dropped.
#[derive(Debug)]
pub struct TemporaryFolders {
    /// The folders.
    pub folders: Folders,
    _files: tempfile::TempDir,
    _sockets: tempfile::TempDir,
}

impl Options {
    /// Bytes of the volume that is worked on.
    pub fn bytes(&self, mebibytes_default: u64) -> u64 {
        self.mebibytes.unwrap_or(mebibytes_default) << 20
    }

    /// True when a workload of that name is asked for.
    pub fn wants(&self, workload: &str) -> bool {
        self.only.as_ref().is_none_or(|text| workload.contains(text))
    }

    /// Where the servers' files are.
    pub fn files_parent(&self) -> &Path {
        self.files.as_deref().unwrap_or(&self.output)
    }

    /// New folders for a run.
    ///
    /// # Errors
    /// They cannot be made.
    pub fn folders(&self) -> Outcome<TemporaryFolders> {
        let parent = self.files_parent();
        std::fs::create_dir_all(parent).map_err(BenchError::file(parent))?;
        let make = |parent: &Path| {
            let made = tempfile::Builder::new().prefix("bench-").tempdir_in(parent);
            made.map_err(BenchError::file(parent))
        };
        let (files, sockets) = (make(parent)?, make(&std::env::temp_dir())?);
        // Servers are told paths and may work in another folder.
        let absolute = files.path().canonicalize().map_err(BenchError::file(files.path()))?;
        let folders = Folders { files: absolute, sockets: sockets.path().to_owned() };
        Ok(TemporaryFolders { folders, _files: files, _sockets: sockets })
    }

    /// The settings that a reader of the results has to know.
    pub fn lines(&self, mebibytes_default: u64) -> Vec<String> {
        let mut lines = vec![
            format!("- {} rounds; timed runs of {} ms", self.rounds, self.milliseconds),
            format!(
                "- volume of {} MiB, filled and in the page cache; journal of {} MiB",
                self.mebibytes.unwrap_or(mebibytes_default),
                self.journal_mebibytes
            ),
            "- Unix sockets, fio's nbd engine".to_owned(),
        ];
        if !self.server_option.is_empty() {
            lines.push(format!("- flashtrackd {}", self.server_option.join(" ")));
        }
        lines
    }
}

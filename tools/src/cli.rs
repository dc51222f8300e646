//! The command line: every verb, its options and its help, as clap reads them.
//!
//! Only text that means nothing is refused here (exit code 2); whether a number, a name or a pairing
//! is allowed is the server's decision, so that there is one text and one exit code for it.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgGroup, Args, Parser, Subcommand, ValueHint};
use clap_complete::Shell;
use flashtrack_engine::admin::ExtentSpec;
use flashtrack_engine::geometry::VolumeType;

use crate::values::{byte_size, device_number, duration, extent};

/// Where packages put the control socket of `flashtrackd`.
pub(crate) const CONTROL_DEFAULT: &str = "/run/flashtrack/control.sock";

/// Administer a Flashtrack server: pools, volumes and point-in-time copies.
#[derive(Debug, Parser)]
#[command(name = "flashtrack", version, arg_required_else_help = true, max_term_width = 100)]
#[command(after_help = "\
Exit codes: 0 done, 1 refused or failed (nothing changed), 2 bad usage, 3 timed out.
Sizes are bytes, or take K, M, G or T (powers of 1024). Tracks count from zero.

Example: a pool, a volume, a thin volume, and an instant copy of one on the other:
  flashtrack pool create p0 --capacity 10G
  flashtrack volume create data --size 100G
  flashtrack volume create snap --size 100G --thin p0
  flashtrack copy establish data snap --nocopy --space-efficient")]
pub(crate) struct Cli {
    /// Control socket of the server; flashtrackd prints its path when it starts.
    #[arg(long, global = true, help_heading = "Global options", env = "FLASHTRACK_CONTROL", default_value = CONTROL_DEFAULT)]
    #[arg(value_name = "PATH", value_hint = ValueHint::FilePath)]
    pub(crate) control: PathBuf,
    /// Write JSON instead of tables; errors too, on standard error.
    #[arg(long, global = true, help_heading = "Global options")]
    pub(crate) json: bool,
    /// What to do.
    #[command(subcommand)]
    pub(crate) noun: Noun,
}

/// What a command is about.
#[derive(Debug, Subcommand)]
pub(crate) enum Noun {
    /// Pools: the space that thin volumes share.
    #[command(subcommand)]
    Pool(PoolVerb),
    /// Volumes: what clients attach, under the same name, as NBD exports.
    #[command(subcommand)]
    Volume(VolumeVerb),
    /// Copies: point-in-time relationships between volumes.
    #[command(subcommand)]
    Copy(CopyVerb),
    /// The store as a whole: served, or looked at while no server uses it.
    #[command(subcommand)]
    Store(StoreVerb),
    /// Write a completion script for a shell to standard output.
    #[command(
        after_help = "Example: flashtrack completions bash > /etc/bash_completion.d/flashtrack"
    )]
    Completions {
        /// The shell.
        shell: Shell,
    },
    /// Write the manual pages, one for each command, into a directory.
    #[command(after_help = "Example: flashtrack man /usr/local/share/man/man1")]
    Man {
        /// The directory, made when it is missing.
        #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
        directory: PathBuf,
    },
}

/// Verbs of `pool`.
#[derive(Debug, Subcommand)]
pub(crate) enum PoolVerb {
    /// Make a pool.
    #[command(after_help = "Example: flashtrack pool create p0 --capacity 10G")]
    Create {
        /// Its name, unique among pools.
        name: String,
        /// Its size; rounded down to whole slots of 4 KiB.
        #[arg(long, value_name = "SIZE", value_parser = byte_size)]
        capacity: u64,
    },
    /// List all pools.
    #[command(after_help = "Example: flashtrack pool list --json")]
    List,
    /// Show one pool.
    #[command(after_help = "Example: flashtrack pool show p0")]
    Show {
        /// Its name.
        name: String,
    },
    /// Remove a pool that no volume uses.
    #[command(after_help = "Example: flashtrack pool delete p0")]
    Delete {
        /// Its name.
        name: String,
    },
}

/// Verbs of `volume`.
#[derive(Debug, Subcommand)]
pub(crate) enum VolumeVerb {
    /// Make a volume.
    #[command(after_help = "\
Examples:
  flashtrack volume create data --size 100G
  flashtrack volume create snap --size 100G --thin p0
  flashtrack volume create SYS001 --type 3390-9 --device 0A00")]
    Create(VolumeCreate),
    /// List all volumes.
    #[command(after_help = "Example: flashtrack volume list --json | jq '.[].name'")]
    List,
    /// Show one volume.
    #[command(after_help = "Example: flashtrack volume show data")]
    Show {
        /// Its name.
        name: String,
    },
    /// Remove a volume that is neither in a relationship nor connected, and its data.
    #[command(after_help = "Example: flashtrack volume delete snap")]
    Delete {
        /// Its name.
        name: String,
    },
}

/// Options of `volume create`.
#[derive(Args, Debug)]
pub(crate) struct VolumeCreate {
    /// Its name, unique among volumes; also the name of its NBD export.
    pub(crate) name: String,
    /// Its size; rounded up to whole tracks, or cylinders of 3390 types.
    #[arg(long, value_name = "SIZE", value_parser = byte_size, conflicts_with = "cylinders")]
    pub(crate) size: Option<u64>,
    /// Its type: fb (tracks of 64 KiB), or 3390-3, 3390-9, 3390-27, 3390-54, 3390-a (48 KiB).
    #[arg(long = "type", value_name = "TYPE", default_value = "fb")]
    pub(crate) volume_type: VolumeType,
    /// Size of a 3390 volume in cylinders of 15 tracks.
    #[arg(long, value_name = "N")]
    pub(crate) cylinders: Option<u32>,
    /// Device number, up to four hexadecimal digits; the lowest free one when not given.
    #[arg(long, value_name = "HEX", value_parser = device_number)]
    pub(crate) device: Option<u16>,
    /// Keep its data in this pool: a thin volume.
    #[arg(long, value_name = "POOL")]
    pub(crate) thin: Option<String>,
}

/// Verbs of `copy`.
#[derive(Debug, Subcommand)]
pub(crate) enum CopyVerb {
    /// Copy a source onto a target as it is at this moment.
    #[command(after_help = "\
The copy can be read and written at once. Without --nocopy a background copy fills the target and
ends the relationship by itself; with it, data is kept only as the source changes.

Examples:
  flashtrack copy establish data clone
  flashtrack copy establish data snap --nocopy --space-efficient
  flashtrack copy establish data clone --extent 0:0:160 --extent 1600:160:16")]
    Establish(CopyEstablish),
    /// List relationships: those that live, and those that ended of late.
    #[command(after_help = "Example: flashtrack copy list --volume data")]
    List {
        /// Only those with this volume as source or target.
        #[arg(long, value_name = "NAME")]
        volume: Option<String>,
    },
    /// Wait until a background copy is complete.
    #[command(after_help = "\
Exit code 0: complete. 1: it was withdrawn or has failed. 3: not complete within the timeout.

Examples:
  flashtrack copy wait 7
  flashtrack copy wait --target clone --timeout 10min")]
    Wait(CopyWait),
    /// End relationships. What the target does not hold of its own is lost to it.
    #[command(after_help = "\
Nothing related to the named source or target is no error; an unknown ID is one.

Examples:
  flashtrack copy withdraw 7
  flashtrack copy withdraw --target snap")]
    Withdraw(CopyWithdraw),
}

/// Options of `copy establish`.
#[derive(Args, Debug)]
pub(crate) struct CopyEstablish {
    /// Name of the source volume.
    pub(crate) source: String,
    /// Name of the target volume.
    pub(crate) target: String,
    /// No background copy.
    #[arg(long)]
    pub(crate) nocopy: bool,
    /// Agree to a target that is thin: it fails when its pool is full. Needed for thin targets.
    #[arg(long)]
    pub(crate) space_efficient: bool,
    /// Copy COUNT tracks from track SRC of the source to track TGT of the target, instead of the
    /// whole volume. May be given several times.
    #[arg(long = "extent", value_name = "SRC:TGT:COUNT", value_parser = extent)]
    pub(crate) extents: Vec<ExtentSpec>,
}

/// Options of `copy wait`.
#[derive(Args, Debug)]
#[command(group = ArgGroup::new("awaited").required(true).args(["id", "target"]))]
pub(crate) struct CopyWait {
    /// The relationship.
    pub(crate) id: Option<u32>,
    /// All relationships onto this volume.
    #[arg(long, value_name = "NAME")]
    pub(crate) target: Option<String>,
    /// Give up after this time, such as 60s or 5min.
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) timeout: Option<Duration>,
}

/// Options of `copy withdraw`.
#[derive(Args, Debug)]
#[command(group = ArgGroup::new("selection").required(true).args(["id", "source", "target"]))]
pub(crate) struct CopyWithdraw {
    /// The relationship.
    pub(crate) id: Option<u32>,
    /// All relationships with this volume as source.
    #[arg(long, value_name = "NAME")]
    pub(crate) source: Option<String>,
    /// All relationships onto this volume.
    #[arg(long, value_name = "NAME")]
    pub(crate) target: Option<String>,
}

/// Verbs of `store`.
#[derive(Debug, Subcommand)]
pub(crate) enum StoreVerb {
    /// Show the state of the store: journal, staged writes, counters.
    #[command(after_help = "Example: flashtrack store status --json | jq .staged_bytes")]
    Status,
    /// Write everything that is staged in the journal to its final place, then return.
    #[command(after_help = "Example: flashtrack store drain")]
    Drain,
    /// Look whether a store that is not in use is in order, the data of staged writes included; nothing is written.
    #[command(after_help = "\
Exit code 0: it is in order. 1: it would not be opened, or it is in use.

Example: flashtrack store check --store /var/lib/flashtrack")]
    Check {
        #[command(flatten)]
        store: StoreDirectory,
    },
    /// Write out the metadata of a store that is not in use; nothing is written to it.
    #[command(after_help = "Example: flashtrack store dump --store /var/lib/flashtrack --json")]
    Dump {
        #[command(flatten)]
        store: StoreDirectory,
    },
}

/// Which store is looked at.
#[derive(Args, Debug)]
pub(crate) struct StoreDirectory {
    /// Directory of the store.
    #[arg(long = "store", value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) path: PathBuf,
}

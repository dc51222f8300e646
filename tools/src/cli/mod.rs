//! The command line: every verb, its options and its help, as clap reads them.
//!
//! Only text that means nothing is refused here (exit code 2); whether a number, a name or a pairing
//! is allowed is the server's decision, so that there is one text and one exit code for it.

mod copy;
mod dataset;
mod dump;
mod host;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueHint};
use clap_complete::Shell;
use flashtrack_engine::geometry::VolumeType;

pub(crate) use self::copy::{
    CopyAgain, CopyEstablish, CopyFastReverse, CopyPairs, CopyVerb, CopyWait, CopyWithdraw,
};
pub(crate) use self::dataset::{DatasetCopy, DatasetVerb};
pub(crate) use self::dump::{Dump, Restore};
pub(crate) use self::host::HostDeck;
use crate::values::{byte_size, control_unit, device_number};

/// Where packages put the control socket of `flashtrackd`.
pub(crate) const CONTROL_DEFAULT: &str = "/run/flashtrack/control.sock";

/// Administer a Flashtrack server: pools, volumes, point-in-time copies and datasets.
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
    /// Datasets: tracks of one volume or several that are copied together.
    #[command(subcommand)]
    Dataset(DatasetVerb),
    /// Write a volume's image into a file or a stream, while the volume is used.
    #[command(after_help = "\
Holes and zeroes cost nothing, data is compressed, everything has checksums. A copy's target keeps
one image while it is dumped, so dump that and not the volume in use. An interrupted dump stays
in FILE, where --resume goes on with it as long as the relationship is the same.

With --since a dump has only the tracks that may differ from an earlier one, which is needed to
restore it. The earlier one is of the target of an incremental copy that has not been refreshed
since; the volume is that target, or another copy of the same source.

Examples:
  flashtrack dump snap /backup/data.ftd --withdraw
  flashtrack dump snap - | ssh backup 'cat > data.ftd'
  flashtrack dump snap2 /backup/tuesday.ftd --since /backup/monday.ftd")]
    Dump(Dump),
    /// Overwrite a volume with a dump, after verifying all of it.
    #[command(after_help = "\
What comes through a pipe is kept in a temporary file (in TMPDIR) until it is verified. A volume
that is larger than the dumped one reads as zeroes behind it.

Examples:
  flashtrack restore /backup/data.ftd data
  flashtrack restore /backup/tuesday.ftd data --base /backup/monday.ftd
  ssh backup 'cat data.ftd' | flashtrack restore - data")]
    Restore(Restore),
    /// Let the held writes of a control unit's frozen volumes go on.
    #[command(after_help = "\
With --verify the exit code is 1 when the volume was not frozen any more: its control unit's timer
has thawed it, so that the copies of the group do not show one moment. The others are thawed anyway.

Examples:
  flashtrack thaw 0A
  flashtrack thaw 0A --verify data")]
    Thaw {
        /// The control unit: the upper two hexadecimal digits of its volumes' device numbers.
        #[arg(value_parser = control_unit)]
        cu: u8,
        /// Tell whether this volume was still frozen.
        #[arg(long, value_name = "VOLUME")]
        verify: Option<String>,
    },
    /// The store as a whole: served, or looked at while no server uses it.
    #[command(subcommand)]
    Store(StoreVerb),
    /// Carry out a TSO command: FCESTABL, FCQUERY or FCWITHDR. Volumes are named by device number.
    #[command(after_help = "\
Exit codes: 0 for condition codes 0 and 4, 1 for 8, 2 when the command is malformed (12).
All keywords: tools/docs/host_commands.md.

Examples:
  flashtrack tso \"FCESTABL SDEVN(0A00) TDEVN(0A01) MODE(NOCOPY)\"
  flashtrack tso \"FCESTABL SDEVN(0A00) TDEVN(0A01) XTNTLST(00000000 0000000E 00100000 0010000E)\"
  flashtrack tso \"FCQUERY DEVN(0A00) SHOWRELS(ALL)\"
  flashtrack tso \"FCWITHDR SDEVN(0A00) TDEVN(0A01)\"
  flashtrack tso \"FCWITHDR DEVN(0A00) ACTION(THAW)\"")]
    Tso {
        /// The command, in quotes.
        command: String,
    },
    /// Carry out DFSMSdss statements: COPY, DUMP, RESTORE, CGCREATED. Volumes are named by serial, which is their name.
    #[command(after_help = "\
The file has statements alone, or a job with `//` cards; a statement goes on in the next line after `-` or `+`.
Exit codes: 0 for condition codes 0 and 4, 1 for 8, 2 when a statement is malformed (nothing is done).
All keywords: tools/docs/host_commands.md.

Examples:
  echo 'COPY FULL INDYNAM(SORCEV) OUTDYNAM(TRGVOL) COPYVOLID' | flashtrack dss -
  flashtrack dss nightly.jcl --json --nbd unix:/run/flashtrack/nbd.sock")]
    Dss(HostDeck),
    /// Carry out ICKDSF statements: FLASHCPY, CONTROL REMOVEFCPY, INIT.
    #[command(after_help = "\
The file has statements alone, or a job with `//` cards; a statement goes on in the next line after `-` or `+`.
Exit codes: 0 for condition codes 0 and 4, 1 for 12, 2 when a statement is malformed (nothing is done).
All keywords: tools/docs/host_commands.md.

Examples:
  echo 'FLASHCPY ESTABLISH UNITADDRESS(0A00) TARGETVOL(0A,01,0A01)' | flashtrack ickdsf -
  echo 'FLASHCPY QUERY RELATIONS UNITADDRESS(0A00)' | flashtrack ickdsf -")]
    Ickdsf(HostDeck),
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

//! Verbs of `copy` and their options.

use std::time::Duration;

use clap::{ArgGroup, Args, Subcommand};
use flashtrack_engine::admin::ExtentSpec;
use flashtrack_engine::pace::Pace;

use crate::values::{VolumePair, duration, extent, volume_pair};

/// Verbs of `copy`.
#[derive(Debug, Subcommand)]
pub(crate) enum CopyVerb {
    /// Copy a source onto a target as it is at this moment.
    #[command(after_help = "\
The copy can be read and written at once. Without --nocopy a background copy fills the target and
ends the relationship by itself; with it, data is kept only as the source changes. All pairs of one
command show the same moment, or none is made.

Examples:
  flashtrack copy establish data clone
  flashtrack copy establish data snap --nocopy --space-efficient
  flashtrack copy establish data clone --extent 0:0:160 --extent 1600:160:16
  flashtrack copy establish data data-copy --pair wal:wal-copy
  flashtrack copy establish data backup --incremental")]
    Establish(CopyEstablish),
    /// Take an incremental copy to this moment: only what changed on either side is copied.
    #[command(after_help = "\
What was written to the target is discarded.

Examples:
  flashtrack copy refresh data backup
  flashtrack copy refresh data backup --last")]
    Refresh(CopyAgain),
    /// Copy the changes of an incremental copy back: its target becomes the source.
    #[command(after_help = "\
SOURCE and TARGET are named in the new direction. The earlier copy has to be complete.

Example, a roll-back of `data` to what `backup` holds:
  flashtrack copy reverse backup data")]
    Reverse(CopyAgain),
    /// Copy back what a target holds, also while its copy is incomplete.
    #[command(after_help = "\
SOURCE and TARGET are named in the new direction. What was the target is no usable copy afterwards.

Example, a roll-back of `data` to the moment of `snap`:
  flashtrack copy fast-reverse snap data")]
    FastReverse(CopyFastReverse),
    /// Start the background copy of all NOCOPY relationships of a source.
    #[command(after_help = "\
No new moment is taken. None is no error.

Example: flashtrack copy convert data")]
    Convert {
        /// Name of the source volume.
        source: String,
    },
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
An incremental copy is waited for until it is complete, although it stays.

Examples:
  flashtrack copy wait 7
  flashtrack copy wait --target clone --timeout 10min")]
    Wait(CopyWait),
    /// End relationships. What the target does not hold of its own is lost to it.
    #[command(after_help = "\
Nothing related to the named source or target is no error; an unknown ID is one. With both --source
and --target the relationships between the two are meant; with --ddsw the target is then ignored.

Examples:
  flashtrack copy withdraw 7
  flashtrack copy withdraw --target snap
  flashtrack copy withdraw --source data --target clone
  flashtrack copy withdraw --source data --ddsw
  flashtrack copy withdraw --target clone --extent 0:160:16")]
    Withdraw(CopyWithdraw),
}

/// Which volumes a command relates: one pair, or several at one moment.
#[derive(Args, Debug)]
pub(crate) struct CopyPairs {
    /// Name of the volume that is copied from.
    pub(crate) source: String,
    /// Name of the volume that is copied onto.
    pub(crate) target: String,
    /// A further pair of whole volumes, copied at the same moment. May be given several times.
    #[arg(long = "pair", value_name = "SOURCE:TARGET", value_parser = volume_pair)]
    pub(crate) more: Vec<VolumePair>,
}

/// Options of `copy establish`.
#[derive(Args, Debug)]
pub(crate) struct CopyEstablish {
    #[command(flatten)]
    pub(crate) pairs: CopyPairs,
    #[command(flatten)]
    pub(crate) new: NewCopy,
    /// Copy COUNT tracks from track SRC of SOURCE to track TGT of TARGET, instead of the whole
    /// volume. May be given several times.
    #[arg(long = "extent", value_name = "SRC:TGT:COUNT", value_parser = extent)]
    pub(crate) extents: Vec<ExtentSpec>,
    #[command(flatten)]
    pub(crate) recording: Recording,
    #[command(flatten)]
    pub(crate) moment: Moment,
}

/// How a new copy is filled.
#[derive(Args, Debug)]
pub(crate) struct NewCopy {
    /// No background copy.
    #[arg(long)]
    pub(crate) nocopy: bool,
    /// How fast the background copy may be: slow, medium, fast, or at most a rate such as 200MiB/s. All give way to
    /// hosts. [default: the server's --pace]
    #[arg(long, value_name = "PACE", conflicts_with = "nocopy")]
    pub(crate) pace: Option<Pace>,
    /// Agree to a target that is thin: it fails when its pool is full. Needed for thin targets.
    #[arg(long)]
    pub(crate) space_efficient: bool,
}

/// What is recorded for later.
#[derive(Args, Debug)]
pub(crate) struct Recording {
    /// Record changes on both sides, for `copy refresh` and `copy reverse`; the relationship stays.
    #[arg(long)]
    pub(crate) incremental: bool,
    /// With --incremental: let hosts write to the target, under the profile ibm too.
    #[arg(long, requires = "incremental")]
    pub(crate) target_writable: bool,
}

/// What happens around the moment of the copy.
#[derive(Args, Debug)]
pub(crate) struct Moment {
    /// Hold further writes of the sources until `flashtrack thaw`, or until the timer runs out.
    #[arg(long)]
    pub(crate) freeze: bool,
    /// Refuse a target that has connected clients.
    #[arg(long)]
    pub(crate) refuse_online: bool,
}

/// Options of `copy refresh` and `copy reverse`.
#[derive(Args, Debug)]
pub(crate) struct CopyAgain {
    #[command(flatten)]
    pub(crate) pairs: CopyPairs,
    /// No background copy.
    #[arg(long)]
    pub(crate) nocopy: bool,
    /// For the last time: when it is complete the relationship ends.
    #[arg(long)]
    pub(crate) last: bool,
    /// Let hosts write to the target, under the profile ibm too.
    #[arg(long, conflicts_with = "last")]
    pub(crate) target_writable: bool,
}

/// Options of `copy fast-reverse`.
#[derive(Args, Debug)]
pub(crate) struct CopyFastReverse {
    #[command(flatten)]
    pub(crate) pairs: CopyPairs,
    /// No background copy.
    #[arg(long)]
    pub(crate) nocopy: bool,
    /// Record changes in the new direction; the relationship stays.
    #[arg(long, conflicts_with = "last")]
    pub(crate) incremental: bool,
    /// End when it is complete, also if the relationship is incremental.
    #[arg(long)]
    pub(crate) last: bool,
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
#[command(group = ArgGroup::new("selection").required(true).multiple(true).args(["id", "source", "target"]))]
pub(crate) struct CopyWithdraw {
    /// The relationship.
    #[arg(conflicts_with_all = ["source", "target"])]
    pub(crate) id: Option<u32>,
    /// All relationships with this volume as source.
    #[arg(long, value_name = "NAME")]
    pub(crate) source: Option<String>,
    /// All relationships onto this volume.
    #[arg(long, value_name = "NAME")]
    pub(crate) target: Option<String>,
    /// Only what lies in COUNT tracks from track TGT of the target on; with --ddsw from track SRC of
    /// the source on. May be given several times.
    #[arg(long = "extent", value_name = "SRC:TGT:COUNT", value_parser = extent)]
    pub(crate) extents: Vec<ExtentSpec>,
    /// First copy in the background what is left; those that have the named source as their target
    /// end at once, and incremental ones stay.
    #[arg(long)]
    pub(crate) ddsw: bool,
}

//! Verbs of `dataset` and their options.

use std::path::PathBuf;

use clap::{ArgGroup, Args, Subcommand, ValueHint};
use flashtrack_engine::admin::DatasetExtent;

use super::dump::NbdServer;
use crate::values::dataset_extent;

/// Verbs of `dataset`.
#[derive(Debug, Subcommand)]
pub(crate) enum DatasetVerb {
    /// Name tracks of one volume or several that are copied together.
    #[command(after_help = "\
The extents are in the order of the dataset's data.

Example: flashtrack dataset define payroll data:0:160 data:3200:16 index:0:8")]
    Define {
        /// Its name, unique among datasets.
        name: String,
        /// COUNT tracks of a volume, from track FIRST on.
        #[arg(required = true, value_name = "VOLUME:FIRST:COUNT", value_parser = dataset_extent)]
        extents: Vec<DatasetExtent>,
    },
    /// Name the tracks in which the data of a file lies.
    #[command(after_help = "\
The file is on a file system that was made on this volume, attached as an NBD device, or on a
partition of it, and the command runs on that machine (forward the control socket with ssh -L when
that is not the server's). The file is synced, and its data compared with the volume's, so that no
other volume is taken for it. Its tracks are rounded outwards. A file whose data is not where its
file system says, or not as it is (inline, compressed, encrypted), is refused. The tracks are those
of this moment: import again when the file has grown or was written anew.

Example: flashtrack dataset import table --file /mnt/db/table.ibd --volume data")]
    Import {
        /// Its name, unique among datasets.
        name: String,
        /// The file.
        #[arg(long, value_name = "PATH", value_hint = ValueHint::FilePath)]
        file: PathBuf,
        /// The volume that holds the file system.
        #[arg(long, value_name = "VOLUME")]
        volume: String,
        #[command(flatten)]
        server: NbdServer,
    },
    /// List all datasets.
    #[command(after_help = "Example: flashtrack dataset list --json | jq '.[].name'")]
    List,
    /// Show one dataset and its extents.
    #[command(after_help = "Example: flashtrack dataset show payroll")]
    Show {
        /// Its name.
        name: String,
    },
    /// Copy all extents of a dataset, at one moment or not at all.
    #[command(after_help = "\
Examples, onto the same tracks of other volumes, and onto the extents of another dataset:
  flashtrack dataset copy payroll data-copy index-copy
  flashtrack dataset copy payroll --onto payroll-test --nocopy")]
    Copy(DatasetCopy),
    /// Forget a dataset's name. Its data and its copies stay.
    #[command(after_help = "Example: flashtrack dataset delete payroll")]
    Delete {
        /// Its name.
        name: String,
    },
}

/// Options of `dataset copy`.
#[derive(Args, Debug)]
#[command(group = ArgGroup::new("onto_what").required(true).args(["targets", "onto"]))]
pub(crate) struct DatasetCopy {
    /// Its name.
    pub(crate) name: String,
    /// A target volume for each volume of the dataset, in the order of their first extents.
    #[arg(value_name = "TARGET")]
    pub(crate) targets: Vec<String>,
    /// Instead of volumes: a dataset whose extents have the same lengths in the same order.
    #[arg(long, value_name = "DATASET")]
    pub(crate) onto: Option<String>,
    /// No background copy.
    #[arg(long)]
    pub(crate) nocopy: bool,
    /// Hold further writes of the sources until `flashtrack thaw`, or until the timer runs out.
    #[arg(long)]
    pub(crate) freeze: bool,
}

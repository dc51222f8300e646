//! What every run with a kernel begins with: packages, binaries, a kernel, and namespaces to be in.
//!
//! A task is started twice: first by its user, then by itself in the namespaces, with the kernel and the folder named.

use std::path::{Path, PathBuf};

use crate::error::Outcome;
use crate::kernel::Driver;
use crate::namespace::{self, Afterwards, Network};
use crate::server;
use crate::setup;

/// Options of every task that runs with a kernel.
#[derive(clap::Args, Default)]
pub(crate) struct KernelRun {
    /// Keep the run's folder afterwards: the store, the logs, and images where there are some
    #[arg(long)]
    keep: bool,
    /// Kernel that attaches the volumes: by default the host's where it has nbd, else a guest
    #[arg(long, value_enum)]
    kernel: Option<Driver>,
    /// Folder of the run, when it is already in its namespaces
    #[arg(long, hide = true, requires = "kernel")]
    inside: Option<PathBuf>,
}

impl KernelRun {
    /// The kernel and the folder of a run that is already in its namespaces.
    pub(crate) fn inside(&self) -> Option<(Driver, &Path)> {
        self.kernel.zip(self.inside.as_deref())
    }

    /// Installs, builds, and runs the task of these words in namespaces of its own.
    ///
    /// # Errors
    /// Something cannot be installed or built, or the run failed.
    pub(crate) fn enter(&self, task: &[&str]) -> Outcome {
        let driver = self.kernel.unwrap_or_else(Driver::available);
        enter(driver, &[task, &["--kernel", driver.name()]].concat(), self.keep)
    }
}

/// Installs what a run with this kernel needs, builds, and runs the task of these words in namespaces of its own.
///
/// # Errors
/// Something cannot be installed or built, or the run failed.
pub(crate) fn enter(driver: Driver, task: &[&str], keep: bool) -> Outcome {
    setup::packages(setup::KERNEL_RUN)?;
    if driver == Driver::Uml {
        setup::packages(setup::USER_MODE_LINUX)?;
    }
    println!("Building flashtrackd and flashtrack (release)");
    server::build()?;
    let afterwards = if keep { Afterwards::Keep } else { Afterwards::Remove };
    let network = match driver {
        Driver::Host => Network::Shared,
        Driver::Uml => Network::Own,
    };
    namespace::run(task, network, afterwards)
}

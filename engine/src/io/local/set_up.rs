//! The ring that this kernel offers, or why there is none.

use std::io;

use io_uring::IoUring;

use super::directory::OpenStoreError;

/// Entries of the submission queue; what does not fit waits in the ring's `backlog`.
const SUBMISSIONS: u32 = 1024;
/// Entries of the completion queue; the kernel keeps what does not fit, at a price.
const COMPLETIONS: u32 = 8192;

/// Threads of the kernel for operations on files that wait, instead of four for each processor: half a dozen segments and
/// homes are synced at once, and a write that came after them waited for the first sync to end.
const FILE_WORKERS: u32 = 32;

/// Why there is no ring.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RingError {
    /// The administrator or a container runtime forbids it.
    #[error(
        "io_uring is switched off on this machine: see /proc/sys/kernel/io_uring_disabled (0 allows \
         it) and, in a container, the seccomp profile: {0}"
    )]
    Disabled(#[source] io::Error),
    /// The kernel has none that serves.
    #[error("io_uring cannot be set up (Linux 6.1 or newer is needed): {0}")]
    Setup(#[source] io::Error),
    /// Something of the store cannot be brought to the disk.
    #[error(transparent)]
    Store(#[from] OpenStoreError),
}

/// The best ring that this kernel offers.
pub(super) fn set_up() -> Result<IoUring, RingError> {
    let mut best = IoUring::builder();
    best.setup_single_issuer().setup_defer_taskrun().setup_taskrun_flag();
    let mut good = IoUring::builder();
    good.setup_coop_taskrun().setup_taskrun_flag();
    let mut last = None;
    for mut builder in [best, good, IoUring::builder()] {
        match builder.setup_cqsize(COMPLETIONS).setup_clamp().build(SUBMISSIONS) {
            Ok(ring) => {
                // Zero leaves the number of threads for everything else as it is. With the kernel's own number the ring
                // serves too, so a refusal is no reason to refuse the store.
                let _ = ring.submitter().register_iowq_max_workers(&mut [FILE_WORKERS, 0]);
                return Ok(ring);
            }
            Err(error) => match error.raw_os_error() {
                Some(libc::EPERM | libc::EACCES | libc::ENOSYS) => {
                    return Err(RingError::Disabled(error));
                }
                _ => last = Some(error),
            },
        }
    }
    Err(RingError::Setup(last.unwrap_or_else(|| io::Error::from_raw_os_error(libc::EINVAL))))
}

//! The progress bar of a dump or restore: on standard error, and hidden by the library where that is no terminal.

use indicatif::{ProgressBar, ProgressStyle};

use crate::output::Output;

/// A bar over `bytes` bytes of a volume; none for programs.
pub(super) fn bar(bytes: u64, output: Output) -> ProgressBar {
    if output == Output::Json {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template(
        "{wide_bar} {percent:>3} % {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} {eta_precise}",
    )
    .expect("a constant template is valid");
    let bar = ProgressBar::new(bytes);
    bar.set_style(style);
    bar
}

//! What a task tells its reader: steps, checks and measurements; colours only on a terminal.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use crate::error::{Outcome, TaskError};

/// Marks what went well.
pub(crate) fn good(text: &str) -> String {
    coloured("32", text)
}

/// Marks what failed.
pub(crate) fn bad(text: &str) -> String {
    coloured("31", text)
}

/// Marks a heading.
pub(crate) fn strong(text: &str) -> String {
    coloured("1", text)
}

fn coloured(code: &str, text: &str) -> String {
    if std::io::stdout().is_terminal() {
        format!("\x1b[{code}m{text}\x1b[0m")
    } else {
        text.to_owned()
    }
}

/// Bytes in the unit that reads best.
pub(crate) fn bytes(count: u64) -> String {
    const KIB: u64 = 1 << 10;
    const MIB: u64 = 1 << 20;
    const GIB: u64 = 1 << 30;
    let tenths = |unit: u64| format!("{}.{}", count / unit, count % unit * 10 / unit);
    match count {
        GIB.. => format!("{} GiB", tenths(GIB)),
        MIB.. => format!("{} MiB", tenths(MIB)),
        KIB.. => format!("{} KiB", tenths(KIB)),
        _ => format!("{count} B"),
    }
}

/// A short time.
pub(crate) fn milliseconds(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}

/// The story of one run: printed as it goes, summed up at the end.
pub(crate) struct Report {
    started: Instant,
    checks: u32,
    measured: Vec<(String, String)>,
}

impl Report {
    pub(crate) fn new() -> Self {
        Self { started: Instant::now(), checks: 0, measured: Vec::new() }
    }

    /// Says what is done next.
    pub(crate) fn step(&self, text: &str) {
        let seconds = self.started.elapsed().as_secs_f64();
        println!("{} {text}", strong(&format!("[{seconds:6.1} s]")));
    }

    /// Counts a check that holds, fails the run with one that does not.
    pub(crate) fn check(&mut self, claim: &str, holds: bool) -> Outcome {
        if !holds {
            println!("           {} {claim}", bad("NOT so:"));
            return Err(TaskError::Check(claim.to_owned()));
        }
        self.checks += 1;
        println!("           {} {claim}", good("ok:"));
        Ok(())
    }

    /// Keeps a measurement for the summary.
    pub(crate) fn measure(&mut self, what: &str, value: impl Into<String>) {
        self.measured.push((what.to_owned(), value.into()));
    }

    /// Prints all measurements.
    pub(crate) fn summary(&self) {
        println!("\n{}", strong("Measured"));
        for (what, value) in &self.measured {
            println!("  {what:<44} {value}");
        }
        let seconds = self.started.elapsed().as_secs_f64();
        println!("  {:<44} {} in {seconds:.0} s", "checks passed", self.checks);
    }
}

#[cfg(test)]
mod tests {
    use super::bytes;

    #[test]
    fn bytes_are_shown_in_the_unit_that_reads_best() {
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(64 << 20), "64.0 MiB");
        assert_eq!(bytes((1 << 30) + (1 << 29)), "1.5 GiB");
    }
}

//! What a run gives: rows of sides, compared with each other and with what is to be reached; as a Markdown table, as JSON
//! with every raw value, and as plots.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::error::{BenchError, Outcome};
use crate::fio::Measured;
use crate::machine::Machine;
use crate::options::Options;
use crate::plot;
use crate::statistics::{median, spread};
use crate::table::markdown;

/// The results of one command.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Name of the command and of the folder.
    pub name: &'static str,
    /// What was measured.
    pub title: &'static str,
    /// Where.
    pub machine: Machine,
    /// How, as lines of Markdown.
    pub settings: Vec<String>,
    /// What was measured, in the order of the tables.
    pub rows: Vec<Row>,
    /// What a reader should know besides.
    pub notes: Vec<String>,
}

/// One workload, and what each side did with it.
#[derive(Debug, Serialize)]
pub struct Row {
    /// Name of the workload.
    pub workload: String,
    /// Of every value.
    pub unit: Unit,
    /// Who took turns.
    pub sides: Vec<Side>,
    /// What is compared with what.
    pub comparisons: Vec<Comparison>,
}

/// One side of a row.
#[derive(Debug, Serialize)]
pub struct Side {
    /// Name.
    pub name: String,
    /// One value per round, or per event.
    pub values: Vec<f64>,
    /// What else fio told of the same runs.
    pub runs: Vec<Measured>,
}

/// Units of values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Unit {
    /// Operations per second.
    PerSecond,
    /// Mebibytes per second.
    MebibytesPerSecond,
    /// Microseconds.
    Microseconds,
    /// Milliseconds.
    Milliseconds,
    /// Seconds.
    Seconds,
    /// Mebibytes.
    Mebibytes,
    /// A share of something else.
    Share,
}

/// One side against another, or against a bound.
#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    /// Index of the side that is judged.
    pub ours: usize,
    /// Index of the side that it is judged by; none when the bound is absolute.
    pub theirs: Option<usize>,
    /// What is to be reached; none when the comparison is for information.
    pub goal: Option<Goal>,
}

/// What is to be reached.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub enum Goal {
    /// Ratio at least this.
    AtLeastTimes(f64),
    /// Ratio at most this.
    AtMostTimes(f64),
    /// At most so much more, in the row's unit.
    AtMostAbove(f64),
    /// At most so much, in the row's unit.
    AtMost(f64),
}

/// Median, lowest and highest of what a comparison gave.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Judged {
    /// Ratio or difference of the medians, or our median.
    pub median: f64,
    /// Lowest of the rounds.
    pub low: f64,
    /// Highest of the rounds.
    pub high: f64,
}

impl Side {
    /// A side whose values are taken from runs of fio.
    pub fn of_runs(name: &str, runs: Vec<Measured>, value: impl Fn(&Measured) -> f64) -> Self {
        Self { name: name.to_owned(), values: runs.iter().map(value).collect(), runs }
    }

    /// A side of plain values.
    pub fn of_values(name: &str, values: Vec<f64>) -> Self {
        Self { name: name.to_owned(), values, runs: Vec::new() }
    }

    /// The middle of its values.
    pub fn median(&self) -> f64 {
        median(&self.values)
    }
}

impl Unit {
    fn name(self) -> &'static str {
        match self {
            Self::PerSecond => "/s",
            Self::MebibytesPerSecond => "MiB/s",
            Self::Microseconds => "us",
            Self::Milliseconds => "ms",
            Self::Seconds => "s",
            Self::Mebibytes => "MiB",
            Self::Share => "x",
        }
    }

    fn shown(self, value: f64) -> String {
        match self {
            Self::PerSecond | Self::MebibytesPerSecond => format!("{value:.0}"),
            Self::Microseconds | Self::Mebibytes => format!("{value:.1}"),
            Self::Milliseconds | Self::Seconds => format!("{value:.3}"),
            Self::Share => format!("{value:.2}"),
        }
    }
}

impl Goal {
    fn is_reached(self, value: f64) -> bool {
        match self {
            Self::AtLeastTimes(bound) => value >= bound,
            Self::AtMostTimes(bound) | Self::AtMostAbove(bound) | Self::AtMost(bound) => {
                value <= bound
            }
        }
    }

    fn shown(self, unit: Unit) -> String {
        match self {
            Self::AtLeastTimes(bound) => format!(">= {bound:.2} x"),
            Self::AtMostTimes(bound) => format!("<= {bound:.2} x"),
            Self::AtMostAbove(bound) => format!("<= {bound} {} more", unit.name()),
            Self::AtMost(bound) => format!("<= {bound} {}", unit.name()),
        }
    }
}

impl Row {
    /// What a comparison of this row gave.
    pub fn judge(&self, comparison: &Comparison) -> Judged {
        let ours = &self.sides[comparison.ours];
        let Some(theirs) = comparison.theirs.map(|index| &self.sides[index]) else {
            let (low, high) = spread(&ours.values);
            return Judged { median: ours.median(), low, high };
        };
        let compare = |ours: f64, theirs: f64| match comparison.goal {
            Some(Goal::AtMostAbove(_)) => ours - theirs,
            _ => ours / theirs,
        };
        let pairs = ours.values.iter().zip(&theirs.values);
        let rounds: Vec<f64> = pairs.map(|(&ours, &theirs)| compare(ours, theirs)).collect();
        let (low, high) = spread(&rounds);
        Judged { median: compare(ours.median(), theirs.median()), low, high }
    }
}

impl Report {
    /// A report without rows.
    pub fn new(
        name: &'static str,
        title: &'static str,
        options: &Options,
        mebibytes_default: u64,
    ) -> Self {
        Self {
            name,
            title,
            machine: Machine::here(options.files_parent()),
            settings: options.lines(mebibytes_default),
            rows: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// Takes a row, and says that it is there.
    pub fn add(&mut self, row: Row) {
        let sides: Vec<String> = row
            .sides
            .iter()
            .map(|side| format!("{} {}", side.name, row.unit.shown(side.median())))
            .collect();
        println!("{} ({}): {}", row.workload, row.unit.name(), sides.join(", "));
        self.rows.push(row);
    }

    /// Writes table, raw values and plots, prints the table and where they are.
    ///
    /// # Errors
    /// They cannot be written, or nothing was measured.
    pub fn write(&self, output: &Path) -> Outcome<PathBuf> {
        if self.rows.is_empty() {
            return Err(BenchError::Unexpected("no workload has that text in its name".to_owned()));
        }
        let folder = output.join(self.name);
        fs::create_dir_all(&folder).map_err(BenchError::file(&folder))?;
        let write = |name: &str, text: &str| {
            let path = folder.join(name);
            fs::write(&path, text).map_err(BenchError::file(&path))
        };
        let json = serde_json::to_string_pretty(self)
            .map_err(|error| BenchError::Unexpected(format!("results as JSON: {error}")))?;
        let table = self.markdown();
        write("table.md", &table)?;
        write("results.json", &json)?;
        write("medians.svg", &plot::medians(self)?)?;
        write("ratios.svg", &plot::ratios(self)?)?;
        println!("\n{table}\nWritten: {}", folder.display());
        println!("  table.md, results.json (every value), medians.svg, ratios.svg");
        Ok(folder)
    }

    fn markdown(&self) -> String {
        let facts = [self.machine.lines(), self.settings.clone()].concat().join("\n");
        let mut parts = vec![format!("# {}", self.title), facts];
        let mut rows = self.rows.as_slice();
        while let [first, ..] = rows {
            let names = |row: &Row| row.sides.iter().map(|side| side.name.clone()).collect();
            let head: Vec<String> = names(first);
            let same = rows.iter().take_while(|row| names(row) == head).count();
            parts.push(medians_table(head, &rows[..same]).trim_end().to_owned());
            rows = &rows[same..];
        }
        parts.push(self.ratios_table().trim_end().to_owned());
        parts.extend(self.notes.iter().cloned());
        parts.join("\n\n") + "\n"
    }

    fn ratios_table(&self) -> String {
        let head = ["who", "against", "ratio", "of the rounds", "to reach", ""];
        let mut lines = vec![vec!["workload".to_owned()]];
        lines[0].extend(head.map(str::to_owned));
        for row in &self.rows {
            for comparison in &row.comparisons {
                lines.push(ratio_line(row, comparison));
            }
        }
        markdown(&lines)
    }
}

fn medians_table(names: Vec<String>, rows: &[Row]) -> String {
    let mut lines = vec![vec!["medians".to_owned(), "unit".to_owned()]];
    lines[0].extend(names);
    for row in rows {
        let mut line = vec![row.workload.clone(), row.unit.name().to_owned()];
        line.extend(row.sides.iter().map(|side| row.unit.shown(side.median())));
        lines.push(line);
    }
    markdown(&lines)
}

fn ratio_line(row: &Row, comparison: &Comparison) -> Vec<String> {
    let judged = row.judge(comparison);
    let absolute =
        comparison.theirs.is_none() || matches!(comparison.goal, Some(Goal::AtMostAbove(_)));
    let shown = |value: f64| {
        if absolute { row.unit.shown(value) } else { format!("{value:.2}") }
    };
    let verdict = match comparison.goal.map(|goal| goal.is_reached(judged.median)) {
        Some(true) => "reached",
        Some(false) => "missed",
        None => "",
    };
    vec![
        row.workload.clone(),
        row.sides[comparison.ours].name.clone(),
        comparison.theirs.map_or_else(String::new, |index| row.sides[index].name.clone()),
        shown(judged.median),
        format!("{}..{}", shown(judged.low), shown(judged.high)),
        comparison.goal.map_or_else(String::new, |goal| goal.shown(row.unit)),
        verdict.to_owned(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(goal: Goal) -> Row {
        Row {
            workload: "work".to_owned(),
            unit: Unit::Milliseconds,
            sides: vec![
                Side::of_values("ours", vec![2.0, 3.0, 10.0]),
                Side::of_values("theirs", vec![1.0, 2.0, 4.0]),
            ],
            comparisons: vec![Comparison { ours: 0, theirs: Some(1), goal: Some(goal) }],
        }
    }

    #[test]
    fn a_ratio_is_one_of_medians_and_its_spread_is_that_of_the_rounds() {
        let row = row(Goal::AtLeastTimes(1.6));
        let judged = row.judge(&row.comparisons[0]);
        assert_eq!(judged, Judged { median: 1.5, low: 1.5, high: 2.5 });
        assert_eq!(
            ratio_line(&row, &row.comparisons[0]).last().map(String::as_str),
            Some("missed")
        );
    }

    #[test]
    fn a_bound_on_the_difference_is_judged_by_the_difference() {
        let row = row(Goal::AtMostAbove(1.0));
        assert_eq!(row.judge(&row.comparisons[0]), Judged { median: 1.0, low: 1.0, high: 6.0 });
        assert_eq!(ratio_line(&row, &row.comparisons[0])[5], "<= 1 ms more");
    }
}

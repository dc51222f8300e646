//! Results on standard output: aligned tables with colour on a terminal, or JSON.

use std::io::{IsTerminal, Write};
use std::time::{Duration, UNIX_EPOCH};

use comfy_table::presets::NOTHING;
use comfy_table::{Cell, CellAlignment, Color, ContentArrangement, Table};
use serde::Serialize;

use crate::failure::Failure;

/// How results are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    /// For people.
    Text,
    /// For programs.
    Json,
}

impl Output {
    /// Writes `rows` as a JSON array, or as what `table` makes of them.
    pub(crate) fn list<T: Serialize>(
        self,
        rows: &[T],
        table: impl FnOnce(&[T]) -> Table,
    ) -> Result<(), Failure> {
        match self {
            Self::Json => write_json(rows),
            Self::Text => write_text(&table(rows).trim_fmt()),
        }
    }

    /// Writes `object` as a JSON object, or as `text` of it.
    pub(crate) fn object<T: Serialize>(
        self,
        object: &T,
        text: impl FnOnce(&T) -> String,
    ) -> Result<(), Failure> {
        match self {
            Self::Json => write_json(object),
            Self::Text => write_text(&text(object)),
        }
    }

    /// Says that a command without a report is done: `{}` in JSON.
    pub(crate) fn done(self, text: &str) -> Result<(), Failure> {
        match self {
            Self::Json => write_text("{}"),
            Self::Text => write_text(text),
        }
    }
}

fn write_json<T: Serialize + ?Sized>(value: &T) -> Result<(), Failure> {
    write_text(&serde_json::to_string_pretty(value).expect("reports are valid JSON"))
}

/// Writes text and a line end. A reader that has left (`| head`) is no failure.
pub(crate) fn write_text(text: &str) -> Result<(), Failure> {
    match writeln!(std::io::stdout(), "{text}") {
        Err(source) if source.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::Output { what: "to standard output".to_owned(), source })
        }
        _ => Ok(()),
    }
}

/// A table without lines. Headers that start with `>` are of numbers, aligned to the right.
pub(crate) fn table(headers: &[&str]) -> Table {
    let mut table = Table::new();
    table
        .load_style(NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(headers.iter().map(|header| header.trim_start_matches('>')));
    for (column, header) in table.column_iter_mut().zip(headers) {
        // One space between columns, none before the first.
        column.set_padding((0, 2));
        if header.starts_with('>') {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let coloured = std::io::stdout().is_terminal()
        && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    if coloured {
        table.enforce_styling();
    } else {
        table.force_no_tty();
    }
    table
}

/// The details of one object: names and values, one a line.
pub(crate) fn details(rows: &[(&str, String)]) -> String {
    let mut details = table(&["", ""]);
    for (name, value) in rows {
        details.add_row([*name, value.as_str()]);
    }
    let text = details.trim_fmt();
    // The header is empty: its line goes.
    text.trim_start_matches('\n').to_owned()
}

/// How a state is coloured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    /// As it should be.
    Good,
    /// Look at it.
    Warning,
    /// Act.
    Bad,
    /// Over.
    Past,
}

/// The cell of a state.
pub(crate) fn state(word: &str, mood: Mood) -> Cell {
    Cell::new(word).fg(match mood {
        Mood::Good => Color::Green,
        Mood::Warning => Color::Yellow,
        Mood::Bad => Color::Red,
        Mood::Past => Color::DarkGrey,
    })
}

/// A number of bytes as people read it, such as `1.50 GiB`.
pub(crate) fn size(bytes: u64) -> String {
    indicatif::BinaryBytes(bytes).to_string()
}

/// A number of bytes for people and exactly.
pub(crate) fn exact_size(bytes: u64) -> String {
    format!("{} ({bytes} bytes)", size(bytes))
}

/// A moment in seconds since 1970, as date and time in UTC.
pub(crate) fn time(unix_seconds: u64) -> String {
    // The last second of the year 9999: the form has no longer years.
    const LAST: u64 = 253_402_300_799;
    humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(unix_seconds.min(LAST)))
        .to_string()
}

/// The share of a whole in percent, rounded down, so that 100 means all.
pub(crate) fn percent(part: u64, whole: u64) -> u64 {
    if whole == 0 {
        return 100;
    }
    u64::try_from(u128::from(part) * 100 / u128::from(whole)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_align_and_lines_have_no_spaces_at_their_end() {
        let mut names = table(&["NAME", ">SIZE", "STATUS"]);
        names.add_row(["a", "1", "online"]);
        names.add_row(["longer", "1000", "ok"]);

        assert_eq!(
            names.trim_fmt(),
            "NAME    SIZE  STATUS\na          1  online\nlonger  1000  ok"
        );
    }

    #[test]
    fn details_have_no_header() {
        assert_eq!(
            details(&[("name", "a".to_owned()), ("size", "1".to_owned())]),
            "name  a\nsize  1"
        );
    }

    #[test]
    fn a_share_is_100_only_when_it_is_the_whole() {
        assert_eq!(percent(0, 3), 0);
        assert_eq!(percent(999, 1000), 99);
        assert_eq!(percent(u64::MAX, u64::MAX), 100);
        assert_eq!(percent(0, 0), 100);
    }

    #[test]
    fn moments_are_told_in_utc_and_never_panic() {
        assert_eq!(time(0), "1970-01-01T00:00:00Z");
        assert_eq!(time(u64::MAX), "9999-12-31T23:59:59Z");
    }
}

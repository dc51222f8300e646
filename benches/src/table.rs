//! Markdown tables whose columns align in plain text too.

/// The first of `lines` is the head; the first column is aligned left, the others right.
pub fn markdown(lines: &[Vec<String>]) -> String {
    let columns = lines.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = lines.iter().filter_map(|line| line.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0).max(3)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let joined = |cells: Vec<String>| format!("|{}|\n", cells.join("|"));
    let cells = |line: &Vec<String>| {
        let cell = |column: usize| line.get(column).map_or("", String::as_str);
        let aligned = |(column, &width): (usize, &usize)| match column {
            0 => format!(" {:<width$} ", cell(column)),
            _ => format!(" {:>width$} ", cell(column)),
        };
        joined(widths.iter().enumerate().map(aligned).collect())
    };
    let rule = |(column, &width): (usize, &usize)| match column {
        0 => "-".repeat(width + 2),
        _ => format!("{}:", "-".repeat(width + 1)),
    };
    let mut text: Vec<String> = lines.iter().map(cells).collect();
    if !text.is_empty() {
        text.insert(1, joined(widths.iter().enumerate().map(rule).collect()));
    }
    text.concat()
}

#[cfg(test)]
mod tests {
    use super::markdown;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let line = |cells: [&str; 2]| cells.map(str::to_owned).to_vec();
        let table = markdown(&[line(["a", "number"]), line(["word", "1"])]);
        assert_eq!(table, "| a    | number |\n|------|-------:|\n| word |      1 |\n");
    }
}

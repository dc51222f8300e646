//! Plots of a report as SVG: every side's median and spread as a multiple of the first side's, and the ratios with what is
//! to be reached.

use plotters::coord::ranged1d::SegmentValue;
use plotters::prelude::*;

use crate::error::{BenchError, Outcome};
use crate::report::{Goal, Report};
use crate::statistics::spread;

const WIDTH: u32 = 1000;
/// Of a line with a label of its own.
const TALL: u32 = 26;
/// Of one of several lines that share a label.
const LOW: u32 = 12;
const FRAME_HEIGHT: u32 = 110;
const LABEL_WIDTH: u32 = 440;
const FONT: &str = "sans-serif";

/// A median with its spread, on a line of the plot.
struct Mark {
    line: usize,
    colour: usize,
    low: f64,
    median: f64,
    high: f64,
    /// What is to be reached.
    goal: Option<f64>,
}

/// What a plot shows.
struct Plot {
    caption: String,
    /// Labels, from the top.
    lines: Vec<String>,
    line_height: u32,
    /// Names of the colours; none when there is one.
    legend: Vec<String>,
    marks: Vec<Mark>,
}

/// Every side's median and spread as a multiple of the median of the row's first side.
///
/// # Errors
/// It cannot be drawn.
pub fn medians(report: &Report) -> Outcome<String> {
    let mut plot = Plot {
        caption: format!("{}: each side as a multiple of the first", report.title),
        lines: Vec::new(),
        line_height: LOW,
        legend: Vec::new(),
        marks: Vec::new(),
    };
    for row in &report.rows {
        let first = row.sides.first().map_or(f64::NAN, crate::report::Side::median);
        for (index, side) in row.sides.iter().enumerate() {
            if !plot.legend.contains(&side.name) {
                plot.legend.push(side.name.clone());
            }
            let colour = plot.legend.iter().position(|name| *name == side.name).unwrap_or(0);
            let (low, high) = spread(&side.values);
            let mark = Mark {
                line: plot.lines.len(),
                colour,
                low: low / first,
                median: side.median() / first,
                high: high / first,
                goal: None,
            };
            plot.marks.push(mark);
            let label = if index == row.sides.len() / 2 { row.workload.as_str() } else { "" };
            plot.lines.push(label.to_owned());
        }
        plot.lines.push(String::new());
    }
    draw(&plot)
}

/// Every ratio with its spread, and what is to be reached.
///
/// # Errors
/// It cannot be drawn.
pub fn ratios(report: &Report) -> Outcome<String> {
    let mut plot = Plot {
        caption: format!("{}: ratios (|: to reach)", report.title),
        lines: Vec::new(),
        line_height: TALL,
        legend: Vec::new(),
        marks: Vec::new(),
    };
    for row in &report.rows {
        for comparison in &row.comparisons {
            let Some(theirs) = comparison.theirs.map(|index| &row.sides[index]) else {
                continue;
            };
            let goal = match comparison.goal {
                Some(Goal::AtMostAbove(_) | Goal::AtMost(_)) => continue,
                Some(Goal::AtLeastTimes(bound) | Goal::AtMostTimes(bound)) => Some(bound),
                None => None,
            };
            let judged = row.judge(comparison);
            let ours = &row.sides[comparison.ours].name;
            let (low, median, high) = (judged.low, judged.median, judged.high);
            let line = plot.lines.len();
            plot.marks.push(Mark { line, colour: 0, low, median, high, goal });
            plot.lines.push(format!("{}: {ours} / {}", row.workload, theirs.name));
        }
    }
    draw(&plot)
}

fn draw(plot: &Plot) -> Outcome<String> {
    let height = |lines: &[String], each: u32| each * u32::try_from(lines.len()).unwrap_or(1);
    let lines = height(&plot.lines, plot.line_height).max(height(&plot.legend, TALL));
    let height = FRAME_HEIGHT + lines.max(2 * TALL);
    let mut text = String::new();
    let area = SVGBackend::with_string(&mut text, (WIDTH, height)).into_drawing_area();
    draw_on(&area, plot).map_err(|error| BenchError::Unexpected(format!("plot: {error}")))?;
    drop(area);
    Ok(text)
}

type Failure = Box<dyn std::error::Error>;

fn draw_on(
    area: &DrawingArea<SVGBackend<'_>, plotters::coord::Shift>,
    plot: &Plot,
) -> Result<(), Failure> {
    area.fill(&WHITE)?;
    let values = plot.marks.iter().flat_map(|mark| [mark.high, mark.goal.unwrap_or(0.0)]);
    let most = values.filter(|value| value.is_finite()).fold(1.0, f64::max);
    // The legend stands on the right.
    let most = most * if plot.legend.is_empty() { 1.05 } else { 1.4 };
    // A single line would make no axis.
    let count = plot.lines.len().max(2);
    let mut chart = ChartBuilder::on(area)
        .caption(&plot.caption, (FONT, 18))
        .margin(10)
        .x_label_area_size(30)
        .y_label_area_size(LABEL_WIDTH)
        .build_cartesian_2d(0.0..most, (0..count - 1).into_segmented())?;
    // The first line stands on top.
    let place = |line: usize| SegmentValue::CenterOf(count - 1 - line);
    let label = |value: &SegmentValue<usize>| match value {
        SegmentValue::CenterOf(at) if *at < count => {
            plot.lines.get(count - 1 - at).cloned().unwrap_or_default()
        }
        _ => String::new(),
    };
    chart
        .configure_mesh()
        .disable_y_mesh()
        .y_labels(count + 1)
        .set_tick_mark_size(LabelAreaPosition::Left, 3)
        .y_label_formatter(&label)
        .label_style((FONT, 13))
        .draw()?;
    let one = [(1.0, SegmentValue::Exact(0)), (1.0, SegmentValue::Last)];
    chart.draw_series(std::iter::once(PathElement::new(one, BLACK.mix(0.4))))?;
    for (colour, name) in plot.legend.iter().enumerate() {
        let style = Palette99::pick(colour).filled();
        let none: Option<Circle<(f64, SegmentValue<usize>), i32>> = None;
        chart
            .draw_series(none)?
            .label(name)
            .legend(move |(x, y)| Circle::new((x + 8, y), 4, style));
    }
    for mark in plot.marks.iter().filter(|mark| mark.median.is_finite()) {
        let at = place(mark.line);
        let style = Palette99::pick(mark.colour);
        let ends = [(mark.low, at.clone()), (mark.high, at.clone())];
        chart.draw_series(std::iter::once(PathElement::new(ends, style.stroke_width(2))))?;
        let dot = Circle::new((mark.median, at.clone()), 4, style.filled());
        chart.draw_series(std::iter::once(dot))?;
        if let Some(goal) = mark.goal {
            let bar = PathElement::new([(0, -9), (0, 9)], RED.stroke_width(2));
            chart.draw_series(std::iter::once(EmptyElement::at((goal, at)) + bar))?;
        }
    }
    if !plot.legend.is_empty() {
        chart
            .configure_series_labels()
            .label_font((FONT, 13))
            .background_style(WHITE.mix(0.8))
            .border_style(BLACK.mix(0.3))
            .draw()?;
    }
    area.present()?;
    Ok(())
}

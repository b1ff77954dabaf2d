//! The plots of the README, as SVG.

mod over_time;

use std::path::Path;

use plotters::coord::Shift;
use plotters::coord::combinators::LogCoord;
use plotters::prelude::*;

use crate::groups::Group;
use crate::machine::Machine;
use crate::peers::OURS;
use crate::plan::{ALIVE, THREADS_TO_64};
use crate::results::{Cell, Measured, Results};

type Failure = Box<dyn std::error::Error>;
type Plot = fn(&Results, &Path) -> Result<(), Failure>;
type Log2D<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<LogCoord<f64>, LogCoord<f64>>>;

/// A line: its name and its points.
struct Line {
    name: String,
    points: Vec<(f64, f64)>,
}

/// Draws the plots whose rows are in the results.
pub fn draw(results: &Results, directory: &Path) -> Result<(), String> {
    let plots: [(&str, Plot); 5] = [
        ("speed.svg", speed),
        ("finish-blocks.svg", finish_blocks),
        ("finish-pages.svg", finish_pages),
        ("experts.svg", experts),
        ("threads.svg", threads),
    ];
    for (name, plot) in plots {
        plot(results, &directory.join(name)).map_err(|error| format!("{name}: {error}"))?;
    }
    over_time::draw(results, directory)
}

/// The plot of each row's times over the best peer's, with a dot per allocator.
fn speed(results: &Results, file: &Path) -> Result<(), Failure> {
    let rows: Vec<&Measured> =
        results.group(Group::Single).chain(results.group(Group::Threads)).collect();
    let Some(first) = rows.first() else { return Ok(()) };
    let columns: Vec<&str> = first
        .cells
        .iter()
        .map(|cell| cell.column.as_str())
        .filter(|&name| name != "tracking-allocator")
        .collect();
    let height = 140 + 26 * rows.len() as u32;
    let title = "Time over that of the best peer: left is faster";
    let area = titled(results, file, (900, height), title)?;
    let count = rows.len() as f64;
    let mut chart = ChartBuilder::on(&area)
        .margin(12)
        .x_label_area_size(36)
        .y_label_area_size(150)
        .build_cartesian_2d((0.4..8.0).log_scale(), -0.6..count - 0.4)?;
    chart
        .configure_mesh()
        .disable_y_mesh()
        .x_labels(9)
        .y_labels(rows.len())
        .x_desc("ratio (beyond 8: at the edge)")
        .x_label_formatter(&|ratio| format!("{ratio:.1}"))
        .y_label_formatter(&|place| {
            let index = place.round();
            let name = (count - 1.0 - index) as usize;
            if (place - index).abs() < 0.01 && name < rows.len() {
                rows[name].row.clone()
            } else {
                String::new()
            }
        })
        .draw()?;
    chart.draw_series(LineSeries::new([(1.0, -0.6), (1.0, count - 0.4)], BLACK.mix(0.4)))?;
    for (number, &column) in columns.iter().enumerate() {
        let ours = column == OURS.name;
        let style =
            if ours { RED.filled() } else { Palette99::pick(number + 1).mix(0.75).filled() };
        let points = rows.iter().enumerate().filter_map(|(index, row)| {
            let peers = row.cells.iter().filter(|cell| cell.column != OURS.name);
            let best = peers.map(Cell::figure).min_by(f64::total_cmp)?;
            Some(((row.figure(column)? / best).clamp(0.4, 8.0), count - 1.0 - index as f64))
        });
        let dots = points.map(|point| Circle::new(point, if ours { 6 } else { 4 }, style));
        chart
            .draw_series(dots)?
            .label(column)
            .legend(move |(x, y)| Circle::new((x + 8, y), if ours { 6 } else { 4 }, style));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .background_style(WHITE.mix(0.9))
        .border_style(BLACK.mix(0.3))
        .draw()?;
    area.present()?;
    Ok(())
}

/// A row that ends an expert with blocks of one size.
struct Finish {
    blocks: f64,
    /// Bytes of each block.
    size: f64,
    pages: f64,
    microseconds: f64,
}

impl Finish {
    /// Reads `finish, BLOCKS blocks of SIZE B`. The pages are those that the runs noted; if
    /// the data lack them, they are the pages that the blocks fill.
    fn of(row: &Measured) -> Option<Self> {
        let words: Vec<&str> = row.row.strip_prefix("finish, ")?.split(' ').collect();
        let (blocks, size): (f64, f64) =
            (words.first()?.parse().ok()?, words.get(3)?.parse().ok()?);
        let cell = row.cell(OURS.name)?;
        let pages = cell.extra("pages").unwrap_or(blocks * size / 4096.0).max(1.0);
        Some(Self { blocks, size, pages, microseconds: cell.figure() * blocks / 1000.0 })
    }
}

/// A line per block size.
fn finish_lines(results: &Results, x: fn(&Finish) -> f64) -> Vec<Line> {
    let all: Vec<Finish> = results.group(Group::Scaling).filter_map(Finish::of).collect();
    let line = |size: f64| {
        let of_size = all.iter().filter(|finish| finish.size == size);
        let points = of_size.map(|finish| (x(finish), finish.microseconds)).collect();
        Line::new(format!("blocks of {size} B"), points)
    };
    [64.0, 512.0, 4096.0].map(line).into()
}

fn finish_blocks(results: &Results, file: &Path) -> Result<(), Failure> {
    let lines = finish_lines(results, |finish| finish.blocks);
    loglog(results, file, "finish against blocks", ["blocks", "microseconds"], &lines)
}

fn finish_pages(results: &Results, file: &Path) -> Result<(), Failure> {
    let lines = finish_lines(results, |finish| finish.pages);
    loglog(results, file, "finish against pages", ["pages of 4 KiB", "microseconds"], &lines)
}

/// The plot of each step of an expert's life against the experts alive.
fn experts(results: &Results, file: &Path) -> Result<(), Failure> {
    let figures = [
        ("register_ns", "register"),
        ("first_block_ns", "first block"),
        ("finish_ns", "finish"),
        ("finish_oldest_ns", "finish the oldest"),
    ];
    let lines = figures.map(|(figure, name)| {
        let at = |alive: usize| {
            let row = results
                .group(Group::Scaling)
                .find(|row| row.row == format!("{figure}, {alive} alive"));
            Some((alive as f64, row?.figure(OURS.name)?))
        };
        Line::new(name.to_owned(), ALIVE.into_iter().filter_map(at).collect())
    });
    loglog(results, file, "cost against experts alive", ["experts alive", "nanoseconds"], &lines)
}

/// Operations per microsecond against threads that share eight experts.
fn threads(results: &Results, file: &Path) -> Result<(), Failure> {
    let lines = [OURS.name, "mimalloc 3"].map(|column| {
        let at = |threads: usize| {
            let name = format!("throughput, {threads} threads");
            let row = results.group(Group::Scaling).find(|row| row.row == name);
            Some((threads as f64, 1000.0 / row?.figure(column)?))
        };
        Line::new(column.to_owned(), THREADS_TO_64.into_iter().filter_map(at).collect())
    });
    loglog(
        results,
        file,
        "throughput against threads",
        ["threads", "operations per microsecond"],
        &lines,
    )
}

impl Line {
    fn new(name: String, mut points: Vec<(f64, f64)>) -> Self {
        points.sort_by(|one, other| one.0.total_cmp(&other.0));
        Self { name, points }
    }

    /// The exponent: 0 if nothing grows, 1 if the cost is proportional.
    fn slope(&self) -> f64 {
        slope(&self.points)
    }
}

/// The slope of the line through the logarithms, by least squares.
pub fn slope(points: &[(f64, f64)]) -> f64 {
    let count = points.len() as f64;
    let logs: Vec<_> = points.iter().map(|(x, y)| (x.ln(), y.ln())).collect();
    let mean_x = logs.iter().map(|point| point.0).sum::<f64>() / count;
    let mean_y = logs.iter().map(|point| point.1).sum::<f64>() / count;
    let above: f64 = logs.iter().map(|(x, y)| (x - mean_x) * (y - mean_y)).sum();
    let below: f64 = logs.iter().map(|(x, _)| (x - mean_x).powi(2)).sum();
    above / below
}

/// Lines on two logarithmic scales, each with its slope.
fn loglog(
    results: &Results,
    file: &Path,
    title: &str,
    axes: [&str; 2],
    lines: &[Line],
) -> Result<(), Failure> {
    let points = || lines.iter().flat_map(|line| &line.points);
    if points().next().is_none() {
        return Ok(());
    }
    let range = |of: fn(&(f64, f64)) -> f64| {
        let low = points().map(of).fold(f64::INFINITY, f64::min);
        let high = points().map(of).fold(0.0, f64::max);
        low * 0.7..high * 1.5
    };
    let area = titled(results, file, (760, 460), title)?;
    let mut chart: Log2D = ChartBuilder::on(&area)
        .margin(12)
        .x_label_area_size(36)
        .y_label_area_size(64)
        .build_cartesian_2d(
            range(|point| point.0).log_scale(),
            // Room above the lines for their names.
            (range(|point| point.1).start..4.0 * range(|point| point.1).end).log_scale(),
        )?;
    let label = |value: &f64| format!("{}", (value * 1000.0).round() / 1000.0);
    chart
        .configure_mesh()
        .x_desc(axes[0])
        .y_desc(axes[1])
        .x_label_formatter(&label)
        .y_label_formatter(&label)
        .draw()?;
    for (number, line) in lines.iter().enumerate().filter(|(_, line)| !line.points.is_empty()) {
        let style = Palette99::pick(number).stroke_width(2);
        chart
            .draw_series(LineSeries::new(line.points.iter().copied(), style).point_size(3))?
            .label(format!("{}: slope {:.2}", line.name, line.slope()))
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], style));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.9))
        .border_style(BLACK.mix(0.3))
        .draw()?;
    area.present()?;
    Ok(())
}

/// An empty picture under its title, and under the circumstances of the measurement.
fn titled<'f>(
    results: &Results,
    file: &'f Path,
    size: (u32, u32),
    title: &str,
) -> Result<DrawingArea<SVGBackend<'f>, Shift>, Failure> {
    let area = SVGBackend::new(file, size).into_drawing_area();
    area.fill(&WHITE)?;
    let area = area.margin(8, 0, 0, 0).titled(title, ("sans-serif", 16))?;
    Ok(area.titled(&origin(&results.machine), ("sans-serif", 12))?)
}

/// The origin of a picture's figures.
fn origin(machine: &Machine) -> String {
    let Machine { cpu, cores, compiler, commit, date, .. } = machine;
    format!("{cpu}, {cores} cores, {compiler}, commit {commit}, {date}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::Sample;

    fn finish(name: &str, pages: Option<f64>) -> Option<Finish> {
        let mut sample = Sample::only(Some(0.5));
        sample.extra.extend(pages.map(|pages| ("pages".to_owned(), pages)));
        let cell = Cell { column: OURS.name.to_owned(), samples: vec![sample] };
        Finish::of(&Measured {
            group: Group::Scaling,
            row: name.to_owned(),
            unit: "ns per block".to_owned(),
            cells: vec![cell],
        })
    }

    #[test]
    fn pages_are_those_that_were_noted() {
        let name = "finish, 1000 blocks of 512 B";
        let noted = finish(name, Some(160.0)).unwrap();
        assert_eq!((noted.blocks, noted.size, noted.microseconds), (1000.0, 512.0, 0.5));
        assert_eq!(noted.pages, 160.0);
        assert_eq!(finish(name, None).unwrap().pages, 125.0);
        assert!(finish("finish_ns, 10 alive", None).is_none());
    }

    #[test]
    fn slope_is_the_exponent() {
        assert!((slope(&[(1.0, 3.0), (10.0, 30.0), (100.0, 300.0)]) - 1.0).abs() < 1e-9);
        assert!(slope(&[(1.0, 3.0), (10.0, 3.0)]).abs() < 1e-9);
    }

    #[test]
    fn origin_names_machine_compiler_commit_and_date() {
        let machine = Machine {
            cpu: "a processor".to_owned(),
            cores: 2,
            compiler: "rustc 1.95.0".to_owned(),
            commit: "93588b0f519d".to_owned(),
            date: "2026-11-23".to_owned(),
            ..Machine::default()
        };
        let text = "a processor, 2 cores, rustc 1.95.0, commit 93588b0f519d, 2026-11-23";
        assert_eq!(origin(&machine), text);
    }
}

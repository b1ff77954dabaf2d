//! Resident memory over time, a line per allocator.

use std::path::Path;

use plotters::prelude::*;

use super::{Failure, titled};
use crate::groups::Group;
use crate::peers::OURS;
use crate::plan::giving_back;
use crate::results::{Measured, Results};

/// Draws the rows whose course over time was measured. The last point of a line is after a
/// purge by the main thread.
pub fn draw(results: &Results, directory: &Path) -> Result<(), String> {
    for (name, row, title) in giving_back::drawn() {
        let Some(row) = results.group(Group::GivingBack).find(|found| found.row == row) else {
            continue;
        };
        let file = directory.join(name);
        plot(results, row, &file, title).map_err(|error| format!("{name}: {error}"))?;
    }
    Ok(())
}

/// The course over time of one run of each allocator, the one with the median figure.
fn courses(row: &Measured) -> Vec<(&str, &[(f64, f64)])> {
    let course = |cell: &'_ crate::results::Cell| {
        let mut samples: Vec<usize> = (0..cell.samples.len()).collect();
        let figure = |&index: &usize| cell.samples[index].value.unwrap_or(f64::INFINITY);
        samples.sort_by(|one, other| figure(one).total_cmp(&figure(other)));
        samples.get(samples.len() / 2).copied()
    };
    let with_points = row.cells.iter().filter_map(|cell| {
        let curve = cell.samples[course(cell)?].curve.as_slice();
        (!curve.is_empty()).then_some((cell.column.as_str(), curve))
    });
    with_points.collect()
}

fn plot(results: &Results, row: &Measured, file: &Path, title: &str) -> Result<(), Failure> {
    let lines = courses(row);
    let points = || lines.iter().flat_map(|(_, points)| points.iter());
    let end = points().map(|point| point.0).fold(0.0, f64::max);
    let top = points().map(|point| point.1).fold(0.0, f64::max);
    if end <= 0.0 || top <= 0.0 {
        return Ok(());
    }
    let area = titled(results, file, (860, 460), title)?;
    let mut chart = ChartBuilder::on(&area)
        .margin(12)
        .x_label_area_size(36)
        .y_label_area_size(64)
        // Room for the names at the right.
        .build_cartesian_2d(0.0..end * 1.25, 0.0..top * 1.1)?;
    chart
        .configure_mesh()
        .max_light_lines(0)
        .x_desc("seconds")
        .y_desc("MiB above the start")
        .draw()?;
    // Ours last, above the others.
    let mut lines: Vec<_> = lines.into_iter().enumerate().collect();
    lines.sort_by_key(|(_, (column, _))| *column == OURS.name);
    for (number, (column, points)) in lines {
        let style = if column == OURS.name {
            RED.stroke_width(3)
        } else {
            Palette99::pick(number + 1).stroke_width(2)
        };
        chart
            .draw_series(LineSeries::new(points.iter().copied(), style))?
            .label(column)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], style));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::{Cell, Sample};

    #[test]
    fn the_run_in_the_middle_is_drawn() {
        let sample = |value| Sample { curve: vec![(0.0, value)], ..Sample::only(Some(value)) };
        let cell = |column: &str, samples| Cell { column: column.to_owned(), samples };
        let cells = vec![
            cell(OURS.name, vec![sample(9.0), sample(1.0), sample(5.0)]),
            cell("crashed", vec![Sample::only(None)]),
        ];
        let row = Measured {
            group: Group::GivingBack,
            row: "burst".to_owned(),
            unit: "MiB".to_owned(),
            cells,
        };
        assert_eq!(courses(&row), [(OURS.name, &[(0.0, 5.0)][..])]);
    }
}

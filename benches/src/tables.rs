//! Tables for people, as Markdown.

use comfy_table::{CellAlignment, Table, presets};

use crate::before;
use crate::groups::Group;
use crate::plan::small_owners::counted;
use crate::ratios;
use crate::results::{Cell, Measured, Results, Sample};

/// The sign for a missing figure.
const NONE: &str = "–";

/// Prints where and how the figures were measured.
pub fn print_machine(results: &Results) {
    let machine = &results.machine;
    println!(
        "{}, {} cores, {}, {}, commit {}, {}, load {}; medians of {} interleaved runs\n",
        machine.cpu,
        machine.cores,
        machine.system,
        machine.compiler,
        machine.commit,
        machine.date,
        machine.load,
        results.runs
    );
    let kind = machine.kind_in_words();
    if !kind.is_empty() {
        println!("{kind}\n");
    }
}

/// Prints the rows of one group, if it has any.
pub fn print_group(results: &Results, group: Group) {
    let rows: Vec<_> = results.group(group).collect();
    if let Some(first) = rows.first() {
        let unit = if rows.iter().all(|row| row.unit == first.unit) {
            first.unit.as_str()
        } else {
            "units as named"
        };
        // Not all groups run as often as was asked for.
        let runs = rows.iter().flat_map(|row| &row.cells).map(|cell| cell.samples.len()).max();
        let runs = match runs {
            Some(runs) if runs < results.runs as usize => {
                format!(" ({})", counted(runs, "run"))
            }
            _ => String::new(),
        };
        println!("### {}\n\n{unit}{runs}:\n", group.name());
        println!(
            "{}\n",
            table(&rows, &Cell::figure, &ratios::name(group), &|row| ratios::to_best(row))
        );
    }
}

/// Prints peak memory and memory held, for the rows that the global allocators run.
pub fn print_memory(results: &Results) {
    let rows: Vec<_> = results.group(Group::Single).chain(results.group(Group::Threads)).collect();
    if rows.is_empty() {
        return;
    }
    println!(
        "### Memory\n\nMiB; the smallest is that of mimalloc, jemalloc and snmalloc, or 256 KiB:\n"
    );
    print_bytes(&rows, "peak", |sample| sample.peak_bytes);
    print_bytes(&rows, "held after everything was freed and purged", |sample| sample.held_bytes);
}

fn print_bytes(rows: &[&Measured], what: &str, bytes: fn(&Sample) -> f64) {
    let mebibytes = |cell: &Cell| cell.median(bytes) / f64::from(1 << 20);
    let ratio = |row: &Measured| ratios::to_smallest(row, bytes);
    println!("{what}:\n\n{}\n", table(rows, &mebibytes, "ours / smallest", &ratio));
}

/// Prints the changes against the library before, if that was measured: a line per column
/// of ours, and the geometric mean of each group.
pub fn changes(results: &Results) -> Option<String> {
    let changes = before::changes(results);
    if changes.is_empty() {
        return None;
    }
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header(["row", "column", "now / before", "peak memory"]);
    let ratio =
        |ratio: f64| if ratio.is_finite() { format!("{ratio:.3}") } else { NONE.to_owned() };
    for group in changes.chunk_by(|one, other| one.group == other.group) {
        for change in group {
            let (figure, peak) = (ratio(change.figure), ratio(change.peak));
            table.add_row([&change.row, &change.column, &figure, &peak]);
        }
        let times = group.iter().filter(|change| change.is_time);
        let times = ratio(before::mean(times.map(|change| change.figure)));
        let peak = ratio(before::mean(group.iter().map(|change| change.peak)));
        table.add_row([group[0].group.name(), "geometric mean (of times)", &times, &peak]);
    }
    for column in table.column_iter_mut().skip(2) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    Some(format!("### Now / before\n\n{table}\n"))
}

/// Prints one line per row and one column per allocator, with the best figure in bold. The
/// ratio comes last, if a row has one.
fn table(
    rows: &[&Measured],
    value: &dyn Fn(&Cell) -> f64,
    ratio_name: &str,
    ratio: &dyn Fn(&Measured) -> Option<f64>,
) -> Table {
    let mut columns: Vec<&str> = Vec::new();
    for cell in rows.iter().flat_map(|row| &row.cells) {
        if !columns.contains(&cell.column.as_str()) {
            columns.push(&cell.column);
        }
    }
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    let mut header = vec!["row"];
    header.extend(&columns);
    let with_ratio = rows.iter().any(|row| ratio(row).is_some());
    if with_ratio {
        header.push(ratio_name);
    }
    table.set_header(header);
    for row in rows {
        let sign = if row.more_is_better() { -1.0 } else { 1.0 };
        let best = row.cells.iter().map(|cell| sign * value(cell)).fold(f64::INFINITY, f64::min);
        let mut line = vec![row.row.clone()];
        for column in &columns {
            line.push(row.cell(column).map_or_else(String::new, |cell| {
                let figure = value(cell);
                let text = significant(figure);
                if sign * figure <= best { format!("**{text}**") } else { text }
            }));
        }
        if with_ratio {
            line.push(ratio(row).map_or_else(|| NONE.to_owned(), |ratio| format!("{ratio:.2}")));
        }
        table.add_row(line);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// A number with three significant digits, and with separators between thousands.
pub fn significant(value: f64) -> String {
    if !value.is_finite() {
        return NONE.to_owned();
    }
    let decimals = match value.abs() {
        value if value < 0.095 => 3,
        value if value < 9.95 => 2,
        value if value < 99.5 => 1,
        _ => 0,
    };
    let text = format!("{value:.decimals$}");
    if decimals > 0 || text.len() < 5 {
        return text;
    }
    let mut grouped = String::new();
    for (index, digit) in text.chars().enumerate() {
        if index > 0 && (text.len() - index) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

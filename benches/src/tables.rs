//! Tables for people, as Markdown.

use comfy_table::{CellAlignment, Table, presets};

use crate::groups::Group;
use crate::peers::OURS;
use crate::results::{Cell, Measured, Results};

/// Prints where and how the figures came about.
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
        println!("### {}\n\n{unit}:\n", group.name());
        println!("{}\n", table(&rows, group.has_best(), &Cell::figure));
    }
}

/// Peak memory and what is held, of the rows that the global allocators run.
pub fn print_memory(results: &Results) {
    let rows: Vec<_> = results.group(Group::Single).chain(results.group(Group::Threads)).collect();
    if rows.is_empty() {
        return;
    }
    println!("### Memory\n\npeak, MiB:\n");
    println!(
        "{}\n",
        table(&rows, false, &|cell| mebibytes(cell.median(|sample| sample.peak_bytes)))
    );
    println!("held after everything was freed and purged, MiB:\n");
    println!(
        "{}\n",
        table(&rows, false, &|cell| mebibytes(cell.median(|sample| sample.held_bytes)))
    );
}

fn mebibytes(bytes: f64) -> f64 {
    bytes / f64::from(1 << 20)
}

/// One line per row, one column per allocator; the best is bold.
fn table(rows: &[&Measured], with_ratio: bool, value: &dyn Fn(&Cell) -> f64) -> Table {
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
    if with_ratio {
        header.push("ours / best peer");
    }
    table.set_header(header);
    for row in rows {
        // Shares are the better the higher.
        let sign = if row.unit.starts_with("of the") { -1.0 } else { 1.0 };
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
            line.push(ratio(row).map_or_else(String::new, |ratio| format!("{ratio:.2}")));
        }
        table.add_row(line);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// Our time over that of the best peer: the one that we are furthest behind of,
/// round by round.
pub fn ratio(row: &Measured) -> Option<f64> {
    let ours = row.cell(OURS.name)?;
    let peers = row.cells.iter().filter(|cell| cell.column != OURS.name);
    peers.map(|peer| ours.ratio_to(peer)).filter(|ratio| !ratio.is_nan()).max_by(f64::total_cmp)
}

/// Three significant digits, thousands set apart.
pub fn significant(value: f64) -> String {
    if !value.is_finite() {
        return "–".to_owned();
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

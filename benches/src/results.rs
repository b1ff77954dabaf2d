//! The results: samples per row and column, and the file that keeps them.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::groups::Group;
use crate::machine::Machine;

/// One run of one row by one allocator, as the worker printed it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Sample {
    /// Nanoseconds per operation, or another unit of the row.
    #[serde(rename = "ns_per_operation")]
    pub value: Option<f64>,
    #[serde(default)]
    pub peak_bytes: f64,
    #[serde(default)]
    pub held_bytes: f64,
    #[serde(default)]
    pub extra: std::collections::BTreeMap<String, f64>,
    /// How a figure changed over time: seconds, and the figure.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub curve: Vec<(f64, f64)>,
}

impl Sample {
    /// A figure without memory beside it.
    pub fn only(value: Option<f64>) -> Self {
        let extra = std::collections::BTreeMap::new();
        Self { value, peak_bytes: 0.0, held_bytes: 0.0, extra, curve: Vec::new() }
    }
}

/// All runs of one row by one allocator.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Cell {
    /// The allocator, and the way it is used if the row has several.
    pub column: String,
    pub samples: Vec<Sample>,
}

impl Cell {
    /// The median of `value` over the runs.
    pub fn median(&self, value: impl Fn(&Sample) -> f64) -> f64 {
        median(self.samples.iter().map(value).collect())
    }

    /// This figure over that of `other`: the median over the rounds, in each of which both
    /// ran within a second or so. A machine that changes its speed from round to round
    /// distorts this less than a ratio of medians.
    pub fn ratio_to(&self, other: &Self) -> f64 {
        if self.samples.len() != other.samples.len() {
            return self.figure() / other.figure();
        }
        let rounds = self.samples.iter().zip(&other.samples);
        median(rounds.filter_map(|(ours, theirs)| Some(ours.value? / theirs.value?)).collect())
    }

    /// The figure of the row, in its unit.
    pub fn figure(&self) -> f64 {
        self.median(|sample| sample.value.unwrap_or(f64::NAN))
    }

    /// The same runs, with this figure as the one that counts.
    pub fn noted(&self, name: &str) -> Self {
        // The course over time belongs to the row itself.
        let noted = |sample: &Sample| Sample {
            value: sample.extra.get(name).copied(),
            curve: Vec::new(),
            ..sample.clone()
        };
        Self { column: self.column.clone(), samples: self.samples.iter().map(noted).collect() }
    }

    /// The median of a figure that only some rows have.
    pub fn extra(&self, name: &str) -> Option<f64> {
        let known = self.samples.first()?.extra.contains_key(name);
        known.then(|| self.median(|sample| sample.extra.get(name).copied().unwrap_or(f64::NAN)))
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        length if length % 2 == 1 => values[length / 2],
        length => f64::midpoint(values[length / 2 - 1], values[length / 2]),
    }
}

/// All runs of one row.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Measured {
    pub group: Group,
    pub row: String,
    /// The unit of the figures.
    pub unit: String,
    pub cells: Vec<Cell>,
}

impl Measured {
    pub fn cell(&self, column: &str) -> Option<&Cell> {
        self.cells.iter().find(|cell| cell.column == column)
    }

    pub fn figure(&self, column: &str) -> Option<f64> {
        self.cell(column).map(Cell::figure)
    }

    /// Whether the figures are times.
    pub fn is_time(&self) -> bool {
        self.unit.starts_with("ns")
    }

    /// Whether larger is better, as for shares; everything else is better if it is smaller.
    pub fn more_is_better(&self) -> bool {
        self.unit.starts_with("of the")
    }

    /// The ratio of one column to another, round by round.
    pub fn ratio(&self, column: &str, other: &str) -> Option<f64> {
        Some(self.cell(column)?.ratio_to(self.cell(other)?))
    }
}

/// All results of one call of the runner.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Results {
    pub machine: Machine,
    pub runs: u32,
    pub rows: Vec<Measured>,
}

impl Results {
    pub fn new(machine: Machine, runs: u32) -> Self {
        Self { machine, runs, rows: Vec::new() }
    }

    pub fn add(&mut self, row: Measured) {
        self.rows.push(row);
    }

    /// The rows of one group, in the order they ran.
    pub fn group(&self, group: Group) -> impl Iterator<Item = &Measured> {
        self.rows.iter().filter(move |row| row.group == group)
    }

    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("numbers and strings can be printed")
    }
}

/// Reads results that were saved before.
pub fn read(file: &Path) -> Result<Results, String> {
    let text = fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
    serde_json::from_str(&text).map_err(|error| format!("{}: {error}", file.display()))
}

/// Writes the raw data to `results.json` in `directory`.
pub fn save(results: &Results, directory: &Path) -> Result<(), String> {
    fs::create_dir_all(directory)
        .and_then(|()| fs::write(directory.join("results.json"), results.to_json()))
        .map_err(|error| format!("{}: {error}", directory.display()))
}

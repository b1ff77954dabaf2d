//! The host's report at the end, as text or as JSON.

use std::fmt;
use std::io::{self, Write};
use std::time::Duration;

use comfy_table::{CellAlignment, Table, presets};
use expert_alloc::{Reclaimed, Stats};
use serde::Serialize;

use crate::expert::Name;
use crate::findings::Findings;
use crate::host::Run;

/// How an expert's run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It saw the whole capture.
    Finished,
    /// It panicked, or the system had no memory for it.
    Failed,
    /// Its quota had no room for a request.
    OverQuota,
    /// The host told it to stop.
    Terminated,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Finished => "finished",
            Self::Failed => "failed",
            Self::OverQuota => "over-quota",
            Self::Terminated => "terminated",
        })
    }
}

/// The record of an expert that has ended: its result, its memory, and where that went.
#[derive(Debug, Serialize)]
pub struct Record {
    name: Name,
    outcome: Outcome,
    result: Option<Findings>,
    /// The reason why there is no result.
    message: Option<String>,
    live_bytes: u64,
    live_blocks: u64,
    peak_bytes: u64,
    charged_bytes: u64,
    quota: u64,
    allocations: u64,
    reclaimed_bytes: u64,
    reclaimed_blocks: u64,
    adopted_bytes: u64,
    adopted_blocks: u64,
    #[serde(skip)]
    elapsed: Duration,
}

impl Record {
    /// The record of an expert with these statistics just before its end.
    pub fn new(
        name: Name,
        outcome: Outcome,
        result: Option<Findings>,
        message: Option<String>,
        stats: &Stats,
        reclaimed: &Reclaimed,
    ) -> Self {
        Self {
            name,
            outcome,
            result,
            message,
            live_bytes: stats.live_bytes as u64,
            live_blocks: stats.live_blocks as u64,
            peak_bytes: stats.peak_bytes as u64,
            charged_bytes: stats.charged_bytes as u64,
            quota: stats.quota as u64,
            allocations: stats.allocations,
            reclaimed_bytes: reclaimed.bytes as u64,
            reclaimed_blocks: reclaimed.blocks as u64,
            adopted_bytes: reclaimed.adopted_bytes as u64,
            adopted_blocks: reclaimed.adopted_blocks as u64,
            elapsed: reclaimed.elapsed,
        }
    }
}

/// Everything about a run, ready to be printed.
#[derive(Serialize)]
pub struct Report {
    capture: String,
    frames: u64,
    malformed: u64,
    /// The reason why the rest of the capture was not read.
    error: Option<String>,
    experts: Vec<Record>,
}

impl Report {
    pub fn new(capture: String, run: Run) -> Self {
        let Run { frames, malformed, experts, error } = run;
        let error = error.map(|error| error.to_string());
        Self { capture, frames, malformed, error, experts }
    }

    /// Writes one JSON object and a newline.
    ///
    /// # Errors
    ///
    /// An error from writing to `out`.
    pub fn write_json(&self, out: &mut dyn Write) -> io::Result<()> {
        serde_json::to_writer_pretty(&mut *out, self)?;
        writeln!(out)
    }

    /// Writes the results, then the tables of memory.
    ///
    /// # Errors
    ///
    /// An error from writing to `out`.
    pub fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        let Self { capture, frames, malformed, .. } = self;
        writeln!(out, "{capture}: {frames} frames, {malformed} of them malformed")?;
        for record in &self.experts {
            writeln!(out, "\n{}: {}", record.name.as_str(), record.outcome)?;
            match (&record.result, &record.message) {
                (Some(findings), _) => write!(out, "{findings}")?,
                (None, message) => {
                    writeln!(out, "  no result: {}", message.as_deref().unwrap_or("unknown"))?;
                }
            }
        }
        writeln!(out, "\nmemory in bytes, at the end of each expert\n{}", self.memory())?;
        writeln!(out, "\nreclaimed, and adopted by the host\n{}", self.reclaimed())
    }

    fn memory(&self) -> Table {
        let header = ["expert", "outcome", "live", "peak", "charged", "quota", "allocations"];
        let rows = self.experts.iter().map(|record| {
            let numbers = [
                record.live_bytes,
                record.peak_bytes,
                record.charged_bytes,
                record.quota,
                record.allocations,
            ];
            (record, numbers.map(|number| number.to_string()).to_vec())
        });
        table(&header, rows)
    }

    fn reclaimed(&self) -> Table {
        let header =
            ["expert", "outcome", "bytes", "blocks", "adopted bytes", "adopted blocks", "took"];
        let rows = self.experts.iter().map(|record| {
            let numbers = [
                record.reclaimed_bytes,
                record.reclaimed_blocks,
                record.adopted_bytes,
                record.adopted_blocks,
            ];
            let mut cells = numbers.map(|number| number.to_string()).to_vec();
            cells.push(format!("{} us", record.elapsed.as_micros()));
            (record, cells)
        });
        table(&header, rows)
    }
}

/// A table with one row per expert; all columns except name and outcome are aligned to the
/// right.
fn table<'a>(header: &[&str], rows: impl Iterator<Item = (&'a Record, Vec<String>)>) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::ASCII_BORDERS_ONLY_CONDENSED);
    table.set_header(header);
    for (record, cells) in rows {
        let mut row = vec![record.name.as_str().to_owned(), record.outcome.to_string()];
        row.extend(cells);
        table.add_row(row);
    }
    for column in table.column_iter_mut().skip(2) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

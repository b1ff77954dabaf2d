//! Two builds of expert-alloc side by side: the library of another commit runs the same
//! workloads, in a column of its own beside each of ours.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::groups::{Group, Row};
use crate::results::Results;
use crate::workers;

/// The suffix of the columns of the library at that commit.
pub const BEFORE: &str = ", before";

/// The folder of the library at that commit, with these workloads beside it.
pub fn directory() -> PathBuf {
    workers::target().join("before")
}

/// Lays out the library as it was at `commit`, with today's workloads.
pub fn check_out(commit: &str) -> Result<(), String> {
    let directory = directory();
    let failed = |what: &str| format!("cannot lay out commit {commit}: {what}");
    let io_failed = |error: io::Error| failed(&error.to_string());
    if directory.exists() {
        fs::remove_dir_all(&directory).map_err(io_failed)?;
    }
    fs::create_dir_all(&directory).map_err(io_failed)?;
    let repository = workers::root().parent().expect("benches is a folder of the repository");
    let mut archive = Command::new("git")
        .args(["archive", "--format=tar", commit, "--", ":!benches"])
        .current_dir(repository)
        .stdout(Stdio::piped())
        .spawn()
        .map_err(io_failed)?;
    let files = archive.stdout.take().expect("it is piped");
    let unpacked = Command::new("tar").arg("x").current_dir(&directory).stdin(files).status();
    let archived = archive.wait().map_err(io_failed)?;
    if !archived.success() || !unpacked.map_err(io_failed)?.success() {
        return Err(failed("git archive and tar do not work"));
    }
    let benches = directory.join("benches");
    for part in ["Cargo.toml", "Cargo.lock", "src", "peers", "worker", "programs"] {
        copy(&workers::root().join(part), &benches.join(part)).map_err(io_failed)?;
    }
    // The workers include this file of the tests.
    let stepper = Path::new("tests/common/stepper.rs");
    copy(&repository.join(stepper), &directory.join(stepper)).map_err(io_failed)
}

/// Copies a file or a folder, with the times of the files, so that unchanged files are not
/// built again.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    if from.is_dir() {
        fs::create_dir_all(to)?;
        for entry in fs::read_dir(from)? {
            let entry = entry?;
            copy(&entry.path(), &to.join(entry.file_name()))?;
        }
        return Ok(());
    }
    fs::create_dir_all(to.parent().expect("a file is in a folder"))?;
    fs::copy(from, to)?;
    fs::File::options().write(true).open(to)?.set_modified(fs::metadata(from)?.modified()?)
}

/// Puts a column of the library before beside each column of ours.
pub fn add_columns(rows: &mut [Row]) {
    for row in rows {
        let mut place = 0;
        while place < row.jobs.len() {
            if row.jobs[place].worker.is_ours() {
                let mut job = row.jobs[place].clone();
                job.column += BEFORE;
                job.worker.before = true;
                place += 1;
                row.jobs.insert(place, job);
            }
            place += 1;
        }
    }
}

/// The ratio of a column of ours to the same column before.
pub struct Change {
    pub group: Group,
    pub row: String,
    pub column: String,
    /// Whether the row's figure is a time.
    pub is_time: bool,
    /// The ratio of the row's figure.
    pub figure: f64,
    /// The ratio of the peak memory, where it was measured.
    pub peak: f64,
}

/// The changes in all rows.
pub fn changes(results: &Results) -> Vec<Change> {
    let mut changes = Vec::new();
    for row in &results.rows {
        for now in &row.cells {
            let Some(before) = row.cell(&format!("{}{BEFORE}", now.column)) else { continue };
            changes.push(Change {
                group: row.group,
                row: row.row.clone(),
                column: now.column.clone(),
                is_time: row.is_time(),
                figure: now.ratio_to(before),
                peak: now.median(|run| run.peak_bytes) / before.median(|run| run.peak_bytes),
            });
        }
    }
    changes
}

/// The geometric mean of those that are numbers.
pub fn mean(ratios: impl Iterator<Item = f64>) -> f64 {
    let (mut sum, mut count) = (0.0, 0.0);
    for ratio in ratios.filter(|ratio| ratio.is_finite() && *ratio > 0.0) {
        sum += ratio.ln();
        count += 1.0;
    }
    (sum / count).exp()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::groups::Job;
    use crate::peers::{GLIBC, OURS};
    use crate::results::{Cell, Measured, Sample};
    use crate::workers::Worker;

    #[test]
    fn each_column_of_ours_has_one_before_beside_it() {
        let job = |column: &str, feature| Job::timed(column, Worker::on(feature), &["pair"]);
        let jobs = [job("scopes of 10", OURS.feature), job(GLIBC.name, GLIBC.feature)];
        let mut rows = [Row::new(Group::Single, "pair", "ns", jobs)];
        add_columns(&mut rows);
        let columns: Vec<_> = rows[0].jobs.iter().map(|job| job.column.as_str()).collect();
        assert_eq!(columns, ["scopes of 10", "scopes of 10, before", "glibc"]);
        assert_ne!(rows[0].jobs[0].worker.path(), rows[0].jobs[1].worker.path());
    }

    #[test]
    fn what_changed_is_now_over_before() {
        let cell = |column: &str, value, peak_bytes| Cell {
            column: column.to_owned(),
            samples: vec![Sample { peak_bytes, ..Sample::only(Some(value)) }],
        };
        let cells = vec![cell("expert-alloc", 6.0, 3.0), cell("expert-alloc, before", 4.0, 2.0)];
        let row =
            Measured { group: Group::Single, row: "pair".to_owned(), unit: "ns".to_owned(), cells };
        let results = Results { rows: vec![row], ..Results::default() };
        let changes = changes(&results);
        assert_eq!(changes.len(), 1);
        assert_eq!((changes[0].figure, changes[0].peak), (1.5, 1.5));
    }

    #[test]
    fn the_mean_leaves_out_what_is_no_number() {
        assert!((mean([2.0, 8.0, f64::NAN].into_iter()) - 4.0).abs() < 1e-9);
    }
}

//! The groups of rows, and how a row is measured.

use std::process::Command;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::instructions;
use crate::peers::OURS;
use crate::results::{Cell, Measured, Sample};
use crate::workers::Worker;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
pub enum Group {
    /// The global allocator, one thread.
    Single,
    /// The global allocator, several threads.
    Threads,
    /// Instructions of alloc + free.
    Instructions,
    /// The one-thread rows with owners that take turns.
    Attribution,
    /// Thousands of owners that take turns: time and memory of each.
    SmallOwners,
    /// Memory that goes back to the system, and `fork`.
    GivingBack,
    /// Take back everything of one owner.
    Reclaim,
    /// The cost of experts.
    Experts,
    /// More threads than cores.
    Beyond,
    /// Churn under a quota, and how much of it can be used.
    Quota,
    /// Allocators over a fixed region.
    Small,
    /// Cost as the work grows.
    Scaling,
    /// Programs from crates.io.
    Programs,
}

impl Group {
    /// How often its rows run if `runs` were asked for. Three runs are enough for rows that
    /// watch memory for seconds.
    pub fn runs(self, runs: u32, quick: bool) -> u32 {
        match self {
            Self::GivingBack => runs.min(if quick { 1 } else { 3 }),
            _ => runs,
        }
    }

    pub const fn name(self) -> &'static str {
        match self {
            Self::Single => "Global allocator, one thread",
            Self::Threads => "Global allocator, threads",
            Self::Instructions => "Instructions",
            Self::Attribution => "Attribution",
            Self::SmallOwners => "Small owners",
            Self::GivingBack => "Giving back",
            Self::Reclaim => "Reclaim",
            Self::Experts => "Experts",
            Self::Beyond => "Threads beyond cores",
            Self::Quota => "Quota",
            Self::Small => "Small systems",
            Self::Scaling => "Scaling",
            Self::Programs => "Programs",
        }
    }
}

/// How the figures of a job are measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// The worker measures itself.
    Timed,
    /// Under callgrind.
    Counted,
    /// The worker notes the figure beside its time.
    Noted(&'static str),
}

impl How {
    fn is_count(self) -> bool {
        matches!(self, Self::Counted | Self::Noted("instructions"))
    }
}

/// One column of a row.
#[derive(Clone, Debug)]
pub struct Job {
    pub column: String,
    pub worker: Worker,
    pub arguments: Vec<String>,
    pub how: How,
}

/// One line of a table.
#[derive(Clone, Debug)]
pub struct Row {
    pub group: Group,
    pub name: String,
    pub unit: &'static str,
    pub jobs: Vec<Job>,
    /// Rows that are compared with each other have one set; their runs are
    /// interleaved.
    pub set: String,
    /// Rows of other figures of the same runs.
    pub views: Vec<View>,
}

/// A row whose figure is noted by another row's runs.
#[derive(Clone, Debug)]
pub struct View {
    pub name: String,
    pub unit: &'static str,
    pub figure: &'static str,
}

impl Row {
    pub fn new(
        group: Group,
        name: &str,
        unit: &'static str,
        jobs: impl IntoIterator<Item = Job>,
    ) -> Self {
        Self {
            group,
            name: name.to_owned(),
            unit,
            jobs: jobs.into_iter().collect(),
            set: name.to_owned(),
            views: Vec::new(),
        }
    }

    /// The same row, measured together with others of this set.
    pub fn in_set(mut self, set: &str) -> Self {
        self.set = set.to_owned();
        self
    }

    /// The same row, and another row for a figure that its runs note.
    pub fn and(mut self, name: &str, unit: &'static str, figure: &'static str) -> Self {
        self.views.push(View { name: name.to_owned(), unit, figure });
        self
    }

    /// The names of this row and its views.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.name.as_str()).chain(self.views.iter().map(|view| view.name.as_str()))
    }

    /// The measured rows: this one, and its views.
    fn measured(&self, cells: Vec<Cell>) -> Vec<Measured> {
        let measured = |row: &str, unit: &str, cells| Measured {
            group: self.group,
            row: row.to_owned(),
            unit: unit.to_owned(),
            cells,
        };
        let view = |view: &View| {
            let cells = cells.iter().map(|cell| cell.noted(view.figure)).collect();
            measured(&view.name, view.unit, cells)
        };
        let views: Vec<Measured> = self.views.iter().map(view).collect();
        std::iter::once(measured(&self.name, self.unit, cells)).chain(views).collect()
    }
}

/// Runs all columns of all `rows` in turn, `runs` times.
pub fn measure(rows: &[Row], runs: u32) -> Result<Vec<Measured>, String> {
    let jobs: Vec<&Job> = rows.iter().flat_map(|row| &row.jobs).collect();
    let mut samples: Vec<Vec<Sample>> = vec![Vec::new(); jobs.len()];
    for run in 0..runs as usize {
        // Each round begins with another job, so that if the machine changes its speed
        // every few seconds, no job always gets the slow phase.
        for turn in 0..jobs.len() {
            let place = (turn + run) % jobs.len();
            // A count of instructions does not vary, so one run is enough.
            if run == 0 || !jobs[place].how.is_count() {
                samples[place].push(jobs[place].run_or_skip()?);
            }
        }
    }
    Ok(assembled(rows, samples))
}

/// The rows and their views, from the runs of all their jobs in order.
fn assembled(rows: &[Row], samples: Vec<Vec<Sample>>) -> Vec<Measured> {
    let mut samples = samples.into_iter();
    let cell = |(job, samples): (&Job, _)| Cell { column: job.column.clone(), samples };
    let row = |row: &Row| row.measured(row.jobs.iter().zip(&mut samples).map(cell).collect());
    rows.iter().flat_map(row).collect()
}

impl Job {
    /// A job that the worker times itself.
    pub fn timed(column: &str, worker: Worker, arguments: &[&str]) -> Self {
        Self {
            column: column.to_owned(),
            worker,
            arguments: arguments.iter().map(|&word| word.to_owned()).collect(),
            how: How::Timed,
        }
    }

    /// Runs it. If another allocator crashes, there is no figure, and the other jobs go on.
    /// Ours must not.
    fn run_or_skip(&self) -> Result<Sample, String> {
        let result = self.run();
        if self.worker.features.contains(&OURS.feature) {
            return result;
        }
        Ok(result.unwrap_or_else(|failure| {
            eprintln!("\r\x1b[Kno figure for {}: {failure}", self.column);
            Sample::only(None)
        }))
    }

    fn run(&self) -> Result<Sample, String> {
        match self.how {
            How::Timed => self.run_timed(),
            How::Counted => Ok(instructions::count(self)),
            How::Noted(name) => {
                let mut sample = self.run_timed()?;
                sample.value = sample.extra.get(name).copied();
                Ok(sample)
            }
        }
    }

    fn run_timed(&self) -> Result<Sample, String> {
        let path = self.worker.path();
        let output = Command::new(&path)
            .args(&self.arguments)
            .output()
            .map_err(|error| format!("cannot run {}: {error}", path.display()))?;
        let failed = |why: String| {
            let errors = String::from_utf8_lossy(&output.stderr);
            format!("{} {:?}: {why}\n{errors}", path.display(), self.arguments)
        };
        if !output.status.success() {
            return Err(failed(output.status.to_string()));
        }
        serde_json::from_slice(&output.stdout).map_err(|error| failed(error.to_string()))
    }
}

/// Whether the user named this row, or none.
pub fn name_matches(row: &str, texts: &[String]) -> bool {
    texts.is_empty() || texts.iter().any(|text| row.contains(text.as_str()))
}

/// The groups that the user named, or all.
pub fn chosen(groups: &[Group]) -> Vec<Group> {
    if groups.is_empty() { Group::value_variants().to_vec() } else { groups.to_vec() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn views_show_another_figure_of_the_same_runs() {
        let job = |column: &str| Job::timed(column, Worker::on("glibc"), &["request"]);
        let row = |name: &str, columns: &[&str]| {
            Row::new(Group::SmallOwners, name, "ns", columns.iter().map(|column| job(column)))
        };
        let rows = [row("one", &["a", "b"]).and("one, bytes", "bytes", "held"), row("two", &["a"])];
        let sample = |value: f64| {
            let mut sample = Sample::only(Some(value));
            sample.extra.insert("held".to_owned(), 100.0 * value);
            vec![sample]
        };
        let measured = assembled(&rows, [1.0, 2.0, 3.0].map(sample).into());
        let figures: Vec<_> = measured
            .iter()
            .map(|row| (row.row.as_str(), row.unit.as_str(), row.figure("a"), row.figure("b")))
            .collect();
        assert_eq!(
            figures,
            [
                ("one", "ns", Some(1.0), Some(2.0)),
                ("one, bytes", "bytes", Some(100.0), Some(200.0)),
                ("two", "ns", Some(3.0), None),
            ]
        );
    }
}

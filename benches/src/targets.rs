//! The targets that our own figures must meet.

mod experts;
mod giving_back;
mod small_owners;

use crate::before;
use crate::groups::Group;
use crate::peers::OURS;
use crate::ratios;
use crate::results::Results;
use crate::tables;

/// A target, and the figure that is compared with it.
pub struct Target {
    pub group: &'static str,
    pub what: String,
    pub measured: f64,
    pub limit: Limit,
}

#[derive(Clone, Copy)]
pub enum Limit {
    AtMost(f64),
    AtLeast(f64),
}

impl Target {
    pub fn at_most(group: Group, what: &str, measured: f64, limit: f64) -> Self {
        Self { group: group.name(), what: what.to_owned(), measured, limit: Limit::AtMost(limit) }
    }

    pub fn at_least(group: Group, what: &str, measured: f64, limit: f64) -> Self {
        Self { group: group.name(), what: what.to_owned(), measured, limit: Limit::AtLeast(limit) }
    }

    pub fn is_met(&self) -> bool {
        match self.limit {
            Limit::AtMost(limit) => self.measured <= limit,
            Limit::AtLeast(limit) => self.measured >= limit,
        }
    }
}

/// All targets of the rows that ran.
pub fn check(results: &Results) -> Vec<Target> {
    let mut targets = Vec::new();
    global(results, Group::Single, &mut targets);
    global(results, Group::Threads, &mut targets);
    memory(results, &mut targets);
    instructions(results, &mut targets);
    experts::check(results, &mut targets);
    small_owners::check(results, &mut targets);
    giving_back::check(results, &mut targets);
    no_slower_than_before(results, &mut targets);
    global(results, Group::Programs, &mut targets);
    targets
}

/// How many targets were met, and a line for each that was missed.
pub fn report(results: &Results, targets: &[Target]) -> String {
    if targets.is_empty() {
        let mut cells = results.rows.iter().flat_map(|row| &row.cells);
        return if cells.any(|cell| ratios::is_ours(&cell.column)) {
            "No targets: none is about these rows and allocators.".to_owned()
        } else {
            "No targets: expert-alloc was not among the allocators.".to_owned()
        };
    }
    let missed: Vec<_> = targets.iter().filter(|target| !target.is_met()).collect();
    let mut lines =
        vec![format!("{} of {} targets met.", targets.len() - missed.len(), targets.len())];
    for target in missed {
        let (word, limit) = match target.limit {
            Limit::AtMost(limit) => ("at most", limit),
            Limit::AtLeast(limit) => ("at least", limit),
        };
        let (measured, limit) = (tables::significant(target.measured), tables::significant(limit));
        lines.push(format!("MISSED {}: {}: {measured}, {word} {limit}", target.group, target.what));
    }
    lines.join("\n")
}

/// Each row must be at least as fast as the best peer, and the geometric mean 10 % faster.
fn global(results: &Results, group: Group, targets: &mut Vec<Target>) {
    let mut logarithms = Vec::new();
    for row in results.group(group) {
        if let Some(ratio) = ratios::to_best(row) {
            logarithms.push(ratio.ln());
            targets.push(Target {
                group: group.name(),
                what: format!("{}, ours / best peer", row.row),
                measured: ratio,
                limit: Limit::AtMost(1.0),
            });
        }
    }
    if !logarithms.is_empty() {
        targets.push(Target {
            group: group.name(),
            what: "geometric mean of ours / best peer".to_owned(),
            measured: (logarithms.iter().sum::<f64>() / logarithms.len() as f64).exp(),
            limit: Limit::AtMost(0.9),
        });
    }
}

/// The peak must be within 5 % of the smallest, and little memory may be held in the end.
fn memory(results: &Results, targets: &mut Vec<Target>) {
    for row in results.group(Group::Single).chain(results.group(Group::Threads)) {
        let Some(ours) = row.cell(OURS.name) else { continue };
        if let Some(ratio) = ratios::to_smallest(row, |sample| sample.peak_bytes) {
            targets.push(Target {
                group: "Memory",
                what: format!("{}, peak / smallest of mimalloc, jemalloc, snmalloc", row.row),
                measured: ratio,
                limit: Limit::AtMost(1.05),
            });
        }
        targets.push(Target {
            group: "Memory",
            what: format!("{}, MiB held", row.row),
            measured: ours.median(|sample| sample.held_bytes) / f64::from(1 << 20),
            limit: Limit::AtMost(2.0),
        });
    }
}

/// An alloc and a free of 64 bytes may take 36 instructions.
fn instructions(results: &Results, targets: &mut Vec<Target>) {
    let group = Group::Instructions;
    for row in results.group(group) {
        if let Some(count) = row.figure(OURS.name) {
            targets.push(Target::at_most(group, &row.row, count, 36.0));
        }
    }
}

/// If the library before was measured too, it may be at most 2 % faster in the global rows,
/// with one and with ten owners, and in the end of an expert with a million blocks.
fn no_slower_than_before(results: &Results, targets: &mut Vec<Target>) {
    for change in before::changes(results).into_iter().filter(|change| change.is_time) {
        let counts = match change.group {
            Group::Single | Group::Threads => true,
            Group::SmallOwners => {
                [", 1 owner", ", 10 owners"].iter().any(|&few| change.row.contains(few))
            }
            Group::Reclaim => change.row.starts_with("1000000 ") && change.column == OURS.name,
            _ => false,
        };
        if counts {
            let what = format!("{}, now / before", change.row);
            targets.push(Target::at_most(change.group, &what, change.figure, 1.02));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::{Cell, Measured, Sample};

    /// The measured value for the target of this name, and its limit, by one of the checks.
    pub fn measured(
        check: fn(&Results, &mut Vec<Target>),
        rows: Vec<Measured>,
        what: &str,
    ) -> (f64, f64) {
        let mut targets = Vec::new();
        check(&Results { rows, ..Results::default() }, &mut targets);
        let target =
            targets.iter().find(|target| target.what == what).expect("there is such a target");
        let (Limit::AtMost(limit) | Limit::AtLeast(limit)) = target.limit;
        (target.measured, limit)
    }

    fn results(group: Group, columns: &[&str]) -> Results {
        let cell = |&column: &&str| Cell {
            column: column.to_owned(),
            samples: vec![Sample::only(Some(37.0))],
        };
        let cells = columns.iter().map(cell).collect();
        let row = Measured { group, row: "row".to_owned(), unit: "ns".to_owned(), cells };
        Results { rows: vec![row], ..Results::default() }
    }

    fn report_of(group: Group, columns: &[&str]) -> String {
        let results = results(group, columns);
        report(&results, &check(&results))
    }

    #[test]
    fn no_bars_says_why() {
        let without = "No targets: expert-alloc was not among the allocators.";
        assert_eq!(report_of(Group::Scaling, &["mimalloc 3"]), without);
        let untargeted = "No targets: none is about these rows and allocators.";
        assert_eq!(report_of(Group::Scaling, &["expert-alloc"]), untargeted);
        assert_eq!(report_of(Group::Attribution, &["scopes of 10"]), untargeted);
    }

    #[test]
    fn few_owners_must_not_get_slower() {
        let cell = |column: &str, value| Cell {
            column: column.to_owned(),
            samples: vec![Sample::only(Some(value))],
        };
        let rows =
            ["pair, 10 owners, turns of 100", "pair, 1000 owners, turns of 100"].map(|row| {
                let cells = vec![cell("expert-alloc", 33.0), cell("expert-alloc, before", 30.0)];
                let (group, row, unit) = (Group::SmallOwners, row.to_owned(), "ns".to_owned());
                Measured { group, row, unit, cells }
            });
        let results = Results { rows: rows.into(), ..Results::default() };
        let report = report(&results, &check(&results));
        let missed =
            "MISSED Small owners: pair, 10 owners, turns of 100, now / before: 1.10, at most 1.02";
        assert_eq!(report, format!("0 of 1 targets met.\n{missed}"));
    }

    #[test]
    fn missed_bars_are_listed() {
        let report = report_of(Group::Instructions, &["expert-alloc"]);
        assert_eq!(report, "0 of 1 targets met.\nMISSED Instructions: row: 37.0, at most 36.0");
    }
}

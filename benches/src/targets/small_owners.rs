//! The targets of many small owners.

use super::Target;
use crate::groups::Group;
use crate::peers::{OURS, TRACKING};
use crate::plan::small_owners::{
    ON_THREADS, QUERIED, SERVING, WITHOUT, bytes_of, in_steps, in_turns, one_block, query,
    whole_life,
};
use crate::ratios::RESOLUTION;
use crate::results::{Measured, Results};

const GROUP: Group = Group::SmallOwners;

pub fn check(results: &Results, targets: &mut Vec<Target>) {
    many_owners(results, targets);
    ahead_of_tracking(results, targets);
    bytes_per_owner(results, targets);
    lives(results, targets);
    without_experts(results, targets);
}

fn find<'r>(results: &'r Results, name: &str) -> Option<&'r Measured> {
    results.group(GROUP).find(|row| row.row == name)
}

/// A thousand owners in turns of 100 may take at most 2.5 times as long as one owner in the
/// LIFO row, and 1.5 times as long as ten owners in the others. Ten thousand owners in
/// turns of 10 may take 1.5 times that.
fn many_owners(results: &Results, targets: &mut Vec<Target>) {
    let mut compare = |many: &str, few: &str, limit: f64| {
        let ours = |name: &str| find(results, name)?.cell(OURS.name);
        if let (Some(many_cell), Some(few_cell)) = (ours(many), ours(few)) {
            let ratio = many_cell.ratio_to(few_cell);
            targets.push(Target::at_most(GROUP, &format!("{many} / {few}"), ratio, limit));
        }
    };
    for (workload, owners, limit) in
        [("LIFO batch", 1, 2.5), ("shuffled batch", 10, 1.5), ("churn 10k", 10, 1.5)]
    {
        let thousand = in_turns(workload, 1_000, 100);
        compare(&thousand, &in_turns(workload, owners, 100), limit);
        compare(&in_turns(workload, 10_000, 10), &thousand, 1.5);
    }
    // A request is a turn of its own length.
    compare(&in_steps("request", 1_000), &in_steps("request", 10), 1.5);
    compare(&in_steps("request", 10_000), &in_steps("request", 1_000), 1.5);
}

/// Every timed row must be faster than tracking-allocator over the system's allocator, and
/// 1.5 times faster in the rows that most programs depend on.
fn ahead_of_tracking(results: &Results, targets: &mut Vec<Target>) {
    for row in results.group(GROUP).filter(|row| row.is_time()) {
        if let Some(ratio) = row.ratio(TRACKING.name, OURS.name) {
            let programs = ["churn", "request", "maps", "JSON", "regex"];
            let by_half = programs.iter().any(|&name| row.row.starts_with(name));
            let what = format!("{}, tracking-allocator / ours", row.row);
            targets.push(Target::at_least(GROUP, &what, ratio, if by_half { 1.5 } else { 1.0 }));
        }
    }
}

/// Requests may hold at most 1.35 times the bytes that were asked for. A block of 16 bytes
/// may cost 512 bytes on one thread, 700 on four, and nothing after the end.
fn bytes_per_owner(results: &Results, targets: &mut Vec<Target>) {
    for owners in SERVING {
        let name = bytes_of(&in_steps("request", owners));
        let Some(cell) = find(results, &name).and_then(|row| row.cell(OURS.name)) else { continue };
        if let Some(asked) = cell.extra("asked_per_owner") {
            let what = format!("{name} / bytes asked for");
            targets.push(Target::at_most(GROUP, &what, cell.figure() / asked, 1.35));
        }
    }
    let mut at_most = |name: &str, limit: f64| {
        if let Some(bytes) = find(results, name).and_then(|row| row.figure(OURS.name)) {
            targets.push(Target::at_most(GROUP, name, bytes, limit));
        }
    };
    for (threads, limit) in ON_THREADS.into_iter().zip([512.0, 700.0]) {
        let name = one_block(threads);
        at_most(&name, limit);
        at_most(&format!("{name}, left after the end"), RESOLUTION);
    }
}

/// A microsecond.
fn lives(results: &Results, targets: &mut Vec<Target>) {
    for alive in [0, 1_000] {
        let name = whole_life(alive);
        if let Some(time) = find(results, &name).and_then(|row| row.figure(OURS.name)) {
            targets.push(Target::at_most(GROUP, &format!("{name}, ns"), time, 1000.0));
        }
    }
}

/// Queries may take at most twice the time and 1.5 times the memory of the same program
/// without experts. Surviving blocks may take at most twice their memory.
fn without_experts(results: &Results, targets: &mut Vec<Target>) {
    let mut at_most = |name: &str, limit: f64| {
        if let Some(ratio) = find(results, name).and_then(|row| row.ratio(OURS.name, WITHOUT)) {
            targets.push(Target::at_most(
                GROUP,
                &format!("{name} / without experts"),
                ratio,
                limit,
            ));
        }
    };
    for rows in QUERIED {
        at_most(&query(rows), 2.0);
        at_most(&bytes_of(&query(rows)), 1.5);
    }
    at_most(&bytes_of("survivors of 64 bytes"), 2.0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::{Cell, Sample};
    use crate::targets::tests::measured;

    fn row(name: &str, unit: &str, figures: &[(&str, f64)]) -> Measured {
        let cell = |&(column, value): &(&str, f64)| {
            let mut sample = Sample::only(Some(value));
            sample.extra.insert("asked_per_owner".to_owned(), 4000.0);
            Cell { column: column.to_owned(), samples: vec![sample] }
        };
        let cells = figures.iter().map(cell).collect();
        Measured { group: GROUP, row: name.to_owned(), unit: unit.to_owned(), cells }
    }

    fn target(rows: Vec<Measured>, what: &str) -> (f64, f64) {
        measured(check, rows, what)
    }

    #[test]
    fn many_owners_are_compared_with_few() {
        let rows = || {
            [("10 owners, turns of 100", 8.0), ("1000 owners, turns of 100", 10.0)]
                .into_iter()
                .chain([("10000 owners, turns of 10", 20.0)])
                .map(|(name, time)| row(&format!("churn 10k, {name}"), "ns", &[(OURS.name, time)]))
                .collect()
        };
        let (many, few) =
            ("churn 10k, 1000 owners, turns of 100", "churn 10k, 10 owners, turns of 100");
        assert_eq!(target(rows(), &format!("{many} / {few}")), (1.25, 1.5));
        let most = "churn 10k, 10000 owners, turns of 10";
        assert_eq!(target(rows(), &format!("{most} / {many}")), (2.0, 1.5));
    }

    #[test]
    fn memory_is_compared_with_what_was_asked_for() {
        let name = "request, 1000 owners, bytes resident";
        let rows = vec![row(name, "bytes per owner", &[(OURS.name, 5000.0)])];
        assert_eq!(target(rows, &format!("{name} / bytes asked for")), (1.25, 1.35));
    }

    #[test]
    fn tracking_must_be_behind_by_half_in_programs() {
        let figures = [(OURS.name, 10.0), (TRACKING.name, 12.0)];
        let of = |name: &str| {
            target(vec![row(name, "ns", &figures)], &format!("{name}, tracking-allocator / ours"))
        };
        assert_eq!(of("pair, 1 owner, turns of 100"), (1.2, 1.0));
        assert_eq!(of("JSON, 10 owners"), (1.2, 1.5));
    }

    #[test]
    fn queries_are_compared_with_the_same_without_experts() {
        let name = query(40);
        let rows = vec![row(&name, "ns per query", &[(OURS.name, 9.0), (WITHOUT, 3.0)])];
        assert_eq!(target(rows, &format!("{name} / without experts")), (3.0, 2.0));
    }
}

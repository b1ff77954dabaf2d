//! The targets of memory that goes back. The tests check the background purger and limits
//! of the system.

use super::Target;
use crate::groups::Group;
use crate::peers::{GLIBC, MIMALLOC_36, OURS};
use crate::plan::giving_back::{BURSTS, FOREIGN, FORKING, after_owners, burst, fork, server};
use crate::ratios::RESOLUTION;
use crate::results::{Cell, Measured, Results};

const GROUP: Group = Group::GivingBack;

/// The peers that a bursty server is compared with.
const SERVERS: [&str; 3] = [GLIBC.name, MIMALLOC_36.name, "jemalloc"];

/// The resolution of memory figures, in MiB.
const LEAST: f64 = RESOLUTION / (1 << 20) as f64;

pub fn check(results: &Results, targets: &mut Vec<Target>) {
    bursts(results, targets);
    servers(results, targets);
    forks(results, targets);
}

fn find<'r>(results: &'r Results, name: &str) -> Option<&'r Measured> {
    results.group(GROUP).find(|row| row.row == name)
}

fn ours(results: &Results, name: &str) -> Option<f64> {
    find(results, name)?.figure(OURS.name)
}

/// Two seconds after everything was freed, or thousands of owners ended, the process may
/// hold 24 MiB without any call, and 2 MiB after a purge. While one thread allocates blocks
/// of one size after another and a second thread frees them, the process may hold 1.6 times
/// the live bytes.
fn bursts(results: &Results, targets: &mut Vec<Target>) {
    let mut at_most = |name: &str, limit: f64| {
        if let Some(mib) = ours(results, name) {
            targets.push(Target::at_most(GROUP, &format!("{name}, MiB"), mib, limit));
        }
    };
    let purge = "after a purge by the main thread";
    for (threads, then) in BURSTS {
        at_most(&burst(threads, then, "2 s"), 24.0);
        at_most(&burst(threads, then, purge), 2.0);
    }
    at_most(&after_owners("2 s"), 24.0);
    at_most(&after_owners(purge), 2.0);
    let name = "producer and consumer over sizes, most";
    let cell = find(results, name).and_then(|row| row.cell(OURS.name));
    if let Some((cell, live)) = cell.and_then(|cell| Some((cell, cell.extra("live")?))) {
        targets.push(Target::at_most(GROUP, &format!("{name} / live"), cell.figure() / live, 1.6));
    }
}

/// A bursty server may hold at most 1.2 times the best of three, in peak and after each
/// round.
fn servers(results: &Results, targets: &mut Vec<Target>) {
    for foreign in FOREIGN {
        let Some(row) = find(results, &server(foreign, "peak")) else { continue };
        let rounds = (1..=10).map(|round| format!("after_{round}"));
        let over = |figure: &str| over_best(row, |cell| cell.extra(figure));
        if let Some(ratio) = over("peak") {
            targets.push(Target::at_most(
                GROUP,
                &server(foreign, "peak / best of three"),
                ratio,
                1.2,
            ));
        }
        let worst = rounds.filter_map(|figure| over(&figure)).max_by(f64::total_cmp);
        if let Some(ratio) = worst {
            let name = server(foreign, "after the round that is worst, / best of three");
            targets.push(Target::at_most(GROUP, &name, ratio, 1.2));
        }
    }
}

/// Our figure over the least of the three, each counted as at least the resolution.
fn over_best(row: &Measured, figure: impl Fn(&Cell) -> Option<f64>) -> Option<f64> {
    let ours = figure(row.cell(OURS.name)?)?;
    let peers = SERVERS.iter().filter_map(|&name| figure(row.cell(name)?));
    let best = peers.filter(|mib| mib.is_finite()).min_by(f64::total_cmp)?;
    Some(ours.max(LEAST) / best.max(LEAST))
}

/// `fork` with any number of experts, alive or ended, may take at most 5 ms more than
/// without.
fn forks(results: &Results, targets: &mut Vec<Target>) {
    for owners in FORKING {
        let Some(before) = ours(results, &fork(owners, "to come")) else { continue };
        for what in ["alive", "ended"] {
            let name = fork(owners, what);
            if let Some(microseconds) = ours(results, &name) {
                let more = (microseconds - before) / 1000.0;
                targets.push(Target::at_most(
                    GROUP,
                    &format!("{name}, ms more than without"),
                    more,
                    5.0,
                ));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::Sample;
    use crate::targets::tests::measured;

    fn row(name: &str, figures: &[(&str, &[(&str, f64)])]) -> Measured {
        let cell = |&(column, noted): &(&str, &[(&str, f64)])| {
            let mut sample = Sample::only(Some(noted[0].1));
            sample.extra.extend(noted.iter().map(|&(name, value)| (name.to_owned(), value)));
            Cell { column: column.to_owned(), samples: vec![sample] }
        };
        let cells = figures.iter().map(cell).collect();
        Measured { group: GROUP, row: name.to_owned(), unit: "MiB".to_owned(), cells }
    }

    fn target(rows: Vec<Measured>, what: &str) -> (f64, f64) {
        measured(check, rows, what)
    }

    #[test]
    fn a_server_is_compared_round_by_round() {
        let figures: [(&str, &[(&str, f64)]); 4] = [
            (OURS.name, &[("peak", 300.0), ("after_1", 10.0), ("after_2", 90.0)]),
            (GLIBC.name, &[("peak", 250.0), ("after_1", 40.0), ("after_2", 60.0)]),
            ("jemalloc", &[("peak", 400.0), ("after_1", 20.0), ("after_2", 80.0)]),
            ("rpmalloc", &[("peak", 100.0), ("after_1", 1.0), ("after_2", 1.0)]),
        ];
        let rows = || vec![row(&server(25, "peak"), &figures)];
        assert_eq!(target(rows(), &server(25, "peak / best of three")), (1.2, 1.2));
        let worst = server(25, "after the round that is worst, / best of three");
        assert_eq!(target(rows(), &worst), (1.5, 1.2));
    }

    #[test]
    fn what_is_left_of_a_burst_has_a_bound() {
        let name = burst(4, "sleep", "2 s");
        let rows = vec![row(&name, &[(OURS.name, &[("at_2_s", 30.0)])])];
        assert_eq!(target(rows, &format!("{name}, MiB")), (30.0, 24.0));
    }

    #[test]
    fn a_fork_is_compared_with_one_without_experts() {
        let figure = |what, time| row(&fork(10_000, what), &[(OURS.name, &[("us", time)])]);
        let rows = || vec![figure("to come", 100.0), figure("alive", 9_100.0)];
        let name = format!("{}, ms more than without", fork(10_000, "alive"));
        assert_eq!(target(rows(), &name), (9.0, 5.0));
    }
}

//! The targets of the groups that no other allocator has, or has in part.

use super::Target;
use crate::groups::Group;
use crate::peers::OURS;
use crate::plan::OWNERS;
use crate::ratios;
use crate::results::{Measured, Results};

pub fn check(results: &Results, targets: &mut Vec<Target>) {
    attribution(results, targets);
    reclaim(results, targets);
    experts(results, targets);
    beyond(results, targets);
    quota(results, targets);
    small(results, targets);
}

/// Work with experts may be at most 2 % slower than without. A plug-in's allocator may take
/// at most twice as long as a handle, and a pair of calls by key at most 25 ns. Experts
/// must be at least 4 times faster than tracking-allocator over System.
fn attribution(results: &Results, targets: &mut Vec<Target>) {
    let group = Group::Attribution;
    for row in results.group(group) {
        for owners in OWNERS {
            for way in ["scopes", "handles"] {
                let ours = format!("{way} of {owners}");
                if let Some(ratio) = row.ratio(&ours, "ours, no experts") {
                    let what = format!("{}, {ours} / no experts", row.row);
                    targets.push(Target::at_most(group, &what, ratio, 1.02));
                }
            }
            let (plugin, handle) =
                (format!("plug-ins of {owners}"), format!("handles of {owners}"));
            if let Some(ratio) = row.ratio(&plugin, &handle) {
                let what = format!("{}, {plugin} / {handle}", row.row);
                targets.push(Target::at_most(group, &what, ratio, 2.0));
            }
            let keyed = format!("keys of {owners}");
            if let Some(cell) = row.cell(&keyed) {
                let what = format!("{}, {keyed}, ns", row.row);
                targets.push(Target::at_most(group, &what, cell.figure(), 25.0));
            }
            let (tracking, ours) = (format!("tracking, {owners}"), format!("scopes of {owners}"));
            if let Some(ratio) = row.ratio(&tracking, &ours) {
                let what = format!("{}, tracking-allocator / ours, {owners} owners", row.row);
                targets.push(Target::at_least(group, &what, ratio, 4.0));
            }
        }
    }
}

/// The end of an expert must be faster than the peers' free-all, 50 times faster than
/// freeing one by one, and linear in pages.
fn reclaim(results: &Results, targets: &mut Vec<Target>) {
    let group = Group::Reclaim;
    for row in results.group(group) {
        for peer in ["mimalloc 3", "mimalloc 2", "rpmalloc"] {
            if let Some(ratio) = row.ratio(OURS.name, peer) {
                targets.push(Target::at_most(
                    group,
                    &format!("{}, ours / {peer}", row.row),
                    ratio,
                    1.0,
                ));
            }
        }
        if let Some(ratio) = row.ratio("ours, one by one", OURS.name) {
            let what = format!("{}, one by one / finish", row.row);
            targets.push(Target::at_least(group, &what, ratio, 50.0));
        }
    }
    linear_in_pages(results, targets);
}

/// From ten thousand to a million blocks, the time per page must stay within a factor of 2.
/// If it were not linear, it would grow by up to 100.
fn linear_in_pages(results: &Results, targets: &mut Vec<Target>) {
    let rows = || results.group(Group::Reclaim);
    let per_page = |row: &Measured| -> Option<f64> {
        let cell = row.cell(OURS.name)?;
        let operations = row.row.split(' ').next()?.parse::<f64>().ok()?;
        Some(cell.figure() * operations / cell.extra("pages")?)
    };
    for kind in ["64 B, own thread", "64 B, other thread", "mix, own thread", "mix, other thread"] {
        let of = |blocks: usize| {
            rows().find(|row| row.row == format!("{blocks} blocks, {kind}")).and_then(per_page)
        };
        if let (Some(few), Some(many)) = (of(10_000), of(1_000_000)) {
            let what = format!("{kind}, time per page of a million blocks / of ten thousand");
            targets.push(Target::at_most(Group::Reclaim, &what, many / few, 2.0));
        }
    }
}

/// A life may take a microsecond, an idle expert 256 bytes, and no step may grow with the
/// number of experts.
fn experts(results: &Results, targets: &mut Vec<Target>) {
    let group = Group::Experts;
    let figure = |name: &str| results.group(group).find(|row| row.row == name)?.figure(OURS.name);
    let mut at_most = |name: &str, limit: f64| {
        if let Some(measured) = figure(name) {
            targets.push(Target::at_most(group, name, measured, limit));
        }
    };
    at_most("register, allocate a block, finish", 1000.0);
    at_most("memory of an idle expert, bytes", 256.0);
    for step in ["register", "first block", "next block", "finish", "finish the oldest"] {
        let of = |alive: usize| figure(&format!("{step}, {alive} alive"));
        if let (Some(few), Some(many)) = (of(1_000), of(100_000)) {
            // There are a hundred times as many experts, so a time that grows with their
            // number would be a hundred times longer; the processor's caches explain a
            // factor of 2.
            targets.push(Target::at_most(
                group,
                &format!("{step}, 100,000 alive / 1,000 alive"),
                many / few,
                2.0,
            ));
        }
    }
}

/// The throughput of 64 threads must be within 10 % of that of 2.
fn beyond(results: &Results, targets: &mut Vec<Target>) {
    let group = Group::Beyond;
    let of = |name: &str| results.group(group).find(|row| row.row == name)?.figure(OURS.name);
    if let (Some(two), Some(many)) = (of("2 threads"), of("64 threads")) {
        targets.push(Target::at_least(group, "throughput of 64 threads / of 2", two / many, 0.9));
    }
}

/// Work near the quota may be at most 10 % slower, and may waste little of the quota.
fn quota(results: &Results, targets: &mut Vec<Target>) {
    let group = Group::Quota;
    let of = |name: &str| results.group(group).find(|row| row.row == name)?.figure(OURS.name);
    if let (Some(without), Some(with)) =
        (of("churn without a quota, ns"), of("churn at 99 % of the quota, ns"))
    {
        targets.push(Target::at_most(
            group,
            "churn at 99 % of the quota / without",
            with / without,
            1.1,
        ));
    }
    for (name, limit) in
        [("live at refusal, quota 1 MiB", 0.9), ("live at refusal, quota 64 MiB", 0.98)]
    {
        if let Some(live) = of(name) {
            targets.push(Target::at_least(group, name, live, limit));
        }
    }
}

/// Times must be better than every peer's, and heap efficiency within 1 % of the best.
fn small(results: &Results, targets: &mut Vec<Target>) {
    let group = Group::Small;
    for row in results.group(group) {
        let Some(ratio) = ratios::to_best(row) else { continue };
        let what = format!("{}, ours / best peer", row.row);
        targets.push(if row.more_is_better() {
            Target::at_least(group, &what, ratio, 0.99)
        } else {
            Target::at_most(group, &what, ratio, 1.0)
        });
    }
}

//! The bars of the groups that no other allocator has, or has in part.

use super::Bar;
use crate::groups::Group;
use crate::peers::OURS;
use crate::plan::OWNERS;
use crate::ratios;
use crate::results::{Measured, Results};

pub fn check(results: &Results, bars: &mut Vec<Bar>) {
    attribution(results, bars);
    reclaim(results, bars);
    experts(results, bars);
    beyond(results, bars);
    quota(results, bars);
    small(results, bars);
}

/// At most 2 % slower than without experts; a plug-in's allocator at most twice a
/// handle; a pair of calls by key within 25 ns; at least 4 times faster than
/// tracking-allocator over System.
fn attribution(results: &Results, bars: &mut Vec<Bar>) {
    let group = Group::Attribution;
    for row in results.group(group) {
        for owners in OWNERS {
            for way in ["scopes", "handles"] {
                let ours = format!("{way} of {owners}");
                if let Some(ratio) = row.ratio(&ours, "ours, no experts") {
                    let what = format!("{}, {ours} / no experts", row.row);
                    bars.push(Bar::at_most(group, &what, ratio, 1.02));
                }
            }
            let (plugin, handle) =
                (format!("plug-ins of {owners}"), format!("handles of {owners}"));
            if let Some(ratio) = row.ratio(&plugin, &handle) {
                let what = format!("{}, {plugin} / {handle}", row.row);
                bars.push(Bar::at_most(group, &what, ratio, 2.0));
            }
            let keyed = format!("keys of {owners}");
            if let Some(cell) = row.cell(&keyed) {
                let what = format!("{}, {keyed}, ns", row.row);
                bars.push(Bar::at_most(group, &what, cell.figure(), 25.0));
            }
            let (tracking, ours) = (format!("tracking, {owners}"), format!("scopes of {owners}"));
            if let Some(ratio) = row.ratio(&tracking, &ours) {
                let what = format!("{}, tracking-allocator / ours, {owners} owners", row.row);
                bars.push(Bar::at_least(group, &what, ratio, 4.0));
            }
        }
    }
}

/// Ahead of the others' free-all; 50 times faster than freeing one by one;
/// linear in pages.
fn reclaim(results: &Results, bars: &mut Vec<Bar>) {
    let group = Group::Reclaim;
    for row in results.group(group) {
        for peer in ["mimalloc 3", "mimalloc 2", "rpmalloc"] {
            if let Some(ratio) = row.ratio(OURS.name, peer) {
                bars.push(Bar::at_most(group, &format!("{}, ours / {peer}", row.row), ratio, 1.0));
            }
        }
        if let Some(ratio) = row.ratio("ours, one by one", OURS.name) {
            let what = format!("{}, one by one / finish", row.row);
            bars.push(Bar::at_least(group, &what, ratio, 50.0));
        }
    }
    linear_in_pages(results, bars);
}

/// From ten thousand to a million blocks the time per page stays within a
/// factor of 2: what is not linear would grow by up to 100.
fn linear_in_pages(results: &Results, bars: &mut Vec<Bar>) {
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
            bars.push(Bar::at_most(Group::Reclaim, &what, many / few, 2.0));
        }
    }
}

/// A microsecond; 256 bytes; no step grows with the number of experts.
fn experts(results: &Results, bars: &mut Vec<Bar>) {
    let group = Group::Experts;
    let figure = |name: &str| results.group(group).find(|row| row.row == name)?.figure(OURS.name);
    let mut at_most = |name: &str, limit: f64| {
        if let Some(measured) = figure(name) {
            bars.push(Bar::at_most(group, name, measured, limit));
        }
    };
    at_most("register, allocate a block, finish", 1000.0);
    at_most("memory of an idle expert, bytes", 256.0);
    for step in ["register", "first block", "next block", "finish", "finish the oldest"] {
        let of = |alive: usize| figure(&format!("{step}, {alive} alive"));
        if let (Some(few), Some(many)) = (of(1_000), of(100_000)) {
            // A hundred times as many: what grows with their number would be
            // a hundred times slower; a factor of 2 is the caches'.
            bars.push(Bar::at_most(
                group,
                &format!("{step}, 100,000 alive / 1,000 alive"),
                many / few,
                2.0,
            ));
        }
    }
}

/// 64 threads within 10 % of 2.
fn beyond(results: &Results, bars: &mut Vec<Bar>) {
    let group = Group::Beyond;
    let of = |name: &str| results.group(group).find(|row| row.row == name)?.figure(OURS.name);
    if let (Some(two), Some(many)) = (of("2 threads"), of("64 threads")) {
        bars.push(Bar::at_least(group, "throughput of 64 threads / of 2", two / many, 0.9));
    }
}

/// At most 10 % slower near the quota; little of it wasted.
fn quota(results: &Results, bars: &mut Vec<Bar>) {
    let group = Group::Quota;
    let of = |name: &str| results.group(group).find(|row| row.row == name)?.figure(OURS.name);
    if let (Some(without), Some(with)) =
        (of("churn without a quota, ns"), of("churn at 99 % of the quota, ns"))
    {
        bars.push(Bar::at_most(group, "churn at 99 % of the quota / without", with / without, 1.1));
    }
    for (name, limit) in
        [("live at refusal, quota 1 MiB", 0.9), ("live at refusal, quota 64 MiB", 0.98)]
    {
        if let Some(live) = of(name) {
            bars.push(Bar::at_least(group, name, live, limit));
        }
    }
}

/// Ahead of every peer; heap efficiency within 1 % of the best.
fn small(results: &Results, bars: &mut Vec<Bar>) {
    let group = Group::Small;
    for row in results.group(group) {
        let Some(ratio) = ratios::to_best(row) else { continue };
        let what = format!("{}, ours / best peer", row.row);
        bars.push(if row.more_is_better() {
            Bar::at_least(group, &what, ratio, 0.99)
        } else {
            Bar::at_most(group, &what, ratio, 1.0)
        });
    }
}

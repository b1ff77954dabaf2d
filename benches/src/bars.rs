//! The bars: what must hold of our own figures.

mod experts;

use crate::groups::Group;
use crate::peers::OURS;
use crate::ratios;
use crate::results::Results;
use crate::tables;

/// A bar, and what was measured against it.
pub struct Bar {
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

impl Bar {
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

/// All bars of the rows that ran.
pub fn check(results: &Results) -> Vec<Bar> {
    let mut bars = Vec::new();
    global(results, Group::Single, &mut bars);
    global(results, Group::Threads, &mut bars);
    memory(results, &mut bars);
    instructions(results, &mut bars);
    experts::check(results, &mut bars);
    global(results, Group::Programs, &mut bars);
    bars
}

/// Prints the bars that were missed, and how many were met.
pub fn print(bars: &[Bar]) {
    if bars.is_empty() {
        println!("No bars: expert-alloc was not among the allocators.");
        return;
    }
    let missed: Vec<_> = bars.iter().filter(|bar| !bar.is_met()).collect();
    println!("{} of {} bars met.", bars.len() - missed.len(), bars.len());
    for bar in missed {
        let (word, limit) = match bar.limit {
            Limit::AtMost(limit) => ("at most", limit),
            Limit::AtLeast(limit) => ("at least", limit),
        };
        let (measured, limit) = (tables::significant(bar.measured), tables::significant(limit));
        println!("MISSED {}: {}: {measured}, {word} {limit}", bar.group, bar.what);
    }
}

/// Each row at least as fast as the best peer; geometric mean 10 % ahead.
fn global(results: &Results, group: Group, bars: &mut Vec<Bar>) {
    let mut logarithms = Vec::new();
    for row in results.group(group) {
        if let Some(ratio) = ratios::to_best(row) {
            logarithms.push(ratio.ln());
            bars.push(Bar {
                group: group.name(),
                what: format!("{}, ours / best peer", row.row),
                measured: ratio,
                limit: Limit::AtMost(1.0),
            });
        }
    }
    if !logarithms.is_empty() {
        bars.push(Bar {
            group: group.name(),
            what: "geometric mean of ours / best peer".to_owned(),
            measured: (logarithms.iter().sum::<f64>() / logarithms.len() as f64).exp(),
            limit: Limit::AtMost(0.9),
        });
    }
}

/// Peak within 5 % of the smallest; little held in the end.
fn memory(results: &Results, bars: &mut Vec<Bar>) {
    for row in results.group(Group::Single).chain(results.group(Group::Threads)) {
        let Some(ours) = row.cell(OURS.name) else { continue };
        if let Some(ratio) = ratios::to_smallest(row, |sample| sample.peak_bytes) {
            bars.push(Bar {
                group: "Memory",
                what: format!("{}, peak / smallest of mimalloc, jemalloc, snmalloc", row.row),
                measured: ratio,
                limit: Limit::AtMost(1.05),
            });
        }
        bars.push(Bar {
            group: "Memory",
            what: format!("{}, MiB held", row.row),
            measured: ours.median(|sample| sample.held_bytes) / f64::from(1 << 20),
            limit: Limit::AtMost(2.0),
        });
    }
}

/// 36 instructions for alloc + free of 64 bytes.
fn instructions(results: &Results, bars: &mut Vec<Bar>) {
    let group = Group::Instructions;
    for row in results.group(group) {
        if let Some(count) = row.figure(OURS.name) {
            bars.push(Bar::at_most(group, &row.row, count, 36.0));
        }
    }
}

//! The rows of small systems: allocators over a fixed region.

use super::Plan;
use crate::groups::{Group, How, Job, Row};
use crate::peers::OURS;
use crate::workers::Worker;

/// The allocators, ours first.
pub const SMALL: [&str; 7] = [
    "ExpertHeap",
    "talc",
    "rlsf",
    "embedded-alloc (TLSF)",
    "embedded-alloc (LLFF)",
    "linked_list_allocator",
    "buddy_system_allocator",
];

impl Plan<'_> {
    pub(super) fn small(&self) -> Vec<Row> {
        let ours = self.has(OURS);
        let worker = Worker::on("glibc").with(if ours { "small-expert" } else { "small" });
        let skipped = usize::from(!ours);
        let row = |name: &str, unit, words: &[&str], figure: Option<&'static str>| {
            let jobs = SMALL[skipped..].iter().enumerate().map(|(number, column)| {
                let mut job = Job::timed(column, worker.clone(), words);
                job.arguments.push(format!("peer={number}"));
                job.how = figure.map_or(How::Timed, How::Noted);
                job
            });
            Row::new(Group::Small, name, unit, jobs)
        };
        let actions = |name: &str, largest: usize| {
            row(name, "ns", &["random actions", &format!("largest={largest}")], None)
        };
        let efficiency = |name: &str, region: usize, largest: usize, more: &[&str]| {
            let words = [&format!("region={region}"), &format!("largest={largest}")];
            let words = [&["heap efficiency", words[0], words[1]], more].concat();
            row(name, "of the region", &words, Some("efficiency"))
        };
        let seldom = ["resizes=1", "times=1"];
        vec![
            actions("random actions, blocks to 200 B, ns", 200),
            actions("random actions, blocks to 1,000 B, ns", 1_000),
            actions("random actions, blocks to 3,000 B, ns", 3_000),
            actions("random actions, blocks to 10,000 B, ns", 10_000),
            actions("random actions, blocks to 30,000 B, ns", 30_000),
            efficiency("heap efficiency, 128 MiB, blocks to 10,000 B", 128 << 20, 10_000, &[]),
            efficiency("heap efficiency, 1 MiB, blocks to 1,000 B", 1 << 20, 1_000, &[]),
            efficiency("heap efficiency, 16 KiB, blocks to 200 B", 16 << 10, 200, &[]),
            efficiency("heap efficiency, 16 KiB, blocks seldom resized", 16 << 10, 200, &seldom),
            row(
                "longest operation, instructions",
                "instructions",
                &["longest operation"],
                Some("instructions"),
            ),
        ]
    }
}

//! The rows with many small owners: turns, requests, lives, queries, and the memory of an
//! owner.

use super::Plan;
use crate::groups::{Group, How, Job, Row};
use crate::peers::{GLIBC, OURS, Peer, TRACKING, TRACKING_MIMALLOC};
use crate::workers::Worker;

/// Owners, and allocations in each turn.
pub const TURNS: [(usize, usize); 8] = [
    (1, 100),
    (10, 100),
    (1_000, 100),
    (10_000, 100),
    (1, 10),
    (10, 10),
    (1_000, 10),
    (10_000, 10),
];

/// The ones that the targets need.
const FEW_TURNS: [(usize, usize); 4] = [(1, 100), (10, 100), (1_000, 100), (10_000, 10)];

/// Workloads in turns, with the operations of a run; all owners have had their turns
/// before.
const IN_TURNS: [(&str, &str); 6] = [
    ("pair", "operations=4000000"),
    ("LIFO batch", "operations=3000000"),
    ("shuffled batch", "operations=2000000"),
    ("churn 10k", "operations=2000000"),
    ("churn 300k", "operations=1000000"),
    ("maps of strings", "rounds=6"),
];

/// Workloads whose turns have no fixed length, with their arguments, the fewest rounds, and
/// the turns in each.
const IN_STEPS: [(&str, &[&str], usize, usize); 2] =
    [("JSON", &["records=4"], 8_000, 2), ("regex compile", &[], 400, 6)];

/// Numbers of owners that serve requests.
pub const SERVING: [usize; 5] = [1, 10, 1_000, 10_000, 100_000];

/// Threads that each take a block of every owner.
pub const ON_THREADS: [usize; 2] = [1, 4];

/// Rows that a query scans.
pub const QUERIED: [usize; 2] = [40, 400];

/// The same work on our allocator, without owners.
pub const WITHOUT: &str = "ours, no experts";

/// glibc, which has no owners.
const GLIBC_WITHOUT: &str = "glibc, no owners";

/// The name of a row in turns.
pub fn in_turns(workload: &str, owners: usize, turn: usize) -> String {
    format!("{workload}, {}, turns of {turn}", counted(owners, "owner"))
}

/// The name of a row whose turns have no length of their own.
pub fn in_steps(workload: &str, owners: usize) -> String {
    format!("{workload}, {}", counted(owners, "owner"))
}

/// A number of things.
pub fn counted(number: usize, thing: &str) -> String {
    format!("{number} {thing}{}", if number == 1 { "" } else { "s" })
}

/// The name of a row of memory.
pub fn bytes_of(what: &str) -> String {
    format!("{what}, bytes resident")
}

const TIME: &str = "ns per operation";

impl Plan<'_> {
    /// The rows, compared with tracking-allocator over the system's allocator
    /// and over mimalloc, and with glibc without owners.
    pub(super) fn small_owners(&self) -> Vec<Row> {
        let mut rows = Vec::new();
        let turns = if self.quick { &FEW_TURNS[..] } else { &TURNS };
        for (workload, operations) in IN_TURNS {
            for &(owners, turn) in turns {
                let words = [&format!("experts={owners}"), &format!("turn={turn}"), operations];
                let name = in_turns(workload, owners, turn);
                rows.push(self.switching(workload, &name, &words));
            }
        }
        let steps: &[usize] = if self.quick { &[1, 10, 1_000] } else { &[1, 10, 1_000, 10_000] };
        for (workload, arguments, fewest, turns) in IN_STEPS {
            for &owners in steps {
                // Every owner has a turn.
                let rounds = format!("rounds={}", fewest.max(owners.div_ceil(turns)));
                let owned = format!("experts={owners}");
                let words = [&[owned.as_str(), rounds.as_str()], arguments].concat();
                rows.push(self.switching(workload, &in_steps(workload, owners), &words));
            }
        }
        rows.extend(self.requests());
        rows.extend(self.per_owner());
        rows.extend(self.lives());
        rows.extend(self.queries());
        rows
    }

    /// A one-thread workload, owners switched by scopes.
    fn switching(&self, workload: &str, name: &str, words: &[&str]) -> Row {
        let scopes = format!("{workload}, Scopes");
        let words = [&[scopes.as_str(), "warm=1"], words].concat();
        Row::new(Group::SmallOwners, name, TIME, self.owning(&words)).in_set(workload)
    }

    /// A column for each allocator with owners, and for glibc without.
    fn owning(&self, words: &[&str]) -> Vec<Job> {
        let columns: [(Peer, &str); 4] = [
            (OURS, OURS.name),
            (TRACKING, TRACKING.name),
            (TRACKING_MIMALLOC, TRACKING_MIMALLOC.name),
            (GLIBC, GLIBC_WITHOUT),
        ];
        let present = columns.into_iter().filter(|&(peer, _)| self.has(peer));
        present.map(|(peer, column)| Job::timed(column, Worker::on(peer.feature), words)).collect()
    }

    /// The same columns, and our own without owners.
    fn owning_or_not(&self, words: &[&str]) -> Vec<Job> {
        let mut jobs = self.owning(words);
        if self.has(OURS) {
            let without = [words, &["without=1"]].concat();
            jobs.insert(1, Job::timed(WITHOUT, Worker::on(OURS.feature), &without));
        }
        jobs
    }

    fn requests(&self) -> Vec<Row> {
        let serving = SERVING.into_iter().filter(|&owners| !self.quick || owners <= 10_000);
        let row = |owners: usize| {
            let requests = (10 * owners).max(100_000);
            let words = ["request", &format!("owners={owners}"), &format!("requests={requests}")];
            let name = in_steps("request", owners);
            let row = Row::new(Group::SmallOwners, &name, TIME, self.owning(&words));
            let row = row.in_set("request");
            // With few owners, tables of the process itself are most of the memory.
            if owners < 1_000 {
                return row;
            }
            row.and(&bytes_of(&name), "bytes per owner", "bytes_per_owner")
        };
        serving.map(row).collect()
    }

    fn per_owner(&self) -> Vec<Row> {
        let owners = if self.quick { 10_000 } else { 50_000 };
        let one = |threads: usize| {
            let words = ["one block", &format!("owners={owners}"), &format!("threads={threads}")];
            let name = one_block(threads);
            let mut jobs = self.owning(&words);
            for job in &mut jobs {
                job.how = How::Noted("bytes_per_owner");
            }
            Row::new(Group::SmallOwners, &name, "bytes per owner", jobs).and(
                &format!("{name}, left after the end"),
                "bytes in all",
                "left_bytes",
            )
        };
        let words = ["survivors", &format!("owners={owners}")];
        let left = "survivors of 64 bytes";
        let survivors = Row::new(Group::SmallOwners, left, TIME, self.owning_or_not(&words));
        let survivors = survivors.and(&bytes_of(left), "bytes per block", "bytes_per_owner");
        ON_THREADS.into_iter().map(one).chain([survivors]).collect()
    }

    fn lives(&self) -> Vec<Row> {
        let row = |alive: usize| {
            let words = ["whole life", &format!("alive={alive}")];
            let name = whole_life(alive);
            Row::new(Group::SmallOwners, &name, "ns per life", self.owning(&words))
        };
        [0, 1_000].map(row).into()
    }

    fn queries(&self) -> Vec<Row> {
        let row = |rows: usize| {
            let queries = if self.quick && rows > 40 { 1_000 } else { 5_000 };
            let words = ["queries", &format!("queries={queries}"), &format!("rows={rows}")];
            let name = query(rows);
            let row =
                Row::new(Group::SmallOwners, &name, "ns per query", self.owning_or_not(&words));
            row.and(&bytes_of(&name), "bytes per query", "bytes_per_query")
        };
        QUERIED.map(row).into()
    }
}

/// The name of the row in which every owner has a block.
pub fn one_block(threads: usize) -> String {
    format!("one block of 16 bytes per owner, {}", counted(threads, "thread"))
}

/// The name of the row of lives.
pub fn whole_life(alive: usize) -> String {
    format!("whole life, {alive} others alive")
}

/// The name of the row of queries.
pub fn query(rows: usize) -> String {
    format!("query of {rows} rows, three owners each")
}

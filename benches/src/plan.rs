//! The rows of each group, and the allocators that run them.

pub mod giving_back;
pub mod small_owners;
mod small_systems;

use crate::before::BEFORE;
use crate::groups::{Group, How, Job, Row};
use crate::instructions;
use crate::peers::{MIMALLOC_3, OURS, Peer, Role, TRACKING};
use crate::results::Results;
use crate::workers::Worker;
pub use small_systems::SMALL;

/// Plans rows for the peers that were chosen.
pub struct Plan<'p> {
    pub peers: &'p [Peer],
    pub quick: bool,
}

const SINGLE: [&str; 10] = [
    "pair",
    "LIFO batch",
    "shuffled batch",
    "churn 10k",
    "churn 300k",
    "growing vectors",
    "maps of strings",
    "JSON",
    "regex compile",
    "large blocks",
];

const THREADS: [&str; 4] = ["Larson", "producer-consumer", "threads come and go", "false sharing"];

/// One-thread rows that switch owners, and their other arguments.
const ATTRIBUTED: [(&str, &[&str]); 9] = [
    ("pair", &[]),
    ("LIFO batch", &[]),
    ("shuffled batch", &[]),
    ("churn 10k", &[]),
    ("churn 300k", &[]),
    ("growing vectors", &[]),
    ("maps of strings", &[]),
    ("JSON", &["records=4", "rounds=8000"]),
    ("regex compile", &[]),
];

/// Rows that explicit handles run as well.
const WITH_HANDLES: usize = 5;

/// Numbers of owners that take turns.
pub const OWNERS: [usize; 3] = [1, 10, 1000];

/// Numbers of blocks to reclaim at once.
pub const BLOCKS: [usize; 4] = [1_000, 10_000, 100_000, 1_000_000];

/// Numbers of experts alive.
pub const ALIVE: [usize; 5] = [10, 100, 1_000, 10_000, 100_000];

/// Numbers of threads.
pub const THREADS_TO_64: [usize; 7] = [1, 2, 4, 8, 16, 32, 64];

pub const PROGRAMS: [(&str, &str); 5] = [
    ("script", "boa_engine: JavaScript"),
    ("sql", "GlueSQL: SQL in memory"),
    ("compiler", "naga: WGSL to SPIR-V"),
    ("search", "tantivy: index and search"),
    ("web", "tiny_http: a server under load"),
];

impl Plan<'_> {
    /// The rows of `group`.
    pub fn rows(&self, group: Group) -> Vec<Row> {
        let mut rows = match group {
            Group::Single => self.global(group, &SINGLE),
            Group::Threads => self.global(group, &THREADS),
            Group::Instructions => instructions::rows(self.peers),
            Group::Attribution => self.attribution(),
            Group::SmallOwners => self.small_owners(),
            Group::GivingBack => self.giving_back(),
            Group::Reclaim => self.reclaim(),
            Group::Experts => self.experts(),
            Group::Beyond => self.beyond(),
            Group::Quota => self.quota(),
            Group::Small => self.small(),
            Group::Scaling => self.scaling(),
            Group::Programs => self.programs(),
        };
        rows.retain(|row| !row.jobs.is_empty());
        rows
    }

    /// Reduces `results` to the rows and columns of these peers.
    pub fn retain(&self, results: &mut Results) {
        for row in &mut results.rows {
            let rows = self.rows(row.group);
            let planned =
                rows.into_iter().find(|planned| planned.names().any(|name| name == row.row));
            let jobs = planned.map(|planned| planned.jobs).unwrap_or_default();
            row.cells.retain(|cell| {
                let column = cell.column.strip_suffix(BEFORE).unwrap_or(&cell.column);
                jobs.iter().any(|job| job.column == column)
            });
        }
        results.rows.retain(|row| !row.cells.is_empty());
    }

    fn has(&self, peer: Peer) -> bool {
        self.peers.contains(&peer)
    }

    /// Rows that every global allocator runs, and tracking-allocator beside
    /// them.
    fn global(&self, group: Group, names: &[&str]) -> Vec<Row> {
        let columns = || self.peers.iter().filter(|&&peer| peer.is_global() || peer == TRACKING);
        let job =
            |peer: &Peer, name: &str| Job::timed(peer.name, Worker::on(peer.feature), &[name]);
        let row = |name: &&str| {
            Row::new(group, name, "ns per operation", columns().map(|peer| job(peer, name)))
        };
        names.iter().map(row).collect()
    }

    /// The same work without owners, with 1, 10 and 1,000 owners in turn, and through
    /// handles.
    fn attribution(&self) -> Vec<Row> {
        let owners = if self.quick { &OWNERS[1..] } else { &OWNERS };
        let row = |(index, &(name, arguments)): (usize, &(&str, &'static [&'static str]))| {
            let mut jobs = Vec::new();
            let mut add = |column: String, peer: Peer, row: String, experts: usize| {
                if self.has(peer) {
                    let mut job = Job::timed(&column, Worker::on(peer.feature), &[&row]);
                    job.arguments.push(format!("experts={experts}"));
                    job.arguments.extend(arguments.iter().map(|&word| word.to_owned()));
                    jobs.push(job);
                }
            };
            let scopes = format!("{name}, Scopes");
            add("ours, no experts".to_owned(), OURS, scopes.clone(), 0);
            for &owners in owners {
                add(format!("scopes of {owners}"), OURS, scopes.clone(), owners);
                if index < WITH_HANDLES {
                    add(format!("handles of {owners}"), OURS, format!("{name}, Handles"), owners);
                }
                if name == "pair" {
                    add(format!("plug-ins of {owners}"), OURS, format!("{name}, Lent"), owners);
                    add(format!("keys of {owners}"), OURS, format!("{name}, Keyed"), owners);
                }
            }
            for &owners in owners {
                add(format!("tracking, {owners}"), TRACKING, scopes.clone(), owners);
            }
            for &peer in self
                .peers
                .iter()
                .filter(|peer| peer.role == Role::Attribution && **peer != TRACKING)
            {
                if peer.feature == "tracking-mimalloc" {
                    add(format!("{}, 10", peer.name), peer, scopes.clone(), 10);
                } else {
                    add(peer.name.to_owned(), peer, name.to_owned(), 0);
                }
            }
            Row::new(Group::Attribution, name, "ns per operation", jobs)
        };
        ATTRIBUTED.iter().enumerate().map(row).collect()
    }

    /// Owners whose blocks can all be freed at once, as column, worker and row.
    fn bulk(&self) -> Vec<(&'static str, Worker, &'static str)> {
        let mut columns = Vec::new();
        for peer in self.peers {
            match peer.feature {
                "expert" => {
                    columns.push((OURS.name, Worker::on("expert"), "free all"));
                    columns.push(("ours, one by one", Worker::on("expert"), "free one by one"));
                }
                "mimalloc3" | "mimalloc2" => {
                    columns.push((peer.name, Worker::on(peer.feature), "free all"))
                }
                "rpmalloc" => columns.push((peer.name, rpmalloc_heaps(), "free all")),
                "glibc" => {
                    let arenas = Worker::on("glibc").with("arenas");
                    columns.push(("bumpalo", arenas.clone(), "free all, bumpalo"));
                    columns.push(("bump-scope", arenas, "free all, bump-scope"));
                }
                _ => {}
            }
        }
        columns
    }

    fn reclaim(&self) -> Vec<Row> {
        let mut rows = Vec::new();
        let few = BLOCKS
            .into_iter()
            .filter(|&blocks| !self.quick || blocks == 10_000 || blocks == 1_000_000);
        for blocks in few {
            for (size, sizes) in [(64, "64 B"), (0, "mix")] {
                for (other, thread) in [(0, "own thread"), (1, "other thread")] {
                    let arguments = [
                        format!("blocks={blocks}"),
                        format!("size={size}"),
                        format!("other={other}"),
                    ];
                    // A heap of mimalloc 2 belongs to its thread.
                    let columns = self
                        .bulk()
                        .into_iter()
                        .filter(|column| other == 0 || column.0 != "mimalloc 2");
                    let job = |(column, worker, row): (&str, Worker, &'static str)| {
                        let mut job = Job::timed(column, worker, &[row]);
                        job.arguments.extend(arguments.iter().cloned());
                        job
                    };
                    let name = format!("{blocks} blocks, {sizes}, {thread}");
                    rows.push(Row::new(Group::Reclaim, &name, "ns per block", columns.map(job)));
                }
            }
        }
        rows
    }

    fn ours(
        &self,
        group: Group,
        name: &str,
        unit: &'static str,
        words: &[&str],
        figure: Option<&'static str>,
    ) -> Row {
        let mut job = Job::timed(OURS.name, Worker::on(OURS.feature), words);
        if let Some(figure) = figure {
            job.how = How::Noted(figure);
        }
        Row::new(group, name, unit, self.has(OURS).then_some(job))
    }

    fn experts(&self) -> Vec<Row> {
        let group = Group::Experts;
        let mut rows =
            vec![self.ours(group, "register, allocate a block, finish", "ns", &["expert"], None)];
        let steps = [
            ("register", "register_ns"),
            ("first block", "first_block_ns"),
            ("next block", "next_block_ns"),
            ("finish", "finish_ns"),
            ("finish the oldest", "finish_oldest_ns"),
        ];
        for (step, figure) in steps {
            for alive in [1_000, 100_000] {
                let name = format!("{step}, {alive} alive");
                rows.push(self.ours(
                    group,
                    &name,
                    "ns",
                    &["alive", &format!("experts={alive}")],
                    Some(figure),
                ));
            }
        }
        let words = ["alive", "experts=100000", "blocks=0"];
        rows.push(self.ours(
            group,
            "memory of an idle expert, bytes",
            "bytes",
            &words,
            Some("idle_bytes"),
        ));
        rows
    }

    fn beyond(&self) -> Vec<Row> {
        let row = |threads: usize| {
            let name = format!("{threads} threads");
            let words = ["many threads", &format!("threads={threads}")];
            let global = self.peers.iter().filter(|peer| peer.is_global());
            let jobs = global.map(|peer| Job::timed(peer.name, Worker::on(peer.feature), &words));
            Row::new(Group::Beyond, &name, "ns per operation", jobs)
        };
        [2, 64].map(row).into()
    }

    fn quota(&self) -> Vec<Row> {
        let group = Group::Quota;
        let live = |name: &str, quota: usize, figure| {
            self.ours(
                group,
                name,
                "of the quota",
                &["refusal", &format!("quota={quota}")],
                Some(figure),
            )
        };
        vec![
            self.ours(group, "churn without a quota, ns", "ns", &["quota churn", "quota=0"], None),
            self.ours(
                group,
                "churn at 99 % of the quota, ns",
                "ns",
                &["quota churn", "quota=1"],
                None,
            ),
            live("live at refusal, quota 1 MiB", 1 << 20, "live"),
            live("live at refusal, quota 64 MiB", 64 << 20, "live"),
            live("live at refusal after churn, quota 1 MiB", 1 << 20, "live_after_churn"),
            live("live at refusal after churn, quota 64 MiB", 64 << 20, "live_after_churn"),
        ]
    }

    fn scaling(&self) -> Vec<Row> {
        let group = Group::Scaling;
        let mut rows = Vec::new();
        for blocks in BLOCKS.into_iter().chain([3_000, 30_000, 300_000]) {
            for size in [64, 512, 4096] {
                if blocks * size > 1 << 30 {
                    continue;
                }
                let words = ["free all", &format!("blocks={blocks}"), &format!("size={size}")];
                let name = format!("finish, {blocks} blocks of {size} B");
                rows.push(self.ours(group, &name, "ns per block", &words, None));
            }
        }
        for alive in ALIVE {
            for figure in ["register_ns", "first_block_ns", "finish_ns", "finish_oldest_ns"] {
                let name = format!("{figure}, {alive} alive");
                rows.push(self.ours(
                    group,
                    &name,
                    "ns",
                    &["alive", &format!("experts={alive}")],
                    Some(figure),
                ));
            }
        }
        for threads in THREADS_TO_64 {
            let words = ["many threads", &format!("threads={threads}")];
            let chosen = self.peers.iter().filter(|&&peer| peer == OURS || peer == MIMALLOC_3);
            let jobs = chosen.map(|peer| Job::timed(peer.name, Worker::on(peer.feature), &words));
            rows.push(Row::new(
                group,
                &format!("throughput, {threads} threads"),
                "ns per operation",
                jobs,
            ));
        }
        rows
    }

    fn programs(&self) -> Vec<Row> {
        let row = |&(word, name): &(&str, &str)| {
            let peers = self.peers.iter().filter(|&&peer| peer.is_global() || peer == TRACKING);
            let job = |peer: &Peer| {
                let worker = Worker { package: "bench-programs", ..Worker::on(peer.feature) };
                Job { how: How::Timed, ..Job::timed(peer.name, worker, &[word]) }
            };
            Row::new(Group::Programs, name, "ns per unit of work", peers.map(job))
        };
        PROGRAMS.iter().map(row).collect()
    }
}

/// The worker with the C library that has heaps.
fn rpmalloc_heaps() -> Worker {
    Worker { c_flags: "-DRPMALLOC_FIRST_CLASS_HEAPS=1", ..Worker::on("rpmalloc-heaps") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peers::{GLIBC, TRACKING};
    use crate::results::{Cell, Measured};

    /// The columns of a row that is left when some are taken out.
    fn left(peers: &[Peer], group: Group, row: &str, columns: &[&str]) -> Vec<String> {
        let cell = |&column: &&str| Cell { column: column.to_owned(), samples: Vec::new() };
        let cells = columns.iter().map(cell).collect();
        let row = Measured { group, row: row.to_owned(), unit: "ns".to_owned(), cells };
        let mut results = Results { rows: vec![row], ..Results::default() };
        Plan { peers, quick: false }.retain(&mut results);
        let cells = results.rows.into_iter().flat_map(|row| row.cells);
        cells.map(|cell| cell.column).collect()
    }

    #[test]
    fn columns_belong_to_the_peers_that_run_them() {
        let row = "1000 blocks, mix, own thread";
        let columns = ["expert-alloc", "ours, one by one", "bumpalo", "mimalloc 3"];
        assert_eq!(left(&[OURS], Group::Reclaim, row, &columns), columns[..2]);
        assert_eq!(left(&[GLIBC, MIMALLOC_3], Group::Reclaim, row, &columns), columns[2..]);
        let columns = ["ours, no experts", "scopes of 10", "tracking, 10", "cap"];
        assert_eq!(left(&[OURS], Group::Attribution, "pair", &columns), columns[..2]);
        let columns = ["expert-alloc", "expert-alloc, before", "glibc"];
        assert_eq!(left(&[OURS], Group::Single, "pair", &columns), columns[..2]);
        let columns = ["ours, no experts", "scopes of 10", "tracking, 10", "cap"];
        assert_eq!(left(&[TRACKING], Group::Attribution, "pair", &columns), columns[2..3]);
    }

    #[test]
    fn rows_without_columns_go() {
        assert!(left(&[GLIBC], Group::Single, "pair", &["expert-alloc"]).is_empty());
    }
}

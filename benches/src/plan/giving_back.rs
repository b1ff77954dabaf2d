//! The rows about freed memory: how much of it a process keeps, over time.

use super::Plan;
use super::small_owners::counted;
use crate::groups::{Group, How, Job, Row};
use crate::peers::OURS;
use crate::workers::Worker;

/// Numbers of threads of a burst, and whether they end or sleep when everything is freed.
pub const BURSTS: [(usize, &str); 5] =
    [(1, "end"), (4, "end"), (8, "end"), (4, "sleep"), (8, "sleep")];

/// Percentages of a server's blocks that other threads free.
pub const FOREIGN: [usize; 3] = [0, 1, 25];

/// Numbers of owners while the process forks.
pub const FORKING: [usize; 3] = [10, 10_000, 100_000];

/// The moments at which memory is read after the work: the name in rows, and the figure.
const LOOKS: [(&str, &str); 4] = [
    ("0 s", "at_0_s"),
    ("2 s", "at_2_s"),
    ("5 s", "at_5_s"),
    ("after a purge by the main thread", "purged"),
];

/// The name of a row of a burst.
pub fn burst(threads: usize, then: &str, when: &str) -> String {
    let then = if threads == 1 { format!("{then}s") } else { then.to_owned() };
    format!("burst, {} that {then}, {when}", counted(threads, "thread"))
}

/// The name of a row of the bursty server.
pub fn server(foreign: usize, what: &str) -> String {
    format!("bursty server, {foreign} % freed by others, {what}")
}

/// The name of a row of forks.
pub fn fork(owners: usize, what: &str) -> String {
    format!("fork, {owners} experts {what}")
}

/// The rows whose course over time is drawn, each with the title of its plot.
pub fn drawn() -> [(&'static str, String, &'static str); 2] {
    [
        (
            "giving-back.svg",
            burst(8, "sleep", LOOKS[0].0),
            "Resident memory after 8 threads have freed all they had, and sleep",
        ),
        (
            "bursty-server.svg",
            server(25, "peak"),
            "Resident memory of a bursty server, a quarter freed by other threads",
        ),
    ]
}

const UNIT: &str = "MiB above the start";

impl Plan<'_> {
    pub(super) fn giving_back(&self) -> Vec<Row> {
        let mut rows = Vec::new();
        let few = |&(threads, then): &(usize, &str)| {
            !self.quick || matches!((threads, then), (1, "end") | (4, "sleep") | (8, "sleep"))
        };
        for (threads, then) in BURSTS.into_iter().filter(few) {
            let mib = if self.quick { 100 } else { 300 };
            let words = [
                "burst",
                self.seconds(),
                &format!("threads={threads}"),
                &format!("mib={mib}"),
                &format!("asleep={}", u8::from(then == "sleep")),
            ];
            rows.push(self.looked_at(&words, |when| burst(threads, then, when)));
        }
        for foreign in FOREIGN {
            let low = if self.quick { 40 } else { 200 };
            let words = [
                "bursty server",
                self.seconds(),
                &format!("low={low}"),
                &format!("foreign={foreign}"),
            ];
            let jobs = self.globals(&words, "peak");
            let row = Row::new(Group::GivingBack, &server(foreign, "peak"), UNIT, jobs);
            rows.push(
                row.and(&server(foreign, "most after a round"), UNIT, "largest_after")
                    .and(&server(foreign, "after the last round"), UNIT, "after_10")
                    .and(&server(foreign, "2 s after the last round"), UNIT, "at_2_s"),
            );
        }
        let mib = if self.quick { 25 } else { 100 };
        let words = ["one size after another", "seconds=2", &format!("mib={mib}")];
        let jobs = self.globals(&words, "largest");
        let name = |what: &str| format!("producer and consumer over sizes, {what}");
        let row = Row::new(Group::GivingBack, &name("most"), UNIT, jobs);
        rows.push(
            row.and(&name("at the end"), UNIT, "at_0_s")
                .and(&name("2 s later"), UNIT, "at_2_s")
                .and(&name("after a purge by the consumer"), UNIT, "purged"),
        );
        let owners = if self.quick { 1_000 } else { 5_000 };
        let words = ["after owners", self.seconds(), &format!("owners={owners}")];
        rows.push(self.looked_at(&words, after_owners));
        rows.extend(self.forks());
        rows
    }

    /// All global allocators, with a figure that the runs note.
    fn globals(&self, words: &[&str], figure: &'static str) -> Vec<Job> {
        let global = self.peers.iter().filter(|peer| peer.is_global());
        let job = |peer: &crate::peers::Peer| Job {
            how: How::Noted(figure),
            ..Job::timed(peer.name, Worker::on(peer.feature), words)
        };
        global.map(job).collect()
    }

    /// A row for each moment at which memory is read.
    fn looked_at(&self, words: &[&str], name: impl Fn(&str) -> String) -> Row {
        let [(first, figure), others @ ..] = LOOKS;
        let row = Row::new(Group::GivingBack, &name(first), UNIT, self.globals(words, figure));
        let others = others.iter().filter(|look| !self.quick || look.1 != "at_5_s");
        others.fold(row, |row, &(when, figure)| row.and(&name(when), UNIT, figure))
    }

    /// The time between the work and the moment at which memory is read.
    fn seconds(&self) -> &'static str {
        if self.quick { "seconds=2" } else { "seconds=5" }
    }

    /// Our own column alone, because the others have no experts.
    fn forks(&self) -> Vec<Row> {
        let unit = "microseconds";
        let row = |owners: usize| {
            let words = ["fork", &format!("owners={owners}")];
            let name = |what: &str| fork(owners, what);
            let row =
                self.ours(Group::GivingBack, &name("to come"), unit, &words, Some("before_us"));
            row.and(&name("alive"), unit, "alive_us").and(&name("ended"), unit, "ended_us")
        };
        let few = FORKING.into_iter().filter(|&owners| !self.quick || owners <= 10_000);
        few.filter(|_| self.has(OURS)).map(row).collect()
    }
}

/// The name of a row about owners that have ended.
pub fn after_owners(when: &str) -> String {
    format!("after thousands of owners, {when}")
}

//! Counts of instructions under `valgrind --tool=callgrind`. They do not vary, so they show
//! differences that are smaller than the noise of times.

use std::process::Command;

use crate::groups::{Group, How, Job, Row};
use crate::peers::Peer;
use crate::results::Sample;
use crate::workers::Worker;

/// Pairs in the short run. The long run has twice as many, and the difference is their cost
/// without the start of the program.
const PAIRS: u64 = 50_000;

pub fn rows(peers: &[Peer]) -> Vec<Row> {
    let jobs = peers.iter().filter(|peer| peer.is_global());
    let job = |peer: &Peer| Job {
        how: How::Counted,
        ..Job::timed(peer.name, Worker::on(peer.feature), &[])
    };
    let row =
        |name: &str, jobs: Vec<Job>| Row::new(Group::Instructions, name, "instructions", jobs);
    let stepped = |peer: &Peer| Job {
        how: How::Noted("instructions"),
        ..Job::timed(peer.name, Worker::on(peer.feature), &["stepped pair"])
    };
    vec![
        row("alloc + free of 64 bytes", jobs.clone().map(job).collect()),
        row("alloc + free of 64 bytes, single steps", jobs.map(stepped).collect()),
    ]
}

/// Instructions per pair, beyond those of the loop without one. Not a number
/// where the allocator does not start under valgrind (snmalloc).
pub fn count(job: &Job) -> Sample {
    let per_turn = |row: &str| -> Result<f64, String> {
        let once = collected(job, row, PAIRS)?;
        let twice = collected(job, row, 2 * PAIRS)?;
        Ok((twice as f64 - once as f64) / PAIRS as f64)
    };
    let count = per_turn("counted pair").and_then(|pair| Ok(pair - per_turn("counted loop")?));
    Sample::only(count.ok())
}

/// The instructions of a whole run.
fn collected(job: &Job, row: &str, rounds: u64) -> Result<u64, String> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(job.worker.path())
        .args([row, &format!("rounds={rounds}")])
        .output()
        .map_err(|error| format!("cannot run valgrind: {error}"))?;
    let errors = String::from_utf8_lossy(&output.stderr);
    let count = errors.lines().find_map(|line| line.split_once("Collected : "));
    let count = count.and_then(|(_, count)| count.trim().parse().ok());
    count
        .filter(|_| output.status.success())
        .ok_or_else(|| format!("callgrind cannot run {}", job.column))
}

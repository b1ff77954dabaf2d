//! The time of `fork` in the parent: before there is any owner, with many owners alive, and
//! after they have ended.

use std::time::Instant;

use crate::Row;
use crate::memory::{Block, Global, Memory, layout};
use crate::owners::{Chosen, Owners};
use crate::threads::Slots;
use bench_peers::measure::Run;

pub const ROWS: &[Row] = &[Row { name: "fork", run: fork_row::<Chosen> }];

/// Forks with `owners` owners alive, each with a block of 64 bytes. Figures are
/// microseconds.
fn fork_row<O: Owners>(run: &mut Run) {
    let count = run.arguments.get("owners", 10_000);
    let mut blocks = vec![Block::NONE; count];
    run.note("before_us", fork());
    let mut owners = O::register(count);
    for (owner, slot) in blocks.iter_mut().enumerate() {
        *slot = owners.turn(owner, || Global.take(layout(64)));
    }
    run.note("alive_us", fork());
    Slots(blocks).free();
    owners.finish();
    bench_peers::purge();
    run.note("ended_us", fork());
}

/// Microseconds that the parent spends in `fork`, the median of seven.
fn fork() -> f64 {
    const TIMES: usize = 7;
    let mut times = [(); TIMES].map(|()| {
        let start = Instant::now();
        // SAFETY: the child does nothing but end.
        let child = unsafe { libc::fork() };
        if child == 0 {
            // SAFETY: ends the child at once, without handlers or destructors.
            unsafe { libc::_exit(0) };
        }
        let time = start.elapsed();
        assert!(child > 0, "the system refuses to fork");
        // SAFETY: the child is this process's own; no status is asked for.
        let ended = unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) };
        assert_eq!(ended, child, "the child can be waited for");
        time
    });
    times.sort();
    times[TIMES / 2].as_secs_f64() * 1e6
}

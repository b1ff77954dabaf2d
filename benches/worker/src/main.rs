//! Runs one workload once, on the global allocator that this program was
//! built with, and prints what it measured as one line of JSON.
//!
//! A run is a process of its own, so that its peak memory is the workload's,
//! and no row inherits a heap that another row has shaped.
//!
//!     bench-worker ROW [NAME=NUMBER...]
//!     bench-worker --list

mod attribution;
#[cfg(feature = "expert")]
mod experts;
mod fork;
mod giving_back;
mod memory;
mod owners;
mod queries;
mod real;
mod reclaim;
mod single;
#[cfg(feature = "small")]
mod small;
mod small_owners;
#[path = "../../../tests/common/stepper.rs"]
mod stepper;
mod threads;

use std::process::ExitCode;

use bench_peers::measure::{Arguments, Report, Run};

/// A workload by its name.
struct Row {
    name: &'static str,
    run: fn(&mut Run),
}

const ROWS: &[&[Row]] = &[
    single::ROWS,
    real::ROWS,
    threads::ROWS,
    reclaim::ROWS,
    attribution::ROWS,
    small_owners::ROWS,
    giving_back::ROWS,
    fork::ROWS,
    #[cfg(feature = "expert")]
    experts::ROWS,
    #[cfg(feature = "small")]
    small::ROWS,
];

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let Some(name) = arguments.next() else {
        eprintln!("bench-worker ROW [NAME=NUMBER...] | --list");
        return ExitCode::from(2);
    };
    let rows = || ROWS.iter().copied().flatten();
    if name == "--list" {
        rows().for_each(|row| println!("{}", row.name));
        return ExitCode::SUCCESS;
    }
    let Some(row) = rows().find(|row| row.name == name) else {
        eprintln!("no row {name:?}");
        return ExitCode::from(2);
    };
    let arguments = match Arguments::parse(arguments) {
        Ok(arguments) => arguments,
        Err(message) => {
            eprintln!("{message}");
            return ExitCode::from(2);
        }
    };
    #[cfg(any(feature = "tracking", feature = "tracking-mimalloc"))]
    bench_peers::tracking::start();
    let mut run = Run::start(arguments);
    (row.run)(&mut run);
    let report: Report = run.finish();
    println!("{}", report.to_json(row.name));
    ExitCode::SUCCESS
}

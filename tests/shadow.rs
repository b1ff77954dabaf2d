//! Random operations of all kinds, compared with a shadow model.
//!
//! `EXPERT_ALLOC_OPS` is the number of operations of the free run (300,000 if it is not
//! set), and `EXPERT_ALLOC_SEED` is the seed of its dice.

mod common;
mod model;

use expert_alloc::testing::{Path, count};
use model::run::run;
use model::world::Config;

fn number(name: &str, otherwise: usize) -> usize {
    let given = std::env::var(name).ok();
    given.map_or(otherwise, |text| text.parse().expect("a number"))
}

fn seed() -> u64 {
    number("EXPERT_ALLOC_SEED", 1) as u64
}

/// A small and slow run, with the walker after every operation.
fn exact() {
    let ops = number("EXPERT_ALLOC_OPS", 300_000) / 30;
    for (number, threads) in [1, 2, 4].into_iter().enumerate() {
        let config = Config {
            seats: 4,
            threads,
            exact: true,
            blocks: 300,
            largest: 1 << 20,
            failures: threads != 1,
        };
        run(config, seed() + number as u64, ops, 1000);
    }
}

/// A run with all threads at once and 16 experts.
fn free() {
    let ops = number("EXPERT_ALLOC_OPS", 300_000);
    let config = Config {
        seats: 16,
        threads: 4,
        exact: false,
        blocks: 2000,
        largest: 64 << 20,
        failures: true,
    };
    run(config, seed(), ops, (ops / 200).clamp(1000, 10_000));
}

/// Checks that each slow path was entered, because otherwise it was not tested.
fn every_slow_path_was_entered() {
    for path in Path::ALL {
        println!("  {:>9} {path:?}", count(path));
    }
    // Second frees of blocks that are not raw break the program's contract, and with it
    // lists that the walker checks: see tests/double_free.rs. These paths are rare: a long
    // run meets them, but a short one may not. (Spare spans are used again, and current
    // ones set aside, in tests/idle.rs, huge mappings in tests/huge.rs, whatever happens
    // here.)
    let rare: &[Path] = match number("EXPERT_ALLOC_OPS", 0) >= 3_000_000 {
        true => &[],
        false => &[
            Path::PressureRelieved,
            Path::HeapMoved,
            Path::HugeKept,
            Path::HugeReused,
            Path::SpareUsed,
            Path::CurrentSetAside,
        ],
    };
    let is_missed =
        |path: &Path| count(*path) == 0 && *path != Path::GuardMissed && !rare.contains(path);
    let missed: Vec<Path> = Path::ALL.into_iter().filter(is_missed).collect();
    assert!(missed.is_empty(), "never entered: {missed:?}");
}

fn main() {
    common::run_alone(&[
        ("exact", exact),
        ("free", free),
        ("every_slow_path_was_entered", every_slow_path_was_entered),
    ]);
}

//! The shadow model of the fixed engine over random memories.
//!
//! `FIXED_OPERATIONS` says how many operations in all; `./check tests` runs
//! 10,000,000 with `--release`. `FIXED_SEED` shifts the seeds.

mod common;

use std::mem::MaybeUninit;

use expert_alloc::fixed::shadow::{Counts, run};

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

#[test]
fn no_rule_is_ever_broken() {
    let operations = number("FIXED_OPERATIONS", 200_000);
    let first_seed = number("FIXED_SEED", 1);
    let mut memory = vec![MaybeUninit::<u8>::uninit(); 48 << 10];
    let mut sum = Counts::default();
    let (mut done, mut seed) = (0, first_seed);
    while done < operations {
        let run_length = 2_000;
        // The sizes begin at 256 bytes, and each octave is as likely as the next.
        let octave = 256usize << (seed % 8);
        let size = (octave + (seed as usize).wrapping_mul(7919) % octave).min(memory.len());
        let counts = run(seed, run_length, &mut memory[..size])
            .unwrap_or_else(|failure| panic!("seed {seed}, {size} bytes: {failure:?}"));
        add(&mut sum, counts);
        done += u64::from(run_length);
        seed += 1;
    }
    println!("{done} operations, seeds {first_seed} to {seed}: {sum:#?}");
    let entered = [
        sum.allocated,
        sum.freed,
        sum.resized,
        sum.moved,
        sum.out_of_memory,
        sum.over_quota,
        sum.reclaimed,
        sum.adopted,
        sum.transferred,
        sum.refused_pointers,
    ];
    assert!(entered.iter().all(|&count| count > 100), "a path was not entered: {sum:#?}");
    assert!(sum.regions > 3);
    // Words that look like a header pass the check once in 2,048 times, and
    // words that look like two of them once in four million times.
    assert!(sum.forged > 1_000 && sum.doubtful > 1_000, "nothing looked like headers: {sum:#?}");
    assert!(sum.forged_passed <= 5 + sum.forged / 20_000, "forged headers pass: {sum:#?}");
    assert!(sum.doubtful_passed <= 20 + sum.doubtful / 1_024, "anything passes: {sum:#?}");
}

fn add(sum: &mut Counts, more: Counts) {
    sum.allocated += more.allocated;
    sum.freed += more.freed;
    sum.resized += more.resized;
    sum.moved += more.moved;
    sum.out_of_memory += more.out_of_memory;
    sum.over_quota += more.over_quota;
    sum.reclaimed += more.reclaimed;
    sum.adopted += more.adopted;
    sum.transferred += more.transferred;
    sum.refused_pointers += more.refused_pointers;
    sum.forged += more.forged;
    sum.forged_passed += more.forged_passed;
    sum.doubtful += more.doubtful;
    sum.doubtful_passed += more.doubtful_passed;
    sum.regions = sum.regions.max(more.regions);
}

//! The cost of experts and of quotas.

use std::alloc::Layout;
use std::ptr::NonNull;

use allocator_api2::alloc::Allocator;
use bench_peers::ALLOC;
use bench_peers::expert_alloc::Expert;

use crate::Row;
use crate::memory::{layout, write_ends};
use bench_peers::measure::{Resident, Run, thread_time};
use bench_peers::random::{Random, Sizes};

pub const ROWS: &[Row] = &[
    Row { name: "expert", run: one_expert },
    Row { name: "alive", run: alive },
    Row { name: "quota churn", run: quota_churn },
    Row { name: "refusal", run: refusal },
];

fn register() -> Expert {
    ALLOC.expert("benchmark").register().expect("slots are left")
}

fn take(expert: &Expert, layout: Layout) -> *mut u8 {
    try_take(expert, layout).expect("memory is left").as_ptr()
}

/// A block of `expert`, written to at both ends.
fn try_take(expert: &Expert, layout: Layout) -> Option<NonNull<u8>> {
    let block = expert.allocator().allocate(layout).ok()?.cast::<u8>();
    // SAFETY: S1, a block of at least one byte that nothing else uses.
    unsafe { write_ends(block.as_ptr(), layout.size()) };
    Some(block)
}

fn end(expert: Option<Expert>) {
    let _ = expert.map(Expert::finish);
}

/// Register, allocate one block, finish.
fn one_expert(run: &mut Run) {
    let rounds = run.arguments.get("rounds", 100_000);
    run.time(rounds, || {
        for _ in 0..rounds {
            let expert = register();
            take(&expert, layout(64));
            let _ = expert.finish();
        }
    });
}

/// The time of each step of an expert's life while `experts` others are alive, each with
/// `blocks` blocks, and the memory of those.
fn alive(run: &mut Run) {
    const PROBES: usize = 1_000;
    let count = run.arguments.get("experts", 1_000);
    let blocks = run.arguments.get("blocks", 10);
    let mut experts = Vec::with_capacity(count + PROBES);
    // The first expert creates tables that all share.
    experts.push(register());
    let before = Resident::now().anonymous;
    experts.extend((1..count).map(|_| register()));
    let idle = Resident::now().anonymous.saturating_sub(before);
    for expert in &experts {
        for _ in 0..blocks {
            take(expert, layout(64));
        }
    }
    let used = Resident::now().anonymous.saturating_sub(before);
    run.note("idle_bytes", idle as f64 / (count.max(2) - 1) as f64);
    run.note("used_bytes", used as f64 / count as f64);

    // Probes before the measured one always warm the caches up.
    for timed in [false, false, true] {
        let mut probes = Vec::with_capacity(PROBES);
        let steps = [
            step(PROBES, |_| probes.push(register())),
            step(PROBES, |probe| {
                take(&probes[probe], layout(64));
            }),
            step(PROBES, |probe| {
                for _ in 0..9 {
                    take(&probes[probe], layout(64));
                }
            }),
        ];
        let mut ending = probes.into_iter();
        let finish = step(PROBES, |_| end(ending.next()));
        if timed {
            run.note("register_ns", steps[0]);
            run.note("first_block_ns", steps[1]);
            run.note("next_block_ns", steps[2] / 9.0);
            run.note("finish_ns", finish);
        }
    }
    // The oldest first, then the rest from the youngest: an order that suits a list in one
    // direction does not suit it in both directions.
    let young = experts.split_off(count.min(PROBES));
    let oldest = experts.len();
    let mut ending = experts.into_iter();
    run.note("finish_oldest_ns", step(oldest, |_| end(ending.next())));
    run.time(young.len(), || young.into_iter().rev().for_each(|expert| end(Some(expert))));
}

/// Nanoseconds per call of `work`.
fn step(count: usize, mut work: impl FnMut(usize)) -> f64 {
    let start = thread_time();
    (0..count).for_each(&mut work);
    (thread_time() - start).as_nanos() as f64 / count as f64
}

/// Churn in 20,000 slots of one expert, blocks to 1 KiB; with `quota=1` under a quota of
/// which 99 % are charged when it starts. If a request is refused, its slot stays empty.
fn quota_churn(run: &mut Run) {
    const SLOTS: usize = 20_000;
    let operations = run.arguments.get("operations", 2_000_000);
    let sizes = Sizes::skewed();
    let fill = |expert: &Expert| -> Vec<*mut u8> {
        (0..SLOTS).map(|slot| take(expert, layout(sizes.get(slot)))).collect()
    };
    let mut builder = ALLOC.expert("benchmark");
    if run.arguments.get("quota", 0) == 1 {
        let unlimited = register();
        fill(&unlimited);
        let charged = unlimited.stats().charged_bytes;
        let _ = unlimited.finish();
        builder = builder.quota(charged + charged / 99);
    }
    let expert = builder.register().expect("slots are left");
    let mut slots = fill(&expert);
    let mut held: Vec<u16> = (0..SLOTS).map(|slot| sizes.get(slot) as u16).collect();
    let mut random = Random::new(23);
    let handle = expert.allocator();
    let mut refused = 0_usize;
    run.time(operations, || {
        for _ in 0..operations {
            let slot = random.below(SLOTS);
            if let Some(address) = NonNull::new(slots[slot]) {
                // SAFETY: the slot's block is live, and of this size.
                unsafe { handle.deallocate(address, layout(held[slot].into())) };
            }
            // The new block is as large as another slot's, so the sum stays the same.
            let size = sizes.get(slot + random.below(16) * SLOTS);
            match try_take(&expert, layout(size)) {
                Some(block) => slots[slot] = block.as_ptr(),
                None => {
                    slots[slot] = std::ptr::null_mut();
                    refused += 1;
                }
            }
            held[slot] = size as u16;
        }
    });
    run.note("refused_per_million", refused as f64 * 1e6 / operations as f64);
    let _ = expert.finish();
}

/// Allocates blocks of the skewed mix until a quota of `quota` bytes refuses one. Measures
/// which share of the quota is live then, at first and after churn.
fn refusal(run: &mut Run) {
    let quota = run.arguments.get("quota", 1 << 20);
    let sizes = Sizes::skewed();
    let mut random = Random::new(29);
    let expert = ALLOC.expert("benchmark").quota(quota).register().expect("slots are left");
    let handle = expert.allocator();
    let mut blocks: Vec<(NonNull<u8>, Layout)> = Vec::new();
    let mut asked = 0;
    let mut index = 0;
    run.time(1, || {
        loop {
            let layout = layout(sizes.get(index));
            index += 1;
            let Some(block) = try_take(&expert, layout) else { break };
            asked += layout.size();
            blocks.push((block, layout));
        }
    });
    let share = |bytes: usize| bytes as f64 / quota as f64;
    run.note("live", share(expert.stats().live_bytes));
    run.note("live_asked", share(asked));
    // Every turn ends with a refusal, and before a refusal the heap looks everywhere for
    // free memory.
    for _ in 0..(blocks.len() * 4).min(20_000) {
        let victim = random.below(blocks.len());
        let (block, old) = blocks.swap_remove(victim);
        // SAFETY: live, and of this layout; it is in the list no more.
        unsafe { handle.deallocate(block, old) };
        loop {
            let layout = layout(sizes.get(index));
            index += 1;
            let Some(block) = try_take(&expert, layout) else { break };
            blocks.push((block, layout));
        }
    }
    run.note("live_after_churn", share(expert.stats().live_bytes));
    let _ = expert.finish();
}

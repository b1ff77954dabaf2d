//! One thread, blocks only: pair, batches, churn, and large blocks.

use std::hint::black_box;

use crate::Row;
use crate::memory::{Block, Global, Memory, layout};
use crate::stepper::Stepper;
use bench_peers::measure::Run;
use bench_peers::random::{Random, Sizes};

pub const ROWS: &[Row] = &[
    Row { name: "pair", run: |run| pair(run, &mut Global) },
    Row { name: "LIFO batch", run: |run| lifo_batch(run, &mut Global) },
    Row { name: "shuffled batch", run: |run| shuffled_batch(run, &mut Global) },
    Row { name: "churn 10k", run: |run| churn(run, &mut Global, 10_000, 4_000_000) },
    Row { name: "churn 300k", run: |run| churn(run, &mut Global, 300_000, 1_500_000) },
    Row { name: "large blocks", run: large_blocks },
    Row { name: "counted pair", run: counted_pair },
    Row { name: "counted loop", run: counted_loop },
    Row { name: "stepped pair", run: stepped_pair },
];

/// Allocations between two switches of owner, unless `turn` says otherwise.
pub const TURN: usize = 100;

/// One block of 64 bytes at a time, freed at once.
pub fn pair(run: &mut Run, memory: &mut impl Memory) {
    let turn = run.arguments.get("turn", TURN);
    let turns = run.arguments.get("operations", 12_000_000) / turn;
    run.time(turns * turn, || {
        for _ in 0..turns {
            for _ in 0..turn {
                let block = memory.take(layout(black_box(64)));
                // SAFETY: S1, taken on the line above.
                unsafe { memory.give(block) };
            }
            memory.switch();
        }
    });
}

/// A hundred blocks of 16 to 256 bytes, freed in reverse order while the next owner is
/// current.
pub fn lifo_batch(run: &mut Run, memory: &mut impl Memory) {
    const BATCH: usize = 100;
    let turn = run.arguments.get("turn", TURN);
    let rounds = run.arguments.get("operations", 8_000_000) / BATCH;
    let sizes = Sizes::small();
    let mut blocks = [Block::NONE; BATCH];
    run.time(rounds * BATCH, || {
        for round in 0..rounds {
            let mut number = round * BATCH;
            for (index, slots) in blocks.chunks_mut(turn).enumerate() {
                if index > 0 {
                    memory.switch();
                }
                for slot in slots {
                    *slot = memory.take(layout(sizes.get(number)));
                    number += 1;
                }
            }
            for &block in blocks.iter().rev() {
                // SAFETY: S1, taken in the loop above and freed once.
                unsafe { memory.give(block) };
            }
            memory.switch();
        }
    });
}

/// Ten thousand blocks of 16 to 256 bytes, freed in a random order.
pub fn shuffled_batch(run: &mut Run, memory: &mut impl Memory) {
    const BATCH: usize = 10_000;
    let turn = run.arguments.get("turn", TURN);
    let rounds = run.arguments.get("operations", 3_000_000) / BATCH;
    let sizes = Sizes::small();
    let mut random = Random::new(7);
    let mut order: Vec<u32> = (0..BATCH as u32).collect();
    for index in (1..BATCH).rev() {
        order.swap(index, random.below(index + 1));
    }
    let mut blocks = vec![Block::NONE; BATCH];
    run.time(rounds * BATCH, || {
        for round in 0..rounds {
            let mut number = round * 31;
            for slots in blocks.chunks_mut(turn) {
                for slot in slots {
                    *slot = memory.take(layout(sizes.get(number)));
                    number += 1;
                }
                memory.switch();
            }
            for &index in &order {
                // SAFETY: S1, taken in the loop above and freed once.
                unsafe { memory.give(blocks[index as usize]) };
            }
        }
    });
}

/// Frees the block in a random slot, and allocates a block of the skewed mix there.
pub fn churn(run: &mut Run, memory: &mut impl Memory, slots: usize, operations: usize) {
    let turn = run.arguments.get("turn", TURN);
    let turns = run.arguments.get("operations", operations) / turn;
    let sizes = Sizes::skewed();
    let mut random = Random::new(11);
    let mut blocks = Vec::with_capacity(slots);
    for index in 0..slots {
        blocks.push(memory.take(layout(sizes.get(index))));
        if index % turn == turn - 1 {
            memory.switch();
        }
    }
    run.time(turns * turn, || {
        for _ in 0..turns {
            for _ in 0..turn {
                let bits = random.next();
                let slot = ((bits >> 32) * slots as u64 >> 32) as usize;
                // SAFETY: S1, every slot holds a live block, this one's copy
                // is replaced on the next line.
                unsafe { memory.give(blocks[slot]) };
                blocks[slot] = memory.take(layout(sizes.get(bits as usize)));
            }
            memory.switch();
        }
    });
    for block in blocks {
        // SAFETY: S1, each slot holds a live block, freed once.
        unsafe { memory.give(block) };
    }
}

/// Sixteen slots of 32 KiB to 1 MiB; every page of a block is written.
fn large_blocks(run: &mut Run) {
    const SLOTS: usize = 16;
    const PAGE: usize = 4096;
    let operations = run.arguments.get("operations", 12_000);
    let mut random = Random::new(13);
    let mut blocks = [Block::NONE; SLOTS];
    let memory = &mut Global;
    run.time(operations, || {
        for _ in 0..operations {
            // Each doubling has as many sizes as the next.
            let base = (32 << 10) << random.below(5);
            let size = base + random.below(base + 1);
            let slot = random.below(SLOTS);
            if !blocks[slot].is_none() {
                // SAFETY: S1, not `NONE`, and replaced below.
                unsafe { memory.give(blocks[slot]) };
            }
            blocks[slot] = memory.take(layout(size));
            let start = blocks[slot].address;
            for offset in (0..size).step_by(PAGE) {
                // SAFETY: the offset lies inside the block.
                let page = unsafe { start.add(offset) };
                // SAFETY: as above, and the block is ours.
                unsafe { page.write_volatile(1) };
            }
        }
    });
    for block in blocks.into_iter().filter(|block| !block.is_none()) {
        // SAFETY: S1, each slot holds a live block, freed once.
        unsafe { memory.give(block) };
    }
}

/// Pairs of 64 bytes with a layout known at compile time, for counting instructions.
fn counted_pair(run: &mut Run) {
    let rounds = run.arguments.get("rounds", 100_000);
    (0..rounds).for_each(|_| pair_of_64());
}

/// The same loop without alloc and free.
fn counted_loop(run: &mut Run) {
    let rounds = run.arguments.get("rounds", 100_000);
    (0..rounds).for_each(|_| {
        black_box(std::ptr::dangling_mut::<u8>());
    });
}

/// The same, counted by single steps, which works where callgrind does not.
fn stepped_pair(run: &mut Run) {
    const ROUNDS: u64 = 1_000;
    let stepper = Stepper::new();
    (0..ROUNDS).for_each(|_| pair_of_64());
    let ((), loops) = stepper.count(|| {
        (0..ROUNDS).for_each(|_| {
            black_box(std::ptr::dangling_mut::<u8>());
        });
    });
    let ((), pairs) = stepper.count(|| (0..ROUNDS).for_each(|_| pair_of_64()));
    run.note("instructions", (pairs - loops) as f64 / ROUNDS as f64);
}

#[inline(always)]
fn pair_of_64() {
    let layout = std::alloc::Layout::new::<[u64; 8]>();
    // SAFETY: the size is not 0.
    let address = black_box(unsafe { std::alloc::alloc(layout) });
    // SAFETY: allocated on the line above with this layout.
    unsafe { std::alloc::dealloc(address, layout) };
}

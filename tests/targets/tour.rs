//! The tests of every target without an operating system: a heap in `memory`, an expert
//! that leaks, one that overruns its quota, and one that frees a block of another; then the
//! shadow model in the same memory. It returns `None` if all is well.

use core::mem::MaybeUninit;

use expert_alloc::fixed::shadow;
use expert_alloc::{Error, ExpertHeap};

pub fn tour(memory: &mut [MaybeUninit<u8>], seeds: u64, operations: u32) -> Option<&'static str> {
    experts(memory).err().or_else(|| {
        (1..=seeds).find_map(|seed| {
            let size = (256 << (seed % 6)).min(memory.len());
            shadow::run(seed, operations, &mut memory[..size]).err().map(|failure| failure.rule)
        })
    })
}

fn experts(memory: &mut [MaybeUninit<u8>]) -> Result<(), &'static str> {
    let heap: ExpertHeap = ExpertHeap::empty();
    // SAFETY: the memory is borrowed for longer than the heap lives.
    unsafe { heap.add_region(memory.as_mut_ptr().cast(), memory.len()) };
    let leaky = heap.expert("leaky").register().map_err(|_| "no expert")?;
    let greedy = heap.expert("greedy").quota(1024).register().map_err(|_| "no expert")?;
    let leaked = leaky.alloc(100).map_err(|_| "no memory")?;
    let refused = loop {
        if let Err(error) = greedy.alloc(50) {
            break error;
        }
    };
    check(refused == Error::QuotaExceeded, "the quota did not hold")?;
    check(greedy.free(leaked.as_ptr()) == Err(Error::AccessDenied), "another's block was freed")?;
    check(heap.owner_of(leaked.as_ptr()) == Some(leaky.key()), "whose?")?;
    check(leaky.finish().blocks == 1, "the leak did not come back")?;
    check(greedy.finish().blocks > 10, "the blocks did not come back")?;
    check(heap.stats().live_blocks == 0, "blocks are left")
}

fn check(holds: bool, what: &'static str) -> Result<(), &'static str> {
    if holds { Ok(()) } else { Err(what) }
}

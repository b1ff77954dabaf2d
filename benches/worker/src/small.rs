//! Small systems: allocators over one fixed region, measured in one program, which has
//! another global allocator.
//!
//! The experiments are talc's, written anew with its mixes of actions, sizes and
//! alignments: random actions, heap efficiency; and the longest single operation,
//! in instructions. `peer=N` chooses the allocator.

mod heaps;

use std::alloc::{GlobalAlloc, Layout};

use crate::Row;
use crate::memory::write_ends;
use crate::stepper::Stepper;
use bench_peers::measure::Run;
use bench_peers::random::Random;
use heaps::Region;

pub const ROWS: &[Row] = &[
    Row { name: "random actions", run: |run| heaps::with(run, random_actions) },
    Row { name: "heap efficiency", run: |run| heaps::with(run, heap_efficiency) },
    Row { name: "longest operation", run: |run| heaps::with(run, longest_operation) },
];

/// The live blocks of one heap.
struct Live<'h> {
    heap: &'h dyn GlobalAlloc,
    blocks: Vec<(*mut u8, Layout)>,
    bytes: usize,
    random: Random,
    largest: usize,
}

impl<'h> Live<'h> {
    fn new(heap: &'h dyn GlobalAlloc, seed: u64, largest: usize) -> Self {
        let blocks = Vec::with_capacity(1 << 16);
        Self { heap, blocks, bytes: 0, random: Random::new(seed), largest }
    }

    /// A layout as in talc's experiments. Small sizes are more frequent than large ones.
    /// Three of four layouts are aligned to a word, and each larger alignment is a fourth
    /// as frequent as the one before.
    fn layout(&mut self) -> Layout {
        let cap = self.between(16, self.largest);
        let size = self.between(4, cap);
        let steps = (self.random.next() >> 48 | 1 << 16).trailing_zeros() / 2;
        Layout::from_size_align(size, align_of::<usize>() << steps).expect("sizes are small")
    }

    fn between(&mut self, from: usize, to: usize) -> usize {
        from + self.random.below(to - from)
    }

    /// Allocates; `false` if there is no room.
    fn allocate(&mut self) -> bool {
        let layout = self.layout();
        // SAFETY: the size is not 0.
        let block = unsafe { self.heap.alloc(layout) };
        if block.is_null() {
            return false;
        }
        // SAFETY: S1, a block of at least one byte that nothing else uses.
        unsafe { write_ends(block, layout.size()) };
        self.bytes += layout.size();
        self.blocks.push((block, layout));
        true
    }

    fn take_any(&mut self) -> Option<(*mut u8, Layout)> {
        if self.blocks.is_empty() {
            return None;
        }
        let (block, layout) = self.blocks.swap_remove(self.random.below(self.blocks.len()));
        self.bytes -= layout.size();
        Some((block, layout))
    }

    fn free(&mut self) {
        if let Some((block, layout)) = self.take_any() {
            // SAFETY: the block is live, of this heap and layout.
            unsafe { self.heap.dealloc(block, layout) };
        }
    }

    /// Resizes a block to up to `times` the largest; `false` if there is no room.
    fn resize(&mut self, times: usize) -> bool {
        let size = self.between(1, self.largest * times);
        let Some((block, layout)) = self.take_any() else { return true };
        // SAFETY: the block is live, of this heap and layout; the size is not
        // 0 and far from overflowing.
        let moved = unsafe { self.heap.realloc(block, layout, size) };
        let (block, layout, fits) = if moved.is_null() {
            (block, layout, false)
        } else {
            // SAFETY: S1, a block of `size` bytes that nothing else uses.
            unsafe { write_ends(moved, size) };
            (moved, Layout::from_size_align(size, layout.align()).expect("sizes are small"), true)
        };
        self.bytes += layout.size();
        self.blocks.push((block, layout));
        fits
    }
}

/// The memory that talc's experiments have.
const REGION: usize = 128 << 20;

/// Random actions with about three hundred live blocks of up to `largest` bytes. Of seven
/// actions, three allocate, three free, and one resizes to up to three times `largest`.
fn random_actions(run: &mut Run, make: fn(&mut Region) -> Box<dyn GlobalAlloc>) {
    const LIVE: usize = 300;
    let operations = run.arguments.get("operations", 1_000_000);
    let largest = run.arguments.get("largest", 1_000);
    let mut region = Region::new(REGION);
    let heap = make(&mut region);
    let mut live = Live::new(&*heap, 31, largest);
    let mut actions = |operations| {
        for _ in 0..operations {
            match live.random.below(7) {
                6 => live.resize(3),
                3..6 if live.blocks.len() >= LIVE => {
                    live.free();
                    true
                }
                _ => live.allocate(),
            };
        }
    };
    actions(10 * LIVE);
    run.time(operations, || actions(operations));
}

/// The share of a heap of `region` bytes that is live when the first allocation fails, as a
/// mean over many fillings. Of ten actions five allocate, `resizes` (four) resize to up to
/// `times` (ten) `largest`, and the rest free.
fn heap_efficiency(run: &mut Run, make: fn(&mut Region) -> Box<dyn GlobalAlloc>) {
    let bytes = run.arguments.get("region", REGION);
    let largest = run.arguments.get("largest", 10_000);
    let rounds = run.arguments.get("rounds", 20);
    let resizes = run.arguments.get("resizes", 4);
    let times = run.arguments.get("times", 10);
    let mut region = Region::new(bytes);
    let mut sum = 0.0;
    for round in 0..rounds {
        let heap = make(&mut region);
        let mut live = Live::new(&*heap, round as u64, largest);
        while match live.random.below(10) {
            0..=4 => live.allocate(),
            action if action < 10 - resizes => {
                live.free();
                true
            }
            _ => live.resize(times),
        } {}
        sum += live.bytes as f64 / bytes as f64;
    }
    run.note("efficiency", sum / rounds as f64);
}

/// The most instructions that one allocation or free took, in random actions and in a heap
/// full of holes that are just too small.
fn longest_operation(run: &mut Run, make: fn(&mut Region) -> Box<dyn GlobalAlloc>) {
    let operations = run.arguments.get("operations", 2_000);
    let stepper = Stepper::new();
    let mut region = Region::new(1 << 20);
    let mut longest = 0;
    let mut all = 0;
    {
        let heap = make(&mut region);
        let mut live = Live::new(&*heap, 37, 1 << 10);
        while live.bytes < 600 << 10 && live.allocate() {}
        for _ in 0..20_000 {
            live.free();
            live.allocate();
        }
        for _ in 0..operations {
            // Single steps through long lists are slow, and a few of them show the slowest
            // operation.
            if all > 200_000 {
                break;
            }
            let Some((block, layout)) = live.take_any() else { break };
            // SAFETY: the block is live, of this heap and layout.
            let ((), steps) = stepper.count(|| unsafe { heap.dealloc(block, layout) });
            let layout = live.layout();
            // SAFETY: the size is not 0.
            let (block, more) = stepper.count(|| unsafe { heap.alloc(layout) });
            longest = longest.max(steps).max(more);
            all += steps + more;
            if !block.is_null() {
                live.bytes += layout.size();
                live.blocks.push((block, layout));
            }
        }
    }
    let holes = among_holes(&stepper, &*make(&mut region));
    run.note("random_instructions", longest as f64);
    run.note("holes_instructions", holes as f64);
    run.note("instructions", longest.max(holes) as f64);
}

/// Fills the heap with blocks of 32 bytes, frees every other one, and asks
/// for more than such a hole holds.
fn among_holes(stepper: &Stepper, heap: &dyn GlobalAlloc) -> u64 {
    let small = Layout::new::<[u64; 4]>();
    let large = Layout::new::<[u64; 12]>();
    let mut blocks = Vec::with_capacity(1 << 15);
    loop {
        // SAFETY: the size is not 0.
        let block = unsafe { heap.alloc(small) };
        if block.is_null() {
            break;
        }
        blocks.push(block);
    }
    let tail = blocks.split_off(blocks.len() - 16);
    let mut longest = 0;
    for &block in tail.iter().chain(blocks.iter().step_by(2)) {
        // SAFETY: allocated above with this layout, and freed once.
        unsafe { heap.dealloc(block, small) };
    }
    for _ in 0..2 {
        // SAFETY: the size is not 0.
        let (block, steps) = stepper.count(|| unsafe { heap.alloc(large) });
        longest = longest.max(steps);
        if !block.is_null() {
            // SAFETY: allocated above with this layout.
            let ((), steps) = stepper.count(|| unsafe { heap.dealloc(block, large) });
            longest = longest.max(steps);
        }
    }
    longest
}

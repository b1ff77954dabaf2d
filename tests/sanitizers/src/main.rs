//! Makes the fault that the argument names: with `race`, two threads write to one block of
//! the heap; with `freed`, a freed block of the system's allocator is read. Without an
//! argument nothing is wrong.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Barrier;
use std::sync::atomic::{AtomicPtr, Ordering::Relaxed};

use expert_alloc::ExpertAlloc;

#[global_allocator]
static ALLOC: ExpertAlloc = ExpertAlloc::new();

/// Two threads write to a block many times, in turn or at the same time.
fn write_twice(in_turn: bool) {
    let mut block = Box::new(0u64);
    let place = &AtomicPtr::new(&raw mut *block);
    let both = &Barrier::new(2);
    std::thread::scope(|scope| {
        for is_first in [true, false] {
            scope.spawn(move || {
                if !(in_turn && is_first) {
                    both.wait();
                }
                for _ in 0..10_000 {
                    // SAFETY: the block is there; two threads at once are the fault.
                    unsafe { *place.load(Relaxed) += 1 };
                }
                if in_turn && is_first {
                    both.wait();
                }
            });
        }
    });
    println!("{block}");
}

/// Reads a block that was freed.
fn freed() {
    let layout = Layout::new::<u64>();
    // SAFETY: not of size 0.
    let block = unsafe { System.alloc(layout) }.cast::<u64>();
    // SAFETY: a block of this layout.
    unsafe { block.write(1) };
    // SAFETY: allocated above.
    unsafe { System.dealloc(block.cast(), layout) };
    // SAFETY: none: this is the fault.
    println!("{}", unsafe { block.read_volatile() });
}

fn main() {
    match std::env::args().nth(1).as_deref() {
        Some("race") => write_twice(false),
        Some("freed") => freed(),
        _ => write_twice(true),
    }
}

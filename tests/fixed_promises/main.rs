//! Tests promises of the documents about `ExpertHeap` that the shadow model does not check:
//! the places of blocks, work under the lock, and the host's own calls.

#[path = "../common/mod.rs"]
mod common;

mod charges;
mod locked;
mod places;
mod pointers;
mod regions;
#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
mod windows;

use std::alloc::{GlobalAlloc, Layout};
use std::mem::MaybeUninit;

use expert_alloc::{ExpertHeap, Stats};
use lock_api::RawMutex;

const GRANULE: usize = if usize::BITS > 32 { 32 } else { 8 };

/// A heap over a leaked region of `size` bytes.
fn heap(size: usize) -> &'static ExpertHeap {
    let heap: &'static ExpertHeap = Box::leak(Box::new(ExpertHeap::empty()));
    let memory: &'static mut [MaybeUninit<u8>] = vec![MaybeUninit::uninit(); size].leak();
    // SAFETY: leaked memory is nobody else's.
    assert_ne!(unsafe { heap.add_region(memory.as_mut_ptr().cast(), size) }, 0);
    heap
}

fn layout(size: usize, align: usize) -> Layout {
    Layout::from_size_align(size, align).unwrap()
}

/// A block of the host, aligned to 8.
fn take<R: RawMutex + Send + Sync>(heap: &ExpertHeap<R>, size: usize) -> *mut u8 {
    // SAFETY: the tests pass no size of 0.
    unsafe { heap.alloc(layout(size, 8)) }
}

/// Frees one from [`take`].
fn give<R: RawMutex + Send + Sync>(heap: &ExpertHeap<R>, block: *mut u8, size: usize) {
    // SAFETY: a live block with its size.
    unsafe { heap.dealloc(block, layout(size, 8)) }
}

/// Resizes one from [`take`].
fn resize<R: RawMutex + Send + Sync>(
    heap: &ExpertHeap<R>,
    block: *mut u8,
    old: usize,
    new: usize,
) -> *mut u8 {
    // SAFETY: a live block with its size.
    unsafe { heap.realloc(block, layout(old, 8), new) }
}

/// Takes all memory that is left.
fn fill<R: RawMutex + Send + Sync>(heap: &ExpertHeap<R>) {
    for log2 in (3..24).rev() {
        while !take(heap, 1 << log2).is_null() {}
    }
}

/// Checks that the charge is the size of all blocks, headers included.
fn assert_charged(stats: Stats) {
    assert_eq!(stats.charged_bytes, stats.live_bytes + 8 * stats.live_blocks, "{stats:?}");
    assert!(stats.peak_bytes >= stats.charged_bytes, "{stats:?}");
}

fn write(block: *mut u8, size: usize, byte: u8) {
    // SAFETY: the tests pass live blocks.
    unsafe { block.write_bytes(byte, size) }
}

fn is_filled(block: *mut u8, size: usize, byte: u8) -> bool {
    // SAFETY: the tests pass live blocks that were written to.
    unsafe { std::slice::from_raw_parts(block, size) }.iter().all(|&is| is == byte)
}

//! Tests how full a fixed heap can be, which free block a request is cut out of, and where
//! a resized block goes.

mod common;

use std::alloc::{GlobalAlloc, Layout};

use expert_alloc::ExpertHeap;

/// A heap over a leaked region of `size` bytes, aligned to a page.
fn heap(size: usize) -> &'static ExpertHeap {
    let heap: &'static ExpertHeap = Box::leak(Box::new(ExpertHeap::empty()));
    let layout = layout(size, 4096);
    // SAFETY: the size is not 0.
    let region = unsafe { std::alloc::alloc(layout) };
    // SAFETY: leaked memory is nobody else's.
    assert_ne!(unsafe { heap.add_region(region, size) }, 0);
    heap
}

fn layout(size: usize, align: usize) -> Layout {
    Layout::from_size_align(size, align).unwrap()
}

/// A block of `size` bytes, not 0, aligned to 8.
fn take(heap: &ExpertHeap, size: usize) -> *mut u8 {
    // SAFETY: the size is not 0.
    unsafe { heap.alloc(layout(size, 8)) }
}

/// Frees a live block of `size` bytes from [`take`].
fn give(heap: &ExpertHeap, block: *mut u8, size: usize) {
    // SAFETY: the tests pass live blocks with their sizes, and no more use them.
    unsafe { heap.dealloc(block, layout(size, 8)) }
}

/// Resizes a live block from [`take`] from `old` to `new` bytes.
fn resize(heap: &ExpertHeap, block: *mut u8, old: usize, new: usize) -> *mut u8 {
    // SAFETY: as in `give`; the new size is not 0.
    unsafe { heap.realloc(block, layout(old, 8), new) }
}

/// Allocates blocks of these sizes side by side, each behind a wall of 8 bytes.
fn row<const N: usize>(heap: &ExpertHeap, sizes: [usize; N]) -> [*mut u8; N] {
    sizes.map(|size| {
        let blocks = [8, size].map(|size| take(heap, size));
        assert!(blocks.iter().all(|block| !block.is_null()));
        blocks[1]
    })
}

#[test]
fn a_request_takes_the_hole_of_its_size() {
    let granule = if usize::BITS > 32 { 32 } else { 8 };
    for size in [24, 500, 1_100, 7_000, 50_000, 200_000] {
        let heap = heap(1 << 20);
        let [hole, _] = row(heap, [size, size]);
        give(heap, hole, size);
        let again = take(heap, size - size / 100);
        let is_looked_at = !(64 * granule..granule << 10).contains(&size);
        assert_eq!(again == hole, is_looked_at, "{size}");
        heap.check().unwrap();
    }
}

#[test]
fn what_shrinks_much_moves_into_a_hole() {
    let heap = heap(64 << 10);
    let [hole, large, _] = row(heap, [104, 4_000, 8]);
    give(heap, hole, 104);
    // SAFETY: a live block of 4,000 bytes.
    unsafe { large.write_bytes(7, 4_000) };
    // The block shrinks to more than half its size, so it stays.
    assert_eq!(resize(heap, large, 4_000, 3_000), large);
    let small = resize(heap, large, 3_000, 100);
    assert_eq!(small, hole);
    // SAFETY: a live block of 100 bytes.
    let content = unsafe { std::slice::from_raw_parts(small, 100) };
    assert!(content.iter().all(|&byte| byte == 7));
    // The block left one hole.
    assert_eq!(take(heap, 3_900), large);
    // No hole is smaller than the block, so it stays.
    assert_eq!(resize(heap, large, 3_900, 1_000), large);
    heap.check().unwrap();
}

#[test]
fn what_may_not_move_shrinks_where_it_is() {
    let heap = heap(64 << 10);
    let expert = heap.expert("tight").quota(4_096).register().unwrap();
    let [hole, large, _] = [1_000, 2_800, 64].map(|size| expert.alloc(size).unwrap());
    expert.free(hole.as_ptr()).unwrap();
    // Both blocks together are more than the quota, but no refusal is counted for that.
    assert_eq!(expert.realloc(large.as_ptr(), 1_300), Ok(large));
    assert_eq!((expert.size(large.as_ptr()), expert.stats().refusals), (1_300, 0));
    // With room for both it moves.
    assert_eq!(expert.realloc(large.as_ptr(), 600), Ok(hole));
    assert_eq!((expert.size(hole.as_ptr()), expert.stats().live_blocks), (600, 2));
    heap.check().unwrap();
}

/// Fills a heap by random actions. Of ten actions, five allocate, one frees and four
/// resize, as in the experiment of the benchmarks.
#[test]
fn a_heap_of_blocks_resized_at_random_becomes_full() {
    const REGION: usize = 1 << 20;
    let mut state = 1_u64;
    let mut below = |limit: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) as usize % limit
    };
    let mut sum = 0;
    for _ in 0..16 {
        let heap = heap(REGION);
        let mut blocks = Vec::<(*mut u8, usize)>::new();
        loop {
            let action = below(10);
            if action < 5 {
                let cap = 16 + below(1_000);
                let size = 4 + below(cap);
                let block = take(heap, size);
                if block.is_null() {
                    break;
                }
                blocks.push((block, size));
            } else if !blocks.is_empty() {
                let (block, old) = blocks.swap_remove(below(blocks.len()));
                if action == 5 {
                    give(heap, block, old);
                    continue;
                }
                let size = 1 + below(10_000);
                let moved = resize(heap, block, old, size);
                if moved.is_null() {
                    blocks.push((block, old));
                    break;
                }
                blocks.push((moved, size));
            }
        }
        heap.check().unwrap();
        sum += blocks.iter().map(|(_, size)| size).sum::<usize>();
    }
    let percent = sum * 100 / (16 * REGION);
    println!("{percent} % of the region");
    assert!(percent >= 93, "{percent}");
}

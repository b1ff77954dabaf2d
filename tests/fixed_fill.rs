//! How full a fixed heap can be: which free block a request is cut out of, and
//! where a block goes that is resized.

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

/// Blocks of these sizes side by side, each behind a wall of 8 bytes.
fn row<const N: usize>(heap: &ExpertHeap, sizes: [usize; N]) -> [*mut u8; N] {
    sizes.map(|size| {
        // SAFETY: the layouts are not of size 0.
        let blocks = [layout(8, 8), layout(size, 8)].map(|layout| unsafe { heap.alloc(layout) });
        assert!(blocks.iter().all(|block| !block.is_null()));
        blocks[1]
    })
}

#[test]
fn a_request_takes_the_hole_of_its_size() {
    for size in [24, 500, 520, 7_000, 50_000, 200_000] {
        let heap = heap(1 << 20);
        let [hole, _] = row(heap, [size, size]);
        // SAFETY: the block is live, with this layout.
        unsafe { heap.dealloc(hole, layout(size, 8)) };
        // SAFETY: the layout is not of size 0.
        let again = unsafe { heap.alloc(layout(size - size / 100, 8)) };
        let exact = size < 512 || size >= 8 << 10;
        assert_eq!(again == hole, exact, "{size}");
        heap.check().unwrap();
    }
}

#[test]
fn what_shrinks_much_moves_into_a_hole() {
    let heap = heap(64 << 10);
    let [hole, large, _] = row(heap, [104, 4_000, 8]);
    // SAFETY: the layouts are not of size 0, and each block is used with its own.
    unsafe {
        heap.dealloc(hole, layout(104, 8));
        large.write_bytes(7, 4_000);
        // To more than a half: it stays.
        assert_eq!(heap.realloc(large, layout(4_000, 8), 3_000), large);
        let small = heap.realloc(large, layout(3_000, 8), 100);
        assert_eq!(small, hole);
        assert!((0..100).all(|n| *small.add(n) == 7));
        // What it left is one hole.
        assert_eq!(heap.alloc(layout(3_900, 8)), large);
        // There is no hole smaller than it is: it stays.
        assert_eq!(heap.realloc(large, layout(3_900, 8), 1_000), large);
    }
    heap.check().unwrap();
}

#[test]
fn what_may_not_move_shrinks_where_it_is() {
    let heap = heap(64 << 10);
    let expert = heap.expert("tight").quota(4_096).register().unwrap();
    let [hole, large, _] = [1_000, 2_800, 64].map(|size| expert.alloc(size).unwrap());
    expert.free(hole.as_ptr()).unwrap();
    // Both together are more than the quota; nothing is refused for that.
    assert_eq!(expert.realloc(large.as_ptr(), 1_300), Ok(large));
    assert_eq!((expert.size(large.as_ptr()), expert.stats().refusals), (1_300, 0));
    // With room for both it moves.
    assert_eq!(expert.realloc(large.as_ptr(), 600), Ok(hole));
    assert_eq!((expert.size(hole.as_ptr()), expert.stats().live_blocks), (600, 2));
    heap.check().unwrap();
}

/// Of ten actions five allocate, one frees and four resize, as in the
/// experiment of the benchmarks.
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
        let mut blocks = Vec::<(*mut u8, Layout)>::new();
        loop {
            let action = below(10);
            if action < 5 {
                let cap = 16 + below(1_000);
                let layout = layout(4 + below(cap), 8);
                // SAFETY: the size is not 0.
                let block = unsafe { heap.alloc(layout) };
                if block.is_null() {
                    break;
                }
                blocks.push((block, layout));
            } else if !blocks.is_empty() {
                let (block, old) = blocks.swap_remove(below(blocks.len()));
                if action == 5 {
                    // SAFETY: the block is live, with this layout.
                    unsafe { heap.dealloc(block, old) };
                    continue;
                }
                let size = 1 + below(10_000);
                // SAFETY: the block is live, with this layout; the size is not 0.
                let moved = unsafe { heap.realloc(block, old, size) };
                if moved.is_null() {
                    blocks.push((block, old));
                    break;
                }
                blocks.push((moved, layout(size, 8)));
            }
        }
        heap.check().unwrap();
        sum += blocks.iter().map(|(_, layout)| layout.size()).sum::<usize>();
    }
    let percent = sum * 100 / (16 * REGION);
    println!("{percent} % of the region");
    assert!(percent >= 93, "{percent}");
}

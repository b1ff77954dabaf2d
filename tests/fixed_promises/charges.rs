//! Charges, counts and refusals.

use std::alloc::GlobalAlloc;

use allocator_api2::alloc::Allocator;
use expert_alloc::Error;

use crate::{assert_charged, fill, give, heap, is_filled, layout, resize, take, write};

#[test]
fn the_host_is_charged_what_it_holds() {
    let heap = heap(512 << 10);
    let stats = || {
        heap.check().unwrap();
        let stats = heap.host().stats();
        assert_charged(stats);
        stats
    };
    let block = take(heap, 100);
    let first = stats();
    assert!(first.peak_bytes >= 108);
    // The block grows and shrinks in place.
    assert_eq!(resize(heap, block, 100, 5_000), block);
    assert!(stats().charged_bytes >= 5_008 && stats().peak_bytes >= 5_008);
    assert_eq!(resize(heap, block, 5_000, 3_000), block);
    assert!(stats().charged_bytes < 3_100);
    // The block moves away from a wall, and into a hole.
    let wall = take(heap, 8);
    let moved = resize(heap, block, 3_000, 9_000);
    assert_ne!(moved, block);
    stats();
    let hole = take(heap, 104);
    let last = take(heap, 8);
    give(heap, hole, 104);
    let small = resize(heap, moved, 9_000, 100);
    stats();
    for (block, size) in [(small, 100), (wall, 8), (last, 8)] {
        give(heap, block, size);
        stats();
    }
    assert_eq!((stats().charged_bytes, stats().live_blocks), (0, 0));
    assert!(stats().peak_bytes >= 9_000);
}

/// Tests sizes around the most that is copied under the lock, and around the size from
/// which on room is found in another way.
#[test]
fn what_moves_keeps_its_content_and_leaves_nothing() {
    for size in [1_000, 16_383, 16_384, 16_385, 20_000, 32_000, 50_000] {
        for align in [8, 64, 512] {
            let heap = heap(1 << 20);
            let (old, new) = (layout(size, align), size + 700);
            // SAFETY: no size is 0, and each block is used with its own layout.
            let (block, wall) = unsafe { (heap.alloc(old), take(heap, 8)) };
            assert!(!block.is_null() && !wall.is_null());
            write(block, size, 3);
            // SAFETY: as above.
            let moved = unsafe { heap.realloc(block, old, new) };
            assert!(!moved.is_null() && moved.addr() % align == 0);
            assert!(is_filled(moved, size, 3), "{size}, {align}");
            assert_charged(heap.host().stats());
            // SAFETY: as above.
            unsafe { heap.dealloc(moved, layout(new, align)) };
            give(heap, wall, 8);
            assert_eq!(heap.check().unwrap().live_blocks, 0, "{size}, {align}");
        }
    }
}

/// The quota has room for the difference only, without the bytes that would be kept behind
/// the block.
#[test]
fn a_block_that_moves_to_be_aligned_needs_quota_for_no_more_than_its_size() {
    for round in 0..4 {
        let heap = heap(64 << 10);
        // Each reduces the bytes that would be kept behind by 64.
        for _ in 0..round {
            // SAFETY: the layout is not of size 0.
            assert!(!unsafe { heap.alloc(layout(24, 64)) }.is_null());
        }
        let expert = heap.expert("tight").quota(620).register().unwrap();
        let handle = expert.allocator();
        let (small, large) = (layout(24, 8), layout(600, 256));
        let block = handle.allocate(small).unwrap();
        // SAFETY: a live block with its layout.
        let moved = unsafe { handle.grow(block.cast(), small, large) };
        assert!(moved.is_ok_and(|at| at.cast::<u8>().addr().get() % 256 == 0), "{round}");
        assert_eq!(expert.stats().refusals, 0);
        assert_charged(expert.stats());
        heap.check().unwrap();
    }
}

/// There is a hole, but the quota has no room for both blocks at the same time.
#[test]
fn what_shrinks_moves_into_a_hole_within_the_quota_only() {
    let heap = heap(64 << 10);
    let expert = heap.expert("tight").quota(3_000).register().unwrap();
    let hole = (take(heap, 1_000), take(heap, 8)).0;
    let large = expert.alloc(2_800).unwrap();
    give(heap, hole, 1_000);
    assert_eq!(expert.realloc(large.as_ptr(), 900), Ok(large));
    assert!(expert.stats().peak_bytes <= 3_000 && expert.stats().refusals == 0);
    assert_eq!(expert.state(), expert_alloc::State::Live);
    assert_charged(expert.stats());
    // With room for both it moves.
    assert_eq!(expert.realloc(large.as_ptr(), 2_040), Ok(large));
    let small = expert.realloc(large.as_ptr(), 900).unwrap();
    // The alignment is 16, which is more than a granule on 32-bit targets.
    assert!((hole.addr()..hole.addr() + 16).contains(&small.addr().get()));
    heap.check().unwrap();
}

#[test]
fn a_realloc_within_the_quota_that_finds_no_room_is_out_of_memory() {
    let heap = heap(8 << 10);
    let expert = heap.expert("modest").quota(4096).register().unwrap();
    let block = expert.alloc(2_000).unwrap();
    fill(heap);
    assert_eq!(expert.realloc(block.as_ptr(), 3_000), Err(Error::OutOfMemory));
    assert_eq!((expert.stats().refusals, expert.size(block.as_ptr())), (0, 2_000));
}

#[test]
fn refusals_are_counted_where_a_block_would_grow_in_place_or_go_to_another() {
    let heap = heap(64 << 10);
    let tight = heap.expert("tight").quota(256).register().unwrap();
    let block = tight.alloc(100).unwrap().as_ptr();
    assert_eq!(tight.realloc(block, 1_000), Err(Error::QuotaExceeded));
    assert_eq!(tight.stats().refusals, 1);
    let other = heap.expert("other").register().unwrap();
    let large = other.alloc(200).unwrap().as_ptr();
    assert_eq!(other.transfer(large, &tight), Err(Error::QuotaExceeded));
    assert_eq!((tight.stats().refusals, other.stats().refusals), (2, 0));
    assert_eq!((other.size(large), tight.size(large)), (200, 0));
    for expert in [&tight, &other] {
        assert_charged(expert.stats());
    }
}

#[test]
fn a_parent_is_charged_what_its_children_are_at_any_time() {
    let heap = heap(64 << 10);
    let parent = heap.expert("parent").quota(2048).register().unwrap();
    let [one, two] =
        ["one", "two"].map(|name| heap.expert(name).parent(&parent).register().unwrap());
    let assert_sum = || {
        let sum = one.stats().charged_bytes + two.stats().charged_bytes;
        assert_eq!(parent.stats().charged_bytes, sum);
    };
    for _ in 0..3 {
        let block = one.alloc(1_500).unwrap();
        assert_sum();
        // The parent has room for it, once.
        assert_eq!(one.transfer(block.as_ptr(), &two), Ok(block));
        assert_sum();
        two.free(block.as_ptr()).unwrap();
        assert_sum();
    }
    assert_eq!(parent.stats().charged_bytes, 0);
    one.alloc(100).unwrap();
    assert_sum();
    assert!((1_508..2_048).contains(&parent.stats().peak_bytes), "{:?}", parent.stats());
    assert!((1_508..2_048).contains(&one.stats().peak_bytes), "{:?}", one.stats());
}

#[test]
fn allocations_and_frees_are_counted() {
    let heap = heap(64 << 10);
    let expert = heap.expert("counted").register().unwrap();
    let blocks = [(); 5].map(|()| expert.alloc(100).unwrap().as_ptr());
    blocks[..2].iter().for_each(|&block| expert.free(block).unwrap());
    let stats = expert.stats();
    assert_eq!((stats.allocations, stats.frees, stats.live_blocks), (5, 2, 3));
    give(heap, take(heap, 100), 100);
    let stats = heap.host().stats();
    assert_eq!((stats.allocations - stats.frees, stats.live_blocks), (0, 0));
    assert!(stats.frees >= 1);
}

#[test]
fn nothing_is_charged_for_blocks_of_no_bytes() {
    let heap = heap(64 << 10);
    let expert = heap.expert("empty").register().unwrap();
    let handle = expert.allocator();
    let (none, some) = (layout(0, 64), layout(100, 64));
    let block = handle.allocate(none).unwrap().cast::<u8>();
    assert_eq!((block.addr().get() % 64, expert.stats().live_blocks), (0, 0));
    // SAFETY: in all of these a live block with its layout.
    let block = unsafe { handle.grow(block, none, some) }.unwrap().cast::<u8>();
    assert_eq!(expert.stats().live_blocks, 1);
    // SAFETY: as above.
    let block = unsafe { handle.shrink(block, some, none) }.unwrap().cast::<u8>();
    assert_eq!(expert.stats().live_blocks, 0);
    // SAFETY: as above.
    unsafe { handle.deallocate(block, none) };
    assert_eq!(expert.stats().live_blocks, 0);
    heap.check().unwrap();
}

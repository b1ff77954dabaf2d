//! Tests where blocks are placed, and which of them stay.

use std::alloc::GlobalAlloc;

use allocator_api2::alloc::Allocator;

use crate::{GRANULE, assert_charged, fill, give, heap, is_filled, layout, resize, take, write};

#[test]
#[cfg(target_pointer_width = "64")]
fn an_aligned_block_keeps_what_is_behind_it_up_to_256_bytes() {
    for align in [64, 128, 256, 512, 4096] {
        let due = if align <= 256 { align } else { GRANULE };
        let small = layout(24, align);
        // Of the host.
        let heap = heap(64 << 10);
        // SAFETY: the layout is not of size 0.
        let first = unsafe { heap.alloc(small) };
        let before = heap.host().stats().charged_bytes;
        // SAFETY: as above.
        let second = unsafe { heap.alloc(small) };
        assert!(first.addr() % align == 0 && second.addr() % align == 0);
        assert_eq!(heap.host().stats().charged_bytes - before, due, "{align}");
        if align <= 256 {
            assert_eq!(second.addr() + align, first.addr(), "from the end, {align}");
        }
        // The expert once had more memory; at its peak the block is cut as exactly as
        // possible.
        let expert = heap.expert("aligned").register().unwrap();
        let handle = expert.allocator();
        let more = expert.alloc(10_000).unwrap();
        expert.free(more.as_ptr()).unwrap();
        assert!(handle.allocate(small).is_ok());
        let before = expert.stats().charged_bytes;
        assert!(handle.allocate(small).is_ok());
        assert_eq!(expert.stats().charged_bytes - before, due, "{align}");
        heap.check().unwrap();
    }
}

/// A block that grows is not cut from the end, as a new one is.
#[test]
#[cfg(target_pointer_width = "64")]
fn an_aligned_block_that_grows_gets_room_behind_it() {
    let heap = heap(64 << 10);
    // SAFETY: no size is 0, and each block is used with its own layout.
    let grow = |block, old, new| unsafe { heap.realloc(block, layout(old, 64), new) };
    // SAFETY: as above.
    let block = unsafe { heap.alloc(layout(100, 64)) };
    let grown = grow(block, 100, 5_000);
    assert_ne!(grown, block);
    assert_eq!(grow(grown, 5_000, 9_000), grown);
    heap.check().unwrap();
}

/// With sizes of which 4 share a list, only a search finds the hole.
#[test]
fn the_only_hole_is_found_behind_smaller_ones_of_its_list() {
    for smaller in [0, 1, 15] {
        let heap = heap(256 << 10);
        let (size, less) = (67 * GRANULE - 8, 64 * GRANULE - 8);
        let hole = take(heap, size);
        take(heap, 8);
        let others: Vec<_> = (0..smaller).map(|_| (take(heap, less), take(heap, 8)).0).collect();
        fill(heap);
        give(heap, hole, size);
        others.into_iter().for_each(|other| give(heap, other, less));
        assert_eq!(take(heap, size), hole, "behind {smaller}");
        heap.check().unwrap();
    }
}

#[test]
fn a_hole_that_is_aligned_by_chance_is_found_behind_one_that_is_not() {
    let heap = heap(256 << 10);
    let align = 512;
    let (size, more) = (2 * GRANULE - 8, 3 * GRANULE - 8);
    let crooked = loop {
        let block = take(heap, size);
        take(heap, 8);
        if block.addr() % align != 0 {
            break block;
        }
    };
    let straight = loop {
        let block = take(heap, more);
        take(heap, 8);
        if block.addr() % align == 0 {
            break block;
        }
    };
    fill(heap);
    give(heap, straight, more);
    give(heap, crooked, size);
    // SAFETY: the layout is not of size 0.
    assert_eq!(unsafe { heap.alloc(layout(size, align)) }, straight);
    heap.check().unwrap();
}

/// The number of steps of a refusal does not depend on the number of blocks that are nearly
/// large enough.
#[test]
fn a_refusal_takes_as_long_among_many_holes_as_among_few() {
    let time = |holes: usize| {
        let heap = heap(holes * 4 * GRANULE + (16 << 10));
        let size = 2 * GRANULE - 8;
        let blocks: Vec<_> = (0..holes).map(|_| (take(heap, size), take(heap, 8)).0).collect();
        fill(heap);
        let crooked = blocks.into_iter().filter(|block| block.addr() % 4096 != 0);
        crooked.for_each(|block| give(heap, block, size));
        let tries = (0..20).map(|_| {
            let began = std::time::Instant::now();
            for _ in 0..20 {
                // SAFETY: the layout is not of size 0.
                assert!(unsafe { heap.alloc(layout(size, 4096)) }.is_null());
            }
            began.elapsed()
        });
        tries.min().unwrap()
    };
    let (few, many) = (time(20), time(50_000));
    assert!(many < few * 20, "{few:?}, {many:?}");
}

#[test]
fn what_shrinks_stays_only_while_there_is_a_free_block_512_times_as_large() {
    for (region, stays) in [(4 << 20, true), (1 << 20, false)] {
        let heap = heap(region);
        let hole = (take(heap, 104), take(heap, 8)).0;
        let large = (take(heap, 4_000), take(heap, 8)).0;
        give(heap, hole, 104);
        let small = resize(heap, large, 4_000, 100);
        assert_eq!(small, if stays { large } else { hole }, "{region}");
        heap.check().unwrap();
    }
}

#[test]
fn what_shrinks_to_less_than_a_half_moves_into_a_hole() {
    let heap = heap(64 << 10);
    let hole = (take(heap, 1_990), take(heap, 8)).0;
    let large = (take(heap, 4_000), take(heap, 8)).0;
    give(heap, hole, 1_990);
    assert_eq!(resize(heap, large, 4_000, 1_900), hole);
    heap.check().unwrap();
}

#[test]
fn what_shrinks_to_more_than_a_half_stays_where_it_is() {
    let heap = heap(64 << 10);
    let hole = (take(heap, 3_100), take(heap, 8)).0;
    let large = (take(heap, 4_000), take(heap, 8)).0;
    give(heap, hole, 3_100);
    assert_eq!(resize(heap, large, 4_000, 2_950), large);
    heap.check().unwrap();
}

/// Memory is plenty, so the block does not move.
#[test]
fn a_block_that_shrinks_gives_back_all_but_a_step() {
    let heap = heap(1 << 20);
    let block = (take(heap, 88), take(heap, 8)).0;
    let before = heap.host().stats().charged_bytes;
    assert_eq!(resize(heap, block, 88, 24), block);
    assert_eq!(before - heap.host().stats().charged_bytes, 64);
    heap.check().unwrap();
}

#[test]
fn a_block_that_grows_in_place_takes_no_more_than_it_needs() {
    let heap = heap(64 << 10);
    let [block, behind, _wall] = [100, 2_000, 8].map(|size| take(heap, size));
    give(heap, behind, 2_000);
    let before = heap.host().stats().charged_bytes;
    assert_eq!(resize(heap, block, 100, 200), block);
    assert!(heap.host().stats().charged_bytes - before < 100 + GRANULE);
    heap.check().unwrap();
}

#[test]
fn a_block_between_two_holes_grows_over_both() {
    let heap = heap(64 << 10);
    let [before, block, behind, wall] = [2_000, 100, 2_000, 8].map(|size| take(heap, size));
    fill(heap);
    write(block, 100, 5);
    give(heap, before, 2_000);
    give(heap, behind, 2_000);
    let whole = wall.addr() - before.addr() - 8;
    assert!(take(heap, whole).is_null());
    assert_eq!(resize(heap, block, 100, whole), before);
    assert!(is_filled(before, 100, 5));
    assert_charged(heap.host().stats());
    heap.check().unwrap();
}

#[test]
fn an_experts_block_that_grows_stays_where_it_can() {
    let heap = heap(64 << 10);
    let expert = heap.expert("growing").register().unwrap();
    let block = expert.alloc(100).unwrap();
    assert_eq!(expert.realloc(block.as_ptr(), 5_000), Ok(block), "into the rest");
    let [behind, wall] = [2_000, 200].map(|size| expert.alloc(size).unwrap());
    expert.free(behind.as_ptr()).unwrap();
    let whole = wall.addr().get() - block.addr().get() - 8;
    assert_eq!(expert.realloc(block.as_ptr(), whole), Ok(block), "up to the wall");
    heap.check().unwrap();
}

/// Counts the steps of all calls whose time must not depend on the number of blocks.
#[test]
fn what_is_bounded_takes_as_long_among_many_blocks_as_among_few() {
    fn time(blocks: usize) -> [std::time::Duration; 6] {
        let heap = heap(blocks * 2 * GRANULE.max(16) + (64 << 10));
        let expert = heap.expert("timed").register().unwrap();
        let other = heap.expert("other").register().unwrap();
        assert!((0..blocks).all(|_| !take(heap, 8).is_null()));
        let acts: [&dyn Fn(); 6] = [
            &|| expert.free(expert.alloc(100).unwrap().as_ptr()).unwrap(),
            &|| {
                let block = expert.alloc(100).unwrap().as_ptr();
                assert_eq!(expert.size(block), 100);
                let block = expert.realloc(block, 300).unwrap().as_ptr();
                expert.free(block).unwrap();
            },
            &|| {
                let block = expert.alloc(100).unwrap().as_ptr();
                let block = expert.transfer(block, &other).unwrap().as_ptr();
                other.free(block).unwrap();
            },
            &|| {
                let block = resize(heap, take(heap, 100), 100, 300);
                give(heap, resize(heap, block, 300, 100), 100);
            },
            &|| {
                let aligned = layout(100, 512);
                // SAFETY: the layout is not of size 0.
                let block = unsafe { heap.alloc(aligned) };
                // SAFETY: a live block with its layout.
                unsafe { heap.dealloc(block, aligned) };
            },
            &|| {
                let handle = expert.allocator();
                let block = handle.allocate(layout(100, 8)).unwrap().cast();
                // SAFETY: a live block with its layout.
                let block = unsafe { handle.grow(block, layout(100, 8), layout(300, 8)) };
                // SAFETY: as above.
                unsafe { handle.deallocate(block.unwrap().cast(), layout(300, 8)) };
            },
        ];
        acts.map(|act| {
            let tries = (0..30).map(|_| {
                let began = std::time::Instant::now();
                (0..10).for_each(|_| act());
                began.elapsed()
            });
            tries.min().unwrap()
        })
    }
    let (few, many) = (time(20), time(50_000));
    let bounded = few.iter().zip(&many).all(|(few, many)| *many < *few * 10);
    assert!(bounded, "{few:?}, {many:?}");
}

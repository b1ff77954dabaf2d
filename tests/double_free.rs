//! A block that is freed twice is handed out once, and nothing else breaks.
//!
//! A second free breaks the contract of every way to allocate except the raw calls, so some
//! memory may be lost. Each test has an expert of its own, whose end brings all of it back.

mod common;

use std::alloc::{GlobalAlloc, Layout};
use std::collections::BTreeSet;
use std::ptr::NonNull;

use allocator_api2::alloc::Allocator;
use common::ALLOC;
use expert_alloc::{Error, Expert, testing};

const LAYOUT: Layout = Layout::new::<[u64; 6]>();

fn allocate(expert: &Expert) -> NonNull<u8> {
    let block: NonNull<u8> = expert.allocator().allocate(LAYOUT).unwrap().cast();
    // SAFETY: fresh, and of this size.
    unsafe { block.write_bytes(0xEE, LAYOUT.size()) };
    block
}

fn free(expert: &Expert, block: usize) {
    let block = NonNull::new(block as *mut u8).unwrap();
    // SAFETY: it was a block of this layout; a second free is what is tested.
    unsafe { expert.allocator().deallocate(block, LAYOUT) };
}

/// Frees one of ten blocks twice by `free_twice`, and allocates thousands. If another
/// thread made the second free, it is noticed when the span's own thread collects enough
/// such frees at a time, which is later than here.
fn handed_out_once(is_noticed: bool, free_twice: impl FnOnce(&Expert, usize)) {
    let expert = ALLOC.expert("twice").register().unwrap();
    let blocks: Vec<usize> = (0..10).map(|_| allocate(&expert).addr().get()).collect();
    let refused = testing::stats().refused_frees;
    free_twice(&expert, blocks[5]);
    let mut live: BTreeSet<usize> = blocks.iter().copied().filter(|&at| at != blocks[5]).collect();
    for _ in 0..1000 {
        let block = allocate(&expert).addr().get();
        assert!(live.insert(block), "{block:#x} was handed out twice");
    }
    // The rest of the heap still works.
    live.iter().for_each(|&block| free(&expert, block));
    let again: BTreeSet<usize> = (0..5000).map(|_| allocate(&expert).addr().get()).collect();
    assert_eq!(again.len(), 5000, "handed out twice");
    let noticed = testing::stats().refused_frees > refused;
    assert!(noticed || !is_noticed, "noticed when its turn came");
    let _ = expert.finish();
}

#[test]
fn by_its_own_thread() {
    handed_out_once(true, |expert, block| {
        free(expert, block);
        free(expert, block);
    });
}

#[test]
fn by_another_thread() {
    handed_out_once(false, |expert, block| {
        std::thread::scope(|scope| {
            scope.spawn(|| {
                free(expert, block);
                free(expert, block);
            });
        });
    });
}

#[test]
fn by_two_threads() {
    handed_out_once(false, |expert, block| {
        free(expert, block);
        std::thread::scope(|scope| {
            scope.spawn(|| free(expert, block));
        });
    });
}

#[test]
fn after_others_were_freed() {
    handed_out_once(true, |expert, block| {
        free(expert, block);
        let others: Vec<usize> = (0..100).map(|_| allocate(expert).addr().get()).collect();
        let is_back = others.contains(&block);
        others.iter().for_each(|&other| free(expert, other));
        if !is_back {
            free(expert, block);
        }
        free(expert, block);
    });
}

#[test]
fn large_blocks_are_refused_at_once() {
    let expert = ALLOC.expert("large").register().unwrap();
    // A block that has a chunk to itself is given back with it: below 4 MiB on
    // 32-bit targets.
    let largest = if usize::BITS == 64 { 8 << 20 } else { 2 << 20 };
    for size in [100 << 10, 1 << 20, largest] {
        let layout = Layout::from_size_align(size, 8).unwrap();
        let block: NonNull<u8> = expert.allocator().allocate(layout).unwrap().cast();
        let refused = testing::stats().refused_frees;
        // SAFETY: a live block of this layout.
        unsafe { expert.allocator().deallocate(block, layout) };
        // SAFETY: none; it is what is tested.
        unsafe { expert.allocator().deallocate(block, layout) };
        assert!(testing::stats().refused_frees > refused, "{size} bytes");
    }
    assert_eq!(expert.stats().live_blocks, 0);
}

/// Gives the owner of the current scope spans of its own, by allocating a lot.
fn make_busy() {
    let busy = testing::count(testing::Path::BusyOwner);
    for _ in 0..100 {
        drop((0..100).map(|_| Box::new([1_u64; 8])).collect::<Vec<_>>());
    }
    assert!(testing::count(testing::Path::BusyOwner) > busy);
}

/// The span of a block that was freed twice does not end, not even after it is adopted and
/// merged with the host's.
#[test]
fn and_adopted_by_the_host() {
    let layout = Layout::from_size_align(20_480, 8).unwrap();
    // SAFETY: this size, in whatever scope.
    let take = || unsafe { ALLOC.alloc(layout) } as usize;
    // SAFETY: blocks of this layout; a second free is what is tested.
    let give = |block: usize| unsafe { ALLOC.dealloc(block as *mut u8, layout) };
    let old = ALLOC.expert("old").register().unwrap();
    let scope = old.enter();
    make_busy();
    // Nine blocks fill a span, so the last block is in another.
    let blocks: Vec<usize> = (0..10).map(|_| take()).collect();
    drop(scope);
    blocks[..8].iter().for_each(|&block| give(block));
    let twice = blocks[0];
    std::thread::scope(|scope| scope.spawn(|| give(twice)).join().unwrap());
    let _ = old.finish();
    ALLOC.purge();
    // The next cache gets the record of the merged one.
    let new = ALLOC.expert("new").register().unwrap();
    let scope = new.enter();
    make_busy();
    let others: Vec<usize> = (0..27).map(|_| take()).collect();
    let freed = [others[0], others[1], others[2], others[9], others[10], others[11]];
    freed.iter().for_each(|&block| give(block));
    give(blocks[8]);
    let charged = new.stats().charged_bytes;
    let found = (0..6).map(|_| take()).filter(|block| freed.contains(block)).count();
    drop(scope);
    assert_eq!((found, new.stats().charged_bytes), (6, charged));
    give(blocks[9]);
    // SAFETY: nobody looks at the blocks any more, and no scope is open.
    let _ = unsafe { new.reclaim_all() };
}

/// The raw calls promise an error, whatever happened in between.
#[test]
fn raw_blocks_are_refused_with_an_error() {
    let expert = ALLOC.expert("raw").register().unwrap();
    for size in [0, 10, 1000, 20_000, 100 << 10, 40 << 20] {
        let block = expert.alloc(size).unwrap();
        assert_eq!(expert.free(block.as_ptr()), Ok(()));
        for _ in 0..3 {
            assert_eq!(expert.free(block.as_ptr()), Err(Error::InvalidPointer));
            assert_eq!(
                expert.realloc(block.as_ptr(), 5).err(),
                Some(Error::InvalidPointer),
                "{size}"
            );
        }
    }
    // One of many threads frees it.
    for _ in 0..200 {
        let block = expert.alloc(100).unwrap().addr().get();
        let frees = std::thread::scope(|scope| {
            let free = || usize::from(expert.free(block as *mut u8).is_ok());
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(free)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum::<usize>()
        });
        assert_eq!(frees, 1);
    }
    assert_eq!(expert.stats().live_blocks, 0);
}

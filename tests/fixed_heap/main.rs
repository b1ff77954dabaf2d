//! Tests of experts in a fixed heap, through the public interface: the contract of the
//! Netmon calls, and all other calls of a heap.

#[path = "../common/mod.rs"]
mod common;
mod experts;
mod pointers;
mod regions;

use std::alloc::{GlobalAlloc, Layout};
use std::mem::MaybeUninit;

use allocator_api2::alloc::Allocator;
use expert_alloc::{Error, ExpertHeap};

/// The most bytes of a region that no block can use.
const LOST: usize = if usize::BITS == 64 { 86 } else { 30 };

/// A heap over a leaked region of `size` bytes.
fn heap(size: usize) -> &'static ExpertHeap {
    let heap: &'static ExpertHeap = Box::leak(Box::new(ExpertHeap::empty()));
    add_region(heap, size);
    heap
}

fn add_region(heap: &ExpertHeap, size: usize) -> std::ops::Range<usize> {
    let memory: &'static mut [MaybeUninit<u8>] = vec![MaybeUninit::uninit(); size].leak();
    let range = memory.as_ptr_range();
    // SAFETY: leaked memory is nobody else's.
    let usable = unsafe { heap.add_region(memory.as_mut_ptr().cast(), size) };
    // On 64-bit targets, each 4 GiB of addresses except the first needs an index.
    let index = if usize::BITS == 64 { 800 } else { 0 };
    assert!(usable + LOST + index >= size);
    range.start.addr()..range.end.addr()
}

fn layout(size: usize, align: usize) -> Layout {
    Layout::from_size_align(size, align).unwrap()
}

#[test]
fn an_empty_heap_refuses_and_knows_nothing() {
    let heap: ExpertHeap = ExpertHeap::empty();
    assert!(size_of::<ExpertHeap>() <= 1024);
    // SAFETY: the layout is not of size 0.
    assert!(unsafe { heap.alloc(layout(8, 8)) }.is_null());
    assert!(matches!(heap.expert("nobody").register(), Err(Error::OutOfMemory)));
    assert_eq!(heap.owner_of(&raw const heap), None);
    assert_eq!(heap.stats().live_blocks, 0);
    heap.check().unwrap();
}

#[test]
fn raw_blocks_keep_the_contract() {
    let heap = heap(16 << 10);
    let expert = heap.expert("raw").register().unwrap();
    let block = expert.alloc(100).unwrap();
    assert_eq!(block.addr().get() % 16, 0);
    assert_eq!(expert.size(block.as_ptr()), 100);
    assert_eq!(heap.owner_of(block.as_ptr()), Some(expert.key()));
    // Fresh memory is zero-filled, and so are the bytes that a realloc adds.
    let bytes = |at: std::ptr::NonNull<u8>, n| {
        // SAFETY: the block is live and at least `n` bytes long.
        unsafe { std::slice::from_raw_parts(at.as_ptr(), n) }
    };
    assert!(bytes(block, 100).iter().all(|&byte| byte == 0));
    // SAFETY: the block is live and 100 bytes long.
    unsafe { block.write_bytes(7, 100) };
    let block = expert.realloc(block.as_ptr(), 300).unwrap();
    assert!(bytes(block, 100).iter().all(|&byte| byte == 7));
    assert!(bytes(block, 300)[100..].iter().all(|&byte| byte == 0));
    // Size 0 is a block of its own.
    let empty = [expert.alloc(0).unwrap(), expert.alloc(0).unwrap()];
    assert_ne!(empty[0], empty[1]);
    assert_eq!((expert.size(empty[0].as_ptr()), expert.free(empty[0].as_ptr())), (0, Ok(())));
    assert_eq!(expert.free(std::ptr::null_mut()), Ok(()));
    let grown = expert.realloc(std::ptr::null_mut(), 9).unwrap();
    assert_eq!(expert.size(grown.as_ptr()), 9);
    let reclaimed = expert.finish();
    assert_eq!(reclaimed.blocks, 3);
    assert_eq!(heap.owner_of(grown.as_ptr()), None);
    assert_eq!(heap.check().unwrap().live_blocks, 0);
}

#[test]
fn a_request_beyond_all_memory_is_refused_alike_by_alloc_and_realloc() {
    let heap = heap(16 << 10);
    let expert = heap.expert("modest").quota(4096).register().unwrap();
    let block = expert.alloc(100).unwrap().as_ptr();
    for (n, size) in [5000, i32::MAX as usize - 8, usize::MAX].into_iter().enumerate() {
        assert_eq!(expert.alloc(size), Err(Error::QuotaExceeded));
        assert_eq!(expert.realloc(block, size), Err(Error::QuotaExceeded), "{size}");
        assert_eq!(expert.stats().refusals, 2 * (n as u64 + 1));
    }
    assert_eq!(expert.size(block), 100);
}

/// On 32-bit targets a hole of 40 bytes is 8 bytes too large, and 8 bytes are no block.
#[test]
fn a_quota_grants_what_fits_though_a_crumb_is_left() {
    let heap = heap(8 << 10);
    let (word, small) = (layout(32, 4), layout(24, 4));
    let other = heap.expert("other").register().unwrap();
    let [hole, _wall] = [(); 2].map(|()| other.allocator().allocate(word).unwrap());
    // SAFETY: a live block of this layout.
    unsafe { other.allocator().deallocate(hole.cast(), word) };
    let tight = heap.expert("tight").quota(32).register().unwrap();
    let block = tight.allocator().allocate(small).unwrap();
    assert_eq!((tight.stats().charged_bytes, tight.stats().refusals), (32, 0));
    heap.check().unwrap();
    assert!(tight.allocator().allocate(small).is_err());
    // SAFETY: a live block of this layout.
    unsafe { tight.allocator().deallocate(block.cast(), small) };
    heap.check().unwrap();
}

#[test]
fn a_quota_counts_headers_and_lets_a_realloc_at_the_limit_through() {
    let heap = heap(64 << 10);
    let expert = heap.expert("tight").quota(1024).register().unwrap();
    let mut blocks = Vec::new();
    let error = loop {
        match expert.alloc(24) {
            Ok(block) => blocks.push(block),
            Err(error) => break error,
        }
    };
    assert_eq!(error, Error::QuotaExceeded);
    assert!(blocks.len() >= 1024 / 32 - 1, "{}", blocks.len());
    assert!((1024 - 32 + 1..=1024).contains(&expert.stats().charged_bytes));
    assert_eq!(expert.stats().refusals, 1);
    assert_eq!(expert.alloc(1 << 30), Err(Error::QuotaExceeded));
    // At the quota, a block can be resized in place, shrink, or move if only the difference
    // is charged.
    assert_eq!(expert.realloc(blocks[0].as_ptr(), 20), Ok(blocks[0]));
    for block in blocks.drain(1..) {
        expert.free(block.as_ptr()).unwrap();
    }
    let large = expert.alloc(500).unwrap();
    let _wall = expert.alloc(8).unwrap();
    let moved = expert.realloc(large.as_ptr(), 900).unwrap();
    assert_ne!(moved, large);
    assert!(expert.stats().charged_bytes <= 1024);
    assert_eq!(expert.realloc(moved.as_ptr(), 2000), Err(Error::QuotaExceeded));
    assert_eq!(expert.size(moved.as_ptr()), 900);
}

#[test]
fn a_child_does_not_escape_its_parent() {
    let heap = heap(64 << 10);
    let parent = heap.expert("parent").quota(2048).register().unwrap();
    let child = heap.expert("child").parent(&parent).register().unwrap();
    child.alloc(1500).unwrap();
    assert_eq!(parent.alloc(1000), Err(Error::QuotaExceeded));
    assert_eq!(child.alloc(1000), Err(Error::QuotaExceeded));
    parent.terminate();
    assert_eq!(child.alloc(1), Err(Error::ParentStopped));
    let _ = child.finish();
    assert_eq!(parent.stats().charged_bytes, 0);
}

#[test]
fn collections_live_in_an_experts_memory() {
    let heap = heap(64 << 10);
    let expert = heap.expert("collections").quota(48 << 10).register().unwrap();
    {
        let mut map = hashbrown::HashMap::<u32, u32, std::hash::RandomState, _>::with_hasher_in(
            Default::default(),
            expert.allocator(),
        );
        (0..500).for_each(|n| assert!(map.insert(n, n).is_none()));
        assert!((0..500).all(|n| map[&n] == n));
        assert!(expert.stats().live_bytes >= 500 * 8);
    }
    assert_eq!(expert.stats().live_blocks, 0);
    heap.check().unwrap();
}

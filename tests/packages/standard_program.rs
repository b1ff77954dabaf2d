//! A program with collections of the standard library over handles, which
//! standard_allocator.rs builds with several compilers.

#![cfg_attr(feature = "gate", feature(allocator_api))]

use std::ptr::NonNull;

use expert_alloc::{Expert, ExpertKey, Home};

#[cfg(feature = "host")]
fn with_expert(f: impl FnOnce(&Expert, &dyn Fn(*const u8) -> Option<ExpertKey>)) {
    use expert_alloc::ExpertAlloc;

    #[global_allocator]
    static ALLOC: ExpertAlloc = ExpertAlloc::new();

    let expert = ALLOC.expert("standard").quota(1 << 20).register().unwrap();
    f(&expert, &|address| ALLOC.owner_of(address));
    assert_eq!(expert.stats().live_blocks, 0);
}

#[cfg(not(feature = "host"))]
fn with_expert(f: impl FnOnce(&Expert, &dyn Fn(*const u8) -> Option<ExpertKey>)) {
    use expert_alloc::ExpertHeap;

    static HEAP: ExpertHeap = ExpertHeap::empty();

    let memory = Box::leak(vec![0_u8; 1 << 20].into_boxed_slice());
    // SAFETY: leaked memory is nobody else's.
    unsafe { HEAP.add_region(memory.as_mut_ptr(), memory.len()) };
    let expert = HEAP.expert("standard").quota(512 << 10).register().unwrap();
    f(&expert, &|address| HEAP.owner_of(address));
    assert_eq!(expert.stats().live_blocks, 0);
}

/// It is generic, so the handle must be an `Allocator` for any home.
fn standard_collections<H: Home>(
    expert: &Expert<H>,
    owner_of: &dyn Fn(*const u8) -> Option<ExpertKey>,
) {
    let is_ours = |address: *const u8| owner_of(address) == Some(expert.key());
    let mut numbers = Vec::new_in(expert.allocator());
    numbers.extend(0..10_000_u32);
    assert_eq!(numbers.iter().sum::<u32>(), 49_995_000);
    assert!(is_ours(numbers.as_ptr().cast()));
    assert!(numbers.try_reserve(1 << 20).is_err(), "the quota");
    let boxed = Box::new_in([7_u8; 300], expert.allocator());
    assert!(is_ours(boxed.as_ptr()));
    assert_eq!(expert.stats().live_blocks, 2);
    assert!(expert.stats().refusals > 0);
}

/// An allocation by code that knows only allocator-api2.
fn through_allocator_api2(allocator: impl allocator_api2::alloc::Allocator) -> NonNull<u8> {
    let layout = std::alloc::Layout::new::<[u64; 8]>();
    let block = allocator.allocate_zeroed(layout).unwrap().cast();
    // SAFETY: the block that was just allocated with this layout.
    unsafe { allocator.deallocate(block, layout) };
    block
}

fn main() {
    with_expert(|expert, owner_of| {
        standard_collections(expert, owner_of);
        let before = expert.stats().allocations;
        through_allocator_api2(expert.allocator());
        assert_eq!(expert.stats().allocations, before + 1);
    });
    println!("standard collections over handles: fine");
}

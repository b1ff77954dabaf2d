//! Tests that experts leave nothing behind. It has a process of its own, because it
//! measures resident memory.
#![cfg(target_os = "linux")]

use std::fs;

use expert_alloc::ExpertAlloc;

#[global_allocator]
static ALLOC: ExpertAlloc = ExpertAlloc::new();

/// Bytes of this process in physical memory.
fn resident() -> usize {
    let pages = fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = pages.split_whitespace().nth(1).unwrap().parse().unwrap();
    pages * 4096
}

/// Registers an expert, allocates in each way, and ends it.
fn come_and_go(round: usize) {
    let expert = ALLOC.expert("brief").quota(1 << 20).register().unwrap();
    expert.alloc(round % 200).unwrap();
    if round % 4 == 0 {
        let numbers = allocator_api2::vec::Vec::<u64, _>::with_capacity_in(5, expert.allocator());
        std::mem::forget(numbers);
    }
    if round % 16 == 0 {
        let _scope = expert.enter();
        drop(std::hint::black_box(vec![1_u8; round % 3000]));
    }
    let reclaimed = expert.finish();
    assert_eq!(reclaimed.blocks, 1 + usize::from(round % 4 == 0));
    assert_eq!(reclaimed.adopted_blocks, 0);
}

#[test]
fn two_million_experts_leave_nothing() {
    (0..1000).for_each(come_and_go);
    let before = resident();
    (0..2_000_000).for_each(come_and_go);
    let after = resident();
    assert!(after <= before + (1 << 20), "{before} bytes resident before, {after} after");
    assert_eq!(ALLOC.snapshot().experts.len(), 1, "the host is left");
}

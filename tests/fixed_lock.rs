//! A heap behind the lock of the feature `critical-section`, with the
//! implementation of critical sections that the crate has for hosts.
#![cfg(feature = "critical-section")]

use std::mem::MaybeUninit;

use expert_alloc::ExpertHeap;
use expert_alloc::fixed::CriticalSectionLock;
use lock_api::RawMutex;

#[test]
fn a_lock_is_held_once() {
    let lock = CriticalSectionLock::INIT;
    assert!(lock.try_lock());
    assert!(!lock.try_lock());
    // SAFETY: this thread holds the lock.
    unsafe { lock.unlock() };
    lock.lock();
    // SAFETY: this thread holds the lock.
    unsafe { lock.unlock() };
    assert!(!lock.is_locked());
}

#[test]
fn threads_take_turns() {
    static HEAP: ExpertHeap<CriticalSectionLock> = ExpertHeap::empty();
    let memory: &'static mut [MaybeUninit<u8>] = vec![MaybeUninit::uninit(); 64 << 10].leak();
    // SAFETY: leaked memory is nobody else's.
    unsafe { HEAP.add_region(memory.as_mut_ptr().cast(), memory.len()) };
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for size in 0..2_000 {
                    let expert = HEAP.expert("turn").register().unwrap();
                    expert.alloc(size % 500).unwrap();
                    assert_eq!(expert.finish().blocks, 1);
                }
            });
        }
    });
    assert_eq!(HEAP.check().unwrap().live_blocks, 0);
}

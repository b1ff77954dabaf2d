//! Tests of the current owner after scopes that end late, or out of order.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::*};

use allocator_api2::boxed::Box as HandleBox;
use expert_alloc::{ExpertKey, testing};

use crate::common::ALLOC;
use crate::run::wait_until;

/// The owner of a new block.
#[track_caller]
fn expect_hosts(why: &str) {
    let block = Box::new([0x41u8; 100]);
    let owner = ALLOC.owner_of(block.as_ptr());
    assert_eq!(owner, Some(ALLOC.host().key()), "{why}: another's memory is allocated from");
}

/// A scope remembers the cache that was current when it began, and the expert of that cache
/// has ended by now. The cache's record now serves another expert and another kind, whose
/// id would be the same if ids had two bits for the kind.
pub fn late() {
    for kind in 1..4usize {
        let outer = ALLOC.expert("outer").register().unwrap();
        let first = ALLOC.expert("first").register().unwrap();
        let key = first.key();
        let scope = first.enter();
        let warm = Box::new([1u8; 100]);
        let late = outer.enter();
        drop(scope);
        drop(warm);
        let _ = first.finish();
        let next = key.into_raw() ^ kind << (usize::BITS - 2);
        let next = ExpertKey::from_raw(next).unwrap();
        testing::set_next_key(next);
        let second = ALLOC.expert("second").register().unwrap();
        assert_eq!(second.key(), next, "as after half a billion experts");
        drop(HandleBox::new_in([0u8; 100], second.allocator()));
        second.alloc(100).unwrap();
        drop(late);
        expect_hosts("a scope has ended late");
        let _ = second.finish();
        expect_hosts("and the second expert as well");
    }
}

/// The outer of two scopes ends first; then there is none.
pub fn order() {
    let [first, second] = ["first", "second"].map(|name| ALLOC.expert(name).register().unwrap());
    for _ in 0..2 {
        let outer = first.enter();
        drop(Box::new([1u8; 100]));
        let inner = second.enter();
        drop(Box::new([1u8; 100]));
        drop(outer);
        let between = Box::new([1u8; 100]);
        let owner = ALLOC.owner_of(between.as_ptr());
        assert_eq!(owner, Some(second.key()), "the inner scope has not ended");
        drop(inner);
        expect_hosts("both have ended");
    }
}

/// No thread has a scope of the expert any more, as `reclaim_all` demands, so the thread
/// that left scopes out of order must allocate for another owner. That thread makes no
/// other call before, because such a call might make it tend.
pub fn reclaim_all() {
    let first = Arc::new(ALLOC.expert("first").register().unwrap());
    let second = ALLOC.expert("second").register().unwrap();
    let step = &AtomicUsize::new(0);
    std::thread::scope(|threads| {
        let (share, second) = (Arc::clone(&first), &second);
        threads.spawn(move || {
            let outer = share.enter();
            drop(Box::new([1u8; 100]));
            let inner = second.enter();
            drop(outer);
            drop(inner);
            drop(share);
            step.store(1, Release);
            wait_until(|| step.load(Acquire) == 2);
            let blocks = [7u8; 20].map(|byte| Box::new([byte; 100]));
            step.store(3, Release);
            wait_until(|| step.load(Acquire) == 4);
            let is_hosts = |block: &u8| ALLOC.owner_of(block) == Some(ALLOC.host().key());
            assert!(blocks.iter().all(|block| is_hosts(&block[0])), "another's memory");
            assert!(blocks.iter().all(|block| **block == [7; 100]), "given out twice");
        });
        wait_until(|| step.load(Acquire) == 1);
        let first = Arc::into_inner(first).expect("the last share");
        // SAFETY: no block of it is in use, and no thread is in a scope of it.
        let _ = unsafe { first.reclaim_all() };
        step.store(2, Release);
        wait_until(|| step.load(Acquire) == 3);
        let next = ALLOC.expert("next").register().unwrap();
        for _ in 0..20_000 {
            let block = next.alloc(80).unwrap();
            // SAFETY: a live block of 80 bytes.
            unsafe { block.as_ptr().write_bytes(0xEE, 80) };
        }
        step.store(4, Release);
    });
}

//! Two threads want the same raw block: one gives it to another expert, the
//! other frees it. One of them gets it, and what `transfer` returns is live.

mod common;

use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};

use common::{ALLOC, emulated};

const SIZE: usize = 100_000;

#[test]
fn a_block_is_freed_or_given_away() {
    let rounds = if emulated() { 2_000 } else { 200_000 };
    let giver = ALLOC.expert("giver").register().unwrap();
    let taker = ALLOC.expert("taker").register().unwrap();
    let offered = AtomicPtr::new(std::ptr::null_mut());
    // 0: not yet; 1: refused; 2: freed.
    let freed = AtomicUsize::new(0);
    let (mut given, mut lost) = (0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..rounds {
                let block = loop {
                    let block: *mut u8 = offered.swap(std::ptr::null_mut(), Ordering::Acquire);
                    if !block.is_null() {
                        break block;
                    }
                    std::hint::spin_loop();
                };
                let done = giver.free(block).is_ok();
                freed.store(1 + usize::from(done), Ordering::Release);
            }
        });
        for round in 0..rounds {
            let block = giver.alloc(SIZE).unwrap().as_ptr();
            offered.store(block, Ordering::Release);
            (0..round % 200).for_each(|_| std::hint::spin_loop());
            let moved = giver.transfer(block, &taker);
            let was_freed = loop {
                match freed.swap(0, Ordering::Acquire) {
                    0 => std::hint::spin_loop(),
                    done => break done == 2,
                }
            };
            assert_ne!(moved.is_ok(), was_freed, "round {round}");
            match moved {
                Ok(moved) => {
                    given += 1;
                    assert_eq!(taker.size(moved.as_ptr()), SIZE);
                    taker.free(moved.as_ptr()).unwrap();
                }
                Err(_) => lost += 1,
            }
        }
    });
    assert!(given > 0 && lost > 0, "{given} given, {lost} freed");
    assert_eq!(giver.stats().live_blocks + taker.stats().live_blocks, 0);
}

/// A thread frees stale pointers of an ended expert while another expert is given
/// memory at the same addresses: a block is live, and found, from the moment that it is
/// handed out.
#[test]
fn stale_pointers_are_freed_while_their_addresses_are_given_out() {
    const BLOCKS: usize = 100;
    for round in 0..if emulated() { 5 } else { 200 } {
        let earlier = ALLOC.expert("earlier").register().unwrap();
        // Their marks stay in the memory.
        let stale = [(); BLOCKS].map(|()| earlier.alloc(SIZE).unwrap().as_ptr().addr());
        let _ = earlier.finish();
        let expert = ALLOC.expert("later").register().unwrap();
        let free = |block: usize| expert.free(std::ptr::without_provenance_mut(block)).is_ok();
        let is_done = AtomicBool::new(false);
        let (blocks, freed) = std::thread::scope(|scope| {
            let frees = scope.spawn(|| {
                let mut freed = 0;
                while !is_done.load(Ordering::Relaxed) {
                    freed += stale.iter().filter(|&&block| free(block)).count();
                }
                freed
            });
            // Takes the lock that blocks are made under.
            let figures = scope.spawn(|| {
                while !is_done.load(Ordering::Relaxed) {
                    std::hint::black_box(expert.stats());
                }
            });
            let blocks = [(); BLOCKS].map(|()| expert.alloc(SIZE).unwrap().as_ptr().addr());
            is_done.store(true, Ordering::Relaxed);
            figures.join().unwrap();
            (blocks, frees.join().unwrap())
        });
        let stats = expert.stats();
        assert_eq!(stats.live_blocks, BLOCKS - freed, "round {round}");
        let is_live = |&&block: &&usize| expert.size(std::ptr::without_provenance(block)) == SIZE;
        let mut live: Vec<_> = blocks.iter().filter(is_live).collect();
        live.sort_unstable();
        live.dedup();
        assert_eq!(live.len(), BLOCKS - freed, "round {round}");
        assert_eq!(expert.finish().blocks, BLOCKS - freed, "round {round}");
    }
}

//! Two threads use the same raw block: one transfers it to another expert and the other
//! frees it, or both free it. One of them succeeds, and a block that `transfer` returns is
//! live.

mod common;

use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};

use common::{ALLOC, emulated};
use expert_alloc::{Error, capi};

const SIZE: usize = 100_000;

/// A size with many blocks in a span.
const SMALL: usize = 100;

#[test]
fn a_block_is_freed_or_given_away() {
    freed_or_given_away(SIZE, 200_000);
}

#[test]
fn a_small_block_is_freed_or_given_away() {
    freed_or_given_away(SMALL, 20_000);
}

fn freed_or_given_away(size: usize, rounds: usize) {
    let rounds = if emulated() { 2_000 } else { rounds };
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
            let block = giver.alloc(size).unwrap().as_ptr();
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
                    assert_eq!(taker.size(moved.as_ptr()), size);
                    taker.free(moved.as_ptr()).unwrap();
                }
                Err(_) => lost += 1,
            }
        }
    });
    assert!(given > 0 && lost > 0, "{given} given, {lost} freed");
    assert_eq!(giver.stats().live_blocks + taker.stats().live_blocks, 0);
}

/// One of two frees of a block, in its own thread and in another, succeeds, and the other
/// finds nothing. This holds by handle and by key, for sizes of many classes.
#[test]
fn of_two_frees_one_succeeds() {
    const BLOCKS: usize = 200;
    let expert = ALLOC.expert("twice").register().unwrap();
    let key = capi::handle(expert.key()).addr();
    let free_by_key = |block: usize| {
        let [key, block] = [key, block].map(std::ptr::without_provenance_mut);
        match capi::ExpertFreeMemory(key, block) {
            0 => true,
            76 => false,
            code => panic!("code {code}"),
        }
    };
    let free = |block: usize| match expert.free(std::ptr::without_provenance_mut(block)) {
        Ok(()) => true,
        Err(Error::InvalidPointer) => false,
        Err(why) => panic!("{why}"),
    };
    for round in 0..if emulated() { 5 } else { 20 } {
        let blocks: [usize; BLOCKS] = std::array::from_fn(|number| {
            let size = (number * 37 + round * 11) % 2_000;
            expert.alloc(size).unwrap().as_ptr().addr()
        });
        // Both threads free the same block at the same time.
        let arrived = AtomicUsize::new(0);
        let meet = |number: usize| {
            arrived.fetch_add(1, Ordering::Relaxed);
            let mut spins = 0_u32;
            while arrived.load(Ordering::Relaxed) < 2 * (number + 1) {
                spins += 1;
                // The other thread may have no core.
                if spins % 500 == 0 { std::thread::yield_now() } else { std::hint::spin_loop() }
            }
        };
        let free_all = |free: &dyn Fn(usize) -> bool| {
            let freed = |&(number, &block): &(usize, &usize)| {
                meet(number);
                free(block)
            };
            blocks.iter().enumerate().filter(freed).count()
        };
        let (here, there) = std::thread::scope(|scope| {
            let there = scope.spawn(|| free_all(&free_by_key));
            (free_all(&free), there.join().unwrap())
        });
        assert_eq!(here + there, BLOCKS, "round {round}: {here} here, {there} there");
        assert_eq!(expert.stats().live_blocks, 0, "round {round}");
    }
}

/// A thread frees stale pointers of an ended expert while another expert is given
/// memory at the same addresses: a block is live, and found, from the moment that it is
/// handed out.
#[test]
fn stale_pointers_are_freed_while_their_addresses_are_given_out() {
    const BLOCKS: usize = 100;
    for round in 0..if emulated() { 5 } else { 20 } {
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
            // This takes the lock under which blocks are made.
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

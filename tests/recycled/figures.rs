//! Tests of figures that are read in the middle of a change: counts that belong together
//! are read together.

use std::sync::atomic::{AtomicBool, Ordering::*};
use std::sync::{Arc, Barrier, Mutex, mpsc};

use allocator_api2::boxed::Box as HandleBox;
use expert_alloc::ExpertHandle;

use crate::common::ALLOC;
use crate::dice::Dice;
use crate::turn;

/// Reads the host's figures while threads free three quarters of each other's blocks.
pub fn host() {
    let turn = turn("host's figures");
    let is_over = &AtomicBool::new(false);
    std::thread::scope(|threads| {
        for number in 0..2 {
            let mut dice = Dice::Seed(number);
            threads.spawn(move || {
                let (send, receive) = mpsc::sync_channel::<Vec<Vec<u8>>>(1);
                let (done, wait) = mpsc::sync_channel(1);
                std::thread::scope(|threads| {
                    threads.spawn(move || {
                        for blocks in receive {
                            drop(blocks);
                            done.send(()).unwrap();
                        }
                    });
                    while !is_over.load(Relaxed) {
                        let all = (0..400).map(|_| Vec::with_capacity(500));
                        let (theirs, mine): (Vec<_>, Vec<_>) = all.partition(|_| dice.below(4) > 0);
                        send.send(theirs).unwrap();
                        wait.recv().unwrap();
                        drop(mine);
                    }
                    drop(send);
                });
            });
        }
        let actor = turn.actor("reader of the host's figures", 0);
        while actor.goes_on() {
            let live = ALLOC.stats().live_blocks;
            // Two threads have 400 blocks each, and the program has other blocks.
            assert!((1..10_000).contains(&live), "{live} blocks are said to be live");
        }
        is_over.store(true, Relaxed);
    });
}

type Block<'e> = HandleBox<[u8; 200], ExpertHandle<'e>>;

/// Reads the figures of an expert while each of three threads has between 100 and 300 of
/// its blocks.
pub fn expert() {
    const THREADS: usize = 3;
    const POOL: usize = 20;
    let turn = turn("an expert's figures");
    let expert = &ALLOC.expert("counted").register().unwrap();
    let (is_over, ready) = (&AtomicBool::new(false), &Barrier::new(THREADS + 1));
    let pool = &Mutex::new(Vec::<Block<'_>>::with_capacity(POOL));
    std::thread::scope(|threads| {
        for number in 0..THREADS {
            let mut dice = Dice::Seed(number as u64);
            threads.spawn(move || {
                let block = || Block::new_in([number as u8; 200], expert.allocator());
                let mut held: Vec<_> = Vec::with_capacity(300);
                held.extend((0..100).map(|_| block()));
                ready.wait();
                while !is_over.load(Relaxed) {
                    match dice.below(64) {
                        0..=35 if held.len() < 300 => held.push(block()),
                        36 if held.len() > 100 => {
                            let given = held.swap_remove(dice.below(held.len()));
                            let mut pool = pool.lock().unwrap();
                            let other = (pool.len() == POOL).then(|| pool.remove(0));
                            pool.push(given);
                            drop(pool);
                            drop(other);
                        }
                        _ if held.len() > 100 => drop(held.swap_remove(dice.below(held.len()))),
                        _ => {}
                    }
                }
                ready.wait();
            });
        }
        ready.wait();
        let actor = turn.actor("reader of an expert's figures", 0);
        // Each thread may have one block more, on its way out of the pool.
        let bounds = THREADS * 100..=THREADS * 301 + POOL;
        let mut before = expert.stats();
        while actor.goes_on() {
            let stats = expert.stats();
            let after = expert.stats();
            // Allocations during the call may be counted although frees are not.
            let meanwhile = (after.allocations - before.allocations) as usize;
            let bounds = *bounds.start()..=bounds.end() + meanwhile;
            assert!(bounds.contains(&stats.live_blocks), "not in {bounds:?}: {stats}");
            assert!(stats.frees <= stats.allocations, "{stats}");
            before = after;
        }
        is_over.store(true, Relaxed);
        ready.wait();
        pool.lock().unwrap().clear();
    });
    assert_eq!(expert.stats().live_blocks, 0);
}

/// An expert ends while two threads, which have 400 blocks each all along, go on.
pub fn adoption() {
    const KEPT: usize = 400;
    let turn = turn("adoption");
    let mut actor = turn.actor("ender", 0);
    while actor.goes_on() {
        let quota = if actor.dice.once_in(2) { 300_000 } else { 0 };
        let expert = Arc::new(ALLOC.expert("adopted").quota(quota).register().unwrap());
        let (is_over, ready) = (&AtomicBool::new(false), &Barrier::new(3));
        std::thread::scope(|threads| {
            for _ in 0..2 {
                let (expert, mut dice) = (Arc::clone(&expert), Dice::Seed(actor.dice.next()));
                threads.spawn(move || {
                    let mut held: Vec<Vec<u8>> = Vec::with_capacity(KEPT + 600);
                    std::mem::forget(expert.enter());
                    held.extend((0..KEPT).map(|place| vec![1; [64, 200, 500][place % 3]]));
                    drop(expert);
                    ready.wait();
                    while !is_over.load(Relaxed) {
                        if held.len() < KEPT + 600 && dice.below(16) < 9 {
                            held.push(vec![1; [64, 200, 500, 1000][dice.below(4)]]);
                        } else if held.len() > KEPT {
                            held.swap_remove(KEPT + dice.below(held.len() - KEPT));
                        }
                    }
                    assert!(held.iter().flatten().all(|&byte| byte == 1), "written to by another");
                });
            }
            ready.wait();
            (0..actor.dice.below(20_000)).for_each(|_| std::hint::spin_loop());
            let reclaimed = Arc::into_inner(expert).expect("the last share").finish();
            is_over.store(true, Relaxed);
            assert!(reclaimed.adopted_blocks >= 2 * KEPT, "{} were live, {reclaimed}", 2 * KEPT);
        });
    }
}

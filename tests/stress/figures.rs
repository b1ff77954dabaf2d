//! Figures are polled while threads allocate, and free their own blocks and each other's:
//! they are those of some moment of the call, and never a mix of two moments.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::*};

use allocator_api2::boxed::Box as HandleBox;
use expert_alloc::{Expert, ExpertHandle};

use crate::common::ALLOC;
use crate::run::{Actor, Turn, wait_until};
use crate::values::Value;

/// How many blocks each thread has at least, once it has begun and if the quota allows, and
/// at most.
const LEAST: usize = 100;
const MOST: usize = 300;

/// Blocks that one thread leaves for another to free.
const POOL: usize = 60;

type Block<'e> = HandleBox<[u8], ExpertHandle<'e>>;
type Pool<'e> = Mutex<VecDeque<Block<'e>>>;

pub fn play(turn: &Turn) {
    let mut dice = turn.dice();
    let quota = [0, 200_000, 2 << 20][dice.below(3)];
    let expert = ALLOC.expert("counted").quota(quota).register().unwrap();
    let workers = 2 + dice.below(2);
    let (pool, ready, least) = (&Pool::default(), &AtomicUsize::new(0), &AtomicUsize::new(0));
    let (is_over, expert) = (&AtomicBool::new(false), &expert);
    std::thread::scope(|threads| {
        for number in 0..workers {
            let actor = turn.actor("worker whose blocks are counted", number);
            threads.spawn(move || work(expert, pool, (ready, least), is_over, actor));
        }
        // The host's figures are polled, too, but cannot be predicted.
        let actor = turn.actor("pair of threads of the host", 0);
        threads.spawn(move || hand_over(is_over, actor));
        wait_until(|| ready.load(Acquire) == workers);
        // Each thread may have one block more, on its way from the pool.
        let bounds = least.load(Relaxed)..=workers * (MOST + 1) + POOL;
        let actor = turn.actor("reader of figures", 0);
        let mut before = expert.stats();
        while actor.goes_on() {
            let stats = expert.stats();
            let after = expert.stats();
            // Allocations during the call may be counted although frees are not.
            let meanwhile = (after.allocations - before.allocations) as usize;
            let bounds = *bounds.start()..=bounds.end() + meanwhile;
            let live = stats.live_blocks;
            assert!(bounds.contains(&live), "{live} of {bounds:?} blocks: {stats}");
            before = after;
            assert!(quota == 0 || stats.charged_bytes <= quota, "{stats}");
            std::hint::black_box(ALLOC.host().stats());
        }
        is_over.store(true, Release);
    });
    pool.lock().unwrap().clear();
    assert_eq!(expert.stats().live_blocks, 0);
}

/// A block whose length tells its content; `None` if the quota refuses.
fn block<'e>(handle: ExpertHandle<'e>, length: usize) -> Option<Block<'e>> {
    let mut bytes = allocator_api2::vec::Vec::new_in(handle);
    bytes.try_reserve_exact(length).ok()?;
    bytes.resize(length, length as u8);
    Some(bytes.into_boxed_slice())
}

fn free(block: Block<'_>) {
    let length = block.len();
    assert!(block.iter().all(|&byte| byte == length as u8), "a block was written to by another");
}

fn work<'e>(
    expert: &'e Expert,
    pool: &Pool<'e>,
    (ready, all_least): (&AtomicUsize, &AtomicUsize),
    is_over: &AtomicBool,
    mut actor: Actor<'_>,
) {
    let new = |handle, place: usize| block(handle, [64, 200, 500, 1000][place % 4]);
    let mut held: Vec<Block<'e>> = Vec::with_capacity(MOST);
    held.extend((0..LEAST).map_while(|place| new(expert.allocator(), place)));
    let least = held.len();
    all_least.fetch_add(least, Relaxed);
    ready.fetch_add(1, Release);
    while !is_over.load(Acquire) {
        actor.step();
        match actor.dice.below(64) {
            0..=35 if held.len() < MOST => {
                held.extend(new(expert.allocator(), actor.dice.below(4)))
            }
            36 if held.len() > least => {
                let given = held.swap_remove(actor.dice.below(held.len()));
                let mut pool = pool.lock().unwrap();
                pool.push_back(given);
                let other = if pool.len() == POOL { pool.pop_front() } else { None };
                drop(pool);
                other.into_iter().for_each(free);
            }
            _ if held.len() > least => free(held.swap_remove(actor.dice.below(held.len()))),
            _ => {}
        }
    }
    held.into_iter().for_each(free);
}

/// Another thread frees three quarters of this thread's blocks.
fn hand_over(is_over: &AtomicBool, mut actor: Actor<'_>) {
    let (send, receive) = std::sync::mpsc::sync_channel::<Vec<Vec<u8>>>(1);
    let (done, wait) = std::sync::mpsc::sync_channel::<()>(1);
    std::thread::scope(|threads| {
        threads.spawn(move || {
            for blocks in receive {
                drop(blocks);
                if done.send(()).is_err() {
                    return;
                }
            }
        });
        while !is_over.load(Acquire) {
            actor.step();
            let all = (0..400).map(|_| Vec::with_capacity(500));
            let (theirs, mine): (Vec<_>, Vec<_>) = all.partition(|_| actor.dice.below(4) > 0);
            send.send(theirs).unwrap();
            wait.recv().unwrap();
            drop(mine);
            Value::new(&mut actor.dice).check();
        }
        drop(send);
    });
}

//! Runs: rounds of operations on fresh threads, with the walker in between.

use std::sync::{Barrier, Condvar, Mutex};
use std::thread::ScopedJoinHandle;

use expert_alloc::testing::{self, Checked};

use super::actor::{Actor, Scopes, roll};
use super::dice::Dice;
use super::shadow::Face;
use super::world::{ALLOC, Config, World};

/// The length of the longest chunk with more than one block, in bytes.
const CHUNK: usize = 32 << 20;

/// Walks the heap. No other thread is in it.
pub fn walk() -> Checked {
    // SAFETY: S1: as said.
    match unsafe { testing::check() } {
        Ok(seen) => seen,
        Err(broken) => panic!("{broken}"),
    }
}

/// Reads all clean free slices. No other thread is in the heap.
pub fn walk_zero() {
    // SAFETY: S1: as said.
    if let Err(broken) = unsafe { testing::check_zero() } {
        panic!("{broken}");
    }
}

/// Runs about `ops` operations in rounds of `round` for each thread, and then
/// checks that nothing is left.
pub fn run(config: Config, seed: u64, ops: usize, round: usize) {
    ALLOC.purge();
    let before = walk();
    {
        let world = World::new(config);
        let mut actors: Vec<Actor<'_>> = (0..config.threads).map(|_| Actor::new(&world)).collect();
        let rounds = ops.div_ceil(round * config.threads).max(1);
        for number in 0..rounds {
            let seed = seed.wrapping_mul(0x2545_F491_4F6C_DD1D).wrapping_add(number as u64);
            if config.exact {
                exact_round(&world, &mut actors, seed, round);
            } else {
                free_round(&world, &mut actors, seed, round);
            }
            testing::heal();
            walk();
            actors.iter_mut().for_each(Actor::check_all);
            if number % 16 == 15 {
                walk_zero();
            }
        }
        end(&world, &mut actors);
    }
    ALLOC.purge();
    let after = walk();
    walk_zero();
    assert_eq!(after.blocks, before.blocks, "blocks in use, before and after");
    assert!(after.heaps <= 3, "the common one, and ambient and raw of the host: {after:?}");
    assert!(after.chunks <= before.chunks.max(1), "{after:?} {before:?}");
    // Memory that could not be given back at the time was kept, and has been given back by
    // now.
    assert_eq!((after.kept_chunks, testing::leftovers()), (0, 0));
    let in_chunks = testing::mapped_bytes() - testing::table_bytes();
    assert!(in_chunks <= after.chunks * CHUNK, "{in_chunks} bytes mapped: {after:?}");
}

/// Waits until threads have ended altogether, their thread-locals as well: the
/// end of a scope alone waits for their closures only.
fn join(threads: Vec<ScopedJoinHandle<'_, ()>>) {
    for thread in threads {
        if let Err(panic) = thread.join() {
            std::panic::resume_unwind(panic);
        }
    }
}

/// Runs all threads at once.
fn free_round(world: &World, actors: &mut [Actor<'_>], seed: u64, round: usize) {
    std::thread::scope(|scope| {
        let mut threads = Vec::new();
        for (number, actor) in actors.iter_mut().enumerate() {
            threads.push(scope.spawn(move || {
                let mut dice = Dice::Seed(seed ^ (number as u64) << 48);
                let mut scopes = Scopes::new();
                for _ in 0..round {
                    actor.step(roll(&mut dice, world), &mut scopes);
                }
                testing::heal();
            }));
        }
        join(threads);
    });
}

/// The thread whose turn it is, and how many turns are left.
struct Baton {
    turn: Mutex<(usize, usize)>,
    passed: Condvar,
}

/// Runs one thread at a time, in an order that the dice decide.
fn exact_round(world: &World, actors: &mut [Actor<'_>], seed: u64, round: usize) {
    let threads = actors.len();
    let dice = Mutex::new(Dice::Seed(seed));
    // This thread allocates for the last time before it waits with them.
    let started = Barrier::new(threads + 1);
    let baton = Baton { turn: Mutex::new((0, round * threads)), passed: Condvar::new() };
    std::thread::scope(|scope| {
        let mut handles = Vec::new();
        for (number, actor) in actors.iter_mut().enumerate() {
            let (baton, dice, started) = (&baton, &dice, &started);
            handles.push(scope.spawn(move || {
                let mut scopes = Scopes::new();
                started.wait();
                loop {
                    let turn = baton.turn.lock().unwrap();
                    let is_mine = |turn: &mut (usize, usize)| turn.0 != number && turn.1 > 0;
                    let mut turn = baton.passed.wait_while(turn, is_mine).unwrap();
                    if turn.1 == 0 {
                        break;
                    }
                    let mut dice = dice.lock().unwrap();
                    // Several operations run in a row, because otherwise most caches would
                    // stay empty.
                    for _ in 0..1 + dice.below(32) {
                        turn.1 = turn.1.saturating_sub(1);
                        one_step(world, actor, &mut dice, &mut scopes);
                    }
                    turn.0 = dice.below(threads);
                    drop(dice);
                    drop(turn);
                    baton.passed.notify_all();
                }
                testing::heal();
            }));
        }
        started.wait();
        join(handles);
    });
}

/// Runs one operation, and then the walker.
pub fn one_step(world: &World, actor: &mut Actor<'_>, dice: &mut Dice<'_>, scopes: &mut Scopes) {
    let op = roll(dice, world);
    actor.step(op, scopes);
    // SAFETY: S1: the other threads wait for the baton.
    if let Err(broken) = unsafe { testing::check() } {
        panic!("{broken} after {op:?}");
    }
    prune(world);
}

/// Forgets raw addresses of experts that have ended. Only exact runs call this, because
/// there the model sees each end.
fn prune(world: &World) {
    let mut raw = world.raw.lock().unwrap();
    if world.seats.iter().any(|seat| seat.own.load(std::sync::atomic::Ordering::SeqCst) == 0) {
        raw.retain(|&address| ALLOC.owner_of(address as *const u8).is_some());
    }
}

/// Ends all experts and frees all remaining blocks.
pub fn end(world: &World, actors: &mut [Actor<'_>]) {
    for seat in 0..world.config.seats {
        world.finish(seat, seat % 2 == 0);
        walk();
    }
    assert_eq!(ALLOC.snapshot().experts.len(), 2, "the host and the hostile one are left");
    let mut last = Actor::new(world);
    last.blocks.reserve(world.mailbox.lock().unwrap().len());
    last.blocks.append(&mut world.mailbox.lock().unwrap());
    last.check_all();
    last.free_all();
    for actor in actors {
        actor.check_all();
        assert!(
            actor
                .blocks
                .iter()
                .all(|block| { block.face == Face::Ambient || block.seat == world.config.seats })
        );
        actor.free_all();
    }
}

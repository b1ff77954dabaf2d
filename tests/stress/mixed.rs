//! All operations at once, with experts in a few seats, whose threads come and go.

use std::sync::{Arc, Mutex};

use allocator_api2::boxed::Box as HandleBox;
use expert_alloc::Expert;
use hashbrown::HashMap;

use crate::common::ALLOC;
use crate::run::{Actor, Turn};
use crate::values::Value;

/// Experts that all threads have, the values that they pass on, and addresses that
/// raw blocks had.
struct World {
    seats: [Mutex<Arc<Expert>>; 4],
    values: Mutex<Vec<Value>>,
    addresses: Mutex<[usize; 32]>,
}

/// Values that wait for any thread to take them.
const POOL: usize = 200;

pub fn play(turn: &Turn) {
    let seat = |_| Mutex::new(Arc::new(ALLOC.expert("seated").register().unwrap()));
    let world = World {
        seats: std::array::from_fn(seat),
        values: Mutex::new(Vec::with_capacity(POOL)),
        addresses: Mutex::new([0; 32]),
    };
    std::thread::scope(|threads| {
        for number in 0..4 {
            let (world, actor) = (&world, turn.actor("worker", number));
            threads.spawn(move || work(world, actor, usize::MAX));
        }
        let actor = turn.actor("starter of workers", 0);
        let mut number = 4;
        while actor.goes_on() {
            number += 1;
            let world = &world;
            let work = move || work(world, turn.actor("worker for a while", number), 200);
            threads.spawn(work).join().unwrap();
        }
    });
    for known in world.addresses.into_inner().unwrap() {
        let _ = ALLOC.host().free(std::ptr::without_provenance_mut(known));
    }
    world.values.into_inner().unwrap().iter().for_each(Value::check);
}

/// Works for `rounds` rounds, the last hundred of them in a scope that is never left.
fn work(world: &World, mut actor: Actor<'_>, mut rounds: usize) {
    let mut mine: Vec<Value> = Vec::with_capacity(64);
    while actor.goes_on() && rounds > 0 {
        rounds -= 1;
        let expert = Arc::clone(&world.seats[actor.dice.below(4)].lock().unwrap());
        match actor.dice.below(8) {
            0 => in_a_scope(&expert, &mut mine, &mut actor),
            1 => with_a_handle(&expert, &mut actor),
            2 => by_pointer(world, &expert, &mut actor),
            3 => replace(world, &mut actor),
            4 => pass_on(world, &mut mine, &mut actor),
            _ => tend(&mut mine, &mut actor),
        }
        if rounds == 100 {
            std::mem::forget(expert.enter());
        }
        // Dropping the last share ends the expert.
        drop(expert);
    }
    mine.iter().for_each(Value::check);
}

fn in_a_scope(expert: &Expert, mine: &mut Vec<Value>, actor: &mut Actor<'_>) {
    let scope = expert.enter();
    for _ in 0..actor.dice.below(8) {
        let value = Value::new(&mut actor.dice);
        if let Some(address) = std::ptr::NonNull::new(value.address().cast_mut()) {
            assert_eq!(ALLOC.owner_of(address.as_ptr()), Some(expert.key()));
        }
        if mine.len() < mine.capacity() {
            mine.push(value);
        }
    }
    drop(scope);
}

fn with_a_handle(expert: &Expert, actor: &mut Actor<'_>) {
    let mut map = HashMap::new_in(expert.allocator());
    let length = 1 + actor.dice.below(500);
    let boxed = HandleBox::try_new_in([actor.dice.next(); 20], expert.allocator());
    // The request is refused if the quota has no room, or if the expert must stop.
    let (Ok(boxed), Ok(())) = (boxed, map.try_reserve(length)) else { return };
    let length = length as u64;
    map.extend((0..length).map(|key| (key, !key)));
    for key in (0..length).step_by(3) {
        assert_eq!(map.remove(&key), Some(!key), "lost, or changed by another");
    }
    assert!(map.iter().all(|(key, value)| *value == !key), "changed by another");
    assert!(boxed.iter().all(|word| *word == boxed[0]), "changed by another");
    if actor.dice.once_in(16) {
        std::mem::forget((map, boxed));
    }
}

/// Makes raw calls with known addresses, all of which may be stale; some succeed.
fn by_pointer(world: &World, expert: &Expert, actor: &mut Actor<'_>) {
    let place = actor.dice.below(32);
    let known = world.addresses.lock().unwrap()[place];
    let known = std::ptr::without_provenance_mut(known);
    let answer = match actor.dice.below(5) {
        0 | 1 => expert.alloc(1 + actor.dice.below(2_000)),
        2 => expert.realloc(known, 1 + actor.dice.below(20_000)),
        3 => expert.transfer(known, &ALLOC.host()),
        _ => {
            let _ = expert.size(known);
            let _ = ALLOC.host().free(known);
            expert.free(known).map(|()| std::ptr::NonNull::dangling())
        }
    };
    if let Ok(block) = answer {
        let before = &mut world.addresses.lock().unwrap()[place];
        let before = std::mem::replace(before, block.addr().get());
        // No thread would know the block any more.
        let _ = ALLOC.host().free(std::ptr::without_provenance_mut(before));
    }
}

/// Gives a seat to another expert; dropping the last share of the old expert ends it.
fn replace(world: &World, actor: &mut Actor<'_>) {
    let quota = if actor.dice.once_in(4) { 1 << 20 } else { 0 };
    let new = Arc::new(ALLOC.expert("seated").quota(quota).register().unwrap());
    let old = std::mem::replace(&mut *world.seats[actor.dice.below(4)].lock().unwrap(), new);
    if actor.dice.once_in(8) {
        old.terminate();
    }
    drop(old);
}

/// Gives values to other threads, and takes some of theirs.
fn pass_on(world: &World, mine: &mut Vec<Value>, actor: &mut Actor<'_>) {
    let mut pool = world.values.lock().unwrap();
    while pool.len() < POOL && !mine.is_empty() && actor.dice.below(8) > 0 {
        let place = actor.dice.below(mine.len());
        pool.push(mine.swap_remove(place));
    }
    while !pool.is_empty() && mine.len() < mine.capacity() && actor.dice.below(8) > 0 {
        let place = actor.dice.below(pool.len());
        mine.push(pool.swap_remove(place));
    }
}

/// Resizes and frees values of this thread.
fn tend(mine: &mut Vec<Value>, actor: &mut Actor<'_>) {
    for value in mine.iter_mut() {
        match actor.dice.below(4) {
            0 => value.resize(&mut actor.dice),
            1 => value.flip(),
            _ => {}
        }
        value.check();
    }
    mine.retain(|_| actor.dice.below(8) > 0);
}

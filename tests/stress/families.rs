//! Parents and children: they are registered, told to stop and ended in any order,
//! while other threads allocate for them up to quotas that they share.

use std::sync::{Arc, RwLock};

use allocator_api2::vec::Vec as HandleVec;
use expert_alloc::{Error, Expert, State};

use crate::common::ALLOC;
use crate::dice::Dice;
use crate::run::{Actor, Turn};
use crate::values::Value;

/// The quota of a family, in bytes.
const QUOTA: usize = 4 << 20;

type Seats = [RwLock<Option<Arc<Expert>>>; 8];

pub fn play(turn: &Turn) {
    let seats = Seats::default();
    std::thread::scope(|threads| {
        for number in 0..2 {
            let (seats, actor) = (&seats, turn.actor("parent", number));
            threads.spawn(move || raise(seats, number, actor));
        }
        for number in 0..2 {
            let (seats, actor) = (&seats, turn.actor("worker for children", number));
            threads.spawn(move || work(seats, actor));
        }
    });
}

/// Registers and ends a parent and its children in the seats of this thread.
fn raise(seats: &Seats, number: usize, mut actor: Actor<'_>) {
    let mine = &seats[4 * number..4 * number + 4];
    while actor.goes_on() {
        let dice = &mut actor.dice;
        let parent = ALLOC.expert("parent").quota(QUOTA).register().unwrap();
        for (place, seat) in mine.iter().enumerate() {
            let quota = if dice.once_in(2) { QUOTA / 2 } else { 0 };
            let grandparent = mine[..place].iter().find_map(|seat| seat.read().unwrap().clone());
            let above = grandparent.as_deref().filter(|_| dice.once_in(2)).unwrap_or(&parent);
            let child = ALLOC.expert("child").quota(quota).parent(above).register();
            let child = child.expect("nobody was told to stop");
            *seat.write().unwrap() = Some(Arc::new(child));
        }
        for _ in 0..dice.below(40) {
            assert!(parent.stats().charged_bytes <= QUOTA, "{}", parent.stats());
            let block = parent.alloc(1 + dice.below(100_000));
            assert!(matches!(block, Ok(_) | Err(Error::QuotaExceeded)), "{block:?}");
        }
        let told = dice.once_in(4);
        if told {
            parent.terminate();
            assert_eq!(parent.alloc(10), Err(Error::Terminated));
        }
        end(parent, mine, dice);
    }
}

/// Ends a parent, and all experts whose seats are in `mine`, in any order.
fn end(parent: Expert, mine: &[RwLock<Option<Arc<Expert>>>], dice: &mut Dice<'_>) {
    let mut parent = Some(parent);
    let first = dice.below(mine.len());
    for place in 0..mine.len() {
        if dice.once_in(mine.len()) {
            parent.take().map(Expert::finish);
        }
        let child = mine[(first + place) % mine.len()].write().unwrap().take();
        if let (Some(child), None) = (&child, &parent) {
            assert!(matches!(child.state(), State::ParentStopped), "{:?}", child.state());
        }
        // Dropping the last share ends it.
        drop(child);
    }
}

/// Allocates for the experts on the seats.
fn work(seats: &Seats, mut actor: Actor<'_>) {
    while actor.goes_on() {
        let seat = &seats[actor.dice.below(seats.len())];
        let Some(child) = seat.read().unwrap().clone() else {
            std::thread::yield_now();
            continue;
        };
        let dice = &mut actor.dice;
        let mut held = HandleVec::new_in(child.allocator());
        for _ in 0..dice.below(20) {
            let length = 1 + dice.below(300);
            if held.try_reserve(length).is_err() {
                break;
            }
            held.extend((held.len()..held.len() + length).map(|place| place as u64));
        }
        let block = child.alloc(1 + dice.below(50_000));
        let value = Value::new(dice);
        let is_as_written = held.iter().enumerate().all(|(place, &word)| place as u64 == word);
        assert!(is_as_written, "a vector that one thread has was written to by another");
        if let Ok(block) = block {
            assert_eq!(ALLOC.owner_of(block.as_ptr()), Some(child.key()));
            child.free(block.as_ptr()).unwrap();
        }
        value.check();
        drop(held);
        drop(child);
    }
}

//! Makes raw calls with pointers that may be stale: by now a collection over a handle, or
//! another expert, may own the address. They are safe functions.

use std::ptr::without_provenance_mut;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::*};

use allocator_api2::vec::Vec as HandleVec;
use expert_alloc::Expert;

use crate::common::ALLOC;
use crate::dice::Dice;
use crate::run::{Actor, Turn};

/// Addresses that were raw blocks at some time.
type Known = [AtomicUsize];

pub fn play(turn: &Turn) {
    let mut dice = turn.dice();
    let experts = ["raw", "handles"].map(|name| {
        let quota = if dice.once_in(2) { 1 << 30 } else { 0 };
        ALLOC.expert(name).quota(quota).register().unwrap()
    });
    let [raw, handles] = &experts;
    let size = match dice.below(4) {
        0 => 1 + dice.below(500),
        1 => 1 + dice.below(30_000),
        _ => 100_000,
    };
    let known = [const { AtomicUsize::new(0) }; 4];
    let known = &known[..[1, 1, 1, 4][dice.below(4)]];
    let (frees_only, is_over) = (dice.below(4) > 0, &AtomicBool::new(false));
    std::thread::scope(|threads| {
        for number in 0..2 + dice.below(3) {
            let actor = turn.actor("caller with stale pointers", number);
            threads.spawn(move || match frees_only {
                true => free(known, raw, is_over, actor),
                false => call(known, raw, handles, is_over, actor),
            });
        }
        // If two threads allocated side by side, they would rarely get the same address.
        hold(known, raw, handles, size, turn.actor("holder of vectors", 0));
        is_over.store(true, Relaxed);
    });
}

/// Frees known addresses and does nothing else, so most of the time is spent in the call.
fn free(known: &Known, raw: &Expert, is_over: &AtomicBool, mut actor: Actor<'_>) {
    while !is_over.load(Relaxed) {
        actor.step();
        let place = &known[actor.dice.below(known.len())];
        for _ in 0..100 {
            let _ = raw.free(without_provenance_mut(place.load(Relaxed)));
        }
    }
}

/// Makes the calls of `raw` with known addresses.
fn call(known: &Known, raw: &Expert, other: &Expert, is_over: &AtomicBool, mut actor: Actor<'_>) {
    while !is_over.load(Relaxed) {
        actor.step();
        let address = known[actor.dice.below(known.len())].load(Relaxed);
        let block = without_provenance_mut(address);
        match actor.dice.below(16) {
            _ if address == 0 => actor.pause(100),
            0 => {
                if let Ok(moved) = raw.realloc(block, 1 + actor.dice.below(100_000)) {
                    let _ = raw.free(moved.as_ptr());
                }
            }
            1 => {
                if let Ok(moved) = raw.transfer(block, other) {
                    let _ = other.free(moved.as_ptr());
                }
            }
            2 => {
                let _ = raw.size(block);
                let _ = ALLOC.owner_of(block);
            }
            _ => {
                let _ = raw.free(block);
            }
        }
    }
}

/// Frees raw blocks and fills vectors in their place.
fn hold(known: &Known, raw: &Expert, handles: &Expert, size: usize, mut actor: Actor<'_>) {
    while actor.goes_on() {
        let block = raw.alloc(size).unwrap().as_ptr();
        known[actor.dice.below(known.len())].store(block.addr(), Relaxed);
        actor.pause(64);
        let _ = raw.free(block);
        let room = (size / 8).max(4);
        let mut vector: HandleVec<u64, _> = HandleVec::with_capacity_in(room, handles.allocator());
        let words = words(vector.as_ptr().addr(), raw, &mut actor.dice);
        vector.extend_from_slice(&words);
        actor.pause(100);
        assert_eq!(vector[..], words, "a vector that one thread has was written to by another");
        assert_eq!(ALLOC.owner_of(vector.as_ptr()), Some(handles.key()), "freed under its owner");
        let more = (vector.len()..room.min(1000)).map(|place| place as u64);
        vector.extend(more);
        let is_as_written = |(place, &word): (usize, &u64)| {
            word == words.get(place).copied().unwrap_or(place as u64)
        };
        assert!(vector.iter().enumerate().all(is_as_written), "two vectors in one block");
    }
}

/// Words that a program might write to deceive the heap, such as the mark that an earlier
/// design put in front of a live raw block.
fn words(address: usize, owner: &Expert, dice: &mut Dice<'_>) -> [u64; 3] {
    let mark = !address.wrapping_add(0x2545_F491) ^ owner.key().into_raw();
    match dice.below(4) {
        0 => [dice.next(), address as u64, owner.key().into_raw() as u64],
        1 => [mark as u64, dice.next(), mark as u64],
        _ => [0, mark as u64, dice.next()],
    }
}

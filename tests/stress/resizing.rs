//! A thread resizes values that were made in a scope of an expert, while another thread
//! ends that expert, and the next experts use its records.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::*};
use std::sync::{Arc, Mutex};

use expert_alloc::Expert;

use crate::common::ALLOC;
use crate::run::{Actor, Turn, wait_until};
use crate::values::Value;

/// Where the two threads meet.
#[derive(Default)]
struct Meeting {
    expert: Mutex<Option<Arc<Expert>>>,
    /// Values that the other thread has made.
    made: Mutex<Vec<Value>>,
    /// The rounds that have begun, whose values are there, and that are over.
    begun: AtomicUsize,
    ready: AtomicUsize,
    over: AtomicUsize,
    is_last: AtomicBool,
}

pub fn play(turn: &Turn) {
    std::thread::scope(|threads| {
        for pair in 0..turn.dice().below(2) + 1 {
            threads.spawn(move || {
                let meeting = Meeting::default();
                std::thread::scope(|threads| {
                    threads.spawn(|| resize(&meeting, turn.actor("resizer", pair)));
                    end(&meeting, turn.actor("ender", pair));
                });
            });
        }
    });
}

fn resize(meeting: &Meeting, mut actor: Actor<'_>) {
    for round in 1.. {
        actor.step();
        wait_until(|| meeting.begun.load(Acquire) >= round || meeting.is_last.load(Acquire));
        if meeting.begun.load(Acquire) < round {
            return;
        }
        let expert = meeting.expert.lock().unwrap().take().expect("one each round");
        let mut values = std::mem::take(&mut *meeting.made.lock().unwrap());
        if values.is_empty() {
            let scope = expert.enter();
            values = make(&mut actor);
            if actor.dice.once_in(16) {
                std::mem::forget(scope);
            } else {
                drop(scope);
            }
        }
        drop(expert);
        meeting.ready.store(round, Release);
        while meeting.over.load(Acquire) < round {
            for value in &mut values {
                value.flip();
                value.check();
            }
        }
        // The expert has ended, and its successors never had these blocks.
        let host = Some(ALLOC.host().key());
        let shown = values.iter().filter(|value| !value.address().is_null());
        shown.for_each(|value| assert_eq!(ALLOC.owner_of(value.address()), host));
        if actor.dice.once_in(4) {
            values.iter_mut().for_each(|value| value.resize(&mut actor.dice));
        }
        values.iter().for_each(Value::check);
    }
}

/// Values of a round, usually one vector of ten words, so it is resized all the time.
fn make(actor: &mut Actor<'_>) -> Vec<Value> {
    match actor.dice.below(4) {
        0 => (0..1 + actor.dice.below(4)).map(|_| Value::new(&mut actor.dice)).collect(),
        _ => vec![Value::words(actor.dice.next(), 10)],
    }
}

fn end(meeting: &Meeting, mut actor: Actor<'_>) {
    let mut round = 0;
    while actor.goes_on() {
        round += 1;
        let expert = Arc::new(ALLOC.expert("resized").register().unwrap());
        if actor.dice.once_in(4) {
            let scope = expert.enter();
            *meeting.made.lock().unwrap() = make(&mut actor);
            drop(scope);
        }
        *meeting.expert.lock().unwrap() = Some(Arc::clone(&expert));
        meeting.begun.store(round, Release);
        wait_until(|| meeting.ready.load(Acquire) >= round);
        actor.pause(256);
        // The other thread has dropped its share.
        let expert = Arc::into_inner(expert).expect("the last one");
        let _ = expert.finish();
        follow(&mut actor);
        meeting.over.store(round, Release);
    }
    meeting.is_last.store(true, Release);
}

/// Makes the next experts, which get the first one's records.
fn follow(actor: &mut Actor<'_>) {
    for _ in 0..1 + actor.dice.below(2) {
        let next = ALLOC.expert("next").register().unwrap();
        if actor.dice.below(4) > 0 {
            next.alloc(actor.dice.below(300)).unwrap();
        }
        if actor.dice.once_in(2) {
            let numbers =
                allocator_api2::vec::Vec::<u8, _>::with_capacity_in(100, next.allocator());
            std::hint::black_box(&numbers);
        }
        if actor.dice.once_in(4) {
            let scope = next.enter();
            std::hint::black_box(Value::new(&mut actor.dice));
            drop(scope);
        }
        if actor.dice.once_in(8) {
            ALLOC.purge();
        }
        actor.pause(200);
        let _ = next.finish();
    }
}

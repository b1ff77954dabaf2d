//! Scopes that end in any order, late, or never, while their experts end on other threads
//! and the next experts use their records.

use std::sync::{Arc, Mutex, mpsc};

use allocator_api2::boxed::Box as HandleBox;
use expert_alloc::{Expert, ExpertKey};

use crate::common::ALLOC;
use crate::dice::Dice;
use crate::run::{Actor, Turn};
use crate::values::Value;

/// Experts that several threads share; dropping the last share ends an expert.
type Shared = [Mutex<Arc<Expert>>; 3];

fn register() -> Arc<Expert> {
    Arc::new(ALLOC.expert("entered").register().unwrap())
}

pub fn play(turn: &Turn) {
    let shared: Shared = std::array::from_fn(|_| Mutex::new(register()));
    std::thread::scope(|threads| {
        for number in 0..3 {
            let (shared, actor) = (&shared, turn.actor("thread in scopes", number));
            threads.spawn(move || enter_and_leave(shared, actor));
        }
        let mut actor = turn.actor("starter of threads", 0);
        while actor.goes_on() {
            die_in_a_scope(&shared, &mut actor, turn);
        }
    });
}

fn enter_and_leave(shared: &Shared, mut actor: Actor<'_>) {
    while actor.goes_on() {
        match actor.dice.below(4) {
            0 => nest(shared, &mut actor.dice, 4, ALLOC.host().key()),
            _ => leave_in_any_order(shared, &mut actor.dice),
        }
        expect_current(ALLOC.host().key(), "no scope is left");
    }
}

/// A share of an expert, which may soon be the last. Usually it is of a shared expert,
/// sometimes of a new one in its place, or of one that only this thread has.
fn share(shared: &Shared, dice: &mut Dice<'_>) -> Arc<Expert> {
    let place = &shared[dice.below(shared.len())];
    match dice.below(4) {
        0 => std::mem::replace(&mut *place.lock().unwrap(), register()),
        1 => register(),
        _ => Arc::clone(&place.lock().unwrap()),
    }
}

/// The owner of a new block.
#[track_caller]
fn expect_current(key: ExpertKey, why: &str) {
    let block = Box::new([0x41u8; 40]);
    let owner = ALLOC.owner_of(block.as_ptr());
    assert_eq!(owner, Some(key), "{why}, and a block is allocated for another");
}

/// Enters and leaves scopes as most programs do.
fn nest(shared: &Shared, dice: &mut Dice<'_>, depth: usize, outer: ExpertKey) {
    let expert = share(shared, dice);
    let key = expert.key();
    let scope = expert.enter();
    expect_current(key, "the innermost scope");
    let value = Value::new(dice);
    if depth > 0 && dice.once_in(2) {
        nest(shared, dice, depth - 1, key);
        expect_current(key, "the inner scope has ended");
    }
    drop(scope);
    expect_current(outer, "the scope has ended");
    drop(expert);
    use_what_is_left(dice);
    value.check();
}

/// Enters three scopes, which end in any order, and their experts with them.
fn leave_in_any_order(shared: &Shared, dice: &mut Dice<'_>) {
    let mut kept = Vec::with_capacity(3);
    let mut values = Vec::with_capacity(16);
    let [first, second, third] = [(); 3].map(|()| share(shared, dice));
    let outer = first.enter();
    values.push(Value::new(dice));
    let middle = second.enter();
    values.push(Value::new(dice));
    let inner = third.enter();
    values.push(Value::new(dice));
    // Their owner cannot be predicted here; the test only checks their content.
    macro_rules! leave {
        ($($scope:ident of $expert:ident),*) => {{
            $(
                drop($scope);
                values.push(Value::new(dice));
                if dice.below(4) > 0 {
                    drop($expert);
                    use_what_is_left(dice);
                } else {
                    kept.push($expert);
                }
                values.push(Value::new(dice));
            )*
        }};
    }
    match dice.below(6) {
        0 => leave!(inner of third, middle of second, outer of first),
        1 => leave!(inner of third, outer of first, middle of second),
        2 => leave!(middle of second, inner of third, outer of first),
        3 => leave!(middle of second, outer of first, inner of third),
        4 => leave!(outer of first, inner of third, middle of second),
        _ => leave!(outer of first, middle of second, inner of third),
    }
    expect_current(ALLOC.host().key(), "three scopes have ended out of order");
    values.iter_mut().for_each(|value| value.resize(dice));
    values.iter().for_each(Value::check);
}

/// Makes experts of each kind, which may get the records of one that has ended.
fn use_what_is_left(dice: &mut Dice<'_>) {
    let expert = ALLOC.expert("next").register().unwrap();
    let faces = dice.next();
    if faces & 1 != 0 {
        assert_eq!(*HandleBox::new_in([7u8; 40], expert.allocator()), [7; 40]);
    }
    if faces & 2 != 0 {
        expert.alloc(40).unwrap();
    }
    if faces & 4 != 0 {
        let scope = expert.enter();
        expect_current(expert.key(), "the only scope");
        drop(scope);
    }
    let _ = expert.finish();
}

/// A thread ends in a scope that it has forgotten, and its values stay valid.
fn die_in_a_scope(shared: &Shared, actor: &mut Actor<'_>, turn: &Turn) {
    let (send, receive) = mpsc::channel();
    std::thread::scope(|threads| {
        for number in 0..2 {
            let (share, send) = (share(shared, &mut actor.dice), send.clone());
            threads.spawn(move || {
                let mut actor = turn.actor("thread that ends in a scope", number);
                std::mem::forget(share.enter());
                let mut values: Vec<_> = (0..40).map(|_| Value::new(&mut actor.dice)).collect();
                drop(share);
                for _ in 0..40 {
                    let place = actor.dice.below(values.len());
                    values[place].resize(&mut actor.dice);
                    values.push(Value::new(&mut actor.dice));
                    actor.step();
                }
                send.send(values).unwrap();
            });
        }
        drop(send);
        receive.iter().flatten().for_each(|value| value.check());
    });
}

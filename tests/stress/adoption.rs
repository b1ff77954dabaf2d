//! An expert ends while threads in forgotten scopes of it allocate, free and resize: the
//! host adopts at least the blocks that they had all the time, and loses none of them.

use std::sync::atomic::{AtomicBool, Ordering::*};
use std::sync::{Arc, Barrier, mpsc};

use expert_alloc::Expert;

use crate::common::ALLOC;
use crate::run::{Actor, Turn};
use crate::values::Value;

/// How many values each thread keeps all the time, each in one block.
const KEPT: usize = 400;

type Results = mpsc::Sender<Vec<Vec<u8>>>;

pub fn play(turn: &Turn) {
    let mut actor = turn.actor("ender of an expert in use", 0);
    while actor.goes_on() {
        round(turn, &mut actor);
    }
}

fn round(turn: &Turn, actor: &mut Actor<'_>) {
    let quota = if actor.dice.once_in(2) { 300_000 } else { 0 };
    let expert = Arc::new(ALLOC.expert("adopted").quota(quota).register().unwrap());
    let (is_over, ready) = (&AtomicBool::new(false), &Barrier::new(3));
    let (send, receive) = mpsc::channel();
    std::thread::scope(|threads| {
        for number in 0..2 {
            let (expert, send) = (Arc::clone(&expert), send.clone());
            threads.spawn(move || {
                let actor = turn.actor("worker in a forgotten scope", number);
                work(expert, ready, is_over, &send, actor);
            });
        }
        ready.wait();
        std::thread::sleep(std::time::Duration::from_micros(actor.dice.below(700) as u64));
        let reclaimed = Arc::into_inner(expert).expect("the last one").finish();
        assert!(reclaimed.adopted_blocks >= 2 * KEPT, "{} were live, {reclaimed}", 2 * KEPT);
        is_over.store(true, Relaxed);
    });
    drop(send);
    for block in receive.iter().flatten() {
        assert_eq!(ALLOC.owner_of(block.as_ptr()), Some(ALLOC.host().key()));
        check(&block);
    }
}

#[track_caller]
fn check(block: &[u8]) {
    assert!(block.iter().all(|&byte| byte == block[0]), "a block was written to by another");
}

fn work(
    expert: Arc<Expert>,
    ready: &Barrier,
    is_over: &AtomicBool,
    results: &Results,
    mut actor: Actor<'_>,
) {
    let mut held: Vec<Vec<u8>> = Vec::with_capacity(2 * KEPT);
    std::mem::forget(expert.enter());
    held.extend((0..KEPT).map(|place| vec![place as u8; [64, 200, 500][place % 3]]));
    drop(expert);
    ready.wait();
    while !is_over.load(Relaxed) {
        actor.step();
        let dice = &mut actor.dice;
        if held.len() < held.capacity() && dice.below(16) < 9 {
            let length =
                if dice.once_in(256) { 70_000 } else { [64, 200, 500, 1000][dice.below(4)] };
            held.push(vec![dice.next() as u8; length]);
        } else if held.len() > KEPT {
            let mut block = held.swap_remove(KEPT + dice.below(held.len() - KEPT));
            if dice.once_in(8) {
                let byte = block[0];
                block.resize(2 * block.len(), byte);
            }
            check(&block);
        } else if dice.once_in(16) {
            Value::new(dice).check();
        }
    }
    results.send(held).unwrap();
}

//! Threads beside a scene purge, poll the figures, let experts come and go, or map and unmap
//! memory, so that records and memory change hands.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread::Scope;

use crate::common::ALLOC;
use crate::dice::Dice;
use crate::run::{Actor, Turn};
use crate::values::Value;

/// More blocks than any scene has, by far.
const TOO_MANY: usize = 50_000_000;

/// An address in memory that was unmapped, or will be.
static MAPPED: AtomicUsize = AtomicUsize::new(0);

/// Starts up to four of these threads. In the first turns, each of them runs at least once.
pub fn start<'s, 't: 's>(
    turn: &'t Turn,
    number: usize,
    threads: &'s Scope<'s, '_>,
    dice: &mut Dice<'_>,
) {
    for (place, beside) in [purge, poll, come_and_go, map].into_iter().enumerate() {
        if dice.once_in(4) || number == place {
            threads.spawn(move || beside(turn));
        }
    }
}

fn purge(turn: &Turn) {
    let mut actor = turn.actor("purger", 0);
    while actor.goes_on() {
        Value::new(&mut actor.dice).check();
        ALLOC.purge();
        std::thread::sleep(std::time::Duration::from_micros(actor.dice.below(2_000) as u64));
    }
}

fn poll(turn: &Turn) {
    let mut actor = turn.actor("poller of all figures", 0);
    while actor.goes_on() {
        match actor.dice.below(5) {
            0 => assert!(ALLOC.report().to_string().contains("total")),
            1 => {
                let snapshot = ALLOC.snapshot();
                assert!(snapshot.host().is_some());
                for row in &snapshot.experts {
                    assert!(row.stats.live_blocks < TOO_MANY, "{}", row.stats);
                    let _ = ALLOC.get(row.key);
                }
            }
            2 => assert!(ALLOC.memory().mapped_bytes > 0),
            3 => ask_for_owners(&mut actor),
            _ => {
                let stats = ALLOC.stats();
                assert!(stats.live_blocks < TOO_MANY, "{stats}");
            }
        }
    }
}

/// Asks for the owners of addresses around a block, which come and go.
fn ask_for_owners(actor: &mut Actor<'_>) {
    let value = Value::new(&mut actor.dice);
    for _ in 0..100 {
        let offset = actor.dice.below(64 << 20).wrapping_sub(32 << 20);
        std::hint::black_box(ALLOC.owner_of(value.address().wrapping_add(offset)));
        let mapped = std::ptr::without_provenance_mut(MAPPED.load(Relaxed));
        std::hint::black_box(ALLOC.owner_of(mapped));
        std::hint::black_box(ALLOC.host().size(mapped));
    }
    value.check();
}

/// Takes whole chunks and mappings, and gives them back, while others look there. Only the
/// ends of this memory are written, so it costs addresses and little else.
fn map(turn: &Turn) {
    let mut actor = turn.actor("holder of whole chunks", 0);
    while actor.goes_on() {
        let bytes = (40 << 20) + actor.dice.below(60 << 20);
        let mut huge = Vec::<u8>::with_capacity(bytes);
        huge.push(1);
        MAPPED.store(huge.as_ptr().addr(), Relaxed);
        // Together these fill more than one chunk.
        let large: Vec<_> = (0..100).map(|_| Vec::<u8>::with_capacity(1 << 20)).collect();
        if actor.dice.once_in(2) {
            MAPPED.store(large[99].as_ptr().addr(), Relaxed);
        }
        let host = Some(ALLOC.host().key());
        assert!([huge.as_ptr(), large[99].as_ptr()].map(|at| ALLOC.owner_of(at)) == [host; 2]);
        drop((huge, large));
        ALLOC.purge();
        std::thread::sleep(std::time::Duration::from_micros(actor.dice.below(2_000) as u64));
    }
}

fn come_and_go(turn: &Turn) {
    let mut actor = turn.actor("passing experts", 0);
    while actor.goes_on() {
        let expert = ALLOC.expert("passing").register().unwrap();
        for _ in 0..actor.dice.below(4) {
            expert.alloc(1 + actor.dice.below(500)).unwrap();
        }
        let scope = expert.enter();
        let value = Value::new(&mut actor.dice);
        drop(scope);
        let reclaimed = expert.finish();
        assert!(reclaimed.adopted_blocks <= 1, "{reclaimed}");
        value.check();
    }
}

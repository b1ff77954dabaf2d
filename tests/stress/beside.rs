//! Threads beside a scene purge, poll the figures, or let experts come and go, so that
//! records and memory change hands.

use std::thread::Scope;

use crate::common::ALLOC;
use crate::dice::Dice;
use crate::run::{Actor, Turn};
use crate::values::Value;

/// More blocks than any scene has, by far.
const TOO_MANY: usize = 50_000_000;

/// Starts up to three of these threads.
pub fn start<'s, 't: 's>(turn: &'t Turn, threads: &'s Scope<'s, '_>, dice: &mut Dice<'_>) {
    for beside in [purge, poll, come_and_go] {
        if dice.once_in(4) {
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
    }
    value.check();
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

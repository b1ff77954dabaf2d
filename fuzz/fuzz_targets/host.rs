//! Operations of all kinds from a fuzzer's bytes, through the interpreter of the shadow
//! model, with the walker after each.

#![no_main]

#[path = "../../tests/model/mod.rs"]
mod model;

use expert_alloc::ExpertAlloc;
use libfuzzer_sys::fuzz_target;
use model::actor::{Actor, Scopes};
use model::dice::Dice;
use model::run::{end, one_step, walk};
use model::world::{Config, World};

#[global_allocator]
static ALLOC: ExpertAlloc = ExpertAlloc::new();

fuzz_target!(|bytes: &[u8]| {
    let Some((&setup, bytes)) = bytes.split_first() else { return };
    let config = Config {
        seats: 1 + usize::from(setup & 3),
        threads: 1,
        exact: true,
        blocks: 40,
        largest: if setup & 4 == 0 { 1 << 17 } else { 4 << 20 },
        failures: setup & 8 != 0,
    };
    // Blocks of ended experts count as in use until a sweep.
    ALLOC.purge();
    let before = walk();
    {
        let world = World::new(config);
        let mut actors = [Actor::new(&world)];
        let mut dice = Dice::Bytes(bytes);
        let mut scopes = Scopes::new();
        while !dice.is_spent() {
            one_step(&world, &mut actors[0], &mut dice, &mut scopes);
        }
        expert_alloc::testing::heal();
        drop(scopes);
        end(&world, &mut actors);
    }
    ALLOC.purge();
    assert_eq!(walk().blocks, before.blocks, "blocks in use, before and after");
});

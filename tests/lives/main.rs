//! Random lives of experts. They are nested, charged, terminated and revoked, fail by a
//! panic, the quota, a clean-up or the page source, are inherited into tasks and threads
//! that may outlive them, and end on any thread, also while another allocates for them.
//! Every report adds up, nothing leaks, and another expert is not affected.
//!
//! `EXPERT_ALLOC_LIVES` says how many: 10,000 by default. In one round of lives, one kind
//! of call to the system fails now and then; in another round, all kinds fail. The test has
//! the process to itself, because page sources fail for all threads, and the walker needs
//! quiet.

mod dice;
mod kept;
mod life;
mod page_source;
mod parachute;

use std::panic;
use std::process;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::Instant;

use expert_alloc::Expert;
use expert_alloc::testing::{self, Call, Checked};

use dice::Dice;
use page_source::KINDS;

use kept::{Blocks, Kept};
use life::{WITHOUT_PAGES, is_whole, live};
use parachute::{ALLOC, WithParachute};

#[global_allocator]
static GLOBAL: WithParachute = WithParachute;

/// Lives between two looks at the whole heap.
const ROUND: usize = 1_250;
const THREADS: u64 = 4;
/// The most bytes that a chunk has.
const CHUNK: usize = 32 << 20;

fn expert(name: &str) -> Expert {
    ALLOC.expert(name).register().unwrap()
}

/// Walks the heap. No other thread is in it.
fn walk() -> Checked {
    // SAFETY: S1: as said.
    unsafe { testing::check() }.unwrap()
}

/// Runs `lives` lives, in several threads. Two of them have a tenant as parent.
fn round(seed: u64, lives: usize) {
    let tenants: Vec<Expert> = (0..2).map(|_| expert("tenant")).collect();
    let done = AtomicUsize::new(0);
    thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|number| {
                let (tenant, done) = (tenants.get(number as usize), &done);
                scope.spawn(move || {
                    let (mut dice, mut kept) = (Dice(seed ^ number << 48), Kept::default());
                    while done.fetch_add(1, Relaxed) < lives {
                        live(tenant, &mut dice, &mut kept);
                        kept.clear_much(&mut dice);
                    }
                })
            })
            .collect();
        // Their thread-locals as well.
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
    testing::heal();
    for tenant in tenants {
        assert_eq!(tenant.stats().charged_bytes, 0);
        assert_eq!(tenant.finish().blocks, 0);
    }
}

/// Checks that all memory of a round is back.
fn check_nothing_is_left(blocks: usize) {
    ALLOC.purge();
    let seen = walk();
    // SAFETY: S1: no other thread is in the heap.
    unsafe { testing::check_zero() }.unwrap();
    assert_eq!(seen.blocks, blocks, "{seen:?}");
    assert_eq!((seen.kept_chunks, testing::leftovers()), (0, 0), "{seen:?}");
    let mapped = testing::mapped_bytes() - testing::table_bytes();
    assert!(mapped <= seen.chunks * CHUNK, "{mapped} bytes mapped: {seen:?}");
    assert_eq!(ALLOC.snapshot().experts.len(), 2, "the host and the bystander");
    assert_eq!(parachute::live(), 0);
}

fn random_lives_add_up(lives: usize) {
    let bystander = expert("bystander");
    let watched: Blocks = {
        let _scope = bystander.enter();
        (1..500).map(|size| vec![size as u8; size]).collect()
    };
    // Memory that a process has once, such as the records of its threads, is there from the
    // first round on.
    round(u64::MAX, 100);
    ALLOC.purge();
    let (blocks, figures) = (walk().blocks, bystander.stats());
    let (mut left, mut number) = (lives, 0);
    while left > 0 {
        let lives = left.min(ROUND);
        page_source::set_kind(number % (KINDS + 1));
        number += 1;
        round(left as u64, lives);
        check_nothing_is_left(blocks);
        assert!(watched.iter().all(|block| is_whole(block)));
        assert_eq!(bystander.stats(), figures, "the bystander has noticed");
        left -= lives;
    }
    let failed = Call::ALL.map(testing::failed);
    let (refused, parachutes) = (WITHOUT_PAGES.load(Relaxed), parachute::opened());
    println!("made to fail: {:?} {failed:?}; {refused} refused, {parachutes} saved", Call::ALL);
    assert!(failed.iter().all(|&failed| failed > lives / 2_000), "{failed:?}");
    assert!(refused > lives / 100 && parachutes > lives / 100, "{refused} {parachutes}");
}

fn main() {
    // Expected panics of lives print nothing; any other panic ends the process.
    let print = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        let text = panic.payload().downcast_ref::<&str>();
        if !text.is_some_and(|text| text.ends_with("goes wrong")) {
            print(panic);
            process::exit(101);
        }
    }));
    let lives = std::env::var("EXPERT_ALLOC_LIVES").map_or(10_000, |lives| lives.parse().unwrap());
    if std::env::args().any(|arg| arg == "--list") {
        return println!("random_lives_add_up: test");
    }
    let began = Instant::now();
    random_lives_add_up(lives);
    println!("test random_lives_add_up ... ok ({:.1?})", began.elapsed());
}

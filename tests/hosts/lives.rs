//! Random lives: nested, charged, terminated, revoked, failed by a panic, the
//! quota or a clean-up, inherited into tasks and threads, ended from whatever
//! thread. Every report adds up, and a bystander notices nothing.
//!
//! `HOSTS_LIVES` says how many: 10,000 by default.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Waker};
use std::thread;

use allocator_api2::vec::Vec as VecIn;
use expert_alloc::{Expert, Reclaimed, SharedHandle, Stats};

use super::{ALLOC, expert};

/// Numbers that are the same in each run (SplitMix64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ mixed >> 31) as usize % end
    }

    fn one_in(&mut self, chances: usize) -> bool {
        self.below(chances) == 0
    }

    fn size(&mut self) -> usize {
        let magnitude = self.below(17);
        self.below(1 << magnitude) + 1
    }
}

/// What outlives the experts: blocks with their content.
type Kept = Vec<Vec<u8>>;

fn block(dice: &mut Dice) -> Vec<u8> {
    let size = dice.size();
    vec![size as u8; size]
}

fn is_whole(block: &[u8]) -> bool {
    block.iter().all(|&byte| byte == block.len() as u8)
}

/// What a life did that the figures do not show.
#[derive(Default)]
struct Given {
    /// Raw blocks that were transferred to the host.
    transferred: usize,
    /// Raw blocks that nobody frees.
    leaked: usize,
}

/// Something that happens to an expert.
fn happen(expert: &Expert, dice: &mut Dice, kept: &mut Kept, given: &mut Given) {
    match dice.below(9) {
        0 => {
            let (number, panics) = (dice.below(20), dice.one_in(3));
            let outcome = expert.run(|| {
                let mut blocks: Kept = (0..number).map(|_| block(dice)).collect();
                assert!(!panics, "a life goes wrong");
                blocks.truncate(number / 2);
                blocks
            });
            kept.extend(outcome.into_iter().flatten());
        }
        1 => {
            if let Ok(block) = expert.alloc(dice.size()) {
                let moved = expert.realloc(block.as_ptr(), dice.size()).unwrap_or(block);
                match dice.below(3) {
                    0 => expert.free(moved.as_ptr()).unwrap(),
                    1 => given.leaked += 1,
                    _ => {
                        let there = expert.transfer(moved.as_ptr(), &ALLOC.host());
                        given.transferred += usize::from(there.is_ok());
                        given.leaked += usize::from(there.is_err());
                        there.into_iter().for_each(|there| {
                            ALLOC.host().free(there.as_ptr()).unwrap();
                        });
                    }
                }
            }
        }
        2 => {
            let mut list = VecIn::new_in(expert.allocator());
            for _ in 0..dice.below(10) {
                if list.try_reserve(dice.size()).is_ok() {
                    list.push(dice.below(256) as u8);
                }
            }
        }
        3 => kept.extend(polled(expert, dice)),
        4 => {
            let sizes: Vec<usize> = (0..dice.below(8)).map(|_| dice.size()).collect();
            let make = move || sizes.iter().map(|&size| vec![size as u8; size]).collect::<Kept>();
            let made = expert.run(|| ALLOC.inherit_fn(make));
            kept.extend(made.into_iter().flat_map(|make| thread::spawn(make).join().unwrap()));
        }
        5 if dice.one_in(4) => expert.terminate(),
        6 => {
            let panics = dice.one_in(3);
            expert.on_reclaim(move || assert!(!panics, "a clean-up goes wrong")).unwrap();
        }
        7 => expert.set_quota([0, 64 << 10, 1 << 20][dice.below(3)]),
        8 => drop(expert.forgive()),
        _ => drop(kept.split_off(kept.len() / 2)),
    }
}

/// A task that is polled a few times, and then finished, dropped or stopped.
fn polled(expert: &Expert, dice: &mut Dice) -> Kept {
    let (polls, panics) = (dice.below(5), dice.one_in(5));
    let mut inner = Dice(dice.below(1 << 30) as u64);
    let mut task = Box::pin(expert.run_async(async {
        let mut blocks = Kept::new();
        for _ in 0..4 {
            blocks.push(block(&mut inner));
            let mut polled = false;
            poll_fn(|_| {
                if std::mem::replace(&mut polled, true) { Poll::Ready(()) } else { Poll::Pending }
            })
            .await;
            assert!(!panics, "a task goes wrong");
        }
        blocks
    }));
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..polls {
        if let Poll::Ready(outcome) = Future::poll(Pin::new(&mut task), &mut context) {
            return outcome.unwrap_or_default();
        }
    }
    Kept::new()
}

/// Whether a report adds up with the figures from just before.
fn check(before: &Stats, reclaimed: &Reclaimed, given: &Given) {
    let adopted = reclaimed.adopted_blocks;
    assert_eq!(reclaimed.blocks, given.leaked, "{before} {reclaimed}");
    assert_eq!(before.live_blocks, reclaimed.blocks + adopted, "{before} {reclaimed}");
    assert_eq!(
        before.live_bytes,
        reclaimed.bytes + reclaimed.adopted_bytes,
        "{before} {reclaimed}"
    );
    let gone = before.frees + (reclaimed.blocks + adopted) as u64;
    assert_eq!(before.allocations, gone, "{before} {reclaimed} {}", given.transferred);
}

/// One life, perhaps with a child's in it.
fn live(parent: Option<&Expert>, dice: &mut Dice, kept: &mut Kept) {
    let mut builder = ALLOC.expert("life").quota([0, 256 << 10, 2 << 20][dice.below(3)]);
    if let Some(parent) = parent {
        builder = builder.parent(parent).guarantee([0, 16 << 10][dice.below(2)]);
    }
    if dice.one_in(8) {
        builder = builder.soft_quota(1 << 10);
    }
    let Ok(expert) = builder.register() else {
        assert!(parent.is_some(), "an orphan cannot be refused");
        return;
    };
    let mut given = Given::default();
    for _ in 0..dice.below(12) {
        happen(&expert, dice, kept, &mut given);
        if dice.one_in(10) {
            live(Some(&expert), dice, kept);
        }
    }
    if dice.one_in(3) {
        return live_owned(expert, dice, &given, kept);
    }
    let before = expert.stats();
    let reclaimed = match dice.below(3) {
        0 => thread::spawn(move || expert.finish()).join().unwrap(),
        _ => expert.finish(),
    };
    check(&before, &reclaimed, &given);
}

/// The end of a life that is owned by several.
fn live_owned(expert: Expert, dice: &mut Dice, given: &Given, kept: &mut Kept) {
    let expert = expert.into_shared();
    let (send, receive) = mpsc::channel();
    expert.on_end(move |reclaimed| send.send(reclaimed).unwrap());
    let mut held: Vec<VecIn<u8, SharedHandle>> = Vec::new();
    for _ in 0..dice.below(4) {
        let mut list = VecIn::new_in(expert.allocator());
        if list.try_reserve(dice.size()).is_ok() {
            list.push(7);
            held.push(list);
        }
    }
    if dice.one_in(2) {
        expert.revoke();
    }
    let live = held.len();
    let before = expert.stats();
    let holder = dice.below(2);
    drop(expert);
    if holder == 0 && !held.is_empty() {
        thread::spawn(move || assert!(held.iter().all(|list| list[0] == 7))).join().unwrap();
    } else {
        assert!(held.iter().all(|list| list[0] == 7));
        drop(held);
    }
    let reclaimed = receive.recv().unwrap();
    assert_eq!(reclaimed.blocks, given.leaked, "{before} {reclaimed}");
    assert_eq!(before.live_blocks, live + reclaimed.blocks + reclaimed.adopted_blocks);
    assert!(kept.iter().all(|block| is_whole(block)));
}

#[test]
fn random_lives_add_up() {
    let lives: usize = std::env::var("HOSTS_LIVES").map_or(10_000, |lives| lives.parse().unwrap());
    let bystander = Arc::new(expert("bystander"));
    let watched: Kept = {
        let _scope = bystander.enter();
        (1..500).map(|size| vec![size as u8; size]).collect()
    };
    let figures = bystander.stats();
    let tenants: Vec<Expert> = (0..2).map(|_| expert("tenant")).collect();
    let done = AtomicUsize::new(0);
    // What lives go wrong with is not to be read.
    let inner = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let text = panic.payload().downcast_ref::<&str>();
        if !text.is_some_and(|text| text.ends_with("goes wrong")) {
            inner(panic);
        }
    }));
    thread::scope(|threads| {
        for number in 0..4_u64 {
            let (tenant, done) = (tenants.get(number as usize), &done);
            threads.spawn(move || {
                let (mut dice, mut kept) = (Dice(number), Kept::new());
                while done.fetch_add(1, SeqCst) < lives {
                    live(tenant, &mut dice, &mut kept);
                    if kept.len() > 200 {
                        assert!(kept.iter().all(|block| is_whole(block)));
                        kept.clear();
                    }
                }
            });
        }
    });
    assert!(watched.iter().all(|block| is_whole(block)));
    assert_eq!(bystander.stats(), figures, "the bystander has noticed");
    for tenant in tenants {
        assert_eq!(tenant.stats().charged_bytes, 0);
        assert_eq!(tenant.finish().blocks, 0);
    }
}

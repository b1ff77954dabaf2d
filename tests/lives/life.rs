//! A life: what happens to an expert, and how it ends. Results that may fail for want of
//! memory are not unwrapped here, and all others are.

use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc;
use std::task::{Context, Poll, Waker};
use std::thread;

use allocator_api2::vec::Vec as VecIn;
use expert_alloc::{Error, Expert, ExpertKey, Reclaimed, SharedHandle, Stats};

use super::dice::Dice;
use super::kept::{Blocks, Kept, give_way};
use super::page_source::Trouble;
use super::parachute::{self, ALLOC, fallible};

/// Requests that were refused because the page source failed.
pub static WITHOUT_PAGES: AtomicUsize = AtomicUsize::new(0);

/// A block in the current scope, full of its size; `None` where a request that may
/// fail failed.
pub fn block(dice: &mut Dice) -> Option<Vec<u8>> {
    let (size, may_fail) = (dice.size(), dice.one_in(2));
    let mut block = Vec::new();
    if may_fail && fallible(|| block.try_reserve_exact(size)).is_err() {
        WITHOUT_PAGES.fetch_add(1, Relaxed);
        return None;
    }
    block.resize(size, size as u8);
    Some(block)
}

pub fn is_whole(block: &[u8]) -> bool {
    block.iter().all(|&byte| byte == block.len() as u8)
}

/// Whether the block belongs to the expert of `key`, or is the parachute's.
fn check_owner(block: &[u8], key: ExpertKey) {
    let owner = ALLOC.owner_of(block.as_ptr());
    assert!(owner == Some(key) || owner.is_none() && parachute::live() > 0, "{owner:?} of {key}");
}

/// A result whose error may be that there was no memory, or that the quota or the host
/// has said no.
pub fn refused<T>(result: Result<T, Error>) -> Option<T> {
    match result {
        Ok(value) => return Some(value),
        Err(Error::OutOfMemory) => _ = WITHOUT_PAGES.fetch_add(1, Relaxed),
        Err(Error::QuotaExceeded) => {}
        Err(error) => assert!(error.is_stop(), "{error}"),
    }
    None
}

/// Facts of a life that the figures do not show.
#[derive(Default)]
pub struct Given {
    /// Raw blocks that were transferred to the host.
    pub transferred: usize,
    /// Raw blocks that nobody frees.
    pub leaked: usize,
}

/// Something that happens to an expert.
fn happen(expert: &Expert, dice: &mut Dice, kept: &mut Kept, given: &mut Given) {
    match dice.below(15) {
        0 => {
            let (number, panics) = (dice.below(20), dice.one_in(3));
            let outcome = expert.run(|| {
                let mut blocks: Blocks = (0..number).filter_map(|_| block(dice)).collect();
                blocks.iter().for_each(|block| check_owner(block, expert.key()));
                assert!(!panics, "a life goes wrong");
                blocks.truncate(number / 2);
                blocks
            });
            kept.blocks.extend(outcome.into_iter().flatten());
        }
        1 => raw(expert, dice, given),
        2 => {
            let mut list = VecIn::new_in(expert.allocator());
            for _ in 0..dice.below(10) {
                if list.try_reserve(dice.large_size()).is_ok() {
                    list.push(dice.below(256) as u8);
                }
            }
        }
        3 => kept.blocks.extend(polled(expert, dice)),
        4 => {
            let make = inherited(expert, dice, Some(expert.key()));
            kept.blocks
                .extend(make.into_iter().flat_map(|make| thread::spawn(make).join().unwrap()));
        }
        5 if dice.one_in(4) => expert.terminate(),
        6 => {
            let panics = dice.one_in(3);
            refused(expert.on_reclaim(move || assert!(!panics, "a clean-up goes wrong")));
        }
        7 => expert.set_quota([0, 64 << 10, 1 << 20][dice.below(3)]),
        8 => drop(expert.forgive()),
        9 => drop(expert.trim()),
        10 => kept.begin_task(expert, dice),
        11 | 12 => kept.continue_task(dice),
        13 => {
            kept.bear(expert, dice);
            if dice.one_in(2) {
                kept.end_orphan(dice);
            }
        }
        _ => drop(kept.blocks.split_off(kept.blocks.len() / 2)),
    }
}

/// A closure for a thread that stays with the expert: it makes blocks, which are those of
/// `key` if that is given.
fn inherited(
    expert: &Expert,
    dice: &mut Dice,
    key: Option<ExpertKey>,
) -> Option<impl FnOnce() -> Blocks + Send + 'static> {
    let mut dice = Dice(dice.below(1 << 30) as u64);
    let number = dice.below(8);
    let make = move || {
        let blocks: Blocks = (0..number).filter_map(|_| block(&mut dice)).collect();
        key.inspect(|&key| blocks.iter().for_each(|block| check_owner(block, key)));
        blocks
    };
    expert.run(|| ALLOC.inherit_fn(make)).ok()
}

/// A list with a mapping of its own grows into the addresses behind it.
fn grow(expert: &Expert) {
    expert.set_quota(0);
    let mut list = VecIn::<u8, _>::new_in(expert.allocator());
    for size in [1 << 20, 66 << 20, 70 << 20] {
        if list.try_reserve_exact(size).is_err() {
            WITHOUT_PAGES.fetch_add(1, Relaxed);
        }
    }
}

/// A raw block is made, resized, and freed, left or transferred.
fn raw(expert: &Expert, dice: &mut Dice, given: &mut Given) {
    let Some(block) = refused(expert.alloc(dice.large_size())) else { return };
    let moved = refused(expert.realloc(block.as_ptr(), dice.large_size())).unwrap_or(block);
    match dice.below(3) {
        0 => expert.free(moved.as_ptr()).unwrap(),
        1 => given.leaked += 1,
        _ => match refused(expert.transfer(moved.as_ptr(), &ALLOC.host())) {
            Some(there) => {
                given.transferred += 1;
                ALLOC.host().free(there.as_ptr()).unwrap();
            }
            None => given.leaked += 1,
        },
    }
}

/// A task that is polled a few times, and then finished, dropped or stopped.
fn polled(expert: &Expert, dice: &mut Dice) -> Blocks {
    let (polls, panics) = (dice.below(5), dice.one_in(5));
    let mut inner = Dice(dice.below(1 << 30) as u64);
    let mut task = Box::pin(expert.run_async(async {
        let mut blocks = Blocks::new();
        for _ in 0..4 {
            blocks.extend(block(&mut inner));
            give_way().await;
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
    Blocks::new()
}

/// Whether a report adds up with the figures from just before, after which so many blocks
/// were freed: allocated = freed + reclaimed + adopted + transferred.
fn check(before: &Stats, freed: usize, reclaimed: &Reclaimed, given: &Given) {
    let (blocks, adopted) = (reclaimed.blocks, reclaimed.adopted_blocks);
    let transferred = reclaimed.handed_over_blocks;
    assert_eq!(
        (blocks, transferred),
        (given.leaked, given.transferred),
        "{before} {freed} {reclaimed}"
    );
    assert_eq!(before.live_blocks, freed + blocks + adopted, "{before} {reclaimed}");
    // The figure of frees has those that were transferred, too.
    let all = before.frees + (freed + blocks + adopted) as u64;
    assert!(before.frees >= transferred as u64, "{before} {reclaimed}");
    assert_eq!(before.allocations, all, "{before} {freed} {reclaimed}");
}

/// Ends an expert by value, in this thread or another: its report adds up.
pub fn end(expert: Expert, given: &Given, dice: &mut Dice) {
    let before = expert.stats();
    let reclaimed = match dice.below(3) {
        0 => thread::spawn(move || expert.finish()).join().unwrap(),
        _ => expert.finish(),
    };
    check(&before, 0, &reclaimed, given);
    let bytes = reclaimed.bytes + reclaimed.adopted_bytes;
    assert_eq!(before.live_bytes, bytes, "{before} {reclaimed}");
}

/// Ends an expert while a thread allocates for it, so that nobody knows how much it has.
fn end_amid(expert: Expert, given: &Given, dice: &mut Dice, kept: &mut Kept) {
    let busy = inherited(&expert, dice, None).map(thread::spawn);
    let reclaimed = expert.finish();
    assert_eq!(
        (reclaimed.blocks, reclaimed.handed_over_blocks),
        (given.leaked, given.transferred),
        "{reclaimed}"
    );
    let blocks = busy.into_iter().flat_map(|busy| busy.join().unwrap());
    let host = ALLOC.host().key();
    for block in blocks {
        check_owner(&block, host);
        kept.blocks.push(block);
    }
}

/// One life, perhaps with a child's in it.
pub fn live(parent: Option<&Expert>, dice: &mut Dice, kept: &mut Kept) {
    let mut trouble = Trouble::default();
    if dice.one_in(20) {
        trouble.begin(dice);
    }
    let mut builder = ALLOC.expert("life").quota([0, 256 << 10, 2 << 20][dice.below(3)]);
    if let Some(parent) = parent {
        builder = builder.parent(parent).guarantee([0, 16 << 10][dice.below(2)]);
    }
    if dice.one_in(8) {
        builder = builder.soft_quota(1 << 10);
    }
    if dice.one_in(8) {
        builder = builder.refuse_overdraft();
    }
    let expert = match builder.register() {
        Ok(expert) => expert,
        Err(Error::OutOfMemory) => {
            WITHOUT_PAGES.fetch_add(1, Relaxed);
            return;
        }
        Err(error) => return assert!(parent.is_some(), "an orphan is refused: {error}"),
    };
    let mut given = Given::default();
    for _ in 0..dice.below(12) {
        happen(&expert, dice, kept, &mut given);
        match dice.below(30) {
            0..3 => live(Some(&expert), dice, kept),
            3 => {
                trouble.begin(dice);
                if dice.one_in(3) {
                    grow(&expert);
                }
            }
            4..8 => trouble.end(),
            _ => {}
        }
    }
    match dice.below(6) {
        0 | 1 => live_owned(expert, dice, &given, kept),
        2 => end_amid(expert, &given, dice, kept),
        _ => end(expert, &given, dice),
    }
}

/// The end of a life that several references share.
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
    check(&before, live, &reclaimed, given);
    kept.check();
}

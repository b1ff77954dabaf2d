//! A life: what happens to an expert, and how it ends. Results that may fail for want of
//! memory are not unwrapped here, and all others are.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc;
use std::task::{Context, Poll, Waker};
use std::thread;

use allocator_api2::vec::Vec as VecIn;
use expert_alloc::{Error, Expert, ExpertKey, Reclaimed, SharedHandle, Stats};

use super::dice::Dice;
use super::page_source::Trouble;
use super::parachute::{self, ALLOC, fallible};

/// Blocks that outlive the experts, with their content.
pub type Kept = Vec<Vec<u8>>;

/// Requests that were refused because the page source failed.
pub static WITHOUT_PAGES: AtomicUsize = AtomicUsize::new(0);

/// A block in the current scope, filled with its size; `None` if a request that may fail
/// failed.
fn block(dice: &mut Dice) -> Option<Vec<u8>> {
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

/// A result whose error may be a lack of memory, or a refusal by the quota or the host.
fn refused<T>(result: Result<T, Error>) -> Option<T> {
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
struct Given {
    /// Raw blocks that were transferred to the host.
    transferred: usize,
    /// Raw blocks that nobody frees.
    leaked: usize,
}

/// Something that happens to an expert.
fn happen(expert: &Expert, dice: &mut Dice, kept: &mut Kept, given: &mut Given) {
    match dice.below(11) {
        0 => {
            let (number, panics) = (dice.below(20), dice.one_in(3));
            let outcome = expert.run(|| {
                let mut blocks: Kept = (0..number).filter_map(|_| block(dice)).collect();
                blocks.iter().for_each(|block| check_owner(block, expert.key()));
                assert!(!panics, "a life goes wrong");
                blocks.truncate(number / 2);
                blocks
            });
            kept.extend(outcome.into_iter().flatten());
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
        3 => kept.extend(polled(expert, dice)),
        4 => {
            let mut dice = Dice(dice.below(1 << 30) as u64);
            let (number, key) = (dice.below(8), expert.key());
            let make = move || {
                let blocks: Kept = (0..number).filter_map(|_| block(&mut dice)).collect();
                blocks.iter().for_each(|block| check_owner(block, key));
                blocks
            };
            let made = expert.run(|| ALLOC.inherit_fn(make));
            kept.extend(made.into_iter().flat_map(|make| thread::spawn(make).join().unwrap()));
        }
        5 if dice.one_in(4) => expert.terminate(),
        6 => {
            let panics = dice.one_in(3);
            refused(expert.on_reclaim(move || assert!(!panics, "a clean-up goes wrong")));
        }
        7 => expert.set_quota([0, 64 << 10, 1 << 20][dice.below(3)]),
        8 => drop(expert.forgive()),
        9 => drop(expert.trim()),
        _ => drop(kept.split_off(kept.len() / 2)),
    }
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
fn polled(expert: &Expert, dice: &mut Dice) -> Kept {
    let (polls, panics) = (dice.below(5), dice.one_in(5));
    let mut inner = Dice(dice.below(1 << 30) as u64);
    let mut task = Box::pin(expert.run_async(async {
        let mut blocks = Kept::new();
        for _ in 0..4 {
            blocks.extend(block(&mut inner));
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

/// Checks a report against the figures from just before.
fn check(before: &Stats, reclaimed: &Reclaimed, given: &Given) {
    let adopted = reclaimed.adopted_blocks;
    assert_eq!(reclaimed.blocks, given.leaked, "{before} {reclaimed}");
    assert_eq!(before.live_blocks, reclaimed.blocks + adopted, "{before} {reclaimed}");
    assert_eq!(
        before.live_bytes,
        reclaimed.bytes + reclaimed.adopted_bytes,
        "{before} {reclaimed}"
    );
    // Blocks that the expert freed count as frees, and so do those that it transferred.
    assert!(before.frees >= given.transferred as u64, "{before} {}", given.transferred);
    let gone = before.frees + (reclaimed.blocks + adopted) as u64;
    assert_eq!(before.allocations, gone, "{before} {reclaimed} {}", given.transferred);
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
    assert_eq!(reclaimed.blocks, given.leaked, "{before} {reclaimed}");
    assert_eq!(before.live_blocks, live + reclaimed.blocks + reclaimed.adopted_blocks);
    assert!(kept.iter().all(|block| is_whole(block)));
}

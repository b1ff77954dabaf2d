//! Tests of idle spans: they save time, and take no memory from others.

mod common;

use std::alloc::Layout;
use std::ptr::NonNull;
use std::time::{Duration, Instant};

use allocator_api2::alloc::Allocator;
use common::ALLOC;
use expert_alloc::testing::{self, Path, count};
use expert_alloc::{Expert, ExpertHandle};

/// The most that a thread keeps, beside a MiB of spans that are the only one of their
/// class.
const KEPT: usize = 5 << 20;
/// The memory of a span of small blocks.
const SPAN: usize = 64 << 10;

/// The bytes of an owner's charge that a thread keeps without a block.
const CREDIT: usize = 8 << 10;

fn layout(size: usize) -> Layout {
    Layout::from_size_align(size, 8).unwrap()
}

fn take(handle: ExpertHandle<'_>, size: usize) -> NonNull<u8> {
    handle.allocate(layout(size)).unwrap().cast()
}

fn give(handle: ExpertHandle<'_>, block: NonNull<u8>, size: usize) {
    // SAFETY: the tests pass live blocks with their sizes, and no more use them.
    unsafe { handle.deallocate(block, layout(size)) }
}

/// Allocates `blocks` of `size` bytes, and frees them in the same order.
fn batch(handle: ExpertHandle<'_>, blocks: usize, size: usize) {
    let all: Vec<_> = (0..blocks).map(|_| take(handle, size)).collect();
    check();
    all.into_iter().for_each(|block| give(handle, block, size));
    check();
}

/// Runs the walker over the whole heap.
fn check() {
    // SAFETY: no other thread is at work.
    unsafe { testing::check() }.unwrap();
}

fn expert(quota: usize) -> Expert {
    ALLOC.expert("idle").quota(quota).register().unwrap()
}

fn charged(expert: &Expert) -> usize {
    expert.stats().charged_bytes
}

fn a_batch_is_allocated_from_what_was_freed() {
    for size in [64, 4000, 20_000] {
        let expert = expert(0);
        batch(expert.allocator(), 800_000 / size, size);
        let (kept, used) = (charged(&expert), count(Path::IdleSpanUsed));
        assert!(kept >= SPAN, "{kept}");
        batch(expert.allocator(), 800_000 / size, size);
        assert!(count(Path::IdleSpanUsed) > used + 2, "{size}");
        // The first blocks of the first batch were in common spans.
        assert!(charged(&expert) <= kept + 2 * SPAN, "{size}");
        assert_eq!(expert.stats().live_blocks, 0);
        assert_eq!(expert.finish().blocks, 0);
    }
}

/// Makes the thread keep the spans of large blocks. After many different sizes it does not
/// do so for a while.
fn patience(handle: ExpertHandle<'_>) {
    let used = count(Path::SpareUsed);
    (0..100).for_each(|_| give(handle, take(handle, 300_000), 300_000));
    assert!(count(Path::SpareUsed) > used + 50);
}

/// The thread keeps no spare spans while the sizes are all different, and keeps them again
/// when sizes repeat.
fn large_blocks_of_all_sizes_are_not_kept() {
    let expert = expert(0);
    let handle = expert.allocator();
    give(handle, take(handle, 8), 8);
    let idle = charged(&expert);
    let kept = |slices: usize| {
        give(handle, take(handle, slices * SPAN), slices * SPAN);
        usize::from(charged(&expert) > idle)
    };
    let kept: usize = (0..320).map(|round| kept(2 + round % 10)).sum();
    assert!((8..40).contains(&kept), "{kept}");
    check();
    patience(handle);
}

fn a_large_block_is_allocated_where_one_was_freed() {
    let expert = expert(0);
    let handle = expert.allocator();
    // The first block makes the thread known to the expert.
    give(handle, take(handle, 8), 8);
    patience(handle);
    let before = expert.stats().allocations;
    let (size, smaller) = (300_000, 280_000);
    let block = take(handle, size);
    // SAFETY: a live block of that size.
    unsafe { block.write_bytes(0xEE, size) };
    give(handle, block, size);
    assert_eq!(expert.stats().live_blocks, 0);
    assert_eq!(ALLOC.owner_of(block.as_ptr()), None, "no block");
    let used = count(Path::SpareUsed);
    let again: NonNull<u8> = handle.allocate_zeroed(layout(smaller)).unwrap().cast();
    assert_eq!((again, count(Path::SpareUsed)), (block, used + 1));
    // SAFETY: a live block of that size.
    let bytes = unsafe { std::slice::from_raw_parts(again.as_ptr(), smaller) };
    assert!(bytes.iter().all(|&byte| byte == 0));
    check();
    let stats = expert.stats();
    assert_eq!(stats.live_blocks, 1);
    assert_eq!(stats.allocations, stats.frees + 1);
    assert_eq!(stats.allocations, before + 2);
    give(handle, again, smaller);
    check();
    assert_eq!(expert.finish().blocks, 0);
}

fn a_large_block_grows_over_what_is_kept_behind_it() {
    let expert = expert(0);
    let handle = expert.allocator();
    give(handle, take(handle, 8), 8);
    patience(handle);
    ALLOC.purge();
    let (size, more) = (100_000, 200_000);
    let blocks: Vec<_> = (0..8).map(|_| take(handle, size)).collect();
    let is_behind = |pair: &&[NonNull<u8>]| pair[1].addr().get() - pair[0].addr().get() == 2 * SPAN;
    let pair = blocks.windows(2).find(is_behind).unwrap();
    give(handle, pair[1], size);
    let grown = count(Path::GrewInPlace);
    // SAFETY: a live block of that size, and a larger one.
    let block = unsafe { handle.grow(pair[0], layout(size), layout(more)) }.unwrap().cast();
    assert_eq!((block, count(Path::GrewInPlace)), (pair[0], grown + 1));
    check();
    let _ = expert.finish();
}

/// Other threads of the owner could not use the charge. The span that a bin is filled from
/// is set aside in a phase of frees, so that another thread can end it (only this thread
/// can use its bin). A pair of blocks does not set it aside.
fn what_is_freed_in_a_row_can_be_purged_by_others() {
    let expert = expert(0);
    let handle = expert.allocator();
    batch(handle, 1500, 64);
    let set_aside = count(Path::CurrentSetAside);
    batch(handle, 1500, 64);
    assert!(count(Path::CurrentSetAside) > set_aside);
    std::thread::scope(|scope| scope.spawn(|| ALLOC.purge()).join().unwrap());
    assert!(charged(&expert) <= CREDIT, "{}", charged(&expert));
    let set_aside = count(Path::CurrentSetAside);
    (0..10_000).for_each(|_| give(handle, take(handle, 64), 64));
    assert_eq!(count(Path::CurrentSetAside), set_aside);
}

fn of_an_owner_with_a_quota_nearly_nothing_is_kept() {
    let parent = expert(32 << 20);
    let child = ALLOC.expert("child").parent(&parent).register().unwrap();
    for expert in [&parent, &child] {
        batch(expert.allocator(), 1000, 4000);
        batch(expert.allocator(), 10, 300_000);
        batch(expert.allocator(), 100, 20_000);
        // One span of one slice for the first class, and what the last span of the
        // last one, of three slices, was carved.
        assert!(charged(expert) <= 4 * SPAN + CREDIT, "{}", charged(expert));
    }
}

fn of_what_another_thread_frees_nothing_is_kept() {
    let expert = expert(0);
    let handle = expert.allocator();
    give(handle, take(handle, 8), 8);
    let before = charged(&expert);
    let block = take(handle, 300_000).addr().get();
    std::thread::scope(|scope| {
        let free = || give(handle, NonNull::new(block as *mut u8).unwrap(), 300_000);
        scope.spawn(free).join().unwrap();
    });
    assert_eq!(charged(&expert), before);
}

fn what_other_blocks_need_is_given_up() {
    let expert = expert(0);
    let handle = expert.allocator();
    // This raises the thread's limit to its maximum.
    (0..6).for_each(|_| batch(handle, 2000, 4000));
    let kept = charged(&expert);
    assert!(kept > 4 << 20, "{kept}");
    for size in [2000, 20_000, 300_000] {
        batch(handle, (4 << 20) / size, size);
        assert!(expert.stats().peak_bytes <= (8 << 20) + 4 * SPAN, "{}", expert.stats());
    }
}

fn it_is_bounded() {
    let expert = expert(0);
    (0..6).for_each(|_| batch(expert.allocator(), 16_000, 4000));
    let kept = charged(&expert);
    assert!(kept > KEPT / 2 && kept <= KEPT + SPAN, "{kept}");
    ALLOC.purge();
    assert_eq!(charged(&expert), 0);
    check();
}

fn it_goes_by_itself() {
    let expert = expert(0);
    batch(expert.allocator(), 250, 4000);
    assert!(charged(&expert) > 4 * SPAN);
    let ended = count(Path::IdleSpansEnded);
    let began = Instant::now();
    let other = ALLOC.expert("other").register().unwrap();
    // The span of the last allocation stays, as the next block may come at once.
    while charged(&expert) > SPAN {
        assert!(began.elapsed() < Duration::from_secs(20), "still kept");
        std::thread::sleep(Duration::from_millis(1));
        batch(other.allocator(), 100, 20_000);
    }
    assert!(count(Path::IdleSpansEnded) > ended);
}

fn an_expert_that_ends_takes_it_along() {
    let first = expert(0);
    batch(first.allocator(), 250, 4000);
    assert_eq!(first.finish().blocks, 0);
    check();
    let second = expert(0);
    let scope = second.enter();
    drop((0..250).map(|_| vec![1_u8; 4000]).collect::<Vec<_>>());
    drop(scope);
    // The host adopts the spans that the thread kept for it.
    assert_eq!(second.finish().blocks, 0);
    check();
    ALLOC.purge();
    check();
}

fn main() {
    common::run_alone(&[
        ("a_batch_is_allocated_from_what_was_freed", a_batch_is_allocated_from_what_was_freed),
        (
            "a_large_block_is_allocated_where_one_was_freed",
            a_large_block_is_allocated_where_one_was_freed,
        ),
        ("large_blocks_of_all_sizes_are_not_kept", large_blocks_of_all_sizes_are_not_kept),
        (
            "a_large_block_grows_over_what_is_kept_behind_it",
            a_large_block_grows_over_what_is_kept_behind_it,
        ),
        (
            "what_is_freed_in_a_row_can_be_purged_by_others",
            what_is_freed_in_a_row_can_be_purged_by_others,
        ),
        (
            "of_an_owner_with_a_quota_nearly_nothing_is_kept",
            of_an_owner_with_a_quota_nearly_nothing_is_kept,
        ),
        (
            "of_what_another_thread_frees_nothing_is_kept",
            of_what_another_thread_frees_nothing_is_kept,
        ),
        ("what_other_blocks_need_is_given_up", what_other_blocks_need_is_given_up),
        ("it_is_bounded", it_is_bounded),
        ("it_goes_by_itself", it_goes_by_itself),
        ("an_expert_that_ends_takes_it_along", an_expert_that_ends_takes_it_along),
    ]);
}

//! What a thread keeps of spans without a block in use: what it is good for, and
//! that it stands in nobody's way.

mod common;

use std::alloc::Layout;
use std::ptr::NonNull;
use std::time::{Duration, Instant};

use allocator_api2::alloc::Allocator;
use common::ALLOC;
use expert_alloc::testing::{self, Path, count};
use expert_alloc::{Expert, ExpertHandle};

/// The most that a thread keeps, beside a MiB where each is the only span of its class.
const KEPT: usize = 5 << 20;
/// The memory that a span of small blocks has.
const SPAN: usize = 64 << 10;

/// What a thread keeps of an owner's charge without a block for it.
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

/// The walker, over all of the heap.
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
        // The first of the first batch were in common spans.
        assert!(charged(&expert) <= kept + 2 * SPAN, "{size}");
        assert_eq!(expert.stats().live_blocks, 0);
        assert_eq!(expert.finish().blocks, 0);
    }
}

/// Makes the thread keep the spans of large blocks, which it does not for a while
/// after many different sizes.
fn patience(handle: ExpertHandle<'_>) {
    let used = count(Path::SpareUsed);
    (0..100).for_each(|_| give(handle, take(handle, 300_000), 300_000));
    assert!(count(Path::SpareUsed) > used + 50);
}

/// It does not where the sizes are all different, and does again where not.
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
    // The first makes the thread known to the expert.
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

/// Other threads of its could not have the charge.
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
    // So that the thread may keep as much as it ever may.
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

//! Blocks with a mapping of their own: what becomes of the mapping when the
//! block is freed.

mod common;

use std::alloc::{GlobalAlloc, Layout};
use std::time::{Duration, Instant};

use common::ALLOC;
use expert_alloc::{Error, testing};

/// Too large for a chunk that it would share.
const HUGE: usize = if usize::BITS == 64 { 40 << 20 } else { 6 << 20 };
/// What is kept at most.
const KEPT: usize = if usize::BITS == 64 { 128 << 20 } else { 16 << 20 };

fn layout(size: usize) -> Layout {
    Layout::from_size_align(size, 8).unwrap()
}

fn take(size: usize) -> *mut u8 {
    // SAFETY: the tests ask for no size of 0.
    let block = unsafe { ALLOC.alloc(layout(size)) };
    assert!(!block.is_null());
    block
}

fn give(block: *mut u8, size: usize) {
    // SAFETY: the tests pass live blocks with their sizes, and no more use them.
    unsafe { ALLOC.dealloc(block, layout(size)) }
}

fn is_zero(block: *mut u8, size: usize) -> bool {
    // SAFETY: a live block of `size` bytes.
    unsafe { std::slice::from_raw_parts(block, size) }.iter().all(|&byte| byte == 0)
}

/// The walker, over all of the heap.
fn check() {
    // SAFETY: this program has one thread.
    unsafe { testing::check() }.unwrap();
}

fn a_freed_mapping_is_used_again() {
    let block = take(HUGE);
    let mapped = ALLOC.memory().mapped_bytes;
    give(block, HUGE);
    for size in [HUGE, HUGE - HUGE / 8, HUGE - 1] {
        let again = take(size);
        assert_eq!(again, block, "{size}");
        assert!(ALLOC.owner_of(again).is_some());
        give(again, size);
        assert_eq!(ALLOC.owner_of(again), None);
    }
    assert_eq!(ALLOC.memory().mapped_bytes, mapped);
    // Not for much less: it would hold too much for it.
    let least = HUGE / 2;
    let other = take(least);
    assert_ne!(other, block);
    give(other, least);
    check();
}

fn what_was_used_before_reads_as_zero_where_asked() {
    let block = take(HUGE);
    // SAFETY: a live block of that many bytes.
    unsafe { block.write_bytes(0xa5, HUGE) };
    give(block, HUGE);
    // SAFETY: the size is not 0.
    let block = unsafe { ALLOC.alloc_zeroed(layout(HUGE)) };
    assert!(is_zero(block, HUGE));
    give(block, HUGE);
}

fn an_expert_is_charged_for_its_blocks_only() {
    let expert = ALLOC.expert("huge").quota(HUGE + (64 << 10)).register().unwrap();
    for _ in 0..3 {
        let block = expert.alloc(HUGE).unwrap();
        assert!(expert.stats().charged_bytes >= HUGE);
        expert.free(block.as_ptr()).unwrap();
        assert_eq!(expert.stats().charged_bytes, 0);
    }
    assert!(is_zero(expert.alloc(HUGE).unwrap().as_ptr(), HUGE));
    assert_eq!(expert.finish().blocks, 1);
    check();
}

fn a_block_is_resized_where_its_mapping_has_room() {
    let expert = ALLOC.expert("resized").quota(2 * HUGE).register().unwrap();
    let block = expert.alloc(HUGE).unwrap();
    // SAFETY: a live block of that many bytes.
    unsafe { block.write_bytes(0xa5, HUGE) };
    let less = HUGE / 4 * 3;
    assert_eq!(expert.realloc(block.as_ptr(), less), Ok(block));
    assert!((less..less + (64 << 10)).contains(&expert.stats().charged_bytes));
    check();
    // What is new reads as zero, whatever was there.
    assert_eq!(expert.realloc(block.as_ptr(), HUGE), Ok(block));
    // SAFETY: the block's own bytes.
    assert!(is_zero(unsafe { block.as_ptr().add(less) }, HUGE - less));
    // SAFETY: as above.
    let last = unsafe { block.add(less - 1) };
    // SAFETY: as above; written by the test.
    assert_eq!(unsafe { last.read() }, 0xa5);
    assert_eq!(expert.realloc(block.as_ptr(), 3 * HUGE), Err(Error::QuotaExceeded));
    assert_eq!(expert.size(block.as_ptr()), HUGE);
    check();
    // A small rest moves in with others.
    let small = expert.realloc(block.as_ptr(), 100_000).unwrap();
    assert_ne!(small, block);
    assert!(expert.stats().charged_bytes < 200_000);
    assert_eq!(expert.finish().blocks, 1);
}

fn what_is_kept_is_bounded_and_comes_back() {
    ALLOC.purge();
    let before = ALLOC.memory().mapped_bytes;
    let blocks: Vec<_> = (0..12).map(|_| take(HUGE)).collect();
    blocks.into_iter().for_each(|block| give(block, HUGE));
    let kept = ALLOC.memory().mapped_bytes - before;
    assert!(kept > 0 && kept <= KEPT, "{kept}");
    check();
    ALLOC.purge();
    assert_eq!(ALLOC.memory().mapped_bytes, before);
}

fn nobody_wants_it_and_it_goes_by_itself() {
    ALLOC.purge();
    let before = ALLOC.memory().mapped_bytes;
    give(take(HUGE), HUGE);
    let began = Instant::now();
    while ALLOC.memory().mapped_bytes > before {
        assert!(began.elapsed() < Duration::from_secs(20), "still mapped");
        std::thread::sleep(Duration::from_millis(10));
        (0..64).for_each(|_| give(take(100_000), 100_000));
    }
    assert!(began.elapsed() >= Duration::from_millis(400), "{:?}", began.elapsed());
}

fn a_pointer_of_long_ago_is_refused() {
    ALLOC.purge();
    let (first, second) = (HUGE, HUGE - HUGE / 10);
    let old = take(first);
    give(old, first);
    let refused = testing::stats().refused_frees;
    give(old, first);
    // In the same mapping, elsewhere.
    let layout = Layout::from_size_align(second, 128 << 10).unwrap();
    // SAFETY: not of size 0.
    let new = unsafe { ALLOC.alloc(layout) };
    give(old, first);
    assert_eq!(testing::stats().refused_frees, refused + 2);
    // SAFETY: its block.
    unsafe { ALLOC.dealloc(new, layout) };
    check();
}

fn main() {
    common::run_alone(&[
        ("a_freed_mapping_is_used_again", a_freed_mapping_is_used_again),
        (
            "what_was_used_before_reads_as_zero_where_asked",
            what_was_used_before_reads_as_zero_where_asked,
        ),
        ("an_expert_is_charged_for_its_blocks_only", an_expert_is_charged_for_its_blocks_only),
        (
            "a_block_is_resized_where_its_mapping_has_room",
            a_block_is_resized_where_its_mapping_has_room,
        ),
        ("what_is_kept_is_bounded_and_comes_back", what_is_kept_is_bounded_and_comes_back),
        ("a_pointer_of_long_ago_is_refused", a_pointer_of_long_ago_is_refused),
        ("nobody_wants_it_and_it_goes_by_itself", nobody_wants_it_and_it_goes_by_itself),
    ]);
}

//! Tests of blocks with a mapping of their own, and of the fate of the mapping when the
//! block is freed.

mod common;

use std::alloc::{GlobalAlloc, Layout};
#[cfg(target_pointer_width = "64")]
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use common::ALLOC;
#[cfg(target_pointer_width = "64")]
use expert_alloc::Expert;
use expert_alloc::{Error, testing, testing::Path};

/// A size that is too large for a chunk with other blocks.
const HUGE: usize = if usize::BITS == 64 { 40 << 20 } else { 6 << 20 };
/// The bytes of a chunk.
const CHUNK: usize = if usize::BITS == 64 { 32 << 20 } else { 4 << 20 };
/// A block that is always in use and never touched, so a quarter of its size may be kept.
const BALLAST: usize = 8 * HUGE;
/// The most bytes that are kept while little else is in use.
const KEPT: usize = (12 << 20) + BALLAST / 4 + HUGE;

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

/// Runs the walker over the whole heap.
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
    // A mapping is not used for a much smaller block, because it would hold too much
    // memory.
    let least = HUGE / 2;
    let other = take(least);
    assert_ne!(other, block);
    give(other, least);
    check();
}

/// A process that has freed all its huge blocks and is idle holds no memory of them.
fn nothing_is_kept_where_little_is_in_use() {
    // The first block creates records, which stay.
    give(take(HUGE), HUGE);
    let before = ALLOC.memory().mapped_bytes;
    give(take(HUGE), HUGE);
    assert_eq!(ALLOC.memory().mapped_bytes, before);
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
    // New bytes read as zero, whatever was there before.
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
    // A small block moves to a chunk with others.
    let small = expert.realloc(block.as_ptr(), 100_000).unwrap();
    assert_ne!(small, block);
    assert!(expert.stats().charged_bytes < 200_000);
    assert_eq!(expert.finish().blocks, 1);
}

/// A size that is large enough to get room to grow.
#[cfg(target_pointer_width = "64")]
const LARGE: usize = 2 * CHUNK;

/// A raw block of `size` bytes that ends in 0xa5, and has grown before.
#[cfg(target_pointer_width = "64")]
fn grown(expert: &Expert, size: usize) -> NonNull<u8> {
    let block = expert.alloc(CHUNK / 2).unwrap();
    let block = expert.realloc(block.as_ptr(), size).unwrap();
    // SAFETY: inside the block.
    let last = unsafe { block.add(size - 1) };
    // SAFETY: a byte of the block.
    unsafe { last.write(0xa5) };
    block
}

#[cfg(target_pointer_width = "64")]
fn byte(block: NonNull<u8>, offset: usize) -> u8 {
    // SAFETY: the tests ask for bytes of the block.
    let byte = unsafe { block.add(offset) };
    // SAFETY: as above.
    unsafe { byte.read() }
}

/// Reserves addresses for a block that has grown once: after that its mapping grows.
#[cfg(target_pointer_width = "64")]
fn what_grows_again_and_again_stays_where_it_is() {
    ALLOC.purge();
    let before = ALLOC.memory().mapped_bytes;
    let expert = ALLOC.expert("growing").register().unwrap();
    let block = grown(&expert, LARGE);
    let mut size = LARGE;
    for _ in 0..2 {
        let larger = 2 * size + 12_345;
        assert_eq!(expert.realloc(block.as_ptr(), larger), Ok(block));
        assert_eq!(byte(block, size - 1), 0xa5);
        // SAFETY: inside the block.
        let tail = unsafe { block.add(size) };
        assert!(is_zero(tail.as_ptr(), 1 << 20));
        // SAFETY: inside the block.
        let last = unsafe { block.as_ptr().add(larger - 1) };
        assert_eq!(ALLOC.owner_of(last), Some(expert.key()));
        // SAFETY: a byte of the block.
        assert_eq!(unsafe { last.replace(0xa5) }, 0);
        assert!((larger..larger + (64 << 10)).contains(&expert.stats().charged_bytes));
        let mapped = ALLOC.memory().mapped_bytes - before;
        assert!((larger..larger + larger / 8 + 4 * CHUNK).contains(&mapped), "{mapped}");
        check();
        size = larger;
    }
    // Smaller and larger once more: the bytes there are zero again.
    assert_eq!(expert.realloc(block.as_ptr(), LARGE), Ok(block));
    assert_eq!(expert.realloc(block.as_ptr(), size), Ok(block));
    // SAFETY: the block's own bytes.
    assert!(is_zero(unsafe { block.as_ptr().add(LARGE) }, size - LARGE));
    assert_eq!(expert.finish().blocks, 1);
    check();
    ALLOC.purge();
    assert_eq!(ALLOC.memory().mapped_bytes, before);
}

#[cfg(target_pointer_width = "64")]
fn a_mapping_that_cannot_grow_leaves_the_block_as_it_was() {
    let expert = ALLOC.expert("refused").quota(4 * LARGE).register().unwrap();
    let block = grown(&expert, LARGE);
    let mapped = ALLOC.memory().mapped_bytes;
    let refused =
        [(2 * LARGE, 0, Error::OutOfMemory), (5 * LARGE, usize::MAX, Error::QuotaExceeded)];
    for (size, grants, error) in refused {
        testing::fail_after(grants);
        let done = expert.realloc(block.as_ptr(), size);
        testing::heal();
        assert_eq!(done, Err(error));
        assert_eq!(expert.size(block.as_ptr()), LARGE);
        assert_eq!(byte(block, LARGE - 1), 0xa5);
        assert!(ALLOC.memory().mapped_bytes <= mapped);
        check();
    }
    assert_eq!(expert.realloc(block.as_ptr(), 2 * LARGE), Ok(block));
    assert_eq!(expert.finish().blocks, 1);
}

/// If the addresses of a process are limited, none are reserved.
#[cfg(all(unix, target_pointer_width = "64"))]
fn short_addresses_are_not_reserved() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is this call's.
    assert_eq!(unsafe { libc::getrlimit(libc::RLIMIT_AS, &raw mut limit) }, 0);
    // The limit is above the addresses that a sanitizer has mapped for itself; any limit
    // will do.
    let less = libc::rlimit { rlim_cur: 1 << 48, ..limit };
    // SAFETY: as above.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_AS, &raw const less) }, 0);
    let mut taken = limit;
    // SAFETY: as above.
    assert_eq!(unsafe { libc::getrlimit(libc::RLIMIT_AS, &raw mut taken) }, 0);
    if taken.rlim_cur != less.rlim_cur {
        assert_ne!(std::env::consts::ARCH, "x86_64", "only QEMU's user mode takes no limit");
        println!("not run: this system takes no limit of addresses");
        return;
    }
    let expert = ALLOC.expert("short").register().unwrap();
    let block = grown(&expert, LARGE);
    let moved = expert.realloc(block.as_ptr(), 2 * LARGE).unwrap();
    // SAFETY: as above.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_AS, &raw const limit) }, 0);
    assert_ne!(moved, block);
    assert_eq!(byte(moved, LARGE - 1), 0xa5);
    assert_eq!(expert.finish().blocks, 1);
    check();
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

/// Chunks without a block are unmapped one at a time, so no call takes long.
fn empty_chunks_go_one_by_one() {
    const COUNT: usize = 8;
    ALLOC.purge();
    let before = ALLOC.memory().mapped_bytes;
    let size = CHUNK / 2 - CHUNK / 32;
    let blocks: Vec<_> = (0..2 * COUNT).map(|_| take(size)).collect();
    blocks.into_iter().for_each(|block| give(block, size));
    assert!(ALLOC.memory().mapped_bytes > before + 4 * CHUNK);
    let began = Instant::now();
    let mut last = ALLOC.memory().mapped_bytes;
    while last > before + CHUNK {
        assert!(began.elapsed() < Duration::from_secs(20), "{last} bytes are still mapped");
        // Three blocks of different sizes: none is kept for the next.
        for size in [100_000, 200_000, 300_000] {
            let block = take(size);
            let between = ALLOC.memory().mapped_bytes;
            give(block, size);
            let now = ALLOC.memory().mapped_bytes;
            for (before, after) in [(last, between), (between, now)] {
                let gone = before.saturating_sub(after);
                assert!(gone <= CHUNK, "{gone} bytes at once");
            }
            last = now;
        }
    }
}

/// If another thread may be looking at a mapping when it is freed, it is unmapped later.
fn a_mapping_that_was_looked_at_goes_as_well() {
    let size = KEPT + CHUNK;
    ALLOC.purge();
    let before = ALLOC.memory().mapped_bytes;
    let seen = testing::count(Path::HugeKept);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let looking = scope.spawn(|| {
            while !done.load(Relaxed) {
                std::hint::black_box(ALLOC.owner_of(&raw const done));
            }
        });
        while testing::count(Path::HugeKept) == seen {
            give(take(size), size);
        }
        done.store(true, Relaxed);
        // The end of a scope does not wait for the end of its threads.
        looking.join().unwrap();
    });
    check();
    let began = Instant::now();
    while ALLOC.memory().mapped_bytes > before + CHUNK {
        assert!(began.elapsed() < Duration::from_secs(20), "still mapped");
        (0..64).for_each(|_| give(take(100_000), 100_000));
    }
}

fn what_is_empty_is_given_up_before_a_request_fails() {
    ALLOC.purge();
    let before = ALLOC.memory().mapped_bytes;
    let size = CHUNK / 2 - CHUNK / 32;
    let blocks: Vec<_> = (0..8).map(|_| take(size)).collect();
    blocks.into_iter().for_each(|block| give(block, size));
    assert!(ALLOC.memory().mapped_bytes > before + CHUNK);
    testing::fail_after(0);
    // SAFETY: not of size 0.
    let block = unsafe { ALLOC.alloc(layout(HUGE)) };
    testing::heal();
    assert!(block.is_null());
    assert!(ALLOC.memory().mapped_bytes <= before);
}

fn a_request_beyond_the_quota_maps_nothing() {
    let expert = ALLOC.expert("small").quota(1 << 20).register().unwrap();
    let tables = testing::table_bytes();
    for shift in 26..usize::BITS.min(47) - 1 {
        assert_eq!(expert.alloc(1 << shift), Err(Error::QuotaExceeded));
    }
    assert_eq!((testing::table_bytes(), expert.stats().charged_bytes), (tables, 0));
    assert!(expert.stats().refusals >= 4);
}

/// More memory than any machine has is refused, unless the system overcommits without a
/// limit.
#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
fn what_no_machine_has_is_refused() {
    let mode = std::fs::read_to_string("/proc/sys/vm/overcommit_memory").unwrap_or_default();
    if mode.trim() != "1" {
        let expert = ALLOC.expert("greedy").register().unwrap();
        assert_eq!(expert.alloc(1 << 46), Err(Error::OutOfMemory));
    }
}

fn main() {
    nothing_is_kept_where_little_is_in_use();
    let ballast = take(BALLAST);
    common::run_alone(&[
        #[cfg(all(target_os = "linux", target_pointer_width = "64"))]
        ("what_no_machine_has_is_refused", what_no_machine_has_is_refused),
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
        #[cfg(target_pointer_width = "64")]
        (
            "what_grows_again_and_again_stays_where_it_is",
            what_grows_again_and_again_stays_where_it_is,
        ),
        #[cfg(target_pointer_width = "64")]
        (
            "a_mapping_that_cannot_grow_leaves_the_block_as_it_was",
            a_mapping_that_cannot_grow_leaves_the_block_as_it_was,
        ),
        #[cfg(all(unix, target_pointer_width = "64"))]
        ("short_addresses_are_not_reserved", short_addresses_are_not_reserved),
        ("what_is_kept_is_bounded_and_comes_back", what_is_kept_is_bounded_and_comes_back),
        ("a_pointer_of_long_ago_is_refused", a_pointer_of_long_ago_is_refused),
        ("empty_chunks_go_one_by_one", empty_chunks_go_one_by_one),
        ("a_mapping_that_was_looked_at_goes_as_well", a_mapping_that_was_looked_at_goes_as_well),
        (
            "what_is_empty_is_given_up_before_a_request_fails",
            what_is_empty_is_given_up_before_a_request_fails,
        ),
        ("a_request_beyond_the_quota_maps_nothing", a_request_beyond_the_quota_maps_nothing),
        ("nobody_wants_it_and_it_goes_by_itself", nobody_wants_it_and_it_goes_by_itself),
    ]);
    give(ballast, BALLAST);
}

//! Tests of the system's limits: memory that it does not take back is not lost, the heap
//! begins small if there is little memory, and waiting threads let others run.

mod common;

use std::time::{Duration, Instant};

use allocator_api2::alloc::{Allocator, Layout};
use expert_alloc::Error;
use expert_alloc::testing::{self, Call, Checked, Path, count};

use common::ALLOC;

const MIB: usize = 1 << 20;
/// How long a chunk is where the system has enough.
const CHUNK: usize = if usize::BITS == 64 { 32 * MIB } else { 4 * MIB };
/// A size that has room in a shared chunk, because blocks up to half a chunk do.
const LARGE: usize = CHUNK / 4;
/// A size that is too large for a shared chunk.
const HUGE: usize = 40 * MIB;
/// The unit in which physical memory is given back.
const SLICE: usize = 64 << 10;

/// Walks the heap. No other thread is in it.
fn walk() -> Checked {
    // SAFETY: S1: as said.
    unsafe { testing::check() }.unwrap()
}

/// A block of the host that was written to, so its pages are resident.
fn touched(bytes: usize) -> Vec<u8> {
    std::hint::black_box(vec![1; bytes])
}

/// Bytes mapped for blocks, after everything that is free was given back.
fn mapped_after_purge() -> usize {
    ALLOC.purge();
    testing::mapped_bytes() - testing::table_bytes()
}

fn mappings_that_stay_are_kept_purged_and_go_later() {
    let before = mapped_after_purge();
    let blocks: Vec<_> = (0..6).map(|_| touched(HUGE)).collect();
    let small: Vec<_> = (0..8).map(|_| touched(LARGE)).collect();
    let (chunks, refused) = (walk().chunks, testing::failed(Call::Unmap));
    testing::fail_calls_after(Call::Unmap, 0);
    drop((blocks, small));
    let stays = mapped_after_purge();
    assert!(testing::failed(Call::Unmap) > refused);
    let seen = walk();
    assert_eq!(seen.chunks + seen.kept_chunks, chunks, "every mapping is still known");
    assert!(stays > before + 6 * HUGE, "and counted: {stays}");
    // A sanitizer's memory counts as the program's.
    #[cfg(target_os = "linux")]
    assert!(
        common::emulated() || linux::resident() < 60 * MIB,
        "but not resident: {}",
        linux::resident()
    );
    // A chunk that could not be unmapped is used again.
    let mapped = testing::mapped_bytes();
    drop(touched(HUGE));
    drop(touched(LARGE));
    assert_eq!(testing::mapped_bytes(), mapped);
    testing::heal();
    assert_eq!(mapped_after_purge(), before);
    assert_eq!(walk().kept_chunks, 0);
}

fn a_purge_that_fails_is_tried_again() {
    ALLOC.purge();
    // A block stays in the chunk, so the chunk is not unmapped.
    let (stays, goes) = (touched(2 * SLICE), touched(LARGE));
    testing::fail_calls_after(Call::Purge, 0);
    drop(goes);
    let purged = ALLOC.memory().purged_slices;
    ALLOC.purge();
    assert_eq!(ALLOC.memory().purged_slices, purged, "none is counted");
    // SAFETY: S1: no other thread is in the heap.
    unsafe { testing::check_zero() }.unwrap();
    // Memory that was not purged does not read as zero by itself.
    let zeroed = vec![0u8; LARGE];
    assert!(zeroed.iter().all(|&byte| byte == 0));
    drop(zeroed);
    testing::heal();
    ALLOC.purge();
    assert!(ALLOC.memory().purged_slices >= purged + LARGE / SLICE);
    // SAFETY: as above.
    unsafe { testing::check_zero() }.unwrap();
    drop(stays);
}

/// The clock is still read if the system does not take aged slices.
fn time_passes_though_no_purge_succeeds() {
    ALLOC.purge();
    let stays = touched(2 * SLICE);
    testing::fail_calls_after(Call::Purge, 0);
    drop((0..4).map(|_| touched(LARGE)).collect::<Vec<_>>());
    let failed = || testing::failed(Call::Purge);
    let (began, before) = (Instant::now(), failed());
    while failed() < before + 10 {
        for _ in 0..100 {
            drop(touched(70_000));
        }
        assert!(began.elapsed() < Duration::from_secs(20), "{} purges tried", failed() - before);
    }
    // Each slice is tried once in an interval, not at each look.
    assert!(began.elapsed() > Duration::from_millis(500), "10 in {:?}", began.elapsed());
    testing::heal();
    drop(stays);
    walk();
}

fn where_a_chunk_cannot_be_had_a_shorter_one_is() {
    ALLOC.purge();
    for limit in [CHUNK / 2, 3 * MIB / 2, MIB] {
        let before = walk();
        testing::fail_beyond(limit);
        let refused = testing::failed(Call::Map);
        // The block is too large for a chunk of the usual length.
        let blocks: Vec<_> = (0..300).map(|number| touched(60_000 - number)).collect();
        let large: Vec<_> = (0..160).map(|_| touched(CHUNK / 64)).collect();
        assert!(testing::failed(Call::Map) > refused, "the limit was met");
        let during = walk();
        assert!(during.chunks >= before.chunks + 2, "{limit}: {during:?}");
        // This block is too large for any chunk as short as that.
        assert_eq!(ALLOC.host().alloc(limit + MIB), Err(Error::OutOfMemory));
        assert!(blocks.iter().chain(&large).all(|block| block.iter().all(|&byte| byte == 1)));
        drop((blocks, large));
        testing::heal();
        ALLOC.purge();
        let after = walk();
        assert!(after.chunks <= before.chunks.max(1), "{limit}: {after:?}");
    }
}

/// A short chunk is as long as the block that it is mapped for needs.
fn a_short_chunk_fits_an_aligned_block() {
    ALLOC.purge();
    testing::fail_beyond(CHUNK / 4);
    let expert = ALLOC.expert("aligned").register().unwrap();
    let handle = expert.allocator();
    let layout = Layout::from_size_align(CHUNK / 8 + MIB / 4, CHUNK / 16).unwrap();
    let block = handle.allocate(layout).unwrap().cast::<u8>();
    assert_eq!(block.addr().get() % (CHUNK / 16), 0);
    walk();
    // SAFETY: the block just allocated.
    unsafe { handle.deallocate(block, layout) };
    testing::heal();
    drop(expert);
}

/// A request for no more than the block has is never refused, however the block is found.
fn a_shrink_that_lowers_the_alignment_needs_no_quota() {
    let aligned = |size, align| Layout::from_size_align(size, align).unwrap();
    let cases = [
        (HUGE, 1 << 20, HUGE, 1),
        (HUGE, 128 << 10, HUGE - 5000, 16),
        (HUGE, 2 * CHUNK, HUGE / 2 + CHUNK / 2, 64 << 10),
        (HUGE, 1 << 20, 70_000, 8),
        (HUGE, CHUNK, 100, 8),
        (100 << 10, CHUNK, 100 << 10, 4096),
    ];
    for (size, align, wanted, lowered) in cases {
        let expert = ALLOC.expert("full").quota(size).register().unwrap();
        let handle = expert.allocator();
        let (old, new) = (aligned(size, align), aligned(wanted, lowered));
        let block = handle.allocate(old).unwrap().cast::<u8>();
        // SAFETY: the block has so many bytes.
        unsafe { block.write_bytes(7, size) };
        // SAFETY: the live block of that layout; the new one is no longer.
        let shrunk = unsafe { handle.shrink(block, old, new) }.unwrap().cast::<u8>();
        assert_eq!(shrunk.addr().get() % lowered, 0);
        // SAFETY: a live block of so many bytes.
        let bytes = unsafe { std::slice::from_raw_parts(shrunk.as_ptr(), wanted) };
        assert!(bytes.iter().all(|&byte| byte == 7), "{size} at {align}");
        assert_eq!(expert.stats().refusals, 0);
        assert!(expert.stats().charged_bytes < wanted + 8192);
        let key = expert.key();
        assert_eq!(ALLOC.owner_of(shrunk.as_ptr().wrapping_add(wanted - 1)), Some(key));
        walk();
        // A block that has moved grows and is freed like any other.
        let more = aligned(wanted + 4096, lowered);
        let grown = more.size().next_multiple_of(4096) <= size;
        // SAFETY: the live block of that layout.
        let block = match unsafe { handle.grow_zeroed(shrunk, new, more) } {
            Ok(block) => (block.cast::<u8>(), more),
            Err(_) => (shrunk, new),
        };
        assert_eq!(block.1 == more, grown, "{size} at {align}");
        let tail = block.0.as_ptr().wrapping_add(wanted);
        // SAFETY: the block has grown by so many bytes.
        let is_zero = || unsafe { std::slice::from_raw_parts(tail, 4096) } == [0; 4096];
        assert!(!grown || is_zero(), "{size} at {align}");
        // SAFETY: the live block of that layout.
        unsafe { handle.deallocate(block.0, block.1) };
        assert_eq!(expert.stats().live_blocks, 0);
        drop(expert);
        walk();
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use super::*;

    use std::os::unix::process::CommandExt;
    use std::process::Command;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

    /// The bytes of this process that are in memory.
    pub fn resident() -> usize {
        let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
        statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
    }

    /// Uses up all mappings that the system allows, until it is dropped.
    struct Shortage {
        start: *mut libc::c_void,
        bytes: usize,
    }

    impl Shortage {
        fn new() -> Self {
            let limit = std::fs::read_to_string("/proc/sys/vm/max_map_count").unwrap();
            let bytes = (limit.trim().parse::<usize>().unwrap() + 100) * 4096;
            let how = libc::MAP_PRIVATE | libc::MAP_ANON | libc::MAP_NORESERVE;
            let nowhere = std::ptr::null_mut();
            // SAFETY: a new mapping, which touches nothing that exists.
            let start = unsafe { libc::mmap(nowhere, bytes, libc::PROT_NONE, how, -1, 0) };
            assert_ne!(start, libc::MAP_FAILED);
            // Pages of alternating protection cannot share a mapping.
            let is_full = |page: usize| {
                let page = start.wrapping_byte_add(page * 4096);
                // SAFETY: a page of the mapping above, which nobody uses.
                unsafe { libc::mprotect(page, 4096, libc::PROT_READ) != 0 }
            };
            assert!((0..bytes / 4096).step_by(2).any(is_full), "no limit was met");
            Self { start, bytes }
        }
    }

    impl Drop for Shortage {
        fn drop(&mut self) {
            // SAFETY: the mapping made above, which nobody uses.
            assert_eq!(unsafe { libc::munmap(self.start, self.bytes) }, 0);
        }
    }

    /// Experts whose huge blocks and chunks lie between those of another expert, so the
    /// system needs one more mapping to unmap each.
    pub fn at_the_limit_of_mappings_nothing_is_lost() {
        let before = (mapped_after_purge(), resident());
        let [goes, stays] = ["goes", "stays"].map(|name| ALLOC.expert(name).register().unwrap());
        for _ in 0..6 {
            for expert in [&goes, &stays, &goes, &goes, &stays, &stays] {
                // The sizes are a huge block's mapping, without a gap behind it, and half a
                // chunk.
                let huge = std::ptr::eq(expert, &goes) && count(Path::Huge) % 2 == 0;
                let bytes = if huge { 64 * MIB - (64 << 10) - 16 } else { 15 * MIB };
                let block = expert.alloc(bytes).unwrap();
                // SAFETY: the block just allocated.
                unsafe { block.write_bytes(1, bytes) };
            }
        }
        let refused = count(Path::NotUnmapped);
        let shortage = Shortage::new();
        drop(goes);
        ALLOC.purge();
        assert!(count(Path::NotUnmapped) > refused, "the limit was not in the way");
        walk();
        drop(shortage);
        drop(stays);
        assert_eq!(mapped_after_purge(), before.0);
        assert!(resident() < before.1 + 8 * MIB, "{} resident, {} before", resident(), before.1);
    }

    /// The part of this program that runs with limited addresses.
    pub const LIMITED: &str = "--limited";

    pub fn hello_with_threads() {
        let hello = |number: usize| {
            let text: Vec<String> = (0..1000).map(|line| format!("{number} {line}")).collect();
            text.iter().map(String::len).sum::<usize>()
        };
        let threads = [0, 1].map(|number| std::thread::spawn(move || hello(number)));
        let sum: usize = threads.map(|thread| thread.join().unwrap()).iter().sum();
        walk();
        let limit: usize = std::env::args().nth(2).unwrap().parse().unwrap();
        assert_eq!(ALLOC.system_limit(), limit << 10);
        let expert = ALLOC.expert("half").quota_percent(50).register().unwrap();
        assert_eq!(expert.stats().quota, (limit << 10) / 100 * 50);
        if limit >= 60_000 {
            // Huge blocks take no more addresses than they need.
            drop([touched(20 * MIB), touched(20 * MIB)]);
        }
        println!("hello {sum}");
    }

    /// Runs this program with limited addresses, as with `ulimit -v`.
    pub fn a_program_runs_with_few_addresses() {
        // The free addresses differ from run to run, and the C library reserves 64 MiB for
        // each thread, if it can.
        for kib in [12_000, 24_000, 60_000, 200_000].into_iter().cycle().take(40) {
            let mut hello = Command::new(std::env::current_exe().unwrap());
            let limit = libc::rlimit { rlim_cur: kib << 10, rlim_max: kib << 10 };
            let set = move || {
                // SAFETY: reads `limit`, which is ours.
                match unsafe { libc::setrlimit(libc::RLIMIT_AS, &raw const limit) } {
                    0 => Ok(()),
                    _ => Err(std::io::Error::last_os_error()),
                }
            };
            // SAFETY: it makes one system call.
            unsafe { hello.arg(LIMITED).arg(kib.to_string()).pre_exec(set) };
            let output = hello.output().unwrap();
            assert!(output.status.success(), "{kib} KiB: {output:?}");
            assert_eq!(output.stdout, b"hello 9780\n");
        }
    }

    static DONE: [AtomicUsize; 2] = [const { AtomicUsize::new(0) }; 2];
    static STOP: AtomicBool = AtomicBool::new(false);

    /// Makes this thread a real-time one on one processor. Returns whether the system
    /// allows that.
    fn be_real_time(processor: usize, priority: i32) -> bool {
        // SAFETY: zero is a value of every field.
        let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
        // SAFETY: a processor below the set's size.
        unsafe { libc::CPU_SET(processor, &mut set) };
        // SAFETY: `set` is ours, of that size.
        assert_eq!(unsafe { libc::sched_setaffinity(0, size_of_val(&set), &raw const set) }, 0);
        let how = libc::sched_param { sched_priority: priority };
        // SAFETY: `how` is ours.
        unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const how) == 0 }
    }

    /// Calls that take the arena's lock and the heap's.
    fn work(number: usize) {
        drop(std::hint::black_box(Vec::<u8>::with_capacity(100_000 + number % 7 * 70_000)));
    }

    /// A thread of a higher priority waits for one of a lower priority on the same
    /// processor.
    pub fn who_waits_lets_lower_priorities_run() {
        let is_allowed = std::thread::spawn(|| be_real_time(0, 1)).join().unwrap();
        if !is_allowed {
            println!("not run: this user may not have real-time priorities");
            return;
        }
        let low = || {
            be_real_time(0, 1);
            for number in (0..).take_while(|_| !STOP.load(Relaxed)) {
                work(number);
                DONE[0].fetch_add(1, Relaxed);
            }
        };
        let high = || {
            be_real_time(0, 2);
            for number in (0..).take_while(|_| !STOP.load(Relaxed)) {
                std::thread::sleep(Duration::from_micros(50));
                (number..number + 3).for_each(work);
                DONE[1].fetch_add(1, Relaxed);
            }
        };
        let watch = || {
            // The watching thread has a higher priority than both, runs on any processor,
            // and does not use the heap.
            let how = libc::sched_param { sched_priority: 50 };
            // SAFETY: `how` is ours.
            unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const how) };
            let seen = || [&DONE[0], &DONE[1]].map(|done| done.load(Relaxed));
            for _ in 0..20 {
                let before = seen();
                std::thread::sleep(Duration::from_millis(100));
                if seen() == before {
                    // Threads that spin for ever cannot be stopped in another way. SAFETY:
                    // no preconditions.
                    unsafe { libc::_exit(3) };
                }
            }
            STOP.store(true, Relaxed);
        };
        std::thread::scope(|scope| {
            scope.spawn(watch);
            scope.spawn(low);
            scope.spawn(high);
        });
        assert!(DONE.iter().all(|done| done.load(Relaxed) > 100), "{DONE:?}");
    }
}

fn main() {
    #[cfg(target_os = "linux")]
    if std::env::args().any(|argument| argument == linux::LIMITED) {
        return linux::hello_with_threads();
    }
    common::run_alone(&[
        (
            "mappings_that_stay_are_kept_purged_and_go_later",
            mappings_that_stay_are_kept_purged_and_go_later,
        ),
        ("a_purge_that_fails_is_tried_again", a_purge_that_fails_is_tried_again),
        ("time_passes_though_no_purge_succeeds", time_passes_though_no_purge_succeeds),
        (
            "where_a_chunk_cannot_be_had_a_shorter_one_is",
            where_a_chunk_cannot_be_had_a_shorter_one_is,
        ),
        ("a_short_chunk_fits_an_aligned_block", a_short_chunk_fits_an_aligned_block),
        (
            "a_shrink_that_lowers_the_alignment_needs_no_quota",
            a_shrink_that_lowers_the_alignment_needs_no_quota,
        ),
    ]);
    #[cfg(target_os = "linux")]
    if !common::emulated() {
        common::run_alone(&[
            (
                "at_the_limit_of_mappings_nothing_is_lost",
                linux::at_the_limit_of_mappings_nothing_is_lost,
            ),
            ("a_program_runs_with_few_addresses", linux::a_program_runs_with_few_addresses),
            ("who_waits_lets_lower_priorities_run", linux::who_waits_lets_lower_priorities_run),
        ]);
    }
}

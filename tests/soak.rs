//! Two million experts, one after another, leave nothing behind.
//!
//! `EXPERT_ALLOC_EXPERTS` sets their number; without it, a debug build runs a few hundred
//! thousand.

mod common;

use common::ALLOC;
use expert_alloc::testing;

/// Resident memory in bytes; it is read without allocating, because the file is short.
#[cfg(target_os = "linux")]
fn resident() -> usize {
    use std::io::Read;
    let mut text = [0u8; 256];
    let length = std::fs::File::open("/proc/self/statm").unwrap().read(&mut text).unwrap();
    let text = std::str::from_utf8(&text[..length]).unwrap();
    text.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

/// The bytes of mapped addresses, on systems without such a file.
#[cfg(not(target_os = "linux"))]
fn resident() -> usize {
    testing::mapped_bytes()
}

/// Each expert allocates in every way, and leaves blocks of every kind behind.
fn one(number: usize) {
    let expert = ALLOC.expert("soak").quota(1 << 20).register().unwrap();
    let mut list = allocator_api2::vec::Vec::new_in(expert.allocator());
    list.extend_from_slice(&[number; 20]);
    assert_eq!(list[19], number);
    drop(list);
    std::mem::forget(allocator_api2::boxed::Box::new_in(number, expert.allocator()));
    expert.alloc(100 + number % 1000).unwrap();
    let kept = {
        let _scope = expert.enter();
        // This keeps the compiler from removing the block.
        std::hint::black_box(Box::new(number))
    };
    if number % 64 == 0 {
        expert.alloc(200 << 10).unwrap();
        expert.on_reclaim(move || assert!(number % 64 == 0)).unwrap();
    }
    let reclaimed = expert.finish();
    assert_eq!(
        (reclaimed.blocks, reclaimed.adopted_blocks),
        (2 + usize::from(number % 64 == 0), 1)
    );
    assert_eq!(*kept, number);
}

fn two_million_experts() {
    let experts = std::env::var("EXPERT_ALLOC_EXPERTS").ok();
    let otherwise = if cfg!(debug_assertions) { 300_000 } else { 2_000_000 };
    let experts = experts.map_or(otherwise, |text| text.parse().expect("a number"));
    (0..1000).for_each(one);
    let (before, mapped) = (resident(), testing::mapped_bytes());
    (1000..experts).for_each(one);
    let (after, mapped_after) = (resident(), testing::mapped_bytes());
    println!("  resident {before} bytes, then {after}; mapped {mapped}, then {mapped_after}");
    let grown = after > before + (1 << 20) && !common::emulated();
    assert!(!grown, "resident grew from {before} to {after} bytes");
    assert_eq!(mapped_after, mapped, "mapped");
}

/// Each expert runs on another thread, so the spans of ended threads are adopted, too.
fn experts_on_threads_of_their_own() {
    let round = |number| std::thread::spawn(move || one(number)).join().unwrap();
    (0..200).for_each(round);
    let (before, mapped) = (resident(), testing::mapped_bytes());
    (200..4000).for_each(round);
    let after = resident();
    let grown = after > before + (1 << 20) && !common::emulated();
    assert!(!grown, "resident grew from {before} to {after} bytes");
    assert_eq!(testing::mapped_bytes(), mapped, "mapped");
}

fn main() {
    common::run_alone(&[
        ("two_million_experts", two_million_experts),
        ("experts_on_threads_of_their_own", experts_on_threads_of_their_own),
    ]);
}

//! Tests of costs that must not grow: of a refusal, of the end of a thread, and of memory
//! that had an owner before.

use expert_alloc::Expert;

use crate::common::{ALLOC, emulated};

/// The instructions of one refused request of the first of `experts`; `None` where
/// they cannot be counted.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
fn refusal(experts: &[Expert]) -> Option<u64> {
    #[cfg(feature = "testing-delays")]
    expert_alloc::testing::set_delays(0);
    if emulated() {
        return None;
    }
    let stepper = crate::stepper::Stepper::new();
    let refused = || experts[0].alloc(3000).is_err();
    // The first refusal looks through the thread's caches once.
    assert!((0..10).all(|_| refused()));
    let (was_refused, instructions) = stepper.count(refused);
    assert!(was_refused);
    Some(instructions)
}

#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
fn refusal(experts: &[Expert]) -> Option<u64> {
    assert!(experts[0].alloc(3000).is_err());
    None
}

/// A refusal at a parent's quota must not cost more with ten times as many siblings, all in
/// this thread's caches.
pub fn refusal_among_siblings() {
    let count = |siblings: usize| {
        let parent = ALLOC.expert("parent").quota(siblings * 4096).register().unwrap();
        let child = |_| ALLOC.expert("child").parent(&parent).register().unwrap();
        let children: Vec<Expert> = (0..siblings).map(child).collect();
        children.iter().for_each(|child| while child.alloc(3000).is_ok() {});
        refusal(&children)
    };
    let (few, many) = (count(20), count(200));
    println!("  instructions of a refusal among 20 siblings {few:?}, among 200 {many:?}");
    if let (Some(few), Some(many)) = (few, many) {
        assert!(many < 2 * few, "{few} instructions with 20 siblings, {many} with 200");
        assert!(many < 20_000, "{many} instructions");
    }
}

/// A refusal with ten times as many parents asks each parent once.
pub fn refusal_below_parents() {
    let count = |depth: usize| {
        let mut chain = vec![ALLOC.expert("top").quota(64 << 10).register().unwrap()];
        for _ in 0..depth {
            let next = ALLOC.expert("below").parent(chain.last().unwrap()).register().unwrap();
            chain.push(next);
        }
        // Each of them has memory in this thread, so the quota above has no room.
        for expert in &chain {
            expert.alloc(1).ok();
        }
        chain.reverse();
        while chain[0].alloc(3000).is_ok() {}
        let instructions = refusal(&chain);
        // Children first.
        chain.into_iter().for_each(drop);
        instructions
    };
    let (few, many) = (count(15), count(150));
    println!("  instructions of a refusal below 15 parents {few:?}, below 150 {many:?}");
    if let (Some(few), Some(many)) = (few, many) {
        assert!(many < 12 * few, "{few} instructions below 15 parents, {many} below 150");
        assert!(many < 20_000 + 150 * 200, "{many} instructions");
    }
}

/// The destructor of a key allocates each time it is called. The system calls it in every
/// round, even after the heap's own destructor was called for the last time.
#[cfg(unix)]
pub fn key_destructor() {
    use std::sync::OnceLock;

    if emulated() {
        println!("  not run: a sanitizer ends its own part of a thread before the last round");
        return;
    }
    static KEY: OnceLock<libc::pthread_key_t> = OnceLock::new();

    fn set_again() {
        let key = *KEY.get().expect("made");
        // SAFETY: a key that was made.
        let code = unsafe { libc::pthread_setspecific(key, std::ptr::dangling()) };
        assert_eq!(code, 0);
    }

    extern "C" fn at_end(_: *mut libc::c_void) {
        for step in 0..20 {
            std::hint::black_box(vec![1u8; 100 << (step % 10)]);
        }
        set_again();
    }

    // The heap's key is made first.
    std::hint::black_box(vec![1u8; 100]);
    let mut key = 0;
    // SAFETY: a place for the key.
    let code = unsafe { libc::pthread_key_create(&raw mut key, Some(at_end)) };
    assert_eq!(code, 0);
    KEY.set(key).expect("once");
    let threads = |count: usize| {
        for _ in 0..count {
            let work = || {
                set_again();
                std::hint::black_box(vec![1u8; 100]);
            };
            std::thread::spawn(work).join().unwrap();
        }
        ALLOC.purge();
        ALLOC.host().stats()
    };
    let before = threads(20);
    let after = threads(200);
    // SAFETY: the key is not used any more.
    unsafe { libc::pthread_key_delete(key) };
    let grown = after.charged_bytes.saturating_sub(before.charged_bytes);
    println!("  charged {} KiB more after 200 threads", grown >> 10);
    assert!(grown < 1 << 20, "200 threads have lost {grown} bytes");
    assert!(after.live_blocks <= before.live_blocks + 10, "{before}, then {after}");
}

#[cfg(not(unix))]
pub fn key_destructor() {}

/// Bytes of this process in physical memory.
#[cfg(target_os = "linux")]
fn resident() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

/// Small experts come after a large one that has touched all memory, and hold about as much
/// as they are charged.
#[cfg(target_os = "linux")]
pub fn recycled_slices() {
    if emulated() {
        println!("  not run: the emulator's memory is counted as the program's");
        return;
    }
    const EXPERTS: usize = 300;
    let large = ALLOC.expert("large").register().unwrap();
    for _ in 0..(160 << 20) / 1024 {
        let block = large.alloc(1000).unwrap();
        // SAFETY: a live block of 1,000 bytes.
        unsafe { block.as_ptr().write_bytes(1, 1000) };
    }
    // The addresses stay mapped, with their pages.
    let _ = large.finish();
    let experts: Vec<Expert> =
        (0..EXPERTS).map(|_| ALLOC.expert("small").register().unwrap()).collect();
    for expert in &experts {
        for size in [10, 30, 50, 80, 100, 150, 250, 400] {
            expert.alloc(size).unwrap();
        }
    }
    ALLOC.purge();
    let with = resident();
    let charged: usize = experts.iter().map(|expert| expert.stats().charged_bytes).sum();
    drop(experts);
    ALLOC.purge();
    let theirs = with.saturating_sub(resident());
    println!("  {EXPERTS} experts: {} KiB charged, {} KiB resident", charged >> 10, theirs >> 10);
    assert!(theirs < charged + charged / 4 + (4 << 20), "{charged} charged, {theirs} resident");
}

#[cfg(not(target_os = "linux"))]
pub fn recycled_slices() {}
